"""What the daemon itself answers (probe_answer.py), where requests are an event loop's.

Its answers are small WSGI applications that may wait, so a thread asks each for its next piece.
"""

from __future__ import annotations

from asyncio import get_running_loop
from io import BytesIO
from typing import TYPE_CHECKING, Any

from gatebridge.engine.asgi import Asgi

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application

_BODY_MOST = 1 << 20  # bytes; what doctor sends is smaller


def answering(application: Application) -> Asgi:
    """The ASGI application that answers as this WSGI one does, once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = await _body(receive)
        environ: dict[str, object] = {"wsgi.input": BytesIO(body)}
        head: list[Any] = []
        result = application(environ, lambda status, headers: head.extend((status, headers)))
        status, headers = head
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers]
        await send({"type": "http.response.start", "status": int(status[:3]), "headers": pairs})
        pieces = iter(result)
        try:
            while (piece := await _next(pieces)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            if hasattr(result, "close"):
                result.close()
        await send({"type": "http.response.body"})

    return Asgi(app)


async def _body(receive: Any) -> bytes:
    body = bytearray()
    while len(body) < _BODY_MOST:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(body)


async def _next(pieces: Any) -> bytes | None:
    piece: bytes | None = await get_running_loop().run_in_executor(None, next, pieces, None)
    return piece
