"""The whole of ``gatebridge serve``: several workers, each bind, the control socket; and a load.

The application does what the path says: /hold/NAME waits at the FIFO of that name, /spin runs
Python code for ever, /backtrack runs C code that keeps the GIL.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from gatebridge import control_client
from gatebridge.errors import GatebridgeError
from tests.serve.gated import Gate
from tests.suite import wires
from tests.suite.modes import environment, wait_until

DEADLINE_S = 30.0

APPLICATION = """
import os, re, threading, time

VERSION = "one"
KEPT = []

def hold(name):
    with open(name, "rb") as fifo:
        return fifo.read()

def spin(seconds):
    end = time.monotonic() + float(seconds or 3600)
    while time.monotonic() < end:
        time.sleep(0.005)

def note(name, text):
    with open(name, "a") as file:
        file.write(text + "\\n")

def started(blocks):
    yield b"first"
    yield from blocks

def noted(name):
    try:
        spin("")
    except BaseException as error:
        note(name, type(error).__name__)
        raise

def application(environ, start_response):
    path = environ["PATH_INFO"] or environ["REQUEST_URI"]
    if path.startswith("/within/"):  # as a route with a timeout of its own
        _, seconds, path = path[1:].split("/", 2)
        environ["gatebridge.timeout"](float(seconds))
    what, _, name = path.strip("/").partition("/")
    body = str(os.getpid()).encode()
    if what == "version":
        body = VERSION.encode()
    elif what == "hold":
        hold(name)
        body = b"held " + name.encode()
    elif what == "held-pid":
        hold(name)
    elif what == "nap":
        time.sleep(float(name))
    elif what == "spin":
        spin(name)
        body = b"spun"
    elif what == "noted":
        noted(name)
    elif what == "backtrack":
        re.match(r"(a+)+$", "a" * int(name or 32) + "b")
        body = b"matched"
    elif what == "body":
        body = b"%d" % len(environ["wsgi.input"].read())
    elif what == "grow":
        KEPT.append(b"x" * int(name))
    elif what == "fail":
        raise ValueError("a failure")
    elif what == "say":
        environ["wsgi.errors"].write("said\\\\n")
    if what == "late":
        start_response("200 OK", [("Content-Length", "5000")])
        return started(iter(lambda: spin(""), b""))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""


class Ended(Exception):
    """The peer closed a connection between two answers."""


