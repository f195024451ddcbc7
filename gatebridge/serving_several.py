"""run_simple(processes=N): workers forked from a supervisor, with an application that is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.config import MAIN, Asked
from gatebridge.daemon import Daemon
from gatebridge.loading import Applications
from gatebridge.serve.notify import Passed
from gatebridge.serve.supervisor import Supervisor
from gatebridge.settings import App, Configuration, Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.engine.seams import Application
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.route_board import RouteBoard
    from gatebridge.settings import Settings

_TIMER = "restart"


def serve_application(
    app: Application,
    settings: Settings,
    listener: Listener,
    look: Callable[[], list[str]] | None,
    interval_s: float,
) -> list[str]:
    """Until a signal ends it, or ``look``, called each interval_s, tells of changed files.

    Returns these. raises ConfigError
    """
    configuration = Configuration((Pool(MAIN, settings, (App("", "run_simple"),)),), settings)
    hooks = Forked(configuration, app)
    supervisor = Supervisor(configuration, {MAIN: [listener]}, hooks)
    found: list[str] = []

    def turn(now: float) -> None:
        if look is None or supervisor.stopping:
            return
        found.extend(look())
        if found:
            supervisor.stop(quick=False)
        else:
            supervisor.house.turns.at(_TIMER, now + interval_s, turn)

    supervisor.house.turns.at(_TIMER, 0.0, turn)
    supervisor.run()
    return found


class Forked(Daemon):
    """Hooks whose workers have their application from the process that forks them."""

    def __init__(self, configuration: Configuration, app: Application) -> None:
        super().__init__(Asked(), configuration, Passed({}), {})
        self._configuration = configuration
        self._app = app

    def read_configuration(self) -> Configuration:
        return self._configuration

    def load_applications(self, pool: Pool, routes: RouteBoard | None) -> Applications:
        found = Applications(routes)
        found.add(pool.apps[0], self._app)
        return found
