"""gatebridge top: live on a terminal, once elsewhere."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatebridge.cli.top import Rates
from tests.cli.daemon import daemon, status
from tests.cli.run import ROOT, run

HERE = ("--control-socket", "s.ctl")
DEADLINE_S = 30.0


class Screen:
    """A terminal, and what was shown on it so far."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.text = ""
        self.fd, other = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gatebridge", *words],
            cwd=folder,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "TERM": "xterm",
                "COLUMNS": "120",
                "LINES": "40",
            },
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)

    def read(self, seconds: float) -> bool:
        """False: nothing more will come."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                data = os.read(self.fd, 65_536)
            except OSError:  # Linux says so when the last writer has closed
                return False
            self.text += data.decode("utf-8", "replace")
            return bool(data)
        return True

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while text not in self.text:
            assert time.monotonic() < end, self.text
            assert self.read(0.1) or text in self.text, self.text

    def type(self, keys: str) -> None:
        self.text = ""
        os.write(self.fd, keys.encode())

    def ended(self) -> int:
        end = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text
            self.read(0.05)
        while self.read(0.05):  # what it wrote last
            assert time.monotonic() < end, self.text
        return self.process.returncode


@contextmanager
def screen(folder: Path, *words: str) -> Iterator[Screen]:
    made = Screen(folder, *words)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()
        os.close(made.fd)


def test_it_is_live_until_q(tmp_path: Path) -> None:
    looks = 0

    def look(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal looks
        looks += 1
        told = status()
        told["pools"]["main"]["requests"] = 1000 * looks
        return told

    with daemon(tmp_path, status=look), screen(tmp_path, "top", "--interval", "0.1", *HERE) as top:
        for text in ("GET /report", "per s", "q ends", "3000", "5000"):
            top.wait_for(text)
        top.type("q")
        assert top.ended() == 0
        assert "\x1b[?1049l" in top.text  # the screen is as before


def test_a_key_looks_again_at_once(tmp_path: Path) -> None:
    with daemon(tmp_path) as answering:
        with screen(tmp_path, "top", "--interval", "1000", *HERE) as top:
            top.wait_for("q ends")
            top.type(" ")
            top.wait_for("q ends")
            top.type("Q")
            assert top.ended() == 0
    assert len(answering.asked) == 2


def test_a_daemon_that_goes_and_comes_back(tmp_path: Path) -> None:
    with screen(tmp_path, "status", *HERE) as gone:
        assert gone.ended() == 7
    with daemon(tmp_path) as first:
        top = Screen(tmp_path, "top", "--interval", "0.1", *HERE)
        top.wait_for("GET /report")
    assert not os.path.exists(first.path)
    try:
        top.wait_for("does not exist")
        top.text = ""
        with daemon(tmp_path):
            top.wait_for("GET /report")
            top.type("q")
            assert top.ended() == 0
    finally:
        top.process.kill()
        top.process.wait()
        os.close(top.fd)


def test_ctrl_c_ends_it_without_a_word(tmp_path: Path) -> None:
    with daemon(tmp_path), screen(tmp_path, "top", *HERE) as top:
        top.wait_for("q ends")
        top.text = ""
        os.kill(top.process.pid, 2)
        assert top.ended() == 0
        assert "Traceback" not in top.text
        assert "\x1b[?1049l" in top.text


def test_once_on_a_terminal_are_tables(tmp_path: Path) -> None:
    with daemon(tmp_path), screen(tmp_path, "top", "--once", *HERE) as top:
        assert top.ended() == 0
        while top.read(0.1) and "POST /order" not in top.text:
            pass
        assert "GET /report" in top.text
        assert "\x1b[?1049h" not in top.text


@pytest.mark.parametrize("words", [[], ["--once"]])
def test_where_there_is_no_terminal_it_prints_once(tmp_path: Path, words: list[str]) -> None:
    with daemon(tmp_path):
        done = run(tmp_path, "top", *words, *HERE)
        lines = run(tmp_path, "status", *HERE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == lines.stdout


def test_status_on_a_terminal_is_tables(tmp_path: Path) -> None:
    with daemon(tmp_path), screen(tmp_path, "status", *HERE) as shown:
        shown.wait_for("main/0")
        assert shown.ended() == 0


def test_rates() -> None:
    rates = Rates()
    assert rates.since_last(status(), 100.0) == {}
    told = status()
    told["pools"]["main"]["requests"] += 50
    assert rates.since_last(told, 102.0) == {"main": 25.0, "api": 0.0}
    del told["pools"]["api"]
    told["pools"]["main"]["requests"] = 3  # counted anew after a restart
    assert rates.since_last(told, 103.0) == {"main": 0.0}


def test_2_usage(tmp_path: Path) -> None:
    assert run(tmp_path, "top", "--interval", "0").returncode == 2
