"""gatebridge dev: the daemon with a debugger around the applications it loads."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from gatebridge.apps.debugger import with_debugger
from gatebridge.daemon import Daemon
from gatebridge.errors import GatebridgeError
from gatebridge.loading import Applications
from gatebridge.serve.restart import INNER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatebridge.config import Asked
    from gatebridge.engine.seams import Application
    from gatebridge.serve.notify import Passed
    from gatebridge.serve.route_board import RouteBoard
    from gatebridge.settings import Configuration, Pool

_DEBUG: Final = ("FLASK_DEBUG", "QUART_DEBUG")


class Debugging(Daemon):
    """Hooks for development.

    An application that does not load is answered for with its traceback, until it is mended.

    evalex    as in with_debugger()
    hostname  as there
    """

    def __init__(
        self,
        asked: Asked,
        configuration: Configuration,
        passed: Passed,
        inboxes: dict[str, list[int]],
        evalex: bool = True,
        hostname: str = "",
    ) -> None:
        super().__init__(asked, configuration, passed, inboxes)
        self._evalex = evalex
        self._hostname = hostname

    def load_applications(self, pool: Pool, routes: RouteBoard | None) -> Applications:
        os.environ[INNER] = "true"  # Werkzeug's debugger shows its PIN there
        for name in _DEBUG:  # or these keep exceptions to themselves
            os.environ.setdefault(name, "1")
        try:
            found = super().load_applications(pool, routes)
        except GatebridgeError as error:
            print(f"gatebridge: {error}", file=sys.stderr, flush=True)
            found = Applications(routes)
            found.broken = error  # its files are followed
            found.add(pool.apps[0], _raising(error.__cause__ or error))
        found.change(self._shown)
        return found

    def _shown(self, app: Application) -> Application:
        """WSGI applications of the user's own: others are no Python, or have pages of theirs."""
        if type(app).__module__.startswith("gatebridge."):
            return app
        return with_debugger(app, self._evalex, self._hostname)


def _raising(error: BaseException) -> Application:
    traceback = error.__traceback__

    def broken(environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        cause = error if isinstance(error, Exception) else RuntimeError(repr(error))
        raise cause.with_traceback(traceback)

    return broken
