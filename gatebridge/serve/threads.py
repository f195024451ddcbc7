"""The threads of a worker's loop: those that poll or are in the application, and those parked."""

from __future__ import annotations

import os
import threading
from _thread import allocate_lock, get_ident
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.serve.overdue import RequestTimeout
from gatebridge.serve.poller import new_poller
from gatebridge.serve.slot import Slot
from gatebridge.serve.worker_log import WARNING

if TYPE_CHECKING:
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.worker_log import WorkerLog

CLOSE_S = 1.0  # for a thread to come back that nothing keeps
NO_THREAD_S = 10.0  # between two lines that say so


class Threads:
    """They poll one poller, which a pipe wakes.

    count  at most
    log    says that there are fewer than there should be
    """

    def __init__(self, count: int, board: WorkerSlot | None, log: WorkerLog) -> None:
        self.threads = count
        self.board = board
        self.log = log
        self.poller = new_poller()
        self.slots: list[Slot] = []
        self.parked: list[Slot] = []
        self.pollers = 0  # threads that are not parked
        self.surplus = 0  # pollers that should park
        self.stopping = False
        self.told_threads = -inf  # when it was said that no thread could be started
        self.watch_asleep = False
        self.watch_lock = allocate_lock()
        self.watch_lock.acquire()
        self._lock = allocate_lock()  # guards parked, pollers, surplus
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.poller.listen(self._wake_read)

    def start(self) -> None:
        """Start the first poller; the watch is started by whoever owns it."""
        self.add_pollers(1)

    def add_pollers(self, count: int) -> None:
        """Let more threads poll."""
        with self._lock:
            self.surplus = 0
            for _ in range(min(count, self.threads - self.pollers)):
                self.pollers += 1
                if self.parked:
                    self.parked.pop().lock.release()
                    continue
                board = self.board
                slot = Slot(board.thread(len(self.slots)) if board is not None else None)
                slot.lock.acquire()
                self.slots.append(slot)
                name = f"gatebridge-{len(self.slots)}"
                slot.thread = threading.Thread(target=self._poll, args=(slot,), name=name)
                slot.thread.daemon = True
                try:
                    slot.thread.start()
                except RuntimeError as error:  # no more threads for this user: with those there are
                    self.slots.pop()
                    self.pollers -= 1
                    if not self.slots:
                        raise
                    self._no_thread(error)
                    return

    def _no_thread(self, error: RuntimeError) -> None:
        """Say once in a while that there are fewer threads than there should be."""
        now = monotonic()
        if now >= self.told_threads + NO_THREAD_S:
            self.told_threads = now
            self.log.line(WARNING, f"threads.few {len(self.slots)}: {error}")

    def retire(self, keep: int) -> None:
        """Ask all pollers but so many to park when they are done with what they do."""
        with self._lock:
            self.surplus = count = max(0, self.pollers - keep)
        for _ in range(count):  # one byte a poller: each reads one, and parks
            self.wake()

    def _park(self, slot: Slot) -> None:
        with self._lock:
            if self.surplus <= 0 or self.pollers <= 1:
                self.surplus = 0
                return
            self.surplus -= 1
            self.pollers -= 1
            self.parked.append(slot)
        slot.lock.acquire()

    def wake(self) -> None:
        """Make one poller look at pending, surplus and stopping."""
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:  # it has been told often enough
            pass

    def woken(self, fd: int) -> bool:
        """Take one wake-up, if that is what fd is."""
        if fd != self._wake_read:
            return False
        try:
            os.read(fd, 1)
        except BlockingIOError:  # another poller was quicker
            pass
        return True

    def _rouse(self) -> None:
        with self._lock:
            if self.watch_asleep:
                self.watch_asleep = False
                self.watch_lock.release()

    def stop(self) -> None:
        """Let every thread return when its application call does."""
        self.stopping = True
        self.add_pollers(self.threads)
        with self._lock:
            for slot in self.parked:
                slot.lock.release()
            self.parked.clear()
        self.wake()

    def close(self) -> bool:
        """After stop(): give back what the system lent. False: some thread is still at work."""
        self._rouse()  # the watch, to end
        for slot in self.slots:
            if slot.thread is not None:
                slot.thread.join(CLOSE_S)
                if slot.thread.is_alive():
                    return False
        self.poller.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        return True

    def _poll(self, slot: Slot) -> None:
        slot.ident = get_ident()
        while not self.stopping:
            try:
                self._poll_on(slot)
            except RequestTimeout:  # came when the call it was meant for had just ended
                continue
        self.wake()  # the next one

    def _poll_on(self, slot: Slot) -> None:
        """Poll, and serve what has come, until stopping is true."""
        raise NotImplementedError("a loop polls, its threads alone do not")
