"""Packets between a supervisor and its children."""

import os
import socket

import pytest

from gatebridge.serve.channel import (
    MESSAGE_MAX,
    pair,
    receive,
    receive_fds,
    seconds_of,
    send,
    text_of,
)


@pytest.fixture
def ends():
    ours, theirs = pair()
    with ours, theirs:
        yield ours, theirs


def test_a_message_is_a_packet(ends) -> None:
    ours, theirs = ends
    assert send(theirs, {"say": "ready"})
    assert send(theirs, {"say": "ö\n"})
    assert receive(ours) == {"say": "ready"}
    assert receive(ours) == {"say": "ö\n"}
    with pytest.raises(BlockingIOError):
        receive(ours)


@pytest.mark.parametrize(
    "data",
    [b"{", b"[1]", b"1", b"\xff", b"[" * 50_000, b"x" * (MESSAGE_MAX + 1), b'{"a": 1' * 9000],
    ids=lambda data: repr(data[:8]),
)
def test_what_is_no_message_is_empty(ends, data: bytes) -> None:
    ours, theirs = ends
    theirs.send(data)
    assert receive(ours) == {}


def test_the_end_is_an_error_of_its_own(ends) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(EOFError):
        receive(ours)
    assert not send(ours, {"do": "drain"})


def test_a_full_buffer_is_not_waited_for(ends) -> None:
    ours, _ = ends
    while send(ours, {"do": "x" * 10_000}):
        continue


def test_descriptors_come_along_and_are_closed_where_nobody_wants_them(ends) -> None:
    ours, theirs = ends
    read, write = os.pipe()
    assert send(ours, {"do": "fork"}, [write])
    assert send(theirs, {"say": "mine"}, [write])
    os.close(write)
    message, fds = receive_fds(theirs)
    assert message == {"do": "fork"}
    assert [os.get_inheritable(fd) for fd in fds] == [False]
    assert receive(ours) == {"say": "mine"}
    os.close(fds[0])
    assert os.read(read, 1) == b""  # so no copy is left
    os.close(read)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(1.5, 1.5), (3, 3.0), (-1, 0.0), (True, 0.0), ("5", 0.0), (None, 0.0), (float("nan"), 0.0),
     (float("inf"), 0.0), (10**400, 0.0)],
)  # fmt: skip
def test_a_time_is_a_number_of_seconds(value: object, seconds: float) -> None:
    assert seconds_of({"grace": value}, "grace") == seconds


@pytest.mark.parametrize("value", [1, None, ["a"], {"a": 1}])
def test_a_text_is_a_text(value: object) -> None:
    assert text_of({"why": value}, "why") == ""


def test_a_stream_socket_would_not_do() -> None:
    ours, theirs = pair()
    with ours, theirs:
        assert ours.type == socket.SOCK_SEQPACKET
        assert not ours.getblocking()
        assert theirs.getblocking()
