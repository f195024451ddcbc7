"""Pools that grow by need, workers that ask to be replaced, and preloaded ones."""

import os
import signal
from pathlib import Path

import pytest

from tests.serve.supervised import APP, alive, answer, supervised


def ready(live, pool: str = "main") -> int:
    return live.pool(pool)["workers"]["ready"]


# -- ondemand


def test_ondemand_starts_on_the_first_connection_and_exits_when_idle(tmp_path: Path) -> None:
    pools = {"main": {"pm": "ondemand", "workers": "2", "process_idle_timeout": 0.3}}
    with supervised(tmp_path, pools, log_level="debug") as live:
        assert live.children() == []
        worker = int(live.ask("pid"))
        assert live.pool()["forks"] == 1
        live.settled(0)
        assert not alive(worker)
        assert int(live.ask("pid")) != worker
        live.settled(0)


def test_ondemand_starts_one_more_when_nobody_is_idle(tmp_path: Path) -> None:
    pools = {"main": {"pm": "ondemand", "workers": "2", "threads": 1}}
    with supervised(tmp_path, pools) as live:
        fifos = [live.fifo(name) for name in "abc"]
        socks = [live.send(f"hold {name}") for name in "abc"]
        fifos[0].entered()
        fifos[1].entered()
        live.settled(2)  # not three: that is the most
        for fifo in fifos:
            fifo.release()
        assert sorted(answer(sock) for sock in socks) == ["held a", "held b", "held c"]
        assert live.pool()["forks"] == 2


def test_ondemand_a_busy_worker_does_not_exit_as_idle(tmp_path: Path) -> None:
    pools = {"main": {"pm": "ondemand", "process_idle_timeout": 0.05}}
    with supervised(tmp_path, pools) as live:
        fifo = live.fifo("f")
        with live.send("hold f") as sock:
            fifo.entered()
            (worker,) = live.settled(1)
            live.until(lambda: live.status()["uptime_s"] > 1)
            assert live.settled(1) == [worker]
            fifo.release()
            assert answer(sock) == "held f"
        live.settled(0)


def test_ondemand_under_load_loses_no_request_when_workers_come_and_go(tmp_path: Path) -> None:
    pools = {"main": {"pm": "ondemand", "workers": "2", "process_idle_timeout": 0.001}}
    with supervised(tmp_path, pools) as live:
        while live.pool()["forks"] < 10:
            assert [live.ask(f"n{i}") for i in range(9)] == [f"n{i}" for i in range(9)]


def test_ondemand_TERM_serves_who_was_let_in(tmp_path: Path) -> None:
    """The supervisor is stopped while nobody accepts, as it would be when very busy."""
    with supervised(tmp_path, {"main": {"pm": "ondemand"}}) as live:
        live.signal(signal.SIGSTOP)
        with live.send("x") as sock:
            live.signal(signal.SIGTERM)
            live.signal(signal.SIGCONT)
            assert answer(sock) == "x"
        assert live.wait() == 0


@pytest.mark.parametrize("pm", ["ondemand", "static"])
def test_TERM_starts_no_worker_for_nobody(tmp_path: Path, pm: str) -> None:
    app = "import os\nopen('imported', 'a').write(f'{os.getpid()} ')\n" + APP
    with supervised(tmp_path, {"main": {"pm": pm}}, app=app) as live:
        assert live.ask("x") == "x"
        live.signal(signal.SIGWINCH)  # a static pool has no worker either
        live.settled(0)
        live.signal(signal.SIGTERM)
        assert live.wait() == 0
    assert len((tmp_path / "imported").read_text().split()) == 1


def test_ondemand_a_reload_proves_the_new_code(tmp_path: Path) -> None:
    pools = {"main": {"pm": "ondemand", "process_idle_timeout": 0.2}}
    with supervised(tmp_path, pools) as live:
        live.write("import nothing_of_that_name\n")
        assert "nothing_of_that_name" in live.ctl("reload")["error"]
        live.version("two")
        assert live.ctl("reload")["ok"]
        live.settled(0)
        assert live.ask("version") == "two"


