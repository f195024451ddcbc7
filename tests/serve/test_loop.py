"""The loop: slow calls get threads, fast ones keep being served, nobody gets another's."""

import errno
import itertools
import os
import resource
import select
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.gated import Gated, answer, gated, wait_until
from tests.serve.live import everything
from tests.suite import wires
from tests.suite.modes import worker_of

POLLERS = ("epoll", "selectors")
names = itertools.count(1)


def serve(factory: pytest.TempPathFactory, *options: str, **more) -> Iterator[Gated]:
    with gated(factory.mktemp("loop"), *options, **more) as daemon:
        yield daemon


@pytest.fixture(scope="module", params=POLLERS)
def live(request, tmp_path_factory) -> Iterator[Gated]:
    """Four threads, on either poller."""
    yield from serve(tmp_path_factory, "--threads", "4", poller=request.param)


@pytest.fixture(scope="module", params=POLLERS)
def single(request, tmp_path_factory) -> Iterator[Gated]:
    yield from serve(tmp_path_factory, "--threads", "1", poller=request.param)


class Held:
    """Application calls that wait until the block ends."""

    def __init__(self, live: Gated, count: int) -> None:
        self.live = live
        self.names = [f"held{next(names)}" for _ in range(count)]
        self.gates = [live.gate(name) for name in self.names]
        self.socks: list[socket.socket] = []

    def __enter__(self) -> "Held":
        self.socks = [self.live.send(f"/hold/{name}") for name in self.names]
        for gate in self.gates:
            gate.entered()
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self.gates:
            gate.release()
        for name, sock in zip(self.names, self.socks, strict=True):
            with sock:
                assert answer(sock).body == f"held {name}".encode()


QUERY = wires.record(9, wires.pair(b"FCGI_MPXS_CONNS", b""), 0)
VALUES = struct.pack("!BBHHBx", 1, 10, 0, 18, 0) + wires.pair(b"FCGI_MPXS_CONNS", b"1")


def queried(sock: socket.socket) -> bytes:
    sock.sendall(QUERY)
    got = b""
    while len(got) < len(VALUES):
        piece = sock.recv(len(VALUES) - len(got))
        assert piece, got
        got += piece
    return got


# -- threads


def test_fast_calls_need_one_thread(live: Gated) -> None:
    names = {live.get("/thread").body for _ in range(50)}
    assert len(names) <= 4


def test_every_slow_call_gets_its_thread_up_to_the_most(live: Gated) -> None:
    with Held(live, 4) as held:
        assert len(held.socks) == 4  # all are inside at once: entered() says so


def test_fast_neighbours_are_served_while_others_are_stuck(live: Gated) -> None:
    with Held(live, 3):
        for _ in range(20):
            assert live.get("/fast").body == b"fast"


def test_further_ones_wait_their_turn_and_are_all_answered(live: Gated) -> None:
    held = Held(live, 4)
    with held:
        waiting = [live.send("/fast") for _ in range(20)]
    for sock in waiting:
        with sock:
            assert answer(sock).body == b"fast"


def test_a_single_thread_serves_in_turn(single: Gated) -> None:
    with Held(single, 1):
        waiting = [single.send("/fast") for _ in range(5)]
    for sock in waiting:
        with sock:
            assert answer(sock).body == b"fast"


def test_F066a_management_is_answered_while_all_threads_are_stuck(live: Gated) -> None:
    with live.connect() as known:
        assert queried(known) == VALUES
        with Held(live, 4):
            assert queried(known) == VALUES
            with live.connect() as fresh:
                assert queried(fresh) == VALUES
        assert queried(known) == VALUES


def test_F066a_also_with_a_single_thread(single: Gated) -> None:
    with single.connect() as sock, Held(single, 1):
        for _ in range(3):
            assert queried(sock) == VALUES


def test_F064_management_on_the_stuck_connection_itself(live: Gated) -> None:
    name = f"held{next(names)}"
    gate = live.gate(name)
    with live.connect() as sock:
        sock.sendall(live.request(f"/hold/{name}", keep=True))
        gate.entered()
        assert queried(sock) == VALUES
        gate.release()
        assert answer(sock).body == f"held {name}".encode()


def test_surplus_threads_retire_and_come_back(live: Gated) -> None:
    for _ in range(2):
        with Held(live, 4):
            pass
        assert live.get("/fast").body == b"fast"
    assert live.threads() <= 4 + 3  # the pollers, the watch, the main thread and a spare


