"""The supervisor's turns: descriptors and moments."""

import os
from time import monotonic

import pytest

from gatebridge.serve.turns import Turns


@pytest.fixture
def turns():
    made = Turns()
    yield made
    made.close()


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        os.close(fd)


def test_a_readable_descriptor_is_called_for(turns, pipe) -> None:
    read, write = pipe
    called = []
    turns.watch(read, lambda: called.append(os.read(read, 9)))
    turns.take(monotonic())
    os.write(write, b"x")
    turns.take()
    assert called == [b"x"]


def test_one_that_is_forgotten_is_not(turns, pipe) -> None:
    read, write = pipe
    turns.watch(read, lambda: pytest.fail("it was forgotten"))
    turns.forget(read)
    turns.forget(read)
    os.write(write, b"x")
    turns.take(monotonic())


def test_one_that_another_forgets_in_the_same_turn_is_not(turns) -> None:
    pipes = [os.pipe() for _ in range(2)]
    called = []

    def call(at: int) -> None:
        called.append(at)
        turns.forget(pipes[1 - at][0])

    for at, (read, write) in enumerate(pipes):
        turns.watch(read, lambda at=at: call(at))
        os.write(write, b"x")
    turns.take()
    assert len(called) == 1
    for fd in [fd for pair in pipes for fd in pair]:
        os.close(fd)


def test_a_descriptor_may_get_another_call(turns, pipe) -> None:
    read, write = pipe
    called = []
    turns.watch(read, lambda: called.append("old"))
    turns.watch(read, lambda: called.append("new"))
    os.write(write, b"x")
    turns.take()
    assert called == ["new"]


def test_two_may_watch_one_descriptor(turns, pipe) -> None:
    """Two generations of a pool that wait for the first connection."""
    read, write = pipe
    called = []
    turns.watch(read, lambda: called.append("old"), "old")
    turns.watch(read, lambda: called.append("new"), "new")
    os.write(write, b"x")
    turns.take()
    assert called == ["old", "new"]
    turns.forget(read, "old")
    turns.take()
    assert called == ["old", "new", "new"]
    turns.forget(read, "new")
    turns.take(monotonic())
    assert len(called) == 3


def test_moments_come_once_and_in_their_time(turns) -> None:
    called = []
    now = monotonic()
    turns.at("late", now + 1000, called.append)
    turns.at("soon", now + 0.02, called.append)
    turns.at("gone", now + 0.01, called.append)
    turns.cancel("gone")
    turns.cancel("never there")
    turns.take()
    assert len(called) == 1
    assert called[0] >= now + 0.02
    turns.take(monotonic())
    assert len(called) == 1


def test_a_moment_may_name_the_next_one(turns) -> None:
    called = []

    def again(now: float) -> None:
        called.append(now)
        if len(called) < 3:
            turns.at("again", now, again)

    turns.at("again", 0.0, again)
    for _ in range(3):
        turns.take()
    assert len(called) == 3
