"""What relays are tested against: a FastCGI peer that a test scripts, and a starter that notes."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gatebridge.control_client import call
from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.relay_baked import Baked
from gatebridge.relay_text import relay_text
from gatebridge.shim import write
from tests import cgi
from tests.cgi import DEADLINE_S, Done

KINDS = ("python", "c")
BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR = 1, 2, 3, 4, 5, 6, 7
NAME = "0123456789abcdef"

# Started by a relay: notes what it was given, then does what the word says.
STARTER = """
import json, os, socket, sys, time
notes, state, name, how = sys.argv[1:]
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink("/proc/self/fd/" + fd)
    except OSError:
        pass
note = {"pid": os.getpid(), "sid": os.getsid(0), "pgid": os.getpgid(0), "cwd": os.getcwd(),
        "env": dict(os.environ), "fds": fds, "umask": os.umask(0o22)}
path = os.path.join(notes, "started-%d" % os.getpid())
with open(path + ".new", "w") as file:
    json.dump(note, file)
os.rename(path + ".new", path)
file = os.path.join(state, name)
def until_end():
    while not os.path.exists(os.path.join(notes, "end")):
        time.sleep(0.01)
if how == "fail":
    with open(file + ".failed", "w") as failed:
        failed.write("no daemon wants to live here\\nmore\\n")
elif how == "hang":
    until_end()
elif how == "serve":
    server = socket.socket(socket.AF_UNIX)
    server.bind(file + ".new")
    server.listen(200)
    server.settimeout(0.05)
    os.rename(file + ".new", file + ".sock")
    os.close(3)
    text = b"Content-Type: text/plain\\r\\n\\r\\nserved by %d" % os.getpid()
    answer = b"\\1\\6\\0\\1" + len(text).to_bytes(2, "big") + b"\\0\\0" + text
    answer += b"\\1\\3\\0\\1\\0\\10\\0\\0" + bytes(8)
    while not os.path.exists(os.path.join(notes, "end")):
        try:
            peer, _ = server.accept()
        except TimeoutError:
            continue
        peer.settimeout(10)
        data = b""
        while b"\\1\\5\\0\\1\\0\\0\\0\\0" not in data:
            piece = peer.recv(65536)
            if not piece:
                break
            data += piece
        else:
            peer.sendall(answer)
        peer.close()
"""

ONE_SHOT = """
import os, sys
body = sys.stdin.buffer.read(int(os.environ.get("CONTENT_LENGTH") or 0))
sys.stdout.buffer.write(b"Status: 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\none-shot ")
sys.stdout.buffer.write(body + os.environ.get("HTTP_X_MARK", "").encode())
"""


def written(kind: str, path: Path, baked: Baked) -> Path:
    """The executable file of a relay."""
    if kind == "python":
        write(str(path), relay_text(baked, "a test"), True)
    else:
        from gatebridge.relay_build import native

        write(str(path), native(baked), True)
    return path


def record(kind: int, content: bytes, id: int = 1, pad: int = 0) -> bytes:
    head = bytes((1, kind)) + id.to_bytes(2, "big") + len(content).to_bytes(2, "big")
    return head + bytes((pad, 0)) + content + bytes(pad)


def end(status: int = 0, protocol: int = 0) -> bytes:
    return record(END, status.to_bytes(4, "big") + bytes((protocol, 0, 0, 0)))


def document(body: bytes) -> bytes:
    return b"Content-Type: text/plain\r\n\r\n" + body


class Conversation:
    """One connection of a relay, seen by the daemon's side."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def receive(self) -> tuple[int, int, bytes] | None:
        """(type, id, content) of the next record; None at the end."""
        try:
            head = self.file.read(8)
            if len(head) < 8:
                return None
            content = self.file.read((head[4] << 8) + head[5])
            self.file.read(head[6])
        except ConnectionResetError:
            return None
        return head[1], (head[2] << 8) + head[3], content

    def stream(self, kind: int) -> bytes:
        """All of one stream, up to its end."""
        found = []
        while True:
            got = self.receive()
            assert got is not None, "the relay has left"
            assert got[:2] == (kind, 1), got
            if not got[2]:
                return b"".join(found)
            found.append(got[2])

    def params(self) -> dict[bytes, bytes]:
        begin = self.receive()
        assert begin == (BEGIN, 1, b"\0\1\0\0\0\0\0\0")
        block = self.stream(PARAMS)
        found: dict[bytes, bytes] = {}
        at = 0
        while at < len(block):
            sizes = []
            for _ in range(2):
                wide = block[at] > 127
                size = int.from_bytes(block[at : at + 4], "big") & 0x7FFFFFFF if wide else block[at]
                sizes.append(size)
                at += 4 if wide else 1
            name = block[at : at + sizes[0]]
            found[name] = block[at + sizes[0] : at + sum(sizes)]
            at += sum(sizes)
        return found

    def request(self) -> tuple[dict[bytes, bytes], bytes]:
        return self.params(), self.stream(STDIN)

    def out(self, data: bytes) -> None:
        for at in range(0, len(data), 65528):
            self.sock.sendall(record(STDOUT, data[at : at + 65528]))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = b"ok") -> None:
        self.out(document(body))
        self.send(end())

    def is_left(self) -> bool:
        """The relay goes: an abort, or a closed connection. Blocks until then."""
        while (got := self.receive()) is not None:
            if got[0] == ABORT:
                return True
        return True


