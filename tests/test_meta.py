"""Requests as CGI meta-variables, RFC 3875 section 4.1."""

import io

import pytest

from gatebridge.errors import UseError
from gatebridge.meta import Ask, Target, stated_length, variables
from gatebridge.wire.events import AUTHORIZER, FILTER

URLS = [
    ("/", "/", "", "/"),
    ("", "/", "", "/"),
    ("/a/b?x=1&y=%20", "/a/b", "x=1&y=%20", "/a/b?x=1&y=%20"),
    ("/a%20b/%C3%A9", "/a b/\xc3\xa9", "", "/a%20b/%C3%A9"),
    ("/\u00e9 x", "/\xc3\xa9 x", "", "/%C3%A9%20x"),
    ("/%FF%2F", "/\xff/", "", "/%FF%2F"),
    ("//a//b", "//a//b", "", "//a//b"),
    ("/a?b?c", "/a", "b?c", "/a?b?c"),
    ("/a#b?c", "/a", "", "/a"),
    ("?x=1", "/", "x=1", "/?x=1"),
    ("*", "*", "", "*"),
    ("/a\r\nX: 1", "/a\r\nX: 1", "", "/a%0D%0AX:%201"),
    ("http://h/a?b", "/a", "b", "/a?b"),
    ("http://h:8080", "/", "", "/"),
    ("https://[::1]:1/x", "/x", "", "/x"),
]


@pytest.mark.parametrize(("url", "path", "query", "raw"), URLS, ids=[repr(row[0]) for row in URLS])
def test_C19_path_is_decoded_once(url: str, path: str, query: str, raw: str) -> None:
    vars = dict(variables("GET", url, [], -1, []))
    assert vars["PATH_INFO"] == path
    assert vars["QUERY_STRING"] == query
    assert vars["REQUEST_URI"] == raw
    assert vars["SCRIPT_NAME"] == ""
    assert Target(url).raw == raw


HOSTS = [
    ("/", [], "localhost", "80", "localhost", None),
    ("/", [("Host", "h:81")], "h", "81", "h:81", None),
    ("/", [("host", "[::1]")], "[::1]", "80", "[::1]", None),
    ("/", [("host", "[::1]:82")], "[::1]", "82", "[::1]:82", None),
    ("http://h/", [], "h", "80", "h", None),
    ("https://h/", [], "h", "443", "h", "on"),
    ("https://h:8443/", [("Host", "other")], "h", "8443", "other", "on"),
    ("http://[::1]:83/", [], "[::1]", "83", "[::1]:83", None),
]


@pytest.mark.parametrize(("url", "headers", "name", "port", "host", "https"), HOSTS)
def test_names_of_the_server(
    url: str, headers: list[tuple[str, str]], name: str, port: str, host: str, https: str | None
) -> None:
    vars = dict(variables("GET", url, headers, -1, []))
    assert (vars["SERVER_NAME"], vars["SERVER_PORT"], vars["HTTP_HOST"]) == (name, port, host)
    assert vars.get("HTTPS") == https


def test_C01_required_variables_are_there() -> None:
    vars = dict(variables("PATCH", "/x", [], -1, []))
    assert vars["REQUEST_METHOD"] == "PATCH"
    assert vars["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert vars["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert vars["SERVER_SOFTWARE"].startswith("gatebridge/")
    assert vars["REMOTE_ADDR"] == "127.0.0.1"
    assert "CONTENT_LENGTH" not in vars
    assert "CONTENT_TYPE" not in vars


def test_C20_repeated_headers_are_joined() -> None:
    headers = [("X-A", "1"), ("Cookie", "a=1"), ("x-a", "2"), ("cookie", "b=2"), ("X-Empty", "")]
    vars = dict(variables("GET", "/", headers, -1, []))
    assert vars["HTTP_X_A"] == "1, 2"
    assert vars["HTTP_COOKIE"] == "a=1; b=2"
    assert vars["HTTP_X_EMPTY"] == ""


LENGTHS = [
    (-1, [], None, 0),
    (0, [], "0", 0),
    (5, [], "5", 5),
    (5, [("Content-Length", "3")], "3", 3),
    (5, [("Content-Length", "abc")], "abc", 5),
]


@pytest.mark.parametrize(("length", "headers", "variable", "stated"), LENGTHS)
def test_length_and_type_are_no_http_variables(
    length: int, headers: list[tuple[str, str]], variable: str | None, stated: int
) -> None:
    pairs = variables("POST", "/", [*headers, ("Content-Type", "a/b")], length, [])
    vars = dict(pairs)
    assert vars.get("CONTENT_LENGTH") == variable
    assert vars["CONTENT_TYPE"] == "a/b"
    assert "HTTP_CONTENT_LENGTH" not in vars
    assert "HTTP_CONTENT_TYPE" not in vars
    assert stated_length(pairs, length) == stated


def test_params_replace_and_may_repeat() -> None:
    own = [("SCRIPT_NAME", "/app"), ("SCRIPT_NAME", "/b"), ("EXTRA", "")]
    pairs = variables("GET", "/", [], -1, own)
    assert [value for name, value in pairs if name == "SCRIPT_NAME"] == ["/app", "/b"]
    assert pairs[-3:] == own


def test_F073a_an_authorizer_gets_no_path_and_no_length() -> None:
    names = {name for name, _ in variables("GET", "/x", [], 5, [], AUTHORIZER)}
    assert not names & {"CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME"}
    assert "REQUEST_URI" in names


def test_F074a_a_filter_gets_the_length_of_its_data() -> None:
    assert ("FCGI_DATA_LENGTH", "0") in variables("GET", "/x", [], -1, [], FILTER)


WRONG = [
    (("GET", "ftp://h/x", []), "url.malformed"),
    (("GET", "http:///x", []), "url.malformed"),
    (("GET", "http://h:port/", []), "url.malformed"),
    (("GET", "http://[::1/", []), "url.malformed"),
    (("GET", "x", []), "url.malformed"),
    (("GE T", "/", []), "method.malformed"),
    (("", "/", []), "method.malformed"),
    (("GET", "/", [("X A", "1")]), "header.malformed"),
    (("GET", "/", [("", "1")]), "header.malformed"),
    (("GET", "/", [("X-A", "1\r\nX-B: 2")]), "header.malformed"),
    (("GET", "/", [("X-A", "\u20ac")]), "header.malformed"),
]


@pytest.mark.parametrize(("given", "code"), WRONG)
def test_what_cannot_be_sent(given: tuple[str, str, list[tuple[str, str]]], code: str) -> None:
    with pytest.raises(UseError) as caught:
        variables(*given, -1, [])
    assert caught.value.code == code


def test_a_file_is_sent_from_where_it_stands() -> None:
    file = io.BytesIO(b"skipped" + bytes(100_000))
    file.seek(7)
    ask = Ask("POST", body=file)
    assert ask.length == 100_000
    assert b"".join(ask.pieces()) == bytes(100_000)


def test_a_file_that_grows_or_shrinks() -> None:
    file = io.BytesIO(b"abc")
    ask = Ask("POST", body=file)
    file.seek(0, io.SEEK_END)
    file.write(b"more")
    file.seek(0)
    assert b"".join(ask.pieces()) == b"abc"
    ask = Ask("POST", body=io.BytesIO(b"abc"))
    ask.length = 5
    with pytest.raises(UseError) as caught:
        list(ask.pieces())
    assert caught.value.code == "body.shrunk"