class Kept:
    """A FastCGI connection that is kept, with any number of requests on it."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        try:
            self.sock.connect(path)
        except OSError:
            self.sock.close()
            raise
        self.got = bytearray()
        self.out: dict[int, bytearray] = {}

    def bytes(self, target: str, id: int = 1, body: bytes | None = None, **more: str) -> bytes:
        request = wires.Req("POST" if body else "GET", target, tuple(more.items()), body)
        return wires.fastcgi_bytes(wires.variables(request, ""), body or b"", True, id)

    def send(self, target: str, id: int = 1, **more: str) -> None:
        self.raw(self.bytes(target, id, **more))

    def raw(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Ended(repr(error)) from error

    def read(self, id: int = 1) -> wires.Resp:
        """The whole answer of a request. raises Ended where nothing of it has come"""
        while True:
            found = self._record()
            if found is None:
                if not self.out.get(id):
                    raise Ended("closed")
                return wires.judge(bytes(self.out.pop(id)), "GET", False)
            kind, rid, content = found
            if kind == 6:
                self.out.setdefault(rid, bytearray()).extend(content)
            elif kind == 3 and rid == id:
                whole = struct.unpack("!IB3x", content)[1] == 0
                return wires.judge(bytes(self.out.pop(id, b"")), "GET", whole)

    def _record(self) -> tuple[int, int, bytes] | None:
        got = self.got
        while True:
            if len(got) >= 8:
                kind, rid, size, pad = struct.unpack_from("!xBHHB", got)
                if len(got) >= 8 + size + pad:
                    content = bytes(got[8 : 8 + size])
                    del got[: 8 + size + pad]
                    return kind, rid, content
            try:
                data = self.sock.recv(65_536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            got += data

    def get(self, target: str, **more: str) -> str:
        """The body of a 200."""
        self.send(target, **more)
        return whole(self.read())

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "Kept":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def whole(resp: wires.Resp) -> str:
    assert (resp.status, resp.cut) == (200, False), repr(resp)
    return resp.body.decode()


def socket_of(folder: Path, protocol: str = "") -> str:
    """Where a daemon of this folder listens for it; FastCGI without a word."""
    return str(folder / (f"s-{protocol}" if protocol not in ("", "fastcgi") else "s"))


class Whole:
    """``gatebridge serve`` on four Unix sockets, one for each protocol, and a control socket.

    prefix  what runs it, as strace with its options
    ready   wait for the workers
    output  its standard error; the file "log" without
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        workers: int = 2,
        threads: int = 4,
        app: str = APPLICATION,
        prefix: Sequence[str] = (),
        binds: Sequence[str] = ("", "scgi", "uwsgi", "http"),
        env: dict[str, str] | None = None,
        ready: bool = True,
        output: int | None = None,
    ) -> None:
        self.folder = folder
        self.gates: list[Gate] = []
        self.prefix = prefix
        self.path = socket_of(folder)
        self.write(app)
        argv = [*prefix, sys.executable, "-m", "gatebridge", "serve", "served:application"]
        for name in binds:
            argv += [
                "--bind",
                f"{name}+unix:{socket_of(folder, name)}" if name else f"unix:{self.path}",
            ]
        argv += ["--workers", str(workers), "--threads", str(threads)]
        argv += ["--control-socket", str(folder / "ctl")]
        self.log_path = folder / "log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, *options],
                cwd=folder,
                env={**environment(folder), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if output is None else output,
            )
        try:
            if ready:
                self.settled(workers)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def write(self, app: str) -> None:
        """Put another version of the application there."""
        (self.folder / "served.new").write_text(app)
        os.replace(self.folder / "served.new", self.folder / "served.py")

    def version(self, name: str) -> None:
        self.write(APPLICATION.replace('VERSION = "one"', f"VERSION = {name!r}"))

    # -- what it tells

    def log(self) -> str:
        return self.log_path.read_text()

    def ctl(self, command: str, **more: object) -> dict:
        return control_client.call(str(self.folder / "ctl"), command, DEADLINE_S, **more)

    def status(self) -> dict:
        return self.ctl("status")

    def pool(self) -> dict:
        return self.status()["pools"]["main"]

    def cli(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command of gatebridge that asks this daemon."""
        options = ["--control-socket", str(self.folder / "ctl")]
        return subprocess.run(
            [sys.executable, "-m", "gatebridge", *words, *options],
            env=environment(self.folder),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def workers(self) -> list[int]:
        """Pids of those that are ready."""
        return sorted(one["pid"] for one in self.pool()["workers_list"] if one["state"] == "ready")

    @property
    def pid(self) -> int:
        """The supervisor's; strace is its parent."""
        return children(self.process.pid)[0] if self.prefix else self.process.pid

    # -- requests

    def kept(self) -> Kept:
        return Kept(self.path)

    def kept_by(self, pid: int) -> Kept:
        """A kept connection that this worker holds."""
        for _ in range(1000):
            kept = self.kept()
            if int(kept.get("/pid")) == pid:
                return kept
            kept.close()
        raise AssertionError(f"no connection of {pid}")

    def ask(self, target: str, protocol: str = "", body: bytes | None = None) -> wires.Resp:
        """One request on a connection of its own."""
        with contextlib.closing(self.send(target, protocol, body)) as sock:
            return answer(sock, protocol)

    def send(self, target: str, protocol: str = "", body: bytes | None = None) -> socket.socket:
        sock = self.connect(protocol)
        sock.sendall(request_bytes(target, protocol, body))
        return sock

    def connect(self, protocol: str = "") -> socket.socket:
        sock = wires.connect(socket_of(self.folder, protocol))
        sock.settimeout(DEADLINE_S)
        return sock

    def get(self, target: str) -> str:
        return whole(self.ask(target))

    # -- waiting

    def until(self, true: Callable[[], object], what: str = "") -> None:
        def met() -> bool:
            try:
                return bool(true())
            except (OSError, KeyError, GatebridgeError):
                return False

        ended = self.process.poll()
        assert wait_until(met, DEADLINE_S), f"{what}; exit {ended}\n{self.log()[-6000:]}"

    def until_log(self, text: str, count: int = 1) -> None:
        self.until(lambda: self.log().count(text) >= count, f"no {count} x {text!r} in the log")

    def settled(self, ready: int) -> list[int]:
        """Wait until so many workers are ready, and none starts or drains."""

        def met() -> bool:
            assert self.process.poll() is None, self.log()
            return self.pool()["workers"] == {"starting": 0, "ready": ready, "draining": 0}

        self.until(met, f"not {ready} workers")
        return self.workers()

    def gone(self, pid: int) -> None:
        self.until(lambda: not alive(pid), f"{pid} still lives")

    def gate(self, name: str) -> Gate:
        made = Gate(self.folder / name)
        self.gates.append(made)
        return made

    # -- the end

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)

    def stop(self) -> None:
        """End it and all it has started, whatever state it is in."""
        for gate in self.gates:
            gate.close()
        tree = descendants(self.process.pid)
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGINT)
            self.wait()
            left = [pid for pid in tree if not wait_until(lambda pid=pid: not alive(pid))]
            assert not left, f"left behind: {left}\n{self.log()[-6000:]}"
        finally:
            for pid in filter(alive, tree):
                os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()


