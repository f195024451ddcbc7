"""The watch of a loop: more threads where all are stuck, and sockets looked after meanwhile."""

from __future__ import annotations

from math import inf
from select import POLLERR, POLLHUP, POLLIN, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.errors import PeerError
from gatebridge.serve.backlog import queue
from gatebridge.serve.loop import PASSED
from gatebridge.serve.overdue import give_up

if TYPE_CHECKING:
    from gatebridge.serve.connection import Connection
    from gatebridge.serve.loop import Loop
    from gatebridge.serve.slot import Slot

TICK_S = 0.005  # stuck: in the same application call at two ticks
CALM_S = 0.25  # between two looks at how many pollers that was; the others are retired
SWEEP_S = 1.0  # between two looks at deadlines
QUIET_TICKS = 40  # without an application call, before the watch sleeps
ACCEPT_STUCK_S = 0.02  # all threads stuck for so long, and new connections are ours to queue
_FAULT_S = 0.5  # a pause after a fault of ours, which may come again at once
_LOOKS = 20  # ticks between two looks at the listeners' queues
_LAST_RESORT = 64  # sockets looked after in one tick


class Watch:
    """Runs in a thread of its own, for one loop."""

    __slots__ = ("_all_stuck_since", "_crowded", "_looks", "_loop", "_most", "_poll", "_quiet",
                 "_since", "_swept")  # fmt: skip

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._poll = poll().poll
        self._most = 0  # pollers stuck at once
        self._since = 0.0  # then
        self._all_stuck_since = 0.0
        self._quiet = 0
        self._swept = 0.0
        self._crowded = False  # more waits for a listener than may wait
        self._looks = 0

    def run(self) -> None:
        loop = self._loop
        while not loop.stopping:
            if self._quiet >= QUIET_TICKS:
                self._sleep()
            self._pause(TICK_S)
            now = monotonic()
            try:
                self.tick(now)
                if now - self._swept > SWEEP_S:
                    self._swept = now
                    self._sweep(now)
            except Exception as error:  # a fault of ours: nobody else would notice
                loop.order[0].site.log.fault("watch", error)
                self._pause(_FAULT_S)

    def _pause(self, seconds: float) -> None:
        """sleep() waits until a point in time, which fails under libfaketime."""
        self._poll(seconds * 1000)

    def _sleep(self) -> None:
        """Nothing runs: wake for the next application call, and once a second for deadlines."""
        loop = self._loop
        loop.watch_asleep = True
        if any(slot.exchange is not None for slot in loop.slots):
            loop.watch_asleep = False
            loop.watch_lock.acquire(False)
            self._quiet = 0
            return
        waiting = loop.paused or any(c.deadline for c in list(loop.connections.values()))
        if loop.watch_lock.acquire(timeout=SWEEP_S if waiting or loop.pollers > 1 else -1):
            self._quiet = 0
        else:
            loop.watch_asleep = False

    def tick(self, now: float) -> None:
        """Look at every thread. now: monotonic"""
        loop = self._loop
        if loop.paused:
            self._resume(now)
        if loop.pending:
            self._look_at_queue(now)
        stuck: list[Slot] = []
        active = 0
        for slot in loop.slots:
            exchange = slot.exchange
            if exchange is None:
                continue
            active += 1
            if slot.serial == slot.seen:
                stuck.append(slot)
            slot.seen = slot.serial
            limit = exchange.timeout_s or loop.timeout_s
            if limit and slot.began and now - slot.began > limit:
                self._time_out(slot)
        self._quiet = 0 if active or loop.pending else self._quiet + 1
        if loop.pending and len(stuck) < loop.pollers:
            loop.wake()  # the watch itself may have taken the wake-up that was meant for them
        self._settle(len(stuck), now)
        if stuck:
            self._look_after(stuck)
        if len(stuck) < loop.pollers:
            self._all_stuck_since = 0.0
        elif loop.pollers < loop.threads:
            loop.add_pollers((loop.pollers + 1) // 2)
        else:
            self._last_resort(now)

    def _settle(self, stuck: int, now: float) -> None:
        """As many pollers as were stuck lately, and one: more would only wait for each other."""
        loop = self._loop
        self._most = max(self._most, stuck)
        if now - self._since > CALM_S:
            if loop.pollers > self._most + 1:
                loop.retire(self._most + 1)
            self._most, self._since = stuck, now

    def _look_at_queue(self, now: float) -> None:
        """Refuse what has no room or has waited too long."""
        loop = self._loop
        refuse = False
        for exchange, _ in list(loop.pending):
            waited = now - exchange.queued_at
            if exchange.error is None and 0 < loop.queue_s < waited:
                exchange.error = PeerError("queue.timeout", f"it waited for {waited:.1f} s")
            refuse = refuse or (
                exchange.error is not None and exchange.error.code.startswith("queue.")
            )
        if refuse:
            loop.refuse_surplus()

    def _time_out(self, slot: Slot) -> None:
        if slot.given_up != slot.serial and slot.began:
            slot.given_up = slot.serial
            give_up(self._loop, slot)
            self._loop.overdue()

    def _look_after(self, stuck: list[Slot]) -> None:
        """Connections whose thread is in the application: who left, who asks, who aborts?"""
        waiter = poll()
        watched: dict[int, Connection] = {}
        for slot in stuck:
            exchange = slot.exchange
            if exchange is None:
                continue
            connection = exchange.connection
            if connection.closed or (connection.eof and exchange.gone):
                continue
            if connection.reading:
                continue  # where a thread waits for a body, it learns the rest as well
            if exchange.feed is not None and exchange.feed.size >= connection.site.spool_memory:
                continue  # the application does not read, so the peer has to wait
            watched[connection.fd] = connection
            waiter.register(connection.fd, 0 if connection.eof else POLLIN)
        for fd, flags in waiter.poll(0) if watched else []:
            connection = watched[fd]
            if flags & (POLLHUP | POLLERR):
                connection.lost()
            elif flags & POLLIN:
                self._loop.submit(connection.try_receive())
                if connection.wire.closing and not connection.exchanges:
                    connection.close_if_broken()

    def _last_resort(self, now: float) -> None:
        """All threads are stuck: read for them, so that nothing but the application waits."""
        loop = self._loop
        if not self._all_stuck_since:
            self._all_stuck_since = now
        may_accept = now - self._all_stuck_since > self._accept_after()
        for fd, _ in loop.poller.poll(0.0, _LAST_RESORT):
            connection = loop.connections.get(fd)
            if connection is not None:
                passes = loop.siblings and not loop.draining
                if not passes or loop.pass_on(connection) != PASSED:
                    loop.handle(connection, None)
                continue
            if fd == loop.inbox_fd:
                continue  # for workers that are free
            if loop.woken(fd):
                continue
            listener = loop.listeners.get(fd)
            if listener is None or not may_accept:
                continue
            fresh = loop.accept(listener)
            if fresh is not None:
                loop.handle(fresh, None)

    def _accept_after(self) -> float:
        """Seconds of being stuck after which we take new connections in, for the queue.

        Where there are siblings new connections are left to whichever of them is free first; only
        what would wait too long is taken in, so that it gets its 503.
        """
        loop = self._loop
        if not loop.siblings:
            return ACCEPT_STUCK_S
        self._looks += 1
        if self._looks % _LOOKS == 0:
            depths = [queue(listener.sock) for listener in loop.order]
            self._crowded = any(depth is not None and depth[0] > loop.max_queue for depth in depths)
        return ACCEPT_STUCK_S if self._crowded else loop.queue_s or inf

    def _sweep(self, now: float) -> None:
        """Close what did not become a request, or did not end, in time."""
        loop = self._loop
        for connection in list(loop.connections.values()):
            if not connection.deadline or now <= connection.deadline:
                continue
            if connection.exchanges:
                loop.expire_deferred(connection)
            else:
                loop.expire(connection)

    def _resume(self, now: float) -> None:
        loop = self._loop
        for fd, when in list(loop.paused.items()):
            if now >= when:
                del loop.paused[fd]
                if fd in loop.listeners or fd == loop.inbox_fd:
                    loop.poller.listen(fd)