# -- kept connections


def test_F006_F007_a_kept_connection_serves_many(live: Gated) -> None:
    with live.connect() as sock:
        for number in range(100):
            id = number % 7 + 1
            sock.sendall(live.request("/fast", keep=True, id=id))
            assert answer(sock, id).body == b"fast"


def test_a_kept_connection_works_on_after_all_threads_were_stuck(live: Gated) -> None:
    socks = [live.connect() for _ in range(6)]
    for sock in socks:
        sock.sendall(live.request("/fast", keep=True))
        assert answer(sock).body == b"fast"
    with Held(live, 4):
        for sock in socks:
            sock.sendall(live.request("/fast", keep=True))
    for sock in socks:
        assert answer(sock).body == b"fast"
        sock.sendall(live.request("/fast"))
        assert answer(sock).body == b"fast"
        assert sock.recv(1) == b""
        sock.close()


def test_requests_of_one_connection_run_beside_each_other(live: Gated) -> None:
    """Multiplexed: the second is answered while the first is held."""
    name = f"held{next(names)}"
    gate = live.gate(name)
    with live.connect() as sock:
        sock.sendall(live.request(f"/hold/{name}", keep=True, id=1))
        gate.entered()
        sock.sendall(live.request("/fast", keep=True, id=2))
        assert answer(sock, 2).body == b"fast"
        gate.release()
        assert answer(sock, 1).body == f"held {name}".encode()


# -- the queue


def test_F112_beyond_the_queue_there_is_503(tmp_path: Path) -> None:
    with gated(tmp_path, "--threads", "1", "--max-queue", "2") as live:
        with Held(live, 1):
            socks = [live.send("/fast") for _ in range(8)]
            assert wait_until(lambda: len(_readable(socks)) >= 6)
            refused = _readable(socks)
        for sock in socks:
            found = answer(sock)
            assert (found.status, found.body) == (200, b"fast") or sock in refused
            if sock in refused:
                assert found.status == 503
                assert found.all("Retry-After") == ["1"]
            sock.close()
        assert len(refused) == 6  # two have their place in the queue
        assert live.get("/fast").body == b"fast"


def _readable(socks: list[socket.socket]) -> list[socket.socket]:
    return select.select(socks, [], [], 0)[0]


# -- descriptors


def test_F101_peers_that_come_and_go_leave_nothing(live: Gated) -> None:
    live.get("/fast")
    before = live.fds()
    data = live.request("/fast")
    for at in range(0, len(data), 7):
        with live.connect() as sock:
            sock.sendall(data[:at])
    assert wait_until(lambda: live.fds() <= before)
    assert live.get("/fast").body == b"fast"


def test_out_of_descriptors_the_others_are_served_and_it_recovers(tmp_path: Path) -> None:
    with gated(tmp_path, "--threads", "2") as live:
        kept = live.connect()
        kept.sendall(live.request("/fast", keep=True))
        assert answer(kept).body == b"fast"
        limit = live.fds() + 5
        resource.prlimit(worker_of(live.process.pid), resource.RLIMIT_NOFILE, (limit, limit))
        crowd = [live.connect() for _ in range(30)]
        assert wait_until(lambda: "accept.paused" in live.log())
        kept.sendall(live.request("/fast", keep=True))
        assert answer(kept).body == b"fast"
        for sock in crowd:
            sock.close()
        kept.close()
        assert wait_until(lambda: _served(live))
        assert "LimitNOFILE" in live.log()


def _served(live: Gated) -> bool:
    try:
        return live.get("/fast").body == b"fast"
    except OSError as error:
        return error.errno == errno.EAGAIN


