"""SCGI to a running daemon: rows of clauses.md that need a process and a socket."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.serve.live import Live, body_of, everything, serve, told

if TYPE_CHECKING:
    import socket

HEAD = (("CONTENT_LENGTH", "0"), ("SCGI", "1"))
REST = (("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/"), ("SERVER_PROTOCOL", "HTTP/1.1"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    yield from serve(tmp_path_factory, "scgi")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    yield from serve(tmp_path_factory, "scgi", "--limit-params", "300")


def strings(*pairs: tuple[str, str]) -> bytes:
    return "".join(f"{name}\0{value}\0" for name, value in pairs).encode("latin-1")


def netstring(block: bytes) -> bytes:
    return b"%d:%b," % (len(block), block)


def packet(length: int, *pairs: tuple[str, str]) -> bytes:
    return netstring(strings(("CONTENT_LENGTH", str(length)), ("SCGI", "1"), *REST, *pairs))


GET = packet(0)


def test_S001_S002_a_cgi_answer_then_the_close(live: Live) -> None:
    answer = live.ask(GET)
    assert answer.startswith(b"Status: 200 OK\r\n")
    assert body_of(answer) == told(b"")


def test_S001_the_close_follows_though_the_body_was_not_read(live: Live) -> None:
    data = packet(5, ("REQUEST_URI", "/unread"))
    with live.connect() as sock:
        sock.settimeout(5)  # half the time that variables have to come
        sock.sendall(data[:9])
        live.ask(GET)  # accepted after the first, so that one waits for its variables now
        sock.sendall(data[9:])
        assert body_of(everything(sock)) == told(b"")


def test_S003_an_empty_value_reaches_the_application(live: Live) -> None:
    answer = live.ask(packet(0, ("X_EMPTY", ""), ("X_BYTES", "\x80\xff")))
    assert body_of(answer) == told(b"", "X_BYTES=\x80\xff", "X_EMPTY=")


def test_S004_one_byte_at_a_time(live: Live) -> None:
    data = packet(5) + b"hello"
    assert body_of(live.ask(*(bytes((byte,)) for byte in data))) == told(b"hello")


def test_S005_surplus_is_not_seen(live: Live) -> None:
    assert body_of(live.ask(packet(5) + b"hello" + b"surplus" * 99)) == told(b"hello")
    assert body_of(live.ask(packet(5), b"hello", b"surplus")) == told(b"hello")


def test_S006_a_mebibyte(live: Live) -> None:
    body = bytes(range(256)) * 4096
    assert body_of(live.ask(packet(len(body)) + body)) == told(body)


@pytest.mark.parametrize("there", [0, 3])
def test_S007_a_short_body_ends(live: Live, there: int) -> None:
    answer = live.ask(packet(5) + b"hello"[:there], end=True)
    assert b"200 OK" not in answer or body_of(answer).startswith(b"short ")
    assert body_of(live.ask(GET)) == told(b"")


REFUSED = [
    ("S008 no comma", GET[:-1] + b";"),
    ("S009 no number", b"abc:"),
    ("S009 leading zero", b"0" + GET),
    ("S010 99,999,999,999", b"99999999999:"),
    ("S011 100,000 digits", b"9" * 100_000),
    ("S012 CONTENT_LENGTH second", netstring(strings(*HEAD[::-1], *REST))),
    ("S013 SCGI missing", netstring(strings(HEAD[0], *REST))),
    ("S014 odd strings", netstring(strings(*HEAD, *REST) + b"X\0")),
    ("S015 negative length", netstring(strings(("CONTENT_LENGTH", "-1"), ("SCGI", "1"), *REST))),
    ("S015 length of letters", netstring(strings(("CONTENT_LENGTH", "z"), ("SCGI", "1"), *REST))),
    ("S016 two lengths", netstring(strings(*HEAD, *REST, ("CONTENT_LENGTH", "9")))),
    ("S018 HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("S018 FastCGI", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0"),
    ("S018 TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
]


@pytest.mark.parametrize(("name", "data"), REFUSED, ids=[row[0] for row in REFUSED])
def test_S008_S009_S010_S011_S012_S013_S014_S015_S016_S018_closed(
    live: Live, name: str, data: bytes
) -> None:
    assert live.ask(data) == b""
    assert body_of(live.ask(GET)) == told(b"")


def test_S010_S011_memory_stays_bounded(live: Live) -> None:
    live.ask(GET)
    before = live.peak_kib()
    for _ in range(20):
        assert live.ask(b"99999999999:", b"x" * 1_000_000) == b""
        assert live.ask(b"9" * 1_000_000) == b""
    assert live.peak_kib() - before < 1024


def test_S016_a_duplicate_has_its_last_value(live: Live) -> None:
    answer = live.ask(packet(0, ("X_A", "first"), ("X_A", "last")))
    assert body_of(answer) == told(b"", "X_A=last")


def test_S017_a_peer_may_leave_at_every_byte(live: Live) -> None:
    data = packet(5) + b"hello"
    fds = live.fds()
    for at in range(len(data) + 1):
        with live.connect() as sock:
            sock.sendall(data[:at])
    assert live.calm(fds)
    assert body_of(live.ask(data)) == told(b"hello")


def test_S019_half_closed_after_the_request(live: Live) -> None:
    assert body_of(live.ask(packet(5) + b"hello", end=True)) == told(b"hello")


def test_S020_silent_and_half_sent_peers_hold_nobody_up(live: Live) -> None:
    fds = live.fds()
    peers: list[socket.socket] = []
    try:
        for _ in range(7):  # a body that is awaited holds a thread, of eight
            peers.append(live.connect())
            peers[-1].sendall(packet(9) + b"half")
        for number in range(30):
            for data in (b"", GET[:1], GET[: 20 + number]):
                peers.append(live.connect())
                peers[-1].sendall(data)
            assert body_of(live.ask(GET)) == told(b"")
    finally:
        for peer in peers:
            peer.close()
    assert live.calm(fds)


def test_S021_a_netstring_above_the_limit_is_not_read(small: Live) -> None:
    assert body_of(small.ask(GET)) == told(b"")
    assert small.ask(b"301:") == b""
    assert small.ask(packet(0, ("X_LONG", "x" * 300))) == b""


def test_nginx_http2_hides_the_length_of_an_unbuffered_body(live: Live) -> None:
    lie = strings(
        *HEAD,
        *REST[:2],
        ("SERVER_PROTOCOL", "HTTP/2.0"),
        ("DOCUMENT_URI", "/"),
        ("HTTP_CONTENT_LENGTH", "7"),
    )
    for pieces in ((netstring(lie) + b"a=1&b=2",), (netstring(lie), b"a=1&", b"b=2")):
        assert body_of(live.ask(*pieces)) == told(b"a=1&b=2")
