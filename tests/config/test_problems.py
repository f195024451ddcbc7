"""What is wrong with a configuration: each problem with its place, its key and a reason."""

from pathlib import Path

import pytest

from gatebridge.config import Asked, examine, resolve
from gatebridge.errors import ConfigError

APP = 'app = "shop:app"\n'

# name, the file below APP, what is told: "line: key: part of the reason"
ROWS = [
    ("an unknown table", "[sever]\na = 1", ["2: sever: did you mean 'server'"]),
    ("an unknown key", "[server]\nthread = 1", ["3: server.thread: did you mean 'threads'"]),
    ("a key with dashes", "[server]\ngraceful-timeout = 1",
     ["3: server.graceful-timeout: did you mean 'graceful_timeout'"]),
    ("the end of a key", "[limits]\nbody = 1", ["3: limits.body: did you mean 'limit_body'"]),
    ("a key like no other", "[server]\nqqqqqq = 1", ["3: server.qqqqqq: is unknown"]),
    ("a key of another table", "[server]\nlimit_body = 1",
     ["3: server.limit_body: belongs into [limits]"]),
    ("a key without a table", "threads = 1", ["2: threads: belongs into [server]"]),
    ("a table that is none", "server = 1", ["2: server: write [server] above its keys"]),
    ("a dotted key", "server.threads = 0", ["2: server.threads: out of range"]),
    ("an inline table", "limits = { max_queue = -1 }", ["2: limits.max_queue: out of range"]),
    ("a number that is none", '[server]\nthreads = "8"', ["3: server.threads: whole number"]),
    ("a boolean is no number", "[server]\nthreads = true", ["3: server.threads: whole number"]),
    ("half a thread", "[server]\nthreads = 1.5", ["3: server.threads: whole number"]),
    ("too few", "[server]\nthreads = 0", ["3: server.threads: 0 is out of range, 1 to 128"]),
    ("too many", "[server]\nthreads = 129", ["3: server.threads: 1 to 128"]),
    ("below nothing", "[limits]\nmax_queue = -1", ["3: limits.max_queue: from 0 on"]),
    ("more than a machine has", "[limits]\nmax_queue = 9223372036854775808",
     ["3: limits.max_queue: out of range"]),
    ("no end", "[server]\ntimeout = inf", ["3: server.timeout: inf is out of range"]),
    ("not a number", "[server]\ntimeout = nan", ["3: server.timeout: nan is out of range"]),
    ("a time below nothing", '[server]\ntimeout = "-1s"', ["3: server.timeout: from 0 on"]),
    ("no time", '[server]\ntimeout = "30sec"', ["3: server.timeout: '30sec' is no time"]),
    ("no size", '[limits]\nlimit_body = "16mib"', ["3: limits.limit_body: '16mib' is no size"]),
    ("part of a byte", "[limits]\nlimit_body = 1.5", ["3: limits.limit_body: 16MiB"]),
    ("a boolean that is none", '[server]\npreload = "yes"', ["3: server.preload: true or false"]),
    ("a text that is none", "[server]\nuser = 33", ["3: server.user: a text in quotes"]),
    ("a mask without quotes", "[server]\numask = 27", ["3: server.umask: a text in quotes"]),
    ("a date", "[server]\nuser = 1979-05-27", ["3: server.user: a text in quotes"]),
    ("none of the choices", '[trust]\nfront = "nginz"', ["3: trust.front: did you mean 'nginx'"]),
    ("workers by name", '[server]\nworkers = "all"', ["3: server.workers: \"auto\", or a number"]),
    ("no worker", "[server]\nworkers = 0", ["3: server.workers: 1 to 128"]),
    ("workers of nothing", '[server]\nworkers = ""', ["3: server.workers: 1 to 128"]),
    ("each bad bind at its line", '[server]\nbind = [\n"unix:a",\n"ftp://a:1",\n"unix:b?mode=9"]',
     ["5: server.bind[1]: none of fcgi", "6: server.bind[2]: octal"]),
    ("a bind beyond loopback", '[server]\nbind = "fcgi://0.0.0.0:1"', ["3: server.bind: allow="]),
    ("an empty bind", '[server]\nbind = ""', ["3: server.bind: names no socket"]),
    ("no text in a list", "[server]\nbind = [1, true]",
     ["3: server.bind[0]: a text in quotes", "3: server.bind[1]: a text in quotes"]),
    ("a bind twice", '[server]\nbind = ["unix:a", "scgi+unix:./a"]', ["3: server.bind: twice"]),
    ("a port twice", '[server]\nbind = ["http://localhost:1", "fcgi://127.0.0.1:1"]',
     ["3: server.bind: twice"]),
    ("an address within all", '[server]\nbind = ["http://127.0.0.1:1", '
     '"fcgi://0.0.0.0:1?allow=10.0.0.1"]', ["3: server.bind: twice"]),
    ("a mount", '[server]\nmount = "shop"', ["3: server.mount: a path as in /app"]),
    ("a status path", '[status]\nstatus_path = "status"', ["3: status.status_path: a path"]),
    ("the same path twice", '[status]\nstatus_path = "/x"\nping_path = "/x"',
     ["4: status.ping_path: both /x"]),
    ("peers, one of a list", '[trust]\nforwarded_allow_ips = ["10.0.0.0/8", "x"]',
     ["3: trust.forwarded_allow_ips: 'x'"]),
    ("a comma in a list", '[trust]\nforwarded_allow_ips = ["10.0.0.0/8",\n "::1,::2"]',
     ["4: trust.forwarded_allow_ips[1]: without a comma"]),
    ("clients", '[status]\nstatus_allow = "localhost"', ["3: status.status_allow: 'localhost'"]),
    ("a mask", '[server]\numask = "0o27"', ["3: server.umask: octal"]),
    ("a variable of a list", '[server]\nenv = ["A=1", "B"]', ["3: server.env[1]: NAME=VALUE"]),
    ("a variable of a table", "[server.env]\nA = 1\nB = '2'", ["3: server.env.A: a text in quot"]),
    ("a variable's name", "[server.env]\n'A B' = ''", ["3: server.env.A B: is no name"]),
    ("a limit", "[server.rlimit]\nnofiles = 1024", ["3: server.rlimit.nofiles: mean 'nofile'"]),
    ("a limit's value", '[server.rlimit]\nas = "1gib"', ["3: server.rlimit.as: is no size"]),
    ("a log's format", '[log]\naccess_logformat = "%x"', ["3: log.access_logformat: %x"]),
    ("a control character", '[log]\nslowlog = "a\\u0000b"', ["3: log.slowlog: control"]),
    ("a line break", '[server]\nuser = "a\\nb"', ["3: server.user: control"]),
    ("a name for a file", '[server]\nname = "../x"', ["3: server.name: up to 48"]),
    ("more spare than workers", '[server]\npm = "dynamic"\nworkers = 2\nmax_spare_servers = 3',
     ["5: server.max_spare_servers: above workers 2"]),
    ("the least above the most", '[server]\npm = "dynamic"\nmin_spare_servers = 5',
     ["4: server.min_spare_servers: above max_spare_servers 2"]),
    ("folders", '[server]\nchdir = "absent"', ["3: server.chdir: absent is no folder"]),
    ("a folder for bodies", '[limits]\nspool_dir = "absent"', ["3: limits.spool_dir: no folder"]),
    ("niceness", "[server]\nnice = 20", ["3: server.nice: -20 to 19"]),
    ("a pool that is none", "[pool]\na = 1", ["3: pool.a: write [pool.NAME]"]),
    ("pools that are none", "pool = 1", ["2: pool: write [pool.NAME]"]),
    ("a pool's name", '[pool."a b"]', ["2: pool.a b: make a pool's name"]),
    ("a pool's unknown key", "[pool.a]\nthread = 1", ["3: pool.a.thread: mean 'threads'"]),
    ("a pool's unknown table", "[pool.a.limit]", ["2: pool.a.limit: did you mean 'limits'"]),
    ("a pool's table", "[pool.a.limits]\nthreads = 1",
     ["3: pool.a.limits.threads: belongs into [pool.a.server]"]),
    ("a pool's value", "[pool.a]\nthreads = 0", ["3: pool.a.threads: out of range"]),
    ("what is the daemon's", '[pool.a.log]\nlog_level = "info"',
     ["3: pool.a.log.log_level: belongs into [log]"]),
    ("what is said twice", "[pool.a]\nthreads = 1\nserver.threads = 2",
     ["4: pool.a.server.threads: pool.a.threads says it, too"]),
    ("pools at one socket", '[pool.a]\nbind = "unix:s"\n[pool.b]\nbind = "scgi+unix:s"',
     ["5: pool.b.bind: pool a listens there"]),
    ("pools without a bind", "[pool.a]\n[pool.b]", ["3: pool.b: pool a listens there"]),
    ("a bind for all pools", '[server]\nbind = "unix:s"\n[pool.a]\n[pool.b]',
     ["3: server.bind: pool a listens there"]),
    ("all workers together", "[pool.a]\nbind='unix:a'\nworkers=100\n[pool.b]\nbind='unix:b'\n"
     "workers=29", ["7: pool.b.workers: 129 workers together; 128"]),
]  # fmt: skip

