"""What a daemon tells of a request that somebody waits for, and of the front servers it meets."""

import json
import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gatebridge.serve import explaining, probe_answer
from gatebridge.serve.explaining import ROOM, Order, fitted
from tests.serve.gated import answer, connect
from tests.serve.service import DEADLINE_S, Service, service
from tests.suite import wires


def nginx(path: str, *more: tuple[str, str], software: str = "nginx/1.22.1") -> list:
    sent = [("REQUEST_METHOD", "GET"), ("REQUEST_URI", path), ("SCRIPT_NAME", path)]
    sent += [("SERVER_SOFTWARE", software)] if software else []
    return [*sent, ("QUERY_STRING", ""), ("CONTENT_TYPE", ""), ("CONTENT_LENGTH", ""), *more]


def send(live: Service, pairs: list) -> wires.Resp:
    sock = connect(str(live.folder / "s"))
    sock.settimeout(DEADLINE_S)
    with sock:
        sock.sendall(wires.fastcgi_bytes(pairs, b"", False, 1))
        return answer(sock)


def arm(live: Service, **more: object) -> int:
    return live.ctl("explain-next", **more)["number"]


def take(live: Service, number: int, wait: float = DEADLINE_S) -> dict | None:
    return live.ctl("explain-take", number=number, wait=wait)["report"]


