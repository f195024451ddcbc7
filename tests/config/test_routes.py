"""[[app]] and [[route]] of a file, and --mount /x=TARGET: what they become, and what is wrong."""

import shlex
from pathlib import Path

import pytest

from gatebridge.cli.options import read_asked
from gatebridge.cli.serve import command
from gatebridge.config import Asked, resolve
from gatebridge.config.text import show
from gatebridge.errors import ConfigError
from gatebridge.settings import App, Configuration
from tests.config.test_problems import check, told
from tests.config.test_text import valid


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {})


def read(text: str, **more) -> Configuration:
    Path("gatebridge.toml").write_text(text)
    return resolve(Asked(file="gatebridge.toml", **more))


def by_words(words: str) -> Configuration:
    with command.make_context("serve", shlex.split(words)) as context:
        given = context.params
        return resolve(read_asked(given.pop("app"), given.pop("config"), given))


def apps(configuration: Configuration) -> tuple[App, ...]:
    return configuration.pools[0].apps


EVERYTHING = """
[[app]]
target = "rest:app"
[[app]]
mount = "/admin/"
target = "admin:app"
host = "Admin.Example.org"
methods = "get, POST"
timeout = "1m"
limit_body = "1MiB"
concurrency = 3
[[route]]
match = "=  /exact"
target = "cgi:/srv/a.sh?timeout=5s"
[[route]]
match = "~ /user/[0-9]+"
target = "static:/srv/www"
methods = ["GET"]
limit_body = 0
[[route]]
name = "order"
match = "/cgi-bin/order/"
legacy = "cgi:/srv/cgi-bin/order.pl"
new = "shop.order:app"
timeout = 30
[[route]]
match = "/"
host = "*.example.org"
legacy = "a:b"
new = "c:d"
mode = "new"
"""


def test_everything_that_can_be_said() -> None:
    assert apps(read(EVERYTHING)) == (
        App("", "rest:app"),
        App("/admin", "admin:app", host="admin.example.org", methods=("GET", "POST"), timeout=60.0,
            limit_body=1 << 20, concurrency=3),
        App("= /exact", "cgi:/srv/a.sh?timeout=5s"),
        App("~ /user/[0-9]+", "static:/srv/www", methods=("GET",), limit_body=0),
        App("/cgi-bin/order", "cgi:/srv/cgi-bin/order.pl", "shop.order:app", "legacy",
            timeout=30.0, name="order"),
        App("", "a:b", "c:d", "new", host="*.example.org"),
    )  # fmt: skip


def test_everything_is_shown_and_reads_back_as_the_same() -> None:
    configuration = read(EVERYTHING)
    for with_origins in (False, True):
        shown = show(configuration, with_origins)
        assert valid(shown)
        assert read(shown).pools == configuration.pools


def test_the_schema_takes_everything() -> None:
    assert valid(EVERYTHING)


def test_routes_of_pools() -> None:
    text = EVERYTHING + (
        '[pool.a]\nbind = "unix:a"\n[pool.b]\nbind = "unix:b"\napp = "b:app"\n'
        '[[pool.b.route]]\nmatch = "/x"\ntarget = "x:app"\n'
        '[pool.c]\nbind = "unix:c"\napp = "c:app"\n'
    )
    assert valid(text)
    configuration = read(text)
    a, b, c = configuration.pools
    assert a.apps == apps(read(EVERYTHING))
    assert b.apps == (App("", "b:app"), App("/x", "x:app"))
    assert c.apps == (App("", "c:app"), *a.apps[2:])  # what it does not say is as above
    assert read(show(configuration, True)).pools == configuration.pools


def test_routes_alone_are_enough() -> None:
    assert apps(read('[[route]]\nmatch = "/x"\ntarget = "a:b"')) == (App("/x", "a:b"),)


MOUNTS = [
    ("beside APP", "shop:app --mount /a=a:app --mount /b/=cgi:/srv/?timeout=1s",
     (App("", "shop:app"), App("/a", "a:app"), App("/b", "cgi:/srv/?timeout=1s")), None),
    ("alone", "--mount /a=a:app", (App("/a", "a:app"),), None),
    ("for all paths", "--mount /=a:app", (App("", "a:app"),), None),
    ("and the front's", "shop:app --mount /app --mount /a=a:app",
     (App("", "shop:app"), App("/a", "a:app")), "/app"),
    ("the front's twice", "shop:app --mount /app --mount /b", (App("", "shop:app"),), "/b"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "words", "wanted", "mount"), MOUNTS, ids=[m[0] for m in MOUNTS])
