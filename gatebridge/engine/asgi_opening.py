"""A request that asks for a WebSocket: refused, or given to the application."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

from gatebridge.engine.pages import new_incident, refusal_page
from gatebridge.environ.scope import websocket_scope
from gatebridge.errors import PeerError
from gatebridge.wire.upgrade import offered_subprotocols, opening_key

if TYPE_CHECKING:
    from gatebridge.engine.aseams import AsyncSource
    from gatebridge.engine.asgi import Asgi
    from gatebridge.engine.asgi_websocket import WebSocketCall
    from gatebridge.wire.request import Request

_DENIAL = "websocket.http.response"
_NO_PROCESS = "a CGI program has one answer, and no connection to keep"


async def open_websocket(
    engine: Asgi, request: Request, environ: dict[str, object], out: Any, source: AsyncSource
) -> None:
    """Serve it to its end, or answer 400, 426 or 501. Raises as Asgi.serve() does.

    out  an AsyncOut; an Upgradable where it has ``no_upgrade``
    """
    try:
        call = _call(request, environ, out, source)
    except PeerError as error:
        incident = new_incident()
        out.refused(incident, error)
        try:
            out.answer(*refusal_page(error, incident, False))
        except ConnectionError:  # `out` knows
            pass
        return
    try:
        await _run(engine, request, environ, out, call)
    finally:
        call.forget()


def _call(
    request: Request, environ: dict[str, object], out: Any, source: AsyncSource
) -> WebSocketCall:
    """raises PeerError("websocket.…")"""
    why = getattr(out, "no_upgrade", _NO_PROCESS)
    if why:
        raise PeerError("websocket.carried", why)
    if request.body or not request.complete:  # it would be taken for frames
        raise PeerError("websocket.malformed", "an opening has no body")
    key = opening_key(environ)
    try:
        from gatebridge.engine.asgi_websocket import WebSocketCall
    except ImportError as error:
        why = f'pip install "gatebridge[ws]" adds what WebSockets need: {error}'
        raise PeerError("websocket.missing", why) from error
    return WebSocketCall(request, key, out, source)


async def _run(
    engine: Asgi, request: Request, environ: dict[str, object], out: Any, call: WebSocketCall
) -> None:
    try:
        scope = websocket_scope(request, environ, engine.version, engine.strips_root_path)
        scope["subprotocols"] = offered_subprotocols(environ)
        scope["state"] = engine.state.copy()
        scope["extensions"] = {_DENIAL: {}}
        coroutine = engine.begin(scope, call.receive, call.send)
        out.running = coroutine
        await coroutine
        await call.finish()
    except GeneratorExit:
        raise
    except BaseException as error:  # as in Asgi.serve()
        try:
            await call.fail(error)
        except ConnectionError:
            pass
        if isinstance(error, CancelledError):
            raise
