"""FastCGI to a running daemon: peers that break the rules, leave, stay silent or come in crowds."""

import os
import resource
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.serve.fastcgi_peer import Peer, Served, head, served
from tests.suite.modes import wait_until
from tests.wire.fastcgi_rows import KEEP, PARAMS, STDIN, begin, block, rec, stream

POST = head("/mirror", ("CONTENT_LENGTH", "5"), flags=0) + stream(STDIN, 1, b"hello", 2)
GET = head("/hello", flags=0) + rec(STDIN, 1)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("p")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def tcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("t"), bind="fcgi://127.0.0.1:0") as daemon:
        yield daemon


def lives(daemon: Served) -> bool:
    assert daemon.ask("/hello").body == b"hello"
    return daemon.calm()


def forget(peer: Peer) -> None:
    """Close so that the kernel sends a reset (TCP)."""
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


# -- not FastCGI, or not quite

CLOSED = [
    ("F100 version 0", b"\0" + begin()[1:]),
    ("F100 version 2", b"\2" + begin()[1:]),
    ("F100 in a later record", begin() + b"\xff" * 8),
    ("F103 BEGIN of 0 bytes", rec(1, 1)),
    ("F103 BEGIN of 4 bytes", rec(1, 1, b"\0\1\0\0")),
    ("F103 BEGIN of 16 bytes", rec(1, 1, b"\0\1" + bytes(14))),
    ("F104 zeros", bytes(5_000)),
    ("F104 TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(200)),
    ("F104 SCGI", b"24:CONTENT_LENGTH\x000\0SCGI\x001\0,"),
    ("F104 noise", bytes(range(2, 250)) * 100),
    ("F105 HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ("F105 a long HTTP request", b"POST / HTTP/1.1\r\nHost: h\r\n\r\n" + bytes(300_000)),
    ("F032 a query past its record", rec(9, 0, b"\x05\x05AB")),
]


@pytest.mark.parametrize("after", [b"", head("/hello")], ids=["alone", "behind"])
@pytest.mark.parametrize(("name", "data"), CLOSED, ids=[row[0] for row in CLOSED])
def test_F100_F103_F104_F105_closed(live: Served, name: str, data: bytes, after: bytes) -> None:
    with live.connect() as peer:
        try:
            peer.send(data + after)
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed before all was sent
        assert peer.closed()
        assert peer.order == []
    assert lives(live)


def test_F100_garbage_behind_a_running_request(live: Served) -> None:
    with live.connect() as peer:
        peer.whole("/wait/garbage")
        assert live.noted("in garbage")
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        assert peer.closed()
        live.go("garbage")
    assert lives(live)


def test_F106_what_only_applications_send(live: Served) -> None:
    with live.connect() as peer:
        for strange in (rec(3, 1, bytes(8)), rec(6, 1, b"x"), rec(7, 1), rec(10, 0, b"\xff" * 8),
                        rec(11, 0, bytes(8)), rec(6, 9, bytes(60_000), 255)):  # fmt: skip
            peer.send(
                strange + begin(1, KEEP) + strange + head("/mirror", ("CONTENT_LENGTH", "2"))[16:]
            )
            peer.send(strange + rec(STDIN, 1, b"ab") + strange + rec(STDIN, 1) + strange)
            assert peer.answer().body == b"ab"
        assert peer.order == []


def test_F109_stdin_before_params_ended(live: Served) -> None:
    raw = block(("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/mirror"), ("CONTENT_LENGTH", "5"))
    with live.connect() as peer:
        for body in (rec(STDIN, 1, b"hello"), stream(STDIN, 1, b"hello")):
            peer.send(begin(1, KEEP) + body + stream(PARAMS, 1, raw) + rec(STDIN, 1))
            assert peer.answer().body == b"hello"
        peer.send(begin(1, KEEP) + stream(STDIN, 1, bytes(2 << 20)) + stream(PARAMS, 1, raw))
        assert peer.answer().status[:3] in ("200", "400", "413", "431")
        assert peer.ask("/hello").body == b"hello"


# -- peers that leave


def test_F101_a_peer_may_leave_at_every_byte(live: Served) -> None:
    for data in (POST, POST.replace(b"\1\1\0\1\0\x08\0\0\0\1\0", b"\1\1\0\1\0\x08\0\0\0\1\1")):
        for at in range(len(data) + 1):
            with live.connect() as peer:
                peer.send(data[:at])
    assert lives(live)


def test_F101_over_tcp_too(tcp: Served) -> None:
    for at in range(len(POST) + 1):
        with tcp.connect() as peer:
            peer.send(POST[:at])
    assert lives(tcp)


def test_F101_in_crowds(live: Served) -> None:
    """Each leaves in the middle of something while the others come."""
    for round in range(10):
        peers = [live.connect() for _ in range(100)]
        for number, peer in enumerate(peers):
            peer.send(POST[: (number * 7 + round) % len(POST)])
        for peer in peers:
            peer.close()
    assert lives(live)


def test_F102_half_closed_after_the_request(live: Served, tcp: Served) -> None:
    for daemon in (live, tcp):
        for data in (
            GET,
            POST,
            head("/big/1048576") + rec(STDIN, 1),
            head("/held/half") + rec(5, 1),
        ):
            with daemon.connect() as peer:
                peer.send(data)
                peer.sock.shutdown(socket.SHUT_WR)
                daemon.go("half")
                answer = peer.answer()
                assert answer.status == "200 OK"
                assert len(answer.body) in (5, 1 << 20, 13)
                assert peer.closed()
    assert lives(live)


def test_F110_two_hundred_resets(tcp: Served) -> None:
    streaming = head("/flood/reset", flags=0) + rec(STDIN, 1)
    for number in range(200):
        waiting = head(f"/wait/reset{number // 25}", flags=0) + rec(STDIN, 1)
        waiting = waiting if number % 25 == 0 else b""
        peer = tcp.connect()
        peer.send((waiting, POST[: number % len(POST)], POST, GET, streaming)[number % 5])
        forget(peer)
        tcp.go(f"reset{number // 25 - 2}")  # some are inside while others come
        assert number % 20 or tcp.ask("/hello").body == b"hello"
    for number in range(8):
        tcp.go(f"reset{number}")
    assert lives(tcp)


def test_T10_closed_peers_are_forgotten_before_their_descriptor_returns(live: Served) -> None:
    """Descriptors are used again at once by others; nobody sees another's answer."""
    keep = [live.connect() for _ in range(5)]
    for number in range(500):
        with live.connect() as gone:
            gone.send(POST[: number % len(POST)] if number % 3 else head("/hello"))
        peer = keep[number % 5]
        text = f"request {number}".encode()
        assert peer.ask("/mirror", body=text).body == text
        assert peer.order == []
    for peer in keep:
        peer.close()
    assert lives(live)


def test_T10_the_next_request_waits_for_the_answer(live: Served) -> None:
    """Another id while one is being answered, the same id as soon as it was."""
    with live.connect() as peer:
        for number in range(200):
            text = f"{number}".encode()
            peer.whole("/echo/next", id=1, body=text * 20_000)
            peer.whole("/mirror", id=2, body=text)
            assert peer.answer(2).body == text
            assert peer.answer(1).body == text * 20_000


# -- crowds and silence


def test_F107_F108_silent_and_half_sent_peers(live: Served) -> None:
    peers: list[Peer] = []
    for number in range(30):
        for data in (b"", POST[:1], POST[: 20 + number], head("/mirror", ("CONTENT_LENGTH", "9"))):
            peers.append(live.connect())
            peers[-1].send(data)
        assert live.ask("/hello").body == b"hello"
        assert live.ask("/mirror", body=b"hello").body == b"hello"
    for peer in peers:
        peer.close()
    assert lives(live)


def test_F108_T17_five_hundred_silent_peers(live: Served) -> None:
    assert live.ask("/hello").body == b"hello"
    before = live.kib()
    peers = [live.connect() for _ in range(500)]
    for number, peer in enumerate(peers):
        peer.send(POST[: number % 120])
    for _ in range(100):
        assert live.ask("/hello").body == b"hello"
    assert wait_until(lambda: live.fds() >= live.idle_fds + 500)
    assert live.kib() - before < 10_240
    for peer in peers:
        peer.close()
    assert lives(live)


def test_T17_a_peer_that_sends_and_never_reads_holds_nobody_up(live: Served) -> None:
    """Its answer fills the socket; what it goes on sending may not take thread after thread."""
    with live.connect() as deaf:
        assert deaf.ask("/hello").body == b"hello"
        deaf.whole("/big/10485760")
        assert select.select([deaf.sock], [], [], 20)[0]
        for _ in range(50):
            deaf.send(rec(9, 0) * 20)
            assert live.ask("/hello").body == b"hello"
    assert lives(live)


def test_T17_half_a_request_has_its_time(tmp_path: Path) -> None:
    with served(tmp_path, "--header-timeout", "0.3", "--body-timeout", "0.3") as daemon:
        for data in (b"", POST[:5], POST[:40]):
            with daemon.connect() as peer:
                peer.send(data)
                assert peer.closed()
        with daemon.connect() as peer:
            assert peer.ask("/hello").body == b"hello"
            peer.send(POST[:40])
            assert peer.closed()
            assert peer.out(1) == b""
        with daemon.connect() as peer:  # within a body there is an answer to give
            peer.start("/body", ("CONTENT_LENGTH", "9"))
            assert peer.answer().status.startswith("408 ")
        assert lives(daemon)


def test_F111_two_hundred_and_a_thousand_connects_at_once(live: Served, tcp: Served) -> None:
    for daemon, count in ((live, 200), (tcp, 200), (live, 1000)):
        peers = [daemon.connect() for _ in range(count)]
        for peer in peers:
            peer.send(GET)
        for peer in peers:
            assert peer.answer().body == b"hello"
            assert peer.closed()
            peer.close()
    assert lives(live)


@pytest.mark.parametrize("bind", ["", "fcgi://127.0.0.1:0"])
def test_T2_descriptors_beyond_what_select_can(tmp_path: Path, bind: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with served(tmp_path, "--rlimit", f"nofile={min(hard, 4096)}", bind=bind) as daemon:
        with ExitStack() as idle:
            idle.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            for _ in range(1100):
                idle.enter_context(daemon.connect())
            assert wait_until(lambda: daemon.fds() > 1100)
            peer = idle.enter_context(daemon.connect())
            assert peer.ask("/hello").body == b"hello"
            assert peer.ask("/mirror", body=bytes(1 << 20)).body == bytes(1 << 20)
            assert len(peer.ask("/big/5242880").body) == 5 << 20
            peer.whole("/flood/high")
            assert peer.until(lambda: peer.out(1) != b"")
            peer.abort(1)
            peer.answer()
            peer.start("/body", ("CONTENT_LENGTH", "5"))
            daemon.ask("/hello")
            peer.body(1, b"hello")
            assert peer.answer().body.startswith(b"5 ")
        assert lives(daemon)
    assert os.path.exists(daemon.path)
