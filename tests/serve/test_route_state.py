"""What gatebridge route has changed: kept in a file, undone, overruled by the configuration."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve.route_state import RouteState, state_path
from gatebridge.settings import App, Configuration, Settings

ORDER = App("/order", "old:app", "new:app", "legacy")
BASKET = App("/basket", "old:app", "new:app", "new", host="shop", methods=("GET", "POST"))


def state(folder: Path) -> RouteState:
    return RouteState(str(folder / "gatebridge.toml.routes"))


def again(one: RouteState) -> RouteState:
    """As the next start reads it."""
    found = RouteState(one.path)
    found.read()
    return found


def test_without_a_file_everything_is_as_configured(tmp_path: Path) -> None:
    here = state(tmp_path)
    here.read()
    assert [here.mode("main", app) for app in (ORDER, BASKET, App("", "a:b"))] == [
        "legacy", "new", "",
    ]  # fmt: skip


def test_a_change_is_kept(tmp_path: Path) -> None:
    here = state(tmp_path)
    here.write(here.changed("main", ORDER, "new"))
    here.write(here.changed("main", BASKET, "legacy"))
    for one in (here, again(here)):
        assert one.mode("main", ORDER) == "new"
        assert one.mode("main", BASKET) == "legacy"
        assert one.mode("other", ORDER) == "legacy"
        assert one.mode("main", replace(ORDER, host="x")) == "legacy"
    assert os.listdir(tmp_path) == ["gatebridge.toml.routes"]


def test_an_edited_mode_overrules_a_change(tmp_path: Path) -> None:
    here = state(tmp_path)
    here.write(here.changed("main", BASKET, "legacy"))
    assert here.mode("main", replace(BASKET, target="other:app")) == "legacy"
    edited = replace(BASKET, mode="legacy")
    assert here.last("main", edited) is None
    here.write(here.changed("main", edited, "new"))
    assert here.mode("main", edited) == "new"
    assert here.mode("main", replace(edited, new="", mode="")) == ""


def test_many_changes_stay_few_and_undo_to_the_configuration(tmp_path: Path) -> None:
    here = state(tmp_path)
    for at in range(101):
        here.write(here.changed("main", ORDER, "legacy" if at % 2 else "new"))
    assert len(here.changes) <= 21
    assert here.mode("main", ORDER) == "new"
    while last := here.last("main", ORDER):
        here.write([one for one in here.changes if one is not last])
        before = here.last("main", ORDER)
        assert here.mode("main", ORDER) == (before.mode if before else "legacy") != last.mode


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    here = RouteState(str(tmp_path / "absent" / "routes"))
    with pytest.raises(ConfigError, match=r"route\.state: .*absent/routes cannot be written: No s"):
        here.write(here.changed("main", ORDER, "new"))
    assert here.mode("main", ORDER) == "legacy"


def test_a_write_that_breaks_leaves_the_file_before(tmp_path: Path, monkeypatch) -> None:
    here = state(tmp_path)
    here.write(here.changed("main", ORDER, "new"))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        here.write([])
    assert again(here).mode("main", ORDER) == here.mode("main", ORDER) == "new"
    assert os.listdir(tmp_path) == ["gatebridge.toml.routes"]


def test_without_a_path_there_is_nowhere_to_keep_it() -> None:
    with pytest.raises(ConfigError, match=r"no gatebridge\.toml .* --route-state names a file"):
        RouteState().write([])


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    here = state(tmp_path)
    os.symlink(tmp_path / "real" / "routes", here.path)
    here.write(here.changed("main", ORDER, "new"))
    assert os.path.islink(here.path)
    assert again(here).mode("main", ORDER) == "new"


CHANGE = {"pool": "main", "match": "/order", "host": "", "methods": [], "mode": "new",
          "said": "legacy", "at": 1.0}  # fmt: skip
BROKEN = [
    ("nothing", ""),
    ("half", '{"format": 1, "chan'),
    ("another format", '{"format": 2, "changes": []}'),
    ("a list", "[]"),
    ("no changes", '{"format": 1}'),
    ("changes of text", '{"format": 1, "changes": ["x"]}'),
    ("bytes that are no text", b"\xff\xff"),
    ("too deep", "[" * 100_000),
    *[
        (f"{key} {value!r}", json.dumps({"format": 1, "changes": [{**CHANGE, key: value}]}))
        for key, value in [("mode", "newer"), ("said", 1), ("pool", None), ("match", []),
                           ("methods", 5), ("at", "x")]
    ],
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), BROKEN, ids=[row[0] for row in BROKEN])
def test_a_file_that_is_broken_is_told_and_changes_nothing(tmp_path, name, text) -> None:
    here = state(tmp_path)
    here.write(here.changed("main", ORDER, "new"))
    Path(here.path).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"route\.state: .*cannot be read: .*remove it"):
        here.read()
    assert here.mode("main", ORDER) == "new"


def test_the_rows_change_is_right_otherwise(tmp_path: Path) -> None:
    here = state(tmp_path)
    Path(here.path).write_text(json.dumps({"format": 1, "changes": [CHANGE]}))
    here.read()
    assert here.mode("main", ORDER) == "new"


def test_where_it_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = Settings(route_state="run/routes")
    assert state_path(Configuration((), Settings())) == ""
    assert state_path(Configuration((), Settings(), "/etc/gb.toml")) == "/etc/gb.toml.routes"
    assert state_path(Configuration((), named, "/etc/gb.toml")) == str(tmp_path / "run/routes")
