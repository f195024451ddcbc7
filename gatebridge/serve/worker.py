"""A worker process: boot, serve until told to stop, drain."""

from __future__ import annotations

import os
import select
import signal
import threading
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gatebridge.serve.duty import TICK_S
from gatebridge.serve.spawn import deaf
from gatebridge.serve.worker_log import DEBUG, INFO

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from gatebridge.serve.duty import Duty
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.worker_log import WorkerLog

_FRESH_S = 0.2  # a connection just accepted may still be about to send its request
_LOOK_S = 0.01  # between two looks at what is left, while draining
_QUIET_LOOKS = 3  # in a row with nothing left, before it is believed

GRACEFUL = (signal.SIGTERM, signal.SIGQUIT)  # a second one is quick
QUICK = (signal.SIGINT,)
REOPEN = (signal.SIGUSR1,)
MASKED = (*GRACEFUL, *QUICK, *REOPEN)  # from before the sockets are there until run()
IGNORED = (signal.SIGHUP,)  # it is for the daemon's supervisor


_loops: list[Turning] = []  # that serve in this process


def _after_fork() -> None:
    for loop in _loops:
        loop.after_fork()


os.register_at_fork(after_in_child=_after_fork)  # once: nobody can take it back


class Turning(Protocol):
    """What a worker asks of its loop: serve.loop.Loop, or an event loop."""

    draining: bool
    hands_on: bool

    @property
    def inbox(self) -> Inbox | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def after_fork(self) -> None: ...
    def refuse_new(self) -> None: ...
    def take_queue(self, listener: Listener) -> None: ...
    def take_inbox(self) -> None: ...
    def close_idle(self, fresh_too: bool) -> int: ...
    @property
    def in_flight(self) -> int: ...


class Worker:
    """Owns the process's signals; everything else happens in the loop's threads.

    graceful_s  seconds for requests under way after TERM
    reopen      called for USR1; a supervised worker hears it from its supervisor
    duty        what a supervised worker owes; None for one that is alone
    watch       what watches the loop, called in a thread of its own
    """

    __slots__ = (
        "_duty",
        "_graceful_s",
        "_listeners",
        "_log",
        "_loop",
        "_poll",
        "_reopen",
        "_signals",
        "_wake",
        "_waker",
        "_watch",
        "_watcher",
    )

    def __init__(
        self,
        loop: Turning,
        listeners: list[Listener],
        log: WorkerLog,
        graceful_s: float,
        reopen: Callable[[], None],
        duty: Duty | None = None,
        watch: Callable[[], object] | None = None,
    ) -> None:
        self._duty = duty
        self._watch = watch
        self._watcher: threading.Thread | None = None
        self._loop = loop
        self._listeners = listeners
        self._log = log
        self._graceful_s = graceful_s
        self._reopen = reopen
        self._signals: list[int] = []
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        self._poll = select.poll()  # select() ends at descriptor 1,023
        self._poll.register(self._wake, select.POLLIN)
        if duty is not None:
            self._poll.register(duty.fd, select.POLLIN)
        if threading.current_thread() is threading.main_thread():  # as signals are
            signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def run(self) -> int:
        """Serve until a signal ends it. Returns the exit status."""
        duty = self._duty
        self._catch_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASKED)
        _loops.append(self._loop)
        self._loop.start()
        if self._watch is not None:
            self._watcher = threading.Thread(
                target=self._watch, name="gatebridge-watch", daemon=True
            )
            self._watcher.start()
        if duty is None:
            for listener in self._listeners:
                self._log.listening(listener.text, listener.bind.protocol)
        else:
            duty.begin(self._waker)
        try:
            if self._wait(-1.0) in GRACEFUL:
                self._say("stopping: requests under way are finished first")
                self._drain(monotonic() + self._graceful_s)
        finally:
            for listener in self._listeners:
                listener.close()
            self._loop.stop()
        self._say("stopped")
        return 0

    def close(self) -> None:
        """After run(), and once the loop is closed: for a process that goes on."""
        _loops.remove(self._loop)
        if self._watcher is not None:
            self._watcher.join()
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._waker)

    def _catch_signals(self) -> None:
        for number in (*GRACEFUL, *QUICK, *REOPEN):
            if self._duty is None or number not in REOPEN:  # there USR1 asks for stacks
                signal.signal(number, self._note)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        for number in IGNORED:
            signal.signal(number, deaf)

    def _say(self, text: str) -> None:
        """The supervisor speaks for workers that have one."""
        self._log.line(INFO if self._duty is None else DEBUG, text)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _wait(self, timeout_s: float) -> int:
        """The next signal that stops us, 0 when there was none in time."""
        deadline = monotonic() + timeout_s
        while True:
            while self._signals:
                number = self._signals.pop(0)
                if number in REOPEN:
                    self._reopen()
                else:
                    return number
            left = deadline - monotonic() if timeout_s >= 0 else inf
            if left <= 0:
                return 0
            heard = self._sleep(left)
            if heard:
                return heard

    def _sleep(self, most_s: float) -> int:
        """Wait for a signal, a word of the supervisor or the time to tell it how we are."""
        duty = self._duty
        most = min(most_s, TICK_S) if duty is not None else most_s
        seen = self._poll.poll(None if most == inf else most * 1000 + 1)
        try:
            os.read(self._wake, 512)
        except BlockingIOError:  # woken by something else
            pass
        if duty is None:
            return 0
        duty.tick()
        return duty.hear() if any(fd == duty.fd for fd, _ in seen) else 0

    def _is_hurried(self, number: int) -> bool:
        """Whether a second signal ends it. Who has a supervisor gets TERM twice where somebody
        signals all processes at once, and its supervisor knows others to hurry it.
        """
        return self._duty is None or number not in GRACEFUL

    def _leave_queue(self) -> None:
        """Listen no more; what is queued is ours where nobody comes after us.

        A worker that was not sent away by its supervisor may still hear that it is the last.
        """
        duty, loop = self._duty, self._loop
        if duty is not None and not duty.sent_away:
            return
        if duty is None or duty.takes_queue:
            loop.hands_on = False
            for listener in self._listeners:
                self._take_queue(listener)
            loop.take_inbox()
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _take_queue(self, listener: Listener) -> None:
        self._loop.take_queue(listener)

    def _drain(self, deadline: float) -> None:
        """Finish what was begun or is queued; a second signal or the deadline ends it."""
        loop = self._loop
        duty = self._duty
        loop.draining = True
        if duty is not None:
            duty.draining()
        else:
            for listener in self._listeners:
                listener.refuse()
        loop.hands_on = duty is not None and loop.inbox is not None
        self._leave_queue()
        loop.refuse_new()
        quiet = 0
        started = monotonic()
        while monotonic() < deadline:
            left = loop.close_idle(monotonic() - started > _FRESH_S)
            quiet = 0 if left or loop.in_flight else quiet + 1
            if quiet >= _QUIET_LOOKS:
                return
            number = self._wait(_LOOK_S)
            if number and self._is_hurried(number):
                return
            if number:
                self._leave_queue()
                quiet, started = 0, monotonic()
        self._log.line(INFO, f"{loop.in_flight} requests did not end in time")
