"""A daemon on one Unix socket, and raw bytes sent to it: for rows that need a process."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suite.modes import Daemon, wait_until, worker_of

DEADLINE_S = 20.0

APPLICATION = """
import hashlib

def application(environ, start_response):
    try:
        body = b"" if environ["REQUEST_URI"] == "/unread" else environ["wsgi.input"].read()
        told = f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    except OSError as error:
        told = f"short {type(error).__name__}"
    names = sorted(name for name in environ if name.startswith("X_"))
    lines = [told, *(f"{name}={environ[name]}" for name in names)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\\n".join(lines).encode("latin-1")]
"""


class Live:
    """A daemon of one protocol."""

    def __init__(self, folder: Path, protocol: str, *options: str) -> None:
        (folder / "live.py").write_text(APPLICATION)
        self.path = str(folder / "s")
        bind = f"{protocol}+unix:{self.path}"
        self.daemon = Daemon(folder, protocol, [bind], *options, entry="live:application")

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(DEADLINE_S)
        sock.connect(self.path)
        return sock

    def ask(self, data: bytes, *pieces: bytes, end: bool = False) -> bytes:
        """Send, then read to the close; b"" for a close without answer.

        end  close our side first; else the daemon has to end the connection by itself
        """
        with self.connect() as sock:
            try:
                for piece in (data, *pieces):
                    sock.sendall(piece)
                if end:
                    sock.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent
            return everything(sock)

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{worker_of(self.daemon.process.pid)}/fd"))

    def peak_kib(self) -> int:
        """The most memory it has held so far."""
        status = Path(f"/proc/{worker_of(self.daemon.process.pid)}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def calm(self, fds: int) -> bool:
        """No more descriptors than before: whoever has left is forgotten."""
        return wait_until(lambda: self.fds() <= fds)


def everything(sock: socket.socket) -> bytes:
    got = b""
    while True:
        try:
            data = sock.recv(65_536)
        except ConnectionResetError:
            return got
        if not data:
            return got
        got += data


def serve(factory: pytest.TempPathFactory, protocol: str, *options: str) -> Iterator[Live]:
    live = Live(factory.mktemp(protocol), protocol, *options)
    try:
        yield live
    finally:
        live.daemon.stop()


def told(body: bytes, *lines: str) -> bytes:
    """What the application says about a request."""
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join([f"{len(body)} {digest}", *lines]).encode("latin-1")


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
