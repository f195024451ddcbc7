"""Who waits for whom in a daemon: queues and their limits, and connections that move."""

import contextlib
import os
import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.whole import (
    Gate,
    Kept,
    Load,
    OnKept,
    OnNew,
    Whole,
    answer,
    wait_until,
    whole,
    whole_daemon,
)
from tests.suite import wires

PROTOCOLS = pytest.mark.parametrize(
    "protocol", ["", "scgi", "uwsgi", "http"], ids=lambda name: name or "fastcgi"
)


@contextlib.contextmanager
def held(live: Whole, count: int) -> Iterator[list[tuple[Gate, socket.socket]]]:
    """So many requests on connections of their own, all inside the application."""
    inside = []
    with contextlib.ExitStack() as stack:
        for number in range(count):
            gate = live.gate(f"h{number}")
            sock = stack.enter_context(contextlib.closing(live.send(f"/hold/h{number}")))
            gate.entered()
            inside.append((gate, sock))
        yield inside


def incident_of(body: bytes) -> str:
    """The id that a page names."""
    return re.findall(r"incident ([0-9a-f]{8})", body.decode())[0]


def refused(resp: wires.Resp) -> bool:
    if resp.status != 503:
        return False
    assert not resp.cut, repr(resp)
    assert resp.all("retry-after") != [], repr(resp)
    return True


# -- limits


@PROTOCOLS
def test_queue_timeout_is_answered_503_with_retry_after(tmp_path: Path, protocol: str) -> None:
    """Issue, item 4; who holds the threads is not disturbed, and who comes later is served."""
    options = ("--queue-timeout", "0.3")
    with whole_daemon(tmp_path, *options, workers=1, threads=2) as live:
        with held(live, 2) as inside:
            resp = live.ask("/version", protocol)
            assert refused(resp), repr(resp)
            live.until_log(f"queue.timeout incident {incident_of(resp.body)} (GET /version")
            for gate, sock in inside:
                gate.release()
                assert answer(sock).status == 200
        assert whole(live.ask("/version", protocol)) == "one"


def test_queue_timeout_with_all_workers_busy(tmp_path: Path) -> None:
    options = ("--queue-timeout", "0.3")
    with whole_daemon(tmp_path, *options, workers=2, threads=1) as live, held(live, 2) as inside:
        asked = [live.send("/version") for _ in range(6)]
        for sock in asked:
            with contextlib.closing(sock):
                assert refused(answer(sock))
        for gate, sock in inside:
            gate.release()
            assert answer(sock).status == 200
        assert live.get("/version") == "one"


def test_queue_timeout_on_kept_connections(tmp_path: Path) -> None:
    """The connection goes on after the refusal."""
    options = ("--queue-timeout", "0.3")
    with whole_daemon(tmp_path, *options, workers=1, threads=1) as live, live.kept() as kept:
        assert kept.get("/version") == "one"
        with held(live, 1) as inside:
            kept.send("/version")
            assert refused(kept.read())
            inside[0][0].release()
            assert answer(inside[0][1]).status == 200
        assert kept.get("/version") == "one"


@PROTOCOLS
def test_max_queue_is_answered_503_with_retry_after(tmp_path: Path, protocol: str) -> None:
    """So many wait, those beyond are refused at once; those that wait are served."""
    options = ("--max-queue", "3")
    with whole_daemon(tmp_path, *options, workers=1, threads=1) as live, held(live, 1) as inside:
        asked = [live.send("/version", protocol) for _ in range(10)]
        told: list[wires.Resp] = []
        with contextlib.ExitStack() as stack:
            for sock in asked:
                stack.enter_context(contextlib.closing(sock))
            told += [answer(sock, protocol) for sock in asked[3:]]
            inside[0][0].release()
            told += [answer(sock, protocol) for sock in asked[:3]]
        assert [refused(resp) for resp in told] == [True] * 7 + [False] * 3
        assert [whole(resp) for resp in told[7:]] == ["one"] * 3
        assert whole(answer(inside[0][1])) == "held h0"


