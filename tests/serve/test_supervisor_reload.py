"""Reloads: the new generation first, the old one until it is ready, and nobody is refused."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.serve.supervised import APP, Supervised, alive, answer, supervised

BROKEN = "import nothing_of_that_name\n"


def test_reload_by_HUP_takes_the_new_code(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        old = live.settled(2)
        live.version("two")
        live.signal(signal.SIGHUP)
        live.until(lambda: live.ask("version") == "two")
        assert not set(old) & set(live.settled(2))
        assert live.status()["generation"] == 2


def test_reload_by_ctl_answers_when_it_is_done(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        live.version("two")
        assert live.ctl("reload") == {"ok": True, "generation": 2}
        assert live.status()["reload"]["state"] == "ok"
        live.settled(1)
        assert live.ask("version") == "two"


def test_reload_the_old_generation_finishes_what_it_has(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        fifo = live.fifo("f")
        with live.send("hold f") as sock:
            fifo.entered()
            live.version("two")
            live.ctl("reload")
            live.until(lambda: live.ask("version") == "two")
            assert live.pool()["workers"] == {"starting": 0, "ready": 1, "draining": 1}
            fifo.release()
            assert answer(sock) == "held f"
        live.settled(1)


@pytest.mark.parametrize("preload", [False, True])
def test_reload_with_broken_code_the_old_keeps_serving(tmp_path: Path, preload: bool) -> None:
    with supervised(tmp_path, {"main": {"workers": "2", "preload": preload}}) as live:
        old = live.settled(2)
        live.write(BROKEN)
        told = live.ctl("reload")
        assert (told["ok"], told["code"]) == (False, "reload.failed")
        assert "nothing_of_that_name" in told["error"]
        assert 'app.py", line 1' in told["traceback"]
        state = live.status()["reload"]
        assert (state["state"], state["error"]) == ("failed", told["error"])
        assert live.settled(2) == old
        live.version("three")
        assert live.ctl("reload")["ok"]
        live.settled(2)  # the old ones take no more
        assert live.ask("version") == "three"


def test_reload_when_one_new_worker_dies_the_old_keeps_serving(tmp_path: Path) -> None:
    app = "import os\nif os.path.exists('no'): os._exit(5)\n" + APP
    with supervised(tmp_path, {"main": {"workers": "2"}}, app=app) as live:
        old = live.settled(2)
        (tmp_path / "no").touch()
        told = live.ctl("reload")
        assert told["error"] == "a worker ended with exit status 5"
        assert live.settled(2) == old


def test_reload_that_hangs_leaves_the_old_serving_and_a_stop_ends_it(tmp_path: Path) -> None:
    app = "import os\nif os.path.exists('f'): open('f').read()\n" + APP
    with supervised(tmp_path, {"main": {"workers": "2"}}, app=app) as live:
        old = live.settled(2)
        fifo = live.fifo("f")
        live.signal(signal.SIGHUP)
        fifo.entered()
        assert live.status()["reload"]["state"] == "running"
        assert int(live.ask("pid")) in old
        live.signal(signal.SIGTERM)
        assert live.wait() == 0


def test_config_error_a_reload_changes_nothing_and_says_why(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        old = live.settled(1)
        (tmp_path / "pools.json").write_text("{")
        told = live.ctl("reload")
        assert (told["ok"], told["code"]) == (False, "reload.failed")
        assert told["error"].startswith("config.invalid: Expecting property name")
        assert live.settled(1) == old
        live.configure({"main": {"user": "nobody-of-that-name"}})
        assert "there is no user 'nobody-of-that-name'" in live.ctl("reload")["error"]
        assert live.settled(1) == old
        assert (tmp_path / "main.sock").exists()


def test_concurrent_reload_signals_leave_one_live_generation(tmp_path: Path) -> None:
    """25 of them within half a second, as in PHP-FPM's own test."""
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        ended = threading.Event()
        for i in range(25):
            live.signal(signal.SIGHUP)
            ended.wait(0.001 * (i % 25))
        live.until(lambda: live.status()["reload"]["state"] == "ok" and live.settled(2))
        generations = {w["generation"] for w in live.pool()["workers_list"]}
        assert generations == {live.status()["generation"]}
        assert len(live.children()) == 2
        assert 2 <= live.status()["generation"] <= 26


class Load:
    """Asks all the time, with several connections at once; what came back."""

    def __init__(self, live: Supervised, threads: int = 4) -> None:
        self.live = live
        self.wrong: list[str] = []
        self.count = 0
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        at = 0
        while not self._end.is_set():
            at += 1
            line = f"{number} {at}"
            try:
                told = self.live.ask(line)
            except OSError as error:
                told = repr(error)
            self.count += 1
            if told != line:
                self.wrong.append(told)

    def end(self) -> list[str]:
        self._end.set()
        for thread in self._threads:
            thread.join()
        return self.wrong


def test_reload_under_load_fails_no_request(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        load = Load(live)
        for _ in range(10):
            assert live.ctl("reload")["ok"]
        assert load.end() == []
        assert load.count > 100


def test_TERM_under_load_cuts_nobody_who_was_let_in(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        load = Load(live)
        live.until(lambda: load.count > 50)
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        # Refused is honest; an empty answer or a reset would be a request that was lost.
        honest = ("FileNotFoundError", "ConnectionRefusedError")
        assert [told for told in load.end() if not told.startswith(honest)] == []


def test_reload_with_other_binds_opens_new_ones_and_closes_removed_ones(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"bind": ["unix:a.sock", "unix:b.sock"]}}) as live:
        inode = (tmp_path / "a.sock").stat().st_ino
        live.configure({"main": {"bind": ["unix:a.sock", "unix:c.sock"]}})
        assert live.ctl("reload")["ok"]
        assert (tmp_path / "a.sock").stat().st_ino == inode  # kept, with its queue
        assert [live.ask("x", name) for name in "ac"] == ["x", "x"]
        assert not (tmp_path / "b.sock").exists()