APPS = [
    ("none", "", ["no application is named"]),
    ("none in a pool", "[pool.a]", ["1: pool.a: no application is named"]),
    ("a number", "app = 1", ['1: app: write app = "module:name"']),
    ("an empty name", 'app = ""', ["1: app: names no application"]),
    ("a list of names", 'app = ["a:b"]', ["1: app: or [[app]] tables"]),
    ("without a target", '[[app]]\nmount = "/a"', ["1: app[0]: names no application"]),
    ("an unknown key", '[[app]]\ntarget = "a:b"\ntarge = ""', ["3: app[0].targe: mean 'target'"]),
    ("a target that is none", "[[app]]\ntarget = 1", ["2: app[0].target: a text in quotes"]),
    ("a mount that is none", '[[app]]\nmount = "a"\ntarget = "a:b"', ["2: app[0].mount: a path"]),
    ("a mount twice", '[[app]]\nmount = "/a"\ntarget = "a:b"\n[[app]]\nmount = "/a/"\n'
     'target = "c:d"', ["4: app[1]: a second application mounted at /a"]),
    ("two without a mount", '[[app]]\ntarget = "a:b"\n[[app]]\nmount = "/"\ntarget = "c:d"',
     ["3: app[1]: a second application without a mount"]),
    ("in a pool", '[pool.x]\n[[pool.x.app]]\ntarget = "a:b"\n[[pool.x.app]]\n',
     ["4: pool.x.app[1]: names no application"]),
]  # fmt: skip

