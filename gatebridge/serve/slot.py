"""A thread's place in a worker's loop: what it does, and since when."""

from __future__ import annotations

import sys
from _thread import allocate_lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from types import FrameType

    from gatebridge.serve.exchange import Exchange


class Slot:
    """A thread's place. The watch compares serial with seen: equal means stuck since last time."""

    __slots__ = ("began", "exchange", "given_up", "has_turn", "ident", "lock", "seen", "serial",
                 "thread", "view")  # fmt: skip

    def __init__(self, view: memoryview | None) -> None:
        self.view = view  # its place on the scoreboard
        self.began = 0.0  # monotonic; of the current application call, where there is a board
        self.given_up = -1  # the call that ran out of time
        self.has_turn = False  # of the exchange's connection
        self.exchange: Exchange | None = None  # in the application with it
        self.serial = 0  # application calls begun
        self.seen = -1
        self.lock = allocate_lock()  # a parked thread waits on it
        self.thread: threading.Thread | None = None
        self.ident = 0  # what a dump of stacks calls it; 0 before it runs

    def frame(self) -> FrameType | None:
        """Where it is now."""
        return sys._current_frames().get(self.ident)

    def interrupt(self, kind: type[BaseException]) -> None:
        """Raise kind in it, as soon as it runs Python code."""
        import ctypes  # costs what no other request should pay

        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.ident), ctypes.py_object(kind)
        )
