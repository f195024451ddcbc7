"""What a worker owes its supervisor: to say how it is and when it leaves, and to listen."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from random import randint
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gatebridge.serve import channel
from gatebridge.serve.scoreboard import DRAINING, READY, rss_bytes
from gatebridge.serve.worker_log import LEVELS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gatebridge.serve.channel import Message
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.worker_log import WorkerLog

TICK_S = 1.0  # between two looks at what only time changes


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a worker is replaced; 0 for never. on_demand: one that nobody needs is sent away."""

    requests: int
    jitter: int
    seconds: float
    rss: int
    grace_s: float
    on_demand: bool


class Served(Protocol):
    """What a duty asks of a worker's loop, whatever kind it is."""

    @property
    def served(self) -> int: ...
    @property
    def queued(self) -> int: ...
    def refuse_new(self) -> None: ...
    def obey(
        self, worn_after: int, worn: Callable[[], None], overdue: Callable[[], None]
    ) -> None: ...


class Duty:
    """One supervised worker's.

    reopen   called when the logs were rotated, with the new files' descriptors in hooks' order
    lost     how many log lines could not be written
    route    takes a mode from a supervisor that does not share our memory
    explain  takes an order to keep a request, with the descriptor to put it into
    """

    __slots__ = ("_explain", "_lifetime", "_limit", "_log", "_loop", "_lost", "_reopen", "_route",
                 "_slot", "_sock", "_started", "_told", "_wake", "left", "sent_away",
                 "takes_queue")  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        slot: WorkerSlot,
        loop: Served,
        log: WorkerLog,
        lifetime: Lifetime,
        reopen: Callable[[list[int]], None],
        lost: Callable[[], int],
        route: Callable[[Message], None] | None = None,
        explain: Callable[[Message, list[int]], None] | None = None,
    ) -> None:
        self._sock = sock
        self._slot = slot
        self._loop = loop
        self._log = log
        self._lifetime = lifetime
        self._reopen = reopen
        self._lost = lost
        self._route = route
        self._explain = explain
        self._started = monotonic()
        self._wake = -1
        self._told = 0  # requests, when we last said that we are idle
        self.left = False  # the supervisor was told that we want to go
        self.sent_away = False  # by the supervisor
        self.takes_queue = False  # on leaving: nobody else will serve what the kernel has queued
        self._limit = lifetime.requests and lifetime.requests + randint(0, lifetime.jitter)
        loop.obey(self._limit, self._worn, self._overdue)

    @property
    def fd(self) -> int:
        return self._sock.fileno()

    def begin(self, wake: int) -> None:
        """The worker serves. wake: a descriptor to write to when it should call tick()."""
        self._wake = wake
        self._slot.state(READY)
        channel.send(self._sock, {"say": "ready"})

    def hear(self) -> int:
        """Do what was said. The signal that means the same; 0 for none."""
        try:
            message, fds = channel.receive_fds(self._sock)
        except BlockingIOError:
            return 0
        except (EOFError, OSError):  # nobody is left who would restart us
            return signal.SIGINT
        what = message.get("do")
        if what == "drain":
            self.sent_away = True
            self.takes_queue = bool(message.get("last"))
            return signal.SIGTERM
        if what == "quit":
            return signal.SIGINT
        if what == "reopen":
            self._reopen(fds)
            return 0
        if what == "explain" and self._explain is not None:
            self._explain(message, fds)
            return 0
        for fd in fds:
            os.close(fd)
        if what == "route" and self._route is not None:
            self._route(message)
        level = LEVELS.get(channel.text_of(message, "level"))
        if what == "level" and level is not None:
            self._log.level = level
        return 0

    def draining(self) -> None:
        self._slot.state(DRAINING)

    def tick(self) -> None:
        """Once a second, and when something wants to be said."""
        loop, lifetime = self._loop, self._lifetime
        rss = rss_bytes()
        requests = loop.served
        if lifetime.on_demand and requests != self._told:
            self._told = requests
            channel.send(self._sock, {"say": "idle"})  # from now on, if nothing more comes
        failed, slow = self._log.failures, 0
        self._slot.count(requests, failed, slow, self._lost(), rss, loop.queued)
        if lifetime.rss and rss > lifetime.rss:
            self._leave("max_rss")
        elif lifetime.seconds and monotonic() - self._started > lifetime.seconds:
            self._leave("max_lifetime")
        elif self._limit and requests >= self._limit:
            self._leave("max_requests")

    def _leave(self, why: str) -> None:
        if not self.left:
            self.left = True
            message = {"say": "leaving", "why": why, "grace": self._lifetime.grace_s}
            channel.send(self._sock, message)

    def _worn(self) -> None:
        """Called in a thread of the loop."""
        self._rouse()

    def _overdue(self) -> None:
        """A request ran out of time: others may end, and nobody else should come."""
        self.left = False  # it goes at once, whatever was said before
        self._leave("timeout")
        self._loop.refuse_new()
        self._rouse()

    def _rouse(self) -> None:
        try:
            os.write(self._wake, b"!")
        except OSError:  # it is awake, or ends
            pass
