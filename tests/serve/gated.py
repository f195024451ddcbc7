"""A daemon whose application can be held, and a FastCGI peer: for rows of threads and signals.

The application does what the path says. /hold/NAME opens the FIFO of that name, so a test knows
that it is inside, and lets it go on by closing its end: no row waits for a clock.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.suite import wires
from tests.suite.modes import ROOT, environment, wait_until, worker_of

DEADLINE_S = 20.0

APPLICATION = """
import os, threading, time

def hold(name):
    with open(name, "rb") as fifo:
        return fifo.read()

class Closing:
    def __init__(self, name, blocks):
        self.name, self.blocks = name, blocks
    def __iter__(self):
        return self.blocks
    def close(self):
        with open(self.name + ".closed", "a") as file:
            file.write("closed ")

def application(environ, start_response):
    path = environ["PATH_INFO"] or environ["REQUEST_URI"]
    what, _, name = path.strip("/").partition("/")
    body = b"fast"
    if what == "hold":
        hold(name)
        body = b"held " + name.encode()
    elif what == "nap":
        time.sleep(float(name))
    elif what == "thread":
        body = threading.current_thread().name.encode()
    elif what == "token":
        body = environ["HTTP_X_TOKEN"].encode()
    elif what == "body":
        body = b"%d" % len(environ["wsgi.input"].read())
    elif what == "read":
        body = repr(eval("b." + name, {"b": environ["wsgi.input"]})).encode()
    elif what == "say":
        environ["wsgi.errors"].write("said\\n")
    elif what == "fail":
        raise ValueError("a failure")
    elif what == "fds":
        body = " ".join(
            fd for fd in os.listdir("/proc/self/fd")
            if int(fd) > 2 and os.path.exists("/proc/self/fd/" + fd)
            and os.get_inheritable(int(fd))
        ).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if what == "stream":
        def blocks():
            yield b"first"
            hold(name)
            while True:
                yield b"x" * 65536
        return Closing(name, blocks())
    return [body]
"""


class Gated:
    """``gatebridge serve`` with one FastCGI Unix socket, and options.

    poller  GATEBRIDGE_POLLER of its environment
    output  where its standard error goes; a file of its own without
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        poller: str = "epoll",
        bind: str = "",
        output: int | None = None,
        python: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.gates: list[Gate] = []
        self.path = str(folder / "s")
        self.bind = bind or f"unix:{self.path}"
        (folder / "gated.py").write_text(APPLICATION)
        self.log_path = folder / "error.log"
        argv = [sys.executable, *python, "-m", "gatebridge", "serve", "gated:application"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, "--bind", self.bind, *options],
                cwd=folder,
                env={**environment(folder), "GATEBRIDGE_POLLER": poller},
                stdin=subprocess.DEVNULL,
                stderr=log if output is None else output,
            )
        self.options = options
        if not wait_until(lambda: self.ready() or self.process.poll() is not None):
            self.process.kill()
        if not self.ready():
            raise AssertionError(f"did not come up: {self.log()}")

    def ready(self) -> bool:
        if "--error-logfile" in self.options or not self.log_path.stat().st_size:
            return _answers(self.path) if self.bind == f"unix:{self.path}" else False
        return "listening on" in self.log()

    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def address(self) -> tuple[str, int]:
        """Of a TCP bind."""
        host, port = re.findall(r"listening on \w+://(\S+):(\d+)", self.log())[0]
        return host, int(port)

    # -- requests

    def connect(self) -> socket.socket:
        return connect(self.path)

    def pairs(self, target: str, body: bytes | None, *headers: tuple[str, str]):
        return wires.variables(wires.Req("POST" if body else "GET", target, headers, body), "")

    def request(
        self, target: str, *headers: tuple[str, str], body: bytes | None = None, keep: bool = False,
        id: int = 1,
    ) -> bytes:  # fmt: skip
        """The bytes of one request."""
        pairs = self.pairs(target, body, *headers)
        return wires.fastcgi_bytes(pairs, body or b"", keep, id)

    def send(self, target: str, **more) -> socket.socket:
        """Send a request; answer() reads what comes of it."""
        sock = self.connect()
        sock.settimeout(DEADLINE_S)
        sock.sendall(self.request(target, **more))
        return sock

    def get(self, target: str, *headers: tuple[str, str], body: bytes | None = None) -> wires.Resp:
        with self.connect() as sock:
            sock.sendall(self.request(target, *headers, body=body))
            return answer(sock)

    # -- holding the application

    def gate(self, name: str) -> "Gate":
        made = Gate(self.folder / name)
        self.gates.append(made)
        return made

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{worker_of(self.process.pid)}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{worker_of(self.process.pid)}/task"))

    # -- the end

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        """End it if it still runs; what it exited with."""
        for gate in self.gates:
            gate.close()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        finally:
            self.process.kill()
            self.process.wait()


class Gate:
    """A FIFO that the application opens and reads to its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.fd = -1

    def entered(self) -> None:
        """Wait until somebody is inside."""
        assert wait_until(self._open), f"nobody came to {self.path.name}"

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


def answer(sock: socket.socket, id: int = 1) -> wires.Resp:
    """Read one answer to its END_REQUEST or to the close."""
    sock.settimeout(DEADLINE_S)
    pipe, found = wires.Pipe(sock), wires.FastcgiAnswer(id)
    while not found.feed(pipe.got) and pipe.more():
        pass
    resp = wires.judge(bytes(found.out), "GET", found.end is not None, pipe.reset)
    resp.errors = bytes(found.errors)
    return resp


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(DEADLINE_S)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def _answers(path: str) -> bool:
    try:
        connect(path).close()
    except OSError:
        return False
    return True


@contextmanager
def gated(folder: Path, *options: str, **more) -> Iterator[Gated]:
    """A daemon that is ended, whatever happens; an exit of its own choice must be 0."""
    live = Gated(folder, *options, **more)
    try:
        yield live
    finally:
        live.stop()
    assert "gatebridge.fault" not in live.log(), live.log()


__all__ = ["ROOT", "Gate", "Gated", "answer", "gated", "wait_until"]
