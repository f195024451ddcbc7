"""A supervisor with a worker of a few lines: an application of text in, text out, on Unix sockets.

The daemon is a process of its own. Its worker serves one request at a time: a line, an answer, the
close. What the lines mean is in app.py in the daemon's folder, which a row may write anew before a
reload; pools.json says which pools there are, and is read again by each reload.
"""

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gatebridge import control_client
from tests.suite.modes import ROOT, environment, wait_until

DEADLINE_S = 30.0

APP = """
import os, signal, time, threading

VERSION = "one"

def hold(name):
    with open(name, "rb") as fifo:
        fifo.read()

def answer(line):
    what, _, rest = line.partition(" ")
    if what == "pid":
        return str(os.getpid())
    if what == "version":
        return VERSION
    if what == "hold":
        hold(rest)
        return "held " + rest
    if what == "kill":
        os.kill(os.getpid(), int(rest))
        return "alive"
    if what == "exit":
        os._exit(int(rest))
    if what == "fds":
        return " ".join(os.listdir("/proc/self/fd"))
    if what == "child":
        pid = os.fork()
        if not pid:
            if not os.fork():
                os.closerange(3, 100)
                hold(rest)
                os._exit(0)
            os._exit(0)
        os.waitpid(pid, 0)
        return "left one behind"
    if what == "leave":
        return "!leaving " + rest
    if what == "print":
        print(rest, flush=True)
        return "printed"
    if what == "env":
        return os.environ.get(rest, "")
    return line
"""