def test_reload_with_a_bind_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        (tmp_path / "other.sock").write_text("a file")
        live.configure({"main": {"bind": ["unix:main.sock", "unix:new.sock", "unix:other.sock"]}})
        assert "other.sock exists and is no socket" in live.ctl("reload")["error"]
        assert not (tmp_path / "new.sock").exists()
        assert live.ask("x") == "x"


def test_reload_with_broken_code_closes_the_binds_it_opened(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        live.write(BROKEN)
        live.configure({"main": {"bind": ["unix:main.sock?mode=0600", "unix:new.sock"]}})
        assert not live.ctl("reload")["ok"]
        assert not (tmp_path / "new.sock").exists()
        assert live.ask("x") == "x"


def test_reload_with_other_options_keeps_the_socket(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        inode = (tmp_path / "main.sock").stat().st_ino
        live.configure({"main": {"bind": ["http+unix:main.sock?mode=0600&backlog=5"]}})
        assert live.ctl("reload")["ok"]
        found = (tmp_path / "main.sock").stat()
        assert (found.st_ino, found.st_mode & 0o777) == (inode, 0o600)
        assert live.ask("x") == "x"
        assert live.pool()["binds"] == [{"text": "http+unix:main.sock", "backlog": 5, "queued": 0}]
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
        assert not (tmp_path / "main.sock").exists()


def test_reload_with_other_pools(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {}, "gone": {}}) as live:
        live.configure({"main": {"workers": "2"}, "new": {}})
        assert live.ctl("reload")["ok"]
        live.settled(2)
        live.settled(1, "new")
        live.until(lambda: "gone" not in live.status()["pools"])
        assert not (tmp_path / "gone.sock").exists()
        assert live.ask("x", "new") == "x"


def test_reload_moves_a_bind_to_another_pool(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {}}) as live:
        live.configure({"other": {"bind": ["unix:main.sock"], "env": ["WHO=other"]}})
        assert live.ctl("reload")["ok"]
        assert live.ask("env WHO") == "other"


def test_one_bind_in_two_pools_is_refused(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        live.configure({"main": {}, "other": {"bind": ["unix:./main.sock"]}})
        assert "is bound twice" in live.ctl("reload")["error"]


def test_reload_says_what_it_cannot_change(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        live.daemon |= {"name": "other", "pid": "elsewhere", "log_level": "debug"}
        live.configure({"main": {}})
        assert live.ctl("reload")["ok"]
        live.until_log("reload.fixed pid, name cannot change while the daemon runs: restart it")
        live.ctl("reload")
        live.until_log("debug worker.ready")


def test_reload_writes_the_slow_log_elsewhere(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"slowlog_timeout": 0.1}}, slowlog="slow.1") as live:
        for name in ("slow.1", "slow.2", "absent/slow.3"):
            live.daemon["slowlog"] = name
            live.configure({"main": {"slowlog_timeout": 0.1}})
            live.ctl("reload")
            live.settled(1)
            fifo = live.fifo(f"f{name[-1]}")
            with live.send(f"hold {fifo.path.name}"):
                fifo.entered()
                file = tmp_path / name.replace("absent/slow.3", "slow.2")
                live.until(lambda file=file, fifo=fifo: fifo.path.name in file.read_text())
            fifo.release()
        live.signal(signal.SIGUSR1)
        fds = [
            os.readlink(f"/proc/{live.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{live.pid}/fd")
        ]
        assert [fd.rpartition("/")[2] for fd in fds if "slow." in fd] == ["slow.2"]


def test_reload_when_the_application_changes(tmp_path: Path) -> None:
    pools = {"main": {"reload": True, "reload_engine": "stat", "reload_interval": 0.05}}
    with supervised(tmp_path, pools) as live:
        live.settled(1)
        live.version("two")
        live.until(lambda: live.ask("version") == "two")
        assert "reload: changed: " in live.log()
        live.write(BROKEN)
        live.until(lambda: live.status()["reload"]["state"] == "failed")
        live.version("three")
        live.until(lambda: live.ask("version") == "three")


def test_reload_on_a_touched_file_and_a_switched_link(tmp_path: Path) -> None:
    (tmp_path / "touch").touch()
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("r1")
    pools = {"main": {"reload_extra_file": ["touch", "current"], "reload_interval": 0.05}}
    with supervised(tmp_path, pools) as live:
        live.settled(1)
        os.utime(tmp_path / "touch")
        live.until(lambda: live.status()["generation"] == 2)
        (tmp_path / "next").symlink_to("r2")
        os.replace(tmp_path / "next", tmp_path / "current")
        live.until(lambda: live.status()["generation"] == 3)


def test_a_reload_gives_up_no_worker_that_was_there(tmp_path: Path) -> None:
    """A worker of the old generation dies while the new one starts: it is replaced."""
    app = "import os\nif os.path.exists('f'): open('f').read()\n" + APP
    with supervised(tmp_path, app=app) as live:
        (old,) = live.settled(1)
        fifo = live.fifo("f")
        live.signal(signal.SIGHUP)
        fifo.entered()
        os.rename(tmp_path / "f", tmp_path / "g")
        os.kill(old, signal.SIGKILL)
        live.until(lambda: int(live.ask("pid")) != old)
        fifo.close()
        live.until(lambda: live.status()["generation"] == 2)
        live.settled(1)
        assert not alive(old)
