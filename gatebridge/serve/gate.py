"""How many threads may wait for bodies: slow uploads must not take them all."""

from __future__ import annotations

from _thread import allocate_lock


class Gate:
    """limit: threads that may wait for the rest of a body; further requests wait without one."""

    __slots__ = ("_limit", "_lock", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = 0
        self._lock = allocate_lock()

    @property
    def full(self) -> bool:
        return self._waiting >= self._limit

    def enter(self) -> None:
        with self._lock:
            self._waiting += 1

    def leave(self) -> None:
        with self._lock:
            self._waiting -= 1
