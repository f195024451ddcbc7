"""The starter of a daemon, told by its files: what it refuses, and what it leaves."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from gatebridge.autostart import parse
from gatebridge.control_client import call
from gatebridge.errors import UseError
from gatebridge.relay_place import Place, check_folder, state_folder
from tests.bench.daemon import request
from tests.cgi import DEADLINE_S, ROOT
from tests.cli.run import APPLICATION
from tests.relay_stand import NAME, alive, wait_until

OWN = ("--lock-fd", "3", "--base", "/tmp", "--name", NAME, "--folder", "/srv")


def test_its_command_line() -> None:
    told = parse([*OWN, "--", "shop:app", "--threads", "2", "--"])
    assert told.place == Place(f"/tmp/gatebridge-{os.geteuid()}", NAME)
    assert (told.lock, told.app_folder) == (3, "/srv")
    assert told.words == ("shop:app", "--threads", "2", "--")


MALFORMED = [
    [], list(OWN), [*OWN, "--"], [*OWN[:-2], "--", "shop"], [*OWN, "--x", "y", "--", "shop"],
    ["--lock-fd", "x", *OWN[2:], "--", "shop"], [*OWN[:5], "../x", *OWN[6:], "--", "shop"],
    [*OWN, *OWN, "--", "shop"],
]  # fmt: skip


@pytest.mark.parametrize("words", MALFORMED)
def test_another_command_line_is_refused(words: list[str]) -> None:
    with pytest.raises(UseError) as raised:
        parse(words)
    assert raised.value.code == "autostart.usage"


def test_T23_a_folder_that_is_not_ours_alone(tmp_path: Path) -> None:
    assert check_folder(str(tmp_path / "absent")) == ""
    tmp_path.chmod(0o700)
    assert check_folder(str(tmp_path)) == ""
    tmp_path.chmod(0o770)
    assert "0770" in check_folder(str(tmp_path))
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert "no folder" in check_folder(str(tmp_path / "file"))
    assert "no folder" in check_folder(str(tmp_path / "link"))
    assert check_folder(str(tmp_path / "file" / "x")) == "Not a directory"


def taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Starting:
    """A starter with a lock, as a relay gives it one."""

    def __init__(self, folder: Path) -> None:
        (folder / "shop.py").write_text(APPLICATION)
        self.folder = folder
        self.place = Place(state_folder(str(folder)), NAME)
        os.mkdir(self.place.folder, 0o700)
        self.lock = Path(self.place.path("lock"))

    def run(self, *words: str) -> "subprocess.Popen[bytes]":
        own = ("--base", str(self.folder), "--name", NAME, "--folder", str(self.folder))
        argv = [sys.executable, "-m", "gatebridge.autostart", "--lock-fd"]
        with self.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fd = lock.fileno()
            self.process = subprocess.Popen(
                [*argv, str(fd), *own, "--", *(words or ("shop:app",))],
                cwd="/", pass_fds=[fd], env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return self.process

    def settled(self) -> None:
        """It serves, or has failed: the lock is free."""
        with self.lock.open("w") as lock:
            wait_until(lambda: taken(lock))

    def has(self, ending: str) -> bool:
        return os.path.lexists(self.place.path(ending))

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Starting]:
    made = Starting(tmp_path)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end()
        if made.process.stdout is not None:
            made.process.stdout.close()


def test_the_lock_is_free_when_it_serves(starting: Starting) -> None:
    starting.place.write("failed", "old")
    starting.run()
    starting.settled()
    assert starting.has("sock")
    assert starting.has("ready")
    assert not starting.has("failed")
    assert not starting.has("new")
    status = call(starting.place.path("ctl"), "ping")
    assert (status["name"], status["pid"]) == (NAME, starting.process.pid)


def test_it_leaves_nothing_but_its_log_and_its_lock(starting: Starting) -> None:
    starting.run()
    starting.settled()
    assert starting.end() == 0
    assert sorted(os.listdir(starting.place.folder)) == [f"{NAME}.lock", f"{NAME}.log"]


def test_options_of_the_operator_come_last(starting: Starting) -> None:
    starting.run("shop:app", "--threads", "3", "--no-reload")
    starting.settled()
    (pool,) = call(starting.place.path("ctl"), "status")["pools"].values()
    assert pool["threads"] == 3


def test_it_ends_when_nobody_asks(starting: Starting) -> None:
    starting.run("shop:app", "--idle-exit", "0.2")
    code = starting.process.wait(DEADLINE_S)
    assert code == 0
    assert not starting.has("sock")
    assert not starting.has("ready")


FAILURES = [
    (("absent:app",), "absent"),
    (("shop:absent",), "absent"),
    (("shop:app", "--threads", "no"), "threads"),
    (("shop:app", "--no-such-option"), "no-such-option"),
]


@pytest.mark.parametrize(("words", "why"), FAILURES)
def test_why_it_cannot_start_is_written_down(starting: Starting, words, why: str) -> None:
    starting.run(*words)
    code = starting.process.wait(DEADLINE_S)
    assert code != 0
    starting.settled()
    text, age_s = starting.place.read("failed")
    assert why in text
    assert not text.startswith("gatebridge:")
    assert age_s < 60
    assert not starting.has("sock")
    assert not starting.has("new")


def test_T23_it_looks_at_the_folder_itself(starting: Starting) -> None:
    os.chmod(starting.place.folder, 0o755)
    starting.run()
    code = starting.process.wait(DEADLINE_S)
    assert code != 0
    assert "start.folder" in starting.place.read("failed")[0]


def test_daemons_that_are_killed_young_are_counted(starting: Starting) -> None:
    starting.place.write("ready", "1")
    starting.run()
    starting.settled()
    assert starting.place.read("ready")[0] == "2"
    starting.process.send_signal(signal.SIGKILL)
    starting.process.wait(DEADLINE_S)
    starting.process.stdout.close()
    starting.run()
    starting.settled()
    assert "start.killed" in starting.place.read("failed")[0]
    assert not starting.has("ready")


def test_one_that_was_killed_old_is_not(starting: Starting) -> None:
    starting.place.write("ready", "2")
    before = os.stat(starting.place.path("ready")).st_mtime - 61
    os.utime(starting.place.path("ready"), (before, before))
    starting.run()
    starting.settled()
    assert starting.place.read("ready")[0] == "0"


def test_a_successor_starts_while_it_still_answers(starting: Starting) -> None:
    """Its socket and its control socket go first, and it does not take its successor's."""
    starting.run()
    starting.settled()
    first = starting.process
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: not starting.has("sock"))
    starting.run()
    starting.settled()
    first.wait(DEADLINE_S)
    first.stdout.close()
    assert not alive(first.pid)
    assert starting.has("sock")
    assert call(starting.place.path("ctl"), "status")["pid"] == starting.process.pid


