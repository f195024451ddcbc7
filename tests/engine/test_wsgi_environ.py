"""The environ of PEP 3333: keys, types, streams, and what the wire can never put there."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from gatebridge.engine.body import Body
from gatebridge.engine.wsgi import FileWrapper, run
from gatebridge.environ.build import Builder
from gatebridge.errors import PeerError
from gatebridge.wire.events import Pairs, Request
from tests.engine.recorder import TEXT, Recorder, ask, giving
from tests.engine.test_body import Pieces, cut

PLAIN = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/a",
    "QUERY_STRING": "",
    "REQUEST_URI": "/a",
    "SERVER_NAME": "h",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "h",
    "REMOTE_ADDR": "192.0.2.7",
}


def built(builder: Builder | None = None, /, **changed: str | None) -> dict[str, Any]:
    """The environ of PLAIN with some variables changed; None leaves one out."""
    merged = {**PLAIN, **{name.replace("__", "."): v for name, v in changed.items()}}
    found = {name: value for name, value in merged.items() if value is not None}
    pairs = list(found.items())
    request = Request(1, dict(found), False, Pairs(b"", lambda _: pairs), complete=True)
    environ, _ = (builder or Builder()).build(request)
    return environ


def test_W001_W002_a_builtin_dict_with_str_keys() -> None:
    environ = built()
    assert type(environ) is dict
    assert {type(key) for key in environ} == {str}
    assert {type(v) for k, v in environ.items() if k.isupper()} == {str}
    assert environ["wsgi.version"] == (1, 0)


def test_W003_the_seven_keys_of_cgi() -> None:
    environ = built(
        CONTENT_TYPE="text/plain", CONTENT_LENGTH="0", QUERY_STRING="a=b", REQUEST_URI="/a?a=b"
    )
    wanted = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a",
        "QUERY_STRING": "a=b",
        "SERVER_NAME": "h",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    assert {name: environ[name] for name in wanted} == wanted


REQUIRED = [
    ("SCRIPT_NAME", ""),
    ("PATH_INFO", "/a"),
    ("QUERY_STRING", ""),
    ("SERVER_NAME", "h"),
    ("SERVER_PORT", "80"),
    ("SERVER_PROTOCOL", "HTTP/1.0"),
]


@pytest.mark.parametrize(("name", "value"), REQUIRED, ids=[row[0] for row in REQUIRED])
@pytest.mark.parametrize("sent", [None, ""])
def test_W004_a_required_key_is_supplied(name: str, value: str, sent: str | None) -> None:
    assert built(**{name: sent})[name] == value


def test_W004_with_next_to_nothing() -> None:
    pairs = [("REQUEST_METHOD", "GET")]
    request = Request(1, dict(pairs), False, Pairs(b"", lambda _: pairs), complete=True)
    environ, length = Builder().build(request)
    for name, _ in REQUIRED:
        assert isinstance(environ[name], str)
    assert environ["SERVER_NAME"]
    assert environ["SERVER_PORT"].isdigit()
    assert length == 0


SCHEMES = [("on", "https"), ("1", "https"), ("ON", "https"), ("off", "http"), ("", "http"),
           ("0", "http"), ("no", "http"), (None, "http")]  # fmt: skip


@pytest.mark.parametrize(("sent", "scheme"), SCHEMES)
def test_W005_url_scheme(sent: str | None, scheme: str) -> None:
    assert built(HTTPS=sent)["wsgi.url_scheme"] == scheme


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize("once", [True, False])
def test_W007_flags(threads: bool, once: bool) -> None:
    environ = built(Builder(multithread=threads, run_once=once))
    flags = [environ[f"wsgi.{name}"] for name in ("multithread", "multiprocess", "run_once")]
    assert flags == [threads, False, once]
    assert {type(flag) for flag in flags} == {bool}


@pytest.mark.parametrize("way", ["read", "readline", "readlines", "__iter__"])
def test_W006_the_input_has_its_methods(way: str) -> None:
    assert callable(getattr(Body(Pieces([]), b"", 0), way))


PATHS = [
    ("W008 mounted", "/app", "/app/x/y", "/app", "/x/y"),
    ("W008 mounted, its root", "/app", "/app/", "/app", "/"),
    ("W008 mounted, no slash", "/app", "/app", "/app", ""),
    ("W008 at the root", "/", "/x", "", "/x"),
    ("W009 latin-1 of the bytes", "/", "/caf%C3%A9/%FF", "", "/caf\xc3\xa9/\xff"),
    ("W009 decoded once", "/", "/100%2525", "", "/100%25"),
    ("W009 a slash inside", "/", "/a%2Fb", "", "/a/b"),
]


@pytest.mark.parametrize("row", PATHS, ids=[row[0] for row in PATHS])
def test_W008_W009_script_and_path(row) -> None:
    _, mount, uri, script, info = row
    environ = built(Builder(mount), REQUEST_URI=uri, SCRIPT_NAME=script, PATH_INFO=info)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script, info)


QUERIES = ["a=1&b=%20+%C3%A9", "%", "??", "a=\xe9", "-d+x", "=&=", "a" * 5_000]


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_W010_the_query_is_raw(query: str) -> None:
    assert built(QUERY_STRING=query, REQUEST_URI=f"/a?{query}")["QUERY_STRING"] == query


METHODS = ["GET", "get", "PROPFIND", "M-SEARCH", "X!#$%&'*+-.^_`|~9", "A" * 300]


@pytest.mark.parametrize("method", METHODS)
def test_W011_any_token_is_a_method(method: str) -> None:
    assert built(REQUEST_METHOD=method)["REQUEST_METHOD"] == method


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n", "G\xc9T", "(x)", None])
def test_W011_anything_else_is_refused(method: str | None) -> None:
    with pytest.raises(PeerError, match=r"method\.malformed"):
        built(REQUEST_METHOD=method)


def test_W012_the_process_keeps_its_environment() -> None:
    before = dict(os.environ)
    environ = built(HTTP_X="1", PATH="/evil", LD_PRELOAD="/evil.so", PYTHONPATH="/evil")
    environ["GATEBRIDGE_NEW"] = "1"
    assert dict(os.environ) == before
    assert environ["PATH"] == "/evil"  # the server may send it; it is a variable like any other


@pytest.mark.parametrize("name", ["HTTP_PROXY"])
@pytest.mark.parametrize("value", ["http://evil.example", ""])
def test_W013_T5_no_proxy_from_a_header(name: str, value: str) -> None:
    assert name not in built(**{name: value})


OURS = ["wsgi.input", "wsgi.errors", "wsgi.version", "wsgi.url_scheme", "wsgi.run_once",
        "wsgi.multithread", "wsgi.multiprocess", "wsgi.file_wrapper", "wsgi.input_terminated",
        "gatebridge.params", "gatebridge.protocol", "gatebridge.new"]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_W014_the_wire_cannot_speak_for_the_gateway(name: str) -> None:
    environ = built(**{name.replace(".", "__"): "evil"})
    assert environ.get(name) != "evil"


INERT = {
    "UWSGI_FILE": "/etc/evil.py",
    "UWSGI_SCRIPT": "evil",
    "UWSGI_MODULE": "evil",
    "UWSGI_CALLABLE": "evil",
    "UWSGI_PYHOME": "/evil",
    "UWSGI_CHDIR": "/",
    "UWSGI_APPID": "evil",
    "SCRIPT_FILENAME": "/etc/passwd",
    "PATH_TRANSLATED": "/etc/passwd",
    "DOCUMENT_ROOT": "/",
    "PHP_VALUE": "auto_prepend_file=/etc/passwd",
    "PHP_ADMIN_VALUE": "allow_url_include=On",
    "GATEBRIDGE_APP": "evil:app",
    "PYTHONSTARTUP": "/evil.py",
}


def test_W015_W065_no_variable_loads_code(tmp_path: Path) -> None:
    """They arrive as text, and nothing looks at them: modules, folder and path stay as they are."""
    before = (set(sys.modules), os.getcwd(), list(sys.path), dict(os.environ))
    environ = built(**INERT)
    assert {name: environ[name] for name in INERT} == INERT
    assert (set(sys.modules), os.getcwd(), list(sys.path), dict(os.environ)) == before


def test_W016_nothing_of_one_request_is_in_the_next() -> None:
    builder = Builder()
    first = built(builder, HTTP_X_SECRET="1", REMOTE_USER="ada", HTTPS="on", HTTP_COOKIE="a=1")
    first["app.cache"] = "mine"
    second = built(builder)
    assert second is not first
    left = ("HTTP_X_SECRET", "REMOTE_USER", "HTTPS", "HTTP_COOKIE", "app.cache")
    assert [name for name in left if name in second] == []
    assert second["wsgi.url_scheme"] == "http"


def test_W017_T9_content_length_has_one_source() -> None:
    environ = built(HTTP_CONTENT_LENGTH="99", HTTP_CONTENT_TYPE="evil/type", CONTENT_TYPE="a/b")
    assert environ.get("CONTENT_LENGTH", "") in ("", "0")
    assert environ["CONTENT_TYPE"] == "a/b"
    assert "HTTP_CONTENT_LENGTH" not in environ
    assert "HTTP_CONTENT_TYPE" not in environ


def test_W061_errors_takes_any_text() -> None:
    """Surrogates, NUL, several lines: what an application logs is its own."""
    from gatebridge.oneshot import Stderr

    read, write = os.pipe()
    kept = os.dup(2)
    os.dup2(write, 2)
    try:
        errors = Stderr()
        errors.write("caf\xe9 \u20ac \udcff\n")
        errors.writelines(["a\n", "b\x00\n"])
        errors.flush()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(write)
    with open(read, "rb") as file:
        assert file.read() == "caf\xe9 \u20ac \\udcff\na\nb\x00\n".encode()


ARGV = ["-d", "--help", "--mount+/x", "-x+y"]


@pytest.mark.parametrize("query", ARGV)
def test_W062_T4_the_query_is_no_argument(query: str) -> None:
    before = list(sys.argv)
    environ = built(QUERY_STRING=query, REQUEST_URI=f"/a?{query}")
    assert (environ["QUERY_STRING"], sys.argv) == (query, before)


@pytest.mark.parametrize("name", ["HTTP_REMOTE_USER", "HTTP_AUTH_USER", "HTTP_X_REMOTE_USER"])
def test_W063_nobody_is_who_a_header_says(name: str) -> None:
    assert "REMOTE_USER" not in built(**{name: "root"})


def test_W064_T6_forwarded_headers_are_only_headers() -> None:
    environ = built(
        HTTP_X_FORWARDED_FOR="203.0.113.9",
        HTTP_X_FORWARDED_PROTO="https",
        HTTP_X_FORWARDED_HOST="evil.example",
        HTTP_FORWARDED="for=203.0.113.9;proto=https;host=evil.example",
        HTTP_X_REAL_IP="203.0.113.9",
        HTTP_CLIENT_IP="203.0.113.9",
    )
    assert environ["REMOTE_ADDR"] == "192.0.2.7"
    assert environ["wsgi.url_scheme"] == "http"
    assert environ["HTTP_HOST"] == "h"
    assert environ["SERVER_NAME"] == "h"
    assert environ["HTTP_X_FORWARDED_FOR"] == "203.0.113.9"


# -- W068: wsgiref's validator finds nothing to object to


def reads(way: Callable[[Any], Any]):
    def app(environ, start_response):
        way(environ["wsgi.input"])
        environ["wsgi.errors"].write("said\n")
        environ["wsgi.errors"].writelines(["said\n"])
        environ["wsgi.errors"].flush()
        start_response("200 OK", [TEXT])
        return [b"x"]

    return app


VALID = [
    ("read", reads(lambda body: body.read(5))),
    ("readline", reads(lambda body: body.readline(5))),
    ("readlines", reads(lambda body: body.readlines(5))),
    ("iteration", reads(lambda body: list(body))),
    ("no body", giving([], "204 No Content", ())),
    ("generator", giving(iter([b"a", b"b"]))),
]


@pytest.mark.parametrize(("name", "app"), VALID, ids=[row[0] for row in VALID])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_W068_validated(name: str, app, method: str) -> None:
    environ = built(REQUEST_METHOD=method, CONTENT_LENGTH="7", CONTENT_TYPE="a/b")
    environ["wsgi.input"] = Body(Pieces(cut(b"one\ntwo", 2)), b"", 7)
    environ["wsgi.errors"] = sys.stderr
    environ["wsgi.file_wrapper"] = FileWrapper
    out = Recorder()
    run(validator(app), environ, out)
    assert out.whole, out.log
    assert not out.incidents, out.log


def test_W068_the_validator_is_heard_when_it_objects() -> None:
    """So the silence above says something."""

    def app(environ, start_response):
        start_response("200 OK", [])  # a body without Content-Type
        return [b"x"]

    environ = built()
    environ["wsgi.input"], environ["wsgi.errors"] = Body(Pieces([]), b"", 0), sys.stderr
    out = Recorder()
    run(validator(app), environ, out)
    assert "AssertionError" in out.log


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_W040_the_application_learns_of_HEAD(method: str) -> None:
    seen = []

    def app(environ, start_response):
        seen.append(environ["REQUEST_METHOD"])
        start_response("200 OK", [TEXT])
        return [b"x"]

    ask(app, method)
    assert seen == [method]
