"""Programs that were told to end, until they have: nobody's request waits for them."""

from __future__ import annotations

import os
import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[bool], bool]

_LOOK_S = 0.02  # between two looks at each
_CALM_S = 0.5  # the same once they have taken long: a process may hang in the kernel
_LONG_S = 10.0
_CLOSE_S = 1.0  # for all of them to end in close(), after KILL


class Endings:
    """One thread, while there is anything to wait for.

    A step is called again and again, with whether it is to hurry, and tells whether it is over.
    It never waits, and raises nothing.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._steps: list[Step] = []
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._wake = threading.Event()
        self._hurry = False

    def add(self, step: Step) -> None:
        """Call a step now, and later until it is over."""
        if step(False):
            return
        if self._pid != os.getpid():  # forked: the thread and what it waits for are the parent's
            self._begin()
        with self._lock:
            self._steps.append(step)
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="gatebridge-endings", daemon=True)
            self._thread = thread
            try:
                thread.start()
                return
            except RuntimeError:  # no more threads for this user
                self._thread = None
        self._end_now()

    def close(self) -> None:
        """End everything at once, by force."""
        if self._pid == os.getpid():
            self._end_now()

    def _end_now(self) -> None:
        self._hurry = True
        self._wake.set()
        deadline = monotonic() + _CLOSE_S
        pause = threading.Event()
        while self._look() and monotonic() < deadline:
            pause.wait(_LOOK_S)
        self._hurry = False
        self._wake.clear()

    def _look(self) -> int:
        """Call each step once; how many are not over. A step may be called by two threads."""
        with self._lock:
            for step in list(self._steps):
                if step(self._hurry):
                    self._steps.remove(step)
            return len(self._steps)

    def _run(self) -> None:
        started = monotonic()
        while True:
            calm = monotonic() - started > _LONG_S
            self._wake.wait(_CALM_S if calm else _LOOK_S)
            if self._look():
                continue
            with self._lock:
                if not self._steps:
                    self._thread = None
                    return
