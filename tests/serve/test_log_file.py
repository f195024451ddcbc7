"""Logs cannot stop the service, cannot be forged, and follow a rotation."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from gatebridge.errors import AppError, ConfigError, PeerError
from gatebridge.serve.escape import escape, quote
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.worker_log import DEBUG, ERROR, INFO, LEVELS, WARNING, WorkerLog

# Another test may have left a thread, and Python 3.12 and later say so.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log = LogFile(str(path))
    log.write("one")
    log.write("caf\xe9 \u20ac \udcff")
    assert path.read_bytes() == "before\none\ncaf\xe9 \u20ac \\udcff\n".encode()
    assert log.lost == 0


def test_a_new_log_is_not_the_worlds_to_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LogFile(str(tmp_path / "log"))
    finally:
        os.umask(before)
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640


def test_T22_its_descriptor_is_not_inherited(tmp_path: Path) -> None:
    LogFile(str(tmp_path / "log"))
    fds = [fd for fd in os.listdir("/proc/self/fd") if _target(fd) == str(tmp_path / "log")]
    assert [os.get_inheritable(int(fd)) for fd in fds] == [False]


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def test_a_log_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        LogFile(str(tmp_path / "absent" / "log"))
    assert raised.value.code == "log.open"
    assert str(tmp_path) in raised.value.detail


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    log = LogFile("/dev/full")
    for _ in range(3):
        log.write("lost")
    assert log.lost == 3


def test_a_dead_pipe_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = LogFile(str(fifo))
    log.write("heard")
    assert os.read(reader, 99) == b"heard\n"
    os.close(reader)
    log.write("lost")
    assert log.lost == 1


# -- what was lost is told once writing works again


class Told:
    """A log on a pipe, and what it reports. stuck(): nobody reads; read(): somebody does."""

    def __init__(self, folder: Path) -> None:
        path = folder / "fifo"
        os.mkfifo(path)
        self.reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.calls: list[tuple[str, int]] = []
        self.path = str(path)
        self.log = LogFile(self.path, self.told)

    def told(self, path: str, count: int) -> None:
        self.calls.append((path, count))

    def stick(self) -> int:
        """Fill the pipe; how many lines were lost by it."""
        while not self.log.lost:
            self.log.write("x" * 4000)
        return self.log.lost

    def read(self) -> bytes:
        got = b""
        while True:
            try:
                got += os.read(self.reader, 65_536)
            except BlockingIOError:
                return got


def test_lost_lines_are_told_once(tmp_path: Path) -> None:
    told = Told(tmp_path)
    lost = told.stick()
    for _ in range(16):
        told.log.write("lost")
    assert told.calls == []
    told.read()
    told.log.write("heard")
    told.log.write("heard too")
    assert told.calls == [(told.path, lost + 16)]
    assert told.log.lost == lost + 16
    told.read()
    first = told.log.lost
    while told.log.lost == first:
        told.log.write("x" * 4000)
    told.read()
    told.log.write("heard")
    assert told.calls[1:] == [(told.path, 1)]


def test_a_report_that_is_lost_is_told_later(tmp_path: Path) -> None:
    told = Told(tmp_path)
    lost = told.stick()
    told.read()

    def full(path: str, count: int) -> None:
        told.calls.append((path, count))
        told.log.lost += 1  # as its own write does, where there is no room again
        told.log._untold += 1

    told.log.told = full
    told.log.write("heard")
    told.log.told = told.told
    told.log.write("heard")
    assert [count for _, count in told.calls] == [lost, lost + 1]


def test_the_error_log_tells_its_own_losses(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(str(path))
    log = WorkerLog(file, INFO)
    full = os.open("/dev/full", os.O_WRONLY)
    kept = os.dup(file.fd)
    file.adopt(full)
    for _ in range(17):
        log.line(INFO, "lost")
    assert file.lost == 17
    file.adopt(kept)
    log.line(INFO, "heard")
    found = [line.split(" ", 3)[3] for line in path.read_text().splitlines()]
    assert found == ["info heard", f"error log.lost 17 lines of {path}"]


def test_the_error_log_tells_those_of_others(tmp_path: Path, capfd) -> None:
    """An access log is read by programs: it holds its lines and nothing else."""
    log = WorkerLog(LogFile("-"), ERROR)
    file = LogFile(str(tmp_path / "access"), log.lost_lines)
    kept = os.dup(file.fd)
    file.adopt(os.open("/dev/full", os.O_WRONLY))
    file.write("lost")
    file.adopt(kept)
    file.write("heard")
    assert (tmp_path / "access").read_text() == "heard\n"
    assert f"error log.lost 1 lines of {tmp_path}/access\n" in capfd.readouterr().err
    log.lost_lines("-", 2)
    assert "log.lost 2 lines of standard error" in capfd.readouterr().err


def test_a_line_that_a_full_disk_has_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    """write() puts out what there is room for: here a file may have 20 bytes."""
    path = tmp_path / "log"
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            log = LogFile(str(path))
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
            log.write("0123456789")
            log.write("cut in the middle")
            log.write("lost")
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            log.write("whole")
            os._exit(0 if log.lost == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_text() == "0123456789\ncut in th\nwhole\n"


def test_a_file_can_be_opened_by_another_who_may(tmp_path: Path) -> None:
    """A worker that has become another user gets the new file from the supervisor."""
    log = LogFile(str(tmp_path / "log"))
    number = log.fd
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.adopt(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    log.write("here")
    assert (tmp_path / "log").read_text() == "here\n"
    assert log.fd == number
    assert not os.get_inheritable(number)
    fds = [fd for fd in os.listdir("/proc/self/fd") if _target(fd).startswith(str(tmp_path))]
    assert fds == [str(number)]


def test_USR1_follows_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = LogFile(str(path))
    log.write("one")
    path.rename(tmp_path / "log.1")
    log.write("two")
    log.reopen()
    log.write("three")
    assert (tmp_path / "log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_USR1_without_a_place_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    log = LogFile(str(folder / "log"))
    kept = folder.rename(tmp_path / "moved")
    log.reopen()
    log.write("still here")
    assert (kept / "log").read_text() == "still here\n"
    assert log.lost == 1


def test_USR1_leaves_no_descriptor(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "log"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        log.reopen()
    assert len(os.listdir("/proc/self/fd")) == before


def test_standard_error_is_not_reopened(capfd) -> None:
    log = LogFile("-")
    log.reopen()
    log.write("said")
    assert capfd.readouterr().err == "said\n"


# -- T19: one event, one line


EVIL = [
    ("LF", "a\nb", "a\\x0ab"),
    ("CR", "a\rb", "a\\x0db"),
    ("NUL", "a\0b", "a\\x00b"),
    ("escape", "\x1b[2J", "\\x1b[2J"),
    ("C1", "a\x9bb\x85c", "a\\x9bb\\x85c"),
    ("DEL", "a\x7fb", "a\\x7fb"),
    ("line separator", "a\u2028b\u2029c", "a\\u2028b\\u2029c"),
    ("turned around", "a\u202egol\u2066x", "a\\u202egol\\u2066x"),
    ("other scripts", "\u05d0\u200d\u4e2d", "\u05d0\u200d\u4e2d"),
    ("latin-1", "caf\xe9", "caf\xe9"),
    ("plain", "a b", "a b"),
]


@pytest.mark.parametrize(("name", "text", "wanted"), EVIL, ids=[row[0] for row in EVIL])
def test_T19_control_characters_are_shown(name: str, text: str, wanted: str) -> None:
    assert escape(text) == wanted


def test_T19_every_control_character_is(tmp_path: Path) -> None:
    text = "".join(map(chr, (*range(32), *range(127, 160))))
    assert escape(text).isprintable()
    assert len(escape(text)) == 4 * len(text)


def test_T19_a_quoted_field_ends_where_it_ends() -> None:
    assert quote('a" 200 "b\\') == 'a\\" 200 \\"b\\\\'
    assert quote("a\nb") == "a\\x0ab"


@pytest.fixture
def worker_log(tmp_path: Path) -> WorkerLog:
    return WorkerLog(LogFile(str(tmp_path / "log")), INFO)


def lines(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_T19_nothing_forges_a_line(worker_log: WorkerLog, tmp_path: Path) -> None:
    evil = "x\n2026-01-01 00:00:00.000 [1] error forged"
    worker_log.line(INFO, evil)
    worker_log.note(PeerError("a.b", evil), evil)
    worker_log.refused_peer((evil, 1), "bind")
    worker_log.expired(evil, "bind")
    try:
        raise ValueError(evil)
    except ValueError as error:
        worker_log.failed("0bad", evil, error)
        worker_log.fault(evil, error)
    worker_log.application(evil)
    assert not [line for line in lines(tmp_path) if line.startswith("2026-01-01")]


def test_each_line_has_time_process_level_and_code(worker_log: WorkerLog, tmp_path: Path) -> None:
    worker_log.note(AppError("header.forbidden", "Connection"), "GET /x")
    (line,) = lines(tmp_path)
    assert line[24:].startswith(f"[{os.getpid()}] warning header.forbidden: Connection (GET /x)")


def test_a_traceback_stands_under_its_incident(worker_log: WorkerLog, tmp_path: Path) -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        worker_log.failed("0badcafe", "GET /x", error)
    found = lines(tmp_path)
    assert all("0badcafe" in line for line in found)
    assert "ValueError: why" in found[0]
    assert any("test_log_file.py" in line for line in found)


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_is_the_least_severe(tmp_path: Path, level: str) -> None:
    log = WorkerLog(LogFile(str(tmp_path / "log")), LEVELS[level])
    for number in (DEBUG, INFO, WARNING, ERROR):
        log.line(number, "x")
    written = [line.split()[3] for line in lines(tmp_path)]
    assert written == list(LEVELS)[list(LEVELS).index(level) :]


def test_the_level_can_change_while_it_runs(tmp_path: Path) -> None:
    log = WorkerLog(LogFile(str(tmp_path / "log")), LEVELS["error"])
    log.line(INFO, "unheard")
    log.set_level("debug")
    log.line(DEBUG, "heard")
    log.set_level("error")
    log.line(INFO, "unheard")
    found = [line.split(" ", 3)[3] for line in lines(tmp_path)]
    assert found == ["info log.level is debug now", "debug heard"]
    with pytest.raises(ConfigError) as raised:
        log.set_level("loud")
    assert raised.value.code == "log.level"
    assert "debug, info" in raised.value.detail
    assert log.level == ERROR


def test_an_accept_that_fails_names_the_limit_to_raise(
    worker_log: WorkerLog, tmp_path: Path
) -> None:
    worker_log.accept_paused("unix:/x", OSError(errno.EMFILE, "Too many open files"))
    assert "LimitNOFILE" in lines(tmp_path)[0]
