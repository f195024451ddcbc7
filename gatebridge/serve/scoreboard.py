"""What every worker does now, in memory that it shares with its supervisor.

One anonymous mapping, made before any fork: a head for each worker, then its threads' places.
Only a worker writes its own head and places; anybody may read at any time, without a lock. A
place is in use while its last byte is 1. Struct.pack_into() clears a place before it fills it in,
from the first byte to the last, so a reader never takes half a request for a whole one.

The memory is the workers' as well, so nothing in it is to be believed: text is anything, and a pid
to be signalled comes from the supervisor's own table.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from time import monotonic
from typing import Final

WORKERS_MAX: Final = 256
THREADS_MAX: Final = 128  # of one worker
THREAD_SIZE: Final = 256

FREE: Final = 0  # of a worker: nobody has this number
STARTING: Final = 1
READY: Final = 2
DRAINING: Final = 3
DEAD: Final = 4
STATES: Final = ("free", "starting", "ready", "draining", "dead")

ID_MAX: Final = 40  # bytes of a request's id
LINE_MAX: Final = 191  # bytes of a request's line
POOL_MAX: Final = 63  # bytes of a pool's name

_BUSY: Final = 255  # where a place has its last byte
_IN_USE: Final = 0x01
_HEAD_SIZE: Final = 192
_COUNTS: Final = 96  # where a head's numbers begin
_STATE: Final = 95  # where a head has its state
_THREADS: Final = WORKERS_MAX * _HEAD_SIZE  # where the places begin
_WORKER_SIZE: Final = THREADS_MAX * THREAD_SIZE
_LOOKS: Final = 3  # at a place that changes while it is read
_AGE_MAX: Final = 1e9  # seconds; a worker may have written anything

_place: Final = struct.Struct("@Qdd40s191sB")  # thread ident, started, limit, id, line, in use
_about: Final = struct.Struct("@qqqd63sB")  # pid, generation, threads, born, pool, state
_places: Final = struct.Struct("@q")
_PLACES_AT: Final = 16  # where a head has its threads
_numbers: Final = struct.Struct("@6Q")
_put: Final = _place.pack_into
_limit: Final = struct.Struct("@d")
_LIMIT_AT: Final = 16  # where a place has its limit


def begin(view: memoryview, ident: int, started: float, line: bytes, id: bytes = b"") -> None:
    """A request begins in this place.

    ident    threading.get_ident() of the thread that runs it
    started  monotonic()
    line     as in b"GET /path", cut to LINE_MAX; id is cut to ID_MAX
    """
    _put(view, 0, ident, started, 0.0, id, line, _IN_USE)


def limit(view: memoryview, seconds: float) -> None:
    """The request in this place may take so long, whatever others may."""
    _limit.pack_into(view, _LIMIT_AT, seconds)


def end(view: memoryview) -> None:
    """It has ended."""
    view[_BUSY] = 0


@dataclass(frozen=True)
class Running:
    """A request under way.

    started  monotonic
    age      seconds; limit: those it may take, 0.0 for its pool's
    line     as id, not escaped
    """

    thread: int
    ident: int
    started: float
    age: float
    line: str
    id: str
    limit: float = 0.0


@dataclass(frozen=True)
class WorkerView:
    """A worker as it was a moment ago.

    state    STARTING, READY, DRAINING or DEAD; STATES has the words
    threads  how many it has
    age      seconds since it started
    lost     log lines that it could not write
    rss      bytes
    queued   requests that wait for a thread
    running  the oldest request first
    """

    index: int
    pid: int
    pool: str
    generation: int
    state: int
    threads: int
    age: float
    requests: int
    failed: int
    slow: int
    lost: int
    rss: int
    queued: int
    running: list[Running]


class WorkerSlot:
    """One worker's own part of the board. index: its number; board: the whole."""

    __slots__ = ("_base", "board", "index")

    def __init__(self, board: Scoreboard, index: int) -> None:
        self.board = board
        self.index = index
        self._base = index * _HEAD_SIZE

    def start(self, pid: int, pool: str, generation: int, threads: int) -> None:
        """Take the slot, whatever its last worker left in it; its state is STARTING."""
        board = self.board
        board.free(self.index)
        count = min(threads, THREADS_MAX)
        for at in range(count):
            end(self.thread(at))
        _numbers.pack_into(board.memory, self._base + _COUNTS, 0, 0, 0, 0, 0, 0)
        name = pool.encode("utf-8")[:POOL_MAX]
        born = monotonic()
        _about.pack_into(board.memory, self._base, pid, generation, count, born, name, STARTING)

    def widen(self, threads: int) -> None:
        """There are so many places, whatever start() was told."""
        at = self._base + _PLACES_AT
        _places.pack_into(self.board.memory, at, min(threads, THREADS_MAX))

    def state(self, state: int) -> None:
        self.board.memory[self._base + _STATE] = state

    def count(
        self, requests: int, failed: int, slow: int, lost_lines: int, rss: int, queued: int
    ) -> None:
        """Totals of this worker so far; rss in bytes and the queue as they are now."""
        at = self._base + _COUNTS
        _numbers.pack_into(self.board.memory, at, requests, failed, slow, lost_lines, rss, queued)

    def thread(self, at: int) -> memoryview:
        """The place of one thread, for begin() and end(). at: below THREADS_MAX."""
        first = _THREADS + self.index * _WORKER_SIZE + at * THREAD_SIZE
        return self.board.memory[first : first + THREAD_SIZE]


