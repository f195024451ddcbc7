"""Every row of quirks.py: what the server sends, what the application gets."""

import sys
from pathlib import Path

import pytest

from gatebridge.environ import profile
from gatebridge.environ.build import Builder
from gatebridge.environ.changes import build_noting
from gatebridge.environ.front import BY_NAME, FRONTS, recognise
from gatebridge.environ.quirks import NAME, ROWS, Row
from gatebridge.wire.events import AUTHORIZER, UNKNOWN_LENGTH
from tests.environ.making import GET, SOFTWARE, environ, get, request
from tests.environ.path_rows import KEPT, PATHS

DOCS = Path(__file__).parents[2] / "docs" / "environ.md"


def test_rows_are_complete() -> None:
    module = sys.modules[__name__]
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    fronts = {front.name for front in FRONTS} | {"any"}
    for row in ROWS:
        assert callable(getattr(module, row.test)), row
        assert set(row.fronts.split()) <= fronts, row
        assert row.reason.endswith("."), row
        assert row.source, row


def test_path_rows_are_all_here() -> None:
    assert {row.name for row in ROWS if row.kind != NAME} == {row for row, *_ in PATHS}


@pytest.mark.parametrize(("row", "front", "sent", "script", "info"), PATHS)
def test_path_rows(row: str, front: str, sent: dict[str, str], script: str, info: str) -> None:
    built = environ(get(front, **sent))
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == (script, info)
    _, _, changes = build_noting(Builder(), get(front, **sent))
    if (sent.get("SCRIPT_NAME"), sent.get("PATH_INFO")) != (script, info):
        assert row in {change.row for change in changes}


