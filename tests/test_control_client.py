"""Which daemon is meant, and one request to it."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatebridge import control_client
from gatebridge.cli.main import exit_status
from gatebridge.control_client import LINE_MAX, call, daemon_name, default_path, find, folders
from gatebridge.errors import GatebridgeError, UseError
from gatebridge.serve.control import LATER
from tests.control_stand import Answering

UID = os.geteuid()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of our own: nothing of the real one is looked at."""
    for name in ("run", "home", "tmp"):
        (tmp_path / name).mkdir(mode=0o700)
    monkeypatch.setattr(control_client, "_SYSTEM", str(tmp_path / "run"))
    monkeypatch.setattr(control_client, "_TEMPORARY", str(tmp_path / "tmp"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def stale(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))


# --- names and paths

NAMES = [
    ("shop", "shop"),
    ("unix:/run/shop.sock?mode=0660&group=www-data", "run-shop.sock"),
    ("fcgi://127.0.0.1:9000", "fcgi-127.0.0.1-9000"),
    ("http://[::1]:8000", "http-1-8000"),
    ("unix:@app", "app"),
    ("../../etc/passwd", "etc-passwd"),
    (".hidden", "hidden"),
    ("a b\n\0c", "a-b-c"),
    ("/", "gatebridge"),
    ("", "gatebridge"),
    ("\udcff\u20ac", "gatebridge"),
]


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_a_name_is_fit_for_a_file(text: str, name: str) -> None:
    assert daemon_name(text) == name
    assert daemon_name(name) == name


def test_long_names_stay_different() -> None:
    first, second = daemon_name("x" * 200), daemon_name("x" * 201)
    assert first != second
    assert len(first) == len(second) == 48


def test_the_users_runtime_folder_comes_first(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (house / "xdg").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(house / "xdg"))
    assert default_path("shop") == str(house / "xdg" / "gatebridge" / "shop.ctl")


@pytest.mark.parametrize("value", ["relative", "/absent/folder", ""])
def test_a_runtime_folder_that_is_none_is_passed_over(
    house: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert default_path("shop").startswith(str(house))


def test_root_uses_run(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_path("shop") == str(house / "run" / "gatebridge" / "shop.ctl")


@pytest.mark.skipif(UID != 0, reason="only root can give a home to another user")
def test_another_user_uses_home(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    os.chown(house / "home", 4321, -1)
    assert default_path("shop") == str(house / "home" / ".gatebridge" / "run" / "shop.ctl")


def test_a_user_without_a_home_uses_the_temporary_folder(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert default_path("shop") == str(house / "tmp" / "gatebridge-4321" / "shop.ctl")
    monkeypatch.setenv("HOME", "/nonexistent")
    (house / "mine").mkdir()
    monkeypatch.setenv("TMPDIR", str(house / "mine"))
    assert default_path("shop") == str(house / "mine" / "gatebridge-4321" / "shop.ctl")


def test_a_folder_whose_path_is_too_long_is_passed_over(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (house / ("x" * 90)).mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(house / ("x" * 90)))
    assert "xxx" not in default_path("shop")


def test_T23_folders_that_others_write_to_are_not_looked_at(house: Path) -> None:
    mine = house / "tmp" / f"gatebridge-{UID}"
    mine.mkdir(mode=0o700)
    assert folders() == [str(mine)]
    mine.chmod(0o770)
    assert folders() == []


# --- which daemon


def test_a_path_is_taken_as_it_is() -> None:
    assert find("/absent/s.ctl", "name") == "/absent/s.ctl"


def test_no_daemon_at_all(house: Path) -> None:
    with pytest.raises(GatebridgeError) as raised:
        find()
    assert raised.value.code == "connect.no_daemon"
    assert exit_status(raised.value) == 7


def test_the_only_daemon_needs_no_name(house: Path) -> None:
    with Answering(house / "home" / ".gatebridge" / "run" / "shop.ctl") as daemon:
        assert find() == daemon.path


def test_several_daemons_are_listed(house: Path) -> None:
    folder = house / "home" / ".gatebridge" / "run"
    with Answering(folder / "shop.ctl") as shop, Answering(folder / "blog.ctl") as blog:
        with pytest.raises(UseError) as raised:
            find()
        assert raised.value.code == "control.which"
        for path in (shop.path, blog.path):
            assert path in raised.value.detail
        assert find(name="shop") == shop.path
        assert find(name="blog") == blog.path
        with pytest.raises(GatebridgeError) as raised:
            find(name="shed")
        assert raised.value.code == "connect.no_daemon"
        assert "blog" in raised.value.detail


def test_one_name_in_two_folders(house: Path) -> None:
    home, system = house / "home" / ".gatebridge" / "run", house / "run" / "gatebridge"
    with Answering(home / "shop.ctl") as shop:
        stale(system / "shop.ctl")
        assert find(name="shop") == shop.path
        os.unlink(system / "shop.ctl")
        with Answering(system / "shop.ctl"), pytest.raises(UseError):
            find(name="shop")


def test_what_killed_daemons_left_does_not_confuse(house: Path) -> None:
    folder = house / "home" / ".gatebridge" / "run"
    stale(folder / "old.ctl")
    stale(folder / "older.ctl")
    (folder / "notes.txt").write_text("")
    with pytest.raises(GatebridgeError) as raised:
        find()
    assert raised.value.code == "connect.no_daemon"
    with Answering(folder / "shop.ctl") as shop:
        assert find() == shop.path


# --- one request


def test_a_request_is_answered(tmp_path: Path) -> None:
    with Answering(tmp_path / "s", scale={"ok": True, "workers": 3}) as daemon:
        assert call(daemon.path, "scale", pool="main", workers=3) == {"ok": True, "workers": 3}
        assert daemon.asked == [{"command": "scale", "pool": "main", "workers": 3}]


def test_a_refusal_is_an_answer(tmp_path: Path) -> None:
    with Answering(tmp_path / "s") as daemon:
        assert call(daemon.path, "scale")["code"] == "control.unknown"


def test_a_long_answer_comes_whole(tmp_path: Path) -> None:
    text = "x" * (LINE_MAX - 100)
    with Answering(tmp_path / "s", status={"ok": True, "text": text}) as daemon:
        assert call(daemon.path, "status")["text"] == text


def test_a_request_that_is_too_long_is_refused_by_the_daemon(tmp_path: Path) -> None:
    with Answering(tmp_path / "s") as daemon:
        assert call(daemon.path, "status", text="x" * (2 << 20))["code"] == "control.too_big"


def test_what_json_cannot_say_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(UseError) as raised:
        call(str(tmp_path / "absent"), "status", text=b"bytes")
    assert raised.value.code == "control.argument"


def code_of(path: Path | str, timeout_s: float = 20.0) -> str:
    with pytest.raises(GatebridgeError) as raised:
        call(str(path), "ping", timeout_s)
    if raised.value.code.startswith("connect."):
        assert exit_status(raised.value) == 7
    return raised.value.code


def test_nobody_there(tmp_path: Path) -> None:
    assert code_of(tmp_path / "absent") == "connect.no_socket"
    stale(tmp_path / "stale")
    assert code_of(tmp_path / "stale") == "connect.refused"
    (tmp_path / "file").write_text("")
    assert code_of(tmp_path / "file") == "connect.not_a_socket"


def test_a_supervisor_that_is_stuck(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen(1)
        assert code_of(tmp_path / "s", 0.05) == "connect.silent"
        assert code_of(tmp_path / "s", 0.05) == "connect.silent"


def test_an_answer_that_comes_too_late(tmp_path: Path) -> None:
    with Answering(tmp_path / "s", ping=lambda request: LATER) as daemon:
        assert code_of(daemon.path, 0.05) == "connect.silent"


@contextmanager
def other(path: Path, data: bytes) -> Iterator[None]:
    """Something that is no daemon: says a few bytes to everyone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen(1)

        def speak() -> None:
            peer, _ = sock.accept()
            with peer:
                try:
                    peer.recv(1000)
                    peer.sendall(data)
                except OSError:
                    pass

        thread = threading.Thread(target=speak)
        thread.start()
        yield
        thread.join()


OTHERS = [
    (b"", "connect.cut"),
    (b'{"ok": true', "connect.cut"),
    (b"HTTP/1.0 400 Bad Request\r\n\r\n", "control.garbage"),
    (b"[]\n", "control.garbage"),
    (b"{}\n", "control.garbage"),
    (b'{"ok": 1}\n', "control.garbage"),
    (b"[" * 100_000 + b"\n", "control.garbage"),
    (b"x" * (LINE_MAX + 100_000), "control.garbage"),
]


@pytest.mark.parametrize(("data", "code"), OTHERS, ids=lambda value: repr(value[:20]))
def test_what_is_no_daemon_is_told_so(tmp_path: Path, data: bytes, code: str) -> None:
    with other(tmp_path / "s", data):
        assert code_of(tmp_path / "s") == code


def test_T23_a_daemon_of_somebody_else_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Answering(tmp_path / "s", ping={"ok": True}) as daemon:
        monkeypatch.setattr(control_client, "peer_uid", lambda sock: 4321)
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        assert code_of(daemon.path) == "connect.stranger"
        monkeypatch.setattr(control_client, "peer_uid", lambda sock: 0)
        assert call(daemon.path, "ping") == {"ok": True}
