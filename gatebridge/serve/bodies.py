"""The request bodies of a connection: read off the socket by whoever wants them."""

from __future__ import annotations

import struct
from _socket import MSG_DONTWAIT, MSG_WAITALL, SO_RCVTIMEO, SOL_SOCKET
from select import POLLIN, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.engine.body import CHUNK
from gatebridge.errors import PeerError
from gatebridge.serve.sending import Piece, Sender
from gatebridge.wire.events import STDIN

if TYPE_CHECKING:
    import socket

    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.site import Site

_ALONE_MS = 1000  # a wait, where another thread of the application may send meanwhile
_SLICE_MS = 10  # two requests of one connection may read each other's bytes off the socket
_MOST = 127 << 10  # bytes received at once; the C library maps larger blocks anew each time


class BodyReader(Sender):
    """The ``Source`` of a connection's exchanges; see engine.seams."""

    __slots__ = ("_waits", "reading")

    def __init__(self, sock: socket.socket, site: Site) -> None:
        super().__init__(sock, site)
        self.reading = 0  # threads that wait for a body, and take in whatever comes
        self._waits = False  # SO_RCVTIMEO is set

    def pull(self, exchange: Exchange, want: int) -> bytes:
        """A piece of an exchange's STDIN; see engine.seams.Source."""
        deadline = monotonic() + exchange.idle_s
        self._begin_reading()
        try:
            while True:
                with self.lock:
                    piece = self._piece(exchange, want)
                if piece is not None:
                    return piece
                self._wait_readable(deadline)
        finally:
            self._end_reading()

    def pull_data(self, exchange: Exchange, want: int) -> bytes:
        """The same for the DATA stream of a FILTER."""
        deadline = monotonic() + exchange.idle_s
        self._begin_reading()
        try:
            while True:
                with self.lock:
                    piece = self._data_piece(exchange, want)
                if piece is not None:
                    return piece
                self._wait_readable(deadline)
        finally:
            self._end_reading()

    def _begin_reading(self) -> None:
        """From now on the watch leaves the socket to us: it would take what we wait for."""
        with self.lock:
            self.reading += 1

    def _end_reading(self) -> None:
        with self.lock:
            self.reading -= 1

    def _piece(self, exchange: Exchange, want: int) -> bytes | None:
        """What is kept, b"" at the end, or what can be received; None when the socket is dry."""
        while True:
            if exchange.feed is not None and exchange.feed.size:
                return exchange.feed.get(want)
            self._check(exchange)
            if exchange.ended:
                return b""
            data = self._receive_body(exchange, want)
            if data is None or data:
                return data

    def _check(self, exchange: Exchange) -> None:
        """Raise what keeps a body from being read on. The id may be another request's by now."""
        if exchange.error is not None:
            raise exchange.error
        if exchange.gone:
            raise ConnectionResetError("the peer left before the end of the body")
        if not exchange.ended and self.exchanges.get(exchange.id) is not exchange:
            raise ConnectionResetError("the request is answered; its body cannot be read any more")

    def _data_piece(self, exchange: Exchange, want: int) -> bytes | None:
        while True:
            if exchange.data is not None and exchange.data.size:
                return exchange.data.get(want)
            self._check(exchange)
            if exchange.data_ended:
                return b""
            if self._receive_body(exchange, 0) is None:
                return None

    def gather(self, exchange: Exchange, want: int) -> bytes:
        """The next want bytes of STDIN, fewer only at its end; see engine.seams.Source."""
        parts: list[Piece] = []
        while want > 0:
            with self.lock:
                want = self._gather_direct(exchange, parts, want, False)
            if want > 0 and exchange.has_turn and len(self.exchanges) == 1:  # nobody else reads
                want = self._gather_alone(exchange, parts, want)
            if want > 0:
                piece = self.pull(exchange, want)
                if not piece:
                    break
                want -= len(piece)
                parts.append(piece)
        if len(parts) == 1 and isinstance(parts[0], bytes):
            return parts[0]
        return b"".join(parts)

    def _gather_alone(self, exchange: Exchange, parts: list[Piece], want: int) -> int:
        """The same with waiting, as long as the next bytes are known to be body.

        Without the lock: only for the connection's one request, in the thread that has the turn.
        Nobody else reads then, and every byte that is waited for is due.
        """
        if not self._waits:
            self._waits = True
            seconds = max(1, int(exchange.idle_s))
            self.sock.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack("ll", seconds, 0))
        with self.lock:
            self.reading += 1
            self._alone = True
        self.site.gate.enter()
        try:
            return self._gather_direct(exchange, parts, want, True)
        finally:
            self.site.gate.leave()
            with self.lock:
                self.reading -= 1
                self._alone = False

    def _gather_direct(self, exchange: Exchange, parts: list[Piece], want: int, waits: bool) -> int:
        """Receive while the next bytes are known to be body. Returns what is still wanted."""
        wire = self.wire
        id = exchange.id
        if exchange.gone or exchange.ended or self.exchanges.get(id) is not exchange:
            return want  # lost, whole or answered: pull() says so
        if exchange.feed is not None and exchange.feed.size:
            return want
        while want > 0:
            size = wire.due(id, want)
            if size <= 0:
                break
            data = self._receive_due(min(size, _MOST), MSG_DONTWAIT)
            if not data and waits:
                data = self._receive_due(min(wire.sure(id, want), _MOST), MSG_WAITALL)
            if not data:
                break
            at, body = wire.take(id, data, 0, parts)
            want -= body
            if at < len(data):
                self.arrived(data[at:])
                if exchange.ended or (exchange.feed is not None and exchange.feed.size):
                    break
        if want < 0:  # more framing was foreseen than there was
            whole = b"".join(parts)
            parts[:] = [whole[:want]]
            self._give_back(exchange, whole[want:])
        if wire.counted and not wire.direct(id):
            exchange.ended = True
        return max(want, 0)

    def _give_back(self, exchange: Exchange, data: bytes) -> None:
        """Keep what was received too much, before anything that came behind it."""
        later = exchange.feed.get(exchange.feed.size) if exchange.feed is not None else b""
        exchange.arrived(data + later, STDIN)

    def _receive_due(self, size: int, flags: int) -> bytes:
        """Receive; b"" when nothing is there, or nothing will be: pull() tells which."""
        try:
            return self.sock.recv(size, flags)
        except BlockingIOError:
            if flags == MSG_WAITALL:
                raise PeerError("body.timeout", "no byte of the body came in time") from None
        except OSError:  # lost
            pass
        return b""

    def _receive_body(self, exchange: Exchange, want: int) -> bytes | None:
        """Receive once: bytes for the caller, b"" after other progress, None when dry."""
        wire = self.wire
        size = wire.direct(exchange.id)
        try:
            if size > 0 and want:
                data = self.sock.recv(min(size, want), MSG_DONTWAIT)
                if data:
                    wire.skip(exchange.id, len(data))
                    if wire.counted and not wire.direct(exchange.id):
                        exchange.ended = True
                    return data
            else:
                data = self.sock.recv(-size if size < 0 else CHUNK, MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self.arrived(data)
        return b""

    def _wait_readable(self, deadline: float) -> None:
        left = deadline - monotonic()
        if left <= 0:
            raise PeerError("body.timeout", "no byte of the body came in time")
        waiter = poll()
        waiter.register(self.fd, POLLIN)
        self.site.gate.enter()
        waiter.poll(_SLICE_MS if len(self.exchanges) > 1 else min(left * 1000 + 1, _ALONE_MS))
        self.site.gate.leave()
