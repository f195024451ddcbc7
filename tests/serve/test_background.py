"""--daemon with real processes: the starter ends when it is ready, or says why it is not."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gatebridge.serve.background import Report

PACKAGE = Path(__file__).resolve().parents[2]
DEADLINE_S = 30.0

# The daemon's part is put at the end; it ends when somebody makes the file "end".
START = """
import json, os, signal, socket, sys, time
from pathlib import Path
here = Path(sys.argv[1])
from gatebridge.errors import ConfigError
from gatebridge.serve.background import Report, go_background
print("said before", flush=False)
report = go_background(json.loads(sys.argv[2]))
(here / "pid").write_text(str(os.getpid()))

def until(name):
    while not (here / name).exists():
        time.sleep(0.01)

def note(**found):
    (here / "new").write_text(json.dumps(found))
    (here / "new").rename(here / "noted")

"""


class Daemon:
    """Runs a starter with the daemon's part of its program; the daemon ends with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, program: str, keep: tuple[int, ...] = (), **more: object) -> subprocess.Popen:
        argv = [sys.executable, "-c", START + program, str(self.folder), json.dumps(keep)]
        return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(PACKAGE)}, **more)

    def run(self, program: str, keep: tuple[int, ...] = (), **more: object) -> tuple[int, str, str]:
        """Exit status, standard output and error of the starter: it must end, and the pipes too."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with self.start(program, keep, **pipes, **more) as starter:
            out, error = starter.communicate(timeout=DEADLINE_S)
        return starter.returncode, out, error

    @property
    def pid(self) -> int:
        self.wait(lambda: (self.folder / "pid").exists() and self._read("pid") != "")
        return int(self._read("pid"))

    def noted(self) -> dict[str, object]:
        self.wait((self.folder / "noted").exists)
        return json.loads(self._read("noted"))

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def alive(self) -> bool:
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def wait(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not true():
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    try:
        yield made
    finally:
        (tmp_path / "end").touch()
        if (tmp_path / "pid").exists() and made.alive():
            with contextlib.suppress(AssertionError):
                made.wait(lambda: not made.alive())
            if made.alive():
                os.kill(made.pid, signal.SIGKILL)


def test_the_starter_ends_with_0_when_the_daemon_is_ready(daemon: Daemon) -> None:
    with daemon.start("until('go'); report.ready(); until('end')") as starter:
        assert daemon.alive()
        assert starter.poll() is None
        (daemon.folder / "go").touch()
        assert starter.wait(DEADLINE_S) == 0
    assert daemon.alive()


def test_what_was_said_before_is_said_once(daemon: Daemon) -> None:
    assert daemon.run("report.ready(); until('end')") == (0, "said before\n", "")


def test_nothing_holds_the_starters_pipes_open(daemon: Daemon) -> None:
    """`ssh host gatebridge serve -D` and $(...) return: run() has read them to their ends."""
    code, _, error = daemon.run("report.ready(); print('unheard', file=sys.stderr); until('end')")
    assert (code, error) == (0, "")
    assert daemon.alive()


@pytest.mark.parametrize("status", [2, 3, 4, 5])
def test_a_failure_gives_its_word_and_its_exit_code(daemon: Daemon, status: int) -> None:
    text = "gatebridge: bind.in_use: caf\xe9\nsecond line"
    code, out, error = daemon.run(f"report.failed({status}, {text!r}); sys.exit(77)")
    assert (code, out, error) == (status, "said before\n", text + "\n")


def test_a_daemon_that_dies_before_is_told(daemon: Daemon) -> None:
    code, _, error = daemon.run("os.kill(os.getpid(), signal.SIGKILL)")
    assert code == 1
    assert "daemon.died" in error


def test_a_daemon_that_ends_without_a_word_is_told(daemon: Daemon) -> None:
    code, _, error = daemon.run("raise ValueError('x')")
    assert code == 1
    assert "daemon.died" in error


def test_only_the_first_word_counts(daemon: Daemon) -> None:
    code, _, error = daemon.run("report.ready(); report.failed(3, 'late'); report.ready()")
    assert (code, error) == (0, "")


def test_the_daemon_has_left_terminal_session_and_starter(daemon: Daemon) -> None:
    tell = "note(sid=os.getsid(0), group=os.getpgid(0), pid=os.getpid(), folder=os.getcwd())"
    assert daemon.run(f"report.ready(); {tell}; until('end')", cwd="/")[0] == 0
    found = daemon.noted()
    assert found["sid"] != os.getsid(0)
    assert found["sid"] != found["pid"]  # no leader: opening a terminal does not take it over
    assert found["group"] == found["sid"]
    assert found["folder"] == "/"  # its files are where the operator wrote them


FDS = """
report.ready()
found = {}
for name in os.listdir("/proc/self/fd"):
    try:
        found[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        pass
note(**found)
until("end")
"""


def test_T22_it_has_the_three_streams_and_nothing_else(daemon: Daemon, tmp_path: Path) -> None:
    with (tmp_path / "passed").open("w") as file:
        assert daemon.run(FDS, pass_fds=[file.fileno()])[0] == 0
    found = daemon.noted()
    assert {found[name] for name in "012"} == {"/dev/null"}
    assert not any(name.endswith("passed") for name in found.values())


def test_what_fd_binds_need_stays(daemon: Daemon, tmp_path: Path) -> None:
    with (tmp_path / "passed").open("w") as file:
        assert daemon.run(FDS, (file.fileno(),), pass_fds=[file.fileno()])[0] == 0
        assert daemon.noted()[str(file.fileno())].endswith("passed")


def test_a_listener_as_standard_input_stays(daemon: Daemon, tmp_path: Path) -> None:
    with (tmp_path / "passed").open("w") as file:
        assert daemon.run(FDS, (0,), stdin=file)[0] == 0
    assert daemon.noted()["0"].endswith("passed")


def test_what_the_daemon_opened_itself_stays(daemon: Daemon, tmp_path: Path) -> None:
    """Sockets that systemd passed have been taken over by then: they are no longer inheritable."""
    with (tmp_path / "passed").open("w") as file:
        fd = file.fileno()
        program = (START + FDS).replace(
            "report = go_background", f"os.set_inheritable({fd}, False); report = go_background"
        )
        argv = [sys.executable, "-c", program, str(tmp_path), "[]"]
        env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
        assert subprocess.run(argv, env=env, pass_fds=[fd], timeout=DEADLINE_S).returncode == 0
        assert daemon.noted()[str(fd)].endswith("passed")


@pytest.mark.parametrize("closed", ["0", "0, 1", "0, 1, 2"])
def test_closed_streams_are_no_trap(daemon: Daemon, closed: str) -> None:
    """gatebridge serve -D <&-: a pipe of ours must not become standard input."""
    program = (START + FDS).replace(
        "report = go_background", f"[os.close(fd) for fd in ({closed},)]; report = go_background"
    )
    program = program.replace('print("said before", flush=False)', "")
    argv = [sys.executable, "-c", program, str(daemon.folder), "[]"]
    env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    assert subprocess.run(argv, env=env, timeout=DEADLINE_S).returncode == 0
    found = daemon.noted()
    assert {found[name] for name in "012"} == {"/dev/null"}


def test_an_interrupted_starter_takes_the_daemon_with_it(daemon: Daemon) -> None:
    program = "signal.signal(signal.SIGINT, signal.SIG_IGN); until('end')"
    with daemon.start(program, stderr=subprocess.PIPE) as starter:
        assert daemon.alive()
        starter.send_signal(signal.SIGINT)
        _, error = starter.communicate(timeout=DEADLINE_S)
        assert (starter.returncode, error) == (130, b"")
        daemon.wait(lambda: not daemon.alive())


def test_a_starter_that_was_killed_does_not_stop_the_daemon(daemon: Daemon) -> None:
    program = "until('go'); report.ready(); note(up=1); until('end')"
    with daemon.start(program) as starter:
        assert daemon.alive()
        starter.kill()
        starter.wait(DEADLINE_S)
    (daemon.folder / "go").touch()
    assert daemon.noted() == {"up": 1}
    assert daemon.alive()


def test_a_fork_that_fails_is_an_error_and_no_daemon(daemon: Daemon) -> None:
    argv = ["import os", "def refuse():\n    raise OSError(11, 'no more processes')",
            "os.fork = refuse", START]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(argv), str(daemon.folder), "[]"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert "daemon.failed: --daemon: fork: no more processes" in done.stderr
    assert not (daemon.folder / "pid").exists()


def test_a_second_fork_that_fails_is_told_by_the_starter(daemon: Daemon) -> None:
    argv = ["import os", "fork = os.fork",
            "def once():\n    os.fork = refuse\n    return fork()",
            "def refuse():\n    raise OSError(11, 'no more processes')",
            "os.fork = once", START]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(argv), str(daemon.folder), "[]"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 1
    assert "daemon.failed" in done.stderr
    assert "no more processes" in done.stderr
    assert not (daemon.folder / "pid").exists()


def test_in_the_foreground_nobody_waits() -> None:
    report = Report()
    report.ready()
    report.failed(3, "x")
