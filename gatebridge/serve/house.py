"""What all pools and generations of a supervisor share."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.serve.route_modes import RouteModes
from gatebridge.serve.scoreboard import WORKERS_MAX, Scoreboard

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.channel import Message
    from gatebridge.serve.hooks import Hooks
    from gatebridge.serve.member import Member
    from gatebridge.serve.scoreboard import WorkerView
    from gatebridge.serve.turns import Turns
    from gatebridge.serve.worker_log import WorkerLog


@dataclass(slots=True)
class Totals:
    """What a pool has done since the supervisor began, by workers that are gone."""

    requests: int = 0
    failed: int = 0
    slow: int = 0
    lost: int = 0
    forks: int = 0
    deaths: int = 0

    def add(self, view: WorkerView) -> None:
        self.requests += view.requests
        self.failed += view.failed
        self.slow += view.slow
        self.lost += view.lost


@dataclass(slots=True)
class House:
    """folder: where the daemon was started; pid: the supervisor's.

    dumped  takes a worker's stacks, by its pid; gone is told that it has ended
    files   takes what a pool's application consists of
    said    takes what workers say beside what concerns their crew
    greeted is told of each worker that has become ready
    routes  who answers each, and how many requests of it are under way
    """

    turns: Turns
    log: WorkerLog
    hooks: Hooks
    folder: str
    pid: int = field(default_factory=os.getpid)
    board: Scoreboard = field(default_factory=Scoreboard)
    totals: dict[str, Totals] = field(default_factory=dict)
    dumped: Callable[[int, bytes], None] = lambda pid, data: None
    gone: Callable[[int], None] = lambda pid: None
    files: Callable[[str, list[str], int], None] = lambda pool, files, since_ns: None
    said: dict[str, Callable[[Member, Message, float], None]] = field(default_factory=dict)
    greeted: Callable[[Member], None] = lambda member: None
    routes: RouteModes = field(init=False)
    level: str = ""  # of logs, when somebody has changed it since the last reload
    _free: set[int] = field(default_factory=lambda: set(range(WORKERS_MAX)))
    _key: int = 0
    _looked: tuple[float, dict[int, WorkerView]] = (-1.0, {})

    def __post_init__(self) -> None:
        self.routes = RouteModes(self.log)

    def now(self) -> float:
        return monotonic()

    def next_key(self) -> int:
        self._key += 1
        return self._key

    def take_slot(self) -> int:
        """raises  OSError when the board is full"""
        if not self._free:
            raise OSError(f"there are {WORKERS_MAX} workers, and no room for one more")
        index = min(self._free)
        self._free.remove(index)
        return index

    def free_slot(self, index: int) -> None:
        if index >= 0:
            self.board.free(index)
            self.routes.counters.clear(index)
            self._free.add(index)

    def greet(self, member: Member) -> None:
        """A worker is ready: tell it what was asked of those before it."""
        if self.level:  # another than the configuration's, which it has
            member.tell({"do": "level", "level": self.level})
        self.greeted(member)

    def of(self, pool: str) -> Totals:
        return self.totals.setdefault(pool, Totals())

    def views(self, now: float) -> dict[int, WorkerView]:
        """Who does what, by slot. Read once for one moment."""
        if self._looked[0] != now:
            self._looked = (now, {view.index: view for view in self.board.read(now)})
        return self._looked[1]
