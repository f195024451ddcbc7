"""The slow log: which line a request is in while it runs, also in C code that keeps the GIL.

A worker writes its threads' stacks into a pipe when it gets USR1 (faulthandler does it, in the
signal handler). The supervisor reads the pipe, finds the thread that the scoreboard names, and
writes one entry for the request:

    slow.request main/2/5 pid 4711: GET /report has run for 3.2 s, id 8f3c
    slow.stack main/2/5 (12 outer calls left out)
    slow.stack main/2/5 File "/srv/shop/views.py", line 41 in report: rows = list(query)
    slow.stack main/2/5 File "/srv/shop/models.py", line 7 in total: return re.match(PATTERN, text)

main/2/5 is pool, worker and thread; the innermost call comes last.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from gatebridge.serve.escape import escape
from gatebridge.serve.more_stacks import NO_THREAD
from gatebridge.serve.scoreboard import DEAD, STATES
from gatebridge.serve.stacks import Sources, Stack, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.serve.scoreboard import Running, WorkerView

    Key = tuple[int, int, int, float]

Ask = Callable[[int], object]  # send USR1 to a worker, by its pid
Taker = Callable[[list[Stack]], None]

FRAMES_MAX = 20
QUIET_S = 0.1  # without a further byte, and the dump is whole
ANSWER_S = 2.0  # for a dump to come, and to end
_DUMP_MAX = 1 << 20  # bytes; further ones are not kept
_PIPE_SIZES = (1 << 20, 1 << 18)
_ANSWER_MAX = 900_000  # bytes of all stacks that are asked for at once


def dump_pipe() -> tuple[int, int]:
    """(read, write) for a worker's dumps. Neither end waits: a dump that finds no room is cut."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    for size in _PIPE_SIZES if hasattr(fcntl, "F_SETPIPE_SZ") else ():
        try:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, size)
            break
        except OSError:  # beyond what this user may have
            continue
    return read, write


class _Dump:
    """What one worker is being asked for."""

    __slots__ = ("asked", "data", "last", "takers")

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.last = asked
        self.data = bytearray()
        self.takers: list[Taker] = []

    @property
    def end(self) -> float:
        """When to stop waiting."""
        most = self.asked + ANSWER_S
        return min(self.last + QUIET_S, most) if self.data else most