@pytest.mark.parametrize("name", sorted({row for row, *_ in PATHS}))
def test_every_path_row_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the row some case above goes wrong."""

    def without(rows: tuple[Row, ...]) -> tuple[Row, ...]:
        return tuple(row for row in rows if row.name != name)

    monkeypatch.setattr(profile, "_SAME", without(profile._SAME))
    monkeypatch.setattr(profile, "_OTHER", without(profile._OTHER))
    wrong = []
    for row, front, sent, script, info in PATHS:
        built = environ(get(front, **sent))
        if (built["SCRIPT_NAME"], built["PATH_INFO"]) != (script, info):
            wrong.append(row)
    assert set(wrong) == {name}


@pytest.mark.parametrize(("front", "sent", "script", "info"), KEPT)
def test_right_splits_stay(front: str, sent: dict[str, str], script: str, info: str) -> None:
    built = environ(get(front, **sent))
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == (script, info)


@pytest.mark.parametrize(
    ("sent", "mount", "script", "info"),
    [
        # under the mount, on a segment border
        ({"SCRIPT_NAME": "/app/x", "REQUEST_URI": "/app/x"}, "/app", "/app", "/x"),
        ({"SCRIPT_NAME": "/app", "REQUEST_URI": "/app"}, "/app", "/app", ""),
        ({"SCRIPT_NAME": "/apple", "REQUEST_URI": "/apple"}, "/app", "", "/apple"),
        ({"SCRIPT_NAME": "/other", "REQUEST_URI": "/other"}, "/app", "", "/other"),
        # a rewrite decided on the path, the mount only on the border in it
        ({"SCRIPT_NAME": "/app/new", "REQUEST_URI": "/old"}, "/app", "/app", "/new"),
        ({"SCRIPT_NAME": "/app/new", "REQUEST_URI": "/old"}, "", "", "/app/new"),
        # the server cut the mount off
        ({"SCRIPT_NAME": "/x", "REQUEST_URI": "/app/x"}, "/app", "/app", "/x"),
        ({"SCRIPT_NAME": "/", "REQUEST_URI": "/app"}, "/app", "/app", ""),
        ({"SCRIPT_NAME": "/", "REQUEST_URI": "/app/"}, "/app", "/app", "/"),
        ({"REQUEST_URI": "/app/../x"}, "/app", "", "/x"),
        # the server names the mount, the URL does not
        (
            {"SCRIPT_NAME": "/app", "PATH_INFO": "/x", "REQUEST_URI": "/x"},
            "/app",
            "/app",
            "/x",
        ),
        # stripped by hand: SCRIPT_NAME twice, the second of them the operator's
        ({"SCRIPT_NAME": "/app", "REQUEST_URI": "/app/x"}, "/app", "/app", "/x"),
    ],
)
def test_mount_decides(sent: dict[str, str], mount: str, script: str, info: str) -> None:
    built = environ(get("nginx", **sent), mount)
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == (script, info)


@pytest.mark.parametrize("path", ["/app", "/app/", "/app/a b"])
def test_F034_operator_overrides_script_name(path: str) -> None:
    """nginx: fastcgi_param SCRIPT_NAME /app behind include fastcgi_params sends it twice."""
    sent = [*GET.items(), ("SERVER_SOFTWARE", SOFTWARE["nginx"]), ("SCRIPT_NAME", path)]
    sent += [("DOCUMENT_URI", path), ("REQUEST_URI", path.replace(" ", "%20"))]
    built = environ(request([*sent, ("SCRIPT_NAME", "/app")]))
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == ("/app", path[4:])


def test_C21_script_repeated() -> None:
    for front in ("iis", "unknown"):
        sent = {"SCRIPT_NAME": "/app.fcgi", "PATH_INFO": "/app.fcgi/a b"}
        built = environ(get(front, REQUEST_URI="/app.fcgi/a%20b", **sent))
        assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == ("/app.fcgi", "/a b")
    built = environ(get("unknown", SCRIPT_NAME="/a", PATH_INFO="/a/b", REQUEST_URI="/a/a/b"))
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == ("/a", "/a/b")  # the URL says so


@pytest.mark.parametrize(
    ("front", "uri", "script", "info", "expected"),
    [
        ("nginx", "/app/%2541", "/app", "/%41", "/%41"),
        ("nginx", "/app/a%2Fb", "/app", "/a%2Fb", "/a/b"),
        ("nginx", "/app/a%20%2Fb", "/app", "/a%20%2Fb", "/a /b"),
        ("apache", "/app/a%2Fb", "/app", "/a%2Fb", "/a%2Fb"),
        ("apache", "/app/a%2fb%20c", "/app", "/a%2fb c", "/a%2fb c"),
        ("apache", "/app/a%2Fb%20c", "/app", "/a%2Fb%20c", "/a/b c"),
        ("nginx", "/app/%00", "/app", "/\0", "/\0"),
        ("nginx", "/app/%0d%0aX:%20y", "/app", "/\r\nX: y", "/\r\nX: y"),
        ("nginx", "/app/../%2e%2e/etc", "/app", "/x", "/x"),
    ],
)
def test_C19_decoded_once(front: str, uri: str, script: str, info: str, expected: str) -> None:
    built = environ(get(front, REQUEST_URI=uri, SCRIPT_NAME=script, PATH_INFO=info))
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == (script, expected)


@pytest.mark.parametrize(
    ("sent", "mount", "script", "info"),
    [
        ({"SCRIPT_NAME": "/app/a\nb", "PATH_INFO": ""}, "/app", "/app", "/a\nb"),
        ({"SCRIPT_NAME": "/app/a\nb", "PATH_INFO": ""}, None, "", "/app/a\nb"),
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/a\nb"}, None, "/app", "/a\nb"),
        ({"SCRIPT_NAME": "/app"}, None, "/app", "/a\nb"),
        ({}, "/app", "/app", "/a\nb"),
    ],
)
def test_T3_newline_in_the_path(
    sent: dict[str, str], mount: str | None, script: str, info: str
) -> None:
    built = environ(get("nginx", REQUEST_URI="/app/a%0ab", **sent), mount)
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == (script, info)


def test_T3_final_newline_that_a_regex_lost() -> None:
    sent = {"REQUEST_URI": "/app/a%0a", "SCRIPT_NAME": "/app", "PATH_INFO": "/a"}
    assert environ(get("nginx", **sent))["PATH_INFO"] == "/a\n"


def test_W014_dotted_names_dropped() -> None:
    built = environ(get(**{"wsgi.input": "x", "a.b": "y", "HTTP_X.Y": "z"}))
    assert "wsgi.input" not in built
    assert "a.b" not in built
    assert built["HTTP_X.Y"] == "z"  # a header's name may have one


@pytest.mark.parametrize(
    ("sent", "name", "value"),
    [
        ([("HTTP_COOKIE", "a=1"), ("HTTP_COOKIE", "b=2")], "HTTP_COOKIE", "a=1; b=2"),
        ([("HTTP_COOKIE", "a=1, b=2")], "HTTP_COOKIE", "a=1, b=2"),
        ([("HTTP_X_A", "1"), ("HTTP_X_A", "2"), ("HTTP_X_A", "3")], "HTTP_X_A", "1, 2, 3"),
        ([("HTTP_X_A", ""), ("HTTP_X_A", "2")], "HTTP_X_A", ", 2"),
        ([("HTTP_X_A", "1"), ("HTTP_X_B", "x"), ("HTTP_X_A", "1")], "HTTP_X_A", "1, 1"),
        ([("SCRIPT_NAME", "/a"), ("SCRIPT_NAME", "/b")], "SCRIPT_NAME", "/b"),
        ([("REMOTE_USER", "a"), ("REMOTE_USER", "b")], "REMOTE_USER", "b"),
        ([("HTTPS", "on"), ("HTTPS", "off")], "wsgi.url_scheme", "http"),
    ],
)
def test_C20_F034_repeated_names(sent: list[tuple[str, str]], name: str, value: str) -> None:
    assert environ(request([*GET.items(), *sent]))[name] == value


@pytest.mark.parametrize("front", sorted(SOFTWARE))
def test_C18_W013_T5_http_proxy_dropped(front: str) -> None:
    builder = Builder()
    assert not builder.saw_proxy
    built, _ = builder.build(get(front, HTTP_PROXY="http://192.0.2.1:9/", HTTP_X="y"))
    assert "HTTP_PROXY" not in built
    assert built["HTTP_X"] == "y"
    assert builder.saw_proxy


def test_T5_http_proxy_sent_twice_stays_dropped() -> None:
    twice = [("HTTP_PROXY", "a"), ("HTTP_PROXY", "b")]
    assert "HTTP_PROXY" not in environ(request([*GET.items(), *twice]))


def test_W017_body_header_copies_dropped() -> None:
    sent = {"HTTP_CONTENT_LENGTH": "9", "HTTP_CONTENT_TYPE": "evil", "CONTENT_LENGTH": "0"}
    built, length = Builder().build(get(**sent))
    assert length == 0
    assert built["CONTENT_LENGTH"] == "0"
    assert "CONTENT_TYPE" not in built
    assert not [name for name in built if name.startswith("HTTP_CONTENT")]
    built, length = Builder().build(get(HTTP_CONTENT_LENGTH="9"))
    assert (length, built.get("CONTENT_LENGTH")) == (0, None)


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ({"REDIRECT_HTTP_AUTHORIZATION": "Basic a"}, "Basic a"),
        ({"REDIRECT_REDIRECT_HTTP_AUTHORIZATION": "Basic b"}, "Basic b"),
        (
            {"REDIRECT_HTTP_AUTHORIZATION": "a", "REDIRECT_REDIRECT_HTTP_AUTHORIZATION": "b"},
            "a",
        ),
        ({"HTTP_AUTHORIZATION": "own", "REDIRECT_HTTP_AUTHORIZATION": "moved"}, "own"),
        ({"HTTP_AUTHORIZATION": "", "REDIRECT_HTTP_AUTHORIZATION": "moved"}, "moved"),
        ({"REDIRECT_HTTP_AUTHORIZATION": ""}, None),
        ({}, None),
    ],
)
def test_authorization_recovered(sent: dict[str, str], value: str | None) -> None:
    assert environ(get("apache", **sent)).get("HTTP_AUTHORIZATION") == value


BASIC = {"HTTP_AUTHORIZATION": "Basic dXNlcjpwYXNz", "REMOTE_USER": "user"}


@pytest.mark.parametrize(
    ("front", "sent", "user"),
    [
        ("nginx", BASIC, None),
        ("nginx", BASIC | {"HTTP_AUTHORIZATION": "bASIC dXNlcjpwYXNz"}, None),
        ("nginx", BASIC | {"AUTH_TYPE": ""}, None),
        ("nginx", BASIC | {"AUTH_TYPE": "Basic"}, "user"),
        ("nginx", {"REMOTE_USER": "CN=user"}, "CN=user"),
        ("nginx", {"REMOTE_USER": "user", "HTTP_AUTHORIZATION": "Bearer x"}, "user"),
        ("nginx", {"REMOTE_USER": ""}, ""),
        ("haproxy", BASIC | {"AUTH_TYPE": "Basic"}, None),
        ("haproxy", {"REMOTE_USER": "user", "AUTH_TYPE": "Basic"}, None),
        ("haproxy", {"REMOTE_USER": "CN=user"}, "CN=user"),
        ("apache", BASIC | {"AUTH_TYPE": "Basic"}, "user"),
        ("lighttpd", BASIC | {"AUTH_TYPE": "Basic"}, "user"),
        ("unknown", BASIC, "user"),
    ],
)
def test_W063_user_from_unchecked_credentials(
    front: str, sent: dict[str, str], user: str | None
) -> None:
    built = environ(get(front, **sent))
    assert built.get("REMOTE_USER") == user
    if user is None:
        assert not built.get("AUTH_TYPE")
    checked, _ = Builder(checked_user=True).build(get(front, **sent))
    assert checked["REMOTE_USER"] == sent["REMOTE_USER"]


def test_W063_user_never_from_a_header() -> None:
    built = environ(get(HTTP_REMOTE_USER="root", HTTP_X_REMOTE_USER="root"))
    assert "REMOTE_USER" not in built


def test_content_type_empty_is_absent() -> None:
    assert "CONTENT_TYPE" not in environ(get("nginx", CONTENT_TYPE=""))
    assert environ(get("nginx", CONTENT_TYPE="text/plain"))["CONTENT_TYPE"] == "text/plain"


def test_authorizer_has_no_body() -> None:
    sent = [*GET.items(), ("CONTENT_LENGTH", "7"), ("HTTP_TRANSFER_ENCODING", "chunked")]
    built, length = Builder().build(request(sent, role=AUTHORIZER))
    assert length == 0
    assert "CONTENT_LENGTH" not in built
    assert "HTTP_TRANSFER_ENCODING" not in built


def test_F046_F050_length_unknown() -> None:
    for text in ("", "-1"):
        built, length = Builder().build(
            request([*GET.items(), ("CONTENT_LENGTH", text)], complete=False)
        )
        assert length == UNKNOWN_LENGTH
        assert "CONTENT_LENGTH" not in built


def test_doubtful_length_is_unknown() -> None:
    sent = [*GET.items(), ("CONTENT_LENGTH", "0")]
    built, length = Builder().build(request(sent, complete=False, doubtful=True))
    assert length == UNKNOWN_LENGTH
    assert "CONTENT_LENGTH" not in built


def test_F050_length_counted() -> None:
    built, length = Builder().build(request([*GET.items()], body=b"abc"))
    assert (length, built["CONTENT_LENGTH"]) == (3, "3")


@pytest.mark.parametrize("length", ["7", "0", ""])
def test_T9_transfer_encoding_dropped(length: str) -> None:
    sent = [*GET.items(), ("CONTENT_LENGTH", length), ("HTTP_TRANSFER_ENCODING", "chunked")]
    assert "HTTP_TRANSFER_ENCODING" not in environ(request(sent))


@pytest.mark.parametrize(
    ("front", "sent", "host", "name"),
    [
        ("caddy", {"HTTP_HOST": "", "SERVER_NAME": ""}, None, "localhost"),
        ("caddy", {"HTTP_HOST": "", "SERVER_NAME": "", "SERVER_ADDR": "::1"}, None, "[::1]"),
        ("haproxy", {"HTTP_HOST": "h:8080", "SERVER_NAME": "h:8080"}, "h:8080", "h"),
        ("haproxy", {"SERVER_NAME": "[::1]:8080"}, None, "[::1]"),
        ("haproxy", {"SERVER_NAME": "h:"}, None, "h"),
        ("apache", {"SERVER_NAME": "[::1]"}, None, "[::1]"),
        ("apache", {"SERVER_NAME": "::1"}, None, "::1"),
        ("apache", {"SERVER_NAME": "h:x"}, None, "h:x"),
        ("nginx", {"SERVER_NAME": "", "HTTP_HOST": "[::1]:80"}, "[::1]:80", "[::1]"),
        ("nginx", {"SERVER_NAME": "_", "HTTP_HOST": "h"}, "h", "_"),
    ],
)
def test_host_and_server_name(
    front: str, sent: dict[str, str], host: str | None, name: str
) -> None:
    sent = {"HTTP_HOST": "", **sent} if host is None else sent
    built = environ(get(front, **sent))
    assert built.get("HTTP_HOST") == host
    assert built["SERVER_NAME"] == name


@pytest.mark.parametrize(
    ("software", "front"),
    [
        *((text, name) for name, text in SOFTWARE.items()),
        ("openresty/1.21.4.1", "nginx"),
        ("Apache", "apache"),
        ("APACHE/2.4", "apache"),
        ("", "unknown"),
        ("LiteSpeed", "unknown"),
        ("my nginx/1.0", "unknown"),
    ],
)
def test_C21_front_by_its_software(software: str, front: str) -> None:
    assert recognise(software) is BY_NAME[front]


def test_explain_names_the_rows() -> None:
    sent = {"REQUEST_URI": "/a%20b", "SCRIPT_NAME": "/a b", "HTTP_PROXY": "x", "CONTENT_TYPE": ""}
    _, _, changes = build_noting(Builder(), get("haproxy", **sent))
    told = [(change.row, change.name, change.before, change.after) for change in changes]
    assert told[:2] == [("http-proxy", "HTTP_PROXY", "x", None)] + [
        ("content-type-empty", "CONTENT_TYPE", "", None)
    ]
    assert ("whole-path-script", "SCRIPT_NAME", "/a b", "") in told
    assert ("whole-path-script", "PATH_INFO", None, "/a b") in told
    assert ("default", "SERVER_PROTOCOL", None, "HTTP/1.0") in told


def test_documentation_has_every_row() -> None:
    """docs/environ.md: | row | servers | why | seen |, in order."""
    table = []
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 4:
            table.append(cells)
    expected = [
        [f"`{row.name}`", row.fronts.replace(" ", ", "), row.reason, row.source] for row in ROWS
    ]
    assert table == expected
