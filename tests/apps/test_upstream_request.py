"""What a back end is asked: the path, the header fields, the FastCGI variables."""

from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps.upstream_options import parse_place
from gatebridge.apps.upstream_path import php_file, raw_target
from gatebridge.apps.upstream_request import fastcgi_variables, http_head
from gatebridge.errors import PeerError
from tests.engine.recorder import environ_of


def asked(script: str = "", info: str = "/", url: str = "", **more: Any) -> dict[str, Any]:
    made = environ_of() | {"SCRIPT_NAME": script, "PATH_INFO": info, "REQUEST_URI": url}
    del made["CONTENT_LENGTH"]
    return made | more


# -- the path

TARGETS = [  # SCRIPT_NAME, PATH_INFO, REQUEST_URI, base -> without the mount
    ("", "/", "/", "", "/"),
    ("", "/a b", "/a%20b", "", "/a%20b"),
    ("", "/a/b", "/a%2Fb", "", "/a%2Fb"),
    ("", "/a/b", "/a//b", "", "/a/b"),
    ("", "/k\xc3\xa4se", "/k%C3%A4se?x", "", "/k%C3%A4se"),
    ("", "/k\xc3\xa4se", "", "", "/k%C3%A4se"),
    ("", "/new", "/old", "", "/new"),
    ("", "/a?b#c", "/a%3fb%23c", "", "/a%3fb%23c"),
    ("", "/a?b#c", "", "", "/a%3Fb%23c"),
    ("", "/100%", "/100%25", "", "/100%25"),
    ("", "/%zz", "/%zz", "", "/%zz"),
    ("", "/%zz", "", "", "/%25zz"),
    ("/app", "/x%y", "/app/x%25y", "", "/x%25y"),
    ("/app", "/x", "/%61pp/x", "", "/x"),
    ("/a b", "/x/y", "/a%20b/x%2fy", "", "/x%2fy"),
    ("/%", "/x", "/%25/x", "", "/x"),
    ("/app", "", "/app", "", "/"),
    ("", "x", "", "/base", "/base/x"),
    ("/app", "", "/app", "/base", "/base"),
    ("/app", "/x", "/app/x", "/base", "/base/x"),
    ("/app", "/x y", "/app/x y", "", "/x%20y"),
    ("", "/x\r\ny", "/x%0D%0Ay", "", "/x%0D%0Ay"),
    ("", "/x\r\ny", "/x\r\ny", "", "/x%0D%0Ay"),
]


@pytest.mark.parametrize(("script", "info", "url", "base", "target"), TARGETS)
def test_path(script: str, info: str, url: str, base: str, target: str) -> None:
    assert raw_target(asked(script, info, url), True, base) == target


@pytest.mark.parametrize("url", ["/app/x%2fy", "", "/other"])
def test_path_with_its_mount(url: str) -> None:
    wanted = url if url.startswith("/app") else "/app/x/y"
    assert raw_target(asked("/app", "/x/y", url), False, "") == wanted


@pytest.mark.parametrize(
    ("query", "sent"),
    [("", ""), ("a=1&b=%20", "?a=1&b=%20"), ("a b\xe4\r\n", "?a%20b%E4%0D%0A"), ("?", "??")],
)
def test_query(query: str, sent: str) -> None:
    assert raw_target(asked(info="/x", QUERY_STRING=query), True, "") == f"/x{sent}"


def test_asterisk() -> None:
    assert raw_target(asked(info="/*", REQUEST_METHOD="OPTIONS"), True, "") == "*"
    assert raw_target(asked(info="/*"), True, "") == "/*"


@pytest.mark.parametrize("info", ["/..", "/a/../b", "/./a", "/..;x/a", "/a\0"])
def test_a_path_that_leads_out_is_refused(info: str) -> None:
    for make in (http_head, fastcgi_variables):
        with pytest.raises(PeerError) as refused:
            make(asked(info=info), parse_place("http://h:1", "/"), 0)
        assert refused.value.code == "upstream.path"


def test_names_with_dots_are_paths() -> None:
    assert raw_target(asked(info="/.well-known/..a"), True, "") == "/.well-known/..a"


# -- header fields


def head(environ: dict[str, Any], length: int = 0, target: str = "http://h:1") -> list[str]:
    lines = http_head(environ, parse_place(target, "/"), length).decode("latin-1")
    assert lines.endswith("\r\n\r\n")
    return lines[:-4].split("\r\n")


