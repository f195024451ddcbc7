"""A script as those of flup's time, in a process of its own, and clients for it."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.suite import wires
from tests.suite.modes import ROOT, wait_until
from tests.suite.wires import Req, Resp

DEADLINE_S = 20.0
OURS, FLUP = "gatebridge.compat.flup", "flup"

SCRIPT = """\
import json, os, signal, sys, threading, time
from {package}.server.{kind} import WSGIServer

lock = threading.Lock()
counts = {{"now": 0, "most": 0}}

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise ValueError("told to fail")
    if path == "/splits":
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "b\\r\\nX-C: d")])
        return [b"split"]
    if path == "/body":
        data = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"%d %s" % (len(data), data[-10:])]
    if path.startswith("/hold"):
        with lock:
            counts["now"] += 1
            counts["most"] = max(counts["most"], counts["now"])
        open(path[1:].replace("/", "-") + ".in", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
        with lock:
            counts["now"] -= 1
    told = {{k: v for k, v in environ.items() if isinstance(v, (str, bool))}}
    told["pid"] = os.getpid()
    told["most"] = counts["most"]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]

def late(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    raise ValueError("told to fail late")
    yield b""

{more}
print("returned", {run}, flush=True)
"""


def wait_for(process: "subprocess.Popen[bytes]", seconds: float = DEADLINE_S) -> int:
    """As wait(seconds), which sleeps up to 50 ms between two looks: too much a hundred times."""
    if process.poll() is not None:
        return process.returncode
    fd = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise subprocess.TimeoutExpired(process.args, seconds)
    finally:
        os.close(fd)
    return process.wait()


class Script:
    """One process; close() ends it. folder: its current one, where /hold leaves its marks.

    arguments  of WSGIServer behind the application, as Python text
    """

    def __init__(
        self,
        folder: Path,
        arguments: str = "",
        kind: str = "fcgi",
        *,
        package: str = OURS,
        more: str = "",
        run: str = "",
        stdin: Any = subprocess.DEVNULL,
        python: tuple[str, ...] = ("-W", "error"),
        **variables: str,
    ) -> None:
        self.folder = folder
        self.package = package
        self.protocol = "scgi" if kind.startswith("scgi") else "fcgi"
        self.path = str(folder / "s")
        run = run or f"WSGIServer(application, {arguments}).run()"
        text = SCRIPT.format(package=package, kind=kind, more=more, run=run)
        (folder / "old.fcgi").write_text(text)
        self.out = folder / "out"
        self.err = folder / "err"
        kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *python, "old.fcgi"],
                cwd=folder,
                env={**kept, **variables},
                stdin=stdin,
                stdout=out,
                stderr=err,
            )

    # -- its life

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def close(self) -> None:
        """By TERM, and it must obey; flup needs a second for that, or does not (fault 2)."""
        if self.process.poll() is None and self.package == OURS:
            self.process.send_signal(signal.SIGTERM)
            try:
                wait_for(self.process)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"TERM did not end it: {self.said()}") from None
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> str:
        """What it printed after it was sent a signal; it must end by itself."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> str:
        if wait_for(self.process) != 0:
            raise AssertionError(self.said())
        return self.out.read_text()

    def said(self) -> str:
        return self.err.read_text()

    def up(self, address: "str | tuple[str, int] | None" = None) -> "Script":
        """Wait until it listens."""
        place = address or self.path

        def listens() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"it has ended: {self.said()}")
            try:
                wires.connect(place).close()
            except OSError:
                return False
            return True

        if not wait_until(listens):
            raise AssertionError(self.said())
        return self

    def marked(self, name: str) -> bool:
        """A request for /hold-NAME is in the application."""
        return wait_until((self.folder / f"hold-{name}.in").exists)

    def go(self) -> None:
        (self.folder / "go").touch()

    # -- its clients

    def sock(self, address: "str | tuple[str, int] | None" = None) -> socket.socket:
        return wires.connect(address or self.path)

    def start(self, target: str = "/", address: Any = None, **more: Any) -> socket.socket:
        """A request that is sent, its answer not read."""
        sock = self.sock(address)
        try:
            sock.sendall(self.data(Req(target=target), **more))
        except ConnectionError:
            sock.close()
            raise
        return sock

    def data(self, request: Req, mount: str = "", more: tuple[tuple[str, str], ...] = (),
             role: int = 1, keep: bool = False) -> bytes:  # fmt: skip
        pairs = [*wires.variables(request, mount), *more]
        if self.protocol == "scgi":
            return wires.scgi_bytes(pairs, wires.body_of(request))
        return wires.fastcgi_bytes(pairs, wires.body_of(request), role=role, keep=keep)

    def ask(self, target: str = "/", *headers: tuple[str, str], body: bytes | None = None,
            mount: str = "", more: tuple[tuple[str, str], ...] = (), role: int = 1,
            address: Any = None) -> Resp:  # fmt: skip
        request = Req("POST" if body is not None else "GET", target, headers, body)
        sock = self.sock(address)
        try:
            sock.sendall(self.data(request, mount, more, role))
        except ConnectionError:
            sock.close()
            raise
        return self.read(sock, request)

    def read(self, sock: socket.socket, request: Req | None = None) -> Resp:
        """The rest of an answer."""
        pipe, answer = wires.Pipe(sock), wires.FastcgiAnswer()
        method = request.method if request else "GET"
        with sock:
            if self.protocol == "scgi":
                while pipe.more():
                    pass
                return wires.judge(bytes(pipe.got), method, True, pipe.reset)
            while not answer.feed(pipe.got) and pipe.more():
                pass
        resp = wires.judge(bytes(answer.out), method, answer.end == (0, 0), pipe.reset)
        resp.errors = bytes(answer.errors)
        resp.app_status = answer.end[1] if answer.end else -1  # protocolStatus is what matters
        return resp

    def told(self, target: str = "/", **more: Any) -> dict[str, Any]:
        """The environ that the application saw."""
        answer = self.ask(target, **more)
        if answer.status != 200:
            raise AssertionError(f"{answer} {self.said()}")
        found: dict[str, Any] = json.loads(answer.body)
        return found
