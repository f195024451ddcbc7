"""gatebridge serve, end to end: service managers, files that reload, logs, pools, stems."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.serve.supervisor import SIGNALS
from tests.cli.run import run
from tests.serve.gated import answer, connect
from tests.serve.service import APP, DEADLINE_S, Service, open_to_all, service
from tests.serve.supervised import alive
from tests.suite import wires
from tests.suite.modes import ROOT, wait_until

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")
BIND = ("shop:application", "--bind", "unix:s?mode=0666")
BROKEN = "raise RuntimeError('the shop is closed')\n"

# As systemd does it: descriptors from 3 on, and the pid of the process that it has started.
LISTEN = """
import os, sys
names, count = sys.argv[1], int(sys.argv[2])
os.environ.update(LISTEN_FDNAMES=names, LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""


# -- systemd


@contextlib.contextmanager
def activated(folder: Path, sockets: dict[str, socket.socket], *words: str) -> Iterator[Service]:
    """Started with these listening sockets, named, at 3 and on."""
    start = f"""
import os, sys
for number, fd in enumerate({[sock.fileno() for sock in sockets.values()]}, 100):
    os.dup2(fd, number)
for number in range({len(sockets)}):
    os.dup2(number + 100, number + 3)
    os.close(number + 100)
"""
    prefix = (sys.executable, "-c", start + LISTEN, ":".join(sockets), str(len(sockets)))
    fds = [sock.fileno() for sock in sockets.values()]
    with service(folder, "shop:application", *words, prefix=prefix, pass_fds=fds) as live:
        yield live


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        yield sock


def test_systemd_sockets_by_name(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as a, listening(tmp_path / "b") as b:
        sockets = {"web": a, "other": b}
        with activated(tmp_path, sockets, "-b", "systemd:web", "-b", "systemd:other") as live:
            assert live.ask("/", "a") == live.ask("/", "b") == "one"
            found = live.about("a")["environ"]
            assert not [name for name in found if name.startswith("LISTEN_")]
            live.version("two")
            assert live.ctl("reload")["ok"]
            live.settled()
            assert live.ask("/", "a") == live.ask("/", "b") == "two"
    assert (tmp_path / "a").exists()  # they are systemd's


def test_systemd_a_restart_loses_no_request(tmp_path: Path) -> None:
    """The kernel's queue holds who comes meanwhile."""
    with listening(tmp_path / "a") as a:
        with activated(tmp_path, {"web": a}, "-b", "systemd:web") as live:
            assert live.ask("/", "a") == "one"
        sock = live.send("/", "a")
        live.version("two")
        with activated(tmp_path, {"web": a}, "-b", "systemd:web"), sock:
            assert answer(sock).body == b"two"


def test_systemd_a_name_that_was_not_passed_is_5(tmp_path: Path) -> None:
    live = Service(tmp_path, "shop:application", "-b", "systemd:web", wait=False)
    assert live.process.wait(DEADLINE_S) == 5
    assert "systemd" in live.log()


def test_systemd_sockets_stay_over_USR2_and_in_the_background(tmp_path: Path) -> None:
    with listening(tmp_path / "a") as a:
        words = ("-b", "systemd:web", "-D", "--error-logfile", "log")
        with activated(tmp_path, {"web": a}, *words) as live:
            (old,) = live.workers()
            live.send_signal(signal.SIGUSR2)
            live.until(lambda: live.workers() and old not in live.workers())
            assert live.ask("/", "a") == "one"


class Manager:
    """NOTIFY_SOCKET's other end."""

    def __init__(self, folder: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(folder / "notify"))
        self.sock.settimeout(DEADLINE_S)
        self.env = {"NOTIFY_SOCKET": str(folder / "notify")}

    def hear(self, word: str) -> list[str]:
        """All lines of the next message that has this one."""
        while True:
            lines = self.sock.recv(4096).decode().splitlines()
            if word in lines:
                return lines

    def quiet(self) -> list[str]:
        """What has been said and not heard."""
        found = []
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found += self.sock.recv(4096).decode().splitlines()
        self.sock.settimeout(DEADLINE_S)
        return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.sock.close()


def test_supervisor_READY_comes_after_workers_accept(tmp_path: Path, manager: Manager) -> None:
    """Not at the bind, not at the fork: a worker that is still importing is not ready."""
    app = f"open({str(tmp_path / 'gate')!r}).read()\n" + APP
    os.mkfifo(tmp_path / "gate")
    with service(tmp_path, *BIND, env=manager.env, app=app, wait=False) as live:
        with (tmp_path / "gate").open("w"):  # it is inside
            assert "READY=1" not in manager.quiet()
        manager.hear("READY=1")
        found = live.about()["environ"]
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(found)
        (tmp_path / "gate").unlink()
        live.write(APP)
        assert live.ctl("reload")["ok"]
        lines = manager.hear("RELOADING=1")
        assert any(re.fullmatch(r"MONOTONIC_USEC=\d+", line) for line in lines)
        manager.hear("READY=1")
        live.write(BROKEN)
        assert not live.ctl("reload")["ok"]
        manager.hear("RELOADING=1")
        manager.hear("READY=1")  # also of a reload that came to nothing
        live.send_signal(signal.SIGTERM)
        manager.hear("STOPPING=1")
        live.process.wait(DEADLINE_S)


def test_supervisor_of_a_broken_application_never_says_READY(
    tmp_path: Path, manager: Manager
) -> None:
    live = Service(tmp_path, *BIND, env=manager.env, app=BROKEN, wait=False)
    assert live.process.wait(DEADLINE_S) == 4
    assert "READY=1" not in manager.quiet()


def test_supervisor_WATCHDOG_while_a_worker_is_stuck(tmp_path: Path, manager: Manager) -> None:
    env = {**manager.env, "WATCHDOG_USEC": "300000"}
    with service(tmp_path, *BIND, "--threads", "1", env=env) as live:
        gate = live.gate("g")
        with live.send("/hold/g") as sock:
            gate.entered()
            manager.quiet()
            for _ in range(3):
                manager.hear("WATCHDOG=1")
            gate.release()
            assert answer(sock).body == b"held g"


def test_supervisor_in_the_background_names_its_main_pid(tmp_path: Path, manager: Manager) -> None:
    words = (*BIND, "-D", "--error-logfile", "log", "--pid", "pid")
    with service(tmp_path, *words, env=manager.env, wait=False) as live:
        assert live.process.wait(DEADLINE_S) == 0
        manager.hear("READY=1")
        assert int((tmp_path / "pid").read_text()) == live.pid


# -- reloads that files ask for


@pytest.mark.parametrize("engine", ["stat", "auto"])
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
def test_reload_by_a_changed_module_a_broken_and_a_repaired_one(
    tmp_path: Path, engine: str, preload: tuple[str, ...]
) -> None:
    (tmp_path / "parts.py").write_text("VERSION = 'one'\n")
    app = APP.replace('VERSION = "one"', "from parts import VERSION")
    words = ("--reload", "--reload-engine", engine, "--reload-interval", "0.1", *preload)
    with service(tmp_path, *BIND, *words, app=app) as live:
        live.write("VERSION = 'two'\n", "parts.py")
        live.until(lambda: live.ask("/") == "two")
        live.write("VERSION = ('three'\n", "parts.py")
        live.until(lambda: live.status()["reload"]["state"] == "failed")
        assert "parts.py" in live.status()["reload"]["traceback"]
        assert live.ask("/") == "two"
        live.write("VERSION = 'three'\n", "parts.py")
        live.until(lambda: live.ask("/") == "three")
        live.settled()
        assert live.status()["reload"]["state"] == "ok"
        assert "parts.py" in live.log()


def test_reload_by_a_touched_file(tmp_path: Path) -> None:
    (tmp_path / "now").touch()
    inner = tmp_path / "inner"
    inner.mkdir()
    words = ("--reload-extra-file", "now", "--reload-interval", "0.1", "--chdir", "inner",
             "--pythonpath", str(tmp_path))  # fmt: skip
    with service(tmp_path, *BIND, *words) as live:
        live.version("two")
        assert live.ask("/") == "one"
        (tmp_path / "now").touch()
        live.until(lambda: live.ask("/") == "two")
        live.version("three")
        (tmp_path / "now").unlink()  # being removed is no reason
        (tmp_path / "now").touch()
        live.until(lambda: live.ask("/") == "three")


@pytest.mark.parametrize("inside", [True, False], ids=["started inside", "chdir"])
def test_reload_by_a_switched_release_folder(tmp_path: Path, inside: bool) -> None:
    """current -> r1 becomes current -> r2: new workers are in the new folder, by code and cwd."""
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.py").write_text(APP.replace('"one"', repr(name)))
        (tmp_path / name / "imports").touch()
    current = tmp_path / "current"
    current.symlink_to("r1")
    bind = ("shop:application", "--bind", f"unix:{tmp_path}/s", "--reload-interval", "0.1")
    if inside:
        words = ("--reload-extra-file", ".")
        more = {"start": current, "env": {"PWD": str(current)}}
    else:
        words, more = ("--reload-extra-file", "current", "--chdir", "current"), {}
    (tmp_path / "shop.py").write_text(BROKEN)  # not this one
    with service(tmp_path, *bind, *words, **more) as live:
        assert live.ask("/") == "r1"
        switch(current, "r2")
        live.until(lambda: live.ask("/") == "r2")
        live.settled()
        assert live.about()["folder"] == str(tmp_path / "r2")
        shutil.rmtree(tmp_path / "r1")
        switch(current, "absent")  # of no use: the last one serves on
        switch(current, "r2")
        assert live.ask("/") == "r2"


def switch(link: Path, target: str) -> None:
    """As deployments do it: there is always one."""
    new = link.with_name("new")
    new.symlink_to(target)
    os.replace(new, link)


# -- logs


def test_capture_output_labels_what_workers_print(tmp_path: Path) -> None:
    app = 'print("at the import")\n' + APP
    with service(tmp_path, *BIND, "--capture-output", app=app) as live:
        live.ask("/print/hello")
        live.until_log("on stderr hello")
        lines = [line for line in live.log().splitlines() if "hello" in line or "import" in line]
        for line in lines:
            assert "main" in line, line
        assert len(lines) == 3
    assert live.out.read_text() == ""


def test_without_capture_output_it_goes_where_the_daemons_goes(tmp_path: Path) -> None:
    with service(tmp_path, *BIND) as live:
        live.ask("/print/hello")
        live.until_log("on stderr hello\n")
        pid = live.pid
    assert live.out.read_text() == "hello\n"
    assert not alive(pid)


@pytest.mark.parametrize(
    "user",
    ["", pytest.param("nobody", marks=ROOT_ONLY)],
)
@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
def test_USR1_reopens_access_and_error_log_of_every_worker(
    tmp_path: Path, user: str, preload: tuple[str, ...]
) -> None:
    """Workers of another user cannot open these files: they get them from the supervisor."""
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    ctl = str(tmp_path / "run" / "ctl")
    words = (*BIND, "--workers", "2", "--access-logfile", "logs/access", "--error-logfile",
             "logs/error", *preload, *(("--user", user) if user else ()))  # fmt: skip
    variables = {"GATEBRIDGE_CONTROL_SOCKET": ctl}
    with service(open_to_all(tmp_path), *words, env=variables, wait=False) as live:
        live.control = ctl
        live.until(lambda: live.settled(2))
        live.ask("/before")
        live.get("/fail/before")
        read = lambda name: (logs / name).read_text() if (logs / name).exists() else ""  # noqa: E731
        live.until(lambda: "/before" in read("access") and "ValueError: before" in read("error"))
        for name in ("access", "error"):
            os.rename(logs / name, logs / f"{name}.1")
        live.send_signal(signal.SIGUSR1)
        live.until(lambda: (logs / "access").exists() and (logs / "error").exists())
        asked = 0

        def both() -> bool:
            """Every worker has written into the new file."""
            nonlocal asked
            asked += 1
            live.get(f"/fail/after{asked}")
            return read("access").count("/fail/after") >= 20

        live.until(both)
        live.until(lambda: f"ValueError: after{asked}" in read("error"))
        settled = len(re.findall("/after|/fail/after", read("access.1")))
        assert settled <= 2 * 8, "some worker still writes into the rotated file"
        moved = read("access.1")
        for _ in range(10):
            live.get("/fail/end")
        live.until(lambda: read("access").count("/fail/end") == 10)
        assert read("access.1") == moved
        old = live.settled(2)
        for pid in old:
            os.kill(pid, signal.SIGKILL)  # and those that are born after it
        live.until(lambda: len(live.workers()) == 2 and not set(live.workers()) & set(old))
        for _ in range(10):
            live.get("/born")
        live.until(lambda: read("access").count("/born") == 10)
        assert os.stat(logs / "access").st_uid == os.geteuid()


def test_log_level_by_ctl_reaches_workers_that_come_later(tmp_path: Path) -> None:
    with service(tmp_path, *BIND) as live:
        assert live.ctl("log-level", level="debug")["ok"]
        (old,) = live.settled()
        os.kill(old, signal.SIGKILL)
        live.until(lambda: live.workers() not in ([], [old]))
        (new,) = live.settled()
        os.kill(new, signal.SIGTERM)
        live.until(lambda: live.workers() not in ([], [new]))
        live.until_log("stopped")  # a worker says that when it is told to say everything


# -- pools that grow and shrink


def test_dynamic_grows_with_what_is_asked_and_shrinks_again(tmp_path: Path) -> None:
    words = ("--pm", "dynamic", "--workers", "3", "--min-spare-servers", "1",
             "--max-spare-servers", "1", "--threads", "1")  # fmt: skip
    with service(tmp_path, *BIND, *words) as live:
        live.settled(1)
        gates = [live.gate(name) for name in "ab"]
        socks = []
        for gate in gates:
            socks.append(live.send(f"/hold/{gate.path.name}"))
            gate.entered()
        live.settled(3)
        assert live.ask("/") == "one"
        for gate, sock in zip(gates, socks, strict=True):
            gate.release()
            with sock:
                assert answer(sock).body == b"held " + gate.path.name.encode()
        live.settled(1)


def test_ondemand_has_no_worker_until_somebody_asks(tmp_path: Path) -> None:
    words = ("--pm", "ondemand", "--workers", "2", "--process-idle-timeout", "0.5")
    with service(tmp_path, *BIND, *words) as live:
        assert live.settled(0) == []
        assert live.imports() == 0
        assert live.ask("/") == "one"
        live.settled(0)
        assert live.imports() == 1
        live.version("two")
        assert live.ctl("reload")["ok"]
        assert live.ask("/") == "two"


def test_ondemand_that_nobody_asked_starts_nothing_at_its_end(tmp_path: Path) -> None:
    with service(tmp_path, *BIND, "--pm", "ondemand") as live:
        assert live.settled(0) == []
        assert live.stop() == 0
        assert live.imports() == 0


def test_ondemand_a_kept_connection_keeps_no_worker_and_is_served_again(tmp_path: Path) -> None:
    """On itself, or on a new one when it was ended between two requests."""
    words = ("--pm", "ondemand", "--process-idle-timeout", "0.3")
    with service(tmp_path, *BIND, *words) as live, contextlib.ExitStack() as open_ones:
        pairs = wires.variables(wires.Req("GET", "/about", (), None), "")
        data = wires.fastcgi_bytes(pairs, b"", True, 1)
        sock = open_ones.enter_context(connect(str(tmp_path / "s")))
        pids = set()
        for _ in range(3):
            if select.select([sock], [], [], 0)[0]:
                assert sock.recv(1) == b""
                sock = open_ones.enter_context(connect(str(tmp_path / "s")))
            sock.sendall(data)
            pids.add(json.loads(answer(sock).body)["pid"])
            live.settled(0)
        assert len(pids) == 3


# -- preload


def test_preload_imports_once_for_each_generation(tmp_path: Path) -> None:
    with service(tmp_path, *BIND, "--preload", "--workers", "3") as live:
        live.settled(3)
        assert live.imports() == 1
        pids = [int(line) for line in (tmp_path / "imports").read_text().split()]
        assert live.pid not in pids
        assert not set(pids) & set(live.workers())
        old = live.workers()
        os.kill(old[0], signal.SIGKILL)
        live.until(lambda: len(live.workers()) == 3 and live.workers() != old)
        assert live.imports() == 1
        live.version("two")
        assert live.ctl("reload")["ok"]
        live.settled(3)
        assert live.imports() == 2
        assert {live.ask("/") for _ in range(12)} == {"two"}


THREADED = """
import threading, time
def ticker():
    while True:
        time.sleep(60)
threading.Thread(target=ticker, name="the ticker", daemon=True).start()
"""


def test_preload_refuses_threads_of_the_import_and_names_them(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text(THREADED)
    live = Service(tmp_path, *BIND, "--preload", app="import lib\n" + APP, wait=False)
    assert live.process.wait(DEADLINE_S) == 4
    assert "preload.threads" in live.log()
    assert "'the ticker'" in live.log()
    assert f"{tmp_path}/lib.py:6 (lib)" in live.log()
    assert "Traceback" not in live.log()
    shutil.copy(tmp_path / "shop.py", tmp_path / "kept.py")
    with service(tmp_path, "kept:application", "-b", "unix:s") as other:  # each its own: fine
        assert other.about()["threads"] > 1


# -- signals


def test_signals_of_the_supervisor_are_those_of_the_documentation() -> None:
    """Each is a row of docs/operations.md with the words that stand in the table itself."""
    text = (ROOT / "docs" / "operations.md").read_text().partition("\n## Signals\n")[2]
    rows = re.findall(r"^\| ([A-Z0-9, ]+) \| (.+) \|$", text.partition("\n## ")[0], re.MULTILINE)
    told = {name: what for names, what in rows for name in names.split(", ")}
    table = {
        signal.Signals(number).name.removeprefix("SIG"): what
        for number, (_, what) in SIGNALS.items()
    }
    table.pop("CHLD")  # the kernel's
    assert told == table


@pytest.mark.parametrize("number", sorted(SIGNALS, key=int))
def test_signals_in_a_burst_leave_a_daemon_that_serves_or_has_ended(
    tmp_path: Path, number: int
) -> None:
    ending = number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
    status = 130 if number == signal.SIGINT else 0
    with service(tmp_path, *BIND, ends_with=status) as live:
        pid = live.pid
        for _ in range(5):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if ending:
            assert live.process.wait(DEADLINE_S) == status
        elif number == signal.SIGWINCH:
            live.until(lambda: not live.workers())
            assert live.ctl("reload")["ok"]
            assert live.ask("/") == "one"
        else:
            live.until(lambda: live.workers() and live.status()["reload"]["state"] == "ok")
            assert live.ask("/") == "one"


# -- under load


class Load:
    """Several clients that ask all the time."""

    def __init__(self, live: Service, target: str = "/", clients: int = 4) -> None:
        self.live, self.target = live, target
        self.wrong: list[str] = []
        self.count = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                found = self.live.get(self.target)
                if found.status != 200 or found.cut:
                    self.wrong.append(repr(found))
            except (OSError, AssertionError) as error:
                self.wrong.append(repr(error))
            self.count += 1

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["plain", "preload"])
def test_reload_under_load_fails_no_request(tmp_path: Path, preload: tuple[str, ...]) -> None:
    with service(tmp_path, *BIND, "--workers", "2", "--threads", "4", *preload) as live:
        live.settled(2)
        with Load(live) as load:
            for _ in range(5):
                assert live.ctl("reload")["ok"]
                before = load.count
                assert wait_until(lambda before=before: load.count > before + 20)
        assert load.wrong == []
        live.settled(2)


def test_binary_upgrade_under_load_fails_no_request(tmp_path: Path) -> None:
    with service(tmp_path, *BIND, "--workers", "2", "--threads", "4") as live:
        old = live.settled(2)
        with Load(live) as load:
            live.send_signal(signal.SIGUSR2)
            live.until(lambda: len(live.workers()) == 2 and not set(live.workers()) & set(old))
            before = load.count
            assert wait_until(lambda: load.count > before + 20)
        assert load.wrong == []
        live.settled(2)


def test_memory_growth_recycling_loses_no_request(tmp_path: Path) -> None:
    words = ("--workers", "2", "--max-requests", "30", "--max-requests-jitter", "10")
    with service(tmp_path, *BIND, *words) as live:
        old = live.settled(2)
        with Load(live) as load:
            live.until(lambda: live.pool()["forks"] >= 12)
        assert load.wrong == []
        assert not set(old) & set(live.settled(2))


def test_master_killed_9_the_next_start_serves(tmp_path: Path) -> None:
    first = Service(tmp_path, *BIND, "--workers", "2", "--pid", "pid")
    workers = first.settled(2)
    first.process.kill()
    first.process.wait()
    assert wait_until(lambda: not any(map(alive, workers)))
    with service(tmp_path, *BIND, "--pid", "pid") as live:
        assert live.ask("/") == "one"
        done = run(tmp_path, "ping", "--control-socket", live.control)
        assert done.returncode == 0


LAST = """
import os, time

class Last:
    '''Of what the interpreter frees at its very end, when signal handlers are gone.'''

    def __init__(self, pid=os.getpid(), getpid=os.getpid, open=open, exists=os.path.exists,
                 sleep=time.sleep):
        self.state = pid, getpid, open, exists, sleep

    def __del__(self):
        pid, getpid, open, exists, sleep = self.state
        if getpid() == pid and exists("ending"):
            open("at-the-end", "x").close()
            while not exists("go"):
                sleep(0.01)

kept = Last()
"""


def test_a_second_TERM_at_the_very_end_changes_nothing(tmp_path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LAST)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    live = Service(tmp_path, "shop:application", "--bind", "unix:s", env={"PYTHONPATH": path})
    (tmp_path / "ending").touch()
    live.process.terminate()
    live.until((tmp_path / "at-the-end").exists)
    live.process.terminate()
    live.process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    assert live.stop() == 0
