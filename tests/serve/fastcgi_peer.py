"""A daemon to be spoken FastCGI to, and the web server's side of it by raw records."""

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatebridge.wire.parse_head import parse_head
from tests.suite.modes import environment, read_from, wait_until, worker_of
from tests.wire.fastcgi_rows import (
    END,
    KEEP,
    PARAMS,
    RESPONDER,
    STDERR,
    STDIN,
    STDOUT,
    begin,
    block,
    rec,
    split,
    stream,
)

DEADLINE_S = 20.0
APP = Path(__file__).with_name("fastcgi_app.py")

Address = str | tuple[str, int]


class Served:
    """A daemon of fastcgi_app.py. address: of its first bind; notes: what the application noted."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        bind: str = "",
        before: Sequence[str] = (),
        stdin: int | socket.socket = subprocess.DEVNULL,
        **variables: str,
    ) -> None:
        self.folder = folder
        (folder / "fastcgi_app.py").write_text(APP.read_text())
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.path = folder / "log"
        bind = bind or f"unix:{folder / 's'}"
        self.address: Address = str(folder / "s")
        argv = [sys.executable, "-m", "gatebridge", "serve", "fastcgi_app:application"]
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, *argv, "--bind", bind, *options],
                env={**environment(folder), **variables},
                cwd=folder,
                stdin=stdin,
                stdout=log,
                stderr=log,
            )
        ready = wait_until(lambda: "listening on" in self.log() or self.ended())
        if not ready or self.ended():
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"gatebridge serve did not come up:\n{self.log()}")
        said = self.log().partition("listening on fcgi://")[2].split(" ")[0]
        if said:
            host, _, port = said.rpartition(":")
            self.address = (host, int(port))
        self.idle_fds = self.fds()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def log(self) -> str:
        return read_from(self.path, 0)

    def connect(self) -> "Peer":
        return Peer(self.address)

    def ask(self, path: str, *pairs: tuple[str, str], body: bytes = b"") -> "Answer":
        """One request on a connection of its own."""
        with self.connect() as peer:
            return peer.ask(path, *pairs, body=body)

    def go(self, name: str) -> None:
        """Let the application's /wait/name go on."""
        (self.folder / f"go-{name}").touch()

    def noted(self, line: str) -> bool:
        """Wait until the application has noted a line."""
        return wait_until(lambda: line in self.ledger.read_text().splitlines())

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{worker_of(self.process.pid)}/fd"))

    def calm(self) -> bool:
        """As many descriptors as after the start: whoever has left is forgotten."""
        return wait_until(lambda: self.fds() == self.idle_fds)

    def kib(self, name: str = "VmRSS") -> int:
        status = Path(f"/proc/{worker_of(self.process.pid)}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0])

    def stop(self) -> int:
        if not self.ended():
            self.process.terminate()
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"TERM did not end it:\n{self.log()[-3000:]}") from None


@contextmanager
def served(folder: Path, *options: str, **more: Any) -> Iterator[Served]:
    """A daemon for a block; TERM must end it with 0."""
    daemon = Served(folder, *options, **more)
    try:
        yield daemon
    finally:
        code = daemon.stop()
    assert code == 0, daemon.log()[-3000:]


class Answer:
    """What one id was answered. app, protocol: END_REQUEST's two; out: STDOUT as it came."""

    def __init__(self, out: bytes, errors: bytes, end: bytes) -> None:
        self.out = out
        self.errors = errors
        self.app = int.from_bytes(end[:4], "big")
        self.protocol = end[4]
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        parsed = parse_head(out, 65_536) if out else None
        if parsed is not None:
            self.status, self.headers = parsed[0].status, parsed[0].headers
            self.body = out[parsed[1] :]

    def __repr__(self) -> str:
        return f"Answer({self.out[:300]!r}, {self.errors[:300]!r}, {self.app}, {self.protocol})"