def test_max_queue_with_all_workers_busy(tmp_path: Path) -> None:
    """Nobody waits for ever who is beyond what may wait, and nobody else is refused."""
    options = ("--max-queue", "2")
    with whole_daemon(tmp_path, *options, workers=2, threads=1) as live, held(live, 2) as inside:
        asked = [live.send("/version") for _ in range(40)]
        with contextlib.ExitStack() as stack:
            for sock in asked:
                stack.enter_context(contextlib.closing(sock))
            assert wait_until(lambda: sum(map(readable, asked)) >= 30)
            for gate, _ in inside:
                gate.release()
            told = [answer(sock) for sock in asked]
        count = [refused(resp) for resp in told].count(True)
        assert 30 <= count < 40
        assert {whole(resp) for resp in told if resp.status != 503} == {"one"}
        assert [answer(sock).status for _, sock in inside] == [200, 200]


def readable(sock: socket.socket) -> bool:
    waiter = select.poll()
    waiter.register(sock, select.POLLIN)
    return bool(waiter.poll(0))


def test_refused_requests_are_logged_and_counted(tmp_path: Path) -> None:
    options = ("--queue-timeout", "0.2", "--access-logfile", str(tmp_path / "access"))
    with whole_daemon(tmp_path, *options, workers=1, threads=1) as live, held(live, 1) as inside:
        assert refused(live.ask("/version"))
        inside[0][0].release()
        assert answer(inside[0][1]).status == 200
        access = tmp_path / "access"
        live.until(lambda: '"GET /version HTTP/1.1" 503' in access.read_text(), "not logged")


# -- connections move, and nobody waits


def test_kept_connection_moves_from_a_stuck_worker(tmp_path: Path) -> None:
    """Design, section 3: a request on a kept connection is answered by an idle sibling."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live:
        one, two = live.workers()
        with live.kept_by(one) as stuck, live.kept_by(one) as moves, live.kept_by(two) as other:
            gate = live.gate("n")
            stuck.send("/held-pid/n")
            gate.entered()
            assert moves.get("/pid") == str(two)
            assert moves.get("/pid") == str(two)  # it stays there
            assert other.get("/pid") == str(two)
            gate.release()
            assert whole(stuck.read()) == str(one)
            assert stuck.get("/pid") == str(one)


def test_kept_connections_of_other_protocols_move(tmp_path: Path) -> None:
    """HTTP keep-alive, the other protocol whose connections are kept."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live:
        one, two = live.workers()
        with contextlib.ExitStack() as stack:
            moves = stack.enter_context(contextlib.closing(http_kept(live, one)))
            stuck = stack.enter_context(live.kept_by(one))
            gate = live.gate("n")
            stuck.send("/held-pid/n")
            gate.entered()
            assert http_get(moves) == two
            gate.release()
            assert whole(stuck.read()) == str(one)


def http_get(sock: socket.socket) -> int:
    sock.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
    got = bytearray()
    while not wires.http_whole(got, "GET"):
        data = sock.recv(65_536)
        assert data, bytes(got)
        got += data
    return int(wires.http_parse(bytes(got), "GET").body)


def http_kept(live: Whole, pid: int) -> socket.socket:
    for _ in range(1000):
        sock = live.connect("http")
        if http_get(sock) == pid:
            return sock
        sock.close()
    raise AssertionError(f"no connection of {pid}")