def test_ondemand_still_starts_after_a_reload_that_another_pool_held_up(tmp_path: Path) -> None:
    """The new generation's worker has come and gone before the old one goes."""
    app = "import os\nif os.environ.get('SLOW') and os.path.exists('f'): open('f').read()\n" + APP
    pools = {
        "main": {"pm": "ondemand", "process_idle_timeout": 0.05},
        "slow": {"env": ["SLOW=1"]},
    }
    with supervised(tmp_path, pools, app=app) as live:
        live.settled(1, "slow")
        fifo = live.fifo("f")
        live.signal(signal.SIGHUP)
        fifo.entered()
        live.until(lambda: live.pool()["forks"] == 1)
        live.settled(0)
        fifo.release()
        live.until(lambda: live.status()["generation"] == 2)
        assert live.ask("x") == "x"


def test_ondemand_code_that_does_not_load_backs_off(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"pm": "ondemand"}}) as live:
        live.write("import nothing_of_that_name\n")
        with live.send("version") as sock:
            live.until(lambda: live.pool()["crash_loop"])
            live.version("mended")
            assert answer(sock) == "mended"
        assert live.pool()["forks"] <= 12


# -- dynamic


def test_dynamic_keeps_spare_workers(tmp_path: Path) -> None:
    spare = {"min_spare_servers": 1, "max_spare_servers": 2}
    pools = {"main": {"pm": "dynamic", "workers": "4", "threads": 1, **spare}}
    with supervised(tmp_path, pools) as live:
        live.settled(1)
        fifos = [live.fifo(name) for name in "abcde"]
        socks = []
        for count, fifo in enumerate(fifos[:4], 1):
            socks.append(live.send(f"hold {fifo.path.name}"))
            fifo.entered()
            live.settled(min(4, count + 1))  # the busy ones, and a spare one while there may be
        socks.append(live.send("hold e"))
        for fifo in fifos:
            fifo.release()
        assert sorted(answer(sock) for sock in socks) == [f"held {name}" for name in "abcde"]
        live.settled(2)  # max_spare: two are enough again


# -- recycling


def test_leaving_the_replacement_is_ready_before_the_old_one_drains(tmp_path: Path) -> None:
    app = "import os\nif os.path.exists('gate'): open('gate').read()\n" + APP
    with supervised(tmp_path, app=app) as live:
        (old,) = live.settled(1)
        gate = live.fifo("gate")
        assert live.ask("leave max_requests 0") == "!leaving max_requests 0"
        gate.entered()  # the replacement is being imported
        assert int(live.ask("pid")) == old
        gate.release()
        live.until(lambda: not alive(old))
        assert live.settled(1) != [old]
        assert "worker.leaving" in live.log()


def test_leaving_under_load_loses_no_request(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2"}}) as live:
        live.settled(2)
        while live.pool()["forks"] < 12:
            assert live.ask("leave max_requests 0") == "!leaving max_requests 0"
            assert [live.ask(f"n{i}") for i in range(9)] == [f"n{i}" for i in range(9)]
        live.settled(2)


def test_leaving_when_nobody_can_replace_it_goes_on_serving(tmp_path: Path) -> None:
    with supervised(tmp_path) as live:
        (old,) = live.settled(1)
        live.write("import nothing_of_that_name\n")
        live.ask("leave max_rss 0")
        live.until(lambda: live.pool()["crash_loop"])
        assert int(live.ask("pid")) == old


def test_request_over_time_limit_its_worker_is_replaced_at_once(tmp_path: Path) -> None:
    """It says so itself, from the thread that watches; here from the next request."""
    app = APP + STUCK
    with supervised(tmp_path, app=app, graceful_timeout=60.0) as live:
        (old,) = live.settled(1)
        fifo = live.fifo("f")
        with live.send("stuck f"):
            fifo.entered()
            live.until(lambda: live.ask("pid") != str(old))
            live.until(lambda: not alive(old))  # its grace is over
        assert f"pid {old}: killed, it did not end in 0." in live.log()
        live.settled(1)


STUCK = """
import json
plain = answer
def answer(line):
    if line.startswith("stuck "):
        CHANNEL.send(json.dumps({"say": "leaving", "why": "timeout", "grace": 0.3}).encode())
        hold(line.split()[1])
    return plain(line)
"""


@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"say": 1}',
        b'{"say": "leaving"}',
        b'{"say": "leaving", "why": [], "grace": "long"}',
        b'{"say": "leaving", "why": "timeout", "grace": 1e400}',
        b'{"say": "leaving", "why": "timeout", "grace": -5}',
        b'{"say": "forked", "slot": 0, "pid": 1}',
        b'{"say": "unforked", "slot": 0}',
        b'{"say": "files", "files": [1, null]}',
        b'{"say": "ready"}',
        b'{"say": "failed"}',
        b"[" * 60_000,
        b"x" * 65_536,
    ],
    ids=repr,
)
def test_what_a_worker_says_is_not_believed(tmp_path: Path, said: bytes) -> None:
    app = APP + SAYING
    (tmp_path / "said").write_bytes(said)
    with supervised(tmp_path, app=app) as live:
        live.settled(1)
        live.ask("say")
        live.until(lambda: live.ask("x") == "x")
        live.settled(1)


