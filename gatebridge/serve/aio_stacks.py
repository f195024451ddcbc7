"""Where the task of a request is: the calls that wait for one another, not a thread's.

faulthandler writes the stacks of threads, in which a task that waits is in none. The worker adds
those of its tasks, in the same form, under the number that the scoreboard has for them.
"""

import linecache
from types import FrameType
from typing import Any

_DEEP = 100  # coroutines of a chain
_FRAMES = 20  # the innermost ones that a log shows


def frames_of(coroutine: Any) -> list[tuple[str, int, str]]:
    """(file, line, function) of each coroutine in a chain of awaits, the outermost first."""
    found: list[tuple[str, int, str]] = []
    for _ in range(_DEEP):
        frame = None
        for prefix in ("cr", "ag", "gi"):
            frame = frame or getattr(coroutine, f"{prefix}_frame", None)
        if isinstance(frame, FrameType):
            code = frame.f_code
            found.append((code.co_filename, frame.f_lineno, code.co_name))
        for name in ("cr_await", "ag_await", "gi_yieldfrom"):
            inner = getattr(coroutine, name, None)
            if inner is not None:
                break
        else:
            break
        coroutine = inner
    return found


def lines_of(coroutine: Any) -> list[str]:
    """The innermost calls of a chain for a log, the innermost last."""
    lines: list[str] = []
    for file, number, name in frames_of(coroutine)[-_FRAMES:]:
        lines.append(f'File "{file}", line {number}, in {name}')
        source = linecache.getline(file, number).strip()
        if source:
            lines.append(f"  {source}")
    return lines


def as_thread(ident: int, frames: list[tuple[str, int, str]]) -> bytes:
    """One task's as faulthandler writes a thread's: the innermost first."""
    lines = [f"Thread 0x{ident:016x} [task] (most recent call first):"]
    for file, number, name in reversed(frames[-_DEEP:]):
        lines.append(f'  File "{file}", line {number or "???"} in {name}'.replace("\n", "\\x0a"))
    return "".join([f"{line}\n" for line in lines]).encode("ascii", "backslashreplace")