def test_hundred_kept_connections_move(tmp_path: Path) -> None:
    """All of them at once, with whatever they ask; none waits, none is lost."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live, contextlib.ExitStack() as stack:
        one, two = live.workers()
        kept = [stack.enter_context(live.kept_by(one)) for _ in range(100)]
        stuck = stack.enter_context(live.kept_by(one))
        gate = live.gate("n")
        stuck.send("/held-pid/n")
        gate.entered()
        for connection in kept:
            connection.send("/pid")
        assert {whole(connection.read()) for connection in kept} == {str(two)}
        gate.release()
        assert whole(stuck.read()) == str(one)


def test_connections_move_back_and_forth_many_times(tmp_path: Path) -> None:
    """Nothing is lost, and no descriptor stays behind."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live, contextlib.ExitStack() as stack:
        pids = live.workers()
        kept = [stack.enter_context(live.kept_by(pids[0])) for _ in range(10)]
        stuck = {pid: stack.enter_context(live.kept_by(pid)) for pid in pids}
        before = 0
        for turn in range(20):
            busy, idle = pids[turn % 2], pids[1 - turn % 2]
            gate = live.gate(f"n{turn}")
            stuck[busy].send(f"/held-pid/n{turn}")
            gate.entered()
            for connection in kept:
                connection.send("/pid")
            assert {whole(connection.read()) for connection in kept} == {str(idle)}
            gate.release()
            assert whole(stuck[busy].read()) == str(busy)
            count = sum(map(descriptors, pids))
            before = before or count
            live.until(lambda before=before: sum(map(descriptors, pids)) <= before, "leaked")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_connections_that_move_under_load(tmp_path: Path) -> None:
    """Long and short requests, kept and new connections: all answered, no descriptor left."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live:
        pids = live.workers()
        with live.kept_by(pids[0]), live.kept_by(pids[1]):
            before = sum(map(descriptors, pids))
            clients = [lambda: OnKept(live.path)] * 6 + [lambda: OnNew(live.path)] * 3
            naps = [lambda: OnKept(live.path, "/nap/0.05")] * 2
            with Load(*clients, *naps) as load:
                load.more(1500)
            assert load.failed == []
            assert load.answers.keys() == {str(pid) for pid in pids}
            live.until(lambda: sum(map(descriptors, pids)) <= before, "leaked")


def test_connection_that_has_sent_nothing_yet_moves(tmp_path: Path) -> None:
    """Accepted by a worker that gets stuck before the first byte: a sibling answers."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live, contextlib.ExitStack() as stack:
        one, two = live.workers()
        stuck = stack.enter_context(live.kept_by(one))
        new = [stack.enter_context(live.kept()) for _ in range(30)]
        live.until(lambda: live.pool()["binds"][0]["queued"] in (0, None))
        gate = live.gate("n")
        stuck.send("/held-pid/n")
        gate.entered()
        for connection in new:
            connection.send("/pid")
        assert {whole(connection.read()) for connection in new} == {str(two)}
        gate.release()
        assert whole(stuck.read()) == str(one)


def test_connection_that_is_half_read_does_not_move(tmp_path: Path) -> None:
    """Its first bytes are in the worker: it is answered there, whole."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live:
        one, two = live.workers()
        with live.kept_by(one) as half, live.kept_by(one) as stuck:
            data = half.bytes("/pid")
            half.raw(data[:20])
            time.sleep(0.2)
            gate = live.gate("n")
            stuck.send("/held-pid/n")
            gate.entered()
            half.raw(data[20:40])
            time.sleep(0.2)
            half.raw(data[40:])
            gate.release()
            assert whole(half.read()) == str(one)
            assert whole(stuck.read()) == str(one)


def test_connection_moves_with_a_large_body_in_it(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, workers=2, threads=1) as live:
        one, _ = live.workers()
        with live.kept_by(one) as moves, live.kept_by(one) as stuck:
            gate = live.gate("n")
            stuck.send("/held-pid/n")
            gate.entered()
            moves.raw(moves.bytes("/body", 1, b"x" * 3_000_000))
            assert whole(moves.read()) == "3000000"
            gate.release()
            assert whole(stuck.read()) == str(one)


def test_worker_without_descriptors_loses_no_connection_that_moves(tmp_path: Path) -> None:
    """What it has no room for waits in the inbox for whoever has, be it the one that offered it."""
    options = ("--rlimit", "nofile=80")
    with whole_daemon(tmp_path, *options, threads=1) as live, contextlib.ExitStack() as stack:
        one, two = live.workers()
        stuck = stack.enter_context(live.kept_by(one))
        kept = [stack.enter_context(live.kept_by(pid)) for pid in (one, two) for _ in range(40)]
        gate = live.gate("n")
        stuck.send("/held-pid/n")
        gate.entered()
        for connection in kept[:40]:
            connection.send("/pid")
        live.until(lambda: sum(readable(connection.sock) for connection in kept[:40]) >= 10)
        gate.release()
        assert {whole(connection.read()) for connection in kept[:40]} <= {str(one), str(two)}
        assert whole(stuck.read()) == str(one)


def test_new_connections_go_to_the_idle_worker(tmp_path: Path) -> None:
    """Figures of the issue: no request waits behind a busy worker while another is idle."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live:
        one, two = live.workers()
        for busy, idle in ((one, two), (two, one)):
            with live.kept_by(busy) as stuck:
                gate = live.gate(f"n{busy}")
                stuck.send(f"/held-pid/n{busy}")
                gate.entered()
                assert {live.get("/pid") for _ in range(50)} == {str(idle)}
                gate.release()
                assert whole(stuck.read()) == str(busy)


