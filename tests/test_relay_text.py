"""What is written into a relay's file, and where its state folder may be."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.relay_baked import Baked
from gatebridge.relay_text import bake, check_base, read_baked, relay_name, relay_text
from gatebridge.shim import write
from tests.cgi import ROOT, ask
from tests.cli.run import APPLICATION
from tests.relay_stand import NAME, Peer

ODD = Baked("/tmp/caf\udce9", NAME, ("/bin/a", "x\"'\n\\"), ("/bin/b", "r'''", "\0"[:0]), 7, 9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION)
    return tmp_path


def test_what_is_baked_in_can_be_read_again() -> None:
    assert read_baked(relay_text(ODD, "odd\ntitle")) == ODD


@pytest.mark.parametrize("text", ["", "import os\n", "a = (", "BASE = b''\n", "\0"])
def test_another_file_has_nothing_baked_in(text: str) -> None:
    assert read_baked(text) is None


def test_a_title_stays_in_its_comment() -> None:
    text = relay_text(ODD, "x\nimport evil")
    assert "\nimport evil" not in text


def test_one_request_imports_next_to_nothing(tmp_path: Path) -> None:
    """What each import costs, each request pays: here a GET that is answered at once."""
    path = tmp_path / "site.cgi"
    state = tmp_path / f"gatebridge-{os.geteuid()}"
    state.mkdir(mode=0o700)
    text = relay_text(Baked(str(tmp_path), NAME, ("/x",), ("/x",)), "a test")
    tell = "import sys\nbefore = set(sys.modules)\nimport posix\nleave = posix._exit\n"
    tell += "def _exit(status):\n    posix.write(2, ' '.join(set(sys.modules) - before).encode())\n"
    tell += "    leave(status)\nposix._exit = _exit\n"
    path.write_text(tell + text)
    peer = Peer(str(state / f"{NAME}.sock"), lambda talk: (talk.request(), talk.answer()))
    try:
        done = ask([sys.executable, "-ISE", str(path)])
    finally:
        peer.close()
    assert (done.code, done.body, done.errors) == (0, b"ok", "_socket")


def test_it_compiles_little_where_nothing_is_rare() -> None:
    hot = relay_text(ODD, "x").partition("\nRARE = ")[0]
    assert len(hot.splitlines()) < 150


# --- bake()


def test_the_same_application_has_the_same_daemon(folder: Path) -> None:
    first, second = (bake("shop:app", str(folder), None) for _ in range(2))
    assert first == second
    others = [
        bake("shop:app", str(folder), "/shop"),
        bake("shop:app", str(folder), None, options=["--threads=2"]),
        bake("shop", str(folder), None),
    ]
    assert len({one.name for one in [first, *others]}) == 4


def test_a_name_is_16_hexadecimal_digits() -> None:
    assert len(relay_name("caf\udce9")) == 16
    assert set(relay_name(1)) <= set("0123456789abcdef")


def test_the_one_shot_answers_by_itself(folder: Path) -> None:
    baked = bake("shop:app", str(folder), "/cgi-bin")
    done = ask(baked.oneshot, folder=Path("/"))
    assert (done.code, done.body) == (0, b"('/cgi-bin', '/app.cgi/x')"), done


def test_what_a_shim_cannot_spell_is_loaded_by_the_one_shot(folder: Path) -> None:
    """A file, and what else serve takes: no module's name."""
    for target in ("shop.py", "static:."):
        done = ask(bake(target, str(folder), "/cgi-bin/app.cgi").oneshot, PATH_INFO="/shop.py")
        assert done.code == 0, done
        assert b"shop.py" in done.body or b"start_response" in done.body, done


@pytest.mark.parametrize("target", ["absent:app", "shop:absent", "shop:app;evil", "absent.py"])
def test_what_cannot_be_loaded_is_told_at_once(folder: Path, target: str) -> None:
    with pytest.raises(ConfigError) as raised:
        bake(target, str(folder), None)
    assert raised.value.code.startswith("app.")


# --- the state folder's place


