"""Whose turn a connection is, and when the poller waits for it again.

One thread at a time has a connection's turn: it reads and parses there. Who gives the turn back
settles: it closes the connection, or arms it for the next bytes.
"""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.serve.connection import ARM, CLOSED, Connection
from gatebridge.serve.threads import Threads

if TYPE_CHECKING:
    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.slot import Slot
    from gatebridge.serve.worker_log import WorkerLog


class Arming(Threads):
    """The connections of a loop, between its threads and its poller."""

    def __init__(self, threads: int, board: WorkerSlot | None, log: WorkerLog) -> None:
        super().__init__(threads, board, log)
        self.connections: dict[int, Connection] = {}  # those the poller knows
        self.draining = False
        self.hands_on = False  # while draining: kept connections go to other workers

    def _take_turn(self, connection: Connection) -> bool:
        """Another thread has this connection, and sees to what came when it is done.

        Its lock is not waited for: that thread may hold it as long as a slow peer likes. The
        order of the steps is what makes it right: whoever settles between them either finds
        that the descriptor is not armed any more, or has given the turn back to us.
        """
        fd = connection.fd
        if connection.level:
            connection.level = False
            try:
                self.poller.disarm(fd)
            except OSError:  # closed meanwhile
                return False
            if connection.closed:
                self._rearm(fd, connection)
                return False
        return connection.turn.acquire(False)

    def _keep_turn(self, connection: Connection) -> bool:
        """We have the turn, but a thread that answers another request there is sending.

        It settles when it is done, and finds the turn free and the descriptor not armed; or it
        is done already, and the turn is ours.
        """
        while connection.sending:
            if connection.level:
                connection.level = False
                try:
                    self.poller.disarm(connection.fd)
                except OSError:  # closed meanwhile
                    break
            connection.turn.release()
            if connection.sending or not connection.turn.acquire(False):
                return False
        return True

    def _rearm(self, fd: int, former: Connection) -> None:
        """The descriptor was closed and may already be another connection's, now disarmed."""
        other = self.connections.get(fd)
        if other is not None and other is not former:
            other.level = False
            try:
                self.poller.arm(fd, False, True)
            except OSError:  # closed as well, or about to be armed
                pass

    def _settle(self, connection: Connection, has_turn: bool) -> None:
        if not has_turn and connection.turn.locked():
            return  # its thread settles
        with connection.lock:  # so that the descriptor cannot be closed and used again meanwhile
            if has_turn:
                connection.turn.release()
            elif connection.turn.locked():
                return
            if connection.level and self.pollers == 1 and connection.resting and not self.draining:
                return  # still armed: nearly always so on a kept connection
            verdict = connection.settle()
            if verdict != CLOSED:
                if verdict == ARM and not connection.exchanges:
                    verdict = self._between_requests(connection)
                if verdict != CLOSED:
                    self._arm(connection)
        if verdict == CLOSED and self.connections.get(connection.fd) is connection:
            del self.connections[connection.fd]

    def resume(self, connection: Connection) -> None:
        """Wait for the next request on a connection that was somebody else's."""
        connection.turn.acquire()
        self._settle(connection, True)

    def abandon(self, slot: Slot, exchange: Exchange) -> None:
        """The watch has answered for a thread: serve the connection's next request without it."""
        connection = exchange.connection
        if slot.has_turn:
            connection.turn = allocate_lock()  # the thread keeps the old one
            connection.turn.acquire()
        self._settle(connection, slot.has_turn)

    def _between_requests(self, connection: Connection) -> int:
        """Nothing is under way: give what is half read its deadline, or close when draining."""
        known = connection.fd in self.connections
        if connection.wire.busy or not (known or connection.served):
            if not connection.deadline:
                connection.deadline = monotonic() + connection.site.header_s
                if self.watch_asleep:
                    self._rouse()
        elif self.draining and not self.hands_on:
            connection.expire_locked()
            return CLOSED
        elif connection.deadline:
            connection.deadline = 0.0
        return ARM

    def _arm(self, connection: Connection) -> None:
        """Wait for more. A single poller needs no one-shot, and saves a call for each request."""
        fd = connection.fd
        if connection.eof:  # nothing more comes; the thread that answers settles
            if connection.level:
                connection.level = False
                self.poller.disarm(fd)
            return
        level = self.pollers == 1 and not connection.writable_wanted
        if self.connections.get(fd) is not connection:
            self.connections[fd] = connection
            self.poller.add(fd, connection.writable_wanted, not level)
        elif not level or not connection.level:
            self.poller.arm(fd, connection.writable_wanted, not level)
        connection.level = level

    def expire(self, connection: Connection) -> None:
        """Close a connection that did not become a request in time."""
        if connection.expire():
            connection.site.log.expired(connection.peer, connection.site.bind)
            if self.connections.get(connection.fd) is connection:
                del self.connections[connection.fd]

    def drop(self, connection: Connection) -> None:
        """Close a connection that is between two requests."""
        if connection.expire() and self.connections.get(connection.fd) is connection:
            del self.connections[connection.fd]
