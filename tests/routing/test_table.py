"""Several applications in one: who gets a request, and which path it sees (PEP 3333)."""

from wsgiref.validate import validator

import pytest
from webtest import TestApp

from gatebridge.routing.table import Table, route


def named(name: str):
    """An application that tells its name and its two paths."""

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{name} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode("latin-1")]

    return application


def ask(table, path: str, script: str = "", method: str = "GET") -> tuple[str, bytes]:
    seen = []
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": script, "PATH_INFO": path}
    body = b"".join(table(environ, lambda status, headers: seen.append((status, headers))))
    return seen[0][0], body


MOUNTS = ("", "/admin", "/admin/users", "/b/")
ROWS = [
    ("the root", "/", "", "'' '/'"),
    ("nothing at all", "", "", "'' ''"),
    ("a mount itself", "/admin", "/admin", "'/admin' ''"),
    ("a mount with a slash", "/admin/", "/admin", "'/admin' '/'"),
    ("below a mount", "/admin/x/y", "/admin", "'/admin' '/x/y'"),
    ("the longest", "/admin/users/1", "/admin/users", "'/admin/users' '/1'"),
    ("not the longest by letters alone", "/admin/users1", "/admin", "'/admin' '/users1'"),
    ("a border", "/administrator", "", "'' '/administrator'"),
    ("other letters", "/Admin", "", "'' '/Admin'"),
    ("a slash more", "//admin", "", "'' '//admin'"),
    ("a slash more behind it", "/admin//x", "/admin", "'/admin' '//x'"),
    ("a mount written with a slash", "/b", "/b/", "'/b' ''"),
    ("below it", "/b/c", "/b/", "'/b' '/c'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "who", "paths"), ROWS, ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("order", [1, -1])
def test_who_answers(name, path, who, paths, order) -> None:
    table = Table([(mount, named(mount)) for mount in MOUNTS[::order]])
    assert ask(table, path) == ("200 OK", f"{who} {paths}".encode())


def test_the_mount_goes_behind_what_the_server_mounted() -> None:
    table = Table([("/admin", named("a"))])
    assert ask(table, "/admin/x", "/site") == ("200 OK", b"a '/site/admin' '/x'")


def test_a_mount_is_compared_as_bytes() -> None:
    table = Table([("/käse", named("k"))])
    path = "/käse/1".encode().decode("latin-1")
    assert ask(table, path)[1] == f"k {path[:-2]!r} '/1'".encode("latin-1")


@pytest.mark.parametrize(("method", "body"), [("GET", b"Not Found"), ("HEAD", b"")])
def test_404_where_nothing_is_mounted(method: str, body: bytes) -> None:
    table = Table([("/admin", named("a"))])
    for path in ("/", "", "/adminx", "/x/admin"):
        status, found = ask(table, path, method=method)
        assert status == "404 Not Found"
        assert found.startswith(body)
        assert bool(found) == bool(body)


def test_the_only_application_is_left_alone() -> None:
    app = named("a")
    assert route([("", app)]) is app
    assert route([("/", app)]) is app
    assert isinstance(route([("/a", app)]), Table)


def test_it_keeps_pep_3333() -> None:
    table = Table([("", validator(named("root"))), ("/a", validator(named("a")))])
    client = TestApp(validator(table))
    assert client.get("/a/b?c=d").text == "a '/a' '/b'"
    assert client.get("/b").text == "root '' '/b'"
    client = TestApp(validator(Table([("/a", named("a"))])))
    missing = client.get("/b", status=404)
    assert missing.content_type == "text/plain"
    assert client.head("/b", status=404).headers["Content-Length"] == str(len(missing.body))


def test_each_request_starts_anew() -> None:
    """The headers that are handed out are nobody's to change for others."""
    table = Table([("/a", named("a"))])
    for _ in range(2):
        table({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda status, headers: headers.clear())
    assert ask(table, "/")[0] == "404 Not Found"
    seen = []
    table({"PATH_INFO": "/"}, lambda status, headers: seen.extend(headers))
    assert len(seen) == 2
