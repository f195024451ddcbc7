"""Stacks of threads, as faulthandler writes them, read back; and the source lines they name.

The format is the same from Python 3.11 on, but for additions: 3.14 puts a thread's name behind its
number, and an interpreter without a GIL shows one thread only, without its number. What is not
known is passed over: the bytes come from a process that runs the application.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

from gatebridge.serve.escape import escape

# Thread 0x00007f21 [name] (most recent call first):    Stack (most recent call first):
_HEAD = re.compile(
    r"(?:(Current thread|Thread) 0x([0-9a-fA-F]{1,16})(?: \[(.*)\])?|Stack)"
    r" \(most recent call first\):?"
)
#   File "/srv/app.py", line 12 in view
_FRAME = re.compile(r'  File (?:"(.*)"|\?\?\?), line (\d{1,9}|\?\?\?)? in (.*)')
_CUT = "  ..."
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")

_FILE_MAX = 1 << 20  # bytes of a source file that is read
_SOURCE_MAX = 160  # characters of a source line that are shown


@dataclass(frozen=True, slots=True)
class Frame:
    """One call. line: 0 when it is not known."""

    file: str
    line: int
    name: str


class Stack:
    """One thread's calls, innermost first.

    ident    of the thread; 0 when the dump does not say
    name     of the thread; "" when the dump does not say
    current  the signal was delivered to it
    whole    its outermost call is there
    remarks  what stands in place of calls, as in <no Python frame>
    """

    __slots__ = ("current", "frames", "ident", "name", "remarks", "whole")

    def __init__(self, ident: int, name: str, current: bool) -> None:
        self.ident = ident
        self.name = name
        self.current = current
        self.frames: list[Frame] = []
        self.whole = True
        self.remarks: list[str] = []


def parse(data: bytes) -> list[Stack]:
    """The threads of a dump, as far as it goes."""
    stacks: list[Stack] = []
    current: Stack | None = None
    for line in data.decode("ascii", "backslashreplace").split("\n"):
        head = _HEAD.fullmatch(line)
        if head is not None:
            kind, ident, name = head.groups()
            current = Stack(int(ident or "0", 16), name or "", kind != "Thread")
            stacks.append(current)
        elif not line.startswith("  "):  # also the head of something else, as of a C stack
            current = None
        elif current is not None:
            _add(current, line)
    return stacks


def _add(stack: Stack, line: str) -> None:
    found = _FRAME.fullmatch(line)
    if found is not None:
        file, number, name = found.groups()
        known = number is not None and number.isdigit()
        stack.frames.append(Frame(file or "", int(number) if known else 0, name))
    elif line == _CUT:
        stack.whole = False
    else:
        stack.remarks.append(line.strip())


class Sources:
    """Lines of source files, each file read once. Use one for the stacks of one moment.

    started  wall clock, of the process; what changed later is not what it runs, and is not shown
    """

    __slots__ = ("_started", "_files")

    def __init__(self, started: float = float("inf")) -> None:
        self._started = started
        self._files: dict[str, list[bytes]] = {}

    def line(self, frame: Frame) -> str:
        """The frame's source line; "" when it cannot be had."""
        if frame.line < 1:
            return ""
        lines = self._files.get(frame.file)
        if lines is None:
            lines = self._files[frame.file] = self._read(_unescape(frame.file))
        if frame.line > len(lines):
            return ""
        text = lines[frame.line - 1].decode("utf-8", "backslashreplace").strip()
        return escape(text[:_SOURCE_MAX])

    def _read(self, path: str) -> list[bytes]:
        """The path comes from the application: it may name a pipe, a device, a file of root's."""
        if not os.path.isabs(path):
            return []
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except (OSError, ValueError):
            return []
        try:
            found = os.fstat(fd)
            if self._is_shown(found):
                return os.read(fd, _FILE_MAX).splitlines()
        except OSError:
            pass
        finally:
            os.close(fd)
        return []

    def _is_shown(self, found: os.stat_result) -> bool:
        private = os.geteuid() == 0 and found.st_uid == 0 and not found.st_mode & stat.S_IROTH
        return (
            stat.S_ISREG(found.st_mode)
            and found.st_size <= _FILE_MAX
            and found.st_mtime <= self._started
            and not private
        )


def _unescape(text: str) -> str:
    return _ESCAPED.sub(_character, text) if "\\" in text else text


def _character(found: re.Match[str]) -> str:
    code = int(found[1] or found[2] or found[3], 16)
    return chr(code) if code < 0x110000 else found[0]
