"""The watch: deadlines, silent peers, and who has left while the application runs."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gatebridge.serve.watch_thread import CALM_S, Watch
from tests.serve.gated import Gated, answer, gated, wait_until
from tests.suite import wires

POLLERS = ("epoll", "selectors")
LEFT = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets


@pytest.fixture(params=POLLERS)
def poller(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def hasty(tmp_path_factory) -> Iterator[Gated]:
    """A daemon that waits for nothing longer than a moment."""
    options = ("--header-timeout", "0.1", "--body-timeout", "0.1", "--threads", "8")
    folder = tmp_path_factory.mktemp("hasty")
    with gated(folder, *options) as daemon:
        yield daemon


# -- how many poll


@pytest.mark.parametrize(
    ("stuck", "pollers", "more", "kept"),
    [
        (0, 8, [], [1]),
        (4, 8, [], [5]),
        (7, 8, [], []),
        (8, 8, [4, 4], []),
        (1, 1, [1, 1], []),
        (16, 16, [], []),
        (0, 1, [], []),
    ],
)
def test_one_poller_more_than_are_stuck(stuck: int, pollers: int, more: list, kept: list) -> None:
    """Several that are not would only wait for each other, and count as stuck for it."""
    told: tuple[list[int], list[int]] = ([], [])
    gone = SimpleNamespace(closed=True)
    exchange = SimpleNamespace(timeout_s=0.0, connection=gone)
    slots = [SimpleNamespace(exchange=exchange, serial=1, seen=1, began=0.0) for _ in range(stuck)]
    free = SimpleNamespace(exchange=None)
    loop = SimpleNamespace(
        **{"paused": {}, "pending": (), "timeout_s": 0.0, "threads": 16, "pollers": pollers},
        slots=[*slots, *[free] * (pollers - stuck)],
        poller=SimpleNamespace(poll=lambda wait, most: []),
        siblings=True,
        queue_s=0.0,
        order=[],
        add_pollers=told[0].append,
        retire=told[1].append,
    )
    watch = Watch(loop)
    watch.tick(10.0)
    told[1].clear()  # of the time before, when nothing was stuck
    watch.tick(10.0 + 2 * CALM_S)
    assert told == (more, kept)


# -- T17, F107: what does not become a request in time


def test_T17_F107_silent_and_half_sent_peers_are_closed(hasty: Gated) -> None:
    data = hasty.request("/fast")
    socks = [hasty.connect() for _ in (0, 1, 8, 30, len(data) - 9)]
    for sock, count in zip(socks, (0, 1, 8, 30, len(data) - 9), strict=True):
        sock.sendall(data[:count])
    for sock in socks:
        assert sock.recv(1) == b""
        sock.close()
    assert "peer.silent" in hasty.log()


def test_T17_a_kept_connection_between_requests_is_not(hasty: Gated) -> None:
    with hasty.connect() as idle, hasty.connect() as silent:
        idle.sendall(hasty.request("/fast", keep=True))
        assert answer(idle).body == b"fast"
        assert silent.recv(1) == b""  # so that much time has passed
        idle.sendall(hasty.request("/fast", keep=True))
        assert answer(idle).body == b"fast"


def test_T17_the_second_request_of_a_connection_has_its_deadline_too(hasty: Gated) -> None:
    with hasty.connect() as sock:
        sock.sendall(hasty.request("/fast", keep=True))
        assert answer(sock).body == b"fast"
        sock.sendall(hasty.request("/fast")[:20])
        assert sock.recv(1) == b""


def test_T17_a_long_answer_is_no_silence(hasty: Gated) -> None:
    """Deadlines are the peer's: the application may take its time."""
    gate = hasty.gate("long")
    with hasty.send("/hold/long") as sock, hasty.connect() as silent:
        gate.entered()
        assert silent.recv(1) == b""
        gate.release()
        assert answer(sock).body == b"held long"


# -- bodies that do not come


READS = ["/body", "/read/read(100000)", "/read/readline()", "/read/readlines()", "/read/__next__()"]


def test_W020_T17_a_body_that_stops_is_a_408(hasty: Gated) -> None:
    """By whatever call it is read, all of them at once."""
    socks = [hasty.connect() for _ in READS]
    for sock, target in zip(socks, READS, strict=True):
        sock.sendall(hasty.request(target, body=b"x" * 90_000)[:50_000])
    for sock in socks:
        found = answer(sock)
        assert (found.status, found.reason) == (408, "Request Timeout")
        sock.close()
    assert hasty.get("/fast").body == b"fast"


def test_F050_T17_a_body_of_unknown_length_that_stops_is_a_408(hasty: Gated) -> None:
    pairs = [(k, v) for k, v in hasty.pairs("/body", b"x") if k != "CONTENT_LENGTH"]
    data = wires.fastcgi_bytes(pairs, b"x" * 50_000)
    with hasty.connect() as sock:
        sock.sendall(data[:-8])  # without the end of STDIN
        assert answer(sock).status == 408


@pytest.mark.parametrize("way", ["close", "reset", "half-close"])
@pytest.mark.parametrize("sent", [0, 10, 50_000])
def test_F045_F101_W038_a_peer_that_leaves_in_its_body(hasty: Gated, way: str, sent: int) -> None:
    """The application's read raises; nobody waits, nothing is left."""
    hasty.get("/fast")
    before = hasty.fds()
    data = hasty.request("/body", body=b"x" * 90_000)
    whole = len(data) - 90_000 - 8 * 4
    with hasty.connect() as sock:
        sock.sendall(data[: whole + sent])
        if way == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEFT)
        elif way == "half-close":
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(20)
            assert b"90000" not in everything(sock)
    assert wait_until(lambda: hasty.fds() <= before)
    assert hasty.get("/fast").body == b"fast"


def everything(sock: socket.socket) -> bytes:
    got = b""
    try:
        while piece := sock.recv(65_536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def test_F101_a_client_that_leaves_while_the_application_runs(tmp_path: Path, poller: str) -> None:
    """The call goes on to its end, its answer goes nowhere, the descriptor is freed."""
    with gated(tmp_path, "--threads", "2", poller=poller) as live:
        live.get("/fast")
        before = live.fds()
        gate = live.gate("g")
        live.send("/hold/g").close()
        gate.entered()
        gate.release()
        assert wait_until(lambda: live.fds() <= before)
        assert live.get("/fast").body == b"fast"


def test_F088_F089_an_abort_is_answered_while_all_threads_are_stuck(tmp_path, poller) -> None:
    with gated(tmp_path, "--threads", "1", poller=poller) as live:
        gate = live.gate("g")
        with live.connect() as sock:
            sock.sendall(live.request("/hold/g", keep=True))
            gate.entered()
            sock.sendall(wires.record(2, b""))
            found = wires.FastcgiAnswer()
            pipe = wires.Pipe(sock)
            while not found.feed(pipe.got):
                assert pipe.more()
            assert bytes(found.out) == b""
            gate.release()
            sock.sendall(live.request("/fast"))
            assert answer(sock).body == b"fast"


def test_F102_a_half_closed_peer_gets_its_answer(tmp_path: Path, poller: str) -> None:
    with gated(tmp_path, poller=poller) as live:
        gate = live.gate("g")
        with live.send("/hold/g") as sock:
            sock.shutdown(socket.SHUT_WR)
            gate.entered()
            gate.release()
            assert answer(sock).body == b"held g"
