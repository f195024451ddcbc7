"""A supervisor and its workers: they serve, are told to do things, and all end together."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from gatebridge.errors import GatebridgeError
from gatebridge.serve.supervisor import SIGNALS
from tests.serve.supervised import alive, answer, cpu_s, supervised
from tests.serve.whole import Load, OnNew, whole_daemon

CLI_MD = {  # the signal table of the command line's documentation
    "TERM", "QUIT", "INT", "HUP", "USR1", "USR2", "TTIN", "TTOU", "WINCH",
}  # fmt: skip


def test_the_signal_table_has_what_the_documentation_promises() -> None:
    names = {number.name.removeprefix("SIG") for number in SIGNALS}
    assert names == {*CLI_MD, "CHLD"}


def test_workers_serve_and_all_is_gone_at_the_end(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with supervised(tmp_path, {"main": {"workers": "2"}}, pid=str(pid_file)) as live:
        workers = live.settled(2)
        assert int(live.ask("pid")) in workers
        assert int(pid_file.read_text()) == live.pid
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        assert not any(map(alive, workers))
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == ["app.log", "app.py", "daemon.py", "log", "pools.json"]


STOPPED = {signal.SIGTERM: 0, signal.SIGQUIT: 0, signal.SIGINT: 130}


@pytest.mark.parametrize("number", STOPPED)
def test_SIGTERM_idle_exit(tmp_path: Path, number: int) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.signal(number)
        assert live.wait() == STOPPED[number]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_SIGTERM_in_a_long_request_finishes_it_and_the_queue(tmp_path: Path, number: int) -> None:
    with supervised(tmp_path) as live:
        fifo = live.fifo("f")
        held = live.send("hold f")
        fifo.entered()
        queued = [live.send(f"queued {i}") for i in range(4)]
        live.signal(number)
        live.until_log("stopping")
        live.until(lambda: not (tmp_path / "main.sock").exists())
        fifo.release()
        assert answer(held) == "held f"
        assert [answer(sock) for sock in queued] == [f"queued {i}" for i in range(4)]
        for sock in (held, *queued):
            sock.close()
        assert live.wait() == 0


@pytest.mark.parametrize("number", STOPPED)
def test_SIGTERM_in_a_long_request_a_second_one_is_quick(tmp_path: Path, number: int) -> None:
    with supervised(tmp_path, graceful_timeout=60.0) as live:
        fifo = live.fifo("f")
        with live.send("hold f"):
            fifo.entered()
            live.signal(signal.SIGTERM)
            live.until_log("stopping")
            live.signal(number)
            assert live.wait() == STOPPED[number]


def test_SIGTERM_answers_everybody_who_could_connect(tmp_path: Path) -> None:
    """Nobody comes into the queue after the worker that took what was queued."""
    with whole_daemon(tmp_path) as live:
        with Load(*[lambda: OnNew(live.path)] * 8) as busy:
            busy.more(200)
            live.signal(signal.SIGTERM)
            assert live.wait() == 0
        kinds = {text.partition("(")[0] for text in busy.failed}
        assert kinds <= {"ConnectionRefusedError", "FileNotFoundError"}, kinds


def test_SIGTERM_in_a_long_request_that_outlives_the_limit(tmp_path: Path) -> None:
    with supervised(tmp_path, graceful_timeout=0.2) as live:
        fifo = live.fifo("f")
        with live.send("hold f"):
            fifo.entered()
            live.signal(signal.SIGTERM)
            assert live.wait() == 0
        assert "did not end in" in live.log()


def test_a_reload_asked_for_during_the_stop_is_ignored(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        fifo = live.fifo("f")
        with live.send("hold f") as sock:
            fifo.entered()
            live.signal(signal.SIGTERM)
            live.until_log("stopping")
            live.signal(signal.SIGHUP)
            with pytest.raises(GatebridgeError, match="stopping"):
                raise_for(live.ctl("reload"))
            fifo.release()
            assert answer(sock) == "held f"
        assert live.wait() == 0
        assert "reload:" not in live.log()


def raise_for(told: dict) -> dict:
    if not told["ok"]:
        raise GatebridgeError(told["code"], told["error"])
    return told


def test_TTIN_and_TTOU_are_one_worker_more_and_one_fewer(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        first = live.settled(1)
        live.signal(signal.SIGTTIN)
        live.signal(signal.SIGTTIN)
        live.until(lambda: len(live.workers()) >= 2)
        live.ctl("scale", workers=3)
        assert set(first) < set(live.settled(3))
        live.signal(signal.SIGTTOU)
        live.settled(2)
        live.ctl("scale", workers=1)
        live.settled(1)
        live.signal(signal.SIGTTOU)
        live.until_log("pool main: 1 workers", 2)  # the last one stays
        assert live.ask("pid")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"workers": 0}, "scale.number"),
        ({"workers": True}, "scale.number"),
        ({"workers": "2"}, "scale.number"),
        ({}, "scale.number"),
        ({"workers": 2, "pool": "other"}, "pool.which"),
    ],
)
def test_scale_takes_numbers_from_one(tmp_path: Path, given: dict, code: str) -> None:
    with supervised(tmp_path) as live:
        told = live.ctl("scale", **given)
        assert (told["ok"], told["code"]) == (False, code)


def test_WINCH_drains_the_workers_and_keeps_the_supervisor(tmp_path: Path) -> None:
    """No terminal controls it: the test's own might, so it gets a session of its own."""
    with supervised(tmp_path, prefix=("setsid", "-w")) as live:
        worker = int(live.ask("pid"))
        live.signal(signal.SIGWINCH)
        live.settled(0)
        assert not alive(worker)
        with live.send("pid") as sock:  # the kernel's queue holds it
            live.ctl("scale", workers=1)
            assert int(answer(sock)) != worker


