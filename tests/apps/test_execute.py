"""Programs by exec: what a process is started with, and why one is not."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps import execute
from gatebridge.apps.execute import Execute, Program
from gatebridge.apps.running import Call
from gatebridge.apps.start_errors import start_error
from gatebridge.errors import AppError
from tests.apps.hosted import masked, write
from tests.serve.whole import alive, wait_until


@pytest.fixture
def launcher() -> Iterator[Execute]:
    made = Execute()
    yield made
    made.close()


def call(path: str, **more: Any) -> Call:
    given: dict[str, Any] = {
        "path": path,
        "arguments": (),
        "environment": {b"PATH": b"/bin:/usr/bin"},
        "folder": os.path.dirname(path),
        "has_body": False,
        "limits": {},
    }
    return Call(**(given | more))


def output(program: Program) -> str:
    """All it writes; it is closed then."""
    os.set_blocking(program.stdout, True)
    with open(program.stdout, "rb", closefd=False) as file:
        data = file.read()
    assert wait_until(lambda: program.status() is not None)
    program.close()
    return data.decode()


def refused(launcher: Execute, path: str, code: str, **more: Any) -> str:
    fds = os.listdir("/proc/self/fd")
    with pytest.raises(AppError) as caught:
        launcher.start(call(path, **more))
    assert caught.value.code == code
    assert os.listdir("/proc/self/fd") == fds
    return caught.value.detail


def test_C17_descriptors_group_and_signals(tmp_path: Path, launcher: Execute) -> None:
    text = """#!/bin/sh
ls /proc/self/fd | tr '\\n' ' '
exec cat /proc/self/status
"""
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)
    told = output(launcher.start(call(write(tmp_path, text), has_body=True)))
    os.close(held)
    assert told.startswith("0 1 2 3 Name:")  # 3: of ls itself
    assert (masked(told, "SigIgn"), masked(told, "SigBlk")) == (0, 0)


def test_a_session_of_its_own(tmp_path: Path, launcher: Execute) -> None:
    text = "#!python\nimport os\nprint(os.getpid() == os.getpgid(0) == os.getsid(0))\n"
    assert output(launcher.start(call(write(tmp_path, text)))) == "True\n"


def test_limits(tmp_path: Path, launcher: Execute) -> None:
    text = """#!python
import resource, time
wanted = {"AS": 1 << 30, "CPU": 7, "NOFILE": 20, "NPROC": 30, "FSIZE": 1000}
for _ in range(10_000):
    found = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0] for name in wanted}
    if found == wanted:
        break
    time.sleep(0.001)
print(found == wanted, found)
"""
    limits = {"as": 1 << 30, "cpu": 7, "nofile": 20, "nproc": 30, "fsize": 1000}
    told = output(launcher.start(call(write(tmp_path, text), limits=limits)))
    assert told.startswith("True"), told


def test_a_limit_that_the_program_hits(tmp_path: Path, launcher: Execute) -> None:
    text = "#!python\nimport os, sys\nos.read(0, 1)\ndata = bytes(1 << 30)\nprint(len(data))\n"
    program = launcher.start(call(write(tmp_path, text), has_body=True, limits={"as": 512 << 20}))
    program.close_stdin()
    assert output(program) == ""
    assert program.status() == 1


def test_a_limit_of_time(tmp_path: Path, launcher: Execute) -> None:
    program = launcher.start(call(write(tmp_path, "#!python\nwhile True: pass"), limits={"cpu": 1}))
    assert wait_until(lambda: program.status() is not None)
    assert program.status() == -signal.SIGXCPU
    program.close()


def test_no_limit_means_no_program(
    tmp_path: Path, launcher: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def fails(pid: int, *more: object) -> tuple[int, int]:
        started.append(pid)
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(resource, "prlimit", fails)
    monkeypatch.setattr(execute, "_REST_S", 3600.0)
    path = write(tmp_path, "#!/bin/sh\nsleep 600\n")
    with pytest.raises(AppError, match=r"script\.limits"):
        launcher.start(call(path, limits={"cpu": 5}))
    assert wait_until(lambda: not alive(started[0]))


def test_its_end_is_told(tmp_path: Path, launcher: Execute) -> None:
    program = launcher.start(call(write(tmp_path, "#!/bin/sh\nread x; exit 7\n"), has_body=True))
    assert program.status() is None
    program.close_stdin()
    assert wait_until(lambda: program.status() == 7)
    assert os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    program.kill(signal.SIGKILL)  # a zombie still: nobody else is hit
    assert program.status() == 7
    program.close()
    program.kill(signal.SIGKILL)
    program.close_stdin()
    assert program.status() == 7
    with pytest.raises(ChildProcessError):
        os.waitpid(program.pid, os.WNOHANG)


@pytest.mark.parametrize("lacks", ["waitid", "pidfd_open"])
def test_where_the_system_tells_less(
    lacks: str, tmp_path: Path, launcher: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, lacks)
    program = launcher.start(call(write(tmp_path, "#!/bin/sh\necho x; exit 7\n")))
    assert output(program) == "x\n"
    assert program.status() == 7


def test_somebody_else_reaps_every_child(tmp_path: Path, launcher: Execute) -> None:
    program = launcher.start(call(write(tmp_path, "#!/bin/sh\nexit 7\n")))
    os.waitpid(program.pid, 0)
    assert program.status() == 0
    program.kill(signal.SIGTERM)
    program.close()


def test_closed_before_its_end(
    tmp_path: Path, launcher: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it, and in the end it is not there."""
    monkeypatch.setattr(execute, "_REST_S", 0.1)
    program = launcher.start(call(write(tmp_path, "#!/bin/sh\ntrap '' TERM; sleep 600\n")))
    program.kill(signal.SIGTERM)
    program.close()
    assert wait_until(lambda: program.status() is not None)
    assert wait_until(lambda: not alive(program.pid))


