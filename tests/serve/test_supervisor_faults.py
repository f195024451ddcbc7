"""Faults of workers and of the system, one row each of the fault table."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.supervised import APP, alive, answer, cpu_s, supervised, wait_until

BROKEN = "import nothing_of_that_name\n"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_worker_killed_9_only_its_own_requests_fail(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        fifo = live.fifo("f")
        with live.send("hold f") as sock:
            fifo.entered()
            (busy,) = [w["pid"] for w in live.pool()["workers_list"] if w["running"]]
            kill(busy)
            assert answer_or_cut(sock) == ""
        assert [live.ask(f"n{i}") for i in range(50)] == [f"n{i}" for i in range(50)]
        assert busy not in live.settled(2)


def answer_or_cut(sock) -> str:
    try:
        return answer(sock)
    except ConnectionResetError:
        return ""


def test_worker_killed_9_the_replacement_accepts_at_once(tmp_path: Path) -> None:
    """In under a second: the log tells when."""
    with supervised(tmp_path, log_level="debug") as live:
        (first,) = live.settled(1)
        kill(first)
        assert int(live.ask("pid")) != first
        live.until_log("worker.ready", 2)
        died = stamp(re.findall(rf"(\S+) \[\d+\] warning worker.ended .* pid {first}:", live.log()))
        ready = stamp(re.findall(r"(\S+) \[\d+\] debug worker.ready", live.log())[1:])
        assert ready - died < 1.0


def stamp(found: list[str]) -> float:
    hours, minutes, seconds = found[0].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def test_worker_killed_9_the_log_names_the_signal_and_what_it_held(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        live.ask("count me")
        (worker,) = live.settled(1)
        kill(worker)
        live.until_log(f"pid {worker}: signal 9, SIGKILL, with ")
        held = int(re.findall(r"SIGKILL, with (\d+) MiB; somebody's kill -9, or", live.log())[0])
        assert 5 < held < 100


def test_worker_killed_9_what_it_had_counted_stays(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        for _ in range(3):
            live.ask("x")
        (worker,) = live.settled(1)
        kill(worker)
        live.until(lambda: live.workers() not in ([], [worker]))
        live.ask("x")
        live.until(lambda: live.pool()["requests"] == 4)
        assert live.pool()["forks"] == 2


def test_worker_segfault_five_in_a_minute_are_an_alarm(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "8"}}) as live:
        live.settled(8)
        live.until(lambda: all(w["age_s"] > 1.1 for w in live.pool()["workers_list"]))  # proven
        for _ in range(5):
            with live.send(f"kill {int(signal.SIGSEGV)}") as sock:
                assert answer_or_cut(sock) == ""
        live.until_log("pool.alarm main: 5 workers died within a minute, the last of signal 11")
        assert live.log().count("signal 11, SIGSEGV, with") == 5
        live.settled(8)


@pytest.mark.parametrize("preload", [False, True])
def test_crash_loop_at_import_at_the_first_start_is_exit_4(tmp_path: Path, preload: bool) -> None:
    pools = {"main": {"workers": "4", "preload": preload}}
    with supervised(tmp_path, pools, app=BROKEN, wait=False) as live:
        assert live.wait() == 4
        assert "start.failed: ModuleNotFoundError" in live.log()
        assert 'app.py", line 1' in live.log()
        assert not (tmp_path / "main.sock").exists()


@pytest.mark.parametrize("preload", [False, True])
def test_no_worker_of_the_first_generation_boots_is_exit_3(tmp_path: Path, preload: bool) -> None:
    app = "import os\nos._exit(9)\n"
    pools = {"main": {"workers": "2", "preload": preload}}
    with supervised(tmp_path, pools, app=app, wait=False) as live:
        assert live.wait() == 3
        assert "start.failed: a worker ended with exit status 9" in live.log()


def test_one_pool_of_two_that_cannot_load_ends_the_start(tmp_path: Path) -> None:
    app = "import os\nif os.environ.get('BAD'): import nothing_of_that_name\n" + APP
    pools = {"good": {}, "bad": {"env": ["BAD=1"]}}
    with supervised(tmp_path, pools, app=app, wait=False) as live:
        assert live.wait() == 4


def test_crash_loop_at_import_the_others_keep_serving_and_status_says_why(tmp_path: Path) -> None:
    """The code breaks after the start: whoever has loaded it goes on."""
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        first, _ = live.settled(2)
        live.write(BROKEN)
        kill(first)
        live.until(lambda: live.pool()["crash_loop"])
        assert "nothing_of_that_name" in live.pool()["reason"]
        forks = live.pool()["forks"]
        assert live.ask("version") == "one"
        assert forks <= 12
        live.version("mended")
        live.settled(2)
        live.until(lambda: not live.pool()["crash_loop"])
        assert live.pool()["reason"] == ""


def test_crash_loop_right_after_ready_backs_off_too(tmp_path: Path) -> None:
    app = APP + "\nthreading.Timer(0.05, os._exit, [7]).start()\n"
    with supervised(tmp_path, {"main": {"workers": "2"}}, app=app) as live:
        live.until(lambda: live.pool()["crash_loop"])
        live.until_log("exit status 7", 5)
        assert live.pool()["forks"] <= 12


FAILING_FORK = """
import os, atexit
plain, left = os.fork, [0]
def fork():
    if os.path.exists("no-fork"):
        left[0] += 1
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return plain()
os.fork = fork
"""


def test_fork_fails_EAGAIN_the_rest_stay_and_it_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAILING_FORK)
    env = {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}"}
    with supervised(tmp_path, {"main": {"workers": "2"}}, env=env) as live:
        first, _ = live.settled(2)
        (tmp_path / "no-fork").touch()
        kill(first)
        live.until_log("fork.failed pool main", 3)
        assert live.ask("pid") != str(first)
        live.signal(signal.SIGHUP)
        live.until_log("fork.failed pool main", 5)
        (tmp_path / "no-fork").unlink()
        live.until_log("generation 2 is ready")
        live.settled(2)


FORKS = "clone,clone3,fork,vfork"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_fork_fails_in_the_kernel(tmp_path: Path, error: str) -> None:
    """strace answers the fork of one replacement in the kernel's place."""
    inject = f"inject={FORKS}:error={error}:when=3..6"
    trace = ("strace", "-o", str(tmp_path / "trace"), "-e", f"trace={FORKS}", "-e", inject)
    with supervised(tmp_path, {"main": {"workers": "2"}}, prefix=trace) as live:
        first, other = live.settled(2)
        kill(first)
        live.until_log("fork.failed pool main", 4)
        assert int(live.ask("pid")) == other
        live.until(lambda: len(live.workers()) == 2)
        live.signal(signal.SIGTERM)
        assert live.wait() == 0


