"""``gatebridge request``: what it prints, and how it says what went wrong."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gatebridge.cli.request import command
from gatebridge.wire.records import STDERR, STDOUT, end_request, record
from tests.peers import closes, echo, listening, says, silent


def run(*words: str, input: bytes | None = None) -> Result:
    result = CliRunner().invoke(command, [*words], input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def told(place: str, *words: str, input: bytes | None = None) -> dict:
    """What an echoing application saw."""
    result = run(place, *words, input=input)
    assert result.exit_code == 0, result.stderr
    seen = json.loads(result.stdout)
    seen["vars"] = dict(seen["pairs"])
    return seen


def test_body_on_stdout_and_errors_on_stderr(tmp_path: Path) -> None:
    with listening(echo("fcgi"), tmp_path / "s") as place:
        result = run(f"unix:{place}", "GET", "/x?y=1")
    assert result.exit_code == 0
    assert result.stderr == "logged\n"
    assert dict(json.loads(result.stdout)["pairs"])["REQUEST_URI"] == "/x?y=1"


def test_bytes_are_not_text(tmp_path: Path) -> None:
    data = bytes(range(256))
    with listening(says(b"A: b\n\n" + data), tmp_path / "s") as place:
        result = run(f"scgi+unix:{place}", "GET", "/")
    assert result.stdout_bytes == data


@pytest.mark.parametrize("option", ["-i", "--include"])
def test_include_prints_the_head(option: str, tmp_path: Path) -> None:
    with listening(says(b"Status: 404 Gone\r\nX-A: \xe9\r\n\r\nno"), tmp_path / "s") as place:
        result = run(f"scgi+unix:{place}", "GET", "/", option)
    assert result.stdout_bytes == b"Status: 404 Gone\nX-A: \xe9\n\nno"
    assert result.exit_code == 0


@pytest.mark.parametrize(("status", "code"), [("399 Fine", 0), ("400 Bad", 1), ("503 Busy", 1)])
def test_fail_makes_the_status_count(status: str, code: int, tmp_path: Path) -> None:
    with listening(says(f"Status: {status}\n\nbody".encode()), tmp_path / "s") as place:
        result = run(f"scgi+unix:{place}", "GET", "/", "--fail")
    assert (result.exit_code, result.stdout) == (code, "body")


def test_headers_and_params(tmp_path: Path) -> None:
    options = ("-H", "X-A: 1", "-H", "x-a:2", "--header", "X-B:", "--param", "A=b=c")
    with listening(echo("fcgi"), tmp_path / "s") as place:
        vars = told(place, "GET", "/", *options, "--param", "SCRIPT_NAME=/app")["vars"]
    assert (vars["HTTP_X_A"], vars["HTTP_X_B"]) == ("1, 2", "")
    assert (vars["A"], vars["SCRIPT_NAME"]) == ("b=c", "/app")


def test_text_beyond_ascii_goes_out_as_typed(tmp_path: Path) -> None:
    with listening(echo("fcgi"), tmp_path / "s") as place:
        seen = told(place, "POST", "/\xe9", "-H", "X-A: \u20ac", "-d", "\xfc")
    assert seen["vars"]["HTTP_X_A"].encode("latin-1").decode() == "\u20ac"
    assert seen["vars"]["REQUEST_URI"] == "/%C3%A9"
    assert seen["body"].encode("latin-1").decode() == "\xfc"


def test_data_as_written_from_a_file_and_from_stdin(tmp_path: Path) -> None:
    large = os.urandom(3 << 20)
    (tmp_path / "data").write_bytes(large)
    form = "application/x-www-form-urlencoded"
    with listening(echo("fcgi"), tmp_path / "s") as place:
        written = told(place, "POST", "/", "-d", "a=1")
        filed = told(place, "POST", "/", "-d", f"@{tmp_path}/data", "-H", "content-type: a/b")
        piped = told(place, "POST", "/", "--data", "@-", input=large)
    assert (written["body"], written["vars"]["CONTENT_TYPE"]) == ("a=1", form)
    assert filed["body"] == piped["body"] == large.decode("latin-1")
    assert filed["vars"]["CONTENT_TYPE"] == "a/b"
    assert filed["vars"]["CONTENT_LENGTH"] == piped["vars"]["CONTENT_LENGTH"] == str(3 << 20)


def test_data_of_what_has_no_size_is_read_to_its_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with listening(echo("fcgi"), tmp_path / "s") as place, ThreadPoolExecutor(1) as writer:
        writing = writer.submit(fifo.write_bytes, b"piped")
        assert told(place, "POST", "/", "-d", f"@{fifo}")["body"] == "piped"
        assert writing.result() == 5
        made_up = told(place, "POST", "/", "-d", "@/proc/self/comm")
    assert made_up["body"]
    assert made_up["vars"]["CONTENT_LENGTH"] == str(len(made_up["body"]))


@pytest.mark.parametrize("redirection", ["<&-", ">/dev/full"])
def test_what_it_cannot_read_or_write_is_told(redirection: str, tmp_path: Path) -> None:
    with listening(echo("fcgi"), tmp_path / "s") as place:
        words = (sys.executable, "-m", "gatebridge", "request", place, "POST", "/", "-d", "@-")
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "closed" in done.stderr or "(output.failed)" in done.stderr


@pytest.mark.parametrize(
    ("words", "role", "keep"),
    [
        ((), 1, False),
        (("--role", "Authorizer"), 2, False),
        (("--role", "filter", "--keep"), 3, True),
        (("--role", "1"), 1, False),
    ],
)
def test_role_and_keep(words: tuple[str, ...], role: int, keep: bool, tmp_path: Path) -> None:
    with listening(echo("fcgi"), tmp_path / "s") as place:
        seen = told(place, "GET", "/", *words)
    assert (seen["role"], seen["keep"]) == (role, keep)


REFUSED = [
    (end_request(1, 0, 1), "CANT_MPX_CONN"),
    (end_request(1, 0, 2), "OVERLOADED"),
    (end_request(1, 0, 3), "UNKNOWN_ROLE"),
    (end_request(1, 0, 9), "protocolStatus 9"),
    (record(STDOUT, 1, b"A: b\n\nshown") + end_request(1, 7, 0), "appStatus 7"),
    (record(STDOUT, 1, b"Status: 400 B\n\n") + end_request(1, 7, 0), "appStatus 7"),
]


@pytest.mark.parametrize(("data", "word"), REFUSED)
def test_F071_F112_F126_the_end_is_told(data: bytes, word: str, tmp_path: Path) -> None:
    with listening(says(record(STDERR, 1, b"why\n") + data), tmp_path / "s") as place:
        result = run(place, "GET", "/", "--fail")
    assert result.exit_code == 1
    assert word in result.stderr
    assert result.stderr.startswith("why\n")
    assert ("shown" in result.stdout) == (b"shown" in data)


def failed(place: str, code: str, exit_code: int, *words: str) -> None:
    """The failure names its code on the first line, and the next step on the second."""
    result = run(place, "GET", "/", *words)
    assert result.exit_code == exit_code
    lines = result.stderr.splitlines()
    assert lines[0].startswith("gatebridge request: ")
    assert lines[0].endswith(f" ({code})")
    assert len(lines) == 2
    assert len(lines[1]) > len("gatebridge request: ") + 20


def test_nobody_there_exits_with_7(tmp_path: Path) -> None:
    failed(f"unix:{tmp_path}/none", "connect.no_socket", 7)
    (tmp_path / "file").touch()
    failed(f"unix:{tmp_path}/file", "connect.not_a_socket", 7)
    with listening(closes, tmp_path / "s") as place:
        pass
    failed(place, "connect.refused", 7)
    failed("fcgi://host.invalid:1", "connect.unresolved", 7)


FAILURES = [
    ("fcgi", b"", "protocol.silent"),
    ("fcgi", b"HTTP/1.1 400 Bad\r\n\r\n", "protocol.http"),
    ("scgi", record(STDOUT, 1, b"A: b\n\n"), "protocol.fastcgi"),
    ("scgi", b"\x15\x03\x03\0\x02", "protocol.tls"),
    ("fcgi", b"220 hello\r\n", "protocol.garbage"),
    ("fcgi", record(STDOUT, 1, b"A: b\n\n"), "answer.cut"),
    ("fcgi", end_request(1, 0, 0), "answer.cut"),
    ("scgi", b"Content-Length: 9\n\nshort", "answer.short"),
    ("scgi", b"A: b\n folded\n\n", "head.malformed"),
    ("scgi", b"A: b\n" * 101 + b"\n", "head.too_big"),
    ("http", b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", "length.malformed"),
]


@pytest.mark.parametrize(("protocol", "data", "code"), FAILURES)
def test_failures_on_the_way_exit_with_1(
    protocol: str, data: bytes, code: str, tmp_path: Path
) -> None:
    with listening(says(data), tmp_path / "s") as place:
        failed(f"{protocol}+unix:{place}", code, 1)


def test_timeout(tmp_path: Path) -> None:
    with listening(silent, tmp_path / "s") as place:
        failed(place, "answer.timeout", 1, "--timeout", "0.1")


def test_what_came_before_the_failure_is_printed(tmp_path: Path) -> None:
    with listening(says(b"Content-Length: 9\n\nshort"), tmp_path / "s") as place:
        assert run(f"scgi+unix:{place}", "GET", "/").stdout == "short"


WRONG = [
    ("unix:/none", "GET"),
    ("unix:/none", "GET", "/", "-H", "no colon"),
    ("unix:/none", "GET", "/", "-H", ": value"),
    ("unix:/none", "GET", "/", "--param", "no equals"),
    ("unix:/none", "GET", "/", "--param", "=x"),
    ("unix:/none", "GET", "/", "--role", "guard"),
    ("unix:/none", "GET", "/", "--role", "65536"),
    ("unix:/none", "GET", "/", "--timeout", "0"),
    ("unix:/none", "GET", "/", "--timeout", "nan"),
    ("unix:/none", "GET", "/", "--timeout", "1e300"),
    ("unix:/none", "GET", "/", "-d", "@/none/at/all"),
    ("unix:/none", "GE T", "/"),
    ("unix:/none", "GET", "no-slash"),
    ("ajp://h:1", "GET", "/"),
    ("unix:/none?mood=1", "GET", "/"),
    ("http+unix:/none", "GET", "/", "--param", "A=b"),
    ("scgi+unix:/none", "GET", "/%00"),
    ("uwsgi+unix:/none", "GET", "/", "--param", "A=" + "x" * 65_536),
]


@pytest.mark.parametrize("words", WRONG, ids=[" ".join(words)[:40] for words in WRONG])
def test_wrong_usage_exits_with_2(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr
    assert result.stdout == ""


def test_help_names_every_exit_code() -> None:
    text = run("--help").stdout
    for words in ("0 answered", "1 failed", "2 wrong", "7 nobody"):
        assert words in text
