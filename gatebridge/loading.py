"""A pool's routes with the applications that answer them: loaded, made a table, closed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge.apps.interface import AUTO, Interface
from gatebridge.apps.target import load_target
from gatebridge.errors import GatebridgeError
from gatebridge.routing.rule import parse_rule
from gatebridge.routing.table import Route, Table, route_table
from gatebridge.serve.gevent_patch import patch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.engine.seams import Application
    from gatebridge.serve.aio_loop import AioLoop
    from gatebridge.serve.route_board import RouteBoard, WorkerRoutes
    from gatebridge.settings import App, Pool


@dataclass(frozen=True, slots=True)
class Loaded:
    """The sides of one route. new: None where there is none, or it could not be loaded."""

    app: App
    application: Application
    new: Application | None = None


class Applications:
    """A pool's, in its order.

    broken  what the last side raised that did not load and does not answer
    split   of the last table(); None where there is no choice
    loop    of a worker that has asynchronous ones
    answers  who would answer a request, by its environ
    """

    def __init__(self, routes: RouteBoard | None = None, interface: Interface = AUTO) -> None:
        self.broken: BaseException | None = None
        self.loop: AioLoop | None = None
        self.answers: Callable[[dict[str, object]], object] = lambda environ: None
        self.split: Callable[[dict[str, object]], tuple[str, str, str]] | None = None
        self._routes = routes
        self._interface = interface
        self._loaded: list[Loaded] = []

    def add(self, app: App, application: Application) -> None:
        """One that is loaded."""
        self._loaded.append(Loaded(app, application))

    def change(self, dress: Callable[[Application], Application]) -> None:
        """Put something around each of them. table() follows."""
        self._loaded = [
            Loaded(one.app, dress(one.application), dress(one.new) if one.new else None)
            for one in self._loaded
        ]

    def load(self, app: App) -> None:
        """Both sides, in a stem or a worker.

        The side that does not answer may fail to load: that is noted, and the other one answers.
        raises  ConfigError("app.…"), ConfigError("target.…")
        """
        if not app.new:
            self._loaded.append(Loaded(app, self._target(app.target)))
            return
        number = len(self._loaded)
        legacy = self._side(number, app.target, is_new=False)
        if legacy is not None:
            self._loaded.append(Loaded(app, legacy))  # to be closed, whatever follows
        new = self._side(number, app.new, is_new=True)
        if legacy is not None:
            self._loaded[-1] = Loaded(app, legacy, new)
        elif new is not None:
            self._loaded.append(Loaded(app, new))

    def _target(self, target: str) -> Application:
        return load_target(target, os.getcwd(), None, self._interface)

    def _side(self, number: int, target: str, is_new: bool) -> Application | None:
        """None: it does not load, and need not."""
        try:
            return self._target(target)
        except Exception as error:
            board = self._routes
            if board is None or board.is_new(number) == is_new:
                raise
            board.note_failed(number, _sentence(error))
            if board.is_new(number) == is_new:  # switched just now, by who had not seen the note
                raise
            self.broken = error
            return None

    def table(self, worker: WorkerRoutes | None = None) -> Application:
        """One application that is all of them. worker: whose it is; None where nobody switches."""
        places = self._routes.places if self._routes is not None else []
        routes = []
        for number, one in enumerate(self._loaded):
            app = one.app
            routes.append(
                Route(
                    parse_rule(app.match, app.host, app.methods),
                    one.application,
                    one.new,
                    number if one.new is not None else -1,
                    app.timeout,
                    app.limit_body,
                    app.concurrency,
                    places[number] if places else -1,
                )
            )
        made = route_table(routes, worker, worker)
        self.split = made.split if isinstance(made, Table) else None
        self.answers = made.answers if isinstance(made, Table) else lambda environ: made
        return made

    @property
    def sides(self) -> list[Application]:
        """All that may answer."""
        both = [side for one in self._loaded for side in (one.application, one.new)]
        return [side for side in both if side is not None]

    def close(self) -> list[Exception]:
        """They are not needed any more. What went wrong, which keeps none from being closed."""
        found: list[Exception] = []
        sides = {id(side): side for one in self._loaded for side in (one.application, one.new)}
        self._loaded = []
        for side in sides.values():
            close = getattr(side, "close", None)
            if not callable(close):
                continue
            try:
                close()
            except Exception as error:
                found.append(error)
        return found


def _sentence(error: Exception) -> str:
    """Without the traceback that an import's error carries."""
    text = str(error) if isinstance(error, GatebridgeError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0]


def load_applications(pool: Pool, routes: RouteBoard | None = None) -> Applications:
    """Everything that answers a pool's requests.

    routes  who answers now, and where is noted what does not load
    raises  ConfigError("app.…"), ConfigError("target.…"), with those closed that were loaded;
            ConfigError("worker.gevent")
    """
    if pool.settings.worker_class == "gevent":
        patch()
    for folder in reversed([item for item in pool.settings.pythonpath.split(",") if item]):
        sys.path.insert(0, os.path.abspath(folder))
    told = pool.settings
    interface = Interface(told.interface, told.root_path_style, told.lifespan)
    found = Applications(routes, interface)
    try:
        for app in pool.apps:
            found.load(app)
    except BaseException:
        found.close()
        raise
    return found
