"""Faults that the kernel makes: descriptors, memory, processes and disks run out."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fronts.servers import program
from tests.serve.whole import Load, OnKept, OnNew, Whole, answer, children, whole, whole_daemon

ACCEPT = "accept,accept4"
FORK = "fork,vfork,clone,clone3"


@pytest.fixture(scope="session")
def strace() -> str:
    path = program("strace", package="strace")
    done = subprocess.run([path, "-o", os.devnull, "true"], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"strace may not trace here: {done.stderr!r}")
    return path


def injecting(strace: str, calls: str, fault: str) -> tuple[str, ...]:
    return (
        *(strace, "-f", "-qq", "-o", os.devnull),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"),
    )


def clients(live: Whole, count: int = 3) -> Load:
    some = [lambda: OnKept(live.path)] * count + [lambda: OnNew(live.path)] * count
    return Load(*some)


@pytest.mark.parametrize("error", ["ECONNABORTED", "EINTR", "ENOMEM", "EMFILE", "ENFILE"])
def test_accept_fails(tmp_path: Path, strace: str, error: str) -> None:
    """Clauses, section 3: at every 3rd call; 0 exits, 0 failed requests."""
    prefix = injecting(strace, ACCEPT, f"error={error}:when=3+3")
    with whole_daemon(tmp_path, prefix=prefix) as live:
        pids = live.workers()
        with clients(live) as load:
            load.more(60)
        assert load.failed == []
        assert live.workers() == pids
        assert live.process.poll() is None


def test_accept_fails_for_a_while(tmp_path: Path) -> None:
    """Clauses, section 3, accept EMFILE: < 1 log line/s, recovers when descriptors are free."""
    with whole_daemon(tmp_path, "--rlimit", "nofile=64", workers=1) as live:
        (pid,) = live.workers()
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(contextlib.closing(live.connect())) for _ in range(100)]
            live.until_log("accept")
            assert live.workers() == [pid]
            for sock in idle:
                sock.close()
        assert live.get("/version") == "one"
        assert live.log().count("accept") < 20
        assert live.workers() == [pid]


def test_fork_fails(tmp_path: Path, strace: str) -> None:
    """Clauses, section 3: keep the remaining workers; 0 exits; it is tried again.

    Thread starts are clone3 as well, so the calls are counted: what fails is in the supervisor.
    """
    with whole_daemon(tmp_path, workers=2) as live:
        victim, other = live.workers()
        with attached(strace, live.pid, FORK, "error=EAGAIN") as tracer:
            os.kill(victim, signal.SIGKILL)
            live.until_log("fork.failed")
            with clients(live) as load:
                load.more(100)
            assert load.failed == []
            assert load.answers.keys() == {str(other)}
            assert live.ctl("ping")["ready"] == 1
            live.until_log("fork.failed", 2)  # tried again
            tracer.terminate()
        pids = live.settled(2)
        assert other in pids
        assert live.process.poll() is None


def test_fork_fails_during_a_reload(tmp_path: Path, strace: str) -> None:
    """The old generation serves until the new one can be forked."""
    with whole_daemon(tmp_path, workers=2) as live:
        before = live.workers()
        with attached(strace, live.pid, FORK, "error=ENOMEM") as tracer, clients(live) as load:
            live.version("second")
            live.signal(signal.SIGHUP)
            live.until_log("fork.failed")
            load.more(100)
            assert live.workers() == before
            tracer.terminate()
            live.until(lambda: not set(live.settled(2)) & set(before))
            load.more(100)
        assert load.failed == []
        assert live.get("/version") == "second"


def test_fork_fails_in_a_stem(tmp_path: Path, strace: str) -> None:
    """With preload it is the stem that forks; it tries again as well."""
    with whole_daemon(tmp_path, "--preload", workers=2) as live:
        victim, other = live.workers()
        (stem,) = set(children(live.pid)) - {victim, other}
        with attached(strace, stem, FORK, "error=EAGAIN") as tracer:
            os.kill(victim, signal.SIGKILL)
            live.until_log("not forked")
            with clients(live) as load:
                load.more(100)
            assert load.failed == []
            assert load.answers.keys() == {str(other)}
            tracer.terminate()
        assert other in live.settled(2)


def test_thread_cannot_be_started(tmp_path: Path, strace: str) -> None:
    """Clauses, section 3, fork fails: a worker goes on with the threads it has, and tries again."""
    with whole_daemon(tmp_path, workers=1, threads=4) as live:
        (pid,) = live.workers()
        gates = [live.gate(f"n{number}") for number in range(3)]
        with contextlib.ExitStack() as stack:
            with attached(strace, pid, FORK, "error=EAGAIN", "-f") as tracer:
                held = [stack.enter_context(contextlib.closing(live.send("/hold/n0")))]
                gates[0].entered()
                waits = stack.enter_context(contextlib.closing(live.send("/version")))
                live.until_log("can't start new thread")
                tracer.terminate()
            assert whole(answer(waits)) == "one"
            for number in (1, 2):
                held.append(stack.enter_context(contextlib.closing(live.send(f"/hold/n{number}"))))
                gates[number].entered()
            assert live.get("/version") == "one"
            for gate in gates:
                gate.release()
            assert [answer(sock).status for sock in held] == [200] * 3
        assert live.workers() == [pid]


@contextlib.contextmanager
def attached(
    strace: str, pid: int, calls: str, fault: str, *more: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Trace a process that runs; its children and threads with "-f" only."""
    argv = [strace, *more, "-o", os.devnull, "-p", str(pid)]
    argv += ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
    tracer = subprocess.Popen(argv, stderr=subprocess.PIPE)
    try:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        assert b"attached" in line, line
        yield tracer
    finally:
        tracer.terminate()
        tracer.communicate()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(argv, capture_output=True).returncode != 0:
        pytest.skip("may not mount a small file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def chunked(live: Whole, size: int) -> bytes:
    """The answer to a body whose length nobody told, so it is spooled first."""
    with contextlib.closing(live.connect("http")) as sock:
        head = b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        sock.sendall(head + b"Connection: close\r\n\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(size >> 16):
                sock.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sock.sendall(b"0\r\n\r\n")
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(65_536):
                got += data
        return got


def test_disk_full_while_spooling(tmp_path: Path, small: Path) -> None:
    """Clauses, section 3: 507/413, spool file gone, next small request fine (1 MiB tmpfs)."""
    options = ("--spool-dir", str(small), "--spool-memory", "64KiB", "--spool-floor", "0")
    with whole_daemon(tmp_path, *options) as live:
        pids = live.workers()
        for _ in range(3):
            assert chunked(live, 4 << 20).startswith(b"HTTP/1.1 507 ")
        live.until(lambda: shutil.disk_usage(small).used < 100_000, "the spool file is there")
        assert os.listdir(small) == []
        assert chunked(live, 512 << 10).endswith(b"524288")
        assert live.get("/version") == "one"
        assert live.workers() == pids


def test_spool_beyond_the_file_size_limit(tmp_path: Path) -> None:
    """RLIMIT_FSIZE sends SIGXFSZ to who does not ignore it."""
    options = ("--spool-dir", str(tmp_path), "--spool-memory", "64KiB", "--rlimit", "fsize=1MiB")
    with whole_daemon(tmp_path, *options) as live:
        pids = live.workers()
        got = chunked(live, 4 << 20)
        assert got.startswith((b"HTTP/1.1 507 ", b"HTTP/1.1 413 ")), got[:300]
        assert chunked(live, 512 << 10).endswith(b"524288")
        assert live.get("/version") == "one"
        assert live.workers() == pids


def test_log_disk_full(tmp_path: Path, small: Path) -> None:
    """Clauses, section 3: service goes on; counter of lost lines; 0 failed requests."""
    logs = ("--error-logfile", str(small / "error"), "--access-logfile", str(small / "access"))
    with whole_daemon(tmp_path, *logs, faults=True) as live:
        (small / "filler").write_bytes(b"")
        with (small / "filler").open("wb", 0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        pids = live.workers()
        with clients(live) as load:
            load.more(1000)
            live.until(lambda: live.pool()["lost_lines"] > 0)
            assert live.ask("/fail").status == 500
            (small / "filler").unlink()
            load.more(200)
        assert load.failed == []
        assert live.workers() == pids
        live.until(lambda: "lost" in (small / "error").read_text(), "it is not told")


def test_log_pipe_without_a_reader(tmp_path: Path) -> None:
    """Clauses, section 3: stdout closed; the service goes on."""
    read, write = os.pipe()
    with whole_daemon(tmp_path, "--access-logfile", "-", output=write, faults=True) as live:
        os.close(write)
        os.close(read)
        pids = live.workers()
        with clients(live) as load:
            load.more(300)
            assert live.ask("/fail").status == 500
            live.ctl("reload")
            load.more(100)
        assert load.failed == []
        assert not set(live.settled(2)) & set(pids)
        assert live.process.poll() is None


def test_log_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """It is full; nobody waits for it."""
    read, write = os.pipe()
    try:
        with whole_daemon(tmp_path, "--access-logfile", "-", output=write, faults=True) as live:
            with clients(live) as load:
                load.more(3000)
            assert load.failed == []
            live.ctl("reload")
            live.settled(2)
    finally:
        os.close(read)
        os.close(write)


def test_worker_that_runs_out_of_memory(tmp_path: Path) -> None:
    """Clauses, section 3, RLIMIT_AS: its request fails, the others are answered."""
    with whole_daemon(tmp_path, "--rlimit", "as=1GiB", faults=True) as live:
        with clients(live) as load:
            for _ in range(5):
                assert live.ask(f"/grow/{2 << 30}").status == 500
            load.more(100)
        assert load.failed == []
        live.settled(2)


def test_worker_that_dies_of_a_segmentation_fault(tmp_path: Path) -> None:
    """Clauses, section 3: as with kill -9, and after 5 in 60 s a line of alarm."""
    with whole_daemon(tmp_path, faults=True) as live:
        for _ in range(5):
            victim = live.settled(2)[0]
            os.kill(victim, signal.SIGSEGV)
            live.until(lambda victim=victim: victim not in live.workers())
            assert live.get("/version") == "one"
        live.until_log("pool.alarm")
        live.until_log("SIGSEGV", 5)


def test_killed_worker_is_named_with_its_memory(tmp_path: Path) -> None:
    """Clauses, section 3, OOM kill: log line naming signal 9 and RSS."""
    with whole_daemon(tmp_path) as live:
        victim = live.workers()[0]
        os.kill(victim, signal.SIGKILL)
        live.gone(victim)
        live.until_log(f"pid {victim}")
        (line,) = [one for one in live.log().splitlines() if f"pid {victim}" in one]
        assert "9" in line
        assert "MiB" in line
        assert "out of memory" in line
        live.settled(2)


def test_supervisor_killed(tmp_path: Path) -> None:
    """Clauses, section 3, master killed -9: workers exit, the socket is free to rebind."""
    live = Whole(tmp_path)
    try:
        workers = live.workers()
        os.kill(live.pid, signal.SIGKILL)
        for pid in workers:
            live.gone(pid)
        live.process.wait()
        with whole_daemon(tmp_path) as again:  # on the same sockets, with the stale files there
            assert again.get("/version") == "one"
    finally:
        live.process.kill()
        live.process.wait()


def test_idle_daemon_starts_nothing(tmp_path: Path) -> None:
    """No process but the workers."""
    with whole_daemon(tmp_path) as live:
        assert sorted(children(live.pid)) == live.workers()
        assert all(children(pid) == [] for pid in live.workers())


def test_request_during_every_fault_is_whole(tmp_path: Path, strace: str) -> None:
    """recv and send cut short, again and again: the bytes are right."""
    calls = "recvfrom,recvmsg,sendto,sendmsg"
    prefix = injecting(strace, calls, "error=EINTR:when=5+5")
    with whole_daemon(tmp_path, prefix=prefix, workers=1) as live:
        for size in (1, 70_000, 900_000):
            with contextlib.closing(live.send("/body", "", b"x" * size)) as sock:
                assert whole(answer(sock)) == str(size)