def test_the_whole_head() -> None:
    environ = asked(
        "/app",
        "/x",
        HTTP_HOST="example.org:8080",
        HTTP_ACCEPT_LANGUAGE="de",
        HTTP_COOKIE="a=b; c=d",
        CONTENT_TYPE="a/b",
        CONTENT_LENGTH="3",
        REMOTE_ADDR="192.0.2.7",
        QUERY_STRING="q",
        REQUEST_METHOD="POST",
    )
    environ["wsgi.url_scheme"] = "https"
    assert head(environ, 3) == [
        "POST /x?q HTTP/1.1",
        "Host: example.org:8080",
        "Content-Type: a/b",
        "Content-Length: 3",
        "Accept-Language: de",
        "Cookie: a=b; c=d",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: example.org:8080",
        "X-Forwarded-Prefix: /app",
        'Forwarded: for=192.0.2.7;proto=https;host="example.org:8080"',
    ]


def test_with_its_mount_and_without_kept_connections() -> None:
    lines = head(asked("/app", "/x"), target="http://h:1/base?mount=keep&keep=0")
    assert lines[0] == "GET /base/app/x HTTP/1.1"
    assert lines[-1] == "Connection: close"
    assert not [line for line in lines if line.startswith("X-Forwarded-Prefix")]


DROPPED = """CONNECTION KEEP_ALIVE PROXY_CONNECTION PROXY_AUTHORIZATION TE TRAILER TRANSFER_ENCODING
    UPGRADE EXPECT HTTP2_SETTINGS CONTENT_LENGTH CONTENT_TYPE PROXY X_HOP
    FORWARDED X_FORWARDED_FOR X_FORWARDED_PROTO X_FORWARDED_HOST X_FORWARDED_PORT
    X_FORWARDED_PREFIX X_FORWARDED_SSL X_FORWARDED_PROTOCOL X_FORWARDED_BY X_REAL_IP
    CLIENT_IP X_SCHEME X_SCRIPT_NAME SCRIPT_NAME PATH_INFO X_ORIGINAL_URL
    DAPHNE_ROOT_PATH""".split()


@pytest.mark.parametrize("name", DROPPED)
def test_what_the_client_says_of_the_connection_or_in_a_proxys_name(name: str) -> None:
    environ = asked(**{f"HTTP_{name}": "forged", "HTTP_CONNECTION": "x-hop"})
    assert "forged" not in "\n".join(head(environ))


ODD = ["HTTP_X-FORWARDED-FOR", "HTTP_x_forwarded_for", "HTTP_", "HTTP_A:B", "HTTP_A B", "HTTP__A"]


@pytest.mark.parametrize("name", ODD)
def test_names_that_no_header_makes(name: str) -> None:
    assert "forged" not in "\n".join(head(asked(**{name: "forged"})))


NODES = [
    ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
    ("2001:db8::1", "2001:db8::1", '"[2001:db8::1]"'),
    ("[2001:db8::1]", "2001:db8::1", '"[2001:db8::1]"'),
    ("unix:", None, "unknown"),
    ("", None, "unknown"),
    ("a, b", None, "unknown"),
]


@pytest.mark.parametrize(("address", "plain", "node"), NODES)
def test_who_asks(address: str, plain: str | None, node: str) -> None:
    lines = head(asked(REMOTE_ADDR=address))
    found = [line.partition(": ")[2] for line in lines if line.startswith("X-Forwarded-For:")]
    assert found == ([plain] if plain else [])
    assert f"Forwarded: for={node};proto=http;host=h" in lines


HOSTS = [
    ({"HTTP_HOST": 'a"b\\'}, 'a"b\\', r'"a\"b\\"'),
    ({"SERVER_NAME": "s", "SERVER_PORT": "8080"}, "s:8080", '"s:8080"'),
    ({"SERVER_NAME": "s", "SERVER_PORT": "80"}, "s", "s"),
    ({"HTTP_HOST": "", "SERVER_NAME": "s", "SERVER_PORT": ""}, "s", "s"),
]


