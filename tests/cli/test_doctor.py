"""gatebridge doctor: 6 with the broken link named, 0 and one line where all is well."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatebridge.errors import GatebridgeError
from tests.cli.daemon import daemon, status
from tests.cli.run import run
from tests.serve.service import APP, Service, service
from tests.suite.modes import wait_until

OURSELVES = ("--front-user", str(os.geteuid()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Service]:
    """A daemon that is ready, also where Python runs without assert (-O)."""

    def ready() -> bool:
        try:
            return bool(live.status()["generation"] >= 1 and live.serves())
        except (OSError, KeyError, GatebridgeError):
            return False

    with service(folder, *words) as live:
        if not wait_until(ready):
            pytest.fail(live.log())
        yield live


def findings(folder: Path, *words: str) -> list[str]:
    """Their ids, the first one first. Front servers that run here are no part of it."""
    done = run(folder, "doctor", "--json", *OURSELVES, *words)
    answer = json.loads(done.stdout)
    assert done.returncode == (6 if answer["broken"] else 0), done.stderr
    assert answer["undecided"] == []
    return [one["id"] for one in answer["findings"]]


@pytest.mark.parametrize("scheme", ["", "scgi+", "uwsgi+", "http+"])
def test_a_sound_daemon_has_nothing_wrong(folder: Path, scheme: str) -> None:
    bind = f"{scheme}unix:s"
    with serving(folder, "shop:application", "--bind", bind) as live:
        control = ("--control-socket", live.control)
        assert findings(folder, "shop:application", "--bind", bind, *control) == []
        assert findings(folder, *control) == []
        assert "error" not in live.log()


def test_a_daemon_of_a_file(folder: Path) -> None:
    (folder / "g.toml").write_text(
        f'app = "shop:application"\n[server]\nbind = "unix:s"\ncontrol_socket = "{folder}/c"\n'
    )
    assert findings(folder, "-c", "g.toml") == ["socket.missing"]
    with serving(folder, "-c", "g.toml", "--control-socket", f"{folder}/ctl"):
        words = ("-c", "g.toml", "--control-socket", f"{folder}/ctl")
        done = run(folder, "doctor", *OURSELVES, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("nothing is wrong as far as ")
        assert done.stdout.count("\n") == 1


def test_a_daemon_of_another_protocol(folder: Path) -> None:
    with serving(folder, "shop:application", "--bind", "scgi+unix:s") as live:
        words = ("--bind", "unix:s", "--control-socket", live.control)
        assert findings(folder, *words) == ["socket.protocol"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_the_front_server_s_user_is_tried(folder: Path) -> None:
    """pytest's folder is its own, so another user finds it closed."""
    with serving(folder, "shop:application", "--bind", "unix:s") as live:
        words = ("--control-socket", live.control, "--front-user", "65534")
        assert findings(folder, *words)[0] in ("socket.folder", "socket.permission")


def test_the_broken_link_and_what_mends_it(folder: Path) -> None:
    done = run(folder, "doctor", "shop:application", "--bind", "unix:s")
    assert (done.returncode, done.stderr) == (6, "")
    first, seen, mend = done.stdout.splitlines()[:3]
    assert first.startswith("broken: there is no socket s: no daemon is running [socket, ")
    assert seen.startswith(f"  seen: {folder}/s does not exist; ")
    assert mend == "  mend: gatebridge serve shop:application --bind unix:s"


def test_the_options_of_serve_count(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "shop.py").rename(folder / "src" / "shop.py")
    words = ("shop:application", "--bind", "systemd:x")
    assert findings(folder, *words) == ["application.import"]
    assert findings(folder, *words, "--chdir", "src") == []


def test_a_warning_alone_is_no_failure(folder: Path) -> None:
    with daemon(folder, status=status(pools={}, version="0.0.1")) as stand:
        done = run(folder, "doctor", "--control-socket", stand.path)
    assert done.returncode == 0
    assert done.stdout.startswith("warning: the daemon is gatebridge 0.0.1, and ")


def test_a_configuration_that_is_wrong(folder: Path) -> None:
    (folder / "g.toml").write_text("app = 'shop:application'\n[server]\nthreads = 0\n")
    done = run(folder, "doctor", "-c", "g.toml")
    assert done.returncode == 6
    assert f"{folder}/g.toml:3: server.threads: 0 is out of range, 1 to 128" in done.stdout


def test_a_program_alone_needs_no_daemon(folder: Path) -> None:
    (folder / "a.cgi").write_text("#!/bin/sh\r\n")
    (folder / "a.cgi").chmod(0o755)
    folder.chmod(0o755)
    assert findings(folder, "--script", "a.cgi") == ["script.line_ends"]
    (folder / "error.log").write_text("ValueError: x\nPremature end of script headers: a.cgi\n")
    assert findings(folder, "--error-log", "error.log") == ["script.log"]


def test_nothing_is_changed_and_nobody_is_asked(folder: Path) -> None:
    """No request reaches an application, and a file of a socket stays."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / "s"))
    before = sorted(os.listdir(folder))
    assert findings(folder, "shop:application", "--bind", "unix:s")[0] == "socket.stale"
    assert sorted({*os.listdir(folder)} - {"__pycache__", "imports"}) == before


def test_the_front_server_s_configuration(folder: Path) -> None:
    text = "server { location / { fastcgi_pass unix:%s; } }"
    with serving(folder, "shop:application", "--bind", "unix:s") as live:
        words = ("shop:application", "--bind", "unix:s", "--control-socket", live.control)
        (folder / "x.conf").write_text(text % "/run/php.sock")
        assert findings(folder, *words, "--front-config", "x.conf") == ["front.elsewhere"]
        (folder / "x.conf").write_text(text % f"{folder}/s")
        found = findings(folder, *words, "--front-config", "nginx:x.conf")
        assert found == ["front.path_info", "front.upload"]


def test_a_url_that_nobody_answers(folder: Path) -> None:
    with serving(folder, "shop:application", "--bind", "unix:s") as live:
        words = ("--control-socket", live.control, "--url", "http://127.0.0.1:1/")
        assert findings(folder, *words) == ["browser.no_answer"]
    assert run(folder, "doctor", "--url", "localhost").returncode == 2


def test_usage(folder: Path) -> None:
    assert run(folder, "doctor", "shop:application", "--thread", "1").returncode == 2
    done = run(folder, "doctor", "--front-user", "no-such-user")
    assert (done.returncode, "no-such-user" in done.stderr) == (2, True)
