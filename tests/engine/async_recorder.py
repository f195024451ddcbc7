"""One call of an ASGI application through the engine, and everything it did to its AsyncOut."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from gatebridge.engine.asgi import Asgi
from gatebridge.engine.lifespan import Lifespan
from gatebridge.environ.build import Builder
from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head
from gatebridge.wire.request import Request
from tests.environ.making import GET, request

Message = dict[str, Any]
App = Callable[[Message, Any, Any], Awaitable[None]]
TEXT = (b"content-type", b"text/plain")


class AsyncRecorder:
    """An AsyncOut that notes each call in order.

    extensions    what it carries
    leaves_after  bytes of body after which the peer has left
    high          bytes kept for a slow peer above which drain() waits for read()
    files         whether file() sends
    """

    def __init__(
        self,
        extensions: tuple[str, ...] = (),
        leaves_after: int = -1,
        high: int = 1 << 30,
        files: bool = True,
    ) -> None:
        self.extensions: dict[str, dict[str, object]] = {name: {} for name in extensions}
        self.events: list[tuple[str, bytes]] = []
        self.heads: list[Head] = []
        self.body = bytearray()
        self.fields: list[tuple[bytes, bytes]] = []  # of hints or trailers
        self.notes: list[str] = []  # codes
        self.incidents: list[str] = []
        self.refusals: list[str] = []  # codes
        self.log = ""
        self.gone = False
        self.running: object = None
        self.files = files
        self._leaves_after = leaves_after
        self._high = high
        self._kept = 0
        self._below = asyncio.Event()
        self.left = asyncio.Event()  # the peer has left, or the answer is complete

    def _take(self, name: str, data: bytes) -> None:
        if self.gone or 0 <= self._leaves_after < len(self.body) + len(data):
            self.leave()
            raise ConnectionResetError("the peer has left")
        assert type(data) is bytes
        self.events.append((name, data))
        self.body += data
        self._kept += len(data)

    def leave(self) -> None:
        self.gone = True
        self.left.set()

    def read(self) -> None:
        """The peer takes all that is kept for it."""
        self._kept = 0
        self._below.set()

    @property
    def congested(self) -> bool:
        return self._kept > self._high

    async def drain(self) -> None:
        self._below.clear()
        self.events.append(("drain", b""))
        await self._below.wait()

    def answer(self, head: Head, body: bytes) -> None:
        self.heads.append(head)
        self._take("answer", body)
        self.left.set()

    def start(self, head: Head, data: bytes) -> None:
        self.heads.append(head)
        self._take("start", data)

    def write(self, data: bytes) -> None:
        self._take("write", data)

    def file(self, head: Head, path: str) -> bool:
        if self.files:
            self.heads.append(head)
            self._take("file", path.encode())
        return self.files

    def hints(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._take("hints", b"")
        self.fields = headers

    def trailers(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._take("trailers", b"")
        self.fields += headers

    def end(self) -> None:
        self._take("end", b"")
        self.left.set()

    def cut(self, error: BaseException) -> None:
        self.events.append(("cut", b""))
        self.left.set()

    def failed(self, incident: str, error: BaseException) -> None:
        self.incidents.append(incident)
        self.log += "".join(traceback.format_exception(error))

    def refused(self, incident: str, error: PeerError) -> None:
        self.incidents.append(incident)
        self.refusals.append(error.code)

    def note(self, error: AppError) -> None:
        self.notes.append(error.code)

    # -- what the tests ask

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    @property
    def head(self) -> Head:
        (head,) = self.heads
        return head

    @property
    def status(self) -> str:
        return self.head.status


class Feed:
    """An AsyncSource. pieces: what comes, one at a time; an exception is raised in its place.

    end  an exception in place of the stream's end
    """

    def __init__(
        self, out: AsyncRecorder, pieces: "tuple[bytes | BaseException, ...]" = ()
    ) -> None:
        self._out = out
        self._pieces = list(pieces)
        self._arrived = b""
        self.waits = 0

    def arrive(self) -> None:
        """The next piece comes before anybody waits for it."""
        piece = self._pieces.pop(0)
        assert isinstance(piece, bytes)
        self._arrived += piece

    @property
    def complete(self) -> bool:
        return not self._pieces

    def take(self) -> bytes:
        data, self._arrived = self._arrived, b""
        return data

    async def more(self) -> bytes:
        self.waits += 1
        await asyncio.sleep(0)
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    async def gone(self) -> None:
        await self._out.left.wait()


def made(
    method: str = "GET",
    first: bytes = b"",
    length: int | None = None,
    complete: bool = True,
    **vars: str,
) -> Request:
    """A request for /p; length: its CONTENT_LENGTH."""
    pairs = {**GET, "REQUEST_URI": "/p", "PATH_INFO": "/p", "SERVER_PROTOCOL": "HTTP/1.1"}
    pairs |= {"REQUEST_METHOD": method, **vars}
    if length is not None:
        pairs["CONTENT_LENGTH"] = str(length)
    return request([*pairs.items()], body=first, complete=complete)


async def serve(engine: Asgi, asked: Request, out: AsyncRecorder, feed: Feed) -> None:
    environ, length = Builder().build(asked)
    await engine.serve(asked, environ, length, out, feed)


def ask(
    app: App | Any,
    asked: Request | None = None,
    out: AsyncRecorder | None = None,
    pieces: "tuple[bytes | BaseException, ...]" = (),
    double: bool = False,
    strip: bool = False,
) -> AsyncRecorder:
    """Run an application once, to its end."""
    recorder = out or AsyncRecorder()
    asked = asked or made()
    engine = Asgi(app, double, strip)
    asyncio.run(serve(engine, asked, recorder, Feed(recorder, pieces)))
    return recorder


def sending(*messages: Any) -> App:
    """An application that sends these and returns."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def start(status: Any = 200, *headers: Any, **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: Any = b"", more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def engine_of(app: Any, mode: str = "auto", double: bool = False) -> Asgi:
    return Asgi(app, double, False, Lifespan(app, double, mode))
