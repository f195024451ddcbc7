"""gatebridge ctl: what is asked of the daemon, and what is said of its answers."""

from pathlib import Path
from typing import Any

import pytest

from gatebridge.serve.control import LATER, failure
from tests.cli.daemon import daemon
from tests.cli.run import run, said

HERE = ("--control-socket", "s.ctl")

COMMANDS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("reload", {"command": "reload"}, {"generation": 4}, "reloaded: generation 4\n"),
    ("drain", {"command": "drain"}, {}, "draining\n"),
    ("scale 5", {"command": "scale", "workers": 5, "pool": ""}, {"pool": "main", "workers": 5},
     "pool main: 5 workers\n"),
    ("scale 1 --pool api", {"command": "scale", "workers": 1, "pool": "api"}, {},
     "pool api: 1 workers\n"),
    ("scale 2", {"command": "scale", "workers": 2, "pool": ""}, {}, "2 workers\n"),
    ("reopen-logs", {"command": "reopen-logs"}, {}, "logs reopened\n"),
    ("log-level debug", {"command": "log-level", "level": "debug"}, {}, "log level debug\n"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "asked", "answer", "line"), COMMANDS,
                         ids=[row[0] for row in COMMANDS])  # fmt: skip
def test_commands(
    tmp_path: Path, words: str, asked: dict[str, Any], answer: dict[str, Any], line: str
) -> None:
    name = words.split()[0]
    with daemon(tmp_path, **{name.replace("-", "_"): {"ok": True, **answer}}) as answering:
        done = run(tmp_path, "ctl", *words.split(), *HERE)
    assert (done.returncode, done.stdout, done.stderr) == (0, line, "")
    assert answering.asked == [asked]


WRONG = ["", "no-such", "scale", "scale many", "scale 0", "scale -1", "log-level loud", "log-level"]


@pytest.mark.parametrize("words", WRONG)
def test_2_usage(tmp_path: Path, words: str) -> None:
    with daemon(tmp_path) as answering:
        done = run(tmp_path, "ctl", *words.split(), *(HERE if words else ()))
    assert done.returncode == 2
    assert "Usage" in done.stderr
    assert answering.asked == []


def test_1_a_reload_that_failed_says_why(tmp_path: Path) -> None:
    why = {**failure("reload.failed", "ImportError: no module named shop\x1b"),
           "traceback": "Traceback (most recent call last):\n  File \"x.py\"\x07"}  # fmt: skip
    with daemon(tmp_path, reload=why):
        done = run(tmp_path, "ctl", "reload", *HERE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'Traceback (most recent call last):\n  File "x.py"\\x07\n'
        "gatebridge: reload.failed: ImportError: no module named shop\\x1b\n"
    )


def test_1_a_reload_that_takes_too_long(tmp_path: Path) -> None:
    with daemon(tmp_path, reload=lambda request: LATER):
        done = run(tmp_path, "ctl", "reload", "--timeout", "0.1", *HERE)
    assert done.returncode == 1
    assert "reload.late" in said(done)


def test_1_a_refusal(tmp_path: Path) -> None:
    with daemon(tmp_path, scale=failure("pool.which", "there are main and api")):
        done = run(tmp_path, "ctl", "scale", "3", *HERE)
    assert done.returncode == 1
    assert said(done) == "gatebridge: pool.which: there are main and api\n"


@pytest.mark.parametrize("words", [["stop"], ["stop", "--now"]])
def test_stop_returns_when_the_daemon_has_ended(tmp_path: Path, words: list[str]) -> None:
    pings = 0

    def ping(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal pings
        pings += 1
        if pings == 3:
            answering.control.close()
        return {"ok": True}

    with daemon(tmp_path, stop={"ok": True}, ping=ping) as answering:
        done = run(tmp_path, "ctl", *words, *HERE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
    assert answering.asked[0] == {"command": "stop", "quick": "--now" in words}
    assert pings == 3


def test_1_a_daemon_that_does_not_end(tmp_path: Path) -> None:
    with daemon(tmp_path, stop={"ok": True}):
        done = run(tmp_path, "ctl", "stop", "--timeout", "0.2", *HERE)
    assert done.returncode == 1
    assert "stop.late" in said(done)


STACKS = {
    "ok": True,
    "whole": False,
    "workers": [
        {
            "pool": "main",
            "index": 0,
            "pid": 4712,
            "state": "ready",
            "answered": True,
            "threads": [
                {
                    "ident": 0x7F01,
                    "name": "poller",
                    "line": "GET /report\x07",
                    "id": "8f3c",
                    "age_s": 3.21,
                    "calls": ['File "/srv/a.py", line 3 in f: rows = list(q)\x1b'],
                },
                {"ident": 1, "name": "", "line": "", "id": "", "age_s": None, "calls": []},
            ],
        },
        {"pool": "main", "index": 1, "pid": 4713, "state": "ready", "answered": False},
    ],
}


def test_stacks(tmp_path: Path) -> None:
    with daemon(tmp_path, stacks=STACKS):
        done = run(tmp_path, "ctl", "stacks", *HERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "worker main/0 pid 4712 ready\n"
        "  thread 0x7f01 poller: GET /report\\x07 for 3.2 s (id 8f3c)\n"
        '    File "/srv/a.py", line 3 in f: rows = list(q)\\x1b\n'
        "  thread 0x1\n"
        "worker main/1 pid 4713 ready\n"
        "  (it did not answer the signal)\n"
        "(further threads are left out)\n"
    )
