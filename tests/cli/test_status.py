"""gatebridge status and ping: lines for pipes, tables for a terminal, exit codes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gatebridge.cli.screen import amount, duration, plain, tables
from tests.cli.daemon import PING, STATUS, daemon, status
from tests.cli.run import run, said

HERE = ("--control-socket", "s.ctl")

PLAIN = """\
gatebridge shop pid 4711, version 0.1.0 (pure Python), up 3 h 12 min, generation 3
pool api is in a crash loop: ImportError: no module named api
pool main (static): 2 ready, 0 starting, 1 draining
  busy 2 of 24 threads, waiting 0, requests 1234, failed 6, slow 1, lost log lines 0, forks 9
  bind unix:/run/shop.sock: queue 5 of 4096
  worker 0 pid 4712 ready generation 3 age 1 min 15 s requests 600 rss 40.0 MiB
    12.3 s  GET /report (id 8f3c)
    0.1 s  POST /order
pool api (ondemand): 0 ready, 0 starting, 0 draining
  busy ? of ? threads, waiting ?, requests ?, failed ?, slow ?, lost log lines ?, forks ?
  bind fd://3: queue ? of ?
"""


def test_status_in_lines(tmp_path: Path) -> None:
    with daemon(tmp_path) as answering:
        done = run(tmp_path, "status", *HERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PLAIN
    assert answering.asked == [{"command": "status"}]


def test_status_in_json(tmp_path: Path) -> None:
    with daemon(tmp_path):
        done = run(tmp_path, "status", "--json", *HERE)
    assert done.returncode == 0
    assert json.loads(done.stdout) == STATUS


def test_a_failed_reload_is_shown(tmp_path: Path) -> None:
    failed = {
        "state": "failed",
        "error": "ImportError: x\x1b[2J",
        "traceback": "Traceback\n  line 1",
    }
    with daemon(tmp_path, status=status(reload=failed)):
        done = run(tmp_path, "status", *HERE)
    assert "the last reload failed: ImportError: x\\x1b[2J\nTraceback\n  line 1\n" in done.stdout


def test_a_reload_under_way_is_shown() -> None:
    assert "a reload is under way" in plain(status(reload={"state": "running"}))


def shown(told: dict[str, Any], rates: dict[str, float] | None = None, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system="standard").print(
        tables(told, rates)
    )
    return out.getvalue()


def test_tables() -> None:
    text = shown(status(), {"main": 17.25})
    for part in ("gatebridge shop", "2/24", "1234", "17.2", "main/0", "4712", "40.0 MiB",
                 "12.3 s  GET /report", "0.1 s  POST /order", "crash loop"):  # fmt: skip
        assert part in text


def test_tables_of_a_daemon_that_says_little() -> None:
    """An older one, or a newer one with other fields."""
    odd: list[dict[str, Any]] = [{}, {"pools": {"main": {}}},
                                 {"pools": {"main": {"workers_list": [{}]}}}]  # fmt: skip
    for told in odd:
        assert "gatebridge" in shown(told)
        assert "gatebridge" in plain(told)


def test_T19_nothing_of_a_request_reaches_the_terminal_raw() -> None:
    told = status()
    worker = told["pools"]["main"]["workers_list"][0]
    worker["running"][0]["line"] = "GET /\x1b]0;evil\x07[red]\n"
    for text in (shown(told), plain(told)):
        assert "\\x1b]0;evil\\x07[red]" in text
        assert "\x1b]0" not in text
        assert "\x07" not in text


def test_a_narrow_terminal_shows_the_start_of_everything() -> None:
    assert all(len(line) < 200 for line in shown(status(), width=40).splitlines())


AMOUNTS = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"),
           (5 << 30, "5.0 GiB"), (5 << 40, "5120.0 GiB")]  # fmt: skip


@pytest.mark.parametrize(("size", "text"), AMOUNTS)
def test_amounts(size: int, text: str) -> None:
    assert amount(size) == text


DURATIONS = [(0, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min 0 s"),
             (3599, "59 min 59 s"), (3600, "1 h 0 min"), (86_399, "23 h 59 min"),
             (200_000, "2 d 7 h")]  # fmt: skip


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# --- which daemon


@pytest.mark.parametrize("command", ["status", "ping", "top", "ctl reload"])
def test_7_no_daemon_answers(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, *command.split(), "--control-socket", "absent.ctl")
    assert done.returncode == 7
    assert said(done) == "gatebridge: connect.no_socket: absent.ctl does not exist\n"


def test_7_no_daemon_of_that_name(tmp_path: Path) -> None:
    done = run(tmp_path, "status", "--name", "no-such-daemon")
    assert done.returncode == 7
    assert "no-such-daemon" in said(done)


def test_a_daemon_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "gatebridge").mkdir(mode=0o700)
    with daemon(tmp_path / "gatebridge"):
        for words in (["--name", "s"], []):
            environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
            if not words:
                environ["GATEBRIDGE_NAME"] = "s"
            done = run(tmp_path, "ping", *words, **environ)
            assert done.returncode == 0, done.stderr


FILES = [
    'app = "shop:app"\n[server]\ncontrol_socket = "{socket}"\n',
    '[server]\ncontrol_socket = "{socket}"\n',
    'app = "shop:app"\n[server]\nname = "s"\n',
    '[server]\nbind = ["unix:s"]\n',
]


@pytest.mark.parametrize("text", FILES)
def test_a_daemon_is_found_by_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "gatebridge").mkdir(mode=0o700)
    config = tmp_path / "gatebridge.toml"
    config.write_text(text.format(socket=tmp_path / "gatebridge" / "s.ctl"))
    with daemon(tmp_path / "gatebridge"):
        done = run(tmp_path, "ping", "-c", str(config), XDG_RUNTIME_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_2_a_file_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[server\n")
    done = run(tmp_path, "ping", "-c", "broken.toml")
    assert done.returncode == 2
    assert "broken.toml:1" in said(done)


# --- ping

PINGS = [
    ({}, 0, "gatebridge shop pid 4711: 2 of 3 workers ready, generation 3\n"),
    ({"ready": 0}, 1, "gatebridge shop pid 4711: 0 of 3 workers ready, generation 3\n"),
    ({"ready": 0, "workers": 0, "healthy": True}, 0,
     "gatebridge shop pid 4711: 0 of 0 workers ready, generation 3\n"),
    ({"healthy": False}, 1, "gatebridge shop pid 4711: 2 of 3 workers ready, generation 3\n"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "code", "line"), PINGS)
def test_ping(tmp_path: Path, changed: dict[str, Any], code: int, line: str) -> None:
    with daemon(tmp_path, ping={**PING, **changed}):
        done = run(tmp_path, "ping", *HERE)
    assert (done.returncode, done.stdout, done.stderr) == (code, line, "")


def test_ping_of_a_daemon_that_does_not_count(tmp_path: Path) -> None:
    with daemon(tmp_path, ping={"ok": True, "pid": 4711}):
        done = run(tmp_path, "ping", *HERE)
    assert (done.returncode, done.stdout) == (0, "gatebridge pid 4711 is there\n")


def test_ping_of_a_supervisor_that_is_stuck(tmp_path: Path) -> None:
    stuck = daemon(tmp_path)
    done = run(tmp_path, "ping", "--timeout", "0.1", *HERE)
    stuck.control.close()
    assert done.returncode == 7
    assert "did not answer in 0.1 s" in said(done)


def test_routes_with_two_sides_are_told(tmp_path: Path) -> None:
    told = status()
    told["pools"]["main"]["routes"] = [
        {"route": "/order", "mode": "new", "not_loaded": "", "requests": [7, 3]},
        {"route": "/b", "mode": "legacy", "not_loaded": "app.import: \x1bno", "requests": [1, 0]},
    ]
    with daemon(tmp_path, status=told):
        done = run(tmp_path, "status", "--control-socket", "s.ctl")
    assert "  route /order: new, 7 legacy, 3 new\n" in done.stdout
    assert "  route /b: legacy, 1 legacy, 0 new; the new side did not load: app.imp" in done.stdout
    assert "\x1b" not in done.stdout