@pytest.mark.parametrize(("more", "host", "quoted"), HOSTS)
def test_host(more: dict[str, str], host: str, quoted: str) -> None:
    lines = head(asked(**more))
    assert lines[1] == f"Host: {host}"
    assert f"X-Forwarded-Host: {host}" in lines
    assert lines[-1] == f"Forwarded: for=unknown;proto=http;host={quoted}"


LENGTHS = [
    (asked(), 0, []),
    (asked(CONTENT_LENGTH="0"), 0, ["Content-Length: 0"]),
    (asked(REQUEST_METHOD="POST"), 0, ["Content-Length: 0"]),
    (asked(REQUEST_METHOD="DELETE"), 5, ["Content-Length: 5"]),
    (asked(REQUEST_METHOD="POST"), -1, ["Transfer-Encoding: chunked"]),
]


@pytest.mark.parametrize(("environ", "length", "lines"), LENGTHS)
def test_length(environ: dict[str, Any], length: int, lines: list[str]) -> None:
    found = [line for line in head(environ, length) if line[:9] in ("Content-L", "Transfer-")]
    assert found == lines


@pytest.mark.parametrize("name", ["HTTP_A", "HTTP_HOST", "CONTENT_TYPE"])
@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0", "\u20ac"])
def test_no_value_makes_a_second_line(name: str, value: str) -> None:
    with pytest.raises(PeerError) as refused:
        head(asked(**{name: value}))
    assert refused.value.code == "params.malformed"


# -- FastCGI


def variables(
    environ: dict[str, Any], target: str = "fcgi://h:1", length: int = 0
) -> dict[str, str]:
    return dict(fastcgi_variables(environ, parse_place(target, "/"), length))


def test_variables_pass() -> None:
    environ = asked("/app", "/x", "/app/x", HTTP_COOKIE="a=b", REMOTE_ADDR="192.0.2.7", HTTPS="off")
    environ["wsgi.url_scheme"] = "https"
    found = variables(environ, length=7)
    assert found["SCRIPT_NAME"] == "/app"
    assert found["PATH_INFO"] == "/x"
    assert found["REQUEST_URI"] == "/app/x"
    assert found["HTTP_COOKIE"] == "a=b"
    assert found["REMOTE_ADDR"] == "192.0.2.7"
    assert found["HTTPS"] == "on"
    assert found["CONTENT_LENGTH"] == "7"
    assert found["GATEWAY_INTERFACE"] == "CGI/1.1"
    assert not [name for name in found if "." in name]


NOT_PASSED = """PHP_VALUE PHP_ADMIN_VALUE SCRIPT_FILENAME HTTP_PROXY PATH_TRANSLATED HTTPS
    HTTP_X_FORWARDED_FOR HTTP_FORWARDED HTTP_TRANSFER_ENCODING""".split()


@pytest.mark.parametrize("name", NOT_PASSED)
def test_variables_that_do_not(name: str) -> None:
    assert name not in variables(asked(**{name: "forged"}))


@pytest.mark.parametrize(("name", "value"), [("A", "a\0b"), ("A", "\u20ac"), ("", "x")])
def test_variables_that_cannot(name: str, value: str) -> None:
    with pytest.raises(PeerError) as refused:
        variables(asked(**{name: value}))
    assert refused.value.code == "params.malformed"


FILES = [
    ("/", "/index.php", ""),
    ("", "/index.php", ""),
    ("/shop.php", "/shop.php", ""),
    ("/shop.php/a.php/b", "/shop.php", "/a.php/b"),
    ("/a.phpx/b.php", "/a.phpx/b.php", ""),
    ("/blog/", "/blog/index.php", ""),
    ("/blog", "/blog/index.php", ""),
    ("/posts/7/", "/index.php", ""),
    ("/app.PHP", "/index.php", ""),
]


@pytest.mark.parametrize(("path", "file", "rest"), FILES)
def test_php_files(tmp_path: Path, path: str, file: str, rest: str) -> None:
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "index.php").touch()
    assert php_file(path, str(tmp_path), "index.php") == (file, rest)
    found = variables(asked("/m", path), f"fcgi://h:1?root={tmp_path}")
    assert found["SCRIPT_FILENAME"] == f"{tmp_path}{file}"
    assert found["DOCUMENT_ROOT"] == str(tmp_path)
    assert found["SCRIPT_NAME"] == f"/m{file}"
    assert found.get("PATH_INFO", "") == rest
