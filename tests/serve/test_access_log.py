"""The access log: Apache's letters, JSON, and what it never tells (T19)."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve import access_log
from gatebridge.serve.access_log import COMBINED, AccessLog, compile_format
from gatebridge.serve.log_file import LogFile

ENVIRON = {
    "REMOTE_ADDR": "192.0.2.7",
    "REMOTE_USER": "ada",
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "/app",
    "PATH_INFO": "/x y",
    "QUERY_STRING": "token=secret-query",
    "REQUEST_URI": "/app/x%20y?token=secret-query",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_NAME": "h.example",
    "SERVER_PORT": "443",
    "HTTP_REFERER": "https://h.example/",
    "HTTP_USER_AGENT": 'Agent "7"',
    "HTTP_COOKIE": "session=secret-cookie",
    "HTTP_AUTHORIZATION": "Basic secret-credentials",
    "HTTP_X_REQUEST_ID": "r1",
    "wsgi.input": object(),
}


class Answered:
    """As much of an exchange as the log asks for."""

    def __init__(
        self,
        status: str = "404 Not Found",
        sent: int = 12,
        gone: bool = False,
        queued_s: float = 0.0,
    ) -> None:
        self.status = status
        self.queued_s = queued_s
        self.sent = sent
        self.gone = gone
        self.started = 1_000_000_000.25
        self.over = "fastcgi"


def lines(folder: Path, format: str, with_json: bool, *calls) -> list[str]:
    log = AccessLog(LogFile(str(folder / "log")), format, with_json)
    for environ, answered in calls:
        log.write({**environ}, answered, 1.5)
    return (folder / "log").read_text().splitlines()


@pytest.fixture
def line(tmp_path: Path) -> Callable[..., str]:
    def made(format: str, environ=None, answered=None) -> str:
        call = ({**ENVIRON, **(environ or {})}, answered or Answered())
        (one,) = lines(tmp_path, format, False, call)
        return one

    return made


LETTERS = [
    ("%h", "192.0.2.7"),
    ("%l", "-"),
    ("%u", "ada"),
    ("%r", "POST /app/x y?token=secret-query HTTP/1.1"),
    ("%m", "POST"),
    ("%U", "/app/x y"),
    ("%q", "?token=secret-query"),
    ("%H", "HTTP/1.1"),
    ("%s", "404"),
    ("%>s", "404"),
    ("%b", "12"),
    ("%B", "12"),
    ("%D", "1500000"),
    ("%T", "1"),
    ("%v", "h.example"),
    ("%p", "443"),
    ("%P", str(os.getpid())),
    ("%{Referer}i", "https://h.example/"),
    ("%{X-Request-Id}i", "r1"),
    ("%{x-absent}i", "-"),
    ("%{request_id}x", "r1"),
    ("%{queue_us}x", "0"),
    ("%{worker_us}x", "1500000"),
    ("%{SCRIPT_NAME}e", "/app"),
    ("%%", "%"),
    ("100%% %m%m", "100% POSTPOST"),
    ("no letter", "no letter"),
    ("", ""),
]


@pytest.mark.parametrize(("format", "text"), LETTERS, ids=[row[0] for row in LETTERS])
def test_letter(line, format: str, text: str) -> None:
    assert line(format) == text


def test_the_time_is_apaches(line) -> None:
    assert re.fullmatch(r"\[\d\d/[A-Z][a-z]{2}/2001:\d\d:\d\d:\d\d [+-]\d{4}\]", line("%t"))


EMPTY = [("%h", "REMOTE_ADDR", "-"), ("%u", "REMOTE_USER", "-"), ("%q", "QUERY_STRING", ""),
         ("%{Referer}i", "HTTP_REFERER", "-")]  # fmt: skip


@pytest.mark.parametrize(("format", "name", "text"), EMPTY, ids=[row[0] for row in EMPTY])
def test_what_is_empty_is_a_dash(line, format: str, name: str, text: str) -> None:
    assert line(format, {name: ""}) == text


ANSWERS = [
    ("no body", Answered("204 No Content", 0), "204 - 0"),
    ("499, nginx's word for a client that left", Answered("", 0, True), "499 - 0"),
    ("no answer", Answered("", 0), "- - 0"),
    ("left in the middle", Answered("200 OK", 5, True), "200 5 5"),
]


@pytest.mark.parametrize(("name", "answered", "text"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_status_and_bytes(line, name: str, answered: Answered, text: str) -> None:
    assert line("%s %b %B", answered=answered) == text


@pytest.mark.parametrize("format", ["%x", "%{A}s", "%Q", "%{A}q", "%{A}x", "%{request_id}i%x",
                                    "%", "%m % %U", "%{Agent", "%{Host} %m", "%{}i"])  # fmt: skip
def test_an_unknown_letter_is_refused(format: str) -> None:
    with pytest.raises(ConfigError) as raised:
        compile_format(format)
    assert raised.value.code == "log.format"
    assert "%{request_id}x" in raised.value.detail
    assert "%{Name}i" in raised.value.detail


@pytest.mark.parametrize("format", ["%", "a % b", "%5", "%{open", "%{Referer}"])
def test_a_percent_sign_alone_is_refused_or_kept(line, format: str) -> None:
    try:
        said = line(format)
    except ConfigError:
        return
    assert said == format


def test_every_letter_is_in_the_documents() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "logs.md").read_text("utf-8")
    for letter in access_log._FIELDS:
        assert f"`%{letter}`" in text
    for name in access_log._OURS:
        assert f"`%{{{name}}}x`" in text
    assert COMBINED in text


def test_the_time_in_the_queue_and_in_the_worker_are_told_apart(line) -> None:
    """Together they are Apache's %D: what the client waited for."""
    waited = Answered(queued_s=0.25)
    assert line("%D %T %{queue_us}x %{worker_us}x", {}, waited) == "1750000 1 250000 1500000"


