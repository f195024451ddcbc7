"""The sending half of a connection of an asyncio worker: what the peer does not take is kept."""

import socket
from _socket import MSG_DONTWAIT
from collections import deque

from gatebridge.wire.http import Http

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Sequence

    from gatebridge.serve.aio_exchange import AioExchange
    from gatebridge.serve.aio_tasks import Tasks
    from gatebridge.serve.site import Site, Wire

Piece = bytes | memoryview

HIGH = 1 << 16  # bytes kept for a peer, beyond which an application should wait
LOW = 1 << 14  # where it goes on
_PIECES = 64  # of one sendmsg

_FILES: dict[str, dict[str, object]] = {"http.response.pathsend": {}}
_HTTP: dict[str, dict[str, object]] = {
    "http.response.pathsend": {},
    "http.response.early_hint": {},
    "http.response.trailers": {},
}


class AioSender:
    """What a connection has, and how it sends.

    progress  monotonic; when the peer last took something of what is kept for it
    """

    __slots__ = ("_drainers", "_outbox", "_outbox_size", "_pumped", "_writes", "closed", "fd",
                 "progress", "site", "sock", "tasks", "wire")  # fmt: skip

    def __init__(
        self, sock: socket.socket, site: "Site", tasks: "Tasks", wire: "Wire | None"
    ) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.site = site
        self.tasks = tasks
        self.wire = wire if wire is not None else site.new_wire(site.limits)
        self.closed = False
        self.progress = 0.0
        self._outbox: deque[Piece] = deque()
        self._outbox_size = 0
        self._writes = False  # the event loop watches for room
        self._drainers: list[Future[None]] = []
        self._pumped: list[AioExchange] = []  # they send files

    def lost(self) -> None:
        """Nothing can be sent any more."""
        raise NotImplementedError

    def answered(self) -> None:
        """All is sent: what comes next?"""
        raise NotImplementedError

    @property
    def extensions(self) -> dict[str, dict[str, object]]:
        return _HTTP if self.site.name == "http" else _FILES

    @property
    def congested(self) -> bool:
        return self._outbox_size > HIGH

    async def drained(self, exchange: "AioExchange") -> None:
        """Wait until little is kept for the peer. raises ConnectionResetError"""
        while self._outbox_size > LOW and not exchange.gone:
            waiter = self.tasks.new_future()
            self._drainers.append(waiter)
            await waiter
        if exchange.gone:
            raise ConnectionResetError("the peer has left")

    def send(self, pieces: "Sequence[Piece]") -> None:
        """Send, or keep what the peer does not take now. raises ConnectionResetError"""
        if self.closed:
            raise ConnectionResetError("the peer has left")
        if not pieces:
            return
        count = 0
        if not self._outbox:
            try:
                if len(pieces) == 1:
                    count = self.sock.send(pieces[0], MSG_DONTWAIT)
                    if count == len(pieces[0]):
                        return
                else:
                    count = self.sock.sendmsg(pieces[:_PIECES], (), MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except OSError as error:
                self.lost()
                raise ConnectionResetError(f"the peer has left: {error}") from None
        self._keep(pieces, count)

    def _keep(self, pieces: "Sequence[Piece]", count: int) -> None:
        """Keep what is left of the pieces after count bytes."""
        for piece in pieces:
            size = len(piece)
            if count >= size:
                count -= size
                continue
            self._outbox.append(memoryview(piece)[count:] if count else piece)
            self._outbox_size += size - count
            count = 0
        if self._outbox and not self._writes:
            self._writes = True
            self.progress = self.tasks.now()
            self.tasks.loop.add_writer(self.fd, self.writable)

    def writable(self) -> None:
        """Send on."""
        if self.closed:
            return
        outbox = self._outbox
        first = [outbox[at] for at in range(min(len(outbox), _PIECES))]
        try:
            count = self.sock.sendmsg(first, (), MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.lost()
            return
        self.progress = self.tasks.now()
        self._outbox_size -= count
        while outbox and count >= len(outbox[0]):
            count -= len(outbox.popleft())
        if count:
            outbox[0] = memoryview(outbox[0])[count:]
        if not outbox:
            self._writes = False
            self.tasks.loop.remove_writer(self.fd)
        if self._outbox_size <= LOW:
            self.wake_drainers()
            for exchange in self._pumped[:]:
                self.pump(exchange)
        if not (outbox or self.closed):
            self.answered()

    def pump(self, exchange: "AioExchange") -> None:
        """Go on with a file that an exchange sends."""
        if exchange.pump_file():
            if exchange in self._pumped:
                self._pumped.remove(exchange)
        elif exchange not in self._pumped:
            self._pumped.append(exchange)

    def wake_drainers(self) -> None:
        waits, self._drainers = self._drainers, []
        for waiter in waits:
            if not waiter.done():
                waiter.set_result(None)

    def early(self, headers: list[tuple[bytes, bytes]]) -> list[Piece]:
        """A 103, where extensions promise it."""
        return self.wire.send_hints(headers) if isinstance(self.wire, Http) else []

    def trail(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Fields behind the body, where extensions promise them."""
        if isinstance(self.wire, Http):
            self.wire.keep_trailers(headers)