DAEMON = """
import json, os, select, signal, socket, sys, time, faulthandler
from dataclasses import replace
from time import monotonic

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.serve import binds, channel, reexec, scoreboard
from gatebridge.serve.listen import open_listener
from gatebridge.serve.stem import LOAD_FAILED, failure
from gatebridge.serve.supervisor import SIGNALS, Supervisor
from gatebridge.settings import App, Configuration, Pool, Settings


def read():
    try:
        said = json.load(open("pools.json"))
        settings = Settings(**said["daemon"])
        pools = []
        for name, given in said["pools"].items():
            given["bind"] = tuple(given.get("bind", (f"unix:{name}.sock",)))
            for key in ("env", "rlimit", "reload_extra_file"):
                given[key] = tuple(given.get(key, ()))
            pools.append(Pool(name, replace(settings, **given), (App("", "app"),)))
        return Configuration(tuple(pools), settings)
    except (ValueError, TypeError) as error:
        raise ConfigError("config.invalid", str(error))


class Hooks:
    def read_configuration(self):
        return read()

    def bind_all(self, configuration):
        opened = {}
        try:
            for pool in configuration.pools:
                opened[pool.name] = []
                for text in pool.settings.bind:
                    opened[pool.name].append(open_listener(parse_bind(text), ()))
        except BaseException:
            for some in opened.values():
                for listener in some:
                    listener.close()
            raise
        return opened

    def open_inbox(self, pool):
        return None

    def descriptors(self, pool):
        return (self.log,)

    log = os.open("app.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def reopen(self, pool):
        Hooks.log = os.open("app.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return (self.log,)

    def load_applications(self, pool, routes):
        space = {"__name__": "app"}
        file = os.path.join(os.path.dirname(__file__), "app.py")
        exec(compile(open(file).read(), file, "exec"), space)
        return space

    def worker_main(self, *, pool, listeners, channel, slot, inbox, routes, applications, dump_fd):
        if applications is None:
            if pool.settings.reload:
                file = os.path.join(os.path.dirname(__file__), "app.py")
                tell(channel, {"say": "files", "files": [file]})
            try:
                applications = self.load_applications(pool, routes)
            except BaseException as error:
                tell(channel, failure(error))
                return LOAD_FAILED
        faulthandler.register(signal.SIGUSR1, file=dump_fd, all_threads=True, chain=False)
        return Worker(pool, listeners, channel, slot, applications["answer"]).run()


def tell(sock, message):
    channel.send(sock, message)


class Worker:
    def __init__(self, pool, listeners, sock, slot, answer):
        self.pool, self.listeners, self.sock = pool, listeners, sock
        self.slot, self.answer, self.draining = slot, answer, False
        self.served = 0
        answer.__globals__["CHANNEL"] = sock

    def run(self):
        self.slot.state(scoreboard.READY)
        tell(self.sock, {"say": "ready"})
        poll = select.poll()
        for listener in self.listeners:
            poll.register(listener.fd, select.POLLIN)
        poll.register(self.sock, select.POLLIN)
        while True:
            fds = [fd for fd, _ in poll.poll()]
            if self.sock.fileno() in fds:
                try:
                    message, sent = channel.receive_fds(self.sock)
                except EOFError:
                    return 0
                if message["do"] == "quit":
                    return 0
                if message["do"] == "drain":
                    self.slot.state(scoreboard.DRAINING)
                    while message["last"] and any([self.accept(one) for one in self.listeners]):
                        continue
                    for listener in self.listeners:
                        listener.close()
                    return 0
                if message["do"] in ("reopen", "level"):
                    open("told", "a").write(f"{os.getpid()} {json.dumps(message)}\\n")
                for fd in sent:
                    os.write(fd, b"reopened\\n")
                    os.close(fd)
            for listener in self.listeners:
                if listener.fd in fds:
                    self.accept(listener)

    def accept(self, listener):
        try:
            sock, _ = listener.sock.accept()
        except BlockingIOError:
            return False
        with sock:
            sock.settimeout(60)
            line = sock.makefile("r").readline().rstrip("\\n")
            view = self.slot.thread(0)
            scoreboard.begin(view, threading_ident(), monotonic(), line.encode())
            tell(self.sock, {"say": "busy"})
            try:
                told = self.answer(line)
            finally:
                scoreboard.end(view)
            self.served += 1
            self.slot.count(self.served, 0, 0, 0, scoreboard.rss_bytes(), 0)
            if told.startswith("!leaving"):
                _, why, grace = told.split()
                tell(self.sock, {"say": "leaving", "why": why, "grace": float(grace)})
            else:
                tell(self.sock, {"say": "idle"})
            try:
                sock.sendall(told.encode())
            except OSError:
                pass
        return True


def threading_ident():
    import threading
    return threading.get_ident()


def main():
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    heritage = reexec.inherit()
    try:
        configuration = read()
        hooks = Hooks()
        there = heritage.listeners if heritage else ()
        listeners = binds.listen(configuration, there, hooks.bind_all)
        return Supervisor(configuration, listeners, hooks, None, heritage).run()
    except ConfigError as error:
        print(f"gatebridge: {error}", file=sys.stderr)
        return 2


sys.exit(main())
"""


