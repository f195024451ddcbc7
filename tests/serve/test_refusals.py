"""Pages and log lines: whatever gatebridge answers in an application's place has one of each.

The client sees a reason and the incident's id; the operator finds code, cause and next step under
the same id, in one line.
"""

import contextlib
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatebridge.errors import AppError, PeerError
from gatebridge.next_steps import STEPS
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.worker_log import INFO, WorkerLog
from tests.serve.test_daemon_queue import held
from tests.serve.whole import Whole, answer, whole_daemon
from tests.suite import wires


def fastcgi(live: Whole, target: str, body: bytes = b"", **changed: str) -> wires.Resp:
    """One request, with variables as they were asked for."""
    request = wires.Req("POST" if body else "GET", target, (), body or None)
    pairs = [pair for pair in wires.variables(request, "") if pair[0] not in changed]
    pairs += [(name, value) for name, value in changed.items() if value]
    with contextlib.closing(live.connect()) as sock:
        sock.sendall(wires.fastcgi_bytes(pairs, body))
        return answer(sock)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    """One daemon that refuses a good deal."""
    folder = tmp_path_factory.mktemp("refusals")
    options = (
        *("--limit-body", "500000", "--limit-params", "4000", "--limit-pairs", "60"),
        *("--body-timeout", "0.2", "--timeout", "0.4", "--graceful-timeout", "1"),
        *("--spool-dir", str(folder), "--spool-floor", str(1 << 60), "--spool-memory", "100"),
    )
    with whole_daemon(folder, *options, faults=True, workers=2, threads=4) as live:
        yield live


def slow_body(live: Whole) -> wires.Resp:
    request = wires.Req("POST", "/body", (), b"whole")
    data = wires.fastcgi_bytes(wires.variables(request, ""), b"whole")
    with contextlib.closing(live.connect()) as sock:
        sock.sendall(data[: data.index(b"whole")])  # and nothing more
        return answer(sock)


def http(live: Whole, data: bytes) -> wires.Resp:
    with contextlib.closing(live.connect("http")) as sock:
        sock.sendall(data)
        return answer(sock, "http")


ROWS: list[tuple[str, str, str, Callable[[Whole], wires.Resp]]] = [
    ("400", "400 Bad Request", "length.malformed",
     lambda live: fastcgi(live, "/body", b"x", CONTENT_LENGTH="x1")),
    ("400 method", "400 Bad Request", "method.malformed",
     lambda live: fastcgi(live, "/version", REQUEST_METHOD="G T")),
    ("400 HTTP", "400 Bad Request", "http.malformed",
     lambda live: http(live, b"GET\r\n\r\n")),
    ("408", "408 Request Timeout", "body.timeout", slow_body),
    ("413", "413 Content Too Large", "body.too_big",
     lambda live: fastcgi(live, "/body", b"x" * 9, CONTENT_LENGTH="500001")),
    ("431 size", "431 Request Header Fields Too Large", "params.too_big",
     lambda live: fastcgi(live, "/version", HTTP_X="x" * 5000)),
    ("431 number", "431 Request Header Fields Too Large", "params.too_many",
     lambda live: fastcgi(live, "/version", **{f"HTTP_X{number}": "x" for number in range(99)})),
    ("431 HTTP", "431 Request Header Fields Too Large", "http.head",
     lambda live: http(live, b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 5000 + b"\r\n\r\n")),
    ("500", "500 Internal Server Error", "app.failed", lambda live: fastcgi(live, "/fail")),
    ("504", "504 Gateway Timeout", "request.timeout", lambda live: fastcgi(live, "/spin")),
    ("507", "507 Insufficient Storage", "body.no_space",
     lambda live: fastcgi(live, "/body", b"x" * 400_000, CONTENT_LENGTH="")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "code", "ask"), ROWS, ids=[row[0] for row in ROWS])