def test_mounts_of_a_command_line(name, words, wanted, mount) -> None:
    configuration = by_words(words)
    assert (apps(configuration), configuration.settings.mount) == (wanted, mount)


def test_mounts_of_the_environments_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"GATEBRIDGE_CMD_ARGS": "--mount /a=a:app --mount /f"})
    configuration = by_words("shop:app --mount /b=b:app")
    assert [app.match for app in apps(configuration)] == ["", "/a", "/b"]
    assert configuration.settings.mount == "/f"


def test_a_mount_takes_the_place_of_what_the_file_has_there() -> None:
    text = (
        'app = "rest:app"\n[[route]]\nmatch = "/a"\ntarget = "old:a"\n'
        '[[route]]\nmatch = "= /b"\ntarget = "old:b"\n'
    )
    assert apps(read(text, mounts=("/a=new:a", "/c=new:c"))) == (
        App("", "rest:app"), App("/a", "new:a"), App("/c", "new:c"), App("= /b", "old:b"),
    )  # fmt: skip


WRONG_MOUNTS = [
    ("no path", ("x=a:b",), "--mount x=a:b: "),
    ("a path of dots", ("/../x=a:b",), "--mount /../x=a:b: "),
    ("twice", ("/x=a:b", "/x=c:d"), "--mount /x=c:d: a second application mounted at /x"),
]


@pytest.mark.parametrize(("name", "mounts", "reason"), WRONG_MOUNTS, ids=lambda row: str(row))
def test_a_mount_that_is_wrong(name, mounts, reason) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Asked(app="shop:app", mounts=mounts))
    assert reason in str(caught.value)


def test_a_mount_for_several_pools_is_refused(tmp_path: Path) -> None:
    text = 'app = "a:b"\n[pool.a]\nbind = "unix:a"\n[pool.b]\nbind = "unix:b"\n'
    (line,) = told(tmp_path, text, mounts=("/x=c:d",))
    assert line.startswith("--mount: /x=c:d: the file has several pools")


