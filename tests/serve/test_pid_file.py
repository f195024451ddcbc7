"""The pid file: a live daemon's is refused, a stale one replaced, another's left alone (T23)."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve.pid_file import PidFile

# Another test may have left a thread, and Python 3.12 and later say so.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

PACKAGE = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pid"


def refused(path: Path | str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        PidFile(str(path))
    return raised.value


HOLDER = """
import sys
from gatebridge.serve.pid_file import PidFile
made = PidFile(sys.argv[1])
print("made", flush=True)
sys.stdin.read()
made.remove()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that has the file until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    return process


def test_it_holds_the_number_and_goes_at_the_end(path: Path) -> None:
    made = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_nlink == 1
    made.remove()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("umask", [0, 0o077])
def test_everybody_may_read_it_and_nobody_else_write_it(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = PidFile(str(path))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    made.remove()


def test_T22_its_descriptor_is_not_inherited(path: Path) -> None:
    made = PidFile(str(path))
    assert not os.get_inheritable(made.fd)
    made.remove()


def test_a_live_daemons_file_is_refused_and_its_process_named(path: Path) -> None:
    with hold(path) as process:
        error = refused(path)
        assert error.code == "pid.live"
        assert f"process {process.pid};" in error.detail
        assert path.read_text() == f"{process.pid}\n"
    assert not path.exists()
    PidFile(str(path)).remove()


def test_a_killed_daemons_file_is_replaced(path: Path) -> None:
    with hold(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        made = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    made.remove()


STALE = [
    ("a number that nobody has", "4194304999\n"),
    ("a number that another program has", f"{os.getppid()}\n"),
    ("our own, as in a container", f"{os.getpid()}\n"),
    ("process 1's, as in a container", "1"),
    ("nothing: the disk was full", ""),
]


@pytest.mark.parametrize(("name", "text"), STALE, ids=[row[0] for row in STALE])
def test_a_stale_file_is_replaced_whatever_it_says(path: Path, name: str, text: str) -> None:
    path.write_text(text)
    made = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    made.remove()


def test_it_is_never_seen_half_written(path: Path) -> None:
    """Who reads it between two daemons sees one number or the other."""
    path.write_text("77\n")
    stop = threading.Event()
    seen = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(200):
        made = PidFile(str(path))
        made.close()
    stop.set()
    reader.join()
    assert seen <= {"77\n", f"{os.getpid()}\n"}


# -- T23: what lies in the path and is not ours


def test_T23_a_symbolic_link_is_not_followed(path: Path) -> None:
    target = path.parent / "target"
    target.write_text("12\n")
    path.symlink_to(target)
    error = refused(path)
    assert error.code == "pid.symlink"
    assert target.read_text() == "12\n"
    assert path.is_symlink()


def test_T23_nor_one_that_leads_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "absent")
    assert refused(path).code == "pid.symlink"
    assert not (path.parent / "absent").exists()


def test_T23_a_file_of_something_else_is_left_alone(path: Path) -> None:
    """--pid app.toml by mistake."""
    path.write_text("[server]\nbind = ...\n")
    assert refused(path).code == "pid.content"
    assert path.read_text() == "[server]\nbind = ...\n"


def test_T23_a_folder_and_a_pipe_are_left_alone(path: Path) -> None:
    path.mkdir()
    assert refused(path).code == "pid.kind"
    path.rmdir()
    os.mkfifo(path)
    assert refused(path).code == "pid.kind"
    assert path.is_fifo()


def test_T23_another_users_file_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others may write as well they could have put it there."""
    path.write_text("5\n")
    if os.geteuid() == 0:
        os.chown(path, 54321, 54321)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert refused(path).code == "pid.owner"


def test_a_refusal_leaves_nothing_behind(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    path.mkdir()
    refused(path)
    assert [item.name for item in path.parent.iterdir()] == ["pid"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_absent_folder_is_named(path: Path) -> None:
    error = refused(path / "absent" / "pid")
    assert error.code == "pid.failed"
    assert "create its folder" in error.detail


# -- removal


def test_it_is_removed_only_if_it_is_ours(path: Path) -> None:
    made = PidFile(str(path))
    path.unlink()
    path.write_text("77\n")
    made.remove()
    assert path.read_text() == "77\n"


def test_removing_it_twice_does_no_harm(path: Path) -> None:
    made = PidFile(str(path))
    made.remove()
    path.write_text("77\n")
    made.remove()
    assert path.exists()


def test_it_may_be_gone_already(path: Path) -> None:
    made = PidFile(str(path))
    path.unlink()
    made.remove()


def test_a_child_does_not_remove_it(path: Path) -> None:
    made = PidFile(str(path))
    child = os.fork()
    if child == 0:
        made.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert path.exists()
    assert refused(path).code == "pid.live"  # and the lock is still ours
    made.remove()


def test_who_takes_our_place_gets_the_file(path: Path) -> None:
    """USR2: the old one lets go of it, the new one takes it, and the old one's end removes none."""
    made = PidFile(str(path))
    made.close()
    assert path.exists()
    with hold(path) as process:
        made.remove()
        assert path.read_text() == f"{process.pid}\n"


def test_it_is_found_again_after_a_change_of_the_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    made = PidFile("pid")
    monkeypatch.chdir("/")
    made.remove()
    assert not path.exists()


# -- at the same time


def test_one_of_many_gets_it(path: Path) -> None:
    """Also where all of them find a stale one."""
    for text in (None, "77\n"):
        if text is not None:
            path.write_text(text)
        got: list[PidFile] = []
        codes: list[str] = []
        barrier = threading.Barrier(8)

        def start(barrier=barrier, got=got, codes=codes) -> None:
            barrier.wait()
            try:
                got.append(PidFile(str(path)))
            except ConfigError as error:
                codes.append(error.code)

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        assert codes == ["pid.live"] * 7
        assert [item.name for item in path.parent.iterdir()] == ["pid"]
        got[0].remove()


def test_a_file_that_changes_all_the_time_is_no_endless_loop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("77\n")

    def flock(fd: int, how: int) -> None:  # whoever had it removes it, and makes a new one
        path.unlink()
        path.write_text("78\n")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert refused(path).code == "pid.failed"