def test_by_descriptor(tmp_path: Path, launcher: Execute) -> None:
    """The file that was opened runs, whatever its path has become."""
    path = write(tmp_path, '#!/bin/sh\necho right; exec cat "$0"')
    fd = os.open(path, os.O_RDONLY)
    os.rename(path, f"{path}.old")
    write(tmp_path, "#!/bin/sh\necho wrong\n")
    try:
        program = launcher.start(call(path, fd=fd))
    finally:
        os.close(fd)
    assert output(program).startswith("right\n")


def test_no_such_file(tmp_path: Path, launcher: Execute) -> None:
    assert "there is no" in refused(launcher, str(tmp_path / "none"), "script.missing")


NOT_STARTED = [
    ("#!/no/such/interpreter -x\n", "script.interpreter", "interpreter /no/such/interpreter is"),
    ("#!/bin/sh\r\necho x\r\n", "script.interpreter", "CR LF"),
    ("echo x\n", "script.format", '"#!" line'),
    ("", "script.format", "empty"),
    ("\ufeff#!/bin/sh\n", "script.format", "byte order mark"),
    ("\x7fELF", "script.format", "another machine"),
    ("#!/etc/passwd\n", "script.not_executable", "interpreter /etc/passwd"),
]


@pytest.mark.parametrize(("text", "code", "why"), NOT_STARTED, ids=range(len(NOT_STARTED)))
def test_what_cannot_be_started(
    text: str, code: str, why: str, tmp_path: Path, launcher: Execute
) -> None:
    assert why in refused(launcher, write(tmp_path, text), code)


def test_not_executable(tmp_path: Path, launcher: Execute) -> None:
    path = write(tmp_path, "#!/bin/sh\n")
    os.chmod(path, 0o644)
    assert "chmod +x" in refused(launcher, path, "script.not_executable")


def test_no_folder(tmp_path: Path, launcher: Execute) -> None:
    path = write(tmp_path, "#!/bin/sh\n")
    detail = refused(launcher, path, "script.folder", folder=str(tmp_path / "none"))
    assert "cannot be entered" in detail


def test_more_variables_than_the_system_takes(tmp_path: Path, launcher: Execute) -> None:
    environment = {b"HTTP_X_A": b"x" * 4_000_000}
    path = write(tmp_path, "#!/bin/sh\n")
    refused(launcher, path, "script.too_big", environment=environment)


def test_out_of_descriptors(tmp_path: Path, launcher: Execute) -> None:
    """At each point of a start: nothing leaks, and the next one works."""
    path = write(tmp_path, "#!/bin/sh\necho x\n")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    started: list[bool] = []
    try:
        for spare in range(64):  # fewer are free where others lie between
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, limits[1]))
            program = None
            with contextlib.suppress(AppError):
                program = launcher.start(call(path, has_body=True))
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            started.append(program is not None)
            if program is not None:
                assert output(program) == "x\n"
                break
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    now = os.open("/dev/null", os.O_RDONLY)
    os.close(now)
    assert now == lowest
    assert len(started) > 4
    assert started[-1] is True


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (errno.EAGAIN, "script.resources", "TasksMax"),
        (errno.ENFILE, "script.resources", "file-max"),
        (errno.ENOMEM, "script.resources", "memory"),
        (errno.ETXTBSY, "script.busy", "renaming"),
        (errno.EIO, "script.start", "Input/output error"),
        (errno.EACCES, "script.not_executable", "security module"),
    ],
)
def test_sentences(number: int, code: str, word: str) -> None:
    error = start_error(OSError(number, os.strerror(number)), "/bin/sh", "/bin")
    assert error.code == code
    assert word in error.detail


def test_no_shell_has_a_part_in_it(tmp_path: Path, launcher: Execute) -> None:
    path = write(tmp_path, "#!/bin/sh\nprintf '%s|' \"$@\"\n", "a b;c$(d).cgi")
    words = ("; touch x", "$(touch x)", "`touch x`")
    assert output(launcher.start(call(path, arguments=words))) == "".join(f"{w}|" for w in words)
    assert os.listdir(tmp_path) == ["a b;c$(d).cgi"]


def test_a_fork_bomb_is_bounded(tmp_path: Path, launcher: Execute) -> None:
    """By its group, which is ended whole; the number of processes it may have is the user's."""
    text = """#!/bin/sh
n=0
while [ $n -lt 50 ]; do sleep 600 & n=$((n + 1)); done
echo started
wait
"""
    program = launcher.start(call(write(tmp_path, text)))
    os.set_blocking(program.stdout, True)
    assert os.read(program.stdout, 100) == b"started\n"
    assert in_group(program.pid) == 51
    program.kill(signal.SIGKILL)
    assert wait_until(lambda: program.status() is not None)
    program.close()
    assert wait_until(lambda: in_group(program.pid) == 0)


def in_group(group: int) -> int:
    done = subprocess.run(
        ["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True, timeout=60
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    return sum(int(pgid) == group and not stat.startswith("Z") for pgid, stat in rows)
