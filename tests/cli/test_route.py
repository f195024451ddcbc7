"""gatebridge route: what is asked of the daemon, what is said, and what the file alone tells."""

import json
from pathlib import Path
from typing import Any

import pytest

from gatebridge.serve.control import failure
from tests.cli.daemon import daemon
from tests.cli.run import run, said

HERE = ("--control-socket", "s.ctl")


def route(**said: Any) -> dict[str, Any]:
    plain = {
        "pool": "main", "name": "", "match": "/", "host": "", "methods": [], "target": "rest:app",
        "new": "", "mode": "", "said": "", "timeout": 0.0, "limit_body": -1, "concurrency": 0,
    }  # fmt: skip
    return {**plain, **said}


ORDER = route(match="/order", methods=["POST"], target="cgi:/srv/order.pl", new="shop:app",
              mode="new", said="legacy", not_loaded="", requests=[7, 3], name="orders",
              timeout=30.0, limit_body=1 << 20, concurrency=2)  # fmt: skip
BASKET = route(match="/basket", host="shop.example.org", target="a:b", new="c:d", mode="legacy",
               said="legacy", not_loaded="app.import: \x1b[31mno", requests=[1, 0])  # fmt: skip
ROUTES = [route(), ORDER, BASKET]


def answering(folder: Path, *routes: dict[str, Any], **handlers: Any):
    return daemon(folder, routes={"ok": True, "routes": list(routes or ROUTES)}, **handlers)


