"""The supervisor's turns: it sleeps until a descriptor or a timer has something for it."""

from __future__ import annotations

import selectors
from math import inf
from selectors import EVENT_READ
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_S = 3600.0  # epoll counts milliseconds in 32 bits


class Turns:
    """What is called when: descriptors that are readable, and moments that have come."""

    __slots__ = ("_calls", "_selector", "_times")

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: dict[int, dict[object, Callable[[], None]]] = {}
        self._times: dict[str, tuple[float, Callable[[float], None]]] = {}

    @property
    def fd(self) -> int:
        fileno = getattr(self._selector, "fileno", None)
        return int(fileno()) if fileno else -1

    def watch(self, fd: int, call: Callable[[], None], who: object = None) -> None:
        """Call it whenever ``fd`` is readable, or closed at the other end.

        who  several may watch one descriptor, each with one call
        """
        if fd not in self._calls:
            self._selector.register(fd, EVENT_READ)
        self._calls.setdefault(fd, {})[who] = call

    def forget(self, fd: int, who: object = None) -> None:
        """Before it is closed: epoll remembers what a child still has open."""
        calls = self._calls.get(fd, {})
        if calls.pop(who, None) is not None and not calls:
            del self._calls[fd]
            self._selector.unregister(fd)

    def at(self, name: str, when: float, call: Callable[[float], None]) -> None:
        """Call it once, with the time, when ``when`` has come. A name has one moment."""
        self._times[name] = (when, call)

    def cancel(self, name: str) -> None:
        self._times.pop(name, None)

    def take(self, until: float = inf) -> None:
        """Sleep until something happens, then call for all of it."""
        until = min([until, *[when for when, _ in self._times.values()]])
        wait = min(max(0.0, until - monotonic()), _LONGEST_S)
        for key, _ in self._selector.select(wait):
            for who in list(self._calls.get(key.fd, ())):
                call = self._calls.get(key.fd, {}).get(who)
                if call is not None:  # a call before it may have forgotten this one
                    call()
        now = monotonic()
        for name, (when, due) in list(self._times.items()):
            if when <= now and self._times.get(name) == (when, due):
                del self._times[name]
                due(now)

    def close(self) -> None:
        self._selector.close()
