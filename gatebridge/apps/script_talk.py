"""A conversation with a running program: what it writes, as it comes, and when it is over."""

from __future__ import annotations

import os
import termios
from fcntl import ioctl
from math import inf
from select import POLLIN, POLLOUT, poll
from struct import Struct
from time import monotonic
from typing import TYPE_CHECKING, Any

from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.apps.options import ScriptOptions
    from gatebridge.apps.running import Running
    from gatebridge.apps.script_body import Feed

_READ = 65_536  # bytes; what a pipe holds
_TAIL = 65_536  # bytes of the error stream that are kept
_LINE = 8192  # bytes of a line that are waited for
_SLICE_MS = 250  # between two looks whether the client is there
_ASK_MS = 20  # the same for the program's end, where nothing tells of it
_EXIT_S = 0.25  # from the end of its output to its own
_LAST_ERRORS = 1 << 20  # bytes taken of the error stream after the program's end
_INT = Struct("i")


class ErrorStream:
    """Standard error: whole lines to wsgi.errors as they come, and its tail for the log."""

    __slots__ = ("_errors", "_rest", "_tail")

    def __init__(self, errors: Any) -> None:
        self._errors = errors
        self._rest = b""
        self._tail = b""

    def put(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-_TAIL:]
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) >= _LINE:
            end = len(data)
        self._rest = data[end:]
        if end:
            self._say(data[:end])

    def end(self) -> None:
        """Say what has no line end."""
        data, self._rest = self._rest, b""
        if data:
            self._say(data + b"\n")

    def _say(self, data: bytes) -> None:
        self._errors.write(data.decode("utf-8", "backslashreplace"))
        self._errors.flush()

    def note(self, text: str) -> None:
        """A line of ours."""
        self.end()
        self._errors.write(text + "\n")
        self._errors.flush()

    def tail(self, most: int) -> list[str]:
        """The last lines."""
        return self._tail.decode("utf-8", "backslashreplace").splitlines()[-most:]


class Talk:
    """What one thread does with a program, until it is over.

    gone  tells whether nobody waits for the answer
    """

    __slots__ = ("_asks", "_ends", "_feed", "_gone", "_left", "_moved", "_over", "_poll",
                 "_stderr", "_timeout", "errors", "has_ended", "is_whole", "linger", "running",
                 "status")  # fmt: skip

    def __init__(
        self,
        running: Running,
        feed: Feed,
        errors: ErrorStream,
        gone: Callable[[], bool],
        options: ScriptOptions,
    ) -> None:
        self.running = running
        self.errors = errors
        self.status: int | None = None
        self.has_ended = False
        self.is_whole = False  # the promised Content-Length is there: its end is the answer's
        self._feed = feed
        self._gone = gone
        self._timeout = options.timeout
        self.linger = options.linger
        self._ends = 0.0  # monotonic; once it has ended: when nobody else is waited for
        self._left = 0  # bytes that were in the pipe when it had ended
        self._moved = 0.0
        self._over = False
        self._asks = running.ended < 0  # nothing tells of its end
        self._stderr = running.stderr  # -1 once it is over
        self._poll = poll()
        for fd in (running.stdout, running.stderr, running.ended):
            if fd >= 0:
                self._poll.register(fd, POLLIN)
        if feed.fd >= 0:
            self._poll.register(feed.fd, POLLOUT)

    def read(self, until: float = inf) -> bytes:
        """The next piece of the answer; b"" at its end, or when there is none at a point in time.

        raises  AppError("script.timeout"), ConnectionError when the client has left, and whatever
                kept the body from coming
        """
        self._moved = monotonic()  # the client may have been slow until now
        while not self._is_over():
            ready = [fd for fd, _ in self._poll.poll(self._wait_ms(until))]
            self._attend(ready)
            if self.running.stdout in ready:
                data = self._take()
                if data:
                    return data
                continue
            self._check()
            now = monotonic()
            if self.has_ended and now > self._ends:
                self._left = 0  # nothing is there, whoever has read it
            if now > until:
                return b""
        if not self._over:
            self._over = True
            self._await_exit()
        return b""

    def _is_over(self) -> bool:
        if self._over or self.running.stdout < 0:
            return True
        if not self.has_ended:
            return False
        return self.is_whole or (monotonic() > self._ends and self._left <= 0)

    def _attend(self, ready: list[int]) -> None:
        """Everything but standard output; what was said as an error comes first."""
        running, feed = self.running, self._feed
        if self._stderr in ready:
            self._take_errors()
        if feed.fd in ready:
            fd = feed.fd
            feed.write()
            if feed.fd < 0:
                self._poll.unregister(fd)
        if not self.has_ended and (self._asks or running.ended in ready):
            self._ask()

    def _ask(self) -> None:
        """Has it ended?"""
        if not self._asks:  # once is enough
            self._poll.unregister(self.running.ended)
            self._asks = True
        self.status = self.running.status()
        if self.status is None:
            return
        self.has_ended = True
        self._ends = monotonic() + self.linger
        self._left = _waiting(self.running.stdout)

    def _take(self) -> bytes:
        try:
            data = os.read(self.running.stdout, _READ)
        except BlockingIOError:
            return b""
        self._left -= len(data)
        if not data:  # it, and all it has started, have closed it
            self._poll.unregister(self.running.stdout)
            self._over = True
            self._await_exit()
        return data

    def _take_errors(self) -> int:
        """What is there of standard error; how much that was."""
        if self._stderr < 0:
            return 0
        try:
            data = os.read(self._stderr, _READ)
        except BlockingIOError:
            return 0
        if not data:
            self._poll.unregister(self._stderr)
            self._stderr = -1
            return 0
        self.errors.put(data)
        return len(data)

    def _await_exit(self) -> None:
        """Its output is over, and so is it in a moment, unless it means to work on."""
        until = monotonic() + _EXIT_S
        while not self.has_ended and monotonic() < until:
            self._attend([fd for fd, _ in self._poll.poll(_ASK_MS)])
        most = _LAST_ERRORS
        while most > 0 and (count := self._take_errors()):
            most -= count
        self.errors.end()

    def _wait_ms(self, until: float) -> float:
        now = monotonic()
        most = min(
            _ASK_MS if self._asks and not self.has_ended else _SLICE_MS, (until - now) * 1000
        )
        if self.has_ended:
            most = min(most, (self._ends - now) * 1000)
        elif self._timeout:
            most = min(most, self._timeout * 1000)
        return max(0.0, most) + 1

    def _check(self) -> None:
        if self._gone():
            raise ConnectionResetError("the client has left")
        if self._feed.error is not None:
            raise self._feed.error
        if self.has_ended or not self._timeout:
            return
        idle = monotonic() - max(self._moved, self._feed.moved)
        if idle > self._timeout:
            why = "it neither read nor wrote, and was ended; timeout= says how long it may"
            raise AppError("script.timeout", f"nothing for {self._timeout:g} s: {why}")

    def drain(self, most: int, most_s: float) -> int:
        """Let it finish though nobody wants its output: so many bytes, and for so long, at most.

        returns  bytes thrown away
        raises   as read()
        """
        until = monotonic() + most_s
        count = 0
        while count <= most and monotonic() < until:
            data = self.read(until)
            if not data:
                break
            count += len(data)
        return count

    def stop(self) -> None:
        """No more is read or written."""
        self._over = True
        self._feed.stop()
        self.errors.end()


def _waiting(fd: int) -> int:
    """Bytes in a pipe."""
    try:
        data = ioctl(fd, termios.FIONREAD, bytes(_INT.size))
    except OSError:
        return 0
    count: int = _INT.unpack(data)[0]
    return count