BROKEN = [
    ("no value", "a =\n", "1: no TOML"),
    ("at the end", "a = 1\nb = [", "2: no TOML"),
    ("a key twice", "[server]\nthreads = 1\nthreads = 2\n", "3: no TOML"),
    ("a table twice", "[pool.a]\n[pool.b]\n[pool.a]\n", "3: no TOML"),
    ("too deep", f"a = {'[' * 5000}{']' * 5000}", " is nested too deeply"),
]


def told(folder: Path, text: str | bytes, **more: object) -> list[str]:
    """The problems without the file's name."""
    path = folder / "gatebridge.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    configuration, problems = examine(Asked(file=str(path), **more))
    assert (configuration is None) == bool(problems)
    lines = [str(problem) for problem in problems]
    return [line.removeprefix(f"{path}:").replace(str(path), "") for line in lines]


def check(found: list[str], wanted: list[str]) -> None:
    assert len(found) == len(wanted), found
    for line, want in zip(found, wanted, strict=True):
        start, colon, reason = want.rpartition(": ")
        assert line.startswith(start + colon)
        assert reason in line


@pytest.mark.parametrize(("name", "text", "wanted"), ROWS, ids=[row[0] for row in ROWS])
def test_a_problem(tmp_path, monkeypatch, name, text, wanted) -> None:
    monkeypatch.chdir(tmp_path)
    check(told(tmp_path, APP + text), wanted)


@pytest.mark.parametrize(("name", "text", "wanted"), APPS, ids=[row[0] for row in APPS])
def test_applications(tmp_path, name, text, wanted) -> None:
    check(told(tmp_path, text), wanted)


