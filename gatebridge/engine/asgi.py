"""The HTTP half of ASGI 3: call an application, give it the body, deliver what it sends.

The caller gives an ``AsyncOut`` and an ``AsyncSource``; sockets, records, tasks and logs are
behind them. Nothing here knows the loop: what waits is theirs.
"""

from asyncio import CancelledError

from gatebridge.engine.asgi_call import HttpCall
from gatebridge.environ.scope import http_scope
from gatebridge.wire.request import Request
from gatebridge.wire.upgrade import wants_websocket

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
    opens_websockets  it has scopes of that type; else such a request is one of HTTP
    state     what startup put there, copied for each request
    version   of ASGI: "3.0" or "2.0"
    """

    is_async_engine = True  # what tells it from a WSGI application

    __slots__ = ("_app", "_double", "_lifespan", "opens_websockets", "state", "strips_root_path",
                 "version")  # fmt: skip

    def __init__(
        self,
        app: "AsgiApplication | Any",
        double: bool = False,
        strip: bool = False,
        lifespan: "Lifespan | None" = None,
        opens_websockets: bool = True,
    ) -> None:
        self._app: Any = app
        self._double = double
        self.strips_root_path = strip
        self._lifespan = lifespan
        self.opens_websockets = opens_websockets
        self.version = "2.0" if double else "3.0"
        self.state: dict[str, Any] = {}

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
            self.state = await self._lifespan.startup()

    async def shutdown(self) -> None:
        """Behind the last one. raises AppError("lifespan.…"), for the log."""
        if self._lifespan is not None:
            await self._lifespan.shutdown()

    def begin(self, scope: "dict[str, Any]", receive: "Any", send: "Any") -> "Any":
        """The application's own coroutine."""
        if self._double:
            return self._app(scope)(receive, send)
        return self._app(scope, receive, send)

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

        Raises CancelledError and GeneratorExit only. Whoever cancels has answered before, or set
        out.gone; else the client gets the 500 or the cut that an exception would give.
        """
        if "HTTP_UPGRADE" in environ and self.opens_websockets and wants_websocket(environ):
            from gatebridge.engine.asgi_opening import open_websocket  # few applications have any

            return await open_websocket(self, request, environ, out, source)
        call = HttpCall(request, environ["REQUEST_METHOD"] == "HEAD", length, out, source)
        try:
            scope = http_scope(request, environ, self.version, self.strips_root_path)
            scope["state"] = self.state.copy()
            carried = out.extensions
            if carried:
                scope["extensions"] = {name: dict(carried[name]) for name in carried}
            coroutine = self.begin(scope, call.receive, call.send)
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
