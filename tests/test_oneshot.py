"""What a CGI script of ours takes: the environment, standard input, no arguments."""

import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import cgi
from tests.cgi import DEADLINE_S, answering, ask, post, script

TELL = """
import json

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    told = {k: v for k, v in environ.items() if isinstance(v, (str, bool))}
    told["argv"], told["body"], told["end"] = sys.argv[1:], body.decode("latin-1"), "yes"
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A script that says what its application saw."""
    return script(tmp_path_factory.mktemp("tell"), TELL)


def told(done: cgi.Done) -> dict:
    assert (done.code, done.errors) == (0, ""), done
    return json.loads(done.body)


# -- C01: the variables


def test_C01_all_meta_variables_arrive_unchanged(tell: list[str]) -> None:
    more = {
        "AUTH_TYPE": "Basic",
        "CONTENT_TYPE": "text/x-caf\xe9",
        "REMOTE_HOST": "client.example",
        "REMOTE_USER": "ada",
        "REMOTE_IDENT": "ident",
        "HTTP_X_BYTES": "\x80\xff\xe9",
        "HTTP_X_EMPTY": "",
        "X_SERVERS_OWN": "yes",
    }
    seen = told(ask(tell, **more))
    wanted = {**cgi.GET, **more}
    assert {name: seen.get(name) for name in wanted} == wanted
    assert seen["GATEWAY_INTERFACE"] == "CGI/1.1"


def test_C01_utf_8_bytes_are_latin_1_text(tell: list[str]) -> None:
    assert told(ask(tell, PATH_INFO="/\xe2\x82\xac"))["PATH_INFO"] == "/\xe2\x82\xac"


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "de_DE.ISO-8859-1"])
def test_C01_whatever_the_locale(tell: list[str], locale: str) -> None:
    seen = told(ask(tell, LC_ALL=locale, HTTP_X_BYTES="\x80\xff", PYTHONUTF8="0"))
    assert seen["HTTP_X_BYTES"] == "\x80\xff"


def test_W007_C01_the_flags_say_once(tell: list[str]) -> None:
    seen = told(ask(tell))
    assert (seen["wsgi.run_once"], seen["wsgi.multithread"]) == (True, False)
    assert seen["gatebridge.protocol"] == "cgi"


# -- C02, C03: standard input


class Held:
    """A program whose standard input stays open, as a server's does."""

    def __init__(self, argv: list[str], sent: bytes, **vars) -> None:
        self.read, self.write = os.pipe()
        fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, 1 << 20)
        os.write(self.write, sent)
        self.process = subprocess.Popen(
            argv,
            stdin=self.read,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=cgi.encoded(cgi.environment(**vars)),
        )

    def end(self) -> tuple[cgi.Done, bytes]:
        """The answer, and what was left unread."""
        out, errors = self.process.communicate(timeout=DEADLINE_S)
        os.close(self.write)
        with open(self.read, "rb") as rest:
            return cgi.Done(self.process.returncode, out, errors), rest.read()


READS = ["read()", "read(1000000)", "readline()", "readlines()", "__iter__().__next__()"]


@pytest.mark.parametrize("how", READS)
def test_C02_no_more_than_content_length_is_read(tmp_path: Path, how: str) -> None:
    """The pipe stays open, and what follows the body stays in it."""
    code = f"""
body = environ["wsgi.input"].{how}
start_response("200 OK", [("Content-Type", "text/plain")])
return [repr(body).encode()]
"""
    held = Held(
        answering(tmp_path, code), b"hello" + b"surplus", REQUEST_METHOD="POST", CONTENT_LENGTH="5"
    )
    done, rest = held.end()
    assert b"b'hello'" in done.body
    assert rest == b"surplus"


def test_C02_a_large_body(tell: list[str]) -> None:
    body = bytes(range(256)) * 4096
    seen = told(post(tell, body, extra=b"surplus"))
    assert seen["body"].encode("latin-1") == body


@pytest.mark.parametrize("length", [None, "", "0"])
def test_C03_without_content_length_stdin_is_not_read(tell: list[str], length) -> None:
    held = Held(tell, b"not ours", REQUEST_METHOD="POST", CONTENT_LENGTH=length)
    done, rest = held.end()
    assert told(done)["body"] == ""
    assert rest == b"not ours"


def test_C03_stdin_may_be_closed(tell: list[str]) -> None:
    seen = told(ask(["sh", "-c", 'exec "$@" <&-', "sh", *tell]))
    assert seen["body"] == ""


@pytest.mark.parametrize("length", [None, "", "0", "-1"])
@pytest.mark.parametrize("coding", ["chunked", "Chunked"])  # as the client wrote it
def test_C03_F050_a_chunked_upload_is_read_to_its_end(
    tell: list[str], coding: str, length: str | None
) -> None:
    """Apache's mod_cgid sends one without a length, and closes behind it; a 0 would be a lie."""
    body = b"x" * 70_000
    known = {} if length is None else {"CONTENT_LENGTH": length}
    seen = told(ask(tell, body, REQUEST_METHOD="POST", HTTP_TRANSFER_ENCODING=coding, **known))
    assert (seen["CONTENT_LENGTH"], len(seen["body"])) == ("70000", 70_000)
    assert "HTTP_TRANSFER_ENCODING" not in seen


@pytest.mark.parametrize("sent", [b"", b"hal"])
def test_F046a_a_short_body_ends(tell: list[str], sent: bytes) -> None:
    assert told(ask(tell, sent, REQUEST_METHOD="POST", CONTENT_LENGTH="5"))["body"] == sent.decode()


@pytest.mark.parametrize("length", ["abc", "-2", "1e3", " 5", "9" * 21, "5,5"])
def test_F047_a_length_that_is_none(tell: list[str], length: str) -> None:
    done = ask(tell, b"hello", REQUEST_METHOD="POST", CONTENT_LENGTH=length)
    assert done.status.startswith("400 ")
    assert "length." in done.errors