# Waits for files beside it: with its import, and with its answer.
WAITING = """
import os, time

def beside(name):
    return os.path.join(os.path.dirname(__file__), name)

def until(name):
    while not os.path.exists(beside(name)):
        time.sleep(0.01)

until("loaded")

def app(environ, start_response):
    open(beside("asked"), "w").close()
    until("answered")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"late"]
"""


def test_the_end_of_a_daemon_leaves_alone_what_its_successor_prepares(starting: Starting) -> None:
    """Two boot and drain at the same time: NAME.new is the second one's by now."""
    (starting.folder / "shop.py").write_text(WAITING)
    (starting.folder / "loaded").touch()
    starting.run()
    starting.settled()
    first = starting.process
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(DEADLINE_S)
        sock.connect(starting.place.path("sock"))
        sock.sendall(request("/", keep=0))
        wait_until((starting.folder / "asked").exists)
        first.send_signal(signal.SIGTERM)
        wait_until(lambda: not starting.has("sock"))
        (starting.folder / "loaded").unlink()
        starting.run()
        wait_until(lambda: starting.has("new"))
        (starting.folder / "answered").touch()
        answer = b""
        while data := sock.recv(65_536):
            answer += data
    first.wait(DEADLINE_S)
    first.stdout.close()
    assert b"late" in answer
    assert starting.has("new")
    (starting.folder / "loaded").touch()
    starting.settled()
    assert starting.has("sock")
    assert call(starting.place.path("ctl"), "status")["pid"] == starting.process.pid


def test_one_that_nobody_can_reach_says_so_and_ends(starting: Starting) -> None:
    """It would keep the lock, and every request would wait for it."""
    (starting.folder / "shop.py").write_text(WAITING)
    starting.run()
    wait_until(lambda: starting.has("new"))
    starting.place.remove("new")
    (starting.folder / "loaded").touch()
    starting.settled()
    code = starting.process.wait(DEADLINE_S)
    assert code == 1
    assert "start.place: No such file" in starting.place.read("failed")[0]
    assert not starting.has("sock")


def test_nothing_that_the_application_starts_can_keep_the_lock(starting: Starting) -> None:
    told = "import os\nopen('lock-seen', 'w').write(os.popen('ls -l /proc/self/fd').read())\n"
    (starting.folder / "shop.py").write_text(told + APPLICATION)
    starting.run()
    starting.settled()
    assert starting.place.path("lock") not in (starting.folder / "lock-seen").read_text()
