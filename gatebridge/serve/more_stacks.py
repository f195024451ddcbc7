"""Stacks of what is no thread, greenlets for one, written behind those of faulthandler."""

from __future__ import annotations

import faulthandler
import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    Stacks = Iterable[tuple[int, str, FrameType | None]]

NO_THREAD: Final = 1 << 63  # in the number that the scoreboard has of it
_FRAMES = 100  # as faulthandler


def answer_usr1(dump_fd: int, stacks: Callable[[FrameType | None], Stacks]) -> None:
    """On USR1 write the threads' stacks at once, and the others as soon as Python code runs.

    stacks  gives number, name and innermost frame of each; it is told what the signal interrupted
    """

    answer_usr1_with(dump_fd, lambda frame: b"".join([_text(*one) for one in stacks(frame)]))


def answer_usr1_with(dump_fd: int, more: Callable[[FrameType | None], bytes]) -> None:
    """The same for who makes the text: more() gives it, and is told what was interrupted."""

    def write(number: int, frame: FrameType | None) -> None:
        data = more(frame)
        while data:
            try:
                data = data[os.write(dump_fd, data) :]
            except OSError:  # no room, or nobody reads: it is cut
                return

    faulthandler.unregister(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, write)
    faulthandler.register(signal.SIGUSR1, file=dump_fd, all_threads=True, chain=True)


def _text(ident: int, name: str, frame: FrameType | None) -> bytes:
    """As faulthandler writes a thread, which stacks.parse() reads."""
    lines = [f"Thread 0x{ident:016x} [{name}] (most recent call first):"]
    while frame is not None and len(lines) <= _FRAMES:
        code = frame.f_code
        place = f'"{code.co_filename}", line {frame.f_lineno or "???"}'
        lines.append(f"  File {place} in {code.co_name}".replace("\n", "\\x0a"))
        frame = frame.f_back
    if frame is not None:
        lines.append("  ...")
    return "".join([f"{line}\n" for line in lines]).encode("ascii", "backslashreplace")