Script = Callable[[Conversation], None]


class Peer:
    """Listens where the daemon would, and follows a script with each connection."""

    def __init__(self, path: str, script: Script) -> None:
        self.script = script
        self.failure: BaseException | None = None
        self.count = 0
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.bind(path)
        self._sock.listen(16)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:  # closed
                return
            self.count += 1
            with sock:
                sock.settimeout(DEADLINE_S)
                talk = Conversation(sock)
                try:
                    self.script(talk)
                except BaseException as error:
                    self.failure = error
                talk.file.close()

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)
        self._sock.close()
        if self.failure is not None:
            raise self.failure


class Stand:
    """A relay and its surroundings, all below one folder."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.notes = folder / "n"
        self.notes.mkdir()
        base = folder / "b"
        base.mkdir()
        self.state = base / f"gatebridge-{os.geteuid()}"
        (folder / "starter.py").write_text(STARTER)
        start = (sys.executable, "-I", str(folder / "starter.py"), str(self.notes), str(self.state))
        one_shot = (sys.executable, "-IS", "-c", ONE_SHOT)
        self.baked = Baked(str(base), NAME, (*start, NAME, "serve"), one_shot)
        self.file = folder / "site.cgi"
        self.peers: list[Peer] = []
        self.running: list[subprocess.Popen[bytes]] = []
        self.real = False  # a daemon of ours may run
        self.write()

    def write(self, how: str = "serve", **changed: object) -> None:
        """Write the relay anew; how: what its starter does."""
        start = (*self.baked.start[:-1], how)
        self.baked = replace(self.baked, **{"start": start, **changed})  # type: ignore[arg-type]
        written(self.kind, self.file, self.baked)

    def path(self, ending: str) -> Path:
        return self.state / f"{NAME}.{ending}"

    def peer(self, script: Script) -> Peer:
        if not self.state.exists():
            self.state.mkdir(mode=0o700)
        self.peers.append(Peer(str(self.path("sock")), script))
        return self.peers[-1]

    def ask(self, stdin: bytes = b"", *words: str, **vars: str | None) -> Done:
        return cgi.ask([str(self.file), *words], stdin, Path("/"), **vars)

    def start(self, stdout: int = subprocess.PIPE, **vars: str | None) -> "subprocess.Popen[bytes]":
        """A request under way, with pipes at its three descriptors."""
        pipe = subprocess.PIPE
        env = cgi.encoded(cgi.environment(**vars))
        process = subprocess.Popen(
            [str(self.file)], stdin=pipe, stdout=stdout, stderr=pipe, env=env, bufsize=0
        )
        self.running.append(process)
        return process

    def started(self) -> list[dict]:
        """What each starter has noted."""
        return [json.loads(path.read_text()) for path in sorted(self.notes.glob("started-*[0-9]"))]

    def daemon(self) -> int:
        """The process of the daemon of ours that serves."""
        return int(call(str(self.path("ctl")), "status")["pid"])

    def stop(self) -> None:
        """End the daemon of ours, if one serves or will."""
        with self.path("lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one that starts has it
            try:
                pid = self.daemon()
            except GatebridgeError:  # none
                return
            if alive(pid):
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: not alive(pid))

    def __enter__(self) -> "Stand":
        return self

    def __exit__(self, *_: object) -> None:
        (self.notes / "end").touch()
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        if self.real and self.state.is_dir():
            self.stop()
        for note in self.started():
            wait_until(lambda pid=note["pid"]: not alive(pid))
        for peer in self.peers:
            peer.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def stop_daemons(base: Path) -> None:
    """End the daemons of ours whose state folders are in ``base``."""
    for path in base.glob("gatebridge-*/*.ctl"):
        try:
            pid = int(call(str(path), "status")["pid"])
        except GatebridgeError:  # one that was killed
            continue
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda pid=pid: not alive(pid))


def has_native() -> str:
    """Why no C relay can be built here; "" where it can."""
    from gatebridge.relay_build import native

    try:
        native(Baked("/tmp", NAME, ("/bin/true",), ("/bin/true",)))
    except ConfigError as error:
        return str(error)
    return ""
