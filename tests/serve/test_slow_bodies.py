"""Uploads that do not come on hold neither all threads nor anybody else up (T17, F108)."""

import socket
from collections.abc import Iterator

import pytest

from gatebridge.wire.records import begin_request, encode_pairs, record
from tests.serve.live import Live, body_of, serve, told

BODY = b"0123456789" * 300
HALF = 1000


def request(body: bytes) -> bytes:
    """The start of a POST whose body is announced whole."""
    pairs = [
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("CONTENT_LENGTH", str(len(BODY))),
    ]
    head = begin_request(1, 1, 0) + record(4, 1, encode_pairs(pairs)) + record(4, 1, b"")
    return head + (record(5, 1, body) if body else b"")


def whole(sock: socket.socket) -> bytes:
    """STDOUT of the answer."""
    got = b""
    while data := sock.recv(65_536):
        got += data
    out = b""
    while got:
        size = got[4] << 8 | got[5]
        if got[1] == 6:
            out += got[8 : 8 + size]
        got = got[8 + size + got[6] :]
    return out


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    yield from serve(tmp_path_factory, "fcgi", "--threads", "4", "--body-timeout", "30")


@pytest.mark.parametrize("first", [b"", BODY[:HALF]], ids=["no-body-yet", "half-a-body"])
def test_F108_T17_thirty_slow_uploads_leave_threads_to_others(live: Live, first: bytes) -> None:
    slow = [live.connect() for _ in range(30)]
    for sock in slow:
        sock.sendall(request(first))
    for _ in range(5):
        with live.connect() as quick:
            quick.sendall(request(BODY) + record(5, 1, b""))
            assert body_of(whole(quick)) == told(BODY)
    for sock in slow:
        sock.sendall(record(5, 1, BODY[len(first) :]) + record(5, 1, b""))
    for sock in slow:
        with sock:
            assert body_of(whole(sock)) == told(BODY)


def test_T17_slow_uploads_that_leave_are_forgotten(live: Live) -> None:
    fds = live.fds()
    slow = [live.connect() for _ in range(30)]
    for sock in slow:
        sock.sendall(request(BODY[:HALF]))
    with live.connect() as quick:
        quick.sendall(request(BODY) + record(5, 1, b""))
        assert body_of(whole(quick)) == told(BODY)
    for sock in slow:
        sock.close()
    assert live.calm(fds)


def test_T17_a_body_that_never_comes_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    for live in serve(tmp_path_factory, "fcgi", "--threads", "2", "--body-timeout", "1"):
        slow = [live.connect() for _ in range(6)]
        for sock in slow:
            sock.sendall(request(BODY[:HALF]))
        for sock in slow:
            with sock:
                assert whole(sock).startswith(b"Status: 408 ")