class Scoreboard:
    """All workers of a daemon. memory: the mapping; pages that nobody uses cost nothing."""

    __slots__ = ("memory",)

    def __init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, _THREADS + WORKERS_MAX * _WORKER_SIZE))

    def worker(self, index: int) -> WorkerSlot:
        """index: 0 to WORKERS_MAX - 1."""
        if not 0 <= index < WORKERS_MAX:
            raise IndexError(f"no worker {index}: there are {WORKERS_MAX}")
        return WorkerSlot(self, index)

    def clear(self, index: int) -> WorkerView | None:
        """Free the slot of a worker that is gone. What it last said, for the pool's totals."""
        last = self._worker(index, monotonic())
        self.free(index)
        return last

    def free(self, index: int) -> None:
        base = index * _HEAD_SIZE
        self.memory[base + _STATE] = FREE

    def read(self, now: float) -> list[WorkerView]:
        """Every worker that has a slot. now: monotonic()"""
        views = []
        for index in range(WORKERS_MAX):
            if self.memory[index * _HEAD_SIZE + _STATE] != FREE:
                view = self._worker(index, now)
                if view is not None:
                    views.append(view)
        return views

    def _worker(self, index: int, now: float) -> WorkerView | None:
        base = index * _HEAD_SIZE
        head, _ = self._look(base, _HEAD_SIZE)
        pid, generation, threads, born, name, state = _about.unpack_from(head)
        if state == FREE or state >= len(STATES):
            return None
        requests, failed, slow, lost, rss, queued = _numbers.unpack_from(head, _COUNTS)
        threads = max(0, min(threads, THREADS_MAX))
        running = self._running(index, threads, now) if state != DEAD else []
        return WorkerView(
            index, pid, _text(name), generation, state, threads, _since(born, now),
            requests, failed, slow, lost, rss, queued, running,
        )  # fmt: skip

    def _running(self, index: int, threads: int, now: float) -> list[Running]:
        found = []
        first = _THREADS + index * _WORKER_SIZE
        for at in range(threads):
            base = first + at * THREAD_SIZE
            if self.memory[base + _BUSY] != _IN_USE:
                continue
            place, still = self._look(base, THREAD_SIZE)
            ident, started, limit, id, line, busy = _place.unpack(place)
            if still and busy == _IN_USE:  # else it is younger than a few microseconds
                age = _since(started, now)
                most = limit if 0.0 < limit < _AGE_MAX else 0.0
                found.append(Running(at, ident, started, age, _text(line), _text(id), most))
        found.sort(key=_age, reverse=True)
        return found

    def _look(self, base: int, size: int) -> tuple[bytes, bool]:
        """Bytes, and whether two looks in a row saw the same."""
        seen = bytes(self.memory[base : base + size])
        for _ in range(_LOOKS):
            again = bytes(self.memory[base : base + size])
            if again == seen:
                return seen, True
            seen = again
        return seen, False


def _since(then: float, now: float) -> float:
    age = now - then
    return age if 0.0 <= age < _AGE_MAX else 0.0  # also for no number at all


def _age(running: Running) -> float:
    return running.age


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("utf-8", "backslashreplace")


def rss_bytes() -> int:
    """This process's resident memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