def test_T2_F107_descriptors_beyond_1024(tmp_path: Path) -> None:
    """select() breaks there: CVE-2012-6687."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2600:
        pytest.fail(f"the hard limit of open files is {hard}: too low for this row")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2600, hard))
    silent = []
    try:
        for poller in POLLERS:
            folder = tmp_path / poller
            folder.mkdir()
            with gated(folder, poller=poller) as live:
                silent = [live.connect() for _ in range(1100)]
                assert wait_until(lambda live=live: live.fds() > 1100)
                assert live.get("/fast").body == b"fast"
                with live.connect() as sock:
                    sock.sendall(live.request("/body", body=b"x" * 300_000))
                    assert answer(sock).body == b"300000"
                for sock in silent:
                    sock.close()
    finally:
        for sock in silent:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- isolation


def test_W067_T10_each_answer_is_its_own_requests(tmp_path: Path) -> None:
    """64 clients x 1,000 requests, each with a token of its own, ten at once on a connection."""
    with gated(tmp_path, "--threads", "64") as live:
        templates = [live.request("/token", ("X-Token", "t00-0000"), keep=True, id=id)
                     for id in range(1, 11)]  # fmt: skip
        wrong: list[str] = []

        def client(number: int) -> None:
            with live.connect() as sock:
                sock.settimeout(60)
                for turn in range(100):
                    tokens = [b"t%02d-%04d" % (number, turn * 10 + id) for id in range(10)]
                    texts = zip(templates, tokens, strict=True)
                    sock.sendall(
                        b"".join(text.replace(b"t00-0000", token) for text, token in texts)
                    )
                    bodies = ten_answers(sock)
                    if bodies != tokens:
                        wrong.append(f"{tokens}: {bodies}")
                        return

        with Held(live, 8):  # so that there are many threads, not one that is quick enough
            threads = [threading.Thread(target=client, args=(n,)) for n in range(64)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wrong == []


def test_F108_a_new_connection_is_served_between_busy_kept_ones(tmp_path: Path) -> None:
    """The watch queues for a thread that is always busy; that must not be all it ever does."""
    answered = 0
    over = threading.Event()
    with gated(tmp_path, "--threads", "1") as live:
        text = live.request("/nap/0.012", keep=True)

        def client() -> None:
            nonlocal answered
            with live.connect() as sock:
                sock.settimeout(20)
                while not over.is_set():
                    sock.sendall(text)
                    one_answer(sock)
                    answered += 1

        threads = [threading.Thread(target=client) for _ in range(6)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda: answered > 30)
        for _ in range(3):
            before = answered
            with live.send("/thread") as sock:
                sock.settimeout(20)
                assert b"gatebridge-1" in everything(sock)
            assert answered - before < 60
        over.set()
        for thread in threads:
            thread.join()


def one_answer(sock: socket.socket) -> None:
    """Read up to the END_REQUEST record of one answer."""
    data = b""
    while b"\x01\x03\x00\x01\x00\x08" not in data:
        piece = sock.recv(65_536)
        assert piece
        data += piece


def ten_answers(sock: socket.socket) -> list[bytes]:
    """What the requests 1 to 10 were answered."""
    out = [b""] * 10
    got, at, ended = b"", 0, 0
    while ended < 10:
        piece = sock.recv(65_536)
        if not piece:
            return [b"closed"]
        got, at = got[at:] + piece, 0
        while len(got) - at >= 8:
            _, kind, id, size, pad = struct.unpack_from("!BBHHB", got, at)
            if len(got) - at < 8 + size + pad:
                break
            if kind == 6:
                out[id - 1] += got[at + 8 : at + 8 + size]
            ended += kind == 3
            at += 8 + size + pad
    return [text.rpartition(b"\r\n\r\n")[2] for text in out]


def test_W016_T10_a_body_left_unread_is_not_the_next_request(live: Gated) -> None:
    with live.connect() as sock:
        for _ in range(5):
            sock.sendall(live.request("/fast", body=b"\x01\x01\x00\x01" * 50_000, keep=True))
            assert answer(sock).body == b"fast"


def test_W038_F090_a_client_that_leaves_ends_the_stream(live: Gated) -> None:
    """close() is called, once, and the thread is free again."""
    name = f"held{next(names)}"
    gate = live.gate(name)
    with live.send(f"/stream/{name}") as sock:
        gate.entered()
        assert b"first" in sock.recv(65_536)
    gate.release()
    closed = live.folder / f"{name}.closed"
    assert wait_until(closed.exists)
    assert wait_until(lambda: closed.read_text() == "closed ")
    with Held(live, 4):
        pass
    assert closed.read_text() == "closed "


def test_W057_T20_a_failing_application_leaves_the_worker_whole(live: Gated) -> None:
    for _ in range(20):
        assert live.get("/fail").status == 500
    with Held(live, 4):
        pass


def test_W006_W012_the_daemon_keeps_its_own_environment(live: Gated) -> None:
    path = f"/proc/{worker_of(live.process.pid)}/environ"
    with open(path, "rb") as file:
        before = file.read()
    live.get("/fast", ("Proxy", "http://evil.example"))
    with open(path, "rb") as file:
        assert file.read() == before
    assert os.path.exists(live.path)
