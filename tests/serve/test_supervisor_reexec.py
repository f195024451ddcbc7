"""USR2: the same process becomes a new program, with its sockets and its workers."""

import os
import signal
from pathlib import Path

from tests.serve.supervised import Supervised, alive, answer, supervised
from tests.serve.test_supervisor_reload import Load


def again(live: Supervised, count: int = 2) -> None:
    """Ask for it, and wait until the new program's workers serve."""
    live.signal(signal.SIGUSR2)
    live.until(lambda: live.log().count("listening on") == count * len(live.status()["pools"]))


def test_binary_upgrade_keeps_pid_and_sockets_and_takes_new_code(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}, pid=str(tmp_path / "pid")) as live:
        old = live.settled(2)
        inodes = [(tmp_path / name).stat().st_ino for name in ("main.sock", "ctl")]
        live.version("two")
        (tmp_path / "daemon.py").write_text(
            (tmp_path / "daemon.py").read_text().replace("import json", "NEW = 1\nimport json", 1)
        )
        again(live)
        workers = live.settled(2)
        assert not set(workers) & set(old)
        assert live.ask("version") == "two"
        assert live.status()["generation"] == 2
        assert [(tmp_path / name).stat().st_ino for name in ("main.sock", "ctl")] == inodes
        assert int((tmp_path / "pid").read_text()) == live.process.pid
        again(live, 3)
        live.settled(2)
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        assert not any((tmp_path / name).exists() for name in ("main.sock", "ctl", "pid"))


def test_binary_upgrade_fails_no_request(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        load = Load(live)
        for count in (2, 3, 4):
            again(live, count)
            live.settled(2)
        assert load.end() == []
        assert load.count > 50


def test_binary_upgrade_finishes_a_long_request_of_before(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        fifo = live.fifo("f")
        sock = live.send("hold f")
        fifo.entered()
        again(live)
        assert live.ask("x") == "x"
        fifo.release()
        assert answer(sock) == "held f"
        live.settled(1)


def test_binary_upgrade_with_a_stem_and_captured_output(tmp_path: Path) -> None:
    pools = {"main": {"workers": "2", "preload": True, "capture_output": True}}
    with supervised(tmp_path, pools) as live:
        live.settled(2)
        fifo = live.fifo("f")
        sock = live.send("hold f")
        fifo.entered()
        again(live)
        assert answer_later(sock, fifo) == "held f"
        workers = live.settled(2)
        live.until(lambda: len(live.children()) == len(workers) + 1)  # and a stem
        live.ask("print still heard")
        live.until_log("still heard")


def answer_later(sock, fifo) -> str:
    fifo.release()
    return answer(sock)


def test_binary_upgrade_to_a_program_that_does_not_start_changes_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        old = live.settled(1)
        (tmp_path / "daemon.py").write_text("import nothing_of_that_name\n")
        live.signal(signal.SIGUSR2)
        live.until_log("reexec.failed: a trial run of the new program ended with exit status 1")
        assert live.settled(1) == old
        assert live.ask("x") == "x"
        assert live.ctl("reload")["ok"]


def test_binary_upgrade_with_a_broken_configuration_changes_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        old = live.settled(1)
        (tmp_path / "pools.json").write_text("{")
        live.signal(signal.SIGUSR2)
        live.until_log("reexec.failed: a trial run of the new program ended with exit status 2")
        assert live.settled(1) == old


def test_binary_upgrade_with_code_that_does_not_load_the_old_workers_serve(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        old = live.settled(2)
        live.write("import nothing_of_that_name\n")
        live.signal(signal.SIGUSR2)
        live.until_log("reload.failed, what was there keeps serving")
        assert int(live.ask("pid")) in old
        assert "nothing_of_that_name" in live.status()["reload"]["error"]
        live.version("mended")
        assert live.ctl("reload")["ok"]
        live.settled(2)
        assert live.ask("version") == "mended"
        assert not any(map(alive, old))


def test_binary_upgrade_when_the_last_old_worker_dies_a_new_start_is_tried(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        (old,) = live.settled(1)
        live.write("import nothing_of_that_name\n")
        live.signal(signal.SIGUSR2)
        live.until_log("reload.failed")
        live.version("mended")
        os.kill(old, signal.SIGKILL)
        live.until(lambda: live.ask("version") == "mended")


def test_binary_upgrade_with_other_binds(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"bind": ["unix:a.sock", "unix:b.sock"]}}) as live:
        live.configure({"main": {"bind": ["unix:a.sock?mode=0600", "unix:c.sock"]}})
        live.signal(signal.SIGUSR2)
        live.until(lambda: live.ask("x", "c") == "x")
        assert live.ask("x", "a") == "x"
        live.until(lambda: not (tmp_path / "b.sock").exists())
        assert (tmp_path / "a.sock").stat().st_mode & 0o777 == 0o600


def test_binary_upgrade_no_signal_is_lost_on_the_way(tmp_path: Path) -> None:
    """TERM at any moment of it ends the daemon properly."""
    with supervised(tmp_path) as live:
        live.settled(1)
        live.signal(signal.SIGUSR2)
        live.until_log("re-executing")
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        assert not (tmp_path / "main.sock").exists()


def test_binary_upgrade_no_death_is_lost_on_the_way(tmp_path: Path) -> None:
    """A worker dies in the moment in which the trial run ends well."""
    with supervised(tmp_path) as live:
        live.settled(1)
        daemon = (tmp_path / "daemon.py").read_text()
        wait = "import os\nif os.path.exists('f'): open('f').read()\n"
        (tmp_path / "daemon.py").write_text(daemon.replace("import json", f"{wait}import json", 1))
        fifo = live.fifo("f")
        before = live.children()
        live.signal(signal.SIGUSR2)
        fifo.entered()
        (trial,) = set(live.children()) - set(before)
        os.rename(tmp_path / "f", tmp_path / "g")
        live.signal(signal.SIGTTIN)
        (young,) = set(live.settled(2)) - set(before)  # reaped after the trial run
        live.signal(signal.SIGSTOP)
        fifo.close()
        live.until(lambda: not alive(trial))
        os.kill(young, signal.SIGKILL)
        live.until(lambda: not alive(young))
        live.signal(signal.SIGCONT)
        live.until(lambda: live.log().count("listening on") == 2)
        live.settled(1)
        assert len(live.children()) == 1


def test_binary_upgrade_leaks_no_descriptor(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        again(live, 2)
        live.settled(2)
        fds = f"/proc/{live.process.pid}/fd"
        before = len(os.listdir(fds))
        for count in (3, 4):
            again(live, count)
            live.settled(2)
        live.until(lambda: len(os.listdir(fds)) <= before)
        assert len(live.ask("fds").split()) == 9
        assert live.ask("env GATEBRIDGE_REEXEC") == ""