def request_bytes(target: str, protocol: str, body: bytes | None = None) -> bytes:
    request = wires.Req("POST" if body is not None else "GET", target, (), body)
    if protocol == "http":
        return wires.http_bytes(request, "", "localhost")
    pairs = wires.variables(request, "")
    if protocol == "scgi":
        return wires.scgi_bytes(pairs, body or b"")
    if protocol == "uwsgi":
        return wires.uwsgi_bytes(pairs, body or b"")
    return wires.fastcgi_bytes(pairs, body or b"")


def answer(sock: socket.socket, protocol: str = "") -> wires.Resp:
    """Read one answer to the close."""
    pipe = wires.Pipe(sock)
    while pipe.more():
        pass
    got = bytes(pipe.got)
    if not protocol:
        found = wires.FastcgiAnswer(1)
        found.feed(pipe.got)
        ended = found.end is not None and found.end[1] == 0
        return wires.judge(bytes(found.out), "GET", ended, pipe.reset)
    if protocol == "http":
        if not got:
            return wires.Resp(0, "", [], b"", cut=True)
        resp = wires.http_parse(got, "GET")
        resp.cut = resp.cut or pipe.reset
        return resp
    if got.startswith(b"HTTP/1."):
        line, _, rest = got.partition(b"\r\n")
        got = b"Status: " + line.partition(b" ")[2] + b"\r\n" + rest
    return wires.judge(got, "GET", True, pipe.reset)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(one) for one in text.split()]


def descendants(pid: int) -> list[int]:
    return [one for child in children(pid) for one in (child, *descendants(child))]


@contextlib.contextmanager
def whole_daemon(folder: Path, *options: str, faults: bool = False, **more) -> Iterator[Whole]:
    """A daemon that is ended, whatever happens. faults: the row makes some."""
    live = Whole(folder, *options, **more)
    try:
        yield live
    finally:
        live.stop()
    assert faults or "gatebridge.fault" not in live.log(), live.log()
    assert "Traceback" not in live.log() or faults, live.log()


class Client(Protocol):
    """Asks once; gives the body of the answer."""

    def __call__(self) -> str: ...

    def close(self) -> None: ...


class OnNew:
    """A connection for each request."""

    def __init__(self, path: str, target: str = "/pid") -> None:
        self.path, self.target = path, target

    def __call__(self) -> str:
        with contextlib.closing(wires.connect(self.path)) as sock:
            sock.sendall(request_bytes(self.target, ""))
            return whole(answer(sock))

    def close(self) -> None:
        """Nothing is open."""


class OnKept:
    """A connection that is kept, until the daemon closes it, which it may between requests.

    Then it asks again on a new one, as nginx does; there it must be answered.
    """

    def __init__(self, path: str, target: str = "/pid") -> None:
        self.path, self.target = path, target
        self.kept = Kept(path)

    def __call__(self) -> str:
        try:
            return self.kept.get(self.target)
        except Ended:
            self.kept.close()
            self.kept = Kept(self.path)
            return self.kept.get(self.target)

    def close(self) -> None:
        self.kept.close()


class Load:
    """Clients in threads of their own that ask all the time; what failed is kept.

    clients  called once in each thread, and again after a failure
    """

    def __init__(self, *clients: Callable[[], Client]) -> None:
        self.answers: dict[str, int] = {}
        self.failed: list[str] = []
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in clients]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait for so many further answers."""
        wanted = self.count + count
        reached = wait_until(lambda: self.count >= wanted, DEADLINE_S)
        assert reached, f"{self.count} of {wanted} answers; {self.failed[:3]}"

    @property
    def count(self) -> int:
        with self._lock:
            return sum(self.answers.values())

    def _run(self, new: Callable[[], Client]) -> None:
        while not self._ended.is_set():
            try:
                with contextlib.closing(new()) as ask:
                    while not self._ended.is_set():
                        body = ask()
                        with self._lock:
                            self.answers[body] = self.answers.get(body, 0) + 1
            except (OSError, AssertionError, Ended) as error:
                with self._lock:
                    self.failed.append(repr(error))


__all__ = ["Ended", "Gate", "Kept", "Load", "OnKept", "OnNew", "Whole", "alive", "wait_until",
           "whole_daemon"]  # fmt: skip