def test_T18_a_body_beyond_the_limit(tell: list[str]) -> None:
    done = ask(tell, b"", REQUEST_METHOD="POST", CONTENT_LENGTH=str(1 << 40))
    assert done.status.startswith("413 ")


# -- C04: arguments


ARGUMENTS = [
    ["-d"],
    ["--help"],
    ["-c", "import os"],
    ["a", "b"],
    ["--mount", "/evil"],
    ["--", "-x"],
]


@pytest.mark.parametrize("words", ARGUMENTS, ids=lambda words: " ".join(words))
def test_C04_T4_W062_arguments_are_ignored(tell: list[str], words: list[str]) -> None:
    query = "+".join(words)
    seen = told(ask([*tell, *words], QUERY_STRING=query, REQUEST_URI=f"/cgi-bin/app.cgi/x?{query}"))
    assert (seen["QUERY_STRING"], seen["SCRIPT_NAME"]) == (query, "/cgi-bin/app.cgi")
    assert seen["PATH_INFO"] == "/x"


# -- C12: standard output is the answer's


@pytest.mark.parametrize("how", ["print('said', flush=True)", "print('said')",
                                 "import os; os.system('echo said')"])  # fmt: skip
def test_C12_what_is_printed_is_no_part_of_the_answer(tmp_path: Path, how: str) -> None:
    code = f"""
{how}
start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
return [b"ok"]
"""
    done = ask(answering(tmp_path, code))
    assert (done.code, done.status, done.body) == (0, "200 OK", b"ok")
    assert done.errors == "said\n"


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 2>&-"])
def test_C12_none_takes_the_place_of_one_that_is_closed(tmp_path: Path, closed: str) -> None:
    code = """
environ["wsgi.errors"].write("an error")
start_response("200 OK", [("Content-Type", "text/plain")])
return [b"ok"]
"""
    done = ask(["sh", "-c", f'exec "$@" {closed}', "sh", *answering(tmp_path, code)])
    assert (done.code, done.body) == (0, b"" if "1" in closed else b"ok")
    assert done.errors == ("" if "2" in closed else "an error")


# -- C18 to C20


@pytest.mark.parametrize("value", ["http://evil.example:8080", ""])
def test_C18_W013_T5_no_proxy_from_a_header(tell: list[str], value: str) -> None:
    assert "HTTP_PROXY" not in told(ask(tell, HTTP_PROXY=value))


def test_C18_T5_neither_in_the_process_for_its_children(tmp_path: Path) -> None:
    """urllib and curl look at the process's environment, not at the request's."""
    code = """
import os
start_response("200 OK", [("Content-Type", "text/plain")])
return [repr(os.environ.get("HTTP_PROXY")).encode()]
"""
    done = ask(answering(tmp_path, code), HTTP_PROXY="http://evil.example")
    assert done.body == b"None"


PATHS = [
    ("%2F", "/a%2Fb", "/a/b"),
    ("%00", "/a%00b", None),
    ("//", "/a//b", "/a//b"),
    ("..", "/a/../b", "/a/../b"),
    ("%25", "/a%252Fb", "/a%2Fb"),
    ("CR LF", "/a%0D%0Ab", "/a\r\nb"),
    ("utf-8", "/caf%C3%A9", "/caf\xc3\xa9"),
]


@pytest.mark.parametrize(("name", "raw", "decoded"), PATHS, ids=[row[0] for row in PATHS])
def test_C19_T3_the_path_is_decoded_once(tell: list[str], name: str, raw: str, decoded) -> None:
    """A NUL cannot be in an environment: the server leaves it out or says 404 by itself."""
    sent = decoded if decoded is not None else "/ab"
    uri = f"/cgi-bin/app.cgi{raw}"
    seen = told(ask(tell, REQUEST_URI=uri, PATH_INFO=sent, QUERY_STRING="",
                    PATH_TRANSLATED="/etc/passwd"))  # fmt: skip
    assert seen["SCRIPT_NAME"] == "/cgi-bin/app.cgi"
    assert seen["PATH_INFO"] in (sent, "/a\0b")
    assert seen["PATH_TRANSLATED"] == "/etc/passwd"  # as sent; nothing opens it


def test_C20_a_joined_cookie_is_left_as_it_is(tell: list[str]) -> None:
    """The server has joined repeated lines already (section 4.1.18)."""
    seen = told(ask(tell, HTTP_COOKIE="a=1; b=2", HTTP_ACCEPT="a, b"))
    assert (seen["HTTP_COOKIE"], seen["HTTP_ACCEPT"]) == ("a=1; b=2", "a, b")


def test_T14_a_shell_sees_nothing_of_it(tell: list[str]) -> None:
    value = "() { :;}; echo vulnerable"
    seen = told(ask(tell, HTTP_USER_AGENT=value))
    assert seen["HTTP_USER_AGENT"] == value


# -- C22


def test_C22_called_directly_it_says_what_it_is(tell: list[str]) -> None:
    done = ask(tell, REQUEST_METHOD=None)
    assert (done.code, done.out) == (2, b"")
    assert "web server" in done.errors


def test_C22_nothing_is_run(tmp_path: Path) -> None:
    done = ask(answering(tmp_path, "open('/nonexistent/x')"), REQUEST_METHOD=None)
    assert done.code == 2
    assert "Traceback" not in done.errors


@pytest.mark.parametrize("method", ["", "G T", "GET\r\nX: y"])
def test_C22_a_method_that_is_none_is_refused(tell: list[str], method: str) -> None:
    done = ask(tell, REQUEST_METHOD=method)
    assert done.status.startswith("400 ")
