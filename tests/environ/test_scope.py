"""ASGI 3, HTTP: the connection scope, key by key, out of what servers send."""

import pytest

from gatebridge.environ.build import Builder
from gatebridge.environ.scope import http_scope
from tests.environ.making import SOFTWARE, request

PLAIN = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/p",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/p",
    "QUERY_STRING": "",
    "SERVER_NAME": "example.org",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
}


def scope_of(*pairs, mount=None, strip=False, trusted=(), version="3.0", **vars):
    said = {name: value for name, value in {**PLAIN, **vars}.items() if value is not None}
    asked = request([*said.items(), *pairs])
    builder = Builder(mount=mount, trusted=trusted, forwarded=("for", "proto", "host"))
    environ, _ = builder.build(asked)
    return http_scope(asked, environ, version, strip)


def test_all_keys():
    scope = scope_of(REMOTE_ADDR="192.0.2.7", REMOTE_PORT="4711", HTTP_HOST="example.org")
    assert scope.pop("gatebridge.environ")["REMOTE_ADDR"] == "192.0.2.7"
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/p",
        "raw_path": b"/p",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"example.org")],
        "client": ("192.0.2.7", 4711),
        "server": ("example.org", 80),
    }


ROWS = [
    ("HTTP/1.0", {"SERVER_PROTOCOL": "HTTP/1.0"}, "http_version", "1.0"),
    ("HTTP/2 has no minor version", {"SERVER_PROTOCOL": "HTTP/2.0"}, "http_version", "2"),
    ("nor has HTTP/3", {"SERVER_PROTOCOL": "HTTP/3.0"}, "http_version", "3"),
    ("RFC 3875 4.1.16", {"SERVER_PROTOCOL": "INCLUDED"}, "http_version", "1.1"),
    ("methods are upper case", {"REQUEST_METHOD": "purge"}, "method", "PURGE"),
    ("HTTPS", {"HTTPS": "on"}, "scheme", "https"),
    ("HTTPS is off", {"HTTPS": "off"}, "scheme", "http"),
    ("a query is bytes, not decoded", {"QUERY_STRING": "a=%20b+\xe9"}, "query_string",
     b"a=%20b+\xe9"),
    ("no client", {}, "client", None),
    ("a Unix socket is no client", {"REMOTE_ADDR": "unix:"}, "client", None),
    ("a client without a port", {"REMOTE_ADDR": "::1"}, "client", ("::1", 0)),
    ("a port that is none", {"REMOTE_ADDR": "::1", "REMOTE_PORT": "-1"}, "client", ("::1", 0)),
    ("the server's port", {"SERVER_PORT": "8080"}, "server", ("example.org", 8080)),
    ("a port by the scheme", {"SERVER_PORT": "", "HTTPS": "on"}, "server", ("example.org", 443)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "vars", "key", "wanted"), ROWS, ids=[row[0] for row in ROWS])
def test_keys(name, vars, key, wanted):
    assert scope_of(**vars)[key] == wanted


def test_a_double_callable_sees_its_version():
    assert scope_of(version="2.0")["asgi"]["version"] == "2.0"


# -- paths: (name, variables, mount, path, raw_path, root_path)

NGINX = {"SERVER_SOFTWARE": SOFTWARE["nginx"]}
PATHS = [
    ("plain", {}, None, "/p", b"/p", ""),
    ("UTF-8", {"REQUEST_URI": "/caf%C3%A9", "PATH_INFO": "/caf\xc3\xa9"}, None,
     "/caf\xe9", b"/caf%C3%A9", ""),
    ("no UTF-8", {"REQUEST_URI": "/%E9", "PATH_INFO": "/\xe9"}, None, "/\ufffd", b"/%E9", ""),
    ("an escaped slash", {"REQUEST_URI": "/a%2Fb", "PATH_INFO": "/a/b"}, None,
     "/a/b", b"/a%2Fb", ""),
    ("escapes as they came", {"REQUEST_URI": "/%7euser", "PATH_INFO": "/~user"}, None,
     "/~user", b"/%7euser", ""),
    ("the query is no part", {"REQUEST_URI": "/p?a=/x"}, None, "/p", b"/p", ""),
    ("an absolute URL", {"REQUEST_URI": "http://example.org/p?x"}, None, "/p", b"/p", ""),
    ("an absolute URL without a path", {"REQUEST_URI": "http://example.org", "PATH_INFO": "/"},
     None, "/", b"/", ""),
    ("no REQUEST_URI", {"REQUEST_URI": "", "PATH_INFO": "/a b%\xc3\xa9"}, None,
     "/a b%\xe9", b"/a%20b%25%C3%A9", ""),
    ("slashes that nginx merged", {**NGINX, "REQUEST_URI": "//a//b", "SCRIPT_NAME": "/a/b",
     "PATH_INFO": None}, None, "/a/b", b"//a//b", ""),
    ("dot segments that nginx resolved", {**NGINX, "REQUEST_URI": "/shut/../open/%2e%2e/b%20",
     "SCRIPT_NAME": "/b ", "PATH_INFO": None}, None, "/b ", b"/b%20", ""),
    ("dots that are none", {"REQUEST_URI": "/.well-known/a%2Fb", "PATH_INFO": "/.well-known/a/b"},
     None, "/.well-known/a/b", b"/.well-known/a%2Fb", ""),
    ("a rewritten URL", {"REQUEST_URI": "/old", "PATH_INFO": "/new"}, None, "/new", b"/new", ""),
    ("a mount", {"SCRIPT_NAME": "/app", "REQUEST_URI": "/app/p"}, None,
     "/app/p", b"/app/p", "/app"),
    ("a mount without more", {"SCRIPT_NAME": "/app", "PATH_INFO": "", "REQUEST_URI": "/app"},
     None, "/app", b"/app", "/app"),
    ("a mount in UTF-8", {"SCRIPT_NAME": "/\xc3\xa9", "REQUEST_URI": "/%C3%A9/p"}, None,
     "/\xe9/p", b"/%C3%A9/p", "/\xe9"),
    ("a mount that the operator names", {**NGINX, "SCRIPT_NAME": "/app/p", "PATH_INFO": "",
     "REQUEST_URI": "/app/p"}, "/app", "/app/p", b"/app/p", "/app"),
    ("a mount that the server cut off", {"REQUEST_URI": "/app/p"}, "/app",
     "/app/p", b"/app/p", "/app"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "vars", "mount", "path", "raw", "root"), PATHS, ids=[row[0] for row in PATHS]
)
def test_paths(name, vars, mount, path, raw, root):
    scope = scope_of(mount=mount, **vars)
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (path, raw, root)
    assert scope["path"].startswith(scope["root_path"])