class Supervised:
    """The daemon. pools: by name, what settings each has; more: of the whole daemon."""

    def __init__(
        self,
        folder: Path,
        pools: dict[str, dict[str, object]] | None = None,
        app: str = APP,
        wait: bool = True,
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        **more: object,
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self.fifos: list[Fifo] = []
        self.daemon = {"control_socket": str(folder / "ctl"), "graceful_timeout": 10.0, **more}
        self.configure(pools or {"main": {}})
        (folder / "daemon.py").write_text(DAEMON)
        self.write(app)
        self.log_path = folder / "log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(folder / "daemon.py")],
                cwd=folder,
                env={
                    **environment(folder),
                    "PYTHONPATH": str(ROOT),
                    "PYTHONPYCACHEPREFIX": str(folder.parent / "pycache"),  # of all rows
                    **(env or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.until(lambda: "listening on" in self.log() or self.process.poll() is not None)
            assert self.process.poll() is None, self.log()

    # -- what it reads

    def configure(self, pools: dict[str, dict[str, object]]) -> None:
        text = json.dumps({"daemon": self.daemon, "pools": pools})
        (self.folder / "pools.new").write_text(text)
        os.replace(self.folder / "pools.new", self.folder / "pools.json")

    def write(self, app: str) -> None:
        (self.folder / "app.new").write_text(app)
        os.replace(self.folder / "app.new", self.folder / "app.py")

    def version(self, name: str) -> None:
        self.write(APP.replace('VERSION = "one"', f"VERSION = {name!r}"))

    # -- what it tells

    def log(self) -> str:
        return self.log_path.read_text()

    def status(self) -> dict:
        return control_client.call(str(self.folder / "ctl"), "status", DEADLINE_S)

    def pool(self, name: str = "main") -> dict:
        return self.status()["pools"][name]

    def ctl(self, command: str, **more: object) -> dict:
        return control_client.call(str(self.folder / "ctl"), command, DEADLINE_S, **more)

    def workers(self, pool: str = "main") -> list[int]:
        """Pids of those that are ready."""
        listed = self.pool(pool)["workers_list"]
        return sorted(one["pid"] for one in listed if one["state"] == "ready")

    @property
    def pid(self) -> int:
        """The supervisor's, whoever started it."""
        waits = self.prefix[:1] in (("strace",), ("unshare",))
        return descendants(self.process.pid)[0] if waits else self.process.pid

    def children(self) -> list[int]:
        pid = self.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    # -- requests

    def connect(self, pool: str = "main") -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE_S)
        try:
            sock.connect(str(self.folder / f"{pool}.sock"))
        except OSError:
            sock.close()
            raise
        return sock

    def send(self, line: str, pool: str = "main") -> socket.socket:
        sock = self.connect(pool)
        sock.sendall(line.encode() + b"\n")
        return sock

    def ask(self, line: str, pool: str = "main") -> str:
        with self.send(line, pool) as sock:
            return answer(sock)

    # -- waiting

    def until(self, true: Callable[[], object], what: str = "") -> None:
        def met() -> bool:
            try:
                return bool(true())
            except (OSError, KeyError, control_client.GatebridgeError):
                return False

        assert wait_until(met, DEADLINE_S), f"{what}\n{self.log()}"

    def until_log(self, text: str, count: int = 1) -> None:
        self.until(lambda: self.log().count(text) >= count, f"no {count} x {text!r} in the log")

    def settled(self, ready: int = 1, pool: str = "main") -> list[int]:
        """Wait until so many workers are ready, and none starts or drains."""

        def met() -> bool:
            return self.pool(pool)["workers"] == {"starting": 0, "ready": ready, "draining": 0}

        self.until(met, f"not {ready} workers")
        return self.workers(pool)

    def fifo(self, name: str) -> "Fifo":
        made = Fifo(self.folder / name)
        self.fifos.append(made)
        return made

    # -- the end

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)

    def stop(self) -> None:
        """End it and all it has started, whatever state it is in."""
        for fifo in self.fifos:
            fifo.close()
        tree = [self.process.pid, *descendants(self.process.pid)]
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGINT)
            self.process.wait(DEADLINE_S)
            assert wait_until(lambda: not any(map(alive, tree))), f"left: {tree}\n{self.log()}"
        finally:
            for pid in filter(alive, tree):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()


class Fifo:
    """Holds an application that reads it until it is released."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.fd = -1

    def entered(self) -> None:
        assert wait_until(self._open, DEADLINE_S), f"nobody came to {self.path.name}"

    def _open(self) -> bool:
        try:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # ENXIO: no reader yet
            return False
        return True

    def release(self) -> None:
        if self.fd < 0:
            self.entered()
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def answer(sock: socket.socket) -> str:
    """Everything to the close, which is ours as well."""
    data = b""
    with sock:
        while piece := sock.recv(65_536):
            data += piece
    return data.decode()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def descendants(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [one for child in map(int, text.split()) for one in (child, *descendants(child))]


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def supervised(folder: Path, *pools: dict[str, dict[str, object]], **more) -> Iterator[Supervised]:
    live = Supervised(folder, *pools, **more)
    try:
        yield live
    finally:
        live.stop()
    assert "gatebridge.fault" not in live.log(), live.log()


__all__ = [
    "APP", "Fifo", "Supervised", "alive", "answer", "contextlib", "cpu_s", "descendants",
    "itertools", "re", "supervised", "time", "wait_until",
]  # fmt: skip
