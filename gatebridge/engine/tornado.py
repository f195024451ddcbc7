"""A Tornado ``Application`` as an ASGI application: no server of Tornado's is needed.

Tornado asks little of its server: a delegate is told of the request, and answers through an
"HTTP connection", which here turns each call into ASGI's messages. Everything that is to be said
about answers, lengths, clients that leave and failures is then engine/asgi_call.py's.

What Tornado has no word for: the mount. Routes are matched below it, and a handler finds it in
``self.request.connection.context.root_path``.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.engine.aseams import Message, Receive, Send

_NO_WEBSOCKET = (
    b"Not Implemented\n\nThis way of serving Tornado has no WebSockets: a web server's FastCGI, "
    b"SCGI and CGI modules carry requests and answers only. Let tornado.httpserver serve them.\n"
)


class TornadoAsgi:
    """app: a tornado.web.Application. It has no lifespan; the running loop is Tornado's IOLoop."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._httputil = import_module("tornado.httputil")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        answer = Answer(Context(scope), send)
        delegate = self._app.start_request(None, answer)
        line = self._httputil.RequestStartLine(
            scope["method"], _target(scope), f"HTTP/{scope['http_version']}"
        )
        headers = self._httputil.HTTPHeaders()
        for name, value in scope["headers"]:
            headers.add(name.decode("latin-1"), value.decode("latin-1"))
        await _waited(delegate.headers_received(line, headers))
        leaving: asyncio.Task[None] | None = None
        try:
            if await _give_body(delegate, receive, answer):
                delegate.finish()
                leaving = asyncio.ensure_future(_watch(receive, answer))
                await answer.over
            else:
                answer.left()
                delegate.on_connection_close()
        finally:
            if leaving is not None:
                leaving.cancel()


class Context:
    """What tornado.httputil.HTTPServerRequest asks about the other end, and what it cannot ask."""

    def __init__(self, scope: Message) -> None:
        client = scope.get("client")
        self.remote_ip = client[0] if client else "0.0.0.0"
        self.protocol = scope["scheme"]
        self.root_path = scope.get("root_path", "")
        self.scope = scope


class Answer:
    """In place of a tornado.httputil.HTTPConnection.

    finished  the handler has given all of it
    most      bytes of the request's body, where the handler sets a limit of its own
    over      done when there is nothing more to wait for; an exception where the answer failed
    """

    def __init__(self, context: Context, send: Send) -> None:
        self.context = context
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send = send
        self.finished = False
        self.most: int | None = None
        self._held: bytes | None = None  # the first piece, until it is known whether more follows
        self._closed: Callable[[], object] | None = None
        self._gone = False

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        self._closed = callback

    def set_max_body_size(self, max_body_size: int) -> None:
        self.most = max_body_size

    def set_body_timeout(self, timeout: float) -> None:
        """--body-timeout counts, which is from byte to byte."""

    def refuse(self) -> None:
        """The body is longer than the handler wants it."""
        fields = [(b"content-type", b"text/plain")]
        self._pass({"type": "http.response.start", "status": 413, "headers": fields})
        self._pass({"type": "http.response.body", "body": b"Content Too Large\n"})

    def left(self) -> None:
        """The client has; RequestHandler.on_connection_close() is called, once."""
        self._gone = True
        callback, self._closed = self._closed, None
        if callback is not None:
            callback()
        self._end(None)

    def write_headers(
        self, start_line: Any, headers: Any, chunk: bytes | None = None
    ) -> asyncio.Future[None]:
        code = start_line.code
        fields = [(name.encode("latin-1"), _bytes(value)) for name, value in headers.get_all()]
        if code == 101:
            code, chunk = 501, _NO_WEBSOCKET
            fields = [(b"content-type", b"text/plain")]
        done = self._pass({"type": "http.response.start", "status": code, "headers": fields})
        if not done.done() or done.exception() is None:
            self._held = bytes(chunk or b"")
            asyncio.get_running_loop().call_soon(self._release)
        return done

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        self._release()
        return self._pass({"type": "http.response.body", "body": bytes(chunk), "more_body": True})

    def finish(self) -> None:
        self.finished, self._closed = True, None
        data, self._held = self._held or b"", None
        done = self._pass({"type": "http.response.body", "body": data, "more_body": False})
        done.add_done_callback(self._finished)

    def detach(self) -> Any:
        raise ValueError("a WebSocket, and no stream to take over")

    def _release(self) -> None:
        """Send the first piece: the handler waits, or more is there."""
        data, self._held = self._held, None
        if data is not None:
            self._pass({"type": "http.response.body", "body": data, "more_body": True})

    def _pass(self, message: Message) -> asyncio.Future[None]:
        """send(), with the future that Tornado's handlers wait for."""
        done: asyncio.Future[None]
        try:
            if self._gone:
                raise ConnectionResetError("the client has left")
            done = asyncio.ensure_future(_sent(self._send(message)))
        except Exception as error:  # refused at once; the handler sees it where it waits
            done = asyncio.get_running_loop().create_future()
            done.set_exception(error)
        done.add_done_callback(self._passed)
        return done

    def _passed(self, done: asyncio.Future[None]) -> None:
        """A failure ends the request: nobody may be waiting for this future."""
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._end(error)

    def _finished(self, done: asyncio.Future[None]) -> None:
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if self.over.done():
            return
        if error is None or isinstance(error, ConnectionError):
            self.over.set_result(None)
        else:
            self.over.set_exception(error)


async def _sent(waiting: Any) -> None:
    await waiting


async def _give_body(delegate: Any, receive: Receive, answer: Answer) -> bool:
    """Tell the delegate of the body as it comes.

    False: the client has left before its end, or it was too long.
    """
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return False
        data = message.get("body", b"")
        size += len(data)
        if answer.most is not None and size > answer.most and not answer.finished:
            answer.refuse()
            return False
        if data:
            await _waited(delegate.data_received(data))
        if not message.get("more_body", False):
            return True


async def _watch(receive: Receive, answer: Answer) -> None:
    await receive()
    if not answer.finished:
        answer.left()


async def _waited(perhaps: Any) -> None:
    """A delegate gives a future where the body must wait, as with @stream_request_body."""
    if perhaps is not None:
        await perhaps


def _target(scope: Message) -> str:
    """As a client would write it: the raw path below the mount, with the query."""
    path: str = scope["raw_path"].decode("latin-1")
    query: str = scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _bytes(value: str) -> bytes:
    """As tornado.http1connection writes a header."""
    return value.encode("latin-1")
