"""Status and headers that would split an answer or say nonsense are never sent (T7)."""

import subprocess
import sys
from pathlib import Path

import pytest

from gatebridge.wire.cgi_head import Head, cgi_block
from tests.engine.head_rows import fault, rows
from tests.engine.recorder import TEXT, Recorder, ask, giving

ROOT = Path(__file__).resolve().parents[2]
ROWS = rows()
GROUPS = ("W051", "W052", "W053", "W054", "W055", "W056")


@pytest.mark.parametrize("group", GROUPS)
def test_T7_refused(group: str) -> None:
    """Each control byte in each place (W051 to W053), splits, and what is no status or header."""
    said = [(name, fault(*row)) for name, *row in ROWS if name.startswith(group)]
    assert said
    assert [line for line in said if line[1]] == []


def test_W066_the_same_under_python_O() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-m", "tests.engine.head_rows"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ROWS)} rows, 0 wrong" in done.stdout


def test_W051_a_good_head_does_not_vouch_for_a_bad_one() -> None:
    """What was seen before is remembered: by value, so a near miss is looked at anew."""
    assert ask(giving([b"x"], "200 OK", [("X-A", "v")])).whole
    assert ask(giving([b"x"], "200 OK", [("X-A", "v\n")])).status.startswith("500")
    assert ask(giving([b"x"], "200 OK\n", [("X-A", "v")])).status.startswith("500")


def test_W053_the_refusal_comes_to_the_caller() -> None:
    """start_response() itself raises, so an application may still answer otherwise."""

    def app(environ, start_response):
        try:
            start_response("200 OK\r\nX-Evil: 1", [TEXT])
        except Exception:
            start_response("200 OK", [TEXT, ("X-Second", "1")])
        return [b"x"]

    out = ask(app)
    assert out.status == "200 OK"
    assert ("X-Second", "1") in out.head.headers


def test_W051_the_page_of_the_500_holds_nothing_of_it() -> None:
    out = ask(giving([b"x"], "200 OK", [("X-A", "<script>\r\n")]))
    assert b"script" not in bytes(out.body) + cgi_block(out.head)


HOP = ["Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "TE", "Trailer", "STATUS",
       "Proxy-Authenticate", "Proxy-Connection"]  # fmt: skip


@pytest.mark.parametrize("name", HOP)
def test_W055_a_header_of_the_connection_is_left_out_and_noted(name: str) -> None:
    out = ask(giving([b"x"], "200 OK", [TEXT, (name, "chunked"), ("X-A", "1")]))
    names = [key for key, _ in out.head.headers]
    assert names == ["Content-Type", "X-A", "Content-Length"]
    assert name.encode() not in out.head.block
    assert out.notes == ["header.forbidden"]


def test_W055_the_length_says_what_follows() -> None:
    """Twice the same length is one; spaces around it are none of its digits."""
    twice = [("Content-Length", "1"), ("Content-Length", "1")]
    assert ask(giving([b"x"], headers=twice)).head.length == 1
    assert ask(giving([b"x"], headers=[("Content-Length", " 1 ")])).head.length == 1


def test_W056_nothing_of_an_earlier_answer_is_in_the_next() -> None:
    first: Head = ask(giving([b"x"], headers=[("X-A", "1")])).head
    out = Recorder()
    ask(giving([b"y"], headers=[("X-B", "2")]), out=out)
    assert b"X-A" not in out.head.block
    assert b"X-B" not in first.block
