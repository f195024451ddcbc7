"""Fork of a worker or a stem: what the child sheds, in which order, and how its end is noticed."""

from __future__ import annotations

import atexit
import ctypes
import os
import resource
import signal
import stat
import sys
import threading
import traceback
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36

ORPHANED: Final = 1  # exit status of a child whose supervisor went before it began
_ADOPTED_S: Final = 10.0  # for the kernel to hand a worker of a stem over to the supervisor

# What a child must not die of before it has handlers of its own: they mean something to the
# supervisor, and some people send them to every process of a name or a terminal.
_DEAF: Final = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Death:
    """A child that has ended. status: its exit status, or minus the signal; peak: bytes it held."""

    pid: int
    status: int
    peak: int

    @property
    def signal(self) -> int:
        return max(0, -self.status)

    def __str__(self) -> str:
        if not self.signal:
            return f"exit status {self.status}"
        try:
            return f"signal {self.signal}, {signal.Signals(self.signal).name}"
        except ValueError:  # a real-time one
            return f"signal {self.signal}"


def adopt_orphans() -> bool:
    """Grandchildren whose parent dies become ours, so that somebody reaps them."""
    return _prctl(PR_SET_CHILD_SUBREAPER, 1)


def reap() -> list[Death]:
    """Children that have ended since, without waiting for any."""
    deaths: list[Death] = []
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:  # none left
            return deaths
        if not pid:
            return deaths
        peak = usage.ru_maxrss << 10
        deaths.append(Death(pid, os.waitstatus_to_exitcode(status), peak))


def is_child(pid: int) -> bool:
    """Whether it is a child of ours that has not been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ChildProcessError, OverflowError):
        return False
    return True


def fork(child: Callable[[], int], keep: Collection[int]) -> int:
    """A child that runs ``child`` and exits with what it returns. Gives its pid.

    keep    descriptors above 2 that it needs; all others are closed
    raises  OSError, with nothing left behind
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid:
            return pid
        _run(child, keep)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(child: Callable[[], int], keep: Collection[int]) -> NoReturn:
    """The whole life of a child. Never back into the supervisor's loop."""
    status = 1
    try:
        atexit._clear()  # what the supervisor does at its end is none of ours
        _shed(keep)
        status = child()
    except SystemExit as error:
        status = exit_status(error)
    except BaseException:
        traceback.print_exc()
    finally:
        leave(status)


def exit_status(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _shed(keep: Collection[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for number in _DEAF:
        signal.signal(number, deaf)
    close_others(keep)
    _free_stdin()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def deaf(number: int, frame: object) -> None:
    """As SIG_IGN, but programs that this process starts do not inherit it."""


def leave(status: int) -> NoReturn:
    """Exit as a main program does, without going back to whoever forked us."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # None, a broken pipe, or closed
            continue
    os._exit(status)


def close_others(keep: Collection[int]) -> None:
    """Close every descriptor above 2 that is not in ``keep``, whoever opened it."""
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # no /proc
        found = list(range(3, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 16)))
    for fd in found:
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:  # the one that listed them
                continue


def _free_stdin() -> None:
    """Descriptor 0 of a FastCGI starter is the listener; an application must not read from it."""
    try:
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            return
    except OSError:  # closed: the next file opened would become it
        pass
    null = os.open(os.devnull, os.O_RDWR)
    if null != 0:
        os.dup2(null, 0)
        os.close(null)


def die_with(parent: int) -> None:
    """Be killed when ``parent`` ends; exits if it has ended already.

    The kernel forgets this when a process changes its user, so it comes after that.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call: nobody would tell us
        os._exit(ORPHANED)


def await_adoption(parent: int, adopter: int) -> None:
    """Wait until ``parent`` has ended and ``adopter`` has taken its place; exits if it does not."""
    deadline = monotonic() + _ADOPTED_S
    while (now := os.getppid()) != adopter:
        if now != parent or monotonic() > deadline:
            os._exit(ORPHANED)
        sleep(0.0005)


def _prctl(option: int, value: int) -> bool:
    """Whether it took effect: not so on other systems, nor where a sandbox forbids it."""
    if sys.platform != "linux":
        return False  # the closed channel still tells a worker
    libc = ctypes.CDLL(None)
    return not libc.prctl(option, *[ctypes.c_ulong(number) for number in (value, 0, 0, 0)])
