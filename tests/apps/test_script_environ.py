"""What a CGI program finds: its environment, its arguments, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps.execute import Execute
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.script import Script
from gatebridge.apps.script_environ import arguments, variables
from gatebridge.errors import PeerError
from gatebridge.routing.rule import Rule
from gatebridge.routing.table import Route, route_table
from tests.apps.hosted import SHOW, Recorder, ask, environ, says, write

PLAIN = ScriptOptions()


@pytest.fixture
def launcher() -> Iterator[Execute]:
    made = Execute()
    yield made
    made.close()


def found(options: ScriptOptions = PLAIN, **more: Any) -> dict[bytes, bytes]:
    return variables(environ(**more), "/srv/x.cgi", options)


def test_C01_the_variables_of_the_request() -> None:
    made = found(REMOTE_USER="ann", HTTP_X_A="b", SSL_CLIENT_S_DN="cn", GIT_PROJECT_ROOT="/git")
    wanted = {
        b"GATEWAY_INTERFACE": b"CGI/1.1",
        b"GIT_PROJECT_ROOT": b"/git",
        b"HTTP_X_A": b"b",
        b"PATH": PLAIN.path.encode(),
        b"QUERY_STRING": b"",
        b"REMOTE_USER": b"ann",
        b"REQUEST_METHOD": b"GET",
        b"SCRIPT_FILENAME": b"/srv/x.cgi",
        b"SCRIPT_NAME": b"/cgi-bin/program",
        b"SERVER_NAME": b"h",
        b"SERVER_PORT": b"80",
        b"SERVER_PROTOCOL": b"HTTP/1.1",
        b"SSL_CLIENT_S_DN": b"cn",
    }
    assert made == wanted


def test_C01_what_the_server_says_of_these_is_not_believed() -> None:
    made = found(GATEWAY_INTERFACE="x", SCRIPT_FILENAME="proxy:fcgi://x", PATH="/tmp/evil")
    assert made[b"GATEWAY_INTERFACE"] == b"CGI/1.1"
    assert made[b"SCRIPT_FILENAME"] == b"/srv/x.cgi"
    assert made[b"PATH"] == PLAIN.path.encode()


def test_C01_bytes_come_as_they_were_sent() -> None:
    made = found(PATH_INFO="/" + "é".encode().decode("latin-1"), HTTP_X_A="\xff", OWN="☃")
    assert made[b"PATH_INFO"] == "/é".encode()
    assert made[b"HTTP_X_A"] == b"\xff"
    assert made[b"OWN"] == "☃".encode()


NOT_PASSED = """HTTP_PROXY http_proxy https_proxy HTTP_CONTENT_LENGTH HTTP_TRANSFER_ENCODING
HTTP_AUTHORIZATION HTTP_PROXY_AUTHORIZATION REDIRECT_HTTP_AUTHORIZATION LD_PRELOAD LD_LIBRARY_PATH
DYLD_INSERT_LIBRARIES PYTHONPATH PYTHONSTARTUP PERL5OPT PERL5LIB RUBYOPT NODE_OPTIONS BASH_ENV ENV
BASH_FUNC_x%% IFS PS4 SHELLOPTS GIT_SSH_COMMAND GIT_CONFIG_COUNT HOME PATH_TRANSLATED wsgi.x
gatebridge.x werkzeug.request""".split()


@pytest.mark.parametrize("name", NOT_PASSED)
def test_C18_T14_what_no_request_may_say(name: str) -> None:
    assert name.encode() not in found(**{name: "x"})


def test_C18_the_proxy_header_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://outside/")
    assert b"HTTP_PROXY" not in found(ScriptOptions(env=("HTTP_PROXY",)), HTTP_PROXY="x")


def test_C17_only_what_is_asked_for_comes_from_gatebridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_OURS", "secret")
    assert b"OF_OURS" not in found()
    assert found(ScriptOptions(env=("OF_OURS", "NOT_THERE")))[b"OF_OURS"] == b"secret"


def test_credentials_are_passed_where_the_operator_says_so() -> None:
    options = ScriptOptions(env=("HTTP_AUTHORIZATION",))
    assert found(options, HTTP_AUTHORIZATION="Basic x")[b"HTTP_AUTHORIZATION"] == b"Basic x"


@pytest.mark.parametrize(
    ("root", "info", "translated"),
    [
        ("/srv/www", "/a/b", b"/srv/www/a/b"),
        ("/srv/www/", "/a", b"/srv/www/a"),
        ("/srv/www", "", None),
        ("", "/a", None),
        ("/srv/www", "/../etc/passwd", None),
        ("/srv/www", "/a/../../b", None),
        ("/srv/www", "/a..b", b"/srv/www/a..b"),
    ],
)
def test_C19_path_translated(root: str, info: str, translated: bytes | None) -> None:
    made = found(DOCUMENT_ROOT=root, PATH_INFO=info, PATH_TRANSLATED="/of/the/server")
    assert made.get(b"PATH_TRANSLATED") == translated


@pytest.mark.parametrize(
    ("name", "value"), [("X_A", "a\0b"), ("X\0A", "a"), ("X=A", "a"), ("", "a")]
)
def test_what_cannot_be_passed_is_refused(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"params\.malformed"):
        found(**{name: value})
    out = ask(Script("/none", Execute(), PLAIN), environ(**{name: value}))
    assert out.status == "400 Bad Request"


def test_T14_shellshock_values() -> None:
    value = "() { :;}; /bin/true"
    assert found(HTTP_USER_AGENT=value)[b"HTTP_USER_AGENT"] == value.encode()
    assert b"HTTP_USER_AGENT" not in found(
        ScriptOptions(drop_shellshock=True), HTTP_USER_AGENT=value
    )


@pytest.mark.parametrize(
    ("query", "method", "words"),
    [
        ("a+b", "GET", ("a", "b")),
        ("a%20b+%2B", "HEAD", ("a b", "+")),
        ("a", "POST", ()),
        ("a=b", "GET", ()),
        ("a+b=", "GET", ()),
        ("", "GET", ()),
        ("-s", "GET", ()),
        ("a+%2Ds", "GET", ()),
        ("a%00b", "GET", ()),
    ],
)
def test_C04_arguments_of_an_indexed_query(query: str, method: str, words: tuple[str, ...]) -> None:
    assert arguments({"QUERY_STRING": query, "REQUEST_METHOD": method}) == words


def shown(folder: Path, launcher: Execute, options: ScriptOptions, **more: Any) -> list[Any]:
    out = ask(Script(write(folder, SHOW), launcher, options), environ(**more))
    told: list[Any] = json.loads(bytes(out.body))
    return told


def test_C04_C17_what_a_program_finds(tmp_path: Path, launcher: Execute) -> None:
    variables, folder, argv = shown(tmp_path, launcher, PLAIN, QUERY_STRING="a+b")
    own = {name.decode(): value.decode() for name, value in found(QUERY_STRING="a+b").items()}
    variables.pop("LC_CTYPE", None)  # Python sets it for itself in the C locale
    assert variables == own | {"SCRIPT_FILENAME": str(tmp_path / "program.py")}
    assert folder == str(tmp_path)
    assert argv == [str(tmp_path / "program.py")]


def test_C04_arguments_where_they_are_allowed(tmp_path: Path, launcher: Execute) -> None:
    options = ScriptOptions(arguments=True)
    assert shown(tmp_path, launcher, options, QUERY_STRING="a+b%20c")[2][1:] == ["a", "b c"]


PLACES = {
    "one": says("Location: /base/two?c=d%20e", "Content-Type: text/html", "", "not seen"),
    "circle": says("Location: /base/circle", ""),
    "outside": says("Location: /elsewhere/x?y", ""),
    "cookie": says("Location: /base/two", "Set-Cookie: a=b", ""),
    "host": says("Location: //base/two", ""),
    "status": says("Status: 302 Found", "Location: /base/two", ""),
    "two": """#!python