class SlowLog:
    """Entries for requests that are older than their pool's limit, once each.

    write    puts a line into the log, with the time
    timeout  seconds, for all pools or by a pool's name; 0 for no entries
    written  entries so far, by pool
    """

    __slots__ = ("_clock", "_dumps", "_running", "_seen", "_write", "timeout", "written")

    def __init__(
        self,
        write: Callable[[str], None],
        timeout: float | Mapping[str, float],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._write = write
        self.timeout = timeout
        self.written: dict[str, int] = {}
        self._clock = clock
        self._dumps: dict[int, _Dump] = {}
        self._seen: set[Key] = set()
        self._running: set[Key] = set()

    @property
    def deadline(self) -> float | None:
        """When settle() has something to do; None for never."""
        return min((dump.end for dump in self._dumps.values()), default=None)

    def look(self, now: float, views: list[WorkerView], ask: Ask) -> None:
        """Find requests that have become slow. A few times a second."""
        self._running = {_key(view, running) for view in views for running in view.running}
        self._seen &= self._running
        self.settle(now)
        for view in views:
            limit = self._limit(view.pool)
            for running in view.running:
                key = _key(view, running)
                if 0 < limit <= running.age and key not in self._seen:
                    self._seen.add(key)
                    self._ask(view.pid, now, ask, partial(self._entry, view, running))

    def stacks(
        self, views: list[WorkerView], ask: Ask, done: Callable[[dict[str, Any]], object]
    ) -> None:
        """Collect the stacks of all threads of these workers; done() gets the answer for ctl."""
        alive = [view for view in views if view.state != DEAD]
        answers: dict[int, dict[str, Any]] = {}

        def take(view: WorkerView, stacks: list[Stack]) -> None:
            answers[view.index] = _worker(view, stacks)
            if len(answers) == len(alive):
                done(_bounded([answers[view.index] for view in alive]))

        if not alive:
            done(_bounded([]))
        for view in alive:
            self._ask(view.pid, self._clock(), ask, partial(take, view))

    def dumped(self, pid: int, data: bytes) -> None:
        """Bytes that came through a worker's dump pipe, whoever sent it the signal."""
        now = self._clock()
        dump = self._dumps.get(pid)
        if dump is None:
            dump = self._dumps[pid] = _Dump(now)
            dump.takers.append(partial(self._unasked, pid))
        dump.last = now
        dump.data += data[: _DUMP_MAX - len(dump.data)]

    def gone(self, pid: int) -> None:
        """That worker has ended: nothing more will come."""
        self._finish(pid)

    def settle(self, now: float) -> None:
        """Take the dumps that are whole. Call it at the deadline."""
        for pid in [pid for pid, dump in self._dumps.items() if now >= dump.end]:
            self._finish(pid)

    def _limit(self, pool: str) -> float:
        if isinstance(self.timeout, (int, float)):
            return self.timeout
        return self.timeout.get(pool, 0.0)

    def _ask(self, pid: int, now: float, ask: Ask, taker: Taker) -> None:
        """One signal for all who ask before the dump is whole."""
        dump = self._dumps.get(pid)
        if dump is not None:
            dump.takers.append(taker)
            return
        dump = self._dumps[pid] = _Dump(now)
        dump.takers.append(taker)
        try:
            ask(pid)
        except OSError:  # it has just ended
            self._finish(pid)

    def _finish(self, pid: int) -> None:
        dump = self._dumps.pop(pid, None)
        if dump is not None:
            stacks = parse(bytes(dump.data))
            for taker in dump.takers:
                taker(stacks)

    def _entry(self, view: WorkerView, running: Running, stacks: list[Stack]) -> None:
        """One slow request."""
        where = f"{view.pool}/{view.index}/{running.thread}"
        id = f", id {running.id}" if running.id else ""
        line = running.line or "a request"
        self._put(
            f"slow.request {where} pid {view.pid}: {line} has run for {running.age:.1f} s{id}"
        )
        self.written[view.pool] = self.written.get(view.pool, 0) + 1
        found = [stack for stack in stacks if stack.ident == running.ident]
        if not found and running.ident & NO_THREAD:
            found = [stack for stack in stacks if stack.current]
            self._put(f"slow.stack {where} (no stack of its own; the worker's thread is in)")
        elif not found:
            self._put(f"slow.stack {where} ({_why_not(stacks)})")
        if not found:
            return
        for text in _calls(found[0], _sources(view)):
            self._put(f"slow.stack {where} {text}")
        if _key(view, running) not in self._running:
            self._put(f"slow.stack {where} (it has ended meanwhile; this may be the next request)")

    def _unasked(self, pid: int, stacks: list[Stack]) -> None:
        """Somebody has sent USR1 to a worker by hand: the log gets all of it."""
        sources = Sources()
        for at, stack in enumerate(stacks):
            for text in _calls(stack, sources):
                self._put(f"stacks pid {pid} thread {at + 1} of {len(stacks)} {text}")

    def _put(self, text: str) -> None:
        self._write(escape(text))


def _key(view: WorkerView, running: Running) -> Key:
    return view.index, view.pid, running.thread, running.started


def _sources(view: WorkerView) -> Sources:
    return Sources(time() - view.age)


def _why_not(stacks: list[Stack]) -> str:
    if not stacks:
        return "no stack: the worker did not answer the signal"
    if any(stack.ident for stack in stacks):
        return "no stack: this thread is not in the dump"
    return "no stack: an interpreter without a GIL does not show other threads"


def _calls(stack: Stack, sources: Sources) -> list[str]:
    """A line for each call, the innermost last."""
    texts = [f"({remark})" for remark in stack.remarks]
    left_out = len(stack.frames) - FRAMES_MAX
    if left_out > 0 or not stack.whole:
        count = f"{max(left_out, 0)}{'' if stack.whole else ' or more'}"
        texts.append(f"({count} outer calls left out)")
    for frame in reversed(stack.frames[:FRAMES_MAX]):
        source = sources.line(frame)
        place = f'File "{frame.file}", line {frame.line or "?"} in {frame.name}'
        texts.append(f"{place}: {source}" if source else place)
    return texts


def _worker(view: WorkerView, stacks: list[Stack]) -> dict[str, Any]:
    """One worker's part of the answer of ``ctl stacks``."""
    sources = _sources(view)
    busy = {running.ident: running for running in view.running}
    threads = []
    for stack in stacks:
        running = busy.get(stack.ident)
        threads.append(
            {
                "ident": stack.ident,
                "name": escape(stack.name),
                "line": escape(running.line) if running else "",
                "id": escape(running.id) if running else "",
                "age_s": round(running.age, 3) if running else None,
                "calls": [escape(text) for text in _calls(stack, sources)],
            }
        )
    return {
        "pool": view.pool,
        "index": view.index,
        "pid": view.pid,
        "state": STATES[view.state],
        "answered": bool(stacks),
        "threads": threads,
    }


def _bounded(workers: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer, with fewer threads where it would be too long to send."""
    size = 0
    whole = True
    for worker in workers:
        kept = []
        for thread in worker["threads"]:
            size += len(json.dumps(thread))
            if size <= _ANSWER_MAX:
                kept.append(thread)
        whole = whole and len(kept) == len(worker["threads"])
        worker["threads"] = kept
    return {"ok": True, "workers": workers, "whole": whole}
