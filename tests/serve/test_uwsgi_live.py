"""The uwsgi protocol to a running daemon: rows of clauses.md that need a process and a socket."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.serve.live import Live, body_of, serve, told

if TYPE_CHECKING:
    import socket

REST = (("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/"), ("SERVER_PROTOCOL", "HTTP/1.1"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    yield from serve(tmp_path_factory, "uwsgi")


def block(*pairs: tuple[str, str]) -> bytes:
    return b"".join(
        len(text).to_bytes(2, "little") + text.encode("latin-1") for pair in pairs for text in pair
    )


def packet(data: bytes, modifier1: int = 0) -> bytes:
    return bytes((modifier1,)) + len(data).to_bytes(2, "little") + b"\0" + data


def post(length: int, *pairs: tuple[str, str]) -> bytes:
    return packet(block(*REST, ("CONTENT_LENGTH", str(length)), *pairs))


GET = packet(block(*REST, ("CONTENT_LENGTH", "")))


def test_U001_U002_an_answer_then_the_close(live: Live) -> None:
    answer = live.ask(GET)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body_of(answer) == told(b"")


def test_U003_a_block_of_65535_bytes(live: Live) -> None:
    room = 65_535 - (len(GET) - 4) - 9
    answer = live.ask(packet(GET[4:] + block(("X_BIG", "x" * room))))
    assert body_of(answer) == told(b"", "X_BIG=" + "x" * room)


def test_U004_one_byte_at_a_time(live: Live) -> None:
    data = post(5, ("X_A", "\x80")) + b"hello"
    assert body_of(live.ask(*(bytes((byte,)) for byte in data))) == told(b"hello", "X_A=\x80")


def test_U005_a_mebibyte_and_surplus(live: Live) -> None:
    body = bytes(range(256)) * 4096
    assert body_of(live.ask(post(len(body)) + body)) == told(body)
    assert body_of(live.ask(post(5) + b"hello" + b"surplus" * 99)) == told(b"hello")


REFUSED = [
    ("U006 value beyond the block", packet(GET[4:] + b"\x01\0A\x09\0b")),
    ("U006 65,535 everywhere", packet(b"\xff\xff" * 4)),
    ("U007 name without value", packet(GET[4:] + b"\x01\0A")),
    ("U008 modifier1 17", packet(GET[4:], 17)),
    ("U010 HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("U010 TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    ("U010 zeros", bytes(99)),
    ("U011 empty block", packet(b"")),
    ("U012 length of letters", packet(block(*REST, ("CONTENT_LENGTH", "abc")))),
    ("U012 negative length", packet(block(*REST, ("CONTENT_LENGTH", "-1")))),
]


@pytest.mark.parametrize(("name", "data"), REFUSED, ids=[row[0] for row in REFUSED])
def test_U006_U007_U008_U010_U011_U012_closed(live: Live, name: str, data: bytes) -> None:
    assert live.ask(data) == b""
    assert body_of(live.ask(GET)) == told(b"")


def test_U013_no_modifier_does_anything_but_close(live: Live) -> None:
    for modifier1 in range(1, 256):
        assert live.ask(packet(GET[4:], modifier1)) == b""
    assert body_of(live.ask(GET)) == told(b"")


def test_U009_a_peer_may_leave_at_every_byte(live: Live) -> None:
    data = post(5) + b"hello"
    fds = live.fds()
    for at in range(len(data) + 1):
        with live.connect() as sock:
            sock.sendall(data[:at])
    assert live.calm(fds)
    assert body_of(live.ask(data)) == told(b"hello")


@pytest.mark.parametrize("there", [0, 3])
def test_U012_a_short_body_ends(live: Live, there: int) -> None:
    answer = live.ask(post(5) + b"hello"[:there], end=True)
    assert b"200 OK" not in answer or body_of(answer).startswith(b"short ")
    assert body_of(live.ask(GET)) == told(b"")


def test_F102_half_closed_after_the_request(live: Live) -> None:
    assert body_of(live.ask(post(5) + b"hello", end=True)) == told(b"hello")


def test_F107_silent_and_half_sent_peers_hold_nobody_up(live: Live) -> None:
    fds = live.fds()
    peers: list[socket.socket] = []
    try:
        for _ in range(7):  # a body that is awaited holds a thread, of eight
            peers.append(live.connect())
            peers[-1].sendall(post(9) + b"half")
        for number in range(30):
            for data in (b"", GET[:3], GET[: 9 + number]):
                peers.append(live.connect())
                peers[-1].sendall(data)
            assert body_of(live.ask(GET)) == told(b"")
    finally:
        for peer in peers:
            peer.close()
    assert live.calm(fds)
