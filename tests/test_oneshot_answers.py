"""What a CGI script of ours answers: RFC 3875 section 6, failures, servers that leave."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import cgi
from tests.cgi import DEADLINE_S, answering, ask, giving


def test_C05_a_body_has_its_content_type(tmp_path: Path) -> None:
    done = ask(giving(tmp_path, "[b'x']"))
    assert (done.status, dict(done.headers)["Content-Type"]) == ("200 OK", "text/plain")


def test_C05_a_body_without_content_type_is_refused_with_a_word(tmp_path: Path) -> None:
    done = ask(giving(tmp_path, "[b'x']", headers="[('X-A', '1')]"))
    assert done.status.startswith("500 "), done
    assert "Content-Type" in done.errors


NO_BODY = [("204 No Content", "[]"), ("304 Not Modified", "[]"), ("200 OK", "[]")]


@pytest.mark.parametrize(("status", "result"), NO_BODY)
def test_C05_without_a_body_none_is_needed(tmp_path: Path, status: str, result: str) -> None:
    done = ask(giving(tmp_path, result, status, "[('X-A', '1')]"))
    assert (done.status, done.body, done.code) == (status, b"", 0)


REDIRECTS = [
    ("C06 local", "200 OK", "/path?x", b""),
    ("C07 client", "302 Found", "https://h.example/x", b""),
    ("C07 client with a document", "301 Moved Permanently", "https://h.example/x", b"moved"),
    ("C07 303", "303 See Other", "https://h.example/", b""),
    ("C07 308", "308 Permanent Redirect", "/x", b"moved"),
]


@pytest.mark.parametrize("row", REDIRECTS, ids=[row[0] for row in REDIRECTS])
def test_C06_C07_redirects_are_passed_as_they_are(tmp_path: Path, row) -> None:
    _, status, location, body = row
    headers = [("Location", location)] + ([("Content-Type", "text/plain")] if body else [])
    done = ask(giving(tmp_path, repr([body] if body else []), status, repr(headers)))
    assert (done.status, done.body) == (status, body)
    assert ("Location", location) in done.headers


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "299 ", "500 Caf\xe9"])
def test_C08_the_status_has_three_digits_and_a_reason(tmp_path: Path, status: str) -> None:
    done = ask(giving(tmp_path, "[b'x']", status))
    assert done.out.startswith(f"Status: {status}\r\n".encode("latin-1"))


def test_C09_lines_end_by_cr_lf_and_none_is_folded(tmp_path: Path) -> None:
    headers = "[('Content-Type', 'text/plain'), ('X-A', 'one two'), ('X-B', '')]"
    done = ask(giving(tmp_path, "[b'x']", headers=headers))
    assert done.head.count(b"\n") == done.head.count(b"\r\n")
    assert ("X-A", "one two") in done.headers
    refused = ask(giving(tmp_path, "[b'x']", headers="[('X-A', 'one\\r\\n two')]"))
    assert refused.status.startswith("500 ")
    assert b"two" not in refused.out


NPH = [("/cgi-bin/nph-app.cgi", True), ("/cgi-bin/app.cgi", False), ("/nph-dir/app.cgi", False),
       ("/cgi-bin/xnph-app", False)]  # fmt: skip


@pytest.mark.parametrize(("name", "is_nph"), NPH)
def test_C10_http_lines_only_for_nph_names(tmp_path: Path, name: str, is_nph: bool) -> None:
    done = ask(giving(tmp_path, "[b'x']"), SCRIPT_NAME=name, REQUEST_URI=name + "/x")
    first = done.out.split(b"\r\n")[0]
    assert first == (b"HTTP/1.1 200 OK" if is_nph else b"Status: 200 OK")
    assert (b"HTTP/1." in done.out) is is_nph


@pytest.mark.parametrize("result", ["[b'body']", "iter([b'bo', b'dy'])"])
def test_C11_HEAD_has_no_body(tmp_path: Path, result: str) -> None:
    done = ask(giving(tmp_path, result), REQUEST_METHOD="HEAD")
    assert (done.status, done.mark, done.body) == ("200 OK", b"\r\n\r\n", b"")


def test_C12_bytes_are_not_translated(tmp_path: Path) -> None:
    done = ask(giving(tmp_path, "[bytes(range(256)) * 1000 + b'\\r\\n\\n\\r']"))
    assert done.body == bytes(range(256)) * 1000 + b"\r\n\n\r"


def test_C12_W035_each_block_is_out_before_the_next_is_asked_for(tmp_path: Path) -> None:
    """The application waits for a word on standard input between its blocks."""
    code = """
start_response("200 OK", [("Content-Type", "text/plain")])
def blocks():
    for number in range(3):
        yield b"block %d;" % number
        environ["wsgi.input"].read(1)