BOTH = 'legacy = "a:b"\nnew = "c:d"\n'
ROWS = [
    ("no table", "route = 1", ["1: route: write [[route]] above each"]),
    ("a list of texts", 'route = ["a:b"]', ["1: route: write [[route]]"]),
    ("nothing", "[[route]]", ["1: route[0]: names no path", "1: route[0]: names no application"]),
    ("an unknown key", '[[route]]\nmatch = "/"\ntarget = "a:b"\nmode_ = "new"',
     ["4: route[0].mode_: did you mean 'mode'"]),
    ("a mount", '[[route]]\nmount = "/x"\nmatch = "/x"\ntarget = "a:b"',
     ["2: route[0].mount: is unknown"]),
    ("a match in an app", '[[app]]\nmatch = "/x"\ntarget = "a:b"', ["2: app[0].match: is unknown"]),
    ("no slash", '[[route]]\nmatch = "x"\ntarget = "a:b"', ["2: route[0].match: a slash"]),
    ("no pattern", '[[route]]\nmatch = "~ /(x"\ntarget = "a:b"',
     ["2: route[0].match: no regular expression"]),
    ("a host with a port", '[[route]]\nmatch = "/x"\nhost = "a:80"\ntarget = "a:b"',
     ["3: route[0].host: without its port"]),
    ("an app's host", '[[app]]\ntarget = "a:b"\nhost = "a b"', ["3: app[0].host: 'a b'"]),
    ("no method", '[[route]]\nmatch = "/x"\nmethods = "GET,P T"\ntarget = "a:b"',
     ["3: route[0].methods: 'P T' is no method"]),
    ("methods that are none", '[[route]]\nmatch = "/x"\nmethods = [1]\ntarget = "a:b"',
     ["3: route[0].methods: methods are texts"]),
    ("a target beside both", '[[route]]\nmatch = "/x"\ntarget = "a:b"\n' + BOTH,
     ["3: route[0].target: stands beside legacy"]),
    ("legacy alone", '[[route]]\nmatch = "/x"\nlegacy = "a:b"', ["3: route[0].legacy: no new"]),
    ("new alone", '[[route]]\nmatch = "/x"\nnew = "a:b"', ["3: route[0].new: has no legacy"]),
    ("an empty side", '[[route]]\nmatch = "/x"\nlegacy = ""\nnew = "a:b"',
     ["3: route[0].legacy: names no application"]),
    ("a mode for one target", '[[route]]\nmatch = "/x"\ntarget = "a:b"\nmode = "new"',
     ["4: route[0].mode: one target"]),
    ("no mode", '[[route]]\nmatch = "/x"\nmode = "nwe"\n' + BOTH,
     ["3: route[0].mode: did you mean 'new'"]),
    ("a mode of another kind", '[[route]]\nmatch = "/x"\nmode = ["new"]\n' + BOTH,
     ["3: route[0].mode: neither"]),
    ("no time", '[[route]]\nmatch = "/x"\ntarget = "a:b"\ntimeout = "5 min"',
     ["4: route[0].timeout: is no time"]),
    ("no time at all", '[[app]]\ntarget = "a:b"\ntimeout = 0', ["3: app[0].timeout: the pool's"]),
    ("no size", '[[route]]\nmatch = "/x"\ntarget = "a:b"\nlimit_body = "5mib"',
     ["4: route[0].limit_body: is no size"]),
    ("a body above the pool's", '[[route]]\nmatch = "/x"\ntarget = "a:b"\nlimit_body = "2GiB"',
     ["1: route[0]: above the pool's 1073741824"]),
    ("nobody at once", '[[route]]\nmatch = "/x"\ntarget = "a:b"\nconcurrency = 0',
     ["4: route[0].concurrency: 0 is out of range"]),
    ("half a request", '[[route]]\nmatch = "/x"\ntarget = "a:b"\nconcurrency = 1.5',
     ["4: route[0].concurrency: a whole number"]),
    ("yes at once", '[[route]]\nmatch = "/x"\ntarget = "a:b"\nconcurrency = true',
     ["4: route[0].concurrency: a whole number"]),
    ("no name", '[[route]]\nmatch = "/x"\ntarget = "a:b"\nname = "a b"',
     ["4: route[0].name: make a route's name"]),
    ("a name of an app", '[[app]]\nname = "x"\ntarget = "a:b"', ["2: app[0].name: is unknown"]),
    ("a line break", '[[route]]\nmatch = "/x"\ntarget = "a:b\\n"',
     ["3: route[0].target: a text in quotes"]),
    ("an app and a route", '[[app]]\nmount = "/x"\ntarget = "a:b"\n'
     '[[route]]\nmatch = "/x/"\ntarget = "c:d"',
     ["4: route[0]: a second application mounted at /x"]),
    ("one method of two", '[[route]]\nmatch = "/x"\nmethods = "GET,POST"\ntarget = "a:b"\n'
     '[[route]]\nmatch = "/x"\nmethods = ["POST", "PUT"]\ntarget = "c:d"',
     ["5: route[1]: a second application mounted at /x for POST, PUT"]),
    ("a name twice", '[[route]]\nname = "x"\nmatch = "/x"\ntarget = "a:b"\n'
     '[[route]]\nname = "x"\nmatch = "/y"\ntarget = "c:d"',
     ["5: route[1]: a second route is called x"]),
    ("several at once", '[[route]]\nmatch = "/x"\nnew = "a:b"\nmode = 5\ntimeout = "x"',
     ["3: route[0].new: has no legacy", "4: route[0].mode: neither", "5: route[0].timeout: no t"]),
    ("in a pool", '[[pool.a.route]]\nmatch = "/x"', ["1: pool.a.route[0]: names no application"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "wanted"), ROWS, ids=[row[0] for row in ROWS])
def test_a_route_that_is_wrong(tmp_path: Path, name, text, wanted) -> None:
    check(told(tmp_path, text), wanted)


ALIKE = [
    ("hosts", 'host = "a.org"', 'host = "b.org"'),
    ("methods", 'methods = "GET"', 'methods = "POST"'),
    ("any method", "", 'methods = "POST"'),
    ("any host", "", 'host = "b.org"'),
]


@pytest.mark.parametrize(("name", "one", "other"), ALIKE, ids=[row[0] for row in ALIKE])
def test_two_of_one_path_may_differ_otherwise(name, one, other) -> None:
    texts = [f'[[route]]\nmatch = "/x"\ntarget = "a:b"\n{more}\n' for more in (one, other)]
    assert len(apps(read("".join(texts)))) == 2
