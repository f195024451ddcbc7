"""Programs by exec: any executable of any language, a new process for each request."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.apps.endings import Endings
from gatebridge.apps.start_errors import start_error
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.apps.running import Call

_REST_S = 2.0  # for what a program leaves in its group, between TERM and KILL
_CPU_GRACE_S = 2  # between XCPU, which a program may catch, and KILL


class Program:
    """A process that was started for one request; see running.Running.

    It stays unreaped until close(), so its number means this process and this group all the time.
    """

    __slots__ = ("_endings", "_lock", "_popen", "_reaped", "_rest_until", "_status", "ended", "pid",
                 "stderr", "stdin", "stdout")  # fmt: skip

    def __init__(self, popen: subprocess.Popen[bytes], ends: list[int], endings: Endings) -> None:
        self._popen = popen
        self._endings = endings
        self._lock = threading.Lock()
        self._status: int | None = None
        self._reaped = False
        self._rest_until = 0.0
        self.stdout, self.stderr = ends[:2]
        self.stdin = ends[2] if len(ends) > 2 else -1
        self.pid = popen.pid
        self.ended = _process_descriptor(popen.pid)
        for fd in ends:
            os.set_blocking(fd, False)

    def close_stdin(self) -> None:
        with self._lock:
            self.stdin = _closed(self.stdin)

    def status(self) -> int | None:
        with self._lock:
            return self._ask()

    def _ask(self) -> int | None:
        if self._status is not None or self._reaped:
            return self._status
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            self._status = self._popen.poll()
            self._reaped = self._status is not None
            return self._status
        try:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # somebody else in this process waits for every child
            self._reaped = True
            self._status = self._popen.returncode = 0
            return 0
        if found is not None:
            has_exited = found.si_code == os.CLD_EXITED
            self._status = found.si_status if has_exited else -found.si_status
        return self._status

    def kill(self, number: int) -> None:
        with self._lock:
            if not self._reaped:
                self._signal(number)

    def _signal(self, number: int) -> bool:
        """False: nobody is there, or nobody whom we may end."""
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            if self._reaped:
                return False
            try:  # it may have moved to another group
                os.kill(self.pid, number)
            except (ProcessLookupError, PermissionError):
                return False
        return True

    def close(self) -> None:
        with self._lock:
            self.stdin = _closed(self.stdin)
            self.stdout = _closed(self.stdout)
            self.stderr = _closed(self.stderr)
            self.ended = _closed(self.ended)
        self._rest_until = monotonic() + _REST_S
        self._endings.add(self._leave)

    def _leave(self, hurry: bool) -> bool:
        """Reap it; what is left of its group, which was told to end, is ended. True when over.

        A group's number is not given away while anybody is in it, and looks follow one another
        more quickly than the system goes through all numbers, so it is still this group.
        """
        with self._lock:
            if self._ask() is None:
                if hurry or monotonic() > self._rest_until:
                    self._signal(signal.SIGKILL)
                return False
            if not self._reaped:
                self._popen.wait()  # it has ended
                self._reaped = True
            if hurry or monotonic() > self._rest_until:
                self._signal(signal.SIGKILL)
                return True
            return not self._signal(0)


class Execute:
    """Starts programs by exec; see running.Launcher. No shell has a part in it."""

    def __init__(self) -> None:
        self._endings = Endings()

    def start(self, call: Call) -> Program:
        """raises  AppError: the codes of start_errors.start_error, AppError("script.limits")"""
        ours: list[int] = []  # stdout, stderr, stdin
        theirs: list[int] = []
        try:
            try:
                for _ in range(2):
                    reading, writing = os.pipe()
                    ours.append(reading)
                    theirs.append(writing)
                if call.has_body:
                    reading, writing = os.pipe()
                    ours.append(writing)
                    theirs.append(reading)
                popen = self._popen(call, *theirs)
            except OSError as error:
                raise start_error(error, call.path, call.folder) from None
            finally:
                for fd in theirs:
                    os.close(fd)
            program = Program(popen, ours, self._endings)
            ours = []
        finally:
            for fd in ours:
                os.close(fd)
        if call.limits:
            _limit(program, call)
        return program

    def _popen(
        self, call: Call, stdout: int, stderr: int, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """A session of its own: the group to be ended, and no terminal to ask for passwords."""
        program = call.path
        passed: tuple[int, ...] = ()
        if call.fd >= 0:
            place = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
            program, passed = f"{place}/{call.fd}", (call.fd,)
        return subprocess.Popen(
            [call.path, *call.arguments],
            executable=program,
            pass_fds=passed,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=call.folder,
            env=call.environment,
            close_fds=True,
            restore_signals=True,
            start_new_session=True,
        )

    def close(self) -> None:
        self._endings.close()


def _closed(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1


def _process_descriptor(pid: int) -> int:
    """Readable once the process has ended; -1 where the system has no such thing to spare."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _limit(program: Program, call: Call) -> None:
    """The program runs already, but has not read its own file yet."""
    try:
        limits = _limits(call.limits)
        for number, values in limits:
            hard = resource.prlimit(program.pid, number)[1]
            if hard != resource.RLIM_INFINITY:
                values = (min(values[0], hard), min(values[1], hard))
            resource.prlimit(program.pid, number, values)
    except ProcessLookupError:  # it has ended
        pass
    except (AttributeError, OSError, ValueError) as error:
        program.kill(signal.SIGKILL)
        program.close()
        why = f"and without its limits it must not run: {error}"
        raise AppError("script.limits", f"{call.path} could not be limited, {why}") from None


def _limits(limits: Mapping[str, int]) -> list[tuple[int, tuple[int, int]]]:
    found: list[tuple[int, tuple[int, int]]] = []
    for name, value in limits.items():
        number: int = getattr(resource, f"RLIMIT_{name.upper()}")
        found.append((number, (value, value + (_CPU_GRACE_S if name == "cpu" else 0))))
    return found
