"""--capture-output: what workers print is labelled, escaped, bounded, and starves nobody (T19)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatebridge.serve.capture import CHUNK, Capture
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.worker_log import ERROR, INFO, WorkerLog

PACKAGE = Path(__file__).resolve().parents[2]


class Heard:
    """A capture, and the lines that it wrote without the log's own beginning."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log"
        self.capture = Capture(WorkerLog(LogFile(str(self.path)), INFO), "main/3[77]", 0.0)
        self.now = 0.0

    def feed(self, *pieces: bytes) -> float:
        return max(self.capture.feed(piece, self.now) for piece in pieces)

    @property
    def lines(self) -> list[str]:
        begin = " warning app.prints main/3[77] "
        found = self.path.read_text().splitlines()
        assert all(begin in line for line in found)
        return [line.partition(begin)[2] for line in found]


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path)


ROWS = [
    ("a line", [b"one\n"], ["one"]),
    ("two lines", [b"one\ntwo\n"], ["one", "two"]),
    ("in pieces", [b"o", b"n", b"e\ntw", b"o\n"], ["one", "two"]),
    ("empty lines are left out", [b"\n\n \none\n\n"], ["one"]),
    ("indented", [b"  File x\n\tat y\n"], ["  File x", "\\x09at y"]),
    ("ends as on Windows", [b"one\r\ntwo\r\n"], ["one", "two"]),
    ("progress bars", [b"1%\r2%\r3%\n"], ["1%\\x0d2%\\x0d3%"]),
    ("UTF-8", ["caf\xe9 \u20ac\n".encode()], ["caf\xe9 \u20ac"]),
    ("UTF-8 in pieces", [b"caf\xc3", b"\xa9\n"], ["caf\xe9"]),
    ("bytes that are none", [b"\xff\xfe\n"], ["\\xff\\xfe"]),
    ("control characters", [b"\x1b[31mred\0\n"], ["\\x1b[31mred\\x00"]),
    ("without an end yet", [b"one\ntw"], ["one"]),
    ("nothing", [b""], []),
]


@pytest.mark.parametrize(("name", "pieces", "wanted"), ROWS, ids=[row[0] for row in ROWS])
def test_lines(heard: Heard, name: str, pieces: list[bytes], wanted: list[str]) -> None:
    heard.feed(*pieces)
    assert heard.lines == wanted


def test_T19_no_output_forges_a_line(heard: Heard) -> None:
    heard.feed(b"x\r2026-01-01 00:00:00.000 [1] error forged\x85\xe2\x80\xa8y\n")
    assert len(heard.lines) == 1


def test_what_a_worker_began_is_written_when_it_ends(heard: Heard) -> None:
    heard.feed(b"one\nhalf a li")
    heard.capture.end()
    assert heard.lines == ["one", "half a li"]
    heard.capture.end()
    assert heard.lines == ["one", "half a li"]


CUTS = [
    ("in one piece", [b"x" * 20_000 + b"\nnext\n"]),
    ("in pieces", [b"x" * 3000] * 7 + [b"\nnext\n"]),
    ("byte by byte", [b"x"] * 9000 + [b"\nnext\n"]),
    ("endless, then its end", [b"x" * CHUNK] * 50 + [b"y\nnext\n"]),
]


@pytest.mark.parametrize(("name", "pieces"), CUTS, ids=[row[0] for row in CUTS])
def test_a_line_longer_than_8_KiB_is_cut(heard: Heard, name: str, pieces: list[bytes]) -> None:
    heard.feed(*pieces)
    assert heard.lines == ["x" * 8192 + " ... (cut)", "next"]


def test_a_line_of_8_KiB_is_not(heard: Heard) -> None:
    heard.feed(b"x" * 8192 + b"\n", b"y" * 4096, b"y" * 4096, b"\n")
    assert heard.lines == ["x" * 8192, "y" * 8192]


def test_a_line_without_end_costs_no_memory(heard: Heard) -> None:
    for _ in range(1000):
        heard.feed(b"x" * CHUNK)
    heard.capture.end()
    assert len(heard.lines) == 1


# -- a flood


def test_a_burst_passes(heard: Heard) -> None:
    assert heard.feed(*[b"line\n" * 800] * 4) == 0.0
    assert len(heard.lines) == 3200


def test_a_flood_is_slowed_and_nothing_is_lost(heard: Heard) -> None:
    """In a hundred seconds of a worker that prints as fast as it may."""
    fed = 0
    while heard.now < 100.0:
        heard.now += heard.feed(b"line\n" * 800) + 0.0001
        fed += 800
    assert len(heard.lines) == fed
    assert 150_000 < fed < 210_000


def test_a_flood_of_empty_lines_is_slowed_too(heard: Heard) -> None:
    fed = 0
    while heard.now < 10.0:
        heard.now += heard.feed(b"\n" * CHUNK) + 0.0001
        fed += CHUNK
    assert fed < 600_000
    assert heard.lines == []


def test_after_a_flood_all_is_as_before(heard: Heard) -> None:
    for _ in range(100):
        heard.feed(b"line\n" * 800)
    heard.now += 60
    assert heard.feed(b"line\n" * 800) == 0.0


def test_a_clock_that_stands_still_is_no_trap(heard: Heard) -> None:
    assert all(heard.capture.feed(b"x\n", 0.0) == 0.0 for _ in range(100))


def test_at_a_level_above_nothing_is_written_and_nothing_stops(tmp_path: Path) -> None:
    capture = Capture(WorkerLog(LogFile(str(tmp_path / "log")), ERROR), "main/0[1]", 0.0)
    assert capture.feed(b"line\n", 0.0) == 0.0
    assert (tmp_path / "log").read_text() == ""


# -- in the worker


WORKER = """
import os, sys
read, write = os.pipe()
os.dup2(write, 1)
os.dup2(write, 2)
os.set_blocking(read, False)
from gatebridge.serve.capture import print_line_by_line
print_line_by_line()
print("out")
print("error", file=sys.stderr)
said = os.read(read, 99)
sys.stdout = sys.stderr = None
print_line_by_line()
os._exit(0 if said == b"out\\nerror\\n" else 1)
"""


def test_lines_come_when_they_are_printed() -> None:
    """Standard output that is a pipe is written in blocks, after minutes perhaps."""
    env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    assert subprocess.run([sys.executable, "-c", WORKER], env=env, timeout=60).returncode == 0
