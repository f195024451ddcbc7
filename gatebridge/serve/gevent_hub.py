"""What a worker of class gevent asks of gevent. Only such workers import this module.

gevent has no types, so it is imported by name: the rest sees what stands here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable
    from types import FrameType

READ = 1  # libev's EV_READ
WRITE = 2

_gevent = import_module("gevent")
_new_lock = import_module("gevent.thread").allocate_lock


class Greenlet(Protocol):
    """gr_frame: where it waits; None while it runs, and when it has ended"""

    @property
    def gr_frame(self) -> FrameType | None: ...

    def throw(self, kind: type[BaseException]) -> object:
        """Raise kind in it. Only in the hub."""


def spawn(run: Callable[..., None], *args: object) -> Greenlet:
    """Run it in a greenlet of its own, as soon as the hub has its turn."""
    return cast("Greenlet", _gevent.spawn(run, *args))


def soon(call: Callable[[], object]) -> None:
    """Let the hub call it."""
    _gevent.get_hub().loop.run_callback(call)


def pause(seconds: float) -> None:
    """Let others run for so long; 0.0: until those are through that can."""
    _gevent.sleep(seconds)


def new_lock() -> LockType:
    """Who waits for it lets other greenlets run."""
    return cast("LockType", _new_lock())


def wait_fd(fd: int, events: int, seconds: float) -> None:
    """Wait until fd is ready for READ, WRITE or one of both, for so long at most."""
    hub = _gevent.get_hub()
    watcher = hub.loop.io(fd, events)
    try:
        with _gevent.Timeout(seconds, False):
            hub.wait(watcher)
    finally:
        watcher.close()


class Readable:
    """Waits for one descriptor, again and again."""

    __slots__ = ("_hub", "_watcher")

    def __init__(self, fd: int) -> None:
        self._hub = _gevent.get_hub()
        self._watcher = self._hub.loop.io(fd, READ)

    def wait(self) -> None:
        self._hub.wait(self._watcher)

    def close(self) -> None:
        self._watcher.close()
