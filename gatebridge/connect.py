"""Connecting to a bind, and sending and receiving there at the same time."""

import os
import selectors
import socket
import stat
import struct
from collections.abc import Iterator

from gatebridge.bind import Bind
from gatebridge.errors import ConfigError, GatebridgeError, PeerError

_CHUNK = 65_536


def connect(place: Bind, timeout_s: float) -> socket.socket:
    """A connected socket. raises ConfigError("connect.…"), PeerError("connect.…")"""
    try:
        if place.family == "tcp":
            return socket.create_connection((place.host, place.port), timeout_s)
        if place.family in ("fd", "systemd"):
            raise ConfigError("bind.fd", f"{place.text} is a listener, and nothing to connect to")
        name = "\0" + place.path if place.family == "abstract" else place.path
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # a full backlog blocks a blocking connect() this long, and fails any other at once
            wait = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
            sock.connect(name)
        except BaseException:
            sock.close()
            raise
    except UnicodeError as error:  # a label that is empty, or longer than 63
        raise ConfigError("connect.unresolved", f"{place.host!r} is no host name") from error
    except OSError as error:
        raise _unconnected(error, place, timeout_s) from error
    return sock


def _unconnected(error: OSError, place: Bind, timeout_s: float) -> GatebridgeError:
    where = place.text
    if isinstance(error, socket.gaierror):
        return ConfigError("connect.unresolved", f"no address for {place.host}: {error.strerror}")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ConfigError("connect.no_socket", f"{where} does not exist")
    if isinstance(error, PermissionError):
        return ConfigError("connect.permission", f"no permission to connect to {where}")
    if isinstance(error, ConnectionRefusedError):
        if place.family == "unix" and not _is_socket(place.path):
            kind = "folder" if os.path.isdir(place.path) else "file"
            return ConfigError("connect.not_a_socket", f"{place.path} is a {kind}, not a socket")
        return PeerError("connect.refused", f"nobody listens on {where}")
    if isinstance(error, BlockingIOError):
        return PeerError("connect.busy", f"the queue of {where} stayed full for {timeout_s:g} s")
    if isinstance(error, TimeoutError):
        return PeerError("connect.timeout", f"no connection to {where} in {timeout_s:g} s")
    return PeerError("connect.failed", f"{where}: {error.strerror or error}")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return True  # gone by now: it was one


class Link:
    """A connected socket that sends and receives at the same time, so that neither side waits.

    first  the beginning of what was received, to tell which protocol it is
    """

    __slots__ = ("_outgoing", "_pending", "_sock", "_timeout_s", "first")

    def __init__(
        self, sock: socket.socket, outgoing: Iterator[bytes | memoryview], timeout_s: float
    ) -> None:
        self.first = b""
        self._sock = sock
        self._outgoing = outgoing
        self._pending: bytes | memoryview = b""
        self._timeout_s = timeout_s

    def received(self) -> Iterator[bytes]:
        """What the peer sends, until it closes; meanwhile ours goes out."""
        self._sock.setblocking(False)
        writing = self._next()
        count = 0
        with selectors.DefaultSelector() as selector:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            selector.register(self._sock, both if writing else selectors.EVENT_READ)
            while True:
                ready = selector.select(self._timeout_s)
                if not ready:
                    silence = f"nothing for {self._timeout_s:g} s after {count} bytes"
                    raise PeerError("answer.timeout", silence)
                mask = ready[0][1]
                if mask & selectors.EVENT_WRITE and not self._send():
                    selector.modify(self._sock, selectors.EVENT_READ)
                if mask & selectors.EVENT_READ:
                    data = self._receive()
                    if data == b"":
                        return
                    if data:
                        count += len(data)
                        yield data

    def _next(self) -> bool:
        for piece in self._outgoing:
            if piece:
                self._pending = piece
                return True
        return False

    def _send(self) -> bool:
        """Send what the socket takes. False: all is sent, or nobody reads it any more."""
        try:
            sent = self._sock.send(self._pending)
        except (BlockingIOError, InterruptedError):
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False  # an answer may still be there to read
        self._pending = self._pending[sent:]
        return len(self._pending) > 0 or self._next()

    def _receive(self) -> bytes | None:
        try:
            data = self._sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return None
        except ConnectionResetError:
            return b""
        if len(self.first) < 64:
            self.first += data[:64]
        return data
