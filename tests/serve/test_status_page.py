"""Status and ping as pages of the pool: for those who are allowed, in text and JSON."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from webtest import TestApp

from gatebridge.errors import ConfigError
from gatebridge.serve.scoreboard import DEAD, DRAINING, READY, STARTING, Scoreboard, begin
from gatebridge.serve.status_page import RUNNING_MAX, StatusPage, as_text, pool_summary, with_page

NOW = 1000.0


def board() -> Scoreboard:
    """Three workers of one pool: two serve, one starts."""
    made = Scoreboard()
    for index, state in enumerate((READY, DRAINING, STARTING)):
        slot = made.worker(index)
        slot.start(100 + index, "main", 1 + index, 4)
        slot.state(state)
        slot.count(10 * index, index, 1, 2, 1 << 20, 3)
    for thread, line in enumerate((b"GET /a", b"GET /b\n\x1b[2J")):
        begin(made.worker(0).thread(thread), 7, NOW - 2 - thread, line, b"id%d" % thread)
    return made


def summary() -> dict[str, Any]:
    return pool_summary(board().read(NOW))


def test_a_summary_adds_its_workers_up() -> None:
    told = summary()
    assert told["workers"] == {"starting": 1, "ready": 1, "draining": 1}
    numbers = {name: told[name] for name in told if isinstance(told[name], int)}
    assert numbers == {
        "threads": 12,
        "busy": 2,
        "waiting": 9,
        "requests": 30,
        "failed": 3,
        "slow": 3,
        "lost_lines": 6,
        "rss": 3 << 20,
    }
    first = told["workers_list"][0]
    assert (first["pid"], first["state"], first["generation"]) == (100, "ready", 1)
    assert first["running"] == [
        {"age_s": 3.0, "line": "GET /b\\x0a\\x1b[2J", "thread": 1, "id": "id1"},
        {"age_s": 2.0, "line": "GET /a", "thread": 0, "id": "id0"},
    ]
    json.dumps(told)


def test_a_pool_without_workers() -> None:
    told = pool_summary([])
    assert told["workers"] == {"starting": 0, "ready": 0, "draining": 0}
    assert told["workers_list"] == []


def test_only_the_oldest_requests_are_shown() -> None:
    made = Scoreboard()
    slot = made.worker(0)
    slot.start(1, "main", 1, 100)
    for thread in range(100):
        begin(slot.thread(thread), thread, NOW - thread, b"x")
    worker = pool_summary(made.read(NOW))["workers_list"][0]
    assert worker["busy"] == 100
    assert [request["thread"] for request in worker["running"]] == list(range(99, 91, -1))
    assert len(worker["running"]) == RUNNING_MAX


def test_dead_workers_are_listed_and_not_counted() -> None:
    made = Scoreboard()
    made.worker(0).start(1, "main", 1, 1)
    made.worker(0).state(DEAD)
    told = pool_summary(made.read(NOW))
    assert sum(told["workers"].values()) == 0
    assert told["workers_list"][0]["state"] == "dead"


# --- the pages


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the application"]


def client(
    read: Callable[[], dict[str, Any]] = summary,
    status: str = "/-/status",
    ping: str = "/-/ping",
    allow: str = "127.0.0.1,::1",
) -> TestApp:
    page = StatusPage("main", read, status, ping, allow)
    return TestApp(with_page(page, application), extra_environ={"REMOTE_ADDR": "127.0.0.1"})


def test_other_paths_are_the_applications() -> None:
    for path in ("/", "/-/status/", "/-/status2", "/-"):
        assert client().get(path).text == "the application"


def test_a_path_that_is_not_set_is_the_applications() -> None:
    app = client(status="", ping="/ping")
    assert app.get("/").text == "the application"
    assert app.get("").text == "the application"
    assert app.get("/ping").text == "pong\n"


def test_the_border_between_script_name_and_path_info_does_not_matter() -> None:
    app = client()
    for border in (0, len("/-"), len("/-/status")):
        names = {"SCRIPT_NAME": "/-/status"[:border], "PATH_INFO": "/-/status"[border:]}
        answer = app.get("/x", extra_environ={"REMOTE_ADDR": "::1", **names})
        assert "busy: 2" in answer.text


def test_ping() -> None:
    answer = client(read=lambda: pytest.fail("read for a ping")).get("/-/ping")
    assert (answer.status_int, answer.text) == (200, "pong\n")
    assert answer.headers["Cache-Control"] == "no-store"


def test_status_in_text() -> None:
    answer = client().get("/-/status")
    assert answer.content_type == "text/plain"
    lines = answer.text.splitlines()
    assert "pool: main" in lines
    assert "ready workers: 1" in lines
    assert "requests: 30" in lines
    assert "GET /a" not in answer.text


def test_full_status_in_text() -> None:
    lines = client().get("/-/status?full").text.splitlines()
    assert "pid: 102" in lines
    assert "request: 2.000 s  GET /a  id id0" in lines
    assert "request: 3.000 s  GET /b\\x0a\\x1b[2J  id id1" in lines


@pytest.mark.parametrize(("query", "full"), [("json", False), ("json&full", True),
                                             ("full&json", True)])  # fmt: skip
def test_status_in_json(query: str, full: bool) -> None:
    answer = client().get(f"/-/status?{query}")
    assert answer.content_type == "application/json"
    told = answer.json
    assert told["pool"] == "main"
    assert told["busy"] == 2
    assert ("workers_list" in told) is full


def test_head_has_the_length_and_no_body() -> None:
    got, headed = client().get("/-/status"), client().head("/-/status")
    assert headed.headers["Content-Length"] == got.headers["Content-Length"]
    assert headed.body == b""


@pytest.mark.parametrize("allow", ["127.0.0.1,::1", "10.0.0.1", ""])
def test_a_ping_of_nobody_is_a_health_check(allow: str) -> None:
    """HAProxy and Caddy ask so, over FastCGI and over HTTP on a Unix socket."""
    nobody = {"REMOTE_ADDR": ""}
    assert client(allow=allow).get("/-/ping", extra_environ=nobody).text == "pong\n"
    client(allow=allow).get("/-/status", extra_environ=nobody, status=403)


STRANGERS = ("10.0.0.1", "unix:", "127.0.0.2", "anything")
DENIED = [(path, each) for path in ("/-/status", "/-/ping") for each in STRANGERS]


@pytest.mark.parametrize(("path", "address"), [*DENIED, ("/-/status", "")])
def test_strangers_are_denied(path: str, address: str) -> None:
    app = client(read=lambda: pytest.fail("read for a stranger"))
    answer = app.get(path, extra_environ={"REMOTE_ADDR": address}, status=403)
    assert answer.text == "Forbidden\n"


@pytest.mark.parametrize(("allow", "address"), [("10.0.0.0/8", "10.1.2.3"), ("*", "192.0.2.1"),
                                                ("127.0.0.1, ::1", "::1"),
                                                ("unix", "")])  # fmt: skip
def test_who_is_named_is_answered(allow: str, address: str) -> None:
    app = client(allow=allow)
    assert app.get("/-/ping", extra_environ={"REMOTE_ADDR": address}).text == "pong\n"


def test_nobody_is_named() -> None:
    client(allow="").get("/-/ping", status=403)


def test_other_methods_are_refused() -> None:
    answer = client().post("/-/status", status=405)
    assert answer.headers["Allow"] == "GET, HEAD"


WRONG = [("status", "*", "status.path"), ("/s", "everybody", "status.allow")]


@pytest.mark.parametrize(("status", "allow", "code"), WRONG)
def test_what_cannot_be_is_told_at_the_start(status: str, allow: str, code: str) -> None:
    with pytest.raises(ConfigError) as raised:
        client(status=status, allow=allow)
    assert raised.value.code == code


def test_T19_text_forges_no_line() -> None:
    text = as_text({"pool": "a\nb", "workers_list": []})
    assert text == "pool: a\\x0ab\n"