@pytest.fixture
def short() -> Iterator[Path]:
    """pytest's own folders have long names, and a socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="gb-") as folder:
        yield Path(folder)


def refused(base: str, shim: str = "/srv/cgi-bin/site.cgi") -> str:
    with pytest.raises(ConfigError) as raised:
        check_base(base, shim)
    assert raised.value.code == "shim.state_dir"
    return raised.value.detail


def test_tmp_is_a_place() -> None:
    check_base("/tmp", "/srv/cgi-bin/site.cgi")


def test_a_place_must_be_an_absolute_folder(tmp_path: Path) -> None:
    assert "absolute" in refused("relative")
    assert "folder" in refused(str(tmp_path / "absent"))


def test_T8_no_state_beside_the_shim(short: Path) -> None:
    """A document root would hand out what is in it."""
    inside = short / "state"
    inside.mkdir()
    for base in (short, inside):
        assert "beside the shim" in refused(str(base), str(short / "site.cgi"))


def test_T8_nor_by_way_of_a_link(short: Path) -> None:
    (short / "real" / "cgi-bin" / "state").mkdir(parents=True)
    (short / "link").symlink_to(short / "real")
    inside = short / "link" / "cgi-bin" / "state"
    assert "beside the shim" in refused(str(inside), str(short / "link" / "cgi-bin" / "x.cgi"))


def test_T23_whoever_owns_the_place_could_put_a_folder_in_ours(short: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if short.stat().st_uid == 0:
        check_base(str(short), "/srv/site.cgi")
        os.chown(short, 4712, -1)
    assert f"belongs to user {short.stat().st_uid}" in refused(str(short))


def test_a_path_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    assert "too long" in refused(str(deep))


def test_T23_others_could_put_a_folder_in_our_place(short: Path) -> None:
    short.chmod(0o777)
    assert "sticky" in refused(str(short))
    short.chmod(0o1777)
    check_base(str(short), "/srv/site.cgi")


def test_a_file_system_without_sockets_is_told(short: Path, monkeypatch) -> None:
    class Without(socket.socket):
        def bind(self, address) -> None:
            raise OSError(95, "Operation not supported")

    monkeypatch.setattr(socket, "socket", Without)
    assert "cannot hold a socket (Operation not supported)" in refused(str(short))


# --- the sample


def test_the_sample_in_cgi_bin_is_short_and_says_what_it_is() -> None:
    sample = ROOT / "cgi-bin" / "relay.cgi"
    assert len(sample.read_text().splitlines()) <= 12
    assert os.access(sample, os.X_OK)
    done = subprocess.run(
        [sys.executable, str(sample)], capture_output=True, timeout=60, env={"PATH": "/bin"}
    )
    assert done.returncode == 2
    assert b"started by a web server" in done.stderr


def test_it_is_written_executable(tmp_path: Path) -> None:
    path = tmp_path / "site.cgi"
    write(str(path), b"\x7fELF", False)
    assert os.access(path, os.X_OK)
    assert path.read_bytes() == b"\x7fELF"


def test_a_file_that_runs_can_be_written_anew(tmp_path: Path) -> None:
    """A request meets the old one or the new one, never a part."""
    path = tmp_path / "site.cgi"
    path.write_bytes(Path("/bin/cat").read_bytes())
    path.chmod(0o700)
    with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        before = path.stat().st_ino
        write(str(path), "#!/bin/sh\n", True)
        out, _ = process.communicate(b"still the old one")
    assert out == b"still the old one"
    assert path.read_text() == "#!/bin/sh\n"
    assert path.stat().st_ino != before
    assert path.stat().st_mode & 0o744 == 0o700
    assert os.listdir(tmp_path) == ["site.cgi"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "site.cgi").symlink_to(tmp_path / "victim")
    write(str(tmp_path / "site.cgi"), "#!/bin/sh\n", True)
    assert (tmp_path / "victim").read_text() == "kept"
    assert not (tmp_path / "site.cgi").is_symlink()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    for overwrite in (False, True):
        with pytest.raises(ConfigError) as raised:
            write(str(tmp_path / "site.cgi"), b"x", overwrite)
        assert raised.value.code == "shim.write"
    assert os.listdir(tmp_path) == []