return blocks()
"""
    process = subprocess.Popen(
        answering(tmp_path, code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=cgi.encoded(cgi.environment(REQUEST_METHOD="POST", CONTENT_LENGTH="3")),
    )
    with process:
        got = b""
        for number in range(3):
            while b"block %d;" % number not in got:
                piece = os.read(process.stdout.fileno(), 4096)
                assert piece
                got += piece
            assert b"block %d;" % (number + 1) not in got
            process.stdin.write(b"x")
            process.stdin.flush()
    assert process.returncode == 0


def test_C12_a_file_from_its_position(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"0123456789" * 100_000)
    code = f"""
file = open({str(tmp_path / "data")!r}, "rb")
file.seek(5)
start_response("200 OK", [("Content-Type", "text/plain")])
return environ["wsgi.file_wrapper"](file)
"""
    done = ask(answering(tmp_path, code))
    assert done.body == (b"0123456789" * 100_000)[5:]


# -- failures


def test_W042_W043_T20_a_500_with_its_traceback_on_the_error_stream(tmp_path: Path) -> None:
    done = ask(answering(tmp_path, "raise ValueError('a secret')"))
    assert done.status == "500 Internal Server Error"
    assert b"secret" not in done.out
    assert b"Traceback" not in done.out
    assert "ValueError: a secret" in done.errors
    incident = done.body.split()[-1].strip(b".").decode()
    assert f"[{incident}]" in done.errors
    (line,) = [text for text in done.errors.splitlines() if "next: " in text]
    assert line.startswith(f"gatebridge: app.failed incident {incident} (GET /cgi-bin/app.cgi")
    assert done.code == 0  # the answer is whole


def test_T18_a_refusal_names_its_incident_in_page_and_log(tmp_path: Path) -> None:
    done = ask(answering(tmp_path, "return 1 / 0"), CONTENT_LENGTH="9999999999999")
    assert done.status == "413 Content Too Large"
    incident = done.body.split()[-1].strip(b".").decode()
    (line,) = done.errors.splitlines()
    assert line.startswith(f"gatebridge: body.too_big incident {incident} (")
    assert "; next: raise --limit-body " in line
    assert b"body.too_big" not in done.out


def test_W044_after_output_the_exit_status_tells(tmp_path: Path) -> None:
    code = """
start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
def blocks():
    yield b"half"
    raise ValueError("a secret")
return blocks()
"""
    done = ask(answering(tmp_path, code))
    assert (done.body, done.code) == (b"half", 1)
    assert "a secret" in done.errors


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "sys.exit('bye')"])
def test_W057_an_exit_is_a_failure(tmp_path: Path, code: str) -> None:
    assert ask(answering(tmp_path, code)).status.startswith("500 ")


def test_W061_errors_take_any_text_in_any_locale(tmp_path: Path) -> None:
    code = """
environ["wsgi.errors"].write("caf\\xe9 \\u20ac \\udcff\\n")
environ["wsgi.errors"].writelines(["a\\n", "b\\n"])
environ["wsgi.errors"].flush()
start_response("200 OK", [("Content-Type", "text/plain")])
return [b"x"]
"""
    done = ask(answering(tmp_path, code), LC_ALL="C", PYTHONUTF8="0")
    assert done.errors == "caf\xe9 \u20ac \\udcff\na\nb\n"


def test_W061_the_error_stream_may_be_closed(tmp_path: Path) -> None:
    argv = answering(
        tmp_path,
        "environ['wsgi.errors'].write('x')\nstart_response('200 OK', [('Content-Type', 'a/b')])\n"
        "return [b'x']",
    )
    done = ask(["sh", "-c", 'exec "$@" 2>&-', "sh", *argv])
    assert (done.code, done.body) == (0, b"x")


def test_W038_close_is_called_when_the_server_leaves(tmp_path: Path) -> None:
    mark = tmp_path / "closed"
    code = f"""
start_response("200 OK", [("Content-Type", "text/plain")])
class Blocks:
    def __iter__(self):
        return iter(lambda: b"x" * 65536, b"")
    def close(self):
        with open({str(mark)!r}, "a") as file:
            file.write("closed ")
return Blocks()
"""
    process = subprocess.Popen(
        answering(tmp_path, code), stdout=subprocess.PIPE, env=cgi.encoded(cgi.environment())
    )
    process.stdout.read(10)
    process.stdout.close()
    process.wait(DEADLINE_S)
    assert mark.read_text() == "closed "


def test_C16_close_is_called_when_the_server_says_TERM(tmp_path: Path) -> None:
    """So a script that is stopped half-way still ends what it began, as lighttpd stops it."""
    mark, begun = tmp_path / "closed", tmp_path / "begun"
    os.mkfifo(begun)
    code = f"""
import signal
start_response("200 OK", [("Content-Type", "text/plain")])
class Blocks:
    def __iter__(self):
        yield b"first"
        open({str(begun)!r}, "w").close()
        signal.pause()
        yield b"never"
    def close(self):
        open({str(mark)!r}, "w").close()
return Blocks()
"""
    process = subprocess.Popen(
        answering(tmp_path, code), stdout=subprocess.PIPE, env=cgi.encoded(cgi.environment())
    )
    with process:
        begun.read_text()
        process.terminate()
        process.stdout.read()
        process.wait(DEADLINE_S)
    assert mark.exists()
