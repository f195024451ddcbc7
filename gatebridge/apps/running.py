"""What a hosted program needs of whoever starts it, as types, and what it is given.

apps/script.py speaks CGI with a running program, and knows nothing of how it came to run: by exec
(apps/execute.py), by a fork of a warmed interpreter (apps/warm.py), or inside one
(apps/inprocess.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a program.

    path         the program's file, absolute, links resolved
    arguments    after its name; [] unless the query may be arguments (RFC 3875 section 4.4)
    environment  everything it will find in its environment, and nothing else
    folder       where it starts
    has_body     False: its standard input is empty
    limits       resource limits by name, as resource.RLIMIT_* without the prefix in small letters
                 ("cpu" seconds, "as" bytes, "nofile", "nproc", "fsize" bytes)
    fd           >= 0: the program's file, opened and checked by whoever calls start(), and closed
                 by them when start() returns. This file runs, whatever the path has become since
                 (``/proc/self/fd/N`` to an exec, the source to a warmed interpreter); path
                 remains its name. -1: the path alone.
    """

    path: str
    arguments: tuple[str, ...]
    environment: dict[bytes, bytes]
    folder: str
    has_body: bool
    limits: dict[str, int]
    fd: int = -1


class Running(Protocol):
    """A program that runs for one request. The descriptors are ours: close() closes them.

    stdin   write end of a pipe, non-blocking; -1 without a body, and after close_stdin()
    stdout  read end of a pipe, non-blocking
    stderr  read end of a pipe, non-blocking
    ended   readable once it has ended, whoever still holds the pipes open; -1: ask status()
    pid     of the process, 0 where it shares one
    """

    stdin: int
    stdout: int
    stderr: int
    ended: int
    pid: int

    def close_stdin(self) -> None:
        """The body is over, or nobody reads it."""

    def status(self) -> int | None:
        """Its exit status, minus the number of the signal that ended it; None while it runs."""

    def kill(self, number: int) -> None:
        """Send a signal to the program and all it has started; no error when it is gone."""

    def close(self) -> None:
        """The answer is over: free every descriptor. Whoever still runs has been killed."""


class Launcher(Protocol):
    """Starts programs, from several threads at once."""

    def start(self, call: Call) -> Running:
        """raises  AppError("script.…") with a sentence when it cannot be started"""

    def close(self) -> None:
        """The application is not needed any more (a reload, the worker's end)."""
