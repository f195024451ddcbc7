"""A connection from a front server in an asyncio worker: any protocol, any number of requests.

The socket is the event loop's to watch and ours to read and write, so a connection can be handed
on as a descriptor: to another worker while nothing is read of it, or to whoever speaks another
protocol after an upgrade (``take_over``). All of it runs in the loop's thread.
"""

import socket
import struct
from _socket import MSG_DONTWAIT, SO_LINGER, SOL_SOCKET
from select import POLLERR, POLLHUP, POLLIN, poll

from gatebridge.engine.pages import new_incident
from gatebridge.errors import PeerError
from gatebridge.serve.aio_exchange import AioExchange
from gatebridge.serve.aio_sending import AioSender
from gatebridge.wire.events import (
    DATA,
    Abort,
    Body,
    BodyEnd,
    Event,
    Fault,
    Reply,
    Request,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gatebridge.serve.aio_raw import Raw
    from gatebridge.serve.aio_tasks import Tasks
    from gatebridge.serve.site import Site, Wire

_FIRST = 127 << 10  # bytes; takes a small upload whole, and costs a GET no more than less would
_REPLIES_MOST = 1 << 20  # bytes of replies kept for a peer that does not read
_DOOMED_S = 5.0  # for other answers on a connection where one failed half-way
_RST = struct.pack("ii", 1, 0)
_POLLRDHUP = 0x2000  # Linux; elsewhere nothing sets it


class AioConnection(AioSender):
    """A connection and the requests under way on it.

    wire      of a connection that another loop had before; None for a new one
    deadline  monotonic; when what is half read must be whole, 0.0 for never
    served    some request was answered
    """

    __slots__ = ("_doomed", "_linger", "deadline", "eof", "exchanges", "is_read", "paused",
                 "peer", "raw", "served")  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        site: "Site",
        peer: object,
        tasks: "Tasks",
        wire: "Wire | None" = None,
    ) -> None:
        super().__init__(sock, site, tasks, wire)
        self.peer = peer
        self.exchanges: dict[int, AioExchange] = {}
        self.eof = False
        self.served = False
        self.paused = False  # the application does not take a body: the peer has to wait
        self.deadline = 0.0
        self._doomed = 0.0  # monotonic; an answer failed half-way beside others: close soon
        self._linger = False  # the answer is out; drop what still comes, then close
        self.is_read = False  # the event loop watches for input
        self.raw: Raw | None = None  # behind a 101

    # -- receiving

    def watch(self) -> None:
        """Hear of what comes, unless nothing will."""
        if not (self.is_read or self.closed or self.eof or self.paused):
            self.is_read = True
            self.tasks.loop.add_reader(self.fd, self.readable)

    def _unwatch(self) -> None:
        if self.is_read:
            self.is_read = False
            self.tasks.loop.remove_reader(self.fd)

    def pause(self) -> None:
        if not self.paused:
            self.paused = True
            self._unwatch()

    def resume(self) -> None:
        self.paused = False
        self.watch()

    def readable(self) -> None:
        """Take what has come."""
        if self.closed:
            return
        try:
            data = self.sock.recv(_FIRST, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.lost()
            return
        if not data:
            self.ends()
        elif self.raw is not None:
            self.raw.reader.received(data)
        elif not self._linger:
            self.dispatch(self.wire.receive(data))
            if not self.exchanges:
                self.settle()

    def next_ahead(self) -> None:
        """The request that an HTTP client sent ahead of the answer that has just gone out."""
        busy = self.exchanges or self._outbox
        if not (self.closed or self._linger or busy or self.raw is not None):
            self.dispatch(self.wire.receive(b""))
            if not self.exchanges:
                self.settle()

    def dispatch(self, events: list[Event]) -> None:
        """Do what events ask for. A FILTER's DATA has no place in ASGI, and is dropped."""
        for event in events:
            if self.closed:  # it was lost over an event before this one
                return
            if isinstance(event, Request):
                exchange = AioExchange(self, event.id, event.complete)
                self.exchanges[event.id] = exchange
                self.deadline = 0.0
                self.tasks.begin(exchange, event)
            elif isinstance(event, Body):
                reader = self.exchanges.get(event.id)
                if reader is not None and event.stream != DATA and not reader.ended:
                    reader.arrived(event.data)
            elif isinstance(event, BodyEnd):
                reader = self.exchanges.get(event.id)
                if reader is not None and event.stream != DATA:
                    reader.body_ended()
            elif isinstance(event, Reply):
                self._reply(event.data)
            elif isinstance(event, Abort):
                self._aborted(event.id)
            elif isinstance(event, Fault):
                self._fault(event)

    def _reply(self, data: bytes) -> None:
        """What the protocol itself answers."""
        if self._outbox_size > _REPLIES_MOST:
            self.lost()  # it asks and asks, and never reads
            return
        try:
            self.send([data])
        except ConnectionError:  # lost() was called
            pass

    def _aborted(self, id: int) -> None:
        """Answer the id at once, so that the server may use it again; the rest is discarded."""
        exchange = self.exchanges.get(id)
        if exchange is None:
            return
        pieces = self.wire.send_end(id, 0)
        self.finish(exchange)
        exchange.leaves()
        try:
            self.send(pieces)
        except ConnectionError:  # lost() was called
            pass

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
            self._linger = not self.exchanges  # the rest of a long head is still to come
            self._reply(fault.page(fault.error, incident))
            self.drop_all()
            return
        head, body = self.site.refusal(fault.error, incident)
        pieces = self.wire.send_answer(fault.id, head, body)
        self.exchanges.pop(fault.id, None)
        self.served = True
        if self.wire.closing:  # the rest of the refused request is still to come
            self._linger = True
        try:
            self.send(pieces)
        except ConnectionError:  # lost() was called
            pass

    def ends(self) -> None:
        """The peer has closed its side, or all of it. A body that is not whole is lost.

        A Unix socket tells the two apart. Over TCP a front server that gives up looks like one
        that has merely said all: applications that wait for it are told, and an answer that they
        give all the same is sent. HTTP clients do not close one side.
        """
        self.eof = True
        self._unwatch()
        if self.raw is not None:
            self.raw.reader.received(b"")
            return
        for exchange in list(self.exchanges.values()):
            if not exchange.ended:
                self.exchanges.pop(exchange.id, None)
                exchange.leaves()
        self.look()
        if self.site.name == "http":
            self.lost()
        elif self.site.tcp:
            for exchange in list(self.exchanges.values()):
                exchange.closes_its_side()
        self.settle()

    def look(self) -> None:
        """Has a peer left that is not read from? Called twice a second, too."""
        if self.closed:
            return
        waiter = poll()
        waiter.register(self.fd, _POLLRDHUP)
        flags = sum([seen for _, seen in waiter.poll(0)])
        if flags & (POLLHUP | POLLERR):
            self.lost()
        elif flags & _POLLRDHUP and self.site.tcp:
            for exchange in list(self.exchanges.values()):
                exchange.closes_its_side()

    def lost(self) -> None:
        """Nothing can be sent any more."""
        self.eof = True
        self.close()

    def drop_all(self) -> None:
        """The bytes make no sense from here on: nobody can be answered."""
        left = list(self.exchanges.values())
        self.exchanges.clear()
        for exchange in left:
            exchange.leaves()

    # -- the end

    def cut(self, exchange: AioExchange) -> None:
        """End an answer that failed half-way; see connection.Connection.cut."""
        others = len(self.exchanges) > 1
        ordinary = not exchange.is_mod_fcgid
        pieces = self.wire.send_cut(exchange.id, ordinary and not others)
        self.finish(exchange)
        if others:
            if exchange.front.startswith("HAProxy"):
                self._doomed = self._doomed or self.tasks.now() + _DOOMED_S
            else:
                self.send(pieces)
            return
        if self.site.tcp:
            self.sock.setsockopt(SOL_SOCKET, SO_LINGER, _RST)
        elif exchange.front.startswith("nginx") or not ordinary:
            self.send(pieces)
            if self._outbox:  # closes when it is out
                self._doomed = self.tasks.now()
                return
        self.close()

    def finish(self, exchange: AioExchange) -> None:
        """The exchange is answered, or will never be."""
        self.exchanges.pop(exchange.id, None)
        self.served = True
        if self.wire.closing and (not exchange.ended or exchange.error is not None):
            self._linger = True
        if self.paused:  # what comes next, be it a body's rest or a request, is to be read
            self.resume()

    def answered(self) -> None:
        """A request is, or all that was kept has gone out; what comes next?"""
        if self.tasks.returned(self):
            return
        if self.site.name == "http" and not self.wire.closing:
            self.tasks.loop.call_soon(self.next_ahead)
        else:
            self.settle()

    def settle(self) -> None:
        """Nothing is under way perhaps: wait for the next request, or close."""
        if self.closed or self.exchanges or self._outbox or self.raw is not None:
            return
        wire = self.wire
        if self.eof or self._doomed or (wire.closing and not self._linger):
            self.close()
        elif self._linger:
            self._start_linger()
        else:
            self.watch()
            if wire.busy or not self.served:
                if not self.deadline:
                    self.deadline = self.tasks.now() + self.site.header_s
            else:
                self.deadline = 0.0
                if not self.tasks.returned(self):
                    self.tasks.rested(self)

    def _start_linger(self) -> None:
        """Closing with unread input would make the kernel throw the answer away."""
        if not self.deadline:
            self.deadline = self.tasks.now() + self.site.linger_s
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.close()
                return
        self.watch()

    @property
    def untouched(self) -> bool:
        """Nothing is under way, and no byte of the next request is read: it may move."""
        if self.exchanges or self.eof or self.closed or self._linger or self._outbox:
            return False
        return not (self._doomed or self.raw is not None or self.wire.busy or self.wire.closing)

    @property
    def returns(self) -> bool:
        """Nothing is under way or to be sent, and a further request may come."""
        if self.exchanges or self.eof or self.closed or self._linger or self._outbox:
            return False
        return not (self._doomed or self.raw is not None or self.wire.closing)

    def waits_for_input(self) -> bool:
        """Tell whether bytes wait to be received."""
        waiter = poll()
        waiter.register(self.fd, POLLIN)
        return any(flags & POLLIN for _, flags in waiter.poll(0)) and not self.eof

    def sweep(self, now: float) -> None:
        """Look at what only time changes."""
        if self.deadline and now > self.deadline and not self.exchanges:
            if not self._linger:
                self.site.log.expired(self.peer, self.site.bind)
            self.close()
            return
        if self._doomed and now > self._doomed and not self._outbox:
            self.close()
            return
        if self._outbox and now - self.progress > self.site.send_idle_s:
            self.lost()
            return
        if self.exchanges and (self.eof or self.paused):
            self.look()
        for exchange in list(self.exchanges.values()):
            if exchange.idle_since and now - exchange.idle_since > self.site.body_idle_s:
                exchange.fail_body(PeerError("body.timeout", "its body did not come"))

    def take_over(self, raw: "Raw") -> None:
        """From now on bytes go to raw.reader, and send() sends them as they are: it was a 101."""
        self.raw = raw
        self.deadline = 0.0
        self.watch()

    def leave_raw(self, unread: bool) -> None:
        """Close once all is sent; with unread once the peer has had time to read that, too."""
        if self.raw is not None and not self.closed:
            self.raw = None
            self.exchanges.clear()
            self.paused = False
            self._linger = unread
            self._doomed = 0.0 if unread else self.tasks.now()
            self.settle()

    def detach(self) -> int:
        """Give the descriptor up to somebody else; it stays open. Returns it."""
        self._forget()
        return self.sock.detach()

    def close(self) -> None:
        if self.closed:
            return
        self._forget()
        try:
            self.sock.close()
        except OSError:  # a reset that the kernel reports at close
            pass
        self._outbox.clear()
        self._outbox_size = 0
        self.drop_all()
        self.wake_drainers()
        raw, self.raw = self.raw, None
        if raw is not None:
            raw.reader.received(b"")

    def _forget(self) -> None:
        self.closed = True
        self._unwatch()
        if self._writes:
            self._writes = False
            self.tasks.loop.remove_writer(self.fd)
        self.tasks.forget(self)
