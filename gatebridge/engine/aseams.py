"""What the ASGI engine needs of its callers, as types. Never imported at run time."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head
from gatebridge.wire.request import Request

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class AsyncSource(Protocol):
    """Where a body comes from: what follows request.body. The engine cuts at CONTENT_LENGTH."""

    @property
    def complete(self) -> bool:
        """No more body will come than what take() gives now."""

    def take(self) -> bytes:
        """What has arrived and nobody took yet, b"" if nothing; lets the peer send more."""

    async def more(self) -> bytes:
        """The next piece, waited for; b"" at the stream's end.

        Raises ConnectionError when the peer has left before the end, PeerError("body.…") when the
        rest cannot be had: it is too big, or nothing came for too long.
        """

    async def gone(self) -> None:
        """Returns once the peer has left or the answer is complete."""


class AsyncOut(Protocol):
    """Where an answer goes. No member blocks; bytes that cannot leave yet are kept.

    answer() to end(), file() and hints() raise ConnectionError once the peer has left. answer(),
    start() and file() may refuse a head with AppError, having sent nothing.

    running  the engine puts the application's own awaitable there, for whoever shows its stack
    """

    running: object

    @property
    def extensions(self) -> dict[str, dict[str, object]]:
        """What of ASGI's this protocol carries, as scope["extensions"] says it; {} for nothing.

        "http.response.early_hint" promises hints(), "http.response.pathsend" file(),
        "http.response.trailers" trailers(). One dict for all requests: the engine copies it.
        """

    @property
    def congested(self) -> bool:
        """Above the high-water mark: a write() should be followed by ``await drain()``."""

    @property
    def gone(self) -> bool:
        """The peer has left: nobody waits for this answer."""

    def answer(self, head: Head, body: bytes) -> None:
        """The whole answer; nothing follows."""

    def start(self, head: Head, data: bytes) -> None:
        """The head and the first piece, which may be empty: it is sent all the same."""

    def write(self, data: bytes) -> None:
        """A further piece."""

    def file(self, head: Head, path: str) -> bool:
        """The head and the whole file, and the end. False: not carried here, nothing was sent."""

    def hints(self, headers: list[tuple[bytes, bytes]]) -> None:
        """A 103 with these fields, before the head."""

    def trailers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Fields behind the body. end() follows."""

    def end(self) -> None:
        """The answer is complete."""

    def cut(self, error: BaseException) -> None:
        """The answer failed half-way: let the client see that it is not complete."""

    async def drain(self) -> None:
        """Until below the low-water mark. Raises ConnectionError when the peer leaves."""

    def failed(self, incident: str, error: BaseException) -> None:
        """Put the traceback where the operator looks, under the incident's id."""

    def refused(self, incident: str, error: PeerError) -> None:
        """One line for the operator: the request was refused, and its page names the incident."""

    def note(self, error: AppError) -> None:
        """One line for the operator: something of this answer was put right."""


class RawReader(Protocol):
    """Who gets a connection's bytes behind a 101."""

    def received(self, data: bytes) -> None:
        """What came; b"" once nothing more will, which may be said twice."""

    def goes_away(self) -> None:
        """The worker ends: say goodbye, soon."""


class RawBytes(Protocol):
    """A connection behind its 101.

    early   bytes that came before it
    most    bytes of one message that the operator allows, 0 for any number
    ping_s  between two pings, 0.0 for none
    paused  the peer is not read from
    """

    early: bytes
    most: int
    ping_s: float

    @property
    def paused(self) -> bool: ...

    def send(self, data: bytes) -> None:
        """Raises ConnectionError once the peer has left."""

    def pause(self) -> None:
        """Take no more from the peer."""

    def resume(self) -> None:
        """Go on."""

    def end(self, unread: bool, left: bool) -> None:
        """Close when all is sent.

        unread  the peer may be sending: let it read the end first
        left    it was not the application that ended it, so it has a grace to find out
        """


class Upgradable(AsyncOut, Protocol):
    """An AsyncOut whose connection may become another protocol's.

    no_upgrade  why it cannot; "" where it can
    """

    @property
    def no_upgrade(self) -> str: ...

    def upgrade(self, head: bytes, reader: RawReader) -> RawBytes:
        """Send a 101 and give bytes to reader from now on. drain() and congested still hold."""


class AsyncEngine(Protocol):
    """What serves an application in an event loop: engine.asgi.Asgi, or one for Tornado.

    is_async_engine  True; what tells it from a WSGI application, as which it can be called
    """

    is_async_engine: bool

    def __call__(self, environ: dict[str, object], start_response: object) -> tuple[bytes, ...]:
        """``environ["gatebridge.asgi"] = self``, and nothing else."""

    async def startup(self) -> None:
        """Before the first request. Raises AppError where the application refuses to start."""

    async def shutdown(self) -> None:
        """Behind the last one. Raises AppError, for the log; whoever calls bounds the wait."""

    async def serve(
        self,
        request: Request,
        environ: dict[str, object],
        length: int,
        out: AsyncOut,
        source: AsyncSource,
    ) -> None:
        """Answer one request; see Asgi.serve()."""
