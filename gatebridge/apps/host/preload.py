"""Imports ahead of the requests, and what a module must not do for that."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import sys
from typing import TYPE_CHECKING

import gatebridge
from gatebridge.apps.host.fresh import Files
from gatebridge.apps.host.program import is_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OURS = os.path.dirname(os.path.abspath(gatebridge.__file__))


class Refused(Exception):
    """A module that cannot be imported ahead, and the process is spoilt by it.

    module  its name
    reason  what it did
    """

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(module, reason)
        self.module = module
        self.reason = reason


class Ahead:
    """What has been imported before any request.

    folder  that of the first script, where modules named by the operator may lie
    kept    the import path without it: what lies there stays as long as the process
    files   of all those modules
    """

    __slots__ = ("_beside", "files", "folder", "kept")

    def __init__(self, folder: str, kept: list[str]) -> None:
        self.folder = folder
        self.kept = kept
        self.files = Files()
        self.files.note()
        self._beside = [
            name
            for name, module in list(sys.modules.items())
            if name != "__main__" and not is_installed(module, folder, [*kept, _OURS])
        ]

    def leave(self, folder: str) -> None:
        """Forget the modules beside the first script: one of another folder has its own."""
        if folder != self.folder:
            for name in self._beside:
                sys.modules.pop(name, None)


def preload(
    names: Sequence[str], begin: Callable[[str], None], has_printed: Callable[[], bool]
) -> list[tuple[str, str]]:
    """Import modules, one after the other; those that fail, with the reason.

    begin        told each name before its turn: a module may hang, or end the process
    has_printed  whether something has been written to standard output
    raises       Refused
    """
    failed: list[tuple[str, str]] = []
    for name in names:
        if name in sys.modules:
            continue
        begin(name)
        before = _traces()
        try:
            importlib.import_module(name)
        except BaseException as error:  # whatever a module does when it is run, SystemExit too
            failed.append((name, f"{type(error).__name__}: {error}"))
        reason = _difference(before, _traces(), has_printed())
        if reason:
            raise Refused(name, reason)
    return failed


_Traces = tuple[dict[int, str], int, dict[str, str], str]


def _traces() -> _Traces:
    """Descriptors, threads, environment, folder."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    return descriptors(), threads(), dict(os.environ), os.getcwd()


def _difference(before: _Traces, after: _Traces, has_printed: bool) -> str:
    if after[1] > before[1]:
        return "it starts a thread, and a process with threads cannot be forked safely"
    for fd, what in after[0].items():
        if before[0].get(fd) != what:
            return f"it leaves {what} open, which all its forks would share"
    if has_printed:
        return "it prints, and the answer to nobody would have it"
    if after[2] != before[2]:
        return "it changes the environment"
    if after[3] != before[3]:
        return "it changes the current folder"
    return ""


def threads() -> int:
    """How many this process has, those of libraries too where the system tells."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # no /proc
        threading = sys.modules.get("threading")
        return threading.active_count() if threading is not None else 1


def descriptors() -> dict[int, str]:
    """Open descriptors above 2, each with what it is, in words."""
    found: dict[int, str] = {}
    for fd in numbers():
        try:
            status = os.fstat(fd)
        except OSError:  # the one that listed them
            continue
        found[fd] = _kind(fd, status.st_mode)
    return found


def numbers() -> list[int]:
    """Descriptors above 2 that are open, perhaps one more."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return [fd for fd in map(int, os.listdir(folder)) if fd > 2]
        except (OSError, ValueError):
            continue
    return list(range(3, 256))


def _kind(fd: int, mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "a socket"
    try:
        target = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return "a descriptor"
    return "a pipe" if stat.S_ISFIFO(mode) else target
