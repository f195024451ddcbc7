"""The loop of a worker of class gevent: one greenlet polls, others call the application.

All of it is one thread. The application is never called by the greenlet that polls, so sockets are
looked after while every call waits; what has come whole is queued, and one greenlet after the other
is started as long as something is queued: a fast application needs one for many requests.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.serve.gate import Gate
from gatebridge.serve.gevent_connection import GeventConnection
from gatebridge.serve.gevent_hub import Greenlet, Readable, new_lock, pause, soon, spawn
from gatebridge.serve.loop import PASSED, Loop
from gatebridge.serve.more_stacks import NO_THREAD
from gatebridge.serve.overdue import RequestTimeout
from gatebridge.serve.poller import EpollPoller
from gatebridge.serve.scoreboard import THREADS_MAX
from gatebridge.serve.slot import Slot

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from gatebridge.serve.connection import Connection
    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.site import Site
    from gatebridge.wire.events import Request

_BATCH = 64  # sockets taken from one poll
_FAULT_S = 0.5  # a pause after a fault of ours, which may come again at once


class GeventSlot(Slot):
    """A greenlet's place."""

    __slots__ = ("greenlet",)

    def __init__(self, view: memoryview | None) -> None:
        super().__init__(view)
        self.greenlet: Greenlet | None = None

    def frame(self) -> FrameType | None:
        return self.greenlet.gr_frame if self.greenlet is not None else None

    def interrupt(self, kind: type[BaseException]) -> None:
        serial = self.serial

        def throw() -> None:
            if self.serial == serial and self.exchange is not None and self.greenlet is not None:
                self.greenlet.throw(kind)

        soon(throw)


class GeventLoop(Loop):
    """threads: application calls at once; the first THREADS_MAX have places on the scoreboard."""

    def __init__(
        self,
        listeners: list[Listener],
        threads: int,
        max_queue: int,
        board: WorkerSlot | None = None,
        inbox: Inbox | None = None,
        siblings: bool = False,
    ) -> None:
        super().__init__(listeners, threads, max_queue, board, inbox, siblings)
        self.watch_lock = new_lock()
        self.watch_lock.acquire()
        self.gate = Gate(threads)
        for listener in listeners:
            listener.site.gate = self.gate
        if not isinstance(self.poller, EpollPoller):
            raise ConfigError("worker.gevent", "worker class gevent needs epoll")
        self._epoll_fd = self.poller.fileno()
        self._free: list[GeventSlot] = []  # these first: they show on the scoreboard
        self._unseen: list[GeventSlot] = []  # as these, which have no place there
        self._waits = False  # the greenlet that polls
        self._deaf = False  # new connections are left to other workers

    def start(self) -> None:
        self.pollers = 1
        spawn(self._serve)

    def add_pollers(self, count: int) -> None:
        """Never: a greenlet that is in the application keeps nobody from polling."""

    def stop(self) -> None:
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        if self._waits:
            self._waits = False
            super().wake()

    def connect(self, sock: socket.socket, site: Site, peer: object) -> Connection:
        return GeventConnection(sock, site, peer)

    # -- the greenlet that polls

    def _serve(self) -> None:
        readable = Readable(self._epoll_fd)
        try:
            while not self.stopping:
                try:
                    self._look(readable)
                except Exception as error:  # a fault of ours: nobody else would poll
                    self.order[0].site.log.fault("poll", error)
                    pause(_FAULT_S)
        finally:
            readable.close()

    def _look(self, readable: Readable) -> None:
        """Serve what is queued, then what has come; wait where there is neither."""
        while self.deferred and not self.gate.full:
            self._undefer()
        slot = self._slot() if self.pending else None
        if slot is not None:
            slot.greenlet = spawn(self._work, slot)
            slot.ident = NO_THREAD | id(slot.greenlet)
            pause(0.0)  # it runs now, until it waits
            if self.crowded:
                return
        self._leave_to_others(bool(self.pending) and self._is_full)
        ready = self.poller.poll(0.0, _BATCH)
        if not ready and not (self.pending and not self._is_full):
            self._waits = True
            readable.wait()
            self._waits = False
        for fd, _ in ready:
            self._ready(fd)

    def _ready(self, fd: int) -> None:
        connection = self.connections.get(fd)
        if connection is not None:
            passes = self._deaf and not self.draining
            if not passes or self.pass_on(connection) != PASSED:
                self.handle(connection, None)
        elif fd in self.listeners:
            fresh = self.accept(self.listeners[fd])
            if fresh is not None:
                self.handle(fresh, None)
            else:  # one that is shut stays readable: whoever will tell us so must come to it
                pause(0.0)
        elif fd == self.inbox_fd:
            self.take_over(None)
        else:
            self.woken(fd)

    def _leave_to_others(self, full: bool) -> None:
        """Other workers get the new connections while no greenlet is free here."""
        full = full and self.siblings
        if full == self._deaf:
            return
        self._deaf = full
        fds = [fd for fd in self.listeners if fd not in self.paused]
        if self.inbox_fd >= 0:
            fds.append(self.inbox_fd)
        for fd in fds:
            if full:
                self.poller.remove(fd)
            else:
                self.poller.listen(fd)

    # -- the others

    @property
    def _is_full(self) -> bool:
        return not self._free and not self._unseen and len(self.slots) >= self.threads

    def _slot(self) -> GeventSlot | None:
        if self._free:
            return self._free.pop()
        count = len(self.slots)
        if count >= self.threads or (self._unseen and count >= THREADS_MAX):
            return self._unseen.pop() if self._unseen else None
        board = self.board if count < THREADS_MAX else None
        slot = GeventSlot(board.thread(count) if board is not None else None)
        self.slots.append(slot)
        return slot

    def _run(self, slot: Slot, exchange: Exchange, request: Request) -> None:
        if slot.view is None:
            slot.began = monotonic()  # also what nobody sees may run out of time
        super()._run(slot, exchange, request)

    def _work(self, slot: GeventSlot) -> None:
        try:
            self._run_pending(slot)
        except RequestTimeout:  # came when the call it was meant for had just ended
            pass
        finally:
            slot.greenlet = None
            (self._free if slot.view is not None else self._unseen).append(slot)
            if self.pending or self._deaf:
                self.wake()
