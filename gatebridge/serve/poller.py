"""Readiness with one-shot semantics: epoll, and the same over selectors where there is none.

A descriptor that is armed is reported to one thread, once, until it is armed again. A listener is
not one-shot: it stays armed. Any number of threads may poll.
"""

from __future__ import annotations

import os
import select
import selectors
import sys
from _thread import allocate_lock
from typing import Protocol

READ = 1  # EPOLLIN, POLLIN
WRITE = 4  # EPOLLOUT, POLLOUT


class Poller(Protocol):
    def listen(self, fd: int) -> None:
        """Report fd whenever it is readable, until remove()."""

    def add(self, fd: int, write: bool, once: bool) -> None:
        """Arm a descriptor for the first time; write: its being writable counts too."""

    def arm(self, fd: int, write: bool, once: bool) -> None:
        """Arm a descriptor again, or in another way."""

    def disarm(self, fd: int) -> None:
        """Report a descriptor no more until it is armed."""

    def remove(self, fd: int) -> None:
        """Forget a descriptor that is still open."""

    def poll(self, timeout_s: float, most: int) -> list[tuple[int, int]]:
        """Up to most descriptors that are ready; none after timeout_s; -1 waits without end."""

    def close(self) -> None: ...


if sys.platform == "linux":
    _epoll = select.epoll  # gevent takes it out of the module

    class EpollPoller:
        __slots__ = ("_epoll", "poll")

        def __init__(self) -> None:
            self._epoll = _epoll()
            self.poll = self._epoll.poll

        def fileno(self) -> int:
            """Readable when poll() has something."""
            return self._epoll.fileno()

        def listen(self, fd: int) -> None:
            self._epoll.register(fd, select.EPOLLIN)

        def add(self, fd: int, write: bool, once: bool) -> None:
            self._epoll.register(fd, _events(write, once))

        def arm(self, fd: int, write: bool, once: bool) -> None:
            self._epoll.modify(fd, _events(write, once))

        def disarm(self, fd: int) -> None:
            self._epoll.modify(fd, select.EPOLLONESHOT)

        def remove(self, fd: int) -> None:
            try:
                self._epoll.unregister(fd)
            except OSError:  # closed meanwhile, which unregisters too
                pass

        def close(self) -> None:
            self._epoll.close()

    def _events(write: bool, once: bool) -> int:
        events = select.EPOLLIN | (select.EPOLLOUT if write else 0)
        return events | select.EPOLLONESHOT if once else events


class SelectorsPoller:
    """For macOS, the BSDs and whatever else selectors knows: one thread selects at a time."""

    __slots__ = ("_changes", "_lock", "_once", "_selector", "_turn", "_wake_read",
                 "_wake_write")  # fmt: skip

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._lock = allocate_lock()  # guards _changes
        self._turn = allocate_lock()  # held by the thread that selects
        self._changes: dict[int, int] = {}  # fd -> events to wait for, 0 to forget
        self._once: set[int] = set()  # descriptors to be reported once
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, READ)

    def _change(self, fd: int, events: int) -> None:
        with self._lock:
            self._changes[fd] = events
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:  # it is awake already
            pass

    def listen(self, fd: int) -> None:
        self._change(fd, selectors.EVENT_READ)

    def add(self, fd: int, write: bool, once: bool) -> None:
        if once:
            self._once.add(fd)
        else:
            self._once.discard(fd)
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._change(fd, both if write else selectors.EVENT_READ)

    def arm(self, fd: int, write: bool, once: bool) -> None:
        self.add(fd, write, once)

    def disarm(self, fd: int) -> None:
        self._change(fd, 0)

    def remove(self, fd: int) -> None:
        self._once.discard(fd)
        self._change(fd, 0)

    def _apply(self) -> None:
        with self._lock:
            changes, self._changes = self._changes, {}
        for fd, events in changes.items():
            try:
                self._selector.unregister(fd)
            except (KeyError, ValueError, OSError):  # not there, or closed
                pass
            if events:
                try:
                    self._selector.register(fd, events)
                except (ValueError, OSError):  # closed between arming and now
                    pass

    def poll(self, timeout_s: float, most: int) -> list[tuple[int, int]]:
        if not self._turn.acquire(timeout=timeout_s if timeout_s >= 0 else -1):
            return []
        try:
            self._apply()
            ready: list[tuple[int, int]] = []
            for key, events in self._selector.select(timeout_s if timeout_s >= 0 else None):
                fd = key.fd
                if fd == self._wake_read:
                    self._drain()
                elif len(ready) < most:
                    if fd in self._once:
                        self._selector.unregister(fd)
                    ready.append((fd, events))
            return ready
        finally:
            self._turn.release()

    def _drain(self) -> None:
        try:
            while os.read(self._wake_read, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)


def new_poller() -> Poller:
    """The best one this system has. GATEBRIDGE_POLLER=selectors asks for the portable one."""
    if sys.platform == "linux" and os.environ.get("GATEBRIDGE_POLLER") != "selectors":
        return EpollPoller()
    return SelectorsPoller()
