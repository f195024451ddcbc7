"""The only recv/send loop: any protocol, any application; sending.py and bodies.py are parts of it.

``turn`` is held by the thread that handles what came. ``lock`` guards the protocol object and the
order of bytes in both directions: under it nobody waits for bytes to come, so a poller, an
application that reads its body, or the watch may receive; but a send may wait under it, because a
record must not be torn. One exception receives without it: the only request of a connection, in
the thread that has the turn, while it gathers a large body (bodies.py, ``_alone``).
"""

from __future__ import annotations

import socket
import struct
from _socket import MSG_DONTWAIT, SO_LINGER, SOL_SOCKET
from _thread import allocate_lock
from select import POLLERR, POLLHUP, POLLIN, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.engine.pages import new_incident
from gatebridge.serve.bodies import BodyReader
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
    from gatebridge.errors import PeerError
    from gatebridge.serve.site import Site
    from gatebridge.wire.cgi_head import Head

_FIRST = 127 << 10  # bytes; takes a small upload whole, and costs a GET no more than less would
_DOOMED_S = 5.0  # for other answers on a connection where one failed half-way
_LOCK_S = 0.1  # for a thread that sends to let go of the lock
_RST = struct.pack("ii", 1, 0)

ARM = 0  # what readable() and settle() ask of the loop: wait for more
CLOSED = 1
LINGER = 2  # the answer is out; drop what still comes, then close


class Connection(BodyReader):
    """A connection from a front server and the requests under way on it."""

    __slots__ = ("_doomed", "closed", "deadline", "level", "peer", "served", "turn")

    def __init__(self, sock: socket.socket, site: Site, peer: object) -> None:
        super().__init__(sock, site)
        self.peer = peer
        self.closed = False
        self.turn = allocate_lock()  # held by the thread that handles what came, and will settle
        self.level = False  # armed without one-shot
        self.deadline = 0.0  # monotonic; when what is half read must be whole, 0 for never
        self.served = False  # some request was answered
        self._doomed = 0.0  # monotonic; an answer failed half-way beside others: close soon

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

    def arrived(self, data: bytes) -> None:
        """Take in what a thread received that reads a body or sends. The lock is held."""
        if data:
            self.site.submit(self._dispatch(self.wire.receive(data)))
        elif not self.eof:
            self._end_of_input()

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
        where = f"from {self.site.name} peer {self.peer or 'unix'}"
        if fault.id == 0 and fault.page is None:
            self.site.log.note(fault.error, where)
            self.drop_all()
            return
        incident = new_incident()
        self.site.log.refused(incident, where, fault.error)
        self.deadline = 0.0
        if fault.page is not None:
            self._outbox.append(fault.page(fault.error, incident))
            self._flush_outbox()
            self._linger = not self.exchanges  # the rest of a long head is still to come
            self.drop_all()
            return
        head, body = self.site.refusal(fault.error, incident)
        self._outbox += self.wire.send_answer(fault.id, head, body)
        self._flush_outbox()
        self.exchanges.pop(fault.id, None)
        self.served = True
        self._linger = self.wire.closing  # the rest of the refused request is still to come

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

    def time_out(self, exchange: Exchange, head: Head, body: bytes) -> bool:
        """Answer for an application that takes too long, or cut what it has begun to answer.

        Called by the watch. True: the connection can go on without that thread.
        """
        if not self.lock.acquire(timeout=_LOCK_S):  # its thread waits for a peer that reads slowly
            exchange.gone = True
            self._shut()
            return False
        try:
            if self.exchanges.get(exchange.id) is not exchange:
                return False
            others = len(self.exchanges) > 1
            begun = exchange.status != ""
            if begun:
                alone = not others and not exchange.is_mod_fcgid
                self._outbox += self.wire.send_cut(exchange.id, alone)
            else:
                exchange.status = head.status
                self._outbox += self.wire.send_answer(exchange.id, head, body)
            exchange.gone = exchange.abandoned = True
            self.finish(exchange)
            self._flush_outbox()
            if not others and (begun or self.wire.closing):
                self._shut()
            return True
        finally:
            self.lock.release()

    def _shut(self) -> None:
        """End both directions; its thread closes the descriptor when it is back."""
        self.eof = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # it is gone
            pass

    def turn_away(self, exchange: Exchange, error: PeerError, incident: str) -> bool:
        """Refuse a request without waiting for anybody. False: not now, a thread sends here."""
        if not self.lock.acquire(False):
            return False
        try:
            if self.exchanges.get(exchange.id) is exchange:
                head, body = self.site.refusal(error, incident)
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

    def drop_all(self) -> None:
        """The bytes make no sense from here on: nobody can be answered."""
        for exchange in self.exchanges.values():
            exchange.gone = True
        self.exchanges.clear()

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
    def untouched(self) -> bool:
        """Nothing is under way, and no byte of the next request is read: it may move."""
        if self.exchanges or self.eof or self.closed or self._linger or self._outbox:
            return False
        return not (self._doomed or self.sending or self.wire.busy or self.wire.closing)

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
