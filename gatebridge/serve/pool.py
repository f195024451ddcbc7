"""How many workers a pool has: pure decisions, as PHP-FPM's process managers make them.

A plan is told what its workers do and answers what to do with them. It reads no clock, forks
nothing and kills nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What a worker is to its plan.
STARTING: Final = 1  # forked, has not said that it is ready
READY: Final = 2
LEAVING: Final = 3  # serves, and wants to be replaced
DRAINING: Final = 4  # told to end, or takes no more

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 30.0
WINDOW_S: Final = 60.0
FORKS_A_WINDOW: Final = 12  # of workers that have not become ready
DEATHS_A_WINDOW: Final = 5  # of ready workers, before somebody is alarmed
PROVEN_S: Final = 1.0  # a worker that dies so soon after ready has failed to start
LOOK_S: Final = 0.25  # between two looks while workers of a pool that grows by need are busy
CALM_LOOK_S: Final = 1.0  # while none of them is: nobody tells when one becomes busy
RETIRE_S: Final = 1.0  # between two spare workers that are sent away
BOOT_S: Final = 120.0  # for a worker to become ready


@dataclass(frozen=True, slots=True)
class View:
    """A worker as its plan sees it.

    key       what actions name it by
    since     when it took up this state
    running   requests in it, those that wait included
    threads   requests that it can run at once
    calm      when its last request ended; counts only while none is running
    deadline  when it is killed, whatever it does
    """

    key: int
    state: int
    since: float
    running: int = 0
    threads: int = 1
    calm: float = 0.0
    deadline: float = inf

    @property
    def serves(self) -> bool:
        return self.state in (READY, LEAVING)


@dataclass(frozen=True, slots=True)
class Actions:
    """What to do now.

    fork    how many workers
    retire  whom to drain
    kill    whom to kill
    look    when to ask again, at the latest
    poll    whether to ask as soon as a connection waits
    """

    fork: int = 0
    retire: tuple[int, ...] = ()
    kill: tuple[int, ...] = ()
    look: float = inf
    poll: bool = False


class PoolPlan:
    """One pool of one generation.

    mode   static, dynamic, ondemand, or held: nobody comes and nobody is sent away
    most   workers at most
    spare  idle workers at least and at most (dynamic)
    idle_s after which an idle worker ends (ondemand)
    start  workers that are forked at the beginning, whatever the mode says
    """

    __slots__ = (
        "_backoff_s",
        "_deaths",
        "_failed",
        "_forks",
        "_quiet_until",
        "_retired",
        "_spare",
        "_start",
        "failures",
        "idle_s",
        "mode",
        "most",
        "paused",
    )

    def __init__(
        self,
        mode: str,
        most: int,
        spare: tuple[int, int] = (1, 2),
        idle_s: float = 10.0,
        start: int = 0,
    ) -> None:
        self.mode = mode
        self.most = most
        self.paused = False
        self.idle_s = idle_s
        self.failures = 0  # starts in a row that came to nothing
        self._spare = (max(1, spare[0]), max(1, *spare))
        self._start = start
        self._backoff_s = 0.0
        self._quiet_until = -inf
        self._failed = -inf
        self._retired = -inf
        self._forks: deque[float] = deque()
        self._deaths: deque[float] = deque()

    @property
    def first(self) -> int:
        """Workers that it starts with."""
        by_mode = {"static": self.most, "dynamic": min(self._spare[0], self.most)}
        return max(self._start, by_mode.get(self.mode, 0))

    @property
    def crash_loop(self) -> bool:
        return self.failures > 1

    # -- what happened

    def forked(self, now: float, count: int = 1) -> None:
        self._forks.extend([now] * count)

    def ready(self) -> None:
        """A worker has become ready."""
        if self._forks:
            self._forks.popleft()
        self._start = 0

    def failed(self, now: float) -> None:
        """A start came to nothing. Those that fail together with it count once."""
        self._failed = now
        if now < self._quiet_until:
            return
        self.failures += 1
        self._backoff_s = min(BACKOFF_MOST_S, self._backoff_s * 2 or BACKOFF_FIRST_S)
        self._quiet_until = now + self._backoff_s

    def died(self, now: float) -> bool:
        """A ready worker died by itself. Whether that is one too many in a minute."""
        _forget(self._deaths, now)
        self._deaths.append(now)
        return len(self._deaths) == DEATHS_A_WINDOW

    # -- what to do

    def tick(self, now: float, views: Sequence[View], pending: bool = False) -> Actions:
        """pending: a connection waits in the kernel's queue."""
        kill = tuple([view.key for view in views if _overdue(view, now)])
        views = [view for view in views if view.key not in kill]
        look = min([_deadline(view) for view in views], default=inf)
        if self.failures:
            look = min(look, self._prove(now, views))
        if self.paused:
            return Actions(0, _keys(view for view in views if view.state != DRAINING), kill, look)
        decide = {"dynamic": self._dynamic, "ondemand": self._ondemand, "held": self._held}
        done = decide.get(self.mode, self._static)(now, views, pending)
        fork = self._allowed(now, done.fork, views)
        if fork < done.fork:
            look = min(look, self._again(now, views))
        poll = done.poll and fork == done.fork == 0
        return Actions(fork, done.retire, kill, min(look, done.look), poll)

    def _held(self, now: float, views: list[View], pending: bool) -> Actions:
        """Workers taken over from another supervisor: they serve until they are told to drain."""
        return Actions()

    def _static(self, now: float, views: list[View], pending: bool) -> Actions:
        counts = _Counts(views)
        retire = _surplus(views, len(counts.ready) + len(counts.leaving) - self.most)
        # A leaving worker goes when its replacement is ready; few at once, for memory's sake.
        together = self.most + max(1, self.most // 4)
        room = together - counts.fresh - len(counts.leaving)
        return Actions(max(0, min(self.most - counts.fresh, room)), retire)

    def _dynamic(self, now: float, views: list[View], pending: bool) -> Actions:
        counts = _Counts(views)
        fork, retire = self._replace(counts)
        idle = [view for view in counts.ready if not view.running]
        low, high = self._spare
        if not retire and len(idle) > high and counts.fresh > low:
            if now >= self._retired + RETIRE_S:
                self._retired = now
                retire = _surplus(idle, 1)
        want = max(low - len(idle) - counts.starting, fork, self._start - counts.fresh)
        if pending and not counts.room and not counts.starting:
            want = max(want, 1)
        want = min(want, self.most - counts.fresh)
        look = now + self._pace(counts, len(idle) > high)
        poll = not counts.room and not counts.starting and counts.fresh < self.most
        return Actions(max(0, want), retire, (), look, poll)

    def _ondemand(self, now: float, views: list[View], pending: bool) -> Actions:
        counts = _Counts(views)
        fork, retire = self._replace(counts)
        idle = [view for view in views if view.serves and not view.running]
        old = [view for view in idle if now >= _idle_since(view) + self.idle_s]
        retire = tuple(dict.fromkeys((*retire, *_keys(old))))
        look = min(
            [_idle_since(view) + self.idle_s for view in idle if view.key not in retire],
            default=inf,
        )
        if counts.ready or counts.leaving:
            look = min(look, now + self._pace(counts, False))
        if pending and not counts.room:
            fork = max(fork, 1 - counts.starting)
        want = min(max(fork, self._start - counts.fresh), self.most - counts.fresh)
        poll = not counts.room and not counts.starting and counts.fresh < self.most
        return Actions(max(0, want), retire, (), look, poll)

    def _pace(self, counts: _Counts, more: bool) -> float:
        """After how long to look again. more: some are to be sent away."""
        serving = (*counts.ready, *counts.leaving)
        busy = more or counts.leaving or any(view.running for view in serving)
        return LOOK_S if busy else CALM_LOOK_S

    def _replace(self, counts: _Counts) -> tuple[int, tuple[int, ...]]:
        """Of pools that grow by need: one worker for those that leave, who go when it is ready."""
        if not counts.leaving:
            return 0, ()
        if any(view.running < view.threads for view in counts.ready):
            return 0, _keys(counts.leaving)
        idle = [view for view in counts.leaving if not view.running]
        if self.mode == "ondemand" and len(idle) == len(counts.leaving):
            return 0, _keys(idle)  # nobody asks
        return max(0, 1 - counts.starting), ()

    def _prove(self, now: float, views: list[View]) -> float:
        """Whether a worker made after the last failure has lasted; else when to look at it."""
        new = [view.since for view in views if view.state == READY and view.since > self._failed]
        if new and now >= min(new) + PROVEN_S:
            self.failures = 0
            self._backoff_s = 0.0
            self._quiet_until = -inf
            return inf
        return min(new, default=inf) + PROVEN_S

    def _allowed(self, now: float, want: int, views: list[View]) -> int:
        """So many of them as back-off and the forks of the last minute allow."""
        _forget(self._forks, now)
        want = min(want, FORKS_A_WINDOW - len(self._forks))
        if self.failures:  # one worker tries whether starting works again
            starting = any(view.state == STARTING for view in views)
            want = 0 if starting or now < self._quiet_until else min(want, 1)
        return max(0, want)

    def _again(self, now: float, views: list[View]) -> float:
        if any(view.state == STARTING for view in views):
            return inf  # what becomes of it is the next event
        when = self._quiet_until if now < self._quiet_until else now
        if len(self._forks) >= FORKS_A_WINDOW:
            when = max(when, self._forks[0] + WINDOW_S)
        return when


class _Counts:
    """Workers by state. fresh: those that are or will be ready; room: for one more request."""

    __slots__ = ("fresh", "leaving", "ready", "room", "starting")

    def __init__(self, views: Sequence[View]) -> None:
        self.ready = [view for view in views if view.state == READY]
        self.leaving = [view for view in views if view.state == LEAVING]
        self.starting = sum([view.state == STARTING for view in views])
        self.fresh = len(self.ready) + self.starting
        self.room = any(view.running < view.threads for view in (*self.ready, *self.leaving))


def _surplus(views: Iterable[View], count: int) -> tuple[int, ...]:
    """Whom to send away: those that leave anyway, then idle ones, then the oldest."""
    serving = [view for view in views if view.serves]
    serving.sort(key=lambda view: (view.state != LEAVING, view.running > 0, view.since, view.key))
    return _keys(serving[: max(0, count)])


def _keys(views: Iterable[View]) -> tuple[int, ...]:
    return tuple([view.key for view in views])


def _deadline(view: View) -> float:
    return min(view.deadline, view.since + BOOT_S if view.state == STARTING else inf)


def _overdue(view: View, now: float) -> bool:
    return now >= _deadline(view)


def _idle_since(view: View) -> float:
    return max(view.since, view.calm)


def _forget(times: deque[float], now: float) -> None:
    while times and times[0] <= now - WINDOW_S:
        times.popleft()
