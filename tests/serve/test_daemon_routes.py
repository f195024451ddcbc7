"""Routes of a running daemon: switched under load, kept, refused, limited, closed."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serve import gated
from tests.serve.service import Service, service
from tests.serve.supervised import alive
from tests.suite import wires

SIDE = """
import json, os

SIDE = {side!r}

class Side:
    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path.startswith("/hold/"):
            with open(path.removeprefix("/hold/"), "rb") as fifo:
                fifo.read()
        start_response("200 OK", [("Content-Type", "application/json")])
        found = [SIDE, environ["SCRIPT_NAME"], path, os.getpid()]
        return [json.dumps(found).encode()]

    def close(self):
        with open("closed", "a") as file:
            file.write(SIDE + "\\n")

app = Side()
"""
BROKEN = "raise RuntimeError('the new side is not finished')\n"

FILE = """
app = "rest:app"
[server]
bind = "unix:s"
workers = {workers}
threads = 4
{more}
[[route]]
match = "/order"
legacy = "old:app"
new = "new:app"
mode = "{mode}"
[[route]]
match = "/once"
name = "once"
target = "old:app"
concurrency = 2
"""


def configure(folder: Path, mode: str = "legacy", workers: int = 2, more: str = "") -> None:
    (folder / "gb.new").write_text(FILE.format(mode=mode, workers=workers, more=more))
    os.replace(folder / "gb.new", folder / "gatebridge.toml")


def write_sides(folder: Path, *names: str) -> None:
    for name in names or ("rest", "old", "new"):
        (folder / f"{name}.py").write_text(SIDE.format(side=name))


@contextmanager
def routed(folder: Path, mode: str = "legacy", workers: int = 2, more: str = "") -> Iterator:
    if not (folder / "rest.py").exists():
        write_sides(folder)
    configure(folder, mode, workers, more)
    with service(folder, "-c", "gatebridge.toml") as live:
        yield live


def answer(sock) -> wires.Resp:
    with sock:
        return gated.answer(sock)


def side(live: Service, path: str = "/order") -> str:
    return json.loads(live.ask(path))[0]


def change(live: Service, mode: str, match: str = "/order") -> dict:
    answer = live.ctl("route-set", match=match, mode=mode)
    assert answer["ok"], answer
    return answer


def reload(live: Service, workers: int = 2) -> None:
    """Also those who drain have gone: they may still take a request, and answer as they know."""
    answer = live.ctl("reload")
    assert answer["ok"], answer
    live.settled(workers)


def route(live: Service, match: str = "/order") -> dict:
    return next(one for one in live.ctl("routes")["routes"] if one["match"] == match)


PRELOAD = pytest.mark.parametrize("more", ["", "preload = true"], ids=["plain", "preload"])


# -- switching


@PRELOAD
def test_a_route_is_switched_and_no_worker_knows(tmp_path: Path, more: str) -> None:
    with routed(tmp_path, more=more) as live:
        workers = live.settled(2)
        assert json.loads(live.ask("/order/7"))[:3] == ["old", "/order", "/7"]
        assert change(live, "new")["changed"]
        assert json.loads(live.ask("/order/7"))[:3] == ["new", "/order", "/7"]
        assert side(live, "/x") == "rest"
        assert not change(live, "new")["changed"]
        assert live.ctl("route-rollback")["route"]["mode"] == "legacy"
        assert side(live) == "old"
        assert live.settled(2) == workers
        assert live.log().count("/order: new answers, not legacy") == 1


def test_the_next_request_of_every_worker_goes_there(tmp_path: Path) -> None:
    """Also of one that has a request of before under way, which ends where it began."""
    with routed(tmp_path) as live:
        workers = live.settled(2)
        gate = live.gate("g")
        held = live.send("/order/hold/g")
        gate.entered()
        change(live, "new")
        seen = set()

        def all_seen() -> bool:
            name, *_, pid = json.loads(live.ask("/order"))
            assert name == "new"
            seen.add(pid)
            return seen == set(workers)

        live.until(all_seen)
        gate.release()
        assert json.loads(answer(held).body)[0] == "old"


def test_no_request_is_lost_while_routes_are_switched(tmp_path: Path) -> None:
    """Four clients ask all the time; after a switch is answered nobody gets the other side."""
    with routed(tmp_path) as live:
        workers = live.settled(2)
        wrong: list[object] = []
        asked = [0]
        end = threading.Event()

        def ask() -> None:
            while not end.is_set():
                found = live.get("/order/x")
                asked[0] += 1
                if found.status != 200 or json.loads(found.body)[0] not in ("old", "new"):
                    wrong.append(found)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for at in range(40):
                change(live, "legacy" if at % 2 else "new")
                if side(live) != ("old" if at % 2 else "new"):
                    wrong.append(at)
        finally:
            end.set()
            for thread in threads:
                thread.join()
        assert wrong == []
        assert asked[0] > 40
        assert live.settled(2) == workers


def test_counts_of_each_side_are_told_and_outlive_their_worker(tmp_path: Path) -> None:
    with routed(tmp_path, workers=1) as live:
        for _ in range(3):
            side(live)
        change(live, "new")
        side(live)
        assert route(live)["requests"] == [3, 1]
        (worker,) = live.settled(1)
        os.kill(worker, signal.SIGKILL)
        live.until(lambda: live.workers() not in ([], [worker]))
        side(live)
        assert route(live)["requests"] == [3, 2]
        (told,) = live.pool()["routes"]
        assert (told["route"], told["mode"], told["requests"]) == ("/order", "new", [3, 2])


REFUSED = [
    ("a slip", {"match": "/oder", "mode": "new"}, "route.unknown", "mean '/order'"),
    ("below a route", {"match": "/order/of/a/kind", "mode": "new"}, "route.unknown", "makes one"),
    ("no route", {"match": "", "mode": "new"}, "route.unknown", "there are /order"),
    ("one target", {"match": "once", "mode": "new"}, "route.one_target", "nothing to switch"),
    ("the root", {"match": "/", "mode": "new"}, "route.one_target", "rest:app"),
    ("no mode", {"match": "/order", "mode": "newer"}, "route.mode", "legacy or new"),
    ("another pool", {"match": "/order", "mode": "new", "pool": "x"}, "route.unknown", "no route"),
    ("no text", {"match": ["/order"], "mode": "new"}, "route.malformed", "is a text"),
]


def test_what_cannot_be_switched_is_refused(tmp_path: Path) -> None:
    with routed(tmp_path) as live:
        for name, request, code, reason in REFUSED:
            answer = live.ctl("route-set", **request)
            assert (answer["ok"], answer["code"]) == (False, code), name
            assert reason in answer["error"], (name, answer)
        answer = live.ctl("route-rollback")
        assert answer["code"] == "route.unchanged"
        assert side(live) == "old"


# -- kept


def test_a_change_outlives_reload_restart_and_another_worker(tmp_path: Path) -> None:
    with routed(tmp_path) as live:
        change(live, "new")
        reload(live)
        assert side(live) == "new"
        for worker in live.settled(2):
            os.kill(worker, signal.SIGKILL)
        live.settled(2)
        assert side(live) == "new"
    with routed(tmp_path) as live:
        assert side(live) == "new"
        assert route(live)["said"] == "legacy"
        assert live.ctl("route-rollback")["ok"]
        assert side(live) == "old"
    with routed(tmp_path) as live:
        assert side(live) == "old"


def test_who_edits_the_file_is_obeyed_and_told(tmp_path: Path) -> None:
    with routed(tmp_path) as live:
        change(live, "new")
        change(live, "legacy")
        configure(tmp_path, "new")
        reload(live)
        assert side(live) == "new"
        live.until_log("edited to new since, which counts")
        configure(tmp_path, "legacy")
        reload(live)
        assert side(live) == "old"  # and what was said before the first edit is forgotten
        assert json.loads((tmp_path / "gatebridge.toml.routes").read_text())["changes"] == []
        assert live.log().count("route.overruled") == 1


def test_a_reload_that_fails_overrules_nothing(tmp_path: Path) -> None:
    with routed(tmp_path) as live:
        change(live, "new")
        configure(tmp_path, "new")
        (tmp_path / "rest.py").write_text(BROKEN)
        assert not live.ctl("reload")["ok"]
        assert live.ctl("route-rollback")["ok"]
        assert side(live) == "old"


def test_a_state_that_cannot_be_written_refuses_the_change(tmp_path: Path) -> None:
    with routed(tmp_path, more='route_state = "absent/routes"') as live:
        answer = live.ctl("route-set", match="/order", mode="new")
        assert answer["code"] == "route.state"
        assert "absent/routes cannot be written" in answer["error"]
        assert side(live) == "old"
        (tmp_path / "absent").mkdir()
        change(live, "new")
        assert side(live) == "new"
        assert (tmp_path / "absent" / "routes").exists()


def test_a_state_that_cannot_be_read_keeps_the_daemon_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "gatebridge.toml.routes").write_text("{")
    with routed(tmp_path) as live:
        assert side(live) == "old"
        live.until_log("cannot be read")


@pytest.mark.parametrize("text", [None, "{"], ids=["removed", "spoiled"])
def test_a_state_that_was_lost_is_written_by_the_same_change(
    tmp_path: Path, text: str | None
) -> None:
    state = tmp_path / "gatebridge.toml.routes"
    with routed(tmp_path) as live:
        change(live, "new")
        state.unlink()
        if text is not None:
            state.write_text(text)
        assert live.ctl("route-set", match="/order", mode="new")["changed"] is False
    with routed(tmp_path) as live:
        assert side(live) == "new"


# -- a side that does not load


@PRELOAD
def test_a_broken_new_side_is_told_and_not_switched_to(tmp_path: Path, more: str) -> None:
    write_sides(tmp_path)
    (tmp_path / "new.py").write_text(BROKEN)
    with routed(tmp_path, more=more) as live:
        live.settled(2)
        assert side(live) == "old"
        live.until_log("route.not_loaded pool main /order: app.import")
        answer = live.ctl("route-set", match="/order", mode="new")
        assert answer["code"] == "route.not_loaded"
        assert "the new side is not finished" in answer["error"]
        assert "not finished" in route(live)["not_loaded"]
        assert not (tmp_path / "gatebridge.toml.routes").exists()
        assert side(live) == "old"
        write_sides(tmp_path, "new")
        reload(live)
        assert route(live)["not_loaded"] == ""
        change(live, "new")
        assert side(live) == "new"
        assert live.log().count("route.not_loaded") == 1


@PRELOAD
def test_a_legacy_side_that_was_deleted(tmp_path: Path, more: str) -> None:
    write_sides(tmp_path)
    with routed(tmp_path, more=more) as live:
        change(live, "new")
        file = tmp_path / "gatebridge.toml"
        file.write_text(file.read_text().replace('legacy = "old:app"', 'legacy = "gone:app"'))
        reload(live)
        live.until_log("route.not_loaded pool main /order: app.not_found")
        assert side(live) == "new"
        assert live.ctl("route-set", match="/order", mode="legacy")["code"] == "route.not_loaded"
        assert live.ctl("route-rollback")["code"] == "route.not_loaded"
        assert side(live) == "new"
        write_sides(tmp_path, "gone")
        reload(live)
        change(live, "legacy")
        assert side(live) == "gone"


def test_a_broken_new_side_that_shall_answer_fails_the_boot(tmp_path: Path) -> None:
    write_sides(tmp_path, "rest", "old")
    (tmp_path / "new.py").write_text(BROKEN)
    configure(tmp_path, "new")
    live = Service(tmp_path, "-c", "gatebridge.toml", wait=False)
    assert live.process.wait(30) == 4
    assert "the new side is not finished" in live.log()
    assert live.stop() == 4


def test_a_reload_to_a_broken_new_side_fails_and_the_old_ones_serve(tmp_path: Path) -> None:
    with routed(tmp_path) as live:
        change(live, "new")
        (tmp_path / "new.py").write_text(BROKEN)
        answer = live.ctl("reload")
        assert (answer["ok"], "not finished" in answer["error"]) == (False, True)
        assert side(live) == "new"


def test_a_broken_legacy_side_fails_the_boot(tmp_path: Path) -> None:
    write_sides(tmp_path, "rest", "new")
    (tmp_path / "old.py").write_text(BROKEN)
    configure(tmp_path, "new")
    live = Service(tmp_path, "-c", "gatebridge.toml", wait=False)
    assert live.process.wait(30) == 4
    assert live.stop() == 4


# -- re-execution


def test_routes_outlive_a_re_execution(tmp_path: Path) -> None:
    with routed(tmp_path) as live:
        change(live, "new")
        workers = live.settled(2)
        live.send_signal(signal.SIGUSR2)
        live.until(lambda: not set(live.settled(2)) & set(workers))
        assert side(live) == "new"
        change(live, "legacy")
        assert side(live) == "old"


def test_workers_of_the_program_before_are_switched_too(tmp_path: Path) -> None:
    """The new program cannot load its application, so the old workers are all there is."""
    with routed(tmp_path, workers=1) as live:
        workers = live.settled(1)
        (tmp_path / "rest.py").write_text(BROKEN)
        live.send_signal(signal.SIGUSR2)
        live.until_log("reload.failed")
        live.until(lambda: live.ctl("ping")["ok"])
        change(live, "new")
        live.until(lambda: side(live) == "new")
        assert json.loads(live.ask("/order"))[3] == workers[0]
        write_sides(tmp_path, "rest")
        reload(live, 1)
        assert side(live) == "new"


# -- limits and the end


def test_a_concurrency_is_the_whole_daemons(tmp_path: Path) -> None:
    with routed(tmp_path) as live:
        gates = [live.gate(name) for name in ("a", "b")]
        held = [live.send(f"/once/hold/{gate.path.name}") for gate in gates]
        for gate in gates:
            gate.entered()
        for _ in range(10):  # whichever worker gets it
            full = live.get("/once/x")
            assert (full.status, full.all("Retry-After")) == (503, ["1"])
        assert live.ctl("reload")["ok"]  # the requests of before are under way, and count
        assert live.get("/once/x").status == 503
        gates[0].release()
        assert answer(held[0]).status == 200
        live.until(lambda: live.get("/once/x").status == 200)
        gates[1].release()
        assert answer(held[1]).status == 200


def test_a_killed_worker_takes_its_requests_out_of_the_count(tmp_path: Path) -> None:
    with routed(tmp_path, workers=1) as live:
        gates = [live.gate(name) for name in ("a", "b")]
        held = [live.send(f"/once/hold/{gate.path.name}") for gate in gates]
        for gate in gates:
            gate.entered()
        assert live.get("/once/x").status == 503
        (worker,) = live.workers()
        os.kill(worker, signal.SIGKILL)
        live.until(lambda: live.workers() not in ([], [worker]))
        assert not alive(worker)
        assert live.get("/once/x").status == 200
        for sock in held:
            sock.close()


@PRELOAD
def test_applications_are_closed_when_their_worker_ends(tmp_path: Path, more: str) -> None:
    with routed(tmp_path, workers=1, more=more) as live:
        reload(live, 1)
        live.until(lambda: (tmp_path / "closed").exists())
        closed = (tmp_path / "closed").read_text().split()
        assert sorted(closed) == ["new", "old", "rest"]  # old answers two routes, and is one


def test_mounts_of_the_command_line(tmp_path: Path) -> None:
    write_sides(tmp_path)
    words = ("rest:app", "--bind", "unix:s", "--mount", "/a=old:app", "--mount", "/a/b=new:app")
    with service(tmp_path, *words) as live:
        found = [json.loads(live.ask(path))[:3] for path in ("/a/x", "/a/b/x", "/ab")]
        assert found == [["old", "/a", "/x"], ["new", "/a/b", "/x"], ["rest", "", "/ab"]]


def test_mounts_alone_leave_other_paths_to_nobody(tmp_path: Path) -> None:
    write_sides(tmp_path)
    with service(tmp_path, "--bind", "unix:s", "--mount", "/a=old:app") as live:
        assert side(live, "/a") == "old"
        assert live.get("/b").status == 404


@PRELOAD
def test_programs_and_files_are_routes_as_applications_are(tmp_path: Path, more: str) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "a.sh"
    script.write_text(
        "#!/bin/sh\necho Content-Type: text/plain\necho\necho $SCRIPT_NAME $PATH_INFO\n"
    )
    script.chmod(0o755)
    words = (
        "--bind",
        "unix:s",
        "--mount",
        "/cgi-bin=cgi:bin/?owner=any",
        "--mount",
        "/f=static:bin",
    )
    if more:
        words = (*words, "--preload")
    with service(tmp_path, *words) as live:
        assert live.ask("/cgi-bin/a.sh/x") == "/cgi-bin/a.sh /x\n"
        assert live.ask("/f/a.sh") == script.read_text()
        assert live.get("/cgi-bin/b.sh").status == 404
