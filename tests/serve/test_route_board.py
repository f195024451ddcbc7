"""Modes and counts of routes in shared memory: what one process writes, the others see."""

import mmap
import os
import threading
from collections.abc import Callable

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve.route_board import NOTE_MAX, PLACES_MAX, CallCounters, RouteBoard
from gatebridge.serve.scoreboard import WORKERS_MAX
from gatebridge.settings import App

PLAIN = App("", "a:b")
ORDER = App("/order", "old:app", "new:app", "legacy")
LIMITED = App("/limited", "a:b", concurrency=2)
KEY = ("main", "/limited", "", ())


def board(*apps: App, counters: CallCounters | None = None, **modes: str) -> RouteBoard:
    said = {at: modes.get("mode", app.mode) for at, app in enumerate(apps) if app.new}
    return RouteBoard("main", apps, said, counters or CallCounters())


def in_child(work: Callable[[], object]) -> int:
    """What a forked process made of it: its exit status."""
    pid = os.fork()
    if not pid:
        status = 255
        try:
            status = int(work() or 0)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_mode_is_seen_by_who_was_forked_before() -> None:
    routes = board(PLAIN, ORDER)
    to_child, to_us = os.pipe(), os.pipe()

    def worker() -> int:
        mine = routes.worker(0)
        before = mine.is_new(1)
        os.write(to_us[1], b"!")
        os.read(to_child[0], 1)
        return 2 * mine.is_new(1) + before

    pid = os.fork()
    if not pid:
        os._exit(worker())
    os.read(to_us[0], 1)
    routes.set(1, "new")
    os.write(to_child[1], b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    for fd in (*to_child, *to_us):
        os.close(fd)
    assert routes.counts(1) == (1, 1)


def test_the_mode_it_begins_with() -> None:
    assert not board(ORDER).is_new(0)
    assert board(ORDER, mode="new").is_new(0)


def test_a_note_is_read_once_and_stays() -> None:
    routes = board(PLAIN, ORDER)
    assert routes.failed(1) == ""
    assert in_child(lambda: routes.note_failed(1, "app.import: no é" + "x" * 1000)) == 0
    assert routes.failed(1).startswith("app.import: no é")
    assert len(routes.failed(1).encode()) == NOTE_MAX
    assert [app for app, _ in routes.fresh_notes()] == [ORDER]
    assert routes.fresh_notes() == []
    assert routes.failed(1)


def test_a_note_of_nothing_is_one() -> None:
    routes = board(ORDER)
    routes.note_failed(0, "")
    assert routes.failed(0) == "it does not say why"


def test_a_note_that_is_cut_within_a_letter_can_be_read() -> None:
    routes = board(ORDER)
    routes.note_failed(0, "x" * (NOTE_MAX - 1) + "é")
    assert routes.failed(0).startswith("xxx")


def test_a_board_without_switches_has_no_memory_to_break() -> None:
    routes = board(PLAIN)
    assert not routes.is_new(0)
    assert routes.index_of(("", "", ())) == -1
    routes.note_failed(0, "x")
    assert (routes.failed(0), routes.counts(0), routes.fresh_notes()) == ("", (0, 0), [])


def test_counts_stay_when_their_worker_has_gone() -> None:
    routes = board(PLAIN, ORDER, App("/b", "old:b", "new:b", "legacy"))
    worker, other = routes.worker(7), routes.worker(8)
    for _ in range(3):
        worker.is_new(1)
    other.is_new(1)
    routes.set(1, "new")
    worker.is_new(1)
    assert (routes.counts(1), routes.counts(2)) == ((4, 1), (0, 0))
    routes.gone(7)
    routes.gone(7)
    assert routes.counts(1) == (4, 1)
    routes.worker(7).is_new(1)  # the next one in this slot
    assert routes.counts(1) == (4, 2)


def test_no_count_is_lost_between_threads() -> None:
    routes = board(ORDER)
    worker = routes.worker(0)
    threads = [
        threading.Thread(target=lambda: [worker.is_new(0) for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker.is_new(0)  # nobody is between taking a number and writing it
    assert routes.counts(0) == (8001, 0)


OBEYED = [
    ("new", {"match": "/order", "mode": "new"}, True),
    ("another route", {"match": "/orde", "mode": "new"}, False),
    ("another host", {"match": "/order", "host": "a", "mode": "new"}, False),
    ("other methods", {"match": "/order", "methods": ["GET"], "mode": "new"}, False),
    ("no mode", {"match": "/order", "mode": "newer"}, False),
    ("nothing", {}, False),
    ("methods that are none", {"match": "/order", "methods": 1, "mode": "new"}, True),
]


@pytest.mark.parametrize(("name", "message", "is_new"), OBEYED, ids=[row[0] for row in OBEYED])
def test_a_worker_obeys_a_supervisor_of_another_program(name, message, is_new) -> None:
    routes = board(ORDER)
    routes.obey({"do": "route", **message})
    assert routes.is_new(0) is is_new


def test_a_worker_that_cannot_does_not_obey() -> None:
    routes = board(ORDER)
    routes.note_failed(0, "broken")
    routes.obey({"match": "/order", "mode": "new"})
    assert not routes.is_new(0)


# -- concurrency


def test_a_limit_is_that_of_all_workers() -> None:
    routes = board(PLAIN, LIMITED)
    assert routes.places == [-1, 0]
    one, two = routes.worker(0), routes.worker(WORKERS_MAX - 1)
    assert one.enter(0, 2)
    assert two.enter(0, 2)
    assert not one.enter(0, 2)
    assert not two.enter(0, 2)
    one.leave(0)
    assert two.enter(0, 2)
    assert routes.counters.under_way(0) == 2


def test_what_a_dead_worker_had_under_way_is_free_again() -> None:
    counters = CallCounters()
    routes = board(LIMITED, counters=counters)
    assert (
        in_child(lambda: not (routes.worker(3).enter(0, 2) and routes.worker(3).enter(0, 2))) == 0
    )
    mine = routes.worker(4)
    assert not mine.enter(0, 2)
    counters.clear(3)
    assert mine.enter(0, 2)


def test_a_limit_holds_through_generations() -> None:
    counters = CallCounters()
    old = board(PLAIN, LIMITED, counters=counters)
    assert old.worker(0).enter(old.places[1], 1)
    fresh = board(LIMITED, PLAIN, counters=counters)
    assert fresh.places[0] == old.places[1]
    assert not fresh.worker(1).enter(fresh.places[0], 1)
    old.close()
    assert not fresh.worker(1).enter(fresh.places[0], 1)
    fresh.close()
    again = board(LIMITED, counters=counters)
    assert again.worker(1).enter(again.places[0], 1)  # nothing is left there of before


def test_places_are_for_who_is_there() -> None:
    counters = CallCounters()
    keys = [("main", f"/{at}", "", ()) for at in range(PLACES_MAX)]
    assert sorted(counters.take(keys)) == list(range(PLACES_MAX))
    with pytest.raises(ConfigError, match="route.many"):
        counters.take([KEY])
    counters.release(keys[5:6])
    assert counters.take([KEY]) == [5]
    with pytest.raises(ConfigError, match="route.many"):
        counters.take(keys[5:6])


class Between:
    """A lock; whoever is told comes in when it is let go for the first time."""

    def __init__(self, come: Callable[[], object]) -> None:
        self.come: list[Callable[[], object]] = [come]

    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: object) -> None:
        while self.come:
            self.come.pop()()


@pytest.mark.parametrize("stays", [True, False])
def test_who_comes_in_between_the_write_and_the_look_is_seen(stays: bool) -> None:
    """Both stand back, and try again."""
    routes = board(LIMITED)
    one, two = routes.worker(0), routes.worker(1)

    def other() -> None:
        routes.counters.memory[1] += 2
        if not stays:
            one._lock = Between(lambda: routes.counters.clear(1))

    one._lock = Between(other)
    assert one.enter(0, 2) is not stays
    assert routes.counters.memory[0] == (not stays)
    assert two.enter(0, 2) is not stays


PROCESSES, ROUNDS, MOST = 3, 400, 2


def test_never_more_than_the_limit_at_once() -> None:
    """Three processes of two threads each; whoever is inside looks how many others are."""
    counters = CallCounters()
    routes = board(App("/x", "a:b", concurrency=MOST), counters=counters)
    inside = mmap.mmap(-1, PROCESSES * 2)  # a byte of each thread
    start, go = os.pipe()

    def work(process: int) -> int:
        worker = routes.worker(process)
        os.close(go)
        os.read(start, 1)
        seen = [0, 0]

        def run(thread: int) -> None:
            at = process * 2 + thread
            for _ in range(ROUNDS):
                if worker.enter(0, MOST):
                    inside[at] = 1
                    seen[thread] = max(seen[thread], sum(inside[:]))
                    inside[at] = 0
                    worker.leave(0)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return max(seen)

    pids = []
    for process in range(PROCESSES):
        pid = os.fork()
        if not pid:
            status = 255
            try:
                status = work(process)
            finally:
                os._exit(status)
        pids.append(pid)
    os.close(go)
    os.close(start)
    found = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert all(1 <= most <= MOST for most in found), found
    assert counters.under_way(0) == 0