def test_drain_by_ctl_and_a_reload_brings_them_back(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        assert live.ctl("drain")["ok"]
        live.settled(0)
        assert live.pool()["reason"] == "drained"
        assert live.ctl("reload")["ok"]
        live.settled(2)


def test_USR1_reopens_the_logs_everywhere(tmp_path: Path) -> None:
    log = tmp_path / "errors"
    with supervised(tmp_path, wait=False, error_logfile=str(log)) as live:
        live.until(lambda: "listening on" in log.read_text())
        log.rename(tmp_path / "errors.1")
        (tmp_path / "app.log").rename(tmp_path / "app.log.1")
        live.signal(signal.SIGUSR1)
        live.until(log.exists)
        live.until(lambda: (tmp_path / "told").read_text().endswith('{"do": "reopen"}\n'))
        live.until(lambda: (tmp_path / "app.log").read_text() == "reopened\n")
        live.ctl("reopen-logs")
        live.until(lambda: (tmp_path / "told").read_text().count("reopen") == 2)


def test_log_level_at_run_time(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        assert live.ctl("log-level", level="noise")["code"] == "level.unknown"
        assert live.ctl("log-level", level="debug")["ok"]
        live.until(lambda: '"level": "debug"' in (tmp_path / "told").read_text())
        live.ctl("reload")
        live.until_log("worker.ready")


def test_stop_by_ctl(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        assert live.ctl("stop")["ok"]
        assert live.wait() == 0


def test_ping_is_answered_while_every_worker_is_stuck(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        fifo = live.fifo("f")
        with live.send("hold f"):
            fifo.entered()
            told = live.ctl("ping")
            assert (told["ok"], told["ready"], told["workers"]) == (True, 1, 1)
            running = live.pool()["workers_list"][0]["running"]
            assert [one["line"] for one in running] == ["hold f"]


def test_stacks_of_all_threads(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        fifo = live.fifo("f")
        with live.send("hold f"):
            fifo.entered()
            told = live.ctl("stacks")
            assert len(told["workers"]) == 2
            calls = [c for w in told["workers"] for t in w["threads"] for c in t["calls"]]
            assert any("in hold" in call for call in calls)


def test_a_slow_request_is_written_with_its_line_while_it_runs(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"slowlog_timeout": 0.2}}) as live:
        fifo = live.fifo("f")
        with live.send("hold f"):
            fifo.entered()
            live.until_log("in hold: fifo.read()")
            assert "hold f has run for" in live.log()
        fifo.release()


def test_two_pools_are_two_applications_with_environments_of_their_own(tmp_path: Path) -> None:
    pools = {
        "blue": {"workers": "2", "env": ["COLOUR=blue"]},
        "red": {"env": ["COLOUR=red"]},
    }
    with supervised(tmp_path, pools) as live:
        live.settled(2, "blue")
        live.settled(1, "red")
        assert live.ask("env COLOUR", "blue") == "blue"
        assert live.ask("env COLOUR", "red") == "red"
        live.ctl("scale", workers=3, pool="red")
        live.settled(3, "red")
        live.settled(2, "blue")


def test_what_workers_print_is_labelled(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"capture_output": True}}) as live:
        pid = live.ask("pid")
        live.ask("print a line")
        live.until_log(f"app.prints main/0[{pid}] a line")


def test_a_worker_has_its_own_descriptors_and_no_others(tmp_path: Path) -> None:
    pools = {"main": {"workers": "3"}, "other": {"capture_output": True}}
    with supervised(tmp_path, pools, pid=str(tmp_path / "pid")) as live:
        live.settled(3)
        live.ctl("reload")
        live.settled(3)
        told = live.ask("fds").split()
        # 0 to 2, listener, channel, dump pipe, log, the connection and the listing itself
        assert len(told) == 9, told


def test_no_program_that_is_started_gets_a_descriptor(tmp_path: Path) -> None:
    """All are close-on-exec, in the supervisor and in a worker."""
    pools = {"main": {"capture_output": True, "preload": True, "slowlog_timeout": 9.0}}
    with supervised(tmp_path, pools, pid=str(tmp_path / "pid"), slowlog="slow") as live:
        live.settled(1)
        live.ctl("reload")
        live.settled(1)
        for pid in (live.pid, *live.children()):
            for info in Path(f"/proc/{pid}/fdinfo").iterdir():
                flags = int(re.findall(r"flags:\s+(\d+)", info.read_text())[0], 8)
                assert int(info.name) <= 2 or flags & os.O_CLOEXEC, (pid, info.name)


def test_reloads_and_deaths_leave_no_descriptor_behind(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2", "capture_output": True}}) as live:
        live.settled(2)
        fds = f"/proc/{live.pid}/fd"
        live.ctl("reload")
        live.settled(2)
        before = len(os.listdir(fds))
        for _ in range(3):
            live.ctl("reload")
            (first, _) = live.settled(2)
            os.kill(first, signal.SIGKILL)
            live.until(lambda first=first: first not in live.workers() and live.settled(2))
        live.until(lambda: len(os.listdir(fds)) <= before)


def test_grandchildren_whose_parent_has_gone_are_reaped(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        fifo = live.fifo("f")
        live.ask("child f")
        fifo.entered()
        live.until(lambda: len(live.children()) == 2)  # the worker, and what it left behind
        fifo.release()
        live.until(lambda: len(live.children()) == 1)


def test_supervisor_is_small_and_sleeps(tmp_path: Path) -> None:
    """The figures of the issue: at most 25 MB, and less than 0.1 % of a processor when idle."""
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        live.ctl("reload")
        live.settled(2)
        status = Path(f"/proc/{live.pid}/status").read_text()
        assert int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) <= 25_000
        switches = int(re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status)[0])
        before = cpu_s(live.pid)
        live.until(lambda: idle_for(live.pid, switches))
        assert cpu_s(live.pid) - before <= 0.02


def idle_for(pid: int, switches: int) -> bool:
    """Its timer has woken it a few times."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"voluntary_ctxt_switches:\s+(\d+)", status)[0]) >= switches + 4


def test_systemd_hears_how_it_is(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        with supervised(tmp_path, env=env) as live:
            assert live.ask("env NOTIFY_SOCKET") == ""
            assert heard(manager, "READY=1")
            assert heard(manager, "WATCHDOG=1")
            assert heard(manager, "WATCHDOG=1")
            live.ctl("reload")
            assert heard(manager, "RELOADING=1")
            assert heard(manager, "READY=1")
            live.signal(signal.SIGTERM)
            assert heard(manager, "STOPPING=1")


def heard(manager: socket.socket, text: str) -> bool:
    while True:
        if text in manager.recv(4096).decode().splitlines():
            return True


def test_process_1_reaps_everything_and_obeys_signals(tmp_path: Path) -> None:
    """As the first process of a namespace of its own, which ignores what has no handler."""
    prefix = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    with supervised(tmp_path, prefix=prefix, wait=False) as live:
        live.until(lambda: "listening on" in live.log() or live.process.poll() is not None)
        if "unshare" in live.log():
            pytest.skip(live.log())
        assert live.ctl("ping")["pid"] == 1
        fifo = live.fifo("f")
        live.ask("child f")
        fifo.entered()
        live.until(lambda: len(live.children()) == 2)
        fifo.release()
        live.until(lambda: len(live.children()) == 1)
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
