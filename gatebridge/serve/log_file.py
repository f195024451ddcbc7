"""A log that cannot stop the service: one write a line, losses counted, reopened on request."""

from __future__ import annotations

import os

from gatebridge.errors import ConfigError


class LogFile:
    """``-`` is standard error; else a file that is appended to. ``lost`` counts lines not written.

    raises  ConfigError("log.open") at the start; later failures only count
    """

    __slots__ = ("_fd", "_path", "lost")

    def __init__(self, path: str) -> None:
        self._path = path
        self.lost = 0
        try:
            self._fd = self._open()
        except OSError as error:
            raise ConfigError("log.open", f"cannot write the log {path}: {error}") from error

    def _open(self) -> int:
        if self._path == "-":
            return 2
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, line: str) -> None:
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace") + b"\n")
        except OSError:  # disk full, pipe closed: the requests matter more
            self.lost += 1

    def reopen(self) -> None:
        """Write to the path's new file from now on (USR1, after a rotation)."""
        if self._path == "-":
            return
        try:
            fd = self._open()
        except OSError:  # keep the old one
            self.lost += 1
            return
        before, self._fd = self._fd, fd
        os.close(before)
