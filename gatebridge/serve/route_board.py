"""Which side of each route answers, and how many requests each has under way: shared memory.

Both mappings are anonymous and made before any fork. The supervisor writes the modes and every
worker reads them at each request, so a change holds for the next one and nobody is restarted. A
worker writes its own cells alone; the supervisor clears them when it has ended.

The memory is the workers' as well, so nothing in it is to be believed: a note is any text.
"""

from __future__ import annotations

import mmap
import threading
from itertools import count
from typing import TYPE_CHECKING, Final

from gatebridge.errors import ConfigError
from gatebridge.serve.scoreboard import WORKERS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatebridge.settings import App

    Key = tuple[str, str, str, tuple[str, ...]]  # a pool, and a rule of it

PLACES_MAX: Final = 2_000  # routes with a limit, of all generations that are there at once
NOTE_MAX: Final = 400  # bytes of why a new side did not load

_LEGACY: Final = 0
_NEW: Final = 1
_FAILED: Final = 1  # where a row has whether there is a note
_NOTE: Final = 2  # where a row has its note
_ROW: Final = _NOTE + NOTE_MAX
_SIDES: Final = 2
_CELL_MAX: Final = 255  # more than a worker has threads
_TRIES: Final = 3  # of two that stepped back before each other


class CallCounters:
    """Requests under way at routes with a limit, over all workers of the daemon.

    A place is a route's in every generation that has it, so the limit holds through a reload. Each
    has one byte for each worker.
    """

    __slots__ = ("_places", "_users", "memory")

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, PLACES_MAX * WORKERS_MAX)
        self._places: dict[Key, int] = {}
        self._users: dict[Key, int] = {}  # generations

    def take(self, keys: Iterable[Key]) -> list[int]:
        """The place of each route. raises ConfigError("route.many"), with none taken"""
        keys = list(keys)
        free = set(range(PLACES_MAX)) - set(self._places.values()) if keys else set()
        if len([key for key in keys if key not in self._places]) > len(free):
            text = f"there is room for {PLACES_MAX} routes with a concurrency; give fewer one"
            raise ConfigError("route.many", text)
        for key in keys:
            if key not in self._places:
                self._places[key] = min(free)
                free.remove(self._places[key])
            self._users[key] = self._users.get(key, 0) + 1
        return [self._places[key] for key in keys]

    def release(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._users[key] -= 1
            if not self._users[key]:
                place = self._places.pop(key) * WORKERS_MAX
                del self._users[key]
                self.memory[place : place + WORKERS_MAX] = bytes(WORKERS_MAX)

    def clear(self, slot: int) -> None:
        """A worker is gone, with whatever it had under way."""
        for place in self._places.values():
            self.memory[place * WORKERS_MAX + slot] = 0

    def under_way(self, place: int) -> int:
        return sum(self.memory[place * WORKERS_MAX : (place + 1) * WORKERS_MAX])


class RouteBoard:
    """The routes of one pool in one generation. An index is that of the pool's apps.

    modes  by index, "legacy" or "new", for the routes that have both sides
    """

    __slots__ = ("_apps", "_counts", "_gone", "_keys", "_memory", "_told", "counters", "places")

    def __init__(
        self, pool: str, apps: Sequence[App], modes: Mapping[int, str], counters: CallCounters
    ) -> None:
        self.counters = counters
        self._apps = apps
        self._keys = [(pool, *app.rule) for app in apps if app.concurrency]
        taken = iter(counters.take(self._keys))
        self.places = [next(taken) if app.concurrency else -1 for app in apps]
        self._gone = [[0] * _SIDES for _ in apps]  # requests of workers that are gone
        self._told: set[int] = set()
        rows = len(apps) if modes else 0
        self._memory = mmap.mmap(-1, rows * _ROW) if rows else None
        size = WORKERS_MAX * rows * _SIDES * 8
        self._counts = memoryview(mmap.mmap(-1, size)).cast("Q") if rows else None
        for index, mode in modes.items():
            self.set(index, mode)

    def close(self) -> None:
        """No worker of this generation is left."""
        self.counters.release(self._keys)
        self._keys = []

    # -- modes

    def index_of(self, rule: tuple[str, str, tuple[str, ...]]) -> int:
        """The route with both sides that has this rule; -1 for none."""
        found = [at for at, app in enumerate(self._apps) if app.new and app.rule == rule]
        return found[0] if found else -1

    def set(self, index: int, mode: str) -> None:
        if self._memory is not None:
            self._memory[index * _ROW] = _NEW if mode == "new" else _LEGACY

    def obey(self, message: Mapping[str, object]) -> None:
        """In a worker whose supervisor is a new program, which does not share this memory."""
        methods = message.get("methods")
        rule = (
            str(message.get("match", "")),
            str(message.get("host", "")),
            tuple([str(method) for method in methods]) if isinstance(methods, list) else (),
        )
        index, mode = self.index_of(rule), str(message.get("mode", ""))
        if index < 0 or mode not in ("legacy", "new"):
            return
        if self.is_new(index) == (mode == "new") or not self.failed(index):
            self.set(index, mode)

    def is_new(self, index: int) -> bool:
        return self._memory is not None and self._memory[index * _ROW] == _NEW

    def note_failed(self, index: int, reason: str) -> None:
        """In a worker or stem: the side that does not answer now could not."""
        if self._memory is not None:
            base = index * _ROW
            text = reason.encode("utf-8", "backslashreplace")[:NOTE_MAX]
            self._memory[base + _NOTE : base + _ROW] = text.ljust(NOTE_MAX, b"\0")
            self._memory[base + _FAILED] = 1

    def failed(self, index: int) -> str:
        """Why the side that does not answer did not load in some worker; "" where it did."""
        if self._memory is None or not self._memory[index * _ROW + _FAILED]:
            return ""
        note = self._memory[index * _ROW + _NOTE : (index + 1) * _ROW]
        return note.rstrip(b"\0").decode("utf-8", "backslashreplace") or "it does not say why"

    def fresh_notes(self) -> list[tuple[App, str]]:
        """Routes of which one side did not load, each once."""
        found = []
        for index, app in enumerate(self._apps):
            if index not in self._told and (reason := self.failed(index)):
                self._told.add(index)
                found.append((app, reason))
        return found

    # -- requests that each side has answered

    def counts(self, index: int) -> tuple[int, int]:
        """Requests that went to the legacy and to the new side."""
        legacy, new = self._gone[index]
        if self._counts is not None:
            for slot in range(WORKERS_MAX):
                at = self._at(slot, index)
                legacy += self._counts[at]
                new += self._counts[at + 1]
        return legacy, new

    def gone(self, slot: int) -> None:
        """A worker has ended; what it counted is kept, and its cells are for another one."""
        if self._counts is None or slot < 0:
            return
        for index, totals in enumerate(self._gone):
            for side in range(_SIDES):
                at = self._at(slot, index) + side
                totals[side] += self._counts[at]
                self._counts[at] = 0

    def worker(self, slot: int) -> WorkerRoutes:
        """What a worker's table asks. slot: its number on the scoreboard."""
        return WorkerRoutes(self, slot)

    def cells(self, slot: int) -> memoryview:
        """One worker's counts: of each route the legacy and the new side's."""
        if self._counts is None:
            return memoryview(b"").cast("Q")
        first = self._at(slot, 0)
        return self._counts[first : first + len(self._apps) * _SIDES]

    def _at(self, slot: int, index: int) -> int:
        return (slot * len(self._apps) + index) * _SIDES


class WorkerRoutes:
    """One worker's: the table's Switches and Counters. Any thread may call it."""

    __slots__ = ("_board", "_cells", "_lock", "_memory", "_numbers", "_slot")

    def __init__(self, board: RouteBoard, slot: int) -> None:
        self._board = board
        self._cells = board.cells(slot)
        self._numbers = [count(1) for _ in self._cells]
        self._memory = board.counters.memory
        self._slot = slot
        self._lock = threading.Lock()

    def is_new(self, index: int) -> bool:
        """Which side answers this request, which is counted."""
        new = self._board.is_new(index)
        at = index * _SIDES + new
        self._cells[at] = next(self._numbers[at])
        return new

    def enter(self, place: int, most: int) -> bool:
        """Never more than ``most`` at once in the whole daemon.

        Everybody writes first and looks then, so of those who come together the last one sees all
        others. The lock is taken anew for the look: no processor moves that before the write.
        """
        first = place * WORKERS_MAX
        mine, end = first + self._slot, first + WORKERS_MAX
        for _ in range(_TRIES):
            with self._lock:
                if sum(self._memory[first:end]) >= most or self._memory[mine] == _CELL_MAX:
                    return False
                self._memory[mine] += 1
            with self._lock:
                if sum(self._memory[first:end]) <= most:
                    return True
                self._memory[mine] -= 1
        return False

    def leave(self, place: int) -> None:
        with self._lock:
            self._memory[place * WORKERS_MAX + self._slot] -= 1