SAYING = """
plain = answer
def answer(line):
    if line == "say":
        CHANNEL.send(open("said", "rb").read())
    return plain(line)
"""


# -- preload


def test_preload_the_import_happens_once_and_not_in_the_supervisor(tmp_path: Path) -> None:
    app = "import os\nopen('imported', 'a').write(f'{os.getpid()} ')\n" + APP
    with supervised(tmp_path, {"main": {"workers": "3", "preload": True}}, app=app) as live:
        workers = live.settled(3)
        (stem,) = (tmp_path / "imported").read_text().split()
        assert int(stem) not in (*workers, live.pid)
        assert sorted(live.children()) == sorted([*workers, int(stem)])


def test_preload_memory_is_frozen_and_shared(tmp_path: Path) -> None:
    app = APP + "\nimport gc\nplain = answer\ndef answer(line):\n"
    app += "    return str(gc.get_freeze_count()) if line == 'frozen' else plain(line)\n"
    with supervised(tmp_path, {"main": {"preload": True}}, app=app) as live:
        assert int(live.ask("frozen")) > 1000


def test_preload_fork_hooks_run_once_for_each_worker(tmp_path: Path) -> None:
    app = APP + ("\nos.register_at_fork(after_in_child=lambda: open('hooked', 'a').write('x'))\n")
    with supervised(tmp_path, {"main": {"workers": "3", "preload": True}}, app=app) as live:
        live.settled(3)
        assert (tmp_path / "hooked").read_text() == "xxx"


def test_preload_a_worker_that_dies_is_replaced_from_the_stem(tmp_path: Path) -> None:
    app = "import os\nopen('imported', 'a').write('x')\n" + APP
    with supervised(tmp_path, {"main": {"workers": "2", "preload": True}}, app=app) as live:
        first, _ = live.settled(2)
        os.kill(first, signal.SIGKILL)
        live.until_log(f"pid {first}: signal 9, SIGKILL")
        assert first not in live.settled(2)
        assert (tmp_path / "imported").read_text() == "x"


