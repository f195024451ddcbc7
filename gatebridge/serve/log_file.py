"""A log that cannot stop the service: one write a line, losses counted, reopened on request."""

from __future__ import annotations

import fcntl
import os
import stat
from select import PIPE_BUF, POLLOUT, poll
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


class LogFile:
    """``-`` is standard error; else a file that is appended to.

    lost  lines not written so far
    told  called with the path and how many were lost since, once writing works again

    raises  ConfigError("log.open") at the start; later failures only count
    """

    __slots__ = ("_fd", "_path", "_torn", "_untold", "_waits", "lost", "told")

    def __init__(self, path: str, told: Callable[[str, int], None] | None = None) -> None:
        self._path = path
        self.lost = 0
        self.told = told
        self._untold = 0
        self._torn = False  # the last line has no end: the disk became full within it
        try:
            self._fd = self._open()
        except OSError as error:
            raise ConfigError("log.open", f"cannot write the log {path}: {error}") from error
        self._waits = _may_wait(self._fd)

    @property
    def fd(self) -> int:
        """The same for as long as it lives. A child that is to write keeps it open."""
        return self._fd

    def _open(self) -> int:
        if self._path == "-":
            try:  # a number of our own: the application may close 2, and another file get it
                return fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
            except OSError:  # started without a standard error
                return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace")
        if self._torn:
            data = b"\n" + data
        if self._waits:
            waiter = poll()  # a new one: two threads must not share it
            waiter.register(self._fd, POLLOUT)
            if not any(flags & POLLOUT for _, flags in waiter.poll(0)):
                self._lose()
                return
            data = data[: PIPE_BUF - 1]  # so much a pipe with room takes at once
        data += b"\n"
        try:
            done = os.write(self._fd, data)
        except OSError:  # disk full, pipe closed: the requests matter more
            self._lose()
            return
        self._torn = done < len(data)
        if self._torn:
            self._lose()
        elif self._untold:
            self._tell()

    def _lose(self) -> None:
        self.lost += 1
        self._untold += 1

    def _tell(self) -> None:
        count, self._untold = self._untold, 0
        before = self.lost
        if self.told is not None and count:
            self.told(self._path, count)
        if self.lost > before:  # by telling it: later, all together
            self._untold += count

    def reopen(self) -> None:
        """Write to the path's new file from now on (USR1, after a rotation)."""
        if self._path == "-":
            return
        try:
            fd = self._open()
        except OSError:  # keep the old one
            self.lost += 1
            return
        self.adopt(fd)

    def close(self) -> None:
        """Nobody writes any more."""
        os.close(self._fd)

    def adopt(self, fd: int) -> None:
        """Write to this file from now on; it is ours then. For who may not open it itself."""
        # Under the same number: a thread that is about to write must not hit another's socket.
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self._waits = _may_wait(self._fd)
        self._torn = False


def _may_wait(fd: int) -> bool:
    """A pipe, a socket or a terminal, whose reader may be stuck."""
    return not stat.S_ISREG(os.fstat(fd).st_mode)
