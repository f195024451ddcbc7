"""Peers that leave, are slow, or say half: what an ASGI application and its worker make of it."""

import fcntl
import json
import signal
import socket
import sys
import termios

import pytest

from gatebridge.serve.aio_exchange import WINDOW
from tests.serve.aio_live import PROTOCOLS, aio
from tests.serve.gated import answer
from tests.serve.supervised import alive
from tests.suite import wires
from tests.suite.modes import wait_until, worker_of

ABORT = b"\x01\x02\x00\x01\x00\x00\x00\x00"
PIECE = 65_536


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    options = ("--disconnect-timeout", "1", "--body-timeout", "2", "--header-timeout", "1")
    with aio(tmp_path_factory.mktemp("aio"), *options, "--bind", "fcgi://127.0.0.1:0") as live:
        yield live


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_application_hears_of_a_closed_connection(live, protocol):
    with live.open(protocol) as sock:
        sock.sendall(live.data(protocol, f"/gone/close-{protocol}"))
        live.noted(f"gone close-{protocol} in")
    live.noted(f"gone close-{protocol} http.disconnect")


def test_an_application_hears_of_an_abort_and_the_id_is_free(live):
    with live.open("fastcgi") as sock:
        sock.sendall(live.data("fastcgi", "/gone/abort"))
        live.noted("gone abort in")
        sock.sendall(ABORT)
        assert b"\x01\x03\x00\x01" in sock.recv(PIECE)
        live.noted("gone abort http.disconnect")
        sock.sendall(live.data("fastcgi", "/hello"))
        assert answer(sock).body == b"hello"


def test_an_application_hears_of_a_peer_that_left_over_tcp(live):
    host, port = live.log().partition("listening on fcgi://")[2].split(" ")[0].split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(live.data("fastcgi", "/gone/tcp"))
        live.noted("gone tcp in")
    live.noted("gone tcp http.disconnect")


def test_whoever_only_closes_its_side_gets_its_answer(live):
    with live.open("scgi") as sock:
        sock.sendall(live.data("scgi", "/hold/side"))
        sock.shutdown(socket.SHUT_WR)
        live.noted("hold side in")
        live.go("side")
        got = b""
        while piece := sock.recv(PIECE):
            got += piece
    assert got.endswith(b"held side")


def test_the_task_of_a_request_that_nobody_waits_for_is_cancelled(live):
    with live.open("fastcgi") as sock:
        sock.sendall(live.data("fastcgi", "/hold/left"))
        live.noted("hold left in")
    live.noted("hold left cancelled")


def test_it_is_cancelled_once_and_may_wait_while_it_tidies_up(live):
    for path, line in (("/tidy/t", "tidy t begins"), ("/hold/later", "hold later cancelled")):
        with live.open("fastcgi") as sock:
            sock.sendall(live.data("fastcgi", path))
            live.until(lambda path=path: f"GET {path}" in live.running())
        live.noted(line)
    live.go("t-on")
    live.noted("tidy t ended")


def test_asking_whether_the_client_is_there_leaves_nothing_behind(live):
    assert int(live.ask("/look/often")) < 10


def test_a_body_that_nobody_reads_does_not_stop_the_next_request(live):
    """The window is full, and the body ends in what was read last."""
    with live.open("fastcgi") as sock:
        data = live.data("fastcgi", "/hold/unread", b"x" * (WINDOW + 5000))
        for at in range(0, len(data) - 6000, 4096):
            sock.sendall(data[at : min(at + 4096, len(data) - 6000)])
            assert wait_until(lambda: not _unread(sock))
        sock.sendall(data[-6000:])
        assert wait_until(lambda: not _unread(sock))
        live.go("unread")
        assert answer(sock).body == b"held unread"
        sock.sendall(live.data("fastcgi", "/hello"))
        assert answer(sock).body == b"hello"


