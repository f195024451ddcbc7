"""The worker's loop: normally one thread polls, reads, parses and calls the application inline.

A thread that polls, or is in the application, is a *poller*. While application calls run, a watch
looks every few milliseconds; when every poller is stuck in the application it adds half as many,
up to the number of threads, and a quarter of a second later it retires all but one more than are
stuck. So a fast application costs no hand-over, also beside slow calls, and a slow one gets all
its threads.

When all threads are stuck the watch alone keeps an eye on the sockets: it answers what needs no
application (management records), notices who has left, and queues what does; where the pool has
other workers it hands them connections of which nothing is read instead.
"""

from __future__ import annotations

import errno
import os
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.serve.calls import Calls
from gatebridge.serve.connection import Connection

if TYPE_CHECKING:
    import socket

    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.site import Site
    from gatebridge.serve.slot import Slot

_BATCH = 64  # sockets taken from one poll by a poller that is alone
PASSED, NOT_NOW, FULL = 0, 1, 2  # what pass_on() says
ACCEPT_PAUSE_S = 0.1  # after the process or the system ran out of descriptors
_OUT_OF_FDS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Loop(Calls):
    """Everything one worker process serves: its listeners, and what comes from other workers.

    threads    application calls at once
    max_queue  requests that may wait for a thread; beyond it they are answered 503
    """

    def __init__(
        self,
        listeners: list[Listener],
        threads: int,
        max_queue: int,
        board: WorkerSlot | None = None,
        inbox: Inbox | None = None,
        siblings: bool = False,
    ) -> None:
        super().__init__(threads, max_queue, board, listeners[0].site.log)
        self.siblings = siblings  # other workers may be free when all threads here are stuck
        self.inbox = inbox
        self.order = listeners
        self.listeners = {listener.fd: listener for listener in listeners}
        self.paused: dict[int, float] = {}  # listener fd -> when to accept again
        self.inbox_fd = -1
        if inbox is not None:
            self.inbox_fd = inbox.fd
            self.poller.listen(inbox.fd)
        for listener in listeners:
            listener.site.submit = self.submit
            listener.site.gate = self.gate
            self.poller.listen(listener.fd)

    def _poll_on(self, slot: Slot) -> None:
        poll = self.poller.poll
        connections = self.connections
        while not self.stopping:
            if self.pending:
                self._run_pending(slot)
                if self.crowded:
                    continue
            if self.deferred and not self.gate.full:
                self._undefer()
                continue
            if self.surplus > 0:
                self._park(slot)
                continue
            wait = 0.0 if self.pending else -1.0
            for fd, _ in poll(wait, _BATCH if self.pollers == 1 else 1):
                connection = connections.get(fd)
                if connection is not None:
                    self.handle(connection, slot)
                elif fd in self.listeners:
                    self._accept(self.listeners[fd], slot)
                elif fd == self.inbox_fd:
                    self.take_over(slot)
                else:
                    self.woken(fd)

    def _accept(self, listener: Listener, slot: Slot) -> None:
        """Serve a new connection; where others wait their turn already, all new ones join them."""
        for _ in range(_BATCH if self.pending else 1):
            connection = self.accept(listener)
            if connection is None:
                return
            self.handle(connection, None if self.pending else slot)
            if self.crowded:
                return

    def accept(self, listener: Listener) -> Connection | None:
        """Take one connection off a listener's queue."""
        try:
            sock, peer = listener.accept()
        except BlockingIOError:  # another poller or process was quicker
            return None
        except OSError as error:
            if error.errno in _OUT_OF_FDS:
                self._pause(listener, error)
            return None  # ECONNABORTED and its like: that peer is gone
        if not listener.admits(peer) or listener.is_stranger(sock):
            listener.site.log.refused_peer(peer, listener.text)
            sock.close()
            return None
        return self.connect(sock, listener.site, peer)

    def connect(self, sock: socket.socket, site: Site, peer: object) -> Connection:
        """A connection as this loop has them."""
        return Connection(sock, site, peer)

    def take_over(self, slot: Slot | None) -> bool:
        """Serve a connection that a stuck worker has passed on. False: there is none."""
        if self.inbox is None:
            return False
        try:
            passed = self.inbox.take()
        except OSError as error:  # out of descriptors
            self.poller.remove(self.inbox_fd)
            self.paused[self.inbox_fd] = monotonic() + ACCEPT_PAUSE_S
            self.order[0].site.log.accept_paused("connections of other workers", error)
            self._rouse()
            return False
        if passed is None:
            return False
        for listener in self.order:
            if listener.text == passed.listener:
                break
        else:  # nobody of this generation listens there
            os.close(passed.fd)
            return True
        connection = self.connect(listener.adopt(passed.fd), listener.site, passed.peer)
        connection.served = passed.served  # a kept one has no deadline for its next request
        self.handle(connection, slot)
        return True

    def pass_on(self, connection: Connection) -> int:
        """Let another worker have a connection of which nothing is read: PASSED, NOT_NOW, FULL."""
        inbox, fd = self.inbox, connection.fd
        if inbox is None:
            return FULL
        if not connection.turn.acquire(False):
            return NOT_NOW
        try:
            if not connection.lock.acquire(False):
                return NOT_NOW
            try:
                if not connection.untouched or self.connections.get(fd) is not connection:
                    return NOT_NOW
                name = connection.site.bind
                self.poller.remove(fd)
                del self.connections[fd]
                if inbox.offer(name, connection.peer, connection.served, fd):
                    connection.expire_locked()
                    return PASSED
                connection.level = False
                self._arm(connection)
                return FULL
            finally:
                connection.lock.release()
        finally:
            connection.turn.release()

    def take_queue(self, listener: Listener) -> None:
        """Accept what the kernel has queued: those clients were told that we are there."""
        while True:
            connection = self.accept(listener)
            if connection is None:
                return
            self.handle(connection, None)

    def take_inbox(self) -> None:
        """The same for what other workers have passed on."""
        while self.take_over(None):
            continue

    def close_idle(self, fresh_too: bool) -> int:
        """Close connections between requests; how many are not."""
        left = 0
        for connection in list(self.connections.values()):
            if connection.exchanges or connection.wire.busy:
                left += 1
                continue
            if connection.deadline and not fresh_too:
                left += 1
                continue
            if connection.readable():  # a request that a poller is about to read
                left += 1
                continue
            how = self.pass_on(connection) if self.hands_on else FULL
            if how == NOT_NOW:
                left += 1
            elif how == FULL:
                self.drop(connection)
        return left

    def refuse_new(self) -> None:
        """Accept no more: other workers are there for them."""
        for listener in self.order:
            self.listeners.pop(listener.fd, None)
            try:
                self.poller.remove(listener.fd)
            except (OSError, KeyError):  # it was removed before
                continue
        if self.inbox_fd >= 0:
            self.poller.remove(self.inbox_fd)
            self.inbox_fd = -1

    def _pause(self, listener: Listener, error: OSError) -> None:
        self.poller.remove(listener.fd)
        self.paused[listener.fd] = monotonic() + ACCEPT_PAUSE_S
        listener.site.log.accept_paused(listener.text, error)
        self._rouse()
