"""A cgi-bin moves to WSGI program by program, behind a web server that is never touched."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fronts import apache, nginx
from tests.fronts.moving import NEW, OLD, Moving, Town, build, front
from tests.fronts.servers import Server
from tests.fronts.sites import Ground
from tests.serve.gated import Gate
from tests.serve.whole import Load
from tests.suite.modes import wait_until

VISITORS = 6


def nginx_site(g: Ground) -> str:
    return nginx.kept(g, "/cgi-bin/", nginx.SCRIPT_NAME)


def apache_site(g: Ground) -> str:
    return apache.passed(g, "/cgi-bin/", f"unix:{g.sockets.fcgi}|fcgi://localhost/cgi-bin/")


@contextlib.contextmanager
def moving(
    folder: Path, module, text: Callable[[Ground], str], mount: str = "/"
) -> Iterator[tuple[Moving, Town, Server]]:
    programs = build(folder)
    assert len(programs) >= 8
    live = Moving(folder, programs, mount)
    try:
        server = front(folder, module, text)
        try:
            yield live, Town(programs), server
        finally:
            server.stop()
    finally:
        status = live.stop()
    assert status == 0, live.log()
    assert "gatebridge.fault" not in live.log(), live.log()


def load(town: Town, server: Server, count: int = VISITORS) -> Load:
    return Load(*[town.visitor(server.ports[0])] * count)


def seen(busy: Load, answer: str, more: int = 3) -> None:
    """Wait until visitors have had this answer some times more."""
    wanted = busy.answers.get(answer, 0) + more
    reached = wait_until(lambda: busy.answers.get(answer, 0) >= wanted or bool(busy.failed), 60.0)
    assert reached, (answer, busy.answers)
    assert busy.failed == []


def switch(live: Moving, town: Town, program: str, mode: str) -> None:
    with town.switching(program, NEW if mode == "new" else OLD):
        live.cli("route", "set", live.match(program), "--mode", mode)


def test_cgi_bin_moves_program_by_program(tmp_path: Path) -> None:
    """Each route is switched under load, one goes back, the file is edited, the old ones end."""
    with moving(tmp_path, nginx, nginx_site) as (live, town, server):
        workers = live.settled(2)
        with load(town, server) as busy:
            for program in town.programs:
                seen(busy, f"{program} old", 1)
            for program in town.programs:
                switch(live, town, program, "new")
                seen(busy, f"{program} new")
            with town.switching("search.pl", OLD):
                said = live.cli("route", "rollback", "/cgi-bin/search.pl")
            assert "cgi:" in said
            seen(busy, "search.pl old")
            assert live.workers() == workers, "a switch restarted a worker"

            # What the file says of search.pl is now another thing, and so it counts.
            live.say({"search.pl": "new"}, threads=6)
            with town.switching("search.pl", NEW):
                live.cli("ctl", "reload")
                again = live.settled(2)  # until then old workers end what they have taken
            assert not set(again) & set(workers)
            for program in town.programs:
                seen(busy, f"{program} new", 1)  # a reload forgets none
            switch(live, town, "calc.py", "legacy")
            seen(busy, "calc.py old")
            with town.switching("calc.py", NEW):
                live.cli("route", "rollback")
            seen(busy, "calc.py new")
            assert live.workers() == again

            live.say({}, legacy=False)
            live.cli("ctl", "reload")
            shutil.rmtree(tmp_path / "cgi-bin")
            for program in town.programs:
                seen(busy, f"{program} new", 1)
        assert busy.failed == []
        assert live.pool()["failed"] == 0, live.log()
        town.left(tmp_path / "data")


def test_cgi_bin_moves_behind_apache(tmp_path: Path) -> None:
    """The same, shorter; the front's mount is taken off the routes' paths here."""
    with moving(tmp_path, apache, apache_site, "/cgi-bin") as (live, town, server):
        workers = live.settled(2)
        with load(town, server, 4) as busy:
            for program in town.programs:
                seen(busy, f"{program} old", 1)
            for program in town.programs:
                switch(live, town, program, "new")
            for program in town.programs:
                seen(busy, f"{program} new", 1)
            for program in ("search.pl", "calc.py"):
                with town.switching(program, OLD):
                    live.cli("route", "rollback", live.match(program))
                seen(busy, f"{program} old", 1)
        assert busy.failed == []
        assert live.workers() == workers
        town.left(tmp_path / "data")


@pytest.mark.parametrize("mode", ["new", "legacy"])
def test_what_is_under_way_ends_where_it_began(tmp_path: Path, mode: str) -> None:
    with moving(tmp_path, nginx, nginx_site) as (live, town, server):
        before = "old" if mode == "new" else "new"
        if mode == "legacy":
            switch(live, town, "feed.sh", "new")
        ask = town.visitor(server.ports[0])()
        with contextlib.closing(ask), contextlib.closing(Gate(tmp_path / "data" / "news")) as gate:
            ask.kept.request("GET", "/cgi-bin/feed.sh?wait", headers={"Host": "a"})
            gate.entered()
            switch(live, town, "feed.sh", mode)
            other = town.visitor(server.ports[0])()
            with contextlib.closing(other):
                other.kept.request("GET", "/cgi-bin/feed.sh", headers={"Host": "a"})
                answered = other.kept.getresponse()
                assert answered.getheader("X-Side") == ("new" if mode == "new" else "old")
                assert answered.read() == b"begin\nend\n"
            gate.release()
            held = ask.kept.getresponse()
            assert held.getheader("X-Side") == before
            assert held.read() == b"begin\nend\n"
