"""What a daemon does for open WebSockets: limits, pings, the end of a worker, refusals."""

import signal

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests import cgi
from tests.serve.aio_live import DEADLINE_S
from tests.serve.gated import answer
from tests.serve.websocket_live import (
    APP,
    KEY,
    client,
    connected,
    frame,
    opening,
    rest,
    sockets,
    until,
)
from tests.suite import wires

ASKS = {
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": KEY,
}


def code_of(socket):
    with pytest.raises(ConnectionClosed) as found:
        socket.recv(DEADLINE_S)
    return found.value.rcvd.code


def refused(sock, target="/echo/a"):
    """The status of an opening that is no 101, and the page."""
    with pytest.raises(InvalidStatus) as found:
        connected(sock, target)
    return found.value.response.status_code, found.value.response.body


def sent_and_received(socket, message):
    socket.send(message)  # the end may come while it is sent
    return socket.recv(DEADLINE_S)


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_message_beyond_the_limit_is_1009(tmp_path, pieces):
    with sockets(tmp_path, "--limit-message", "100000") as live:
        with client(live, "/echo/fits") as socket:
            socket.send(b"x" * 100_000)
            assert socket.recv(DEADLINE_S) == b"x" * 100_000
            socket.send("\u2603" * 33_333)
            assert len(socket.recv(DEADLINE_S)) == 33_333
        with client(live, "/echo/long") as socket:
            part = "\u2603" * (33_334 // pieces + 1)
            with pytest.raises(ConnectionClosed) as found:
                sent_and_received(socket, [part] * pieces if pieces > 1 else part)
            assert found.value.rcvd.code == 1009
        live.noted("echo long 1009 more than 100000 bytes")


def test_pings_are_sent_and_an_answer_keeps_it_open(tmp_path):
    with sockets(tmp_path, "--websocket-ping", "1") as live:
        with live.open("http") as sock:
            sock.settimeout(DEADLINE_S)
            sock.sendall(opening("/echo/pinged"))
            until(sock, b"\r\n\r\n")
            for _ in range(2):
                assert until(sock, b"\x89\0") == b"\x89\0"
                sock.sendall(frame(10, b""))
            assert rest(sock) == b"\x89\0"  # the last, which is not answered
        live.noted("echo pinged 1006 no answer to a ping")


def test_open_ones_count_among_the_requests_at_once(tmp_path):
    with sockets(tmp_path, "--limit-connections", "1") as live:
        with client(live, "/echo/only") as socket:
            assert refused(live.open("http"))[0] == 503
            socket.send("still")
            assert socket.recv(DEADLINE_S) == "still"


def test_neither_time_limits_nor_the_slow_log_mean_open_ones(tmp_path):
    options = ("--timeout", "0.5", "--slowlog-timeout", "0.2")
    with sockets(tmp_path, *options) as live:
        worker = live.workers()
        with client(live, "/echo/stays") as socket:
            with live.send("/hold/late") as sock:
                assert answer(sock).status == 504
            live.until_log("slow.request main/0/")
            socket.send("still")
            assert socket.recv(DEADLINE_S) == "still"
        assert "/echo/stays" not in live.log()
        assert live.workers() == worker


def test_the_end_of_a_daemon_is_1001_for_all(tmp_path):
    with sockets(tmp_path) as live:
        with client(live, "/echo/one") as one, client(live, "/echo/two") as two:
            live.process.send_signal(signal.SIGTERM)
            assert (code_of(one), code_of(two)) == (1001, 1001)
        assert live.process.wait(DEADLINE_S) == 0
    assert sorted((tmp_path / "told").read_text().split()) == ["one", "two"]


def test_a_reload_is_1001_and_new_ones_are_served(tmp_path):
    with sockets(tmp_path, "--mount", "/old=shop:old") as live:
        with client(live, "/echo/before") as socket:
            first = live.workers()
            live.process.send_signal(signal.SIGHUP)
            assert code_of(socket) == 1001
        live.until(lambda: live.workers() and live.workers() != first)
        with client(live, "/echo/behind") as socket:
            socket.send("new")
            assert socket.recv(DEADLINE_S) == "new"


def test_beside_a_wsgi_application(tmp_path):
    with sockets(tmp_path, "--mount", "/old=shop:old", "--mount", "/new=shop:app") as live:
        with client(live, "/new/echo/a") as socket:
            socket.send("mixed")
            assert socket.recv(DEADLINE_S) == "mixed"
            assert live.ask_over("http", "/old").body == b"old"
        assert refused(live.open("http"), "/old") == (200, b"old")


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_a_wsgi_application_answers_the_GET_that_an_opening_is(tmp_path, worker_class):
    with sockets(tmp_path, "--worker-class", worker_class, entry="shop:old") as live:
        assert refused(live.open("http")) == (200, b"old")


@pytest.mark.parametrize("protocol", ["scgi", "uwsgi"])
def test_apache_cannot_pass_one_on_by(tmp_path, protocol):
    with sockets(tmp_path) as live:
        head = raw(live, protocol, SERVER_SOFTWARE="Apache/2.4.62 (Debian)")
        assert b" 501 " in head.partition(b"\r\n")[0]
        live.until_log("Apache passes an upgrade on over HTTP only")


def raw(live, protocol, **more):
    """The whole answer to an opening, by the protocol's own variables."""
    pairs = wires.variables(wires.Req("GET", "/echo/a", (), None), "")
    given = dict(pairs) | ASKS | more
    encode = wires.scgi_bytes if protocol == "scgi" else wires.uwsgi_bytes
    with live.open(protocol) as sock:
        sock.settimeout(DEADLINE_S)
        sock.sendall(encode(list(given.items()), b""))
        return rest(sock)


def test_without_wsproto_it_is_refused_and_the_log_says_what_to_install(tmp_path):
    app = f"import sys; sys.modules['wsproto'] = None\n{APP}"
    with sockets(tmp_path, app=app) as live:
        assert refused(live.open("http"))[0] == 501
        live.until_log('pip install "gatebridge[ws]" adds what WebSockets need')
        assert live.ask("/hello") == "hello"


def test_a_cgi_program_refuses(tmp_path):
    app = "async def app(scope, receive, send):\n    sys.stderr.write(scope['type'])"
    done = cgi.ask(cgi.script(tmp_path, app), **ASKS)
    assert done.status == "501 Not Implemented"
    assert "websocket.carried" in done.errors
    assert "a CGI program has one answer" in done.errors
    assert done.errors.count("websocket") == done.errors.count("websocket.")
