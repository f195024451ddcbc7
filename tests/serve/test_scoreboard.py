"""The scoreboard: what a forked worker writes, the supervisor reads."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import pytest

from gatebridge.serve.scoreboard import (
    DEAD,
    DRAINING,
    FREE,
    ID_MAX,
    LINE_MAX,
    READY,
    STARTING,
    STATES,
    THREAD_SIZE,
    THREADS_MAX,
    WORKERS_MAX,
    Scoreboard,
    begin,
    end,
    rss_bytes,
)


@contextmanager
def child(work: Callable[[], None]) -> Iterator[int]:
    """A forked process that works until it is killed; the block starts when work() has begun."""
    ready, told = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(told, b"!")
            work()
            signal.pause()
        finally:
            os._exit(1)
    os.close(told)
    try:
        os.read(ready, 1)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)


def test_an_unused_board_is_empty() -> None:
    assert Scoreboard().read(monotonic()) == []


def test_what_a_worker_says_is_read() -> None:
    board = Scoreboard()
    slot = board.worker(3)
    slot.start(1234, "main", 7, 8)
    slot.count(100, 2, 3, 4, 5 << 20, 6)
    slot.state(READY)
    (view,) = board.read(monotonic())
    assert (view.index, view.pid, view.pool, view.generation) == (3, 1234, "main", 7)
    assert (view.state, view.threads, view.running) == (READY, 8, [])
    assert (view.requests, view.failed, view.slow, view.lost) == (100, 2, 3, 4)
    assert (view.rss, view.queued) == (5 << 20, 6)
    assert slot.board is board


def test_state_is_starting_until_the_worker_says_otherwise() -> None:
    board = Scoreboard()
    board.worker(0).start(1, "main", 1, 1)
    seen = [board.read(0.0)[0].state]
    for state in (READY, DRAINING, DEAD):
        board.worker(0).state(state)
        seen.append(board.read(0.0)[0].state)
    assert [STATES[state] for state in seen] == ["starting", "ready", "draining", "dead"]
    assert seen[0] == STARTING


def test_requests_under_way_are_read_oldest_first() -> None:
    board = Scoreboard()
    slot = board.worker(WORKERS_MAX - 1)
    slot.start(1, "main", 1, THREADS_MAX)
    begin(slot.thread(0), 11, 109.0, b"GET /young")
    begin(slot.thread(THREADS_MAX - 1), 12, 101.5, b"GET /old", b"id-1")
    (view,) = board.read(110.0)
    assert [(r.thread, r.ident, r.started, r.age, r.line, r.id) for r in view.running] == [
        (THREADS_MAX - 1, 12, 101.5, 8.5, "GET /old", "id-1"),
        (0, 11, 109.0, 1.0, "GET /young", ""),
    ]
    end(slot.thread(THREADS_MAX - 1))
    (view,) = board.read(110.0)
    assert [r.line for r in view.running] == ["GET /young"]


def test_a_real_thread_ident_fits() -> None:
    board = Scoreboard()
    slot = board.worker(0)
    slot.start(1, "main", 1, 1)
    begin(slot.thread(0), threading.get_ident(), 1.0, b"x")
    assert board.read(2.0)[0].running[0].ident == threading.get_ident()


def test_long_texts_are_cut_and_reach_no_neighbour() -> None:
    board = Scoreboard()
    slot = board.worker(0)
    slot.start(1, "p" * 100, 1, 2)
    begin(slot.thread(1), 2, 1.0, b"second")
    begin(slot.thread(0), 1, 1.0, b"x" * 5000, b"i" * 5000)
    (view,) = board.read(2.0)
    lines = {r.thread: (r.line, r.id) for r in view.running}
    assert lines == {0: ("x" * LINE_MAX, "i" * ID_MAX), 1: ("second", "")}
    assert len(slot.thread(0)) == THREAD_SIZE
    assert view.pool == "p" * 63


def test_text_that_is_no_utf_8_is_read_all_the_same() -> None:
    board = Scoreboard()
    slot = board.worker(0)
    slot.start(1, "caf\xe9" + "\u20ac" * 30, 1, 1)
    begin(slot.thread(0), 1, 1.0, b"GET /caf\xe9\n")
    (view,) = board.read(2.0)
    assert view.running[0].line == "GET /caf\\xe9\n"
    assert view.pool.startswith("caf\xe9\u20ac")


def test_two_workers_do_not_meet() -> None:
    board = Scoreboard()
    for index in (0, 1, 200):
        slot = board.worker(index)
        slot.start(100 + index, f"pool{index}", 1, 2)
        for at in range(2):
            begin(slot.thread(at), index, 1.0, f"{index} {at}".encode())
    for view in board.read(2.0):
        assert view.pool == f"pool{view.index}"
        assert sorted(r.line for r in view.running) == [f"{view.index} 0", f"{view.index} 1"]


@pytest.mark.parametrize("index", [-1, WORKERS_MAX])
def test_there_is_no_worker_beyond_the_board(index: int) -> None:
    with pytest.raises(IndexError):
        Scoreboard().worker(index)


def test_more_threads_than_places_are_counted_as_so_many_places() -> None:
    board = Scoreboard()
    board.worker(0).start(1, "main", 1, THREADS_MAX + 5)
    assert board.read(0.0)[0].threads == THREADS_MAX


def test_what_a_killed_worker_left_goes_with_the_next_start() -> None:
    board = Scoreboard()

    def die_in_a_request() -> None:
        slot = board.worker(5)
        slot.start(os.getpid(), "main", 1, 4)
        slot.count(9, 1, 0, 0, 0, 0)
        slot.state(READY)
        begin(slot.thread(2), 1, 1.0, b"GET /fatal")
        os.write(said, b"!")

    heard, said = os.pipe()
    with child(die_in_a_request) as pid:
        os.read(heard, 1)
    os.close(heard)
    os.close(said)
    (view,) = board.read(2.0)
    assert view.pid == pid
    assert view.running[0].line == "GET /fatal"
    board.worker(5).start(77, "other", 2, 4)
    (view,) = board.read(2.0)
    assert (view.pid, view.pool, view.requests, view.running) == (77, "other", 0, [])


def test_clear_frees_the_slot_and_tells_what_was_in_it() -> None:
    board = Scoreboard()
    slot = board.worker(5)
    slot.start(1, "main", 1, 1)
    slot.count(9, 1, 0, 2, 0, 0)
    begin(slot.thread(0), 1, 1.0, b"GET /fatal")
    last = board.clear(5)
    assert last is not None
    assert (last.requests, last.failed, last.lost) == (9, 1, 2)
    assert board.read(2.0) == []
    assert board.clear(5) is None
    assert board.clear(6) is None


def test_a_dead_worker_runs_nothing() -> None:
    board = Scoreboard()
    slot = board.worker(5)
    slot.start(1, "main", 1, 1)
    begin(slot.thread(0), 1, 1.0, b"GET /fatal")
    slot.state(DEAD)
    (view,) = board.read(2.0)
    assert (view.state, view.running) == (DEAD, [])


def test_a_reader_beside_a_busy_writer_sees_whole_requests_only() -> None:
    """Every field of a place comes from the same begin(), however often it changes meanwhile."""
    board = Scoreboard()

    def hurry() -> None:
        slot = board.worker(0)
        slot.start(os.getpid(), "main", 1, 1)
        place = slot.thread(0)
        number = 0
        while True:
            number += 1
            text = b"%d" % number
            begin(place, number, float(number), text * 12, text)
            for _ in range(number % 300):
                pass
            end(place)

    seen = 0
    with child(hurry):
        while seen < 1000:
            for view in board.read(1e8):
                for running in view.running:
                    seen += 1
                    number = str(running.ident)
                    assert running.started == running.ident
                    assert running.id == number
                    assert running.line == number * 12


class Restless:
    """Memory that is different at each look."""

    def __init__(self) -> None:
        self.looks = 0

    def __getitem__(self, at: slice) -> bytes:
        self.looks += 1
        return bytes([self.looks]) * (at.stop - at.start)


def test_a_place_that_never_stays_the_same_is_given_up() -> None:
    board = Scoreboard()
    board.memory = memory = Restless()
    assert board._look(0, 4) == (b"\x04" * 4, False)
    assert memory.looks == 4


def test_a_worker_that_writes_anything_harms_no_reader() -> None:
    """Workers run the application, perhaps as another user; the reader may be root."""
    board = Scoreboard()
    for index in range(8):
        board.worker(index).start(index, "main", 1, 3)
    for fill in (0xFF, 0x7F, 0x01, 0x80):
        board.memory[:] = bytes([fill]) * len(board.memory)
        for view in board.read(1.0):
            assert 0.0 <= view.age < 1e10
            assert len(view.running) <= THREADS_MAX
            assert all(0.0 <= r.age < 1e10 for r in view.running)


def test_no_age_is_negative() -> None:
    """The reader's clock may have been read before the request began."""
    board = Scoreboard()
    slot = board.worker(0)
    slot.start(1, "main", 1, 1)
    begin(slot.thread(0), 1, 100.0, b"x")
    assert board.read(99.0)[0].running[0].age == 0.0


def test_reading_costs_no_memory_for_workers_that_are_not_there() -> None:
    board = Scoreboard()
    before = rss_bytes()
    for _ in range(3):
        board.read(1.0)
    assert rss_bytes() - before < len(board.memory) // 4
    assert FREE == 0  # so that fresh pages are free slots


def test_rss_is_told() -> None:
    assert rss_bytes() > 1 << 20
