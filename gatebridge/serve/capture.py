"""What workers print, as labelled lines of the error log (--capture-output).

The supervisor reads the pipe of each worker: CHUNK bytes at a time, so that other events get their
turn, and no faster than feed() allows. A worker that floods fills its pipe and waits; nothing is
lost, and nothing is starved.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebridge.serve.worker_log import WorkerLog

CHUNK = 4096  # bytes of one read: at most so many lines in one turn of the supervisor
_LONGEST = 8192  # bytes of a line; the rest of it is cut
_CUT = " ... (cut)"
_LINES_A_SECOND = 2000
_BURST = 4000  # lines that may come at once, when there were none for a while


class Capture:
    """One worker's output. label: which one, as in ``main/0[4711]``."""

    __slots__ = ("_credit", "_cutting", "_label", "_log", "_since", "_start")

    def __init__(self, log: WorkerLog, label: str, now: float) -> None:
        self._log = log
        self._label = label
        self._start = b""  # of a line whose end has not come yet
        self._cutting = False  # it has been written, cut, and its end is dropped
        self._credit = float(_BURST)
        self._since = now

    def feed(self, data: bytes, now: float) -> float:
        """Write the whole lines among ``data``. For so many seconds the pipe is left alone then."""
        self._credit = min(self._credit + (now - self._since) * _LINES_A_SECOND, _BURST)
        self._since = now
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._line(self._start + line)
            self._start = b""
            self._cutting = False
        self._start += rest
        if len(self._start) > _LONGEST:
            self._line(self._start)
            self._start = b""
            self._cutting = True
        return -self._credit / _LINES_A_SECOND if self._credit < 0 else 0.0

    def end(self) -> None:
        """The worker has ended: write what it began."""
        self._line(self._start)
        self._start = b""

    def _line(self, line: bytes) -> None:
        self._credit -= 0.05  # an empty one costs a little, too
        if self._cutting or not line.strip():
            return
        self._credit -= 1
        text = line[:_LONGEST].decode("utf-8", "backslashreplace").rstrip()
        cut = _CUT if len(line) > _LONGEST else ""
        self._log.printed(self._label, text + cut)


def print_line_by_line() -> None:
    """In a worker whose output is captured: a pipe would else get it when a buffer is full."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an application may have put anything there
            stream.reconfigure(line_buffering=True)
