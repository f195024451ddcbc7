"""environ["gatebridge.redispatch"]: local redirects of hosted scripts (RFC 3875 section 6.2.2)."""

from wsgiref.validate import validator

import pytest
from webtest import TestApp

from gatebridge.engine.wsgi import run
from gatebridge.errors import AppError
from gatebridge.routing.redirect import MOST
from gatebridge.routing.rule import parse_rule
from gatebridge.routing.table import Route, Table
from tests.engine.recorder import Recorder, environ_of
from tests.routing.asking import answer, named, request


def leading(path: str, query: str = "", parted: int = 0):
    """A script that redirects to a path. parted: how much of it is called SCRIPT_NAME."""

    def app(environ, start_response):
        again = {
            **{name: value for name, value in environ.items() if name.startswith("wsgi.")},
            **request(path[parted:], path[:parted]),
            "QUERY_STRING": query,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
        }
        return environ["gatebridge.redispatch"](again, start_response)

    return app


def site(path: str, query: str = "", parted: int = 0) -> Table:
    rules = [parse_rule("/go"), parse_rule("/to"), parse_rule("= /exact")]
    apps = [leading(path, query, parted), named("to"), named("exact")]
    return Table([Route(rule, app) for rule, app in zip(rules, apps, strict=True)])


@pytest.mark.parametrize("parted", [0, 5, 8])
def test_C06_the_table_is_asked_again(parted: int) -> None:
    """From where the front's mount ends, not from where the script's own path does."""
    found = answer(site("/site/to/x", "", parted), request("/go/deep", "/site"))
    assert found == ("200 OK", b"to '/site/to' '/x'")


def test_C06_through_webtest() -> None:
    client = TestApp(validator(site("/exact")))
    assert client.get("/go").text == "exact '/exact' ''"


def test_the_client_is_sent_to_an_asgi_application() -> None:
    def asynchronous(environ, start_response):
        environ["gatebridge.asgi"] = asynchronous
        return ()

    rules = [parse_rule("/go"), parse_rule("/to")]
    apps = [leading("/site/to/x", "a=1"), asynchronous]
    table = Table([Route(rule, app) for rule, app in zip(rules, apps, strict=True)])
    seen = []
    table(request("/go", "/site"), lambda status, headers: seen.append((status, dict(headers))))
    ((status, headers),) = seen
    assert (status, headers["Location"]) == ("302 Found", "/site/to/x?a=1")


ROWS = [
    ("outside", "/other/to", "a=1", "/other/to?a=1"),
    ("not on a border", "/sites/to", "", "/sites/to"),
    ("out by dots", "/site/../etc", "", "/site/../etc"),
    ("bytes", "/k\xc3\xa4/%", "", "/k%C3%A4/%25"),
    ("a question mark in the path", "/a?b", "c", "/a%3Fb?c"),
    ("no header is added", "/a\r\nX: y", "", "/a%0D%0AX:%20y"),
    ("no other host", "//evil.example/x", "", "/.//evil.example/x"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "query", "place"), ROWS, ids=[row[0] for row in ROWS])
def test_outside_of_the_fronts_mount_the_client_is_sent(name, path, query, place) -> None:
    seen = []
    table = site(path, query)
    table(request("/go", "/site"), lambda status, headers: seen.append((status, dict(headers))))
    ((status, headers),) = seen
    assert (status, headers["Location"]) == ("302 Found", place)


def test_dot_segments_inside_are_removed() -> None:
    found = answer(site("/site/x/../to/./y"), request("/go", "/site"))
    assert found == ("200 OK", b"to '/site/to' '/y'")


def test_a_mount_that_is_a_slash() -> None:
    assert answer(site("/to/y"), request("/go", "/"))[1].startswith(b"to ")


def test_ten_redirects_and_no_more() -> None:
    seen = []

    def circle(environ, start_response):
        seen.append(environ.get("gatebridge.redirects", 0))
        return leading("/go")(environ, start_response)

    table = Table([Route(parse_rule("/go"), circle)])
    with pytest.raises(AppError, match="route.redirects"):
        answer(table, request("/go"))
    assert seen == list(range(MOST + 1))
    assert MOST == 10


def test_a_circle_is_answered_500() -> None:
    out = Recorder()
    run(Table([Route(parse_rule("/"), leading("/"))]), environ_of(), out)
    assert out.status.startswith("500")
    assert "in a circle" in out.log


def test_it_tells_what_the_front_said() -> None:
    environ = request("/to/x", "/site")
    answer(site("/"), environ)
    again = environ["gatebridge.redispatch"]
    assert (again.script_name, again.path_info, again.count) == ("/site", "/to/x", 0)
    assert again.covers("/site/y")
    assert again.covers("/site")
    assert not again.covers("/sitey")
    assert not again.covers("site/y")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/site/to", "/x")