def test_the_id_is_made_only_where_the_format_has_it(tmp_path: Path) -> None:
    environ = {**ENVIRON}
    for name, format, with_json, wanted in (
        ("plain", COMBINED, False, False),
        ("header", "%{X-Request-Id}i", False, False),
        ("field", COMBINED + " %{request_id}x", False, True),
        ("json", COMBINED, True, True),
    ):
        log = AccessLog(LogFile(str(tmp_path / name)), format, with_json)
        environ.pop("gatebridge.request_id", None)
        log.write(environ, Answered(), 0.0)
        assert log.wants_id == wanted
        assert ("gatebridge.request_id" in environ) == wanted


def test_the_log_has_the_id_that_the_application_saw(line) -> None:
    assert line("%{request_id}x", {"gatebridge.request_id": "seen", "HTTP_X_REQUEST_ID": "b"}) == (
        "seen"
    )


# -- T19


SECRETS = ("secret-query", "secret-cookie", "secret-credentials")


def test_T19_the_default_tells_no_secret(line) -> None:
    text = line(COMBINED)
    assert [secret for secret in SECRETS if secret in text] == []
    assert '"POST /app/x y HTTP/1.1" 404 12 "https://h.example/"' in text


def test_T19_json_tells_no_secret(tmp_path: Path) -> None:
    (text,) = lines(tmp_path, COMBINED, True, (ENVIRON, Answered()))
    assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("with_json", [False, True])
def test_T19_neither_does_the_query_of_the_page_before(tmp_path: Path, with_json: bool) -> None:
    """Referer holds a URL with its query: that of a password reset, as likely as not."""
    environ = {**ENVIRON, "HTTP_REFERER": "https://h.example/reset?token=secret-query"}
    (text,) = lines(tmp_path, COMBINED, with_json, (environ, Answered()))
    assert "secret-query" not in text
    assert "https://h.example/reset" in text


FIELDS = ["REMOTE_ADDR", "REMOTE_USER", "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO",
          "QUERY_STRING", "SERVER_PROTOCOL", "SERVER_NAME", "SERVER_PORT", "HTTP_REFERER",
          "HTTP_USER_AGENT", "HTTP_COOKIE", "HTTP_X_REQUEST_ID", "UNIQUE_ID",
          "gatebridge.request_id"]  # fmt: skip
EVERYTHING = COMBINED + (
    ' %r %q %v %p %{Cookie}i %{X-Request-Id}i %{PATH_INFO}e "%s" %{request_id}x'
)


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("evil", ['x\n192.0.2.1 - - forged', "x\r\x00\x1b[2J\x7f\x85", 'x" 200 "',
                                  "x\\", "%s %d {}"])  # fmt: skip
def test_T19_no_field_forges_a_line(tmp_path: Path, name: str, evil: str) -> None:
    """One line, printable, with as many unescaped quotes as the format has."""
    format = EVERYTHING
    (one,) = lines(tmp_path, format, False, ({**ENVIRON, name: evil}, Answered()))
    assert one.isprintable()
    bare = re.sub(r"\\.", "", one)
    assert bare.count('"') == format.count('"')


@pytest.mark.parametrize("name", FIELDS)
def test_T19_nor_in_json(tmp_path: Path, name: str) -> None:
    evil = 'x\n{"status": 200}\x00\x1b\x85\xff"\\'
    (one,) = lines(tmp_path, COMBINED, True, ({**ENVIRON, name: evil}, Answered()))
    assert one.isascii()
    assert one.isprintable()
    assert json.loads(one)["status"] == 404


# -- JSON


def test_json_has_the_request_and_the_answer(tmp_path: Path) -> None:
    (text,) = lines(tmp_path, COMBINED, True, ({**ENVIRON}, Answered(queued_s=0.25)))
    assert json.loads(text) == {
        "time": 1_000_000_000.25,
        "peer": "192.0.2.7",
        "user": "ada",
        "method": "POST",
        "path": "/app/x y",
        "protocol": "HTTP/1.1",
        "status": 404,
        "bytes": 12,
        "seconds": 1.75,
        "queue_s": 0.25,
        "worker_s": 1.5,
        "server": "h.example",
        "referer": "https://h.example/",
        "agent": 'Agent "7"',
        "over": "fastcgi",
        "pid": os.getpid(),
        "request_id": "r1",
    }


def test_json_of_a_request_without_an_answer(tmp_path: Path) -> None:
    first, second = lines(
        tmp_path, "", True, ({}, Answered("", 0)), (ENVIRON, Answered("", 0, True))
    )
    assert json.loads(first)["status"] is None
    assert json.loads(second)["status"] == 499


def test_USR1_the_log_is_reopened(tmp_path: Path) -> None:
    log = AccessLog(LogFile(str(tmp_path / "log")), "%m", False)
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.reopen()
    log.write(ENVIRON, Answered(), 0.0)
    assert (tmp_path / "log").read_text() == "POST\n"
