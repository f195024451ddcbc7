"""An ASGI application over every protocol: whole requests, bodies, streams, failures, limits."""

import hashlib
import os
import socket
import struct

import pytest

from tests.serve import whole
from tests.serve.aio_live import PROTOCOLS, aio
from tests.serve.gated import answer
from tests.suite import wires

LIMIT = 1 << 22


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aio")
    options = ("--limit-body", str(LIMIT), "--access-logfile", "access.log")
    with aio(folder, *options, "--access-logformat", "%m %U %s %B") as live:
        yield live


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_request_is_answered(live, protocol):
    found = live.ask_over(protocol, "/hello")
    assert (found.status, found.body, found.cut) == (200, b"hello", False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_a_body_comes_whole(live, protocol, size):
    body = os.urandom(size)
    found = live.ask_over(protocol, "/echo", body)
    assert found.body.decode() == f"{size} {hashlib.sha256(body).hexdigest()}"


def test_a_head_that_is_too_long_is_taken_to_its_end(live):
    """A close with bytes unread would be a reset, which may overtake the page."""
    with live.open("http") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 4_000_000 + b"\r\n\r\n")
        found = whole.answer(sock, "http")
    assert (found.status, found.cut) == (431, False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_sent_goes_out_at_once(live, protocol):
    name = f"stream-{protocol}"
    with live.open(protocol) as sock:
        sock.sendall(live.data(protocol, f"/stream/{name}"))
        got = b""
        while b"first " not in got:
            got += sock.recv(65_536)
        live.go(name)
        while b"last" not in got:
            got += sock.recv(65_536)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_failure_is_a_500_and_named_in_the_log(live, protocol):
    found = live.ask_over(protocol, "/fail")
    assert found.status == 500
    incident = found.body.decode().rpartition("incident ")[2].strip(".\n")
    live.until_log(f"app.failed incident {incident} (GET /fail): ValueError: a failure")


@pytest.mark.parametrize("protocol", ["fastcgi", "http"])
def test_a_failure_half_way_can_be_seen(live, protocol):
    found = live.ask_over(protocol, "/half")
    assert (found.status, found.cut) == (200, True)


def test_a_body_announced_too_large_is_refused(live):
    head = f"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {LIMIT + 1}\r\n\r\n"
    with live.open("http") as sock:
        sock.sendall(head.encode() + b"12345")
        got = b""
        while b"413" not in got:
            piece = sock.recv(65_536)
            assert piece, got
            got += piece


def test_a_body_without_length_is_cut_off_at_the_limit(live):
    body = b"x" * (LIMIT + 100_000)
    request = wires.Req("POST", "/echo", (), body, chunked=True)
    with live.open("http") as sock:
        found = wires.http_exchange(sock, request, "", "localhost")
    assert found.status == 413


def test_a_kept_connection_serves_one_after_the_other(live):
    with live.open("fastcgi") as sock:
        for _ in range(3):
            sock.sendall(live.data("fastcgi", "/hello"))
            assert answer(sock).body == b"hello"


def test_requests_share_a_connection(live):
    with live.open("fastcgi") as sock:
        sock.sendall(live.data("fastcgi", "/hold/shared", id=1))
        sock.sendall(live.data("fastcgi", "/hello", id=2))
        assert answer(sock, 2).body == b"hello"
        live.go("shared")
        assert answer(sock, 1).body == b"held shared"


def test_requests_sent_ahead_are_answered_in_order(live):
    with live.open("http") as sock:
        sock.sendall(
            b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET /loop HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        got = b""
        while piece := sock.recv(65_536):
            got += piece
    assert got.count(b"HTTP/1.1 200") == 3
    assert got.index(b"hello") < got.rindex(b"HTTP/1.1 200")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_is_sent_by_its_path(live, protocol):
    data = os.urandom(2_000_000)
    (live.folder / "large").write_bytes(data)
    found = live.ask_over(protocol, "/file/large")
    assert (found.status, found.cut, found.body == data) == (200, False, True)
    assert found.all("Content-Length") == ["2000000"]


def test_a_file_that_is_not_there_is_a_500(live):
    assert live.ask_over("fastcgi", "/file/nowhere").status == 500
    live.until_log("file.open")


def test_early_hints_go_before_the_head_where_http_carries_them(live):
    with live.open("http") as sock:
        sock.sendall(b"GET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b""
        while piece := sock.recv(65_536):
            got += piece
    assert got.startswith(b"HTTP/1.1 103 ")
    assert b"rel=preload" in got.partition(b"HTTP/1.1 200")[0]


def test_trailers_go_behind_the_body_where_http_carries_them(live):
    with live.open("http") as sock:
        request = b"GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n"
        sock.sendall(request)
        got = b""
        while piece := sock.recv(65_536):
            got += piece
    assert got.endswith(b"0\r\nx-first: 1\r\nx-sum: 7\r\n\r\n")


def test_a_request_does_not_see_the_context_of_the_one_before(live):
    with live.open("http") as sock:
        sock.sendall(b"GET /who/first HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.sendall(b"GET /who/second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b""
        while piece := sock.recv(65_536):
            got += piece
    assert got.count(b'"nobody"') == 2


def test_scopes_promise_only_what_is_carried(live):
    assert "early_hint" in live.ask_over("http", "/scope").body.decode()
    assert "early_hint" not in live.ask_over("fastcgi", "/scope").body.decode()


def test_the_state_of_startup_is_in_every_scope(live):
    assert "'began': 'yes'" in live.ask_over("scgi", "/scope").body.decode()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nonsense_closes_the_connection_and_is_logged(live, protocol):
    nonsense = {
        "fastcgi": b"\x09" * 8,
        "scgi": b"x:y",
        "uwsgi": b"\x05" * 8,
        "http": b"\x16\x03\x01",
    }
    with live.open(protocol) as sock:
        sock.sendall(nonsense[protocol] + b"\r\n\r\n")
        while sock.recv(65_536):
            continue
    live.until_log(f"from {protocol} peer")


def test_management_records_are_answered(live):
    ask = wires.record(9, wires.pair(b"FCGI_MPXS_CONNS", b""), 0)
    with live.open("fastcgi") as sock:
        sock.sendall(ask)
        assert b"FCGI_MPXS_CONNS1" in sock.recv(65_536)


def test_the_access_log_has_a_line_for_each(live):
    live.ask_over("uwsgi", "/echo", b"for the log")
    live.until(lambda: "POST /echo 200 " in (live.folder / "access.log").read_text())
    live.ask_over("uwsgi", "/fail")
    live.until(lambda: "GET /fail 500 " in (live.folder / "access.log").read_text())


def test_a_reset_connection_harms_nobody(live):
    for _ in range(20):
        sock = live.open("fastcgi")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(live.data("fastcgi", "/hello")[:-9])
        sock.close()
    assert live.ask("/hello") == "hello"
