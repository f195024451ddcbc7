"""The part of a relay for requests with a body, and for answers that are long in coming.

Both directions at once, each with one buffer of about 64 KiB. Descriptors 0 to 2 are shared with
others, so they stay blocking: they are read and written as poll() says.
"""

import posix

from gatebridge.relay import answer, cut, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Generator

# --- written into relays from here on

from select import POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, poll  # noqa: E402

PIECE = 65528  # bytes of a STDIN record, and of an answer that waits
SURE = 4096  # PIPE_BUF: what a pipe takes without blocking where poll() says POLLOUT
DRAIN = 16 << 20  # bytes of an unread body that are taken, so that the answer arrives


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
        if not data:
            put(1, bytes(self.waits))
            cut()
        try:
            take.send(data)
        except StopIteration as end:
            self.status = end.value
            self.data = b""
            if not 0 < self.left <= DRAIN:
                self.left = 0

    def run(self, take: "Generator[None, bytes, int] | None") -> int:
        if take is None:
            take = answer(self.put)
            next(take)
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


def duplex(
    sock: "socket", data: bytes, left: int, take: "Generator[None, bytes, int] | None"
) -> int:
    """Returns the exit status. take: the answer's reader, where it has begun."""
    return Duplex(sock, data, left).run(take)
