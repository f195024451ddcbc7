"""The part of a relay for requests with a body, and for answers that are long or late.

Both directions at once, each with one buffer of about 64 KiB. Descriptors 0 to 2 are shared with
others, so they stay blocking: they are read and written as poll() says.
"""

import posix

from gatebridge.relay import put, rare, wrote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Generator

# --- written into relays from here on

from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll  # noqa: E402

PIECE = 65528  # bytes of a STDIN record, and of an answer that waits
SURE = 4096  # PIPE_BUF: what a pipe takes without blocking where poll() says POLLOUT
DRAIN = 16 << 20  # as in relay_fail.py


class Broken(Exception):
    """(code, text) for relay_fail.py."""


def answer(put: "Callable[[int, bytes], None]") -> "Generator[None, bytes, int]":
    """Takes FastCGI records, cut anywhere; returns the exit status. raises Broken"""
    data = b""
    while True:
        while len(data) < 8:
            data += yield
        kind, size, pad, ours = data[1], data[4] << 8 | data[5], data[6], data[2:4] == b"\0\1"
        if data[0] != 1 or (kind == 3 and ours and size != 8):
            raise Broken(b"502", b"garbage: the daemon does not speak FastCGI")
        data = data[8:]
        if kind == 3 and ours:
            while len(data) < 8:
                data += yield
            if data[4]:
                raise Broken(b"503", b"overloaded: the daemon refuses the request")
            return min(int.from_bytes(data[:4], "big"), 255)
        fd = kind - 5 if ours and kind in (6, 7) else 0
        for left, to in (size, fd), (pad, 0):
            while left:
                data = data or (yield)
                piece, data = data[:left], data[left:]
                left -= len(piece)
                if to:
                    put(to, piece)


class Duplex:
    """data: to be sent first; left: bytes of the body, -1 for all there is."""

    def __init__(self, sock: "socket", data: bytes, left: int) -> None:
        sock.settimeout(0)
        self.sock = sock
        self.data = data
        self.left = left
        self.waits = bytearray()  # of the answer
        self.status = -1  # of the answer's end
        self.deaf = False  # the daemon takes no more

    def put(self, fd: int, data: bytes) -> None:
        if fd == 1 and self.left:
            self.waits += data
        else:
            put(fd, data)

    def ready(self) -> "dict[int, int]":
        """What can be done now, by descriptor."""
        look = poll()
        if self.status < 0:
            room = len(self.waits) < PIECE
            mask = POLLIN * room | POLLOUT * bool(self.data)
            if mask:
                look.register(self.sock.fileno(), mask)
        if self.left and not self.data and not (self.deaf and self.status < 0):
            look.register(0, POLLIN)
        look.register(1, POLLOUT * bool(self.waits))
        return dict(look.poll())

    def write(self, events: int) -> None:
        if events & (POLLERR | POLLHUP | POLLNVAL):
            posix._exit(1)  # the server has left; the closed socket tells the daemon
        size = SURE if self.left else len(self.waits)
        put(1, bytes(self.waits[:size]))
        del self.waits[:size]

    def read(self) -> None:
        """A piece of the body for the daemon, or for nobody where the answer is complete."""
        try:
            piece = posix.read(0, PIECE if self.left < 0 else min(self.left, PIECE))
        except OSError:
            piece = b""
        if not piece:
            self.left = 0
        elif self.left > 0:
            self.left -= len(piece)
        if self.status < 0:
            if piece:
                self.data = b"\1\5\0\1" + len(piece).to_bytes(2, "big") + b"\0\0" + piece
            if not self.left:
                self.data += b"\1\5\0\1\0\0\0\0"

    def send(self) -> None:
        try:
            self.data = self.data[self.sock.send(self.data) :]
        except BlockingIOError:
            pass
        except OSError:  # it may have answered all the same
            self.data = b""
            self.deaf = True

    def receive(self, take: "Generator[None, bytes, int]") -> None:
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.hear(data, take)

    def hear(self, data: bytes, take: "Generator[None, bytes, int]") -> None:
        """What came from the daemon, b"" for its end."""
        try:
            if not data:
                why = b"cut: the daemon closed the connection before its answer's end"
                raise Broken(b"502", why)
            take.send(data)
            return
        except StopIteration as end:
            self.status = end.value
        except Broken as broken:
            page = rare("fail", "told")(*broken.args)
            if not (wrote or self.waits):
                self.waits += page
            self.status = 1
        self.data = b""
        if not 0 < self.left <= DRAIN:
            self.left = 0

    def run(self, got: bytes) -> int:
        take = answer(self.put)
        next(take)
        if got:
            self.hear(got, take)
        while self.status < 0 or self.waits or self.left:
            found = self.ready()
            if 1 in found:
                self.write(found[1])
            if 0 in found:
                self.read()
            events = found.get(self.sock.fileno(), 0)
            if events & POLLOUT:
                self.send()
            if events & ~POLLOUT:
                self.receive(take)
        return self.status


def duplex(sock: "socket", data: bytes, left: int, got: bytes) -> int:
    """Returns the exit status. got: of the answer, not yet looked at."""
    return Duplex(sock, data, left).run(got)