def test_the_next_request_is_told_with_every_change(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s", "--workers", "2") as live:
        live.settled(2)
        number = arm(live)
        sent = nginx("/a b", ("HTTP_PROXY", "http://evil/"), ("HTTP_COOKIE", "a=1"))
        assert send(live, sent).status == 200
        told = take(live, number)
        assert told["received"] == [list(pair) for pair in sent]
        assert (told["pool"], told["protocol"], told["bind"]) == ("main", "fastcgi", "unix:s")
        assert told["pid"] in live.workers()
        assert told["front"] == {"name": "nginx", "software": "nginx/1.22.1"}
        rows = {change["name"]: change["row"] for change in told["changes"]}
        assert rows["PATH_INFO"] == "whole-path-script"
        assert rows["HTTP_PROXY"] == "http-proxy"
        assert told["environ"]["PATH_INFO"] == "/a b"
        assert told["environ"]["HTTP_COOKIE"] == "a=1"
        assert "HTTP_PROXY" not in told["environ"]
        assert told["others"]["wsgi.version"] == "(1, 0)"


def test_a_token_picks_one_request_among_others(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        number = arm(live, token="t0k3n")
        send(live, nginx("/other"))
        send(live, nginx("/wrong", (explaining.TOKEN, "t0k3")))
        assert take(live, number, wait=0.0) is None
        send(live, nginx("/right", (explaining.TOKEN, "t0k3n")))
        assert take(live, number)["environ"]["PATH_INFO"] == "/right"


def test_a_path_picks_requests_below_it(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        number = arm(live, below="/shop")
        send(live, nginx("/ping"))
        send(live, nginx("/shop/x"))
        assert take(live, number)["environ"]["PATH_INFO"] == "/shop/x"


def test_one_request_is_kept_and_told_once(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s", "--workers", "2") as live:
        live.settled(2)
        number = arm(live)
        for at in range(8):
            send(live, nginx(f"/{at}"))
        told = take(live, number)  # the first one of whichever worker was heard first
        assert told["environ"]["PATH_INFO"] in [f"/{at}" for at in range(8)]
        assert live.ctl("explain-take", number=number)["code"] == "explain.over"


def test_a_second_order_takes_the_place_of_the_first(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        first, second = arm(live), arm(live)
        assert live.ctl("explain-take", number=first)["code"] == "explain.over"
        send(live, nginx("/x"))
        assert take(live, second)["environ"]["PATH_INFO"] == "/x"


def test_nobody_waits_longer_than_was_said(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        number = arm(live, limit=0.05)
        assert take(live, number) is None
        live.until(lambda: live.ctl("explain-take", number=number)["code"] == "explain.over")
        send(live, nginx("/late"))
        assert live.ask("/x") == "one"
        asked = live.ctl("explain-next", limit=1e6)
        assert asked["code"] == "explain.malformed"


def test_a_worker_that_starts_later_waits_too(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        before = live.settled(1)
        number = arm(live, token="later")
        assert live.ctl("reload")["ok"]
        live.until(lambda: live.settled(1) != before)
        live.until(
            lambda: (
                send(live, nginx("/new", (explaining.TOKEN, "later"))).status == 200
                and take(live, number, wait=0.2) is not None
            )
        )


def test_a_refused_request_is_told_with_its_reason(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        number = arm(live)
        sent = [pair for pair in nginx("/x") if pair[0] != "CONTENT_LENGTH"]
        assert send(live, [*sent, ("CONTENT_LENGTH", "1_0")]).status == 400
        told = take(live, number)
        assert told["refused"]["code"] == "length.malformed"


ROUTES = """
[[app]]
target = "shop:application"
[[app]]
mount = "/shop"
target = "shop:application"
[server]
bind = ["unix:s", "http://127.0.0.1:0"]
"""


def test_the_route_and_the_http_listener_are_told(tmp_path) -> None:
    (tmp_path / "gatebridge.toml").write_text(ROUTES)
    with service(tmp_path, "-c", "gatebridge.toml") as live:
        number = arm(live)
        send(live, nginx("/shop/x"))
        told = take(live, number)
        assert told["route"] == "/shop"
        assert (told["environ"]["SCRIPT_NAME"], told["environ"]["PATH_INFO"]) == ("/shop", "/x")
        last = {change["name"]: change["row"] for change in told["changes"]}
        assert (last["SCRIPT_NAME"], last["PATH_INFO"]) == ("route", "route")
        live.until_log("listening on http://")
        port = int(live.log().partition("listening on http://127.0.0.1:")[2].split()[0])
        number = arm(live)
        with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as sock:
            sock.sendall(b"GET /y HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            while sock.recv(65_536):
                continue
        told = take(live, number)
        assert told["protocol"] == "http"
        assert told["added"]["SERVER_PORT"] == str(port)
        assert told["front"]["name"] == "gatebridge"


def test_each_front_server_is_said_once_whichever_worker_meets_it(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s", "--workers", "3") as live:
        live.settled(3)
        for _ in range(12):
            send(live, nginx("/x"))
            send(live, nginx("/x", software="Apache/2.4"))
        send(live, nginx("/x", ("DOCUMENT_URI", "/x"), ("REQUEST_SCHEME", "http"), software=""))
        live.until_log("front.recognised", 3)
        live.ctl("reload")
        send(live, nginx("/x"))
        send(live, nginx("/x", software="thttpd/2\n.0"))
        live.until_log("front.unknown")
    lines = [line for line in live.log().splitlines() if " front." in line]
    assert [line.partition("front.")[2] for line in lines] == [
        "recognised on unix:s: nginx (SERVER_SOFTWARE 'nginx/1.22.1')",
        "recognised on unix:s: apache (SERVER_SOFTWARE 'Apache/2.4')",
        "recognised on unix:s: nginx (by its variables DOCUMENT_URI, REQUEST_SCHEME; no"
        " SERVER_SOFTWARE)",
        "unknown on unix:s: SERVER_SOFTWARE 'thttpd/2\\n.0', and no variable tells; set the front"
        " option if it is one of the servers that are known",
    ]


def test_an_option_that_contradicts_the_server_is_a_warning(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s", "--front", "nginx") as live:
        send(live, nginx("/x", software="Apache/2.4"))
        live.until_log("warning front.differs on unix:s: the front option says nginx")
        send(live, nginx("/x"))
        live.until_log("info front.given on unix:s: nginx")


# -- an answer of the daemon's own, for doctor


ASGI = """
async def application(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one"})
"""
WSGI = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"one"]
"""
APPS = ["wsgi", "asgi", "both"]


def serving(folder: Path, app: str) -> AbstractContextManager[Service]:
    """All of one kind, or an ASGI application with a WSGI one below /other."""
    (folder / "other.py").write_text(WSGI)
    more = ("--mount", "/other=other:application") if app == "both" else ()
    text = WSGI if app == "wsgi" else ASGI
    return service(folder, "shop:application", "--bind", "unix:s", *more, app=text)


@pytest.mark.parametrize("app", APPS)
def test_a_stream_goes_on_when_its_report_was_taken(tmp_path, app) -> None:
    with serving(tmp_path, app) as live:
        number = arm(live, token="t0k3n", answer="stream")
        pairs = nginx("/fail/x", (explaining.TOKEN, "t0k3n"))
        sock = connect(str(live.folder / "s"))
        sock.settimeout(DEADLINE_S)
        with sock:
            sock.sendall(wires.fastcgi_bytes(pairs, b"", False, 1))
            got = sock.recv(65_536)
            while probe_answer.FIRST not in got:
                got += sock.recv(65_536)
            assert probe_answer.TOLD not in got
            assert take(live, number)["environ"]["PATH_INFO"] == "/fail/x"
            while more := sock.recv(65_536):
                got += more
            assert probe_answer.TOLD in got


@pytest.mark.parametrize("app", APPS)
def test_a_stream_ends_though_nobody_takes_the_report(tmp_path, app) -> None:
    with serving(tmp_path, app) as live:
        arm(live, token="t0k3n", answer="stream")
        told = send(live, nginx("/x", (explaining.TOKEN, "t0k3n")))
        assert told.body == probe_answer.FIRST + probe_answer.ALONE
        assert live.ask("/x") == "one"


@pytest.mark.parametrize("app", APPS)
def test_the_daemon_counts_a_body_and_sets_a_cookie(tmp_path, app) -> None:
    with serving(tmp_path, app) as live:
        number = arm(live, token="t0k3n", answer="length")
        other = nginx("/x", (explaining.TOKEN, "other"))
        assert send(live, other).body == b"one"
        assert json.loads(send(live, nginx("/x", (explaining.TOKEN, "t0k3n"))).body) == {
            "length": 0
        }
        take(live, number)
        arm(live, token="t0k3n", answer="cookie")
        told = send(live, nginx("/x", (explaining.TOKEN, "t0k3n")))
        (cookie,) = [value for name, value in told.headers if name.lower() == "set-cookie"]
        assert len(cookie.partition(";")[0].replace("=", "", 1)) == 4096


def test_no_client_gets_an_answer_of_the_daemon_s_own(tmp_path) -> None:
    with service(tmp_path, "shop:application", "--bind", "unix:s") as live:
        assert live.ctl("explain-next", answer="stream")["code"] == "explain.malformed"
        assert live.ctl("explain-next", token="t", answer="x")["code"] == "explain.malformed"


# -- what is kept


def test_what_is_too_long_is_cut_and_said() -> None:
    received = [["HTTP_X", "é" * 900_000], ["A" * 900_000, "b"]]
    data = fitted({"received": received, "environ": dict(received), "n": 1, "none": None})
    assert len(data) <= ROOM
    told = json.loads(data)
    assert told["cut"] == 8192
    assert told["received"][0][1].endswith("... (900000 characters)")
    assert (told["n"], told["none"]) == (1, None)
    many = [[f"HTTP_{at}", "é" * 900] for at in range(20_000)]
    assert len(fitted({"received": many, "environ": dict(many)})) <= ROOM
    assert fitted({"a": "é"}) == b'{"a": "\\u00e9"}'


def test_an_order_is_claimed_by_one_and_writes_where_it_may(tmp_path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    kept = []
    order = Order(1, "", "/a", 1e18, os.dup(fd), 100, lambda *about: kept.append(about))
    assert order.wants({"SCRIPT_NAME": "/a", "PATH_INFO": "/b"})
    assert not order.wants({"PATH_INFO": "/b"})
    assert not order.is_over
    order.keep("site", "request", {})
    order.keep("site", "other", {})
    assert kept == [(order, "site", "request", {})]
    assert order.is_over
    size = order.put({"a": 1})
    assert os.pread(fd, 1000, 0) == bytes(100) + b'{"a": 1}'
    assert size == 8
    order.close()
    order.close()
    with pytest.raises(OSError, match="Bad file"):
        order.put({})
    os.close(fd)