@PROTOCOLS
def test_new_connections_while_one_worker_keeps_the_gil(tmp_path: Path, protocol: str) -> None:
    """Not even its watch can run; all that are new are answered by the sibling."""
    with whole_daemon(tmp_path, workers=2, threads=4) as live:
        with live.kept() as stuck:
            stuck.send("/backtrack/32")
            live.until(lambda: live.pool()["busy"] == 1)
            (idle,) = [w["pid"] for w in live.pool()["workers_list"] if not w["running"]]
            told = {whole(live.ask("/pid", protocol)) for _ in range(30)}
            assert told == {str(idle)}
            for worker in live.workers():
                if worker != idle:
                    os.kill(worker, 9)


def test_short_requests_beside_long_ones_never_wait(tmp_path: Path) -> None:
    """As many long requests as one worker has threads, however they are spread."""
    with whole_daemon(tmp_path, workers=2, threads=2) as live, held(live, 3) as inside:
        for _ in range(30):
            assert live.get("/version") == "one"
        with live.kept() as kept:
            for _ in range(30):
                assert kept.get("/version") == "one"
        for gate, sock in inside:
            gate.release()
            assert answer(sock).status == 200


def test_what_waits_is_served_when_the_first_worker_is_free(tmp_path: Path) -> None:
    with whole_daemon(tmp_path, workers=2, threads=1) as live, held(live, 2) as inside:
        asked = [live.send("/version") for _ in range(20)]
        kept = Kept(live.path)
        kept.send("/version")
        inside[0][0].release()
        for sock in asked:
            with contextlib.closing(sock):
                assert whole(answer(sock)) == "one"
        with kept:
            assert whole(kept.read()) == "one"
        inside[1][0].release()
        assert [answer(sock).status for _, sock in inside] == [200, 200]


def test_both_workers_stuck_and_a_connection_of_each(tmp_path: Path) -> None:
    """Offered by one and then by the other: it is answered once, by who is free first."""
    with whole_daemon(tmp_path, workers=2, threads=1) as live:
        one, two = live.workers()
        with contextlib.ExitStack() as stack:
            stuck = [stack.enter_context(live.kept_by(pid)) for pid in (one, two)]
            kept = [stack.enter_context(live.kept_by(pid)) for pid in (one, two) * 5]
            gates = [live.gate("n0"), live.gate("n1")]
            for number, gate in enumerate(gates):
                stuck[number].send(f"/held-pid/n{number}")
                gate.entered()
            for connection in kept:
                connection.send("/pid")
            time.sleep(0.3)
            assert not any(readable(connection.sock) for connection in kept)
            gates[1].release()
            told = [whole(connection.read()) for connection in kept]
            assert set(told) <= {str(one), str(two)}
            gates[0].release()
            assert [whole(connection.read()) for connection in stuck] == [str(one), str(two)]
            assert not re.search("WARNING|ERROR", live.log())
