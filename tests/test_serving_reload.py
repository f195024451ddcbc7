"""run_simple(use_reloader=True): the program starts again, on the same socket."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gatebridge.serve.restart import Files, Watcher
from tests.suite.modes import wait_until
from tests.test_serving import DEADLINE_S, OURS, Served, both, only_ours, served

FAST = {"use_reloader": True, "reloader_interval": 0.05, "reloader_type": "stat"}

_clock = int(time.time()) + 1_000  # Werkzeug looks for later times only


def write(path: Path, text: str) -> None:
    """With a later time than ever before: two writes may fall into one tick of the clock."""
    global _clock
    _clock += 10
    path.write_text(text)
    os.utime(path, (_clock, _clock))


def start(folder: Path, engine: str, **arguments: Any) -> Served:
    write(folder / "shop.py", "")
    made = Served(folder, engine, **{**FAST, **arguments})
    try:
        assert made.until_version("1")
    except BaseException:
        made.stop()
        raise
    return made


def starts(program: Served) -> int:
    word = "Changed:" if program.engine == OURS else "Detected change"
    return program.said().count(word)


@both
@pytest.mark.parametrize("arguments", [{}, {"processes": 2}], ids=["one", "processes"])
def test_changed_module_starts_the_program_again(tmp_path, engine, arguments):
    program = start(tmp_path, engine, **arguments)
    try:
        place, before = program.place(), program.seen()["pid"]
        write(tmp_path / "shop.py", "version = '2'")
        assert wait_until(lambda: starts(program) == 1), program.said()
        assert program.until_version("2")["pid"] != before
        assert program.place() == place
    finally:
        program.stop()
    assert program.process.returncode == 0


@both
def test_script_itself_is_watched(tmp_path, engine):
    program = start(tmp_path, engine)
    try:
        write(tmp_path / "program.py", (tmp_path / "program.py").read_text() + "\n# changed\n")
        assert wait_until(lambda: starts(program) == 1), program.said()
        assert program.until_version("1")
    finally:
        program.stop()


@both
def test_extra_files_and_exclude_patterns(tmp_path, engine):
    """The program starts again for the one, and not for what is excluded and changed before."""
    for name in ("shop.ini", "other.ini"):
        write(tmp_path / name, "")
    extra = [str(tmp_path / name) for name in ("shop.ini", "other.ini")]
    excluded = ["*/other.ini", "*/shop.py"]
    program = start(tmp_path, engine, extra_files=extra, exclude_patterns=excluded)
    try:
        write(tmp_path / "other.ini", "2")
        write(tmp_path / "shop.py", "changed = True")
        write(tmp_path / "shop.ini", "2")
        assert wait_until(lambda: starts(program) == 1), program.said()
        assert program.until_version("1")
        told = [line for line in program.said().splitlines() if "shop.ini" in line]
        assert len(told) == 1
        assert "other.ini" not in program.said()
        assert "shop.py" not in program.said()
    finally:
        program.stop()


@only_ours
@pytest.mark.parametrize("kind", ["watchdog", "watchfiles"])
def test_other_reloaders(tmp_path, engine, kind):
    program = start(tmp_path, engine, reloader_type=kind)
    try:
        write(tmp_path / "shop.py", "changed = True")
        assert wait_until(lambda: starts(program) == 1), program.said()
        assert program.until_version("1")
    finally:
        program.stop()


@both
def test_program_that_fails_ends_it(tmp_path, engine):
    program = start(tmp_path, engine)
    try:
        write(tmp_path / "shop.py", "raise RuntimeError('broken now')")
        assert program.process.wait(DEADLINE_S) == 1
        assert "broken now" in program.said()
    finally:
        program.stop()


@both
def test_term_ends_both_processes(tmp_path, engine):
    program = start(tmp_path, engine)
    inner = program.seen()["pid"]
    assert inner != program.process.pid
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(DEADLINE_S) == 0
    assert wait_until(lambda: not Path(f"/proc/{inner}").exists())


@both
def test_debugger_prints_its_pin(tmp_path, engine):
    with served(tmp_path, engine, **FAST, use_debugger=True) as program:
        assert program.until_version("1")
        assert wait_until(lambda: "Debugger PIN: " in program.said()), program.said()


class Looked:
    """In the place of Files: what the watcher asks of it."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.waited: list[float] = []
        self.closed = False

    def wait(self, seconds: float, stop: int) -> list[str]:
        self.waited.append(seconds)
        return self.answers.pop(0)

    def close(self) -> None:
        self.closed = True


def test_watcher_looks_each_interval_until_something_changes():
    files, ended = Looked([], [], ["/a.py"]), []
    watcher = Watcher(files, 0.25, lambda: ended.append(True))
    assert wait_until(lambda: bool(ended))
    watcher.close()
    assert files.waited == [0.25] * 3
    assert watcher.changed == ["/a.py"]
    assert files.closed


def test_watcher_is_stopped_while_it_waits(tmp_path):
    watcher = Watcher(Files("stat", [], []), DEADLINE_S * 10, lambda: None)
    watcher.close()  # returns
    assert watcher.changed == []


def test_files_of_an_extra_folder_are_watched(tmp_path):
    (tmp_path / "conf").mkdir()
    write(tmp_path / "conf" / "one.py", "")
    files = Files("stat", [str(tmp_path / "conf")], [])
    try:
        assert files.look() == []
        write(tmp_path / "conf" / "one.py", "2")
        assert files.look() == [str(tmp_path / "conf" / "one.py")]
    finally:
        files.close()
