"""Which listeners stay, which are opened and which are closed."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.serve.binds import close_unshared, listen, place, refuse_unshared
from gatebridge.serve.listen import open_listener
from gatebridge.serve.listener import Listener
from gatebridge.settings import App, Configuration, Pool, Settings


def configuration(**pools: tuple[str, ...]) -> Configuration:
    settings = Settings()
    return Configuration(
        tuple(
            Pool(name, replace(settings, bind=binds), (App("", "app"),))
            for name, binds in pools.items()
        ),
        settings,
    )


class Opener:
    """Opens like the daemon does; told: what it was asked for."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.all: list[Listener] = []

    def __call__(self, wanted: Configuration) -> dict[str, list[Listener]]:
        opened = {}
        for pool in wanted.pools:
            self.told += pool.settings.bind
            opened[pool.name] = [open_listener(parse_bind(t), ()) for t in pool.settings.bind]
            self.all += opened[pool.name]
        return opened


@pytest.fixture
def opener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    monkeypatch.chdir(tmp_path)
    made = Opener()
    yield made
    for listener in made.all:
        listener.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("unix:/a", "http+unix:/a?mode=0600", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/x/../a", "unix:/a", True),
        ("unix:@a", "unix:/a", False),
        ("fcgi://127.0.0.1:1", "scgi://127.0.0.1:1?backlog=1", True),
        ("fcgi://127.0.0.1:1", "fcgi://127.0.0.2:1", False),
        ("http://127.0.0.1:0", "fcgi://127.0.0.1:0", False),
        ("fd://3", "http+fd://3", True),
        ("systemd:a", "http+systemd:a", True),
        ("systemd:a", "systemd:b", False),
    ],
)
def test_the_same_place(one: str, other: str, same: bool) -> None:
    assert (place(parse_bind(one)) == place(parse_bind(other))) is same


def test_what_has_not_changed_is_the_same_object(opener: Opener) -> None:
    first = listen(configuration(a=("unix:1", "unix:2"), b=("unix:3",)), (), opener)
    there = [*first["a"], *first["b"]]
    second = listen(configuration(a=("unix:1",), c=("unix:3", "unix:4")), there, opener)
    assert second["a"] == [first["a"][0]]
    assert second["c"][0] is first["b"][0]
    assert opener.told == ["unix:1", "unix:2", "unix:3", "unix:4"]
    close_unshared(there, [*second["a"], *second["c"]])
    assert sorted(os.listdir()) == ["1", "3", "4"]


def test_other_options_are_another_listener_on_the_same_socket(opener: Opener) -> None:
    first = listen(configuration(a=("unix:1",)), (), opener)["a"]
    second = listen(configuration(a=("http+unix:1?mode=0600",)), first, opener)["a"]
    opener.all += second
    assert second[0] is not first[0]
    assert second[0].bind.protocol == "http"
    close_unshared(first, second)
    assert os.stat("1").st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("1")
    close_unshared(second, [])
    assert os.listdir() == []


def test_a_failure_leaves_nothing_new_and_takes_nothing_away(opener: Opener) -> None:
    first = listen(configuration(a=("unix:1",)), (), opener)["a"]
    Path("file").touch()
    with pytest.raises(ConfigError, match="is no socket"):
        listen(configuration(a=("http+unix:1", "unix:file")), first, opener)
    assert sorted(os.listdir()) == ["1", "file"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("1")


def test_a_lost_file_is_bound_again(opener: Opener) -> None:
    first = listen(configuration(a=("unix:1",)), (), opener)["a"]
    os.unlink("1")
    assert first[0].lost
    second = listen(configuration(a=("unix:1",)), first, opener)["a"]
    assert second[0] is not first[0]
    close_unshared(first, second)
    assert not second[0].lost


def test_ports_of_the_systems_choice_are_kept_by_their_text(opener: Opener) -> None:
    twice = configuration(a=("http://127.0.0.1:0",), b=("http://127.0.0.1:0",))
    first = listen(twice, (), opener)
    there = [*first["a"], *first["b"]]
    assert there[0].text != there[1].text
    second = listen(twice, there, opener)
    assert [*second["a"], *second["b"]] == there


@pytest.mark.parametrize("other", ["unix:1", "unix:./1", "http+unix:1?mode=0600"])
def test_one_place_in_two_pools_is_refused(opener: Opener, other: str) -> None:
    with pytest.raises(ConfigError, match="bind.in_use"):
        listen(configuration(a=("unix:1",), b=(other,)), (), opener)
    assert os.listdir() == []


def test_what_is_given_up_is_refused_before_it_is_closed(opener: Opener) -> None:
    """What the same socket serves on, by another listener with other options, is not."""
    before = listen(configuration(main=("unix:kept", "unix:left", "unix:again")), (), opener)[
        "main"
    ]
    wanted = configuration(main=("unix:kept", "unix:again?backlog=5", "unix:new"))
    after = listen(wanted, before, opener)["main"]
    refuse_unshared(before, after)
    assert sorted(os.listdir()) == ["again", "kept", "new"]
    for name in ("again", "kept", "new"):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(name)
    close_unshared(before, after)
    for name in ("again", "kept", "new"):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(name)
    close_unshared(after, ())