def test_no_descriptor_is_left_for_a_worker(tmp_path: Path) -> None:
    """EMFILE in the supervisor is a fork that failed."""
    with supervised(tmp_path) as live:
        (first,) = live.settled(1)
        limits = resource.prlimit(live.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(live.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        kill(first)
        live.until_log("fork.failed pool main")
        resource.prlimit(live.pid, resource.RLIMIT_NOFILE, limits)
        assert int(live.ask("pid")) != first


@pytest.mark.parametrize("preload", [False, True])
def test_master_killed_9_workers_exit_and_the_socket_is_free(tmp_path: Path, preload: bool) -> None:
    with supervised(tmp_path, {"main": {"workers": "2", "preload": preload}}) as live:
        workers = live.settled(2)
        children = live.children()
        assert set(workers) <= set(children)
        fifo = live.fifo("f")
        with live.send("hold f"):  # one cannot notice by itself
            fifo.entered()
            live.process.kill()
            assert live.wait() == -9
            live.until(lambda: not any(map(alive, children)))
    with supervised(tmp_path, {"main": {"workers": "2", "preload": preload}}) as live:
        live.settled(2)
        assert live.ask("version") == "one"


def test_socket_file_deleted_is_bound_again(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        (first,) = live.settled(1)
        (tmp_path / "main.sock").unlink()
        live.until(lambda: live.ask("pid"))
        assert live.settled(1) != [first]
        assert "the file of unix:main.sock is gone" in live.log()
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        assert not (tmp_path / "main.sock").exists()


def test_socket_file_deleted_who_had_connected_is_served(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        fifo = live.fifo("f")
        held = live.send("hold f")
        fifo.entered()
        queued = live.send("queued")
        (tmp_path / "main.sock").unlink()
        live.until_log("is gone")
        live.until(lambda: live.ask("fresh"))
        fifo.release()
        assert (answer(held), answer(queued)) == ("held f", "queued")
        held.close()
        queued.close()


def test_socket_file_taken_by_another_daemon_is_left_to_it(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        (tmp_path / "main.sock").unlink()
        other = tmp_path / "other"
        other.mkdir()
        with supervised(other, {"main": {"bind": [f"unix:{tmp_path}/main.sock"]}}) as second:
            live.until_log("a daemon answers on")
            assert live.ask("pid") == second.ask("pid", f"{tmp_path}/main")
            live.signal(signal.SIGTERM)
            assert live.wait() == 0
            assert second.ask("x", f"{tmp_path}/main") == "x"


def test_control_socket_deleted_is_bound_again(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        (tmp_path / "ctl").unlink()
        live.until(lambda: live.ctl("ping")["ok"])


def test_stale_socket_file_at_start_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "main.sock"))
    with supervised(tmp_path) as live:
        assert live.ask("x") == "x"


def test_log_disk_full_the_service_goes_on(tmp_path: Path) -> None:
    with supervised(tmp_path, wait=False, error_logfile="/dev/full") as live:
        live.until(lambda: live.ask("x") == "x")
        (worker,) = live.settled(1)
        kill(worker)
        live.until(lambda: live.ask("x") == "x")
        live.signal(signal.SIGTERM)
        assert live.wait() == 0


def test_log_pipe_closed_the_service_goes_on(tmp_path: Path) -> None:
    """Standard error is a pipe whose reader has gone."""
    with supervised(tmp_path) as live:  # for its files
        pass
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "daemon.py")], cwd=tmp_path, stderr=write,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    os.close(write)
    os.close(read)
    try:
        live.until(lambda: live.ask("x") == "x")
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_clock_jump_kills_no_worker_and_loses_no_timer(tmp_path: Path) -> None:
    """No wall clock is asked but for stamps; test_daemon_clock.py lets it jump."""
    sources = Path(__file__).parents[2] / "gatebridge" / "serve"
    names = "supervisor generations crew pool member turns births stem spawn outside follow house"
    for name in names.split():
        text = (sources / f"{name}.py").read_text()
        uses = re.findall(r"\btime\.\w+\(", text)
        assert set(uses) <= {"time.time("}, name
        assert "time.time(" not in text or name == "generations", name


def test_out_of_memory_is_named_and_the_worker_replaced(tmp_path: Path) -> None:
    """RLIMIT_AS: the worker fails by itself; the supervisor has no such limit."""
    app = APP + '\nplain = answer\ndef answer(line):\n    if line == "eat":\n'
    app += "        try:\n            b'x' * (1 << 33)\n        except MemoryError:\n"
    app += "            os.abort()\n    return plain(line)\n"
    with supervised(tmp_path, {"main": {"rlimit": ["as=2GiB", "core=0"]}}, app=app) as live:
        (first,) = live.settled(1)
        with live.send("eat") as sock:
            assert answer_or_cut(sock) == ""
        live.until_log(f"pid {first}: signal 6, SIGABRT")
        live.until(lambda: live.ask("x") == "x")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with 60 MiB of memory, for whoever is put into it."""
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"gatebridge-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(60 << 20))
            swap = group / "memory.swap.max"
            if swap.exists():
                swap.write_text("0")
            yield group
            return
        except OSError:
            continue
        finally:
            assert wait_until(lambda group=group: removed(group))
    pytest.skip("no control group for memory can be made here")


def removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:  # a process in it has not gone yet
        return False
    return True


def test_OOM_kill_is_named_and_only_the_worker_is_hit(tmp_path: Path, small_group: Path) -> None:
    app = APP + '\nplain = answer\ndef answer(line):\n    if line == "eat":\n'
    app += "        return str(len(bytearray(b'x') * (500 << 20)))\n    return plain(line)\n"
    with supervised(tmp_path, {"main": {"workers": "2"}}, app=app) as live:
        live.settled(2)
        for worker in live.workers():
            (small_group / "cgroup.procs").write_text(str(worker))
        with live.send("eat") as sock:
            assert answer_or_cut(sock) == ""
        live.until_log("signal 9, SIGKILL, with ")
        assert "the kernel was out of memory" in live.log()
        assert live.ask("x") == "x"
        assert live.log().count("worker.ended") == 1
        live.settled(2)


def test_a_crash_loop_costs_next_to_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        (first,) = live.settled(1)
        live.write(BROKEN)
        before = cpu_s(live.pid)
        kill(first)
        live.until_log("nothing_of_that_name'", 6)  # 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s
        assert cpu_s(live.pid) - before < 1.0