def test_list(tmp_path: Path) -> None:
    with answering(tmp_path):
        done = run(tmp_path, "route", "list", *HERE)
    assert done.stdout.splitlines() == [
        "route                        mode    answers   other side         legacy/new requests",
        "/                                    rest:app",
        "/order for POST (orders)     new     shop:app  cgi:/srv/order.pl  7/3",
        "  gatebridge.toml says legacy",
        "/basket on shop.example.org  legacy  a:b       c:d                1/0",
        "  the new side did not load: app.import: \\x1b[31mno",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_list_of_several_pools_and_as_json(tmp_path: Path) -> None:
    with answering(tmp_path, route(), route(pool="api")) as here:
        done = run(tmp_path, "route", "list", *HERE)
        assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["main:", "api:"]
        done = run(tmp_path, "route", "list", "--json", *HERE)
        assert json.loads(done.stdout) == [route(), route(pool="api")]
    assert here.asked == [{"command": "routes"}] * 2


EXPLAINED = [
    ("/order/7?x=1", ("--method", "post"), 0,
     ["/order/7?x=1: shop:app (new side)",
      "  /order for POST: the longest prefix that fits",
      "  at most 30 s, 1.0 MiB of body, 2 at once in the whole daemon"]),
    ("/order/7", (), 0, ["/order/7: rest:app"]),
    ("/bas%6Bet", ("--host", "shop.example.org:80"), 0, ["/bas%6Bet: a:b (legacy side)"]),
    ("/basket", ("--host", "other.example.org"), 0, ["/basket: rest:app"]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "words", "status", "lines"), EXPLAINED,
                         ids=[" ".join((row[0], *row[1])) for row in EXPLAINED])  # fmt: skip
def test_explain(tmp_path: Path, path, words, status, lines) -> None:
    with answering(tmp_path):
        done = run(tmp_path, "route", "explain", path, *words, *HERE)
    assert done.stdout.splitlines()[: len(lines)] == lines, done.stdout
    assert (done.returncode, done.stderr) == (status, "")


def test_explain_that_nobody_answers(tmp_path: Path) -> None:
    with answering(tmp_path, ORDER):
        nowhere = run(tmp_path, "route", "explain", "/x", *HERE)
        method = run(tmp_path, "route", "explain", "/order", "--json", *HERE)
    assert (nowhere.returncode, nowhere.stdout) == (1, "/x: nobody: 404: no rule fits\n")
    (found,) = json.loads(method.stdout)
    assert method.returncode == 1
    assert found["route"] is None
    assert found["why"].startswith("405")


def test_explain_in_pools(tmp_path: Path) -> None:
    with answering(tmp_path, route(), route(pool="api", target="api:app")):
        both = run(tmp_path, "route", "explain", "/x", *HERE)
        one = run(tmp_path, "route", "explain", "/x", "--pool", "api", *HERE)
        none = run(tmp_path, "route", "explain", "/x", "--pool", "x", *HERE)
        text = run(tmp_path, "route", "explain", "x", *HERE)
    assert [line for line in both.stdout.splitlines() if line[0] == "/"] == [
        "/x: rest:app", "/x: api:app",
    ]  # fmt: skip
    assert "pool api, " in one.stdout
    assert "rest" not in one.stdout
    assert (none.returncode, said(none)) == (
        2, "gatebridge: pool.which: no pool 'x'; there are main, api\n",
    )  # fmt: skip
    assert text.returncode == 2
    assert "a path as in" in said(text)


def test_set_and_rollback(tmp_path: Path) -> None:
    done = {"ok": True, "changed": True, "route": ORDER}
    same = {"ok": True, "changed": False, "route": ORDER}
    with answering(tmp_path, route_set=done, route_rollback=same) as here:
        first = run(tmp_path, "route", "set", "/order", "--mode", "new", "--pool", "main", *HERE)
        second = run(tmp_path, "route", "rollback", *HERE)
        third = run(tmp_path, "route", "rollback", "orders", "--json", *HERE)
    assert first.stdout == "/order for POST (orders): new answers, shop:app\n"
    assert second.stdout == "/order for POST (orders): new answers already, shop:app\n"
    assert json.loads(third.stdout) == same
    assert here.asked == [
        {"command": "route-set", "match": "/order", "mode": "new", "host": "", "pool": "main"},
        {"command": "route-rollback", "match": "", "host": "", "pool": ""},
        {"command": "route-rollback", "match": "orders", "host": "", "pool": ""},
    ]


def test_what_the_daemon_refuses_is_1(tmp_path: Path) -> None:
    with answering(tmp_path, route_set=failure("route.not_loaded", "/order stays: \x1bx")):
        done = run(tmp_path, "route", "set", "/order", "--mode", "new", *HERE)
    assert (done.returncode, said(done)) == (
        1, "gatebridge: route.not_loaded: /order stays: \\x1bx\n",
    )  # fmt: skip


CODES = ["route.unknown", "route.which", "route.one_target", "route.malformed"]


@pytest.mark.parametrize("code", CODES)
def test_a_route_that_cannot_be_meant_is_2(tmp_path: Path, code: str) -> None:
    with answering(tmp_path, route_set=failure(code, "why")):
        done = run(tmp_path, "route", "set", "/ordr", "--mode", "new", *HERE)
    assert (done.returncode, said(done)) == (2, f"gatebridge: {code}: why\n")


@pytest.mark.parametrize("words", ["", "no-such", "set", "set /x", "set /x --mode old", "explain"])
def test_what_is_typed_wrong_is_2(tmp_path: Path, words: str) -> None:
    assert run(tmp_path, "route", *words.split(), *HERE).returncode == 2


# -- without a daemon

FILE = """
app = "rest:app"
[server]
control_socket = "absent.ctl"
[[route]]
match = "/order"
legacy = "old:app"
new = "new:app"
"""
CHANGED = {"format": 1, "changes": [{"pool": "main", "match": "/order", "host": "", "methods": [],
                                     "mode": "new", "said": "legacy", "at": 1.0}]}  # fmt: skip


def test_without_a_daemon_the_file_tells(tmp_path: Path) -> None:
    (tmp_path / "gatebridge.toml").write_text(FILE)
    done = run(tmp_path, "route", "list", "-c", "gatebridge.toml")
    assert done.stdout.splitlines()[1:] == [
        "/               rest:app",
        "/order  legacy  old:app   new:app",
    ]
    assert done.stderr == "no daemon answers; this is as gatebridge.toml has it\n"
    (tmp_path / "gatebridge.toml.routes").write_text(json.dumps(CHANGED))
    done = run(tmp_path, "route", "explain", "/order/x", "-c", "gatebridge.toml")
    assert done.returncode == 0
    assert done.stdout.startswith("/order/x: new:app (new side)\n")


def test_without_a_daemon_nothing_is_switched(tmp_path: Path) -> None:
    (tmp_path / "gatebridge.toml").write_text(FILE)
    done = run(tmp_path, "route", "set", "/order", "--mode", "new", "-c", "gatebridge.toml")
    assert (done.returncode, done.stdout) == (7, "")
    assert not (tmp_path / "gatebridge.toml.routes").exists()
    assert run(tmp_path, "route", "list", *HERE).returncode == 7


def test_without_a_daemon_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "gatebridge.toml").write_text(FILE + "oops = 1")
    done = run(tmp_path, "route", "list", "-c", "gatebridge.toml")
    assert done.returncode == 2
    assert "route[0].oops: is unknown" in done.stderr
