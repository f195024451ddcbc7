"""The only recv/send loop: any protocol, any application.

``turn`` is held by the thread that handles what came. ``lock`` guards the protocol object and the
order of bytes in both directions: under it nobody waits for bytes to come, so a poller, an
application that reads its body, or the watch may receive; but a send may wait under it, because a
record must not be torn. One exception receives without it: the only request of a connection, in
the thread that has the turn, while it gathers a large body (``_alone``).
"""

from __future__ import annotations

import os
import socket
import struct
from _socket import (
    MSG_DONTWAIT,
    MSG_WAITALL,
    SO_LINGER,
    SO_RCVTIMEO,
    SO_SNDBUF,
    SO_SNDTIMEO,
    SOL_SOCKET,
)
from _thread import allocate_lock
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.engine.body import CHUNK
from gatebridge.errors import PeerError
from gatebridge.serve.exchange import Exchange
from gatebridge.wire.events import (
    DATA,
    FILTER,
    STDIN,
    Abort,
    Body,
    BodyEnd,
    Event,
    Fault,
    Reply,
    Request,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from gatebridge.serve.site import Site

Piece = bytes | memoryview
_FIRST = 16_384  # bytes; a GET fits, and of an upload little is copied about
_DOOMED_S = 5.0  # for other answers on a connection where one failed half-way
_PIECES = 512  # of one sendmsg; the kernel takes 1,024
_SEND_SLICE = struct.pack("ll", 1, 0)  # a timeval: one second
_SENDFILE = 1 << 20  # bytes of a file in one call
_SEND_BUFFER = 1 << 20  # bytes asked for, of which the system gives what it allows: fewer waits
_ALONE_MS = 1000  # the same, where another thread of the application may send meanwhile
_OUTBOX_MOST = 1 << 20  # bytes of replies kept for a peer that does not read
_SLICE_MS = 10  # two requests of one connection may read each other's bytes off the socket
_RST = struct.pack("ii", 1, 0)

ARM = 0  # what readable() and settle() ask of the loop: wait for more
CLOSED = 1
LINGER = 2  # the answer is out; drop what still comes, then close


class Connection:
    """A connection from a front server and the requests under way on it."""

    __slots__ = ("_alone", "_doomed", "_linger", "_outbox", "_send_flags", "_unread",
                 "_waits", "closed", "deadline", "eof", "exchanges", "fd", "level", "lock", "peer",
                 "reading", "sending", "served", "site", "sock", "turn", "wire")  # fmt: skip

    def __init__(self, sock: socket.socket, site: Site, peer: object) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.site = site
        self.peer = peer
        self.wire = site.new_wire(site.limits)
        self.lock = allocate_lock()
        self.exchanges: dict[int, Exchange] = {}
        self.eof = False
        self.closed = False
        self.turn = allocate_lock()  # held by the thread that handles what came, and will settle
        self.level = False  # armed without one-shot
        self.deadline = 0.0  # monotonic; when what is half read must be whole, 0 for never
        self._alone = False  # a thread receives without the lock
        self.reading = 0  # threads that wait for a body, and take in whatever comes
        self.served = False  # some request was answered
        self._linger = False
        self._doomed = 0.0  # monotonic; an answer failed half-way beside others: close soon
        self.sending = False  # in the middle of pieces: nothing may come between them
        self._unread = False  # some request was answered while its body was still to come
        self._send_flags = int(MSG_DONTWAIT)  # 0 once the peer has been slow
        self._waits = False  # SO_RCVTIMEO is set
        self._outbox: list[Piece] = []  # replies of the protocol that the peer did not take yet

    # -- receiving

    def try_receive(self) -> list[tuple[Exchange, Request]]:
        """As receive(), for the watch: never waits for a thread that sends."""
        if not self.lock.acquire(False):
            return []
        try:
            return [] if self.reading else self._receive()
        finally:
            self.lock.release()

    def receive(self) -> list[tuple[Exchange, Request]]:
        """Take what has come. Returns the requests to run; the socket is not waited for."""
        with self.lock:
            return self._receive()

    def _receive(self) -> list[tuple[Exchange, Request]]:
        if self.closed:
            return []
        try:
            data = self.sock.recv(_FIRST, MSG_DONTWAIT)
        except BlockingIOError:
            if self._outbox:
                self._flush_outbox()
            return []
        except OSError:
            self.lost()
            return []
        if not data:
            self._end_of_input()
            return []
        if self._linger:
            return []
        events = self.wire.receive(data)
        if len(events) == 1:  # a whole request and nothing else, as nearly always
            event = events[0]
            if isinstance(event, Request) and event.complete:
                exchange = self.exchanges[event.id] = Exchange(self, event.id, True)
                if self.deadline:
                    self.deadline = 0.0
                return [(exchange, event)]
        return self._dispatch(events)

    def next_ahead(self) -> list[tuple[Exchange, Request]]:
        """The request that an HTTP client sent ahead of the answer just given."""
        with self.lock:
            if self.closed or self._linger or self.exchanges:
                return []
            return self._dispatch(self.wire.receive(b""))

    def _dispatch(self, events: list[Event]) -> list[tuple[Exchange, Request]]:
        fresh: list[tuple[Exchange, Request]] = []
        for event in events:
            if isinstance(event, Request):
                exchange = Exchange(self, event.id, event.complete)
                self.deadline = 0.0
                if not event.complete:
                    self._send_flags = int(MSG_DONTWAIT)
                if event.role == FILTER:
                    exchange.data_ended = event.complete
                self.exchanges[event.id] = exchange
                fresh.append((exchange, event))
            elif isinstance(event, Body):
                reader = self.exchanges.get(event.id)
                if reader is not None and not (reader.ended and event.stream == STDIN):
                    reader.arrived(event.data, event.stream)
            elif isinstance(event, BodyEnd):
                self._body_end(event, fresh)
            elif isinstance(event, Reply):
                self._outbox.append(event.data)
                self._flush_outbox()
            elif isinstance(event, Abort):
                self._aborted(event.id)
            elif isinstance(event, Fault):
                self._fault(event)
        return fresh

    def _body_end(self, event: BodyEnd, fresh: list[tuple[Exchange, Request]]) -> None:
        exchange = self.exchanges.get(event.id)
        if exchange is None:
            return
        if event.stream == DATA:
            exchange.data_ended = True
            return
        exchange.ended = True
        if exchange.deferred is not None:
            request = exchange.claim()
            if request is not None:
                fresh.append((exchange, request))

    def _aborted(self, id: int) -> None:
        """Answer the id at once, so that the server may use it again; the rest is discarded."""
        exchange = self.exchanges.get(id)
        if exchange is None:
            return
        exchange.gone = True
        self._outbox += self.wire.send_end(id, 0)
        self.finish(exchange)
        self._flush_outbox()

    def _fault(self, fault: Fault) -> None:
        self.site.log.note(fault.error, f"from {self.site.name} peer {self.peer or 'unix'}")
        if fault.id == 0:
            self.drop_all()
            return
        head, body = self.site.refusal(fault.error)
        self._outbox += self.wire.send_answer(fault.id, head, body)
        self._flush_outbox()
        self.exchanges.pop(fault.id, None)
        self.served = True
        self.deadline = 0.0
        if self.wire.closing:  # the rest of the refused request is still to come
            self._linger = True

    def turn_away(self, exchange: Exchange, error: PeerError) -> bool:
        """Refuse a request without waiting for anybody. False: not now, a thread sends here."""
        if not self.lock.acquire(False):
            return False
        try:
            if self.exchanges.get(exchange.id) is exchange:
                head, body = self.site.refusal(error)
                exchange.status = head.status
                self._outbox += self.wire.send_answer(exchange.id, head, body)
                self.finish(exchange)
                self._flush_outbox()
            return True
        finally:
            self.lock.release()

    def _end_of_input(self) -> None:
        """The peer has closed its side, or all of it. A body that is not whole is lost."""
        self.eof = True
        for exchange in list(self.exchanges.values()):
            if not exchange.ended or not exchange.data_ended:
                exchange.gone = True
                if exchange.deferred is not None:
                    del self.exchanges[exchange.id]

    def lost(self) -> None:
        """Nothing can be sent any more."""
        self.eof = True
        self._outbox = []
        for exchange in list(self.exchanges.values()):  # the watch comes here without the lock
            exchange.gone = True

    def drop_all(self) -> None:
        """The bytes make no sense from here on: nobody can be answered."""
        for exchange in self.exchanges.values():
            exchange.gone = True
        self.exchanges.clear()

    def look(self) -> None:
        """Take what has come while an answer is streamed: an ABORT, a query, the peer's leaving."""
        waiter = poll()
        waiter.register(self.fd, POLLIN)
        seen = waiter.poll(0)
        if not seen:
            return
        if seen[0][1] & (POLLHUP | POLLERR):
            with self.lock:
                self.lost()
        elif not self.eof and not self.reading:
            self.site.submit(self.receive())

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
            if exchange.has_turn and len(self.exchanges) == 1:  # nobody else reads
                want = self._gather_alone(exchange, parts, want)
            else:
                with self.lock:
                    want = self._gather_direct(exchange, parts, want, MSG_DONTWAIT)
            if want > 0:
                piece = self.pull(exchange, want)
                if not piece:
                    break
                want -= len(piece)
                parts.append(piece)
        return _joined(parts)

    def _gather_alone(self, exchange: Exchange, parts: list[Piece], want: int) -> int:
        flags = self._receive_flags(exchange)
        with self.lock:
            self.reading += 1
            self._alone = True
        self.site.gate.enter()
        try:
            return self._gather_direct(exchange, parts, want, flags)
        finally:
            self.site.gate.leave()
            with self.lock:
                self.reading -= 1
                self._alone = False

    def _receive_flags(self, exchange: Exchange) -> int:
        """Let the kernel wait for bytes that are due, for as long as a read may."""
        if not self._waits:
            self._waits = True
            seconds = max(1, int(exchange.idle_s))
            self.sock.setsockopt(SOL_SOCKET, SO_RCVTIMEO, struct.pack("ll", seconds, 0))
        return MSG_WAITALL

    def _gather_direct(self, exchange: Exchange, parts: list[Piece], want: int, flags: int) -> int:
        """Receive while the next bytes are known to be body. Returns what is still wanted.

        Without the lock only for the connection's one request, in the thread that has the turn:
        nobody else reads then, and every byte that is waited for is due. A record is received
        together with the framing behind it, which no record is without.
        """
        wire = self.wire
        id = exchange.id
        length = wire.direct(id)
        if exchange.gone or self.exchanges.get(id) is not exchange:
            return want  # lost, or answered: pull() says so
        if exchange.feed is not None and exchange.feed.size:
            return want
        while length > 0 and want > 0:
            size = min(length, want)
            if length == want:  # the last of it: take the end along, if it is there already
                data = self._receive_due(size + wire.framing(), MSG_DONTWAIT)
                if not data and flags == MSG_WAITALL:
                    data = self._receive_due(size, flags)
            else:
                data = self._receive_due(size + (wire.framing() if length < want else 0), flags)
            if not data:
                break
            if len(data) <= size:
                parts.append(data)
                want -= len(data)
                wire.skip(id, len(data))
                length = wire.direct(id)
                continue
            parts.append(memoryview(data)[:size])
            want -= size
            wire.skip(id, size)
            length = wire.advance(id, data, size)
            if not length:
                self.site.submit(self._dispatch(wire.receive(data[size:])))
                length = wire.direct(id)
        if wire.counted and length == 0:
            exchange.ended = True
        return want

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
        if data:
            self.site.submit(self._dispatch(wire.receive(data)))
        else:
            self._end_of_input()
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

    # -- sending; the lock is held

    def send(self, pieces: Sequence[Piece]) -> None:
        """Send all of it. raises ConnectionResetError"""
        if self._outbox:
            pieces = [*self._outbox, *pieces]
            self._outbox = []
        try:
            if len(pieces) == 1:
                count = self.sock.send(pieces[0], self._send_flags)
                if count == len(pieces[0]):
                    return
            elif len(pieces) <= _PIECES:
                count = self.sock.sendmsg(pieces, (), self._send_flags)
                if count == sum(map(len, pieces)):
                    return
            else:
                count = 0
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._send_failed(error)
        self._send_rest(pieces, count)

    def _send_rest(self, pieces: Sequence[Piece], count: int) -> None:
        """Send what is left after count bytes; the peer is slow, or there is a lot of it."""
        self.sending = True
        try:
            self._send_pieces(pieces, count)
        except OSError as error:
            self._send_failed(error)
        finally:
            self.sending = False
        if self._outbox:
            self._flush_outbox()

    def _send_pieces(self, pieces: Sequence[Piece], count: int) -> None:
        deadline = 0.0
        at = 0
        while True:
            while at < len(pieces) and count >= len(pieces[at]):
                count -= len(pieces[at])
                at += 1
            if at == len(pieces):
                return
            pieces = [memoryview(pieces[at])[count:], *pieces[at + 1 :]]
            at = 0
            try:
                count = self.sock.sendmsg(pieces[:_PIECES], (), self._send_flags)
                deadline = 0.0
            except BlockingIOError:
                count = 0
                deadline = deadline or monotonic() + self.site.send_idle_s
                self._wait_writable(deadline)

    def _send_failed(self, error: OSError) -> NoReturn:
        self.lost()
        raise ConnectionResetError(f"the peer has left: {error}") from None

    def _wait_writable(self, deadline: float) -> None:
        """The peer is slow, or sends all of its own before it reads.

        While something may come, it is taken in: a peer that waits for us to read would wait
        for ever. Else the kernel waits from now on, a second at a time.
        """
        if monotonic() > deadline:
            raise TimeoutError(f"the peer took no byte for {self.site.send_idle_s} s")
        if not self._send_flags:
            self._take_input()
        elif self.eof or not self._input_due():
            self._send_flags = 0
            self.sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _SEND_SLICE)
            self.sock.setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER)
        else:
            waiter = poll()
            # where the application reads in a thread of its own, that one takes the input
            waiter.register(self.fd, POLLOUT if self._alone else POLLIN | POLLOUT)
            for _, flags in waiter.poll(1000):
                if flags & POLLIN:
                    self._take_input()

    def _input_due(self) -> bool:
        if self._unread:
            return True
        return any(not exchange.ended for exchange in list(self.exchanges.values()))

    def _take_input(self) -> None:
        """Receive once, whatever it is; an ABORT or the peer's leaving shows on the exchange."""
        if self._alone:
            return
        try:
            data = b"" if self.eof else self.sock.recv(CHUNK, MSG_DONTWAIT)
        except BlockingIOError:
            return
        if data and not self._linger:
            self.site.submit(self._dispatch(self.wire.receive(data)))
        elif not data and not self.eof:
            self._end_of_input()

    def _flush_outbox(self) -> None:
        """Send replies without waiting: whoever is served next takes the rest along."""
        if self.sending:
            return
        try:
            count = self.sock.sendmsg(self._outbox[:_PIECES], (), MSG_DONTWAIT)
        except BlockingIOError:
            if sum(map(len, self._outbox)) > _OUTBOX_MOST:
                self.lost()  # it asks and asks, and never reads
            return
        except OSError:
            self.lost()
            return
        data = b"".join(self._outbox)[count:]
        self._outbox = [data] if data else []

    def send_file(
        self,
        exchange: Exchange,
        pieces: Sequence[Piece],
        fd: int,
        offset: int,
        count: int,
        most: int,
    ) -> int:
        """Send pieces, then count bytes of a file as body. Returns how many bytes there were."""
        self.send(pieces)
        if self.wire.raw_body:
            return self._sendfile(fd, offset, count)
        left = count
        while left:
            data = os.pread(fd, min(left, most), offset)
            if not data:
                break
            offset += len(data)
            left -= len(data)
            self.send(self.wire.send_body(exchange.id, data))
            if exchange.gone:
                raise ConnectionResetError("the peer has left")
        return count - left

    def _sendfile(self, fd: int, offset: int, count: int) -> int:
        """Let the kernel copy: the body stands on the wire as it is, up to the close."""
        left = count
        deadline = 0.0
        self._send_flags = 0
        self.sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _SEND_SLICE)
        self.sending = True
        try:
            while left:
                try:
                    done = os.sendfile(self.fd, fd, offset, min(left, _SENDFILE))
                except BlockingIOError:
                    deadline = deadline or monotonic() + self.site.send_idle_s
                    self._wait_writable(deadline)
                    continue
                if not done:
                    break
                deadline = 0.0
                offset += done
                left -= done
        except OSError as error:
            self._send_failed(error)
        finally:
            self.sending = False
        return count - left

    def cut(self, exchange: Exchange) -> None:
        """End an answer that failed half-way so that the client sees it is not complete.

        What each front server makes of each ending was tried. Over TCP all of them see a reset.
        Over a Unix socket they see a close without END_REQUEST, but for nginx, which takes that
        for an end and gives up only on a record that does not belong there, and mod_fcgid, which
        puts a page of its own behind. Beside other requests the status in END_REQUEST has to do,
        but HAProxy does not look at it: there the connection closes once these are answered.
        """
        others = len(self.exchanges) > 1
        ordinary = not exchange.is_mod_fcgid
        pieces = self.wire.send_cut(exchange.id, ordinary and not others)
        self.finish(exchange)
        if others:
            if exchange.front.startswith("HAProxy"):
                self._doomed = self._doomed or monotonic() + _DOOMED_S
            else:
                self.send(pieces)
            return
        if self.site.tcp:
            self.sock.setsockopt(SOL_SOCKET, SO_LINGER, _RST)
        elif exchange.front.startswith("nginx") or not ordinary:
            self.send(pieces)
        self._close()

    def finish(self, exchange: Exchange) -> None:
        """The exchange is answered, or will never be."""
        self.exchanges.pop(exchange.id, None)
        exchange.has_turn = False
        self.served = True
        if not exchange.ended:
            self._unread = True
            if self.wire.closing:
                self._linger = True
                self.deadline = 0.0  # of the variables; they came, and lingering has its own

    # -- the end

    def settle(self) -> int:
        """What is to become of the connection now; closes it if nothing is. The lock is held."""
        if self.closed:
            return CLOSED
        if self._doomed and (not self.exchanges or monotonic() > self._doomed):
            self._close()
            return CLOSED
        if self.exchanges:
            return ARM
        if self.eof or (self.wire.closing and not self._linger and not self._outbox):
            self._close()
            return CLOSED
        if self._linger:
            return self._start_linger()
        return ARM

    def _start_linger(self) -> int:
        """Closing with unread input would make the kernel throw the answer away."""
        if not self.deadline:
            self.deadline = monotonic() + self.site.linger_s
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._close()
                return CLOSED
        return LINGER

    @property
    def resting(self) -> bool:
        """Nothing is under way and nothing is to be done: the next request may come."""
        if self.exchanges or self.eof or self.closed or self._linger or self._outbox:
            return False
        if self._doomed:
            return False
        return not self.deadline and self.wire.resting

    @property
    def writable_wanted(self) -> bool:
        return bool(self._outbox)

    def close(self) -> None:
        with self.lock:
            self._close()

    def close_if_broken(self) -> None:
        """Close at once after a fault, though a thread is still in the application."""
        with self.lock:
            if self.wire.closing and not self.exchanges and not self._linger:
                self._close()

    def expire(self) -> bool:
        """Close it if nothing is under way but half a request. Tells whether that was so."""
        if not self.lock.acquire(False):
            return False  # a thread sends: something is under way
        try:
            return self.expire_locked()
        finally:
            self.lock.release()

    def expire_locked(self) -> bool:
        """The same for a caller that holds the lock."""
        if self.closed or self.exchanges:
            return False
        self._close()
        return True

    def readable(self) -> bool:
        """Tell whether bytes wait to be received."""
        waiter = poll()
        waiter.register(self.fd, POLLIN)
        return any(flags & POLLIN for _, flags in waiter.poll(0)) and not self.eof

    def _close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.drop_all()
        try:
            self.sock.close()
        except OSError:  # a reset that the kernel reports at close
            pass


def _joined(parts: list[Piece]) -> bytes:
    if len(parts) == 1 and isinstance(parts[0], bytes):
        return parts[0]
    return b"".join(parts)