STRIPPED = [
    ("plain", "/app", "/p", "/app/p?x", "/p", b"/p"),
    ("nothing below", "/app", "", "/app", "/", b"/"),
    ("a slash", "/app", "/", "/app/", "/", b"/"),
    ("two segments", "/a/b", "/p/q", "/a/b/p/q", "/p/q", b"/p/q"),
    ("escapes below", "/app", "/\xc3\xa9 ", "/app/%C3%A9%20", "/\xe9 ", b"/%C3%A9%20"),
    ("escapes in the mount", "/a b", "/p", "/a%20b/p", "/p", b"/p"),
    ("an escaped slash in the mount", "/a/b", "/p q", "/a%2Fb/p%20q", "/p q", b"/p%20q"),
    ("no mount", "", "/app/p", "/app/p", "/app/p", b"/app/p"),
]


@pytest.mark.parametrize(
    ("name", "script", "info", "uri", "path", "raw"), STRIPPED, ids=[row[0] for row in STRIPPED]
)
def test_paths_without_the_root_path(name, script, info, uri, path, raw):
    """What Sanic needs, and servers did before asgiref made the rule plain."""
    scope = scope_of(strip=True, SCRIPT_NAME=script, PATH_INFO=info, REQUEST_URI=uri)
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (path, raw, script)


# -- headers


def test_headers_are_lower_case_and_in_order():
    scope = scope_of(
        CONTENT_TYPE="text/plain", CONTENT_LENGTH="0", HTTP_X_B="1", HTTP_ACCEPT="*/*", OTHER="x"
    )
    assert scope["headers"] == [
        (b"content-type", b"text/plain"),
        (b"content-length", b"0"),
        (b"x-b", b"1"),
        (b"accept", b"*/*"),
    ]


def test_values_are_the_bytes_that_came():
    assert scope_of(HTTP_X_A="caf\xc3\xa9")["headers"] == [(b"x-a", "café".encode())]


def test_repeated_headers_are_kept_apart():
    pairs = [("HTTP_X_A", "1"), ("HTTP_X_B", "b"), ("HTTP_X_A", "2"), ("HTTP_COOKIE", "a=1"),
             ("HTTP_COOKIE", "b=2")]  # fmt: skip
    assert scope_of(*pairs)["headers"] == [
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"x-b", b"b"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
    ]


def test_a_repeated_header_that_a_believed_peer_replaced_is_its_own():
    pairs = [("HTTP_HOST", "a"), ("HTTP_HOST", "b"), ("HTTP_X_FORWARDED_HOST", "shop.example")]
    scope = scope_of(*pairs, trusted=("*",))
    assert (b"host", b"shop.example") in scope["headers"]
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"shop.example"]


def test_what_is_put_right_in_the_environ_is_right_here():
    """Proxy is dropped (CVE-2016-5385), Authorization recovered, empty values left out."""
    scope = scope_of(
        HTTP_PROXY="http://evil",
        REDIRECT_HTTP_AUTHORIZATION="Basic eA==",
        CONTENT_LENGTH="",
        CONTENT_TYPE="",
        HTTP_CONTENT_LENGTH="7",
    )
    assert scope["headers"] == [(b"authorization", b"Basic eA==")]


def test_forwarded_client_and_scheme_are_those_of_the_environ():
    forwarded = {"HTTP_X_FORWARDED_FOR": "203.0.113.9", "HTTP_X_FORWARDED_PROTO": "https"}
    scope = scope_of(trusted=("10.0.0.0/8",), REMOTE_ADDR="10.0.0.1", REMOTE_PORT="9", **forwarded)
    assert (scope["client"], scope["scheme"]) == (("203.0.113.9", 0), "https")
    scope = scope_of(trusted=("10.0.0.0/8",), REMOTE_ADDR="192.0.2.1", REMOTE_PORT="9", **forwarded)
    assert (scope["client"], scope["scheme"]) == (("192.0.2.1", 9), "http")


def test_many_names_are_not_remembered_for_ever():
    for number in range(2000):
        scope = scope_of(**{f"HTTP_X_{number}": "1"})
        assert scope["headers"] == [(b"x-%d" % number, b"1")]
    from gatebridge.environ import scope as module

    assert len(module._names) <= 512