def test_a_page_and_a_line_have_the_incident_in_common(
    live: Whole, name: str, status: str, code: str, ask: Callable[[Whole], wires.Resp]
) -> None:
    resp = ask(live)
    assert resp.status == int(status[:3]), repr(resp)
    line_of(live, check_page(resp, status, code), code)


def check_page(resp: wires.Resp, status: str, code: str) -> str:
    """The incident that it names, besides which it tells nothing."""
    reason, _, said = resp.body.decode().partition("\n\n")
    assert reason == status[4:]
    found = re.fullmatch(
        r"[A-Z][a-z ]+\. The server's log tells more under incident ([0-9a-f]{8})\.\n", said
    )
    assert found, resp.body
    assert code.encode() not in repr(resp).encode()
    return found[1]


def line_of(live: Whole, incident: str, code: str) -> str:
    """The one line that names code and incident; it ends with the next step."""
    live.until_log(f"incident {incident}")
    lines = [line for line in live.log().splitlines() if f"incident {incident}" in line]
    (line,) = [line for line in lines if "next: " in line]
    assert re.search(rf"\] (warning|error) {re.escape(code)} incident {incident} \(.+\)", line)
    assert line.endswith(f"; next: {STEPS[code]}")
    return line


def test_a_head_that_is_too_long_is_taken_to_its_end(live: Whole) -> None:
    """A close with bytes unread would be a reset, which may overtake the page."""
    data = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2_000_000 + b"\r\n\r\n"
    resp = http(live, data)
    check_page(resp, "431 Request Header Fields Too Large", "http.head")
    assert not resp.cut


def test_503_of_a_queue(tmp_path: Path) -> None:
    with (
        whole_daemon(tmp_path, "--max-queue", "1", workers=1, threads=1) as live,
        held(live, 1) as inside,
        contextlib.closing(live.send("/version")) as waiting,
        contextlib.closing(live.send("/version")) as surplus,
    ):
        resp = answer(surplus)
        incident = check_page(resp, "503 Service Unavailable", "queue.full")
        assert resp.all("retry-after") == ["1"]
        line_of(live, incident, "queue.full")
        inside[0][0].release()
        assert answer(waiting).status == answer(inside[0][1]).status == 200


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("echo no head at all", "502 Bad Gateway", "head.malformed"),
        ("sleep 30", "504 Gateway Timeout", "script.timeout"),
    ],
)
def test_502_and_504_of_a_program(tmp_path: Path, text: str, status: str, code: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(stat.S_IRWXU)
    target = f"cgi:{program}?timeout=0.3s&owner=any"
    app = f"""
from gatebridge.apps.target import load_target
application = load_target({target!r}, ".")
"""
    with whole_daemon(tmp_path, workers=1, threads=1, app=app) as live:
        resp = fastcgi(live, "/")
        assert resp.status == int(status[:3])
        incident = check_page(resp, status, code)
        live.until_log(f"incident {incident}: {code}")
        (line,) = [line for line in live.log().splitlines() if f"incident {incident}" in line]
        assert line.endswith(f"; next: {STEPS[code]}")


# -- the line alone


@pytest.fixture
def log(tmp_path: Path) -> WorkerLog:
    return WorkerLog(LogFile(str(tmp_path / "log")), INFO)


def test_a_detail_cannot_forge_a_line(log: WorkerLog, tmp_path: Path) -> None:
    evil = "x\n2026-01-01 00:00:00.000 [1] error forged"
    log.refused("0badcafe", evil, PeerError("body.too_big", evil))
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert "body.too_big incident 0badcafe (x\\x0a2026" in line


def test_an_error_of_ours_is_named_by_its_code(log: WorkerLog, tmp_path: Path) -> None:
    log.failed("0badcafe", "GET /", AppError("body.type", "a block must be bytes, not str"))
    line = (tmp_path / "log").read_text().splitlines()[0]
    assert line.endswith(
        "app.failed incident 0badcafe (GET /): body.type: a block must be bytes, not str; next: "
        + STEPS["body.type"]
    )