import os, sys
print("Content-Type: text/plain\\n")
names = "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING CONTENT_LENGTH HTTP_X_A".split()
print(*[os.environ.get(name) for name in names], len(sys.stdin.read()))
""",
}


@pytest.fixture
def redirected(tmp_path: Path, launcher: Execute) -> Any:
    """Asks the programs of PLACES, which a table serves below /base."""
    routes = [
        Route(Rule(f"/{name}"), Script(write(tmp_path, text, name), launcher, PLAIN))
        for name, text in PLACES.items()
    ]
    table = route_table(routes)

    def to(name: str) -> Recorder:
        asked = environ("POST", b"body", SCRIPT_NAME="/base", PATH_INFO=f"/{name}", HTTP_X_A="b")
        return ask(table, asked)

    return to


def test_C06_local_redirect(redirected: Any) -> None:
    out = redirected("one")
    assert out.status == "200 OK"
    assert bytes(out.body) == b"GET /base/two None c=d%20e None b 0\n"


def test_C06_a_circle_ends(redirected: Any) -> None:
    assert redirected("circle").status == "500 Internal Server Error"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("outside", "/elsewhere/x?y"),
        ("cookie", "/base/two"),
        ("status", "/base/two"),
        ("host", "//base/two"),
    ],
)
def test_C06_what_the_client_has_to_follow(redirected: Any, name: str, place: str) -> None:
    out = redirected(name)
    assert out.status == "302 Found"
    assert ("Location", place) in out.head.headers
