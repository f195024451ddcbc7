"""A pool's applications: both sides loaded, made a table, closed."""

import sys
from pathlib import Path

import pytest
from webtest import TestApp

from gatebridge.errors import ConfigError, PeerError
from gatebridge.loading import Applications, load_applications
from gatebridge.routing.table import Table
from gatebridge.serve.route_board import CallCounters, RouteBoard
from gatebridge.settings import App, Pool, Settings

SIDE = """
CLOSED = []

class Side:
    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [__name__.encode()]

    def close(self):
        CLOSED.append(__name__)
        if __name__ == "load_bad_close":
            raise OSError("it is stuck")

app = Side()
plain = lambda environ, start_response: app(environ, start_response)
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("load_old", "load_new", "load_bad_close"):
        (tmp_path / f"{name}.py").write_text(SIDE)
    (tmp_path / "load_broken.py").write_text("raise KeyError('half done')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in [name for name in sys.modules if name.startswith("load_")]:
        del sys.modules[name]


def board(*apps: App) -> RouteBoard:
    modes = {at: app.mode for at, app in enumerate(apps) if app.new}
    return RouteBoard("main", apps, modes, CallCounters())


def pool(*apps: App) -> Pool:
    return Pool("main", Settings(), apps)


def closed(name: str) -> list[str]:
    return sys.modules[name].CLOSED


def test_one_application_is_itself() -> None:
    found = load_applications(pool(App("", "load_old:app")))
    assert found.table() is sys.modules["load_old"].app


def test_a_table_of_sides_and_switches() -> None:
    apps = (App("", "load_old:app"), App("/x", "load_old:app", "load_new:app", "legacy"))
    routes = board(*apps)
    table = load_applications(pool(*apps), routes).table(routes.worker(0))
    assert isinstance(table, Table)
    client = TestApp(table)
    assert client.get("/x").text == "load_old"
    routes.set(1, "new")
    assert client.get("/x").text == "load_new"
    assert client.get("/y").text == "load_old"
    assert routes.counts(1) == (1, 1)


def test_limits_reach_the_table() -> None:
    apps = (App("/x", "load_old:app", concurrency=1), App("/y", "load_old:app", limit_body=1))
    routes = board(*apps)
    client = TestApp(load_applications(pool(*apps), routes).table(routes.worker(0)))
    assert client.get("/x").status_int == 200
    assert routes.worker(1).enter(routes.places[0], 1)
    with pytest.raises(PeerError, match="route.busy"):
        client.get("/x")
    assert client.post("/y", b"1").text == "load_old"


def test_a_new_side_that_does_not_load_is_noted() -> None:
    app = App("", "load_old:app", "load_broken:app", "legacy")
    routes = board(app)
    found = load_applications(pool(app), routes)
    assert routes.failed(0) == "app.import: importing load_broken failed: KeyError('half done')"
    assert isinstance(found.broken, ConfigError)
    routes.set(0, "new")
    assert TestApp(found.table(routes.worker(0))).get("/").text == "load_old"


def test_a_new_side_that_shall_answer_must_load() -> None:
    app = App("", "load_old:app", "load_broken:app", "new")
    routes = board(app)
    with pytest.raises(ConfigError, match="half done"):
        load_applications(pool(app), routes)
    assert closed("load_old") == ["load_old"]
    assert routes.failed(0) == ""  # what failed is the boot, and another one may not
    with pytest.raises(ConfigError, match="half done"):
        load_applications(pool(app))  # gatebridge check has no board


def test_a_broken_legacy_side_that_does_not_answer() -> None:
    app = App("", "load_broken:app", "load_old:app", "new")
    routes = board(app)
    found = load_applications(pool(app), routes)
    assert "half done" in routes.failed(0)
    assert TestApp(found.table(routes.worker(0))).get("/").text == "load_old"
    assert found.close() == []
    assert closed("load_old") == ["load_old"]


def test_a_route_that_is_switched_while_its_new_side_fails() -> None:
    """The supervisor looked for a note before there was one."""
    app = App("", "load_old:app", "load_broken:app", "legacy")

    class Meanwhile(RouteBoard):
        def note_failed(self, index: int, reason: str) -> None:
            super().note_failed(index, reason)
            self.set(index, "new")

    with pytest.raises(ConfigError, match="half done"):
        load_applications(pool(app), Meanwhile("main", (app,), {0: "legacy"}, CallCounters()))


def test_a_later_one_that_does_not_load_closes_the_earlier_ones() -> None:
    with pytest.raises(ConfigError, match="half done"):
        load_applications(pool(App("", "load_old:app"), App("/x", "load_broken:app")))
    assert closed("load_old") == ["load_old"]


def test_each_is_closed_once_and_none_keeps_another_open() -> None:
    apps = (
        App("", "load_bad_close:app"),
        App("/a", "load_old:app", "load_new:app", "legacy"),
        App("/b", "load_old:app"),
        App("/c", "load_old:plain"),
    )
    found = load_applications(pool(*apps), board(*apps))
    assert [str(error) for error in found.close()] == ["it is stuck"]
    for name in ("load_old", "load_new", "load_bad_close"):
        assert closed(name) == [name]
    assert found.close() == []


def test_nothing_is_a_table_of_nothing() -> None:
    assert TestApp(Applications().table()).get("/", status=404)


def test_pythonpath_is_put_first(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "load_lib.py").write_text(SIDE)
    settings = Settings(pythonpath=f"{tmp_path}/lib,{tmp_path}/absent")
    load_applications(Pool("main", settings, (App("", "load_lib:app"),)))
    assert sys.path.index(f"{tmp_path}/lib") < sys.path.index(f"{tmp_path}/absent")
