"""Children that serve one request at a time: flup's fcgi_fork and scgi_fork.

The script's own process forks them, after it has loaded the application, and serves nothing.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.compat.script_worker import CAUGHT
from gatebridge.serve.inbox import Inbox
from gatebridge.serve.scoreboard import READY, WORKERS_MAX, Scoreboard, WorkerSlot
from gatebridge.serve.spawn import die_with, leave
from gatebridge.serve.turns import Turns
from gatebridge.serve.worker import GRACEFUL, MASKED, Worker
from gatebridge.serve.worker_log import ERROR, INFO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gatebridge.serve.listener import Listener
    from gatebridge.serve.scoreboard import WorkerView
    from gatebridge.serve.worker_log import WorkerLog

    Serve = Callable[[WorkerSlot, Inbox], int]

BUSY_LOOK_S = 0.1  # between two looks at the children while one of them is busy
CALM_LOOK_S = 1.0
AGAIN_S = 1.0  # after a child failed at once
KILL_S = 5.0  # behind the grace: for children that do not end


@dataclass(frozen=True, slots=True)
class Spares:
    """least and most: idle children. children: at most. raises ValueError as flup's"""

    least: int
    most: int
    children: int

    def __post_init__(self) -> None:
        if self.least < 1:
            raise ValueError("minSpare must be 1 or more")
        if self.most < self.least:
            raise ValueError("maxSpare must not be less than minSpare")


class Child:
    """at: its number on the board."""

    __slots__ = ("at", "born", "leaving", "pid")

    def __init__(self, at: int, pid: int) -> None:
        self.at = at
        self.pid = pid
        self.born = monotonic()
        self.leaving = False

    def end(self, number: int = signal.SIGTERM) -> None:
        self.leaving = True
        os.kill(self.pid, number)  # a child is there until we reap it


class ChildWorker(Worker):
    """A child's. is_worn: it has served what it may, and its siblings go on."""

    is_worn = False

    def wear_out(self) -> None:
        """Called in the loop's thread, as the last request begins."""
        self.is_worn = True
        self._loop.refuse_new()
        os.kill(os.getpid(), signal.SIGTERM)

    def _is_hurried(self, number: int) -> bool:
        return number not in GRACEFUL  # its parent kills

    def _take_queue(self, listener: Listener) -> None:
        if not self.is_worn:
            super()._take_queue(listener)


class Prefork:
    """serve is called in each child and gives its exit status. grace_s: for their requests."""

    def __init__(
        self,
        spares: Spares,
        serve: Serve,
        listener: Listener,
        log: WorkerLog,
        grace_s: float,
    ) -> None:
        self._spares = spares
        self._serve = serve
        self._listener = listener
        self._log = log
        self._grace_s = grace_s
        self._board = Scoreboard()
        self._inbox = Inbox()
        self._children: dict[int, Child] = {}
        self._before: dict[int, object] = {}
        self._signals: list[int] = []
        self._not_before = 0.0  # monotonic; no child is forked earlier
        self.hup = False

    def run(self) -> bool:
        """Until HUP, INT or TERM. Returns whether it was HUP."""
        wake, waker = os.pipe()
        for fd in (wake, waker):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (*CAUGHT, signal.SIGCHLD, signal.SIGUSR1):
            self._before[number] = signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)
        turns = Turns()
        turns.watch(wake, lambda: _drain(wake))
        try:
            while not self._obey():
                self._reap()
                turns.take(monotonic() + self._look())
            self._stop(turns)
        finally:
            self._restore()
            signal.set_wakeup_fd(-1)
            turns.close()
            for fd in (wake, waker):
                os.close(fd)
            self._inbox.close()
        return self.hup

    def leave(self, hup: bool) -> None:
        """As the signal would."""
        os.kill(os.getpid(), signal.SIGHUP if hup else signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            known = signal.SIG_DFL if handler is None else handler
            signal.signal(number, known)  # type: ignore[arg-type]  # what it was before

    def _obey(self) -> bool:
        """Whether a signal has ended it. USR1 replaces every child when it is free."""
        while self._signals:
            number = self._signals.pop(0)
            if number in CAUGHT:
                self.hup = number == signal.SIGHUP
                return True
            if number == signal.SIGUSR1:
                for child in self._children.values():
                    child.end()
        return False

    # -- children

    def _look(self) -> float:
        """Fork and retire what is due. Seconds until the next look."""
        now = monotonic()
        views = {view.index: view for view in self._board.read(now)}
        staying = [child for child in self._children.values() if not child.leaving]
        idle = [child for child in staying if not _is_busy(views.get(child.at))]
        room = self._spares.children - len(self._children)
        wanted = max(self._spares.most - len(staying), self._spares.least - len(idle))
        if now >= self._not_before:
            for _ in range(min(wanted, room)):
                if not self._fork():
                    break
        elif wanted > 0:
            return self._not_before - now
        for child in idle[self._spares.most :]:
            child.end()
        return BUSY_LOOK_S if len(idle) < len(staying) or wanted > 0 else CALM_LOOK_S

    def _fork(self) -> bool:
        used = {child.at for child in self._children.values()}
        at = next((number for number in range(WORKERS_MAX) if number not in used), -1)
        if at < 0:
            return False
        slot = self._board.worker(at)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            parent = os.getpid()
            pid = os.fork()
            if pid:
                slot.start(pid, "flup", 0, 1)
                self._children[pid] = Child(at, pid)
                return True
            self._live(slot, parent, before)
        except OSError as error:  # no more processes for this user: those there are serve on
            self._log.line(ERROR, f"no further child: {error}")
            self._not_before = monotonic() + AGAIN_S
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return False

    def _live(self, slot: WorkerSlot, parent: int, mask: set[int | signal.Signals]) -> None:
        """A child's whole life; never back into the script."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            self._restore()
            os.setpgid(0, 0)  # what a terminal sends is for the parent
            die_with(parent)
            # the script's own handlers must not swallow what is meant for the worker
            signal.pthread_sigmask(signal.SIG_SETMASK, {*mask, *MASKED})
            slot.start(os.getpid(), "flup", 0, 1)
            slot.state(READY)
            status = self._serve(slot, self._inbox)
        except BaseException as error:
            self._log.fault("child", error)
        finally:
            leave(status)

    def _reap(self) -> None:
        """Only ours: the script may have others."""
        for pid, child in list(self._children.items()):
            gone, status = os.waitpid(pid, os.WNOHANG)
            if gone:
                del self._children[pid]
                self._board.free(child.at)
                if status and not child.leaving:
                    self._log.line(ERROR, f"child {pid} ended with {_said(status)}")
                    if monotonic() - child.born < AGAIN_S:
                        self._not_before = monotonic() + AGAIN_S

    def _stop(self, turns: Turns) -> None:
        """Let them finish their requests; a further signal, or time, ends them."""
        self._log.line(INFO, "stopping: requests under way are finished first")
        self._listener.refuse()
        for child in self._children.values():
            child.end()
        deadline = monotonic() + self._grace_s + KILL_S
        self._signals.clear()
        while self._children:
            if monotonic() > deadline or any(number in CAUGHT for number in self._signals):
                for child in self._children.values():
                    child.end(signal.SIGKILL)
            self._signals.clear()
            turns.take(monotonic() + BUSY_LOOK_S)
            self._reap()
        self._log.line(INFO, "stopped")


def _is_busy(view: WorkerView | None) -> bool:
    return view is not None and bool(view.running)


def _said(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"signal {-code}"


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 512):
            continue
    except BlockingIOError:
        return
