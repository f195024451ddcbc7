"""WSGI beside ASGI in one worker: requests go to their loop, connections come back."""

import json
import os

import pytest

from tests.serve.aio_live import APP, PROTOCOLS, aio
from tests.serve.gated import answer
from tests.serve.service import Service
from tests.suite import wires
from tests.suite.modes import wait_until

INLINE = b"wsgi gatebridge-"
ROUTES = """
[server]
bind = "unix:s"
[[route]]
match = "/turn"
legacy = "shop:old"
new = "shop:app"
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with aio(tmp_path_factory.mktemp("mixed"), "--mount", "/old=shop:old") as live:
        yield live


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_request_goes_to_its_loop(live, protocol):
    assert live.ask_over(protocol, "/hello").body == b"hello"
    assert live.ask_over(protocol, "/old").body.startswith(INLINE)
    body = os.urandom(300_000)
    assert live.ask_over(protocol, "/echo", body).body.startswith(b"300000 ")


def test_a_kept_connection_changes_between_them(live):
    with live.open("fastcgi") as sock:
        for _ in range(3):
            sock.sendall(live.data("fastcgi", "/old"))
            assert answer(sock).body.startswith(INLINE)
            sock.sendall(live.data("fastcgi", "/echo", b"x" * 100_000))
            assert answer(sock).body.startswith(b"100000 ")


def test_requests_sent_ahead_change_between_them(live):
    with live.open("http") as sock:
        paths = ("/hello", "/old", "/pid", "/old")
        ahead = [f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths]
        sock.sendall("".join(ahead).encode())
        got = b""
        while got.count(INLINE) < 2:
            got += sock.recv(65_536)
    assert got.index(b"hello") < got.index(INLINE)


def test_one_sent_ahead_of_an_answer_that_is_read_late_goes_to_its_own_loop(live):
    (live.folder / "much").write_bytes(bytes(2_000_000))
    with live.open("http") as sock:
        paths = ("/file/much", "/old")
        sock.sendall(
            "".join([f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n" for path in paths]).encode()
        )
        live.until(lambda: live.running() == ["GET /file/much"] or not live.running())
        got = b""
        while INLINE not in got:
            got += sock.recv(65_536)
    assert b"asyncio" not in got


def test_a_chunked_body_streams_to_an_asgi_application(live):
    request = wires.Req("POST", "/echo", (), b"y" * 200_000, chunked=True)
    with live.open("http") as sock:
        found = wires.http_exchange(sock, request, "", "localhost")
    assert found.body.startswith(b"200000 ")


def test_wsgi_is_served_while_five_hundred_streams_are_open(live):
    socks = []
    try:
        for _ in range(500):
            sock = live.open("fastcgi")
            sock.sendall(live.data("fastcgi", "/stream/many"))
            socks.append(sock)
        for sock in socks:
            got = b""
            while b"first" not in got:
                got += sock.recv(65_536)
        assert live.ask("/old").startswith(INLINE.decode())
        live.go("many")
        for sock in socks:
            got = b""
            while b"last" not in got:
                got += sock.recv(65_536)
    finally:
        for sock in socks:
            sock.close()


def test_an_application_hears_of_a_closed_connection_here_too(live):
    with live.open("fastcgi") as sock:
        sock.sendall(live.data("fastcgi", "/gone/mixed"))
        live.noted("gone mixed in")
    live.noted("gone mixed http.disconnect")


def test_a_wsgi_thread_that_is_stuck_does_not_hold_streams_up(live):
    gate = live.gate("stuck")
    with live.send("/old/hold/stuck") as stuck, live.open("fastcgi") as sock:
        gate.entered()
        sock.sendall(live.data("fastcgi", "/hello"))
        assert answer(sock).body == b"hello"
        gate.release()
        assert answer(stuck).body.startswith(INLINE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_new_request_for_the_event_loop_waits_for_no_thread(tmp_path, protocol):
    with aio(tmp_path, "--mount", "/old=shop:old", "--threads", "2") as live:
        gates = [live.gate(f"n{number}") for number in range(4)]
        held = [live.send(f"/old/hold/n{number}") for number in range(2)]
        try:
            for gate in gates[:2]:
                gate.entered()
            held += [live.send(f"/old/hold/n{number}") for number in range(2, 4)]
            assert live.ask_over(protocol, "/hello").body == b"hello"
            assert live.ask_over(protocol, "/echo", b"x" * 100_000).body.startswith(b"100000 ")
            pairs = [*wires.variables(wires.Req("GET", "/hello"), ""), ("CONTENT_LENGTH", "1x")]
            with live.open("fastcgi") as sock:
                sock.sendall(wires.fastcgi_bytes(pairs, b"", True))
                for gate in gates:
                    gate.release()
                assert answer(sock).status == 400
            for sock in held:
                assert answer(sock).body.startswith(INLINE)
        finally:
            for sock in held:
                sock.close()


def test_no_descriptor_is_left_over(live):
    worker = live.workers()[0]

    def fds() -> int:
        return len(os.listdir(f"/proc/{worker}/fd"))

    before = fds()
    for _ in range(20):
        with live.open("fastcgi") as sock:
            sock.sendall(live.data("fastcgi", "/hello"))
            assert answer(sock).body == b"hello"
            sock.sendall(live.data("fastcgi", "/old"))
            assert answer(sock).body.startswith(INLINE)
    assert wait_until(lambda: fds() <= before)


def test_term_ends_both(tmp_path):
    with aio(tmp_path, "--mount", "/old=shop:old") as live:
        with live.open("fastcgi") as sock:
            sock.sendall(live.data("fastcgi", "/hello"))
            assert answer(sock).body == b"hello"
            first = json.loads(live.ask("/pid"))
            live.ctl("reload")
            live.until(lambda: live.workers() and first not in live.workers())

            def moved() -> bool:  # the old worker may still answer before it hands it on
                sock.sendall(live.data("fastcgi", "/pid"))
                return json.loads(answer(sock).body) in live.workers()

            live.until(moved)
    assert (tmp_path / "ended").read_text() == "shutdown\n" * 2


def test_a_migrating_route_is_asked_once_where_to_go(tmp_path):
    (tmp_path / "gatebridge.toml").write_text(ROUTES)
    live = Service(tmp_path, "-c", "gatebridge.toml", app=APP)
    try:
        for mode, found in (("legacy", INLINE.decode()), ("new", "hello")):
            assert live.ctl("route-set", match="/turn", mode=mode)["ok"]
            assert live.ask("/turn").startswith(found)
        assert live.ctl("routes")["routes"][0]["requests"] == [1, 1]
    finally:
        live.stop()


def test_such_a_pool_says_that_it_does_not_multiplex(live):
    ask = wires.record(9, wires.pair(b"FCGI_MPXS_CONNS", b""), 0)
    with live.open("fastcgi") as sock:
        sock.sendall(ask)
        assert b"FCGI_MPXS_CONNS0" in sock.recv(65_536)