class Peer:
    """A connection to a FastCGI application. order: every record as it came."""

    def __init__(self, address: Address) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE_S)
        try:
            self.sock.connect(address)
        except OSError:
            self.sock.close()
            raise
        self.eof = False
        self.order: list[tuple[int, int, bytes]] = []
        self._rest = b""

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # -- sending

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.sock.sendall(piece)

    def start(
        self,
        path: str,
        *pairs: tuple[str, str],
        id: int = 1,
        flags: int = KEEP,
        role: int = RESPONDER,
    ) -> None:
        """BEGIN_REQUEST and PARAMS."""
        self.send(head(path, *pairs, id=id, flags=flags, role=role))

    def whole(
        self, path: str, *pairs: tuple[str, str], id: int = 1, flags: int = KEEP, body: bytes = b""
    ) -> None:
        """A whole request of a responder."""
        if body:
            pairs = (*pairs, ("CONTENT_LENGTH", str(len(body))))
        self.send(head(path, *pairs, id=id, flags=flags) + stream(STDIN, id, body))

    def body(self, id: int, data: bytes, kind: int = STDIN, end: bool = True) -> None:
        self.send(stream(kind, id, data, end=end))

    def abort(self, id: int) -> None:
        self.send(rec(2, id))

    # -- receiving

    def receive(self) -> bool:
        """Take what comes next; False at the end."""
        if self.eof:
            return False
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionResetError:
            data = b""
        if not data:
            self.eof = True
            return False
        found, self._rest = split(self._rest + data)
        self.order += found
        return True

    def until(self, true: Callable[[], bool]) -> bool:
        """Receive until something is true; False if the connection ended before."""
        while not true():
            if not self.receive():
                return False
        return True

    def out(self, id: int, kind: int = STDOUT) -> bytes:
        return b"".join([c for k, found, c in self.order if (k, found) == (kind, id)])

    def answer(self, id: int = 1) -> Answer:
        """Wait for an id's END_REQUEST; takes its records out of ``order``."""
        ended = self.until(lambda: any(k == END and found == id for k, found, _ in self.order))
        assert ended, f"closed before END_REQUEST of {id}: {self.order!r:.500}"
        at = next(i for i, (k, found, _) in enumerate(self.order) if (k, found) == (END, id))
        mine = [record for record in self.order[: at + 1] if record[1] == id]
        self.order = [r for r in self.order[: at + 1] if r[1] != id] + self.order[at + 1 :]
        streams = {kind: b"".join([c for k, _, c in mine if k == kind]) for kind in (6, STDERR)}
        return Answer(streams[STDOUT], streams[STDERR], mine[-1][2])

    def ask(self, path: str, *pairs: tuple[str, str], id: int = 1, body: bytes = b"") -> Answer:
        self.whole(path, *pairs, id=id, body=body)
        return self.answer(id)

    def management(self) -> tuple[int, int, bytes]:
        """Wait for a record of id 0; takes it out of ``order``."""
        assert self.until(lambda: any(id == 0 for _, id, _ in self.order)), "closed instead"
        found = next(record for record in self.order if record[1] == 0)
        self.order.remove(found)
        return found

    def closed(self) -> bool:
        """Wait until the daemon closes."""
        while self.receive():
            pass
        return self.eof

    def full(self) -> bool:
        """Wait until the daemon has filled the socket, and no more goes in."""
        sizes = [0, 0, 0]

        def settled() -> bool:
            count = fcntl.ioctl(self.sock, termios.FIONREAD, struct.pack("i", 0))
            sizes.append(struct.unpack("i", count)[0])
            return sizes[-1] > 100_000 and len(set(sizes[-3:])) == 1

        return wait_until(settled)

    def silent(self) -> bool:
        """Nothing waits to be received just now."""
        return not select.select([self.sock], [], [], 0)[0]


def head(
    path: str, *pairs: tuple[str, str], id: int = 1, flags: int = KEEP, role: int = RESPONDER
) -> bytes:
    """BEGIN_REQUEST and PARAMS of a request."""
    own = (
        ("REQUEST_METHOD", "POST" if any(n == "CONTENT_LENGTH" for n, _ in pairs) else "GET"),
        ("REQUEST_URI", path),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", path),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
    )
    return begin(id, flags, role) + stream(PARAMS, id, block(*own, *pairs))
