"""The command line as a whole: commands by name, exit codes of docs/cli.md."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import gatebridge
from gatebridge.cli.main import Commands, exit_status, group
from gatebridge.errors import AppError, ConfigError, GatebridgeError, PeerError, UseError
from tests.cli.run import APPLICATION, ROOT, run, said

STATUS = [
    ("nothing of the operator's", GatebridgeError("child.ended"), 1),
    ("an application's", AppError("header.control"), 1),
    ("a peer's", PeerError("answer.cut"), 1),
    ("usage", ConfigError("log.format"), 2),
    ("usage", ConfigError("config.invalid"), 2),
    ("usage", ConfigError("mount.malformed"), 2),
    ("usage", ConfigError("bind.malformed"), 2),
    ("usage", ConfigError("bind.option"), 2),
    ("usage", ConfigError("bind.open"), 2),
    ("usage", ConfigError("bind.mode"), 2),
    ("usage", ConfigError("bind.protocol"), 2),
    ("usage", ConfigError("bind.port"), 2),
    ("usage", ConfigError("bind.allow"), 2),
    ("usage", ConfigError("bind.backlog"), 2),
    ("usage", ConfigError("bind.path"), 2),
    ("usage", UseError("shim.kind"), 2),
    ("the application cannot be loaded", ConfigError("app.not_found"), 4),
    ("the application cannot be loaded", ConfigError("app.import"), 4),
    ("cannot bind", ConfigError("bind.failed"), 5),
    ("cannot bind", ConfigError("bind.in_use"), 5),
    ("no daemon answers", ConfigError("connect.refused"), 7),
    ("no daemon answers", PeerError("connect.refused"), 7),
]


@pytest.mark.parametrize(("name", "error", "code"), STATUS, ids=[row[1].code for row in STATUS])
def test_exit_status(name: str, error: GatebridgeError, code: int) -> None:
    assert exit_status(error) == code


def test_version(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[:1] == ["gatebridge"] or gatebridge.__version__ in done.stdout
    assert gatebridge.__version__ in done.stdout


def test_help_lists_every_command_and_each_has_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for name in Commands().list_commands(None):
        assert f"  {name}" in done.stdout
        command = group.get_command(None, name)
        assert command is not None
        assert command.help


@pytest.mark.parametrize("words", [["no-such-command"], ["--no-such-option"], ["serve"],
                                   ["serve", "x:y", "stray"],
                                   ["serve", "x:y", "--log-level", "loud"],
                                   ["main"], ["options"], ["../serve"]])  # fmt: skip
def test_2_usage(tmp_path: Path, words: list[str]) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert "Usage" in said(done)


USAGE = [
    ["serve", "shop:app", "--threads", "0"],
    ["serve", "shop:app", "--threads", "many"],
    ["serve", "shop:app", "--workers", "0"],
    ["serve", "shop:app", "--timeout", "soon"],
    ["serve", "shop:app", "--limit-body", "much"],
    ["serve", "-c", "absent.toml"],
    ["serve", "shop:app", "--access-logfile", "-", "--access-logformat", "%x"],
    ["serve", "shop:app", "--mount", "shop"],
    ["serve", "shop:app", "--chdir", "absent"],
    ["serve", "shop:app", "--bind", "fcgi://0.0.0.0:0"],
    ["serve", "shop:app", "--bind", "ftp://127.0.0.1:0"],
    ["serve", "shop:app", "--bind", "fcgi://127.0.0.1:99999"],
    ["serve", "shop:app", "--bind", "fcgi://127.0.0.1"],
    ["serve", "shop:app", "--bind", "unix:s?mode=rw"],
    ["serve", "shop:app", "--bind", "unix:s?colour=red"],
    ["serve", "shop:app", "--bind", "fcgi://0.0.0.0:0?allow=everybody"],
    ["serve", "shop:app", "--bind", "unix:s?backlog=many"],
    ["serve", "shop:app", "--forwarded-allow-ips", "everybody"],
    ["shim", "new", "shop:app", "app.cgi", "--native", "--oneshot"],
]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_2_what_an_operator_typed_wrong(tmp_path: Path, words: list[str]) -> None:
    """Two, so that systemd's RestartPreventExitStatus=2 4 stops a service that cannot come up."""
    (tmp_path / "shop.py").write_text(APPLICATION)
    done = run(tmp_path, *words)
    assert said(done).startswith("gatebridge: ")
    assert done.returncode == 2, done.stderr


APPS = ["no_such_module:app", "shop:no_such_name", "shop:number", "fails:app", "absent.py"]


@pytest.mark.parametrize("target", APPS)
def test_4_the_application_cannot_be_loaded(tmp_path: Path, target: str) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION + "\nnumber = 5\n")
    (tmp_path / "fails.py").write_text("raise ValueError('no database')\n")
    done = run(tmp_path, "serve", target, "--bind", "unix:s")
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("gatebridge: app.")
    assert not (tmp_path / "s").exists()
    if target == "fails:app":
        assert "fails.py" in done.stderr  # the traceback leads to the line


def test_5_cannot_bind(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"fcgi://127.0.0.1:{taken.getsockname()[1]}"
        for bind in (place, "unix:absent/s", "fd://99", f"unix:{tmp_path}"):
            done = run(tmp_path, "serve", "shop:app", "--bind", "unix:first", "--bind", bind)
            assert done.returncode == 5, done.stderr
            assert said(done).startswith("gatebridge: bind.")
            assert not (tmp_path / "first").exists()  # what was bound before is taken back


def test_7_no_daemon_answers(tmp_path: Path) -> None:
    done = run(tmp_path, "request", "unix:absent", "GET", "/")
    assert done.returncode == 7
    assert said(done)


@pytest.mark.parametrize("words", ["", "conf nginx", "shim new a:b x.cgi", "serve a:app"])
def test_a_folder_that_is_gone(tmp_path: Path, words: str) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    program = tmp_path / "program.py"  # elsewhere, as the installed one is
    program.write_text(
        "import os, sys\nfrom gatebridge.cli.main import main\n"
        f"os.rmdir({str(folder)!r})\nmain(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), *words.split()],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert said(done).startswith("gatebridge: cli.folder: ")
