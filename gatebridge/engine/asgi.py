"""The HTTP half of ASGI 3: call an application, give it the body, deliver what it sends.

The caller gives an ``AsyncOut`` and an ``AsyncSource``; sockets, records, tasks and logs are
behind them. Nothing here knows the loop: what waits is theirs.
"""

from asyncio import CancelledError

from gatebridge.engine.asgi_call import HttpCall
from gatebridge.environ.scope import http_scope
from gatebridge.wire.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gatebridge.engine.aseams import AsgiApplication, AsyncOut, AsyncSource
    from gatebridge.engine.lifespan import Lifespan


class Asgi:
    """One ASGI application in one event loop.

    app       called with (scope, receive, send); with (scope) first where double is set
    double    ASGI 2
    strip     root_path is no part of path
    lifespan  its startup and shutdown; None for an application that gets neither
    """

    is_async_engine = True  # what tells it from a WSGI application

    __slots__ = ("_app", "_double", "_lifespan", "_state", "_version", "strips_root_path")

    def __init__(
        self,
        app: "AsgiApplication | Any",
        double: bool = False,
        strip: bool = False,
        lifespan: "Lifespan | None" = None,
    ) -> None:
        self._app: Any = app
        self._double = double
        self.strips_root_path = strip
        self._lifespan = lifespan
        self._version = "2.0" if double else "3.0"
        self._state: dict[str, Any] = {}  # what startup put there, copied for each request

    def __call__(self, environ: dict[str, object], start_response: object) -> tuple[bytes, ...]:
        """As a WSGI application, which routes take it for: says who is to serve the request.

        Whoever called takes ``environ["gatebridge.asgi"]`` and awaits its serve().
        """
        environ["gatebridge.asgi"] = self
        return ()

    @property
    def without_lifespan(self) -> str:
        """Why the application gets no lifespan events; "" where it does."""
        return self._lifespan.absent if self._lifespan is not None else "it is off"

    async def startup(self) -> None:
        """Before the first request. raises AppError("lifespan.failed") with what it says."""
        if self._lifespan is not None:
            self._state = await self._lifespan.startup()

    async def shutdown(self) -> None:
        """Behind the last one. raises AppError("lifespan.…"), for the log."""
        if self._lifespan is not None:
            await self._lifespan.shutdown()

    async def serve(
        self,
        request: Request,
        environ: dict[str, object],
        length: int,
        out: "AsyncOut",
        source: "AsyncSource",
    ) -> None:
        """Call the application once and deliver its answer.

        environ  of Builder.build(), with length, bytes of body or UNKNOWN_LENGTH
        source   what comes behind request.body; not touched where the request is complete

        Raises CancelledError and GeneratorExit, nothing else. Whoever cancels has answered before,
        or set out.gone; else the client gets the 500 or the cut that an exception would give.
        """
        call = HttpCall(request, environ["REQUEST_METHOD"] == "HEAD", length, out, source)
        try:
            scope = http_scope(request, environ, self._version, self.strips_root_path)
            scope["state"] = self._state.copy()
            carried = out.extensions
            if carried:
                scope["extensions"] = {name: dict(carried[name]) for name in carried}
            if self._double:
                coroutine = self._app(scope)(call.receive, call.send)
            else:
                coroutine = self._app(scope, call.receive, call.send)
            out.running = coroutine
            await coroutine
            call.finish()
        except GeneratorExit:
            raise
        except BaseException as error:  # SystemExit of the application's too: it ends no worker
            try:
                call.fail(error)
            except ConnectionError:  # left while we told it: `out` knows
                pass
            if isinstance(error, CancelledError):
                raise
