"""Several applications in one: who gets a request, and which path it sees (PEP 3333)."""

import re
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webtest import TestApp

from gatebridge.errors import ConfigError, UseError
from gatebridge.routing.rule import Rule, parse_rule
from gatebridge.routing.table import Route, Table, route, route_table
from tests.routing.asking import Switches, answer, ask, named, request, table_of

MOUNTS = ("", "/admin", "/admin/users", "/b/")
PREFIXES = [
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
    ("no path", "*", "", "'' '*'"),
    ("T3: a newline in the mount", "/admin\n", "", r"'' '/admin\n'"),
    ("T3: a newline behind it", "/admin/\n/users", "/admin", r"'/admin' '/\n/users'"),
    ("dot segments are not ours", "/admin/../b", "/admin", "'/admin' '/../b'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "who", "paths"), PREFIXES, ids=[r[0] for r in PREFIXES])
@pytest.mark.parametrize("order", [1, -1])
def test_prefixes(name, path, who, paths, order) -> None:
    table = route([(mount, named(mount)) for mount in MOUNTS[::order]])
    assert ask(table, path) == ("200 OK", f"{who} {paths}".encode())


RULES = (
    "/", "/cgi", "/cgi/deep/er", "= /cgi/one", "= /cgi/slash/", "~ /cgi/[a-z]+[.]pl", "= /",
    r"~ (?i)/shop/[0-9]+", r"~ /shop/.*[.]php$", "~ /old/", r"~ /shop/7",
)  # fmt: skip
KINDS = [
    ("exact before a prefix", "/cgi/one", "= /cgi/one", "'/cgi/one' ''"),
    ("exact is exact", "/cgi/one/", "/cgi", "'/cgi' '/one/'"),
    ("a slash at the end stays in PATH_INFO", "/cgi/slash/", "= /cgi/slash/", "'/cgi/slash' '/'"),
    ("exact, the root alone", "/", "= /", "'' '/'"),
    ("a prefix before a pattern", "/cgi/a.pl", "/cgi", "'/cgi' '/a.pl'"),
    ("a longer prefix", "/cgi/deep/er/x", "/cgi/deep/er", "'/cgi/deep/er' '/x'"),
    ("on the way to one", "/cgi/deep", "/cgi", "'/cgi' '/deep'"),
    ("a pattern before everything", "/shop/12", r"~ (?i)/shop/[0-9]+", "'/shop/12' ''"),
    ("case ignored", "/SHOP/12/x", r"~ (?i)/shop/[0-9]+", "'/SHOP/12' '/x'"),
    ("of two patterns the first", "/shop/7", r"~ (?i)/shop/[0-9]+", "'/shop/7' ''"),
    ("a segment is never cut", "/shop/12a/x", r"~ (?i)/shop/[0-9]+", "'/shop/12a' '/x'"),
    ("a pattern for the whole path", "/shop/a/b.php", r"~ /shop/.*[.]php$", "'/shop/a/b.php' ''"),
    ("its end is not there", "/shop/a.php/x", "/", "'' '/shop/a.php/x'"),
    ("it ends behind a slash", "/old/x/y", "~ /old/", "'/old/x' '/y'"),
    ("and there is nothing more", "/old/", "~ /old/", "'/old' '/'"),
    ("or a slash more", "/old//x", "~ /old/", "'/old' '//x'"),
    ("a pattern begins at the start", "/x/old/", "/", "'' '/x/old/'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "who", "paths"), KINDS, ids=[row[0] for row in KINDS])
@pytest.mark.parametrize("order", ["as written", "everything first and last"])
def test_kinds(name, path, who, paths, order) -> None:
    rules = RULES if order == "as written" else (*RULES[1:], RULES[0])
    assert ask(table_of(*rules), path) == ("200 OK", f"{who} {paths}".encode())


HOSTS = (
    ("/",), ("/", "a.org"), ("/", "*.a.org"), ("/", "*.b.a.org"), ("/x", "c.org"), ("/x",),
    ("/x", "", ["PUT"]), ("/x", "c.org", ["PUT"]), ("/only", "d.org"),
)  # fmt: skip
BY_HOST = [
    ("a name", "/", "a.org", "GET", "/ on a.org"),
    ("a name with a port, in large letters", "/", "A.ORG:8080", "GET", "/ on a.org"),
    ("a name below", "/", "www.a.org", "GET", "/ on *.a.org"),
    ("a name far below", "/", "x.y.a.org", "GET", "/ on *.a.org"),
    ("the longer one", "/", "x.b.a.org", "GET", "/ on *.b.a.org"),
    ("the star's own name is not below it", "/", "b.a.org", "GET", "/ on *.a.org"),
    ("no border", "/", "xa.org", "GET", "/"),
    ("a star sent as a name", "/", "*.a.org", "GET", "/"),
    ("no name", "/", "", "GET", "/"),
    ("a longer path beats a host", "/x", "a.org", "GET", "/x"),
    ("a host at one path", "/x", "c.org", "GET", "/x on c.org"),
    ("a method at one path", "/x", "h", "PUT", "/x for PUT"),
    ("a host, then a method", "/x", "c.org", "PUT", "/x on c.org for PUT"),
    ("another host's path", "/only", "e.org", "GET", "/"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "host", "method", "who"), BY_HOST)
@pytest.mark.parametrize("order", [1, -1])
def test_hosts_and_methods(name, path, host, method, who, order) -> None:
    table = table_of(*HOSTS[::order])
    body = ask(table, path, method=method, host=host)[1].decode()
    assert body.rpartition(" '")[0].rpartition(" '")[0] == who


def test_without_a_host_header_the_servers_name_counts() -> None:
    environ = request("/")
    del environ["HTTP_HOST"]
    assert answer(table_of("/", ("/", "server.example.org")), environ)[1].startswith(b"/ on server")


def test_the_mount_goes_behind_what_the_server_mounted() -> None:
    assert ask(table_of("/a"), "/a/x", "/site") == ("200 OK", b"/a '/site/a' '/x'")
    assert ask(table_of("= /a"), "/a", "/site") == ("200 OK", b"= /a '/site/a' ''")


def test_a_path_is_compared_as_bytes() -> None:
    path = "/käse/1".encode().decode("latin-1")
    for rule in ("/käse", "~ /käse"):
        found = ask(table_of(rule), path)[1]
        assert found.endswith(f" {path[:-2]!r} '/1'".encode("latin-1"))


# -- nobody, or not for this method


def test_404_where_nothing_is_mounted() -> None:
    client = TestApp(validator(table_of("/admin", ("/host", "h.org"))))
    for path in ("/", "/adminx", "/x/admin", "/host"):
        missing = client.get(path, status=404)
        assert missing.text.startswith("Not Found\n")
        assert missing.content_type == "text/plain"
        assert client.head(path, status=404).headers["Content-Length"] == str(len(missing.body))
    assert ask(table_of("/admin"), "") == ("404 Not Found", missing.body)


def test_405_where_only_other_methods_are() -> None:
    client = TestApp(validator(table_of(("/a", "", ["GET"]), ("= /a", "", ["POST"]), "/b")))
    assert client.put("/a", status=405).headers["Allow"] == "GET, HEAD, POST"
    assert client.put("/a/x", status=405).headers["Allow"] == "GET, HEAD"
    assert client.get("/a").text == "/a for GET '/a' ''"
    assert client.post("/a").text == "= /a for POST '/a' ''"
    assert client.delete("/c", status=404)


def test_a_wider_rule_takes_a_method_that_the_narrower_one_does_not() -> None:
    table = table_of(("/a", "", ["POST"]), "/")
    assert ask(table, "/a")[1] == b"/ '' '/a'"
    assert ask(table, "/a", method="POST")[1] == b"/a for POST '/a' ''"


def test_HEAD_goes_where_GET_goes() -> None:
    table = table_of(("/a", "", ["GET"]), ("/a", "", ["POST"]))
    assert ask(table, "/a", method="HEAD")[1] == b"/a for GET '/a' ''"
    assert ask(table_of(("/a", "", ["POST"])), "/a", method="HEAD") == (
        "405 Method Not Allowed",
        b"",
    )


def test_each_request_starts_anew() -> None:
    """The headers that are handed out are nobody's to change for others."""
    table = table_of("/a")
    for _ in range(2):
        table(request("/"), lambda status, headers: headers.clear())
    seen = []
    table(request("/"), lambda status, headers: seen.extend(headers))
    assert len(seen) == 2


def test_it_keeps_pep_3333() -> None:
    rules = [parse_rule(rule) for rule in ("/", "/a", "= /e", "= /", "~ /p/.*", "~ /q$")]
    client = TestApp(validator(Table([Route(rule, validator(named(str(rule)))) for rule in rules])))
    assert client.get("/a/b?c=d").text == "/a '/a' '/b'"
    assert client.get("/b").text == "/ '' '/b'"
    assert client.get("/e").text == "= /e '/e' ''"
    assert client.get("/").text == "= / '' '/'"
    assert client.get("/p/x/").text == "~ /p/.* '/p/x' '/'"
    assert client.get("/q").text == "~ /q$ '/q' ''"
    assert client.get("/k%C3%A4se%2Fx").text.startswith("/ ''")


SEGMENT = st.sampled_from(["", "a", "b", "ab", "c.d", "\n", "ä"])
PATHS = st.lists(SEGMENT, max_size=5).map(lambda segments: "".join(f"/{s}" for s in segments))


@given(st.lists(PATHS, unique_by=lambda path: path.rstrip("/"), max_size=8), PATHS)
def test_the_tree_finds_what_a_scan_finds(mounts: list[str], path: str) -> None:
    table = Table([Route(Rule(mount), named(mount)) for mount in mounts])
    fitting = [
        mount.rstrip("/")
        for mount in mounts
        if (path.encode() + b"/").startswith(mount.rstrip("/").encode() + b"/")
    ]
    wire = path.encode().decode("latin-1")
    environ = request(wire)
    status, _ = answer(table, environ)
    assert status == ("200 OK" if fitting else "404 Not Found")
    assert environ["SCRIPT_NAME"] + environ["PATH_INFO"] == wire
    if fitting:
        longest = max(fitting, key=len)
        assert environ["SCRIPT_NAME"] == longest.encode().decode("latin-1")


@given(PATHS, st.integers(0, 3))
def test_paths_stay_whole_whatever_matches(path: str, number: int) -> None:
    """SCRIPT_NAME and PATH_INFO joined are the path, and parted at a border."""
    wire = path.encode().decode("latin-1")
    environ = request(wire, "/site")
    answer(table_of("/", ("~ .?.?", "~ /a", "~ /.*b", "~ .*/$")[number]), environ)
    script, info = environ["SCRIPT_NAME"], environ["PATH_INFO"]
    assert script + info == "/site" + wire
    assert info[:1] in ("", "/")
    assert not script.endswith("/")


# -- making a table


def test_the_only_application_is_left_alone() -> None:
    app = named("a")
    assert route([("", app)]) is app
    assert route([("/", app)]) is app
    assert isinstance(route([("/a", app)]), Table)
    everything = parse_rule("/")
    assert route_table([Route(everything, app, place=3)]) is app
    assert route_table([Route(everything, app, timeout=1.0)]) is not app
    assert route_table([Route(everything, app, limit_body=0)]) is not app
    assert route_table([Route(parse_rule("/", "h.org"), app)]) is not app
    assert route_table([Route(parse_rule("/", "", ["GET"]), app)]) is not app
    assert route_table([Route(everything, app, app, 0)], Switches()) is not app
    app.local_redirects = True  # type: ignore[attr-defined]
    assert route_table([Route(everything, app)]) is not app


def test_two_routes_for_the_same_requests_are_refused() -> None:
    for one, other in (("/a", "/a/"), ("", "/"), ("= /a", "=/a"), ("~ /a", "~/a")):
        with pytest.raises(ConfigError, match=re.escape("route.twice")):
            table_of(one, other)
    table_of("/a", "= /a", "~ /a", ("/a", "h.org"), ("/a", "", ["GET"]), "= /a/")


def test_what_could_not_be_kept_is_refused() -> None:
    app, rule = named("a"), parse_rule("/a")
    with pytest.raises(UseError, match="route.switches"):
        Table([Route(rule, app, app, 0)])
    with pytest.raises(UseError, match="route.switches"):
        Table([Route(rule, app, app)], Switches())
    with pytest.raises(UseError, match="route.counters"):
        Table([Route(rule, app, concurrency=1, place=0)])


def test_an_empty_table_answers() -> None:
    assert ask(Table([]), "/")[0] == "404 Not Found"


# -- two sides


def test_a_migrating_route_goes_where_its_switch_says() -> None:
    switches = Switches()
    table = Table(
        [
            Route(parse_rule("/a"), named("old a"), named("new a"), 0),
            Route(parse_rule("/b"), named("old b"), named("new b"), 1),
            Route(parse_rule("/c"), named("c")),
        ],
        switches,
    )
    client = TestApp(validator(table))
    assert [client.get(path).text[:5] for path in ("/a", "/b")] == ["old a", "old b"]
    switches.new.add(1)  # at run time, the table stays
    assert [client.get(path).text[:5] for path in ("/a", "/b", "/c")] == ["old a", "new b", "c '/c"]
    switches.new.clear()
    assert client.get("/b/x").text == "old b '/b' '/x'"


def test_whoever_was_said_to_answer_does_though_it_is_switched_meanwhile() -> None:
    switches = Switches()
    old, new = named("old"), named("new")
    table = Table([Route(parse_rule("/a"), old, new, 0), Route(parse_rule("/c"), new)], switches)
    environ = request("/a")
    assert table.answers(environ) is old
    switches.new.add(0)
    assert answer(table, environ)[1].startswith(b"old")
    assert table.answers(request("/a")) is new
    assert table.answers(request("/c")) is new
    assert table.answers(request("/d")) is None
    assert ask(table, "/a")[1].startswith(b"new")


def test_the_environ_tells_which_route_it_was() -> None:
    seen = []

    def app(environ, start_response):
        seen.append(environ["gatebridge.route"])
        return named("a")(environ, start_response)

    rule = parse_rule("/m", "*.h.org")
    table = Table(
        [Route(rule, app, app, 5), Route(parse_rule("= /p"), app)], switches := Switches()
    )
    ask(table, "/m", host="w.h.org")
    switches.new.add(5)
    ask(table, "/m", host="w.h.org")
    ask(table, "/p")
    assert seen == ["/m on *.h.org legacy", "/m on *.h.org new", "= /p"]


# -- explain

FOUND = [
    ("exact", "", "GET", "/cgi/one", "= /cgi/one", "exactly"),
    ("prefix", "", "GET", "/cgi/two", "/cgi", "longest prefix"),
    ("pattern", "", "GET", "/käse/1", "~ /käse/[0-9]", "first"),
    ("everything", "", "GET", "/x", "/", "nothing more exact"),
    ("host", "A.org:80", "GET", "/cgi", "/cgi on a.org", "longest prefix"),
    ("passed over", "", "GET", "/put/x", "/", "passed over: /put for PUT"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "host", "method", "path", "rule", "why"), FOUND)
def test_find_tells_who_and_why(name, host, method, path, rule, why) -> None:
    table = table_of(
        "/", "/cgi", "= /cgi/one", "~ /käse/[0-9]", ("/cgi", "a.org"), ("/put", "", ["PUT"])
    )
    found, sentence = table.find(host, method, path)
    assert found is not None
    assert str(found.rule) == rule
    assert why in sentence
    told = ask(table, path.encode().decode("latin-1"), method=method, host=host)[1]
    assert told.startswith(rule.encode("latin-1"))  # explain and the table agree


def test_find_tells_why_not() -> None:
    table = table_of(("/a", "", ["PUT"]), ("/b", "b.org"))
    assert table.find("", "GET", "/c")[0] is None
    assert table.find("", "GET", "/c")[1].startswith("404")
    assert table.find("c.org", "GET", "/b")[1].endswith("on this host")
    none, why = table.find("", "GET", "/a")
    assert none is None
    assert why.startswith("405")
    assert "/a for PUT" in why