def test_preload_a_stem_that_dies_takes_no_worker_along(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2", "preload": True}}) as live:
        workers = live.settled(2)
        (stem,) = set(live.children()) - set(workers)
        os.kill(stem, signal.SIGKILL)
        live.until_log("stem.ended")
        assert live.workers() == workers
        os.kill(workers[0], signal.SIGKILL)
        live.until(lambda: workers[0] not in live.settled(2))


def test_preload_a_stem_that_dies_of_each_fork_is_a_start_that_failed(tmp_path: Path) -> None:
    app = APP + "\nfrom gatebridge.serve import stem\nstem._plain_fork = lambda: os._exit(5)\n"
    with supervised(tmp_path, {"main": {"preload": True}}, app=app, wait=False) as live:
        assert live.wait() == 3


def test_preload_reload_forks_from_a_new_stem(tmp_path: Path) -> None:
    with supervised(tmp_path, {"main": {"workers": "2", "preload": True}}) as live:
        live.settled(2)
        live.version("two")
        assert live.ctl("reload")["ok"]
        workers = live.settled(2)
        assert live.ask("version") == "two"
        live.until(lambda: len(live.children()) == len(workers) + 1)  # the old stem has ended


THREADS = """
import threading, time
def poll_metrics():
    time.sleep(1000)
def begin():
    threading.Thread(target=poll_metrics, name="metrics", daemon=True).start()
"""


def test_fork_with_threads_preload_names_the_culprit(tmp_path: Path) -> None:
    (tmp_path / "shop_metrics.py").write_text(THREADS)
    app = "import sys\nsys.path.insert(0, '.')\nimport shop_metrics\nshop_metrics.begin()\n" + APP
    with supervised(tmp_path, {"main": {"preload": True}}, app=app, wait=False) as live:
        assert live.wait() == 4
        log = live.log()
        assert "preload.threads: the import started threads" in log
        assert "'metrics' started at ./shop_metrics.py:6 (shop_metrics)" in log.replace(
            f"{tmp_path}/", "./"
        )


def test_fork_with_threads_preload_a_thread_of_another_kind(tmp_path: Path) -> None:
    app = "import _thread, time\n_thread.start_new_thread(time.sleep, (1000,))\n"
    app += "def wait():\n    time.sleep(1000)\n_thread.start_new_thread(wait, ())\n"
    app += "time.sleep(0.2)\n" + APP
    with supervised(tmp_path, {"main": {"preload": True}}, app=app, wait=False) as live:
        assert live.wait() == 4
        assert "'a thread without a name' now at" in live.log()
        assert "app.py:4" in live.log()


def test_fork_with_threads_preload_threads_that_have_ended_do_not_matter(tmp_path: Path) -> None:
    app = APP + "\nt = threading.Thread(target=print)\nt.start()\nt.join()\n"
    with supervised(tmp_path, {"main": {"preload": True}}, app=app) as live:
        assert live.ask("x") == "x"


def test_preload_ondemand_the_stem_stays(tmp_path: Path) -> None:
    app = "import os\nopen('imported', 'a').write('x')\n" + APP
    pools = {"main": {"preload": True, "pm": "ondemand", "process_idle_timeout": 0.1}}
    with supervised(tmp_path, pools, app=app) as live:
        first = live.ask("pid")
        live.settled(0)
        assert live.ask("pid") != first
        assert (tmp_path / "imported").read_text() == "x"


def test_preload_what_the_stem_prints_is_labelled(tmp_path: Path) -> None:
    app = "print('importing')\n" + APP
    with supervised(tmp_path, {"main": {"preload": True, "capture_output": True}}, app=app) as live:
        live.until_log("] importing")
        assert "app.prints main/stem[" in live.log()
        pid = live.ask("pid")
        live.ask("print from a worker")
        live.until_log(f"app.prints main/0[{pid}] from a worker")


def test_preload_1000_forks_no_deadlock(tmp_path: Path) -> None:
    """A lock of the application's is made anew in each of them."""
    app = APP + "\nimport random\nplain = answer\nlock = threading.Lock()\n"
    app += "def answer(line):\n    with lock:\n        print(random.random())\n"
    app += "    return plain(line)\n"
    with supervised(tmp_path, {"main": {"preload": True, "workers": "4"}}, app=app) as live:
        live.settled(4)
        while live.pool()["forks"] < 1000:
            for i in range(20):
                live.ask("leave max_requests 0")
                assert live.ask(f"n{i}") == f"n{i}"
        live.settled(4)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")
@pytest.mark.parametrize("preload", [False, True])
def test_a_pool_of_another_user_dies_with_the_supervisor(tmp_path: Path, preload: bool) -> None:
    """The kernel forgets the parent-death signal of who changes its user."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    pools = {"main": {"preload": preload, "user": "nobody", "bind": ["unix:main.sock?mode=0666"]}}
    with supervised(tmp_path, pools, control_socket=str(tmp_path / "run" / "ctl")) as live:
        worker = int(live.ask("pid"))
        assert os.stat(f"/proc/{worker}").st_uid != 0
        children = live.children()
        live.process.kill()
        live.wait()
        live.until(lambda: not any(map(alive, children)))