def _unread(sock: socket.socket) -> int:
    """Bytes sent that the peer has not received."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_a_request_behind_one_that_nobody_could_answer_is_not_begun(live):
    gate = live.gate("fifo")
    pairs = wires.variables(wires.Req("POST", "/echo", (), b"x"), "")
    huge = [(name, "9" * 15 if name == "CONTENT_LENGTH" else value) for name, value in pairs]
    with live.open("fastcgi") as held, live.open("fastcgi") as sock:
        held.sendall(live.data("fastcgi", "/blocking/fifo"))
        gate.entered()
        half = wires.fastcgi_bytes(pairs, b"x", True, 2)[:-17]
        sock.sendall(wires.fastcgi_bytes(huge, b"", True) + half)
        sock.close()
        gate.release()
        assert answer(held).body == b"unblocked"
    live.until_log("999999999999999 > ")
    assert int(live.ask("/tasks")) <= 2


def test_an_answered_request_goes_on_in_the_background(live):
    with live.open("fastcgi") as sock:
        sock.sendall(live.data("fastcgi", "/background/b"))
        assert answer(sock).body == b"answered"
    live.go("b")
    live.noted("background b ended")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_send_waits_for_a_slow_peer(live, protocol):
    """Until it reads on, and no more than the buffers hold is kept for it."""
    name = f"slow-{protocol}"
    with live.open(protocol) as sock:
        sock.sendall(live.data(protocol, f"/flood/{name}"))
        seen = [-1, 0]

        def stands() -> bool:
            seen[:] = [seen[1], int(live.ask(f"/sent/{name}"))]
            return 0 < seen[0] == seen[1]

        assert wait_until(stands)
        assert seen[1] < 32 * PIECE
        for _ in range(200):
            sock.recv(PIECE)
        assert wait_until(lambda: int(live.ask(f"/sent/{name}")) > seen[1])
    live.noted(f"flood {name} left")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_peer_waits_for_an_application_that_reads_slowly(live, protocol):
    name = f"reader-{protocol}"
    body = b"x" * (64 << 20)
    with live.open(protocol) as sock:
        data = live.data(protocol, f"/slowly/{name}", body)
        sock.setblocking(False)
        sent = 0

        def dry() -> bool:
            nonlocal sent
            before = sent
            try:
                while sent < len(data):
                    sent += sock.send(data[sent : sent + PIECE])
            except BlockingIOError:
                pass
            return before == sent

        assert wait_until(dry)
        assert sent < 8 << 20
        live.go(name)
        sock.settimeout(20)
        sock.sendall(data[sent:])
        pipe = wires.Pipe(sock)
        while str(len(body)).encode() not in pipe.got:
            assert pipe.more()


def test_a_body_that_does_not_come_is_a_408(live):
    with live.open("uwsgi") as sock:
        sock.sendall(live.data("uwsgi", "/echo", b"y" * 100)[:-10])
        got = b""
        while piece := sock.recv(PIECE):
            got += piece
    assert got.startswith(b"HTTP/1.1 408 ")
    live.until_log("body.timeout")


def test_half_a_request_is_closed_in_time(live):
    with live.open("fastcgi") as sock:
        sock.sendall(live.data("fastcgi", "/hello")[:30])
        assert sock.recv(PIECE) == b""
    live.until_log("peer.silent")


def test_nothing_is_left_of_those_who_left(live):
    worker = worker_of(live.process.pid)

    def idle() -> bool:
        return int(live.ask("/tasks")) <= 2

    assert wait_until(idle), live.notes()
    assert [one["pid"] for one in live.pool()["workers_list"]] == [worker]
    assert wait_until(lambda: live.pool()["workers_list"][0]["running"] == [])


def test_a_thousand_requests_wait_in_one_worker(tmp_path):
    count = 1000
    with aio(tmp_path) as live:
        before = _rss(worker_of(live.process.pid))
        socks = []
        try:
            for _ in range(count):
                sock = live.open("fastcgi")
                sock.sendall(live.data("fastcgi", "/stream/all"))
                socks.append(sock)
            for sock in socks:
                got = b""
                while b"first" not in got:
                    got += sock.recv(PIECE)
            worker = worker_of(live.process.pid)
            assert _rss(worker) - before < 40 << 20
            assert live.ask("/hello") == "hello"
            live.go("all")
            for sock in socks:
                got = b""
                while b"last" not in got:
                    got += sock.recv(PIECE)
        finally:
            for sock in socks:
                sock.close()


def _rss(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(file.read().partition("VmRSS:")[2].split()[0]) << 10


def test_requests_beyond_the_limit_are_refused(tmp_path):
    with aio(tmp_path, "--limit-connections", "2", "--disconnect-timeout", "0.5") as live:
        held = [live.send(f"/hold/limit{number}") for number in range(2)]
        live.until(lambda: len(live.pool()["workers_list"][0]["running"]) == 2)
        assert live.get("/hello").status == 503
        for sock in held:
            sock.close()


def test_term_lets_requests_end_and_closes_kept_connections(tmp_path):
    with aio(tmp_path, "--disconnect-timeout", "0.5") as live:
        kept = live.open("fastcgi")
        kept.sendall(live.data("fastcgi", "/hello"))
        assert answer(kept).body == b"hello"
        held = live.send("/hold/drain")
        live.noted("hold drain in")
        release = live.open("fastcgi")  # an idle one, which a drain closes when it is not fresh
        live.send_signal(signal.SIGTERM)
        assert kept.recv(PIECE) == b""
        held.close()  # its task is cancelled when the graceful timeout, or the peer, says so
        kept.close()
        release.close()
        assert wait_until(lambda: live.process.poll() is not None)
    assert (tmp_path / "ended").read_text() == "shutdown\n"


def test_a_request_under_way_is_answered_while_the_worker_drains(tmp_path):
    with aio(tmp_path) as live:
        first = live.workers()
        gate = live.gate("fifo")
        held = live.send("/blocking/fifo")
        gate.entered()
        live.ctl("reload")
        gate.release()
        assert answer(held).body == b"unblocked"
        held.close()
        live.until(lambda: live.workers() and live.workers() != first)
        assert json.loads(live.ask("/pid")) not in first


def test_kept_connections_move_to_the_next_generation(tmp_path):
    with aio(tmp_path) as live:
        with live.open("fastcgi") as kept:
            kept.sendall(live.data("fastcgi", "/pid"))
            first = int(answer(kept).body)
            live.ctl("reload")
            live.until(lambda: live.workers() and not alive(first), "it is handed over, and gone")
            kept.sendall(live.data("fastcgi", "/pid"))
            assert int(answer(kept).body) in live.workers()