@pytest.mark.parametrize(("name", "text", "wanted"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_is_no_toml_is_told_once(tmp_path, name, text, wanted) -> None:
    (line,) = told(tmp_path, text)
    assert line.startswith(wanted)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (line,) = told(tmp_path, b"a = '\xff'")
    assert "cannot be read" in line


@pytest.mark.parametrize("name", ["absent.toml", "", "\0"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    _, (problem,) = examine(Asked(file=str(tmp_path / name)))
    assert "cannot be read" in str(problem)


def test_every_problem_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "".join(f"{APP if not number else ''}{row[1]}\n" for number, row in enumerate([
        (0, "[trust]\nfront = 1"), (0, "[limits]\nlimit_body = 'x'\nmax_queue = 'x'"),
        (0, "[server]\nthreads = 0\nbind = ['x', 'ftp://x:1', 'unix:']"), (0, "[oops]"),
        (0, "[pool.a]\nworkers = 0"), (0, "[pool.b]\nbind = 'fcgi://1:x'"),
        (0, "[[pool.b.app]]\nmount = '/'")]))  # fmt: skip
    found = told(tmp_path, text, flags={"nice": "99"}, environ={"PORT": "none"})
    lines = [int(line.partition(":")[0]) for line in found[:-2]]
    assert lines == sorted(lines)
    assert len(lines) == len(set(lines)) + 1 == 10  # both bad binds are on one line
    assert [line.partition(":")[0] for line in found[-2:]] == ["PORT", "--nice"]


OUTSIDE = [
    ("a flag", {"flags": {"threads": "0"}}, "--threads: 0 is out of range"),
    ("a flag that is no number", {"flags": {"threads": "x"}}, "--threads: 'x' is no whole number"),
    ("another script's digit", {"flags": {"threads": "٣"}}, "--threads: '٣' is no whole number"),
    ("a flag's unit", {"flags": {"timeout": "3y"}}, "--timeout: '3y' is no time"),
    ("an argument", {"cmd_args": {"threads": "0"}}, "GATEBRIDGE_CMD_ARGS --threads: 0 is out"),
    ("a variable", {"environ": {"GATEBRIDGE_THREADS": "0"}}, "GATEBRIDGE_THREADS: 0 is out of"),
    ("a variable's word", {"environ": {"GATEBRIDGE_PRELOAD": "maybe"}},
     "GATEBRIDGE_PRELOAD: 'maybe' is neither on nor off"),
    ("a variable's quotes", {"environ": {"GATEBRIDGE_BIND": "unix:'a"}},
     "GATEBRIDGE_BIND: \"unix:'a\": No closing quotation"),
    ("a variable's choice", {"environ": {"GATEBRIDGE_PM": "dynamik"}},
     "GATEBRIDGE_PM: 'dynamik' is none of static, dynamic, ondemand; did you mean 'dynamic'?"),
    ("a habit", {"environ": {"WEB_CONCURRENCY": "many"}}, "WEB_CONCURRENCY: 'many': \"auto\""),
    ("a port", {"environ": {"PORT": "tcp://10.0.0.1:80"}}, "PORT: 'http://127.0.0.1:tcp:"),
    ("peers", {"environ": {"FORWARDED_ALLOW_IPS": "x"}}, "FORWARDED_ALLOW_IPS: 'x' does not"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "said", "wanted"), OUTSIDE, ids=[row[0] for row in OUTSIDE])
def test_what_is_said_outside_of_the_file(name, said, wanted) -> None:
    _, (problem,) = examine(Asked(app="shop:app", **said))
    assert str(problem).startswith(wanted)


def test_a_broken_file_is_told_though_a_flag_says_better(tmp_path: Path) -> None:
    assert told(tmp_path, APP + "[server]\nthreads = 0", flags={"threads": "4"}) == [
        "3: server.threads: 0 is out of range, 1 to 128"
    ]


def test_what_follows_from_a_broken_value_is_not_told(tmp_path: Path) -> None:
    """Two pools would share the default bind, and six spare servers would be too many."""
    text = "[pool.a]\nbind = 1\n[pool.b]\npm = 'dynamic'\nworkers = 'x'\nmax_spare_servers = 6"
    check(told(tmp_path, APP + text),
          ["3: pool.a.bind: a text in quotes", "6: pool.b.workers: 1 to 128"])  # fmt: skip


def test_a_broken_file_may_have_named_the_application(tmp_path: Path) -> None:
    (line,) = told(tmp_path, '[app]\ntarget = "a:b"')
    assert line.startswith("1: app: ")


TWO = "[pool.a]\napp='a:b'\nbind='unix:a'\n[pool.b]\napp='a:b'\nbind='unix:b'\n"


def test_an_application_outside_is_for_one_pool(tmp_path: Path) -> None:
    (line,) = told(tmp_path, TWO, app="c:d")
    assert line.startswith("APP: c:d: the file has several pools")


def test_a_bind_outside_is_for_one_pool(tmp_path: Path) -> None:
    assert told(tmp_path, TWO, flags={"bind": ("unix:c",)}) == [
        "--bind: the file has several pools, each with its own bind"
    ]
    assert told(tmp_path, TWO, environ={"PORT": "8000"}) == []


def test_one_error_holds_them_all(tmp_path: Path) -> None:
    path = tmp_path / "g.toml"
    path.write_text(APP + "[server]\nthreads = 0\nnice = 99\n")
    with pytest.raises(ConfigError) as raised:
        resolve(Asked(file=str(path)))
    assert raised.value.code == "config.invalid"
    assert raised.value.detail == (
        "2 problems\n"
        f"{path}:3: server.threads: 0 is out of range, 1 to 128\n"
        f"{path}:4: server.nice: 99 is out of range, -20 to 19"
    )
    with pytest.raises(ConfigError) as raised:
        resolve(Asked(app="a:b", flags={"threads": "0"}))
    assert raised.value.detail == "--threads: 0 is out of range, 1 to 128"
