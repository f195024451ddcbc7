"""What the daemon's worker and a host say to each other.

Requests go to the host over its channel: a length, then a marshalled dict (the same interpreter
reads it), and descriptors beside the length. What it says of itself, and of each request over that
request's own report socket, are lines of JSON: a script may have written them, so they are data
and nothing else.
"""

from __future__ import annotations

import json
import marshal
import os
import select
import socket
import struct
from array import array
from typing import TYPE_CHECKING, Any

from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Mapping

    Said = dict[str, Any]

_LENGTH = struct.Struct("=I")
_FDS_MAX = 8
_ANCILLARY = socket.CMSG_SPACE(_FDS_MAX * array("i").itemsize)
_LINE_MAX = 1 << 20  # a host's list of what it has imported is the longest
_PIECE = 65_536


def send_request(sock: socket.socket, request: Said, fds: Mapping[str, int]) -> None:
    """Descriptors have names. raises OSError: the host is gone, and has not begun with it"""
    data = marshal.dumps({**request, "fds": list(fds)})
    socket.send_fds(sock, [_LENGTH.pack(len(data))], list(fds.values()))
    sock.sendall(data)


def receive_request(sock: socket.socket) -> tuple[Said, dict[str, int]]:
    """The next request and its descriptors, all close-on-exec.

    raises  EOFError: the worker has ended, or needs this host no more
    """
    try:
        head, controls, _, _ = sock.recvmsg(_LENGTH.size, _ANCILLARY, socket.MSG_WAITALL)
        fds = array("i")
        for level, kind, payload in controls:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        for fd in fds:
            os.set_inheritable(fd, False)
        data = _exactly(sock, _LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    except OSError as error:
        raise EOFError from error
    if not data:
        raise EOFError
    request = marshal.loads(data)
    return request, dict(zip(request["fds"], fds, strict=True))


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = sock.recv(min(count - len(data), _PIECE))
        if not piece:
            return b""
        data += piece
    return bytes(data)


def say(sock: socket.socket, said: Said) -> None:
    """One line. Nobody listens any more: it is lost."""
    try:
        sock.sendall(json.dumps(said).encode() + b"\n")
    except OSError:
        return


class Lines:
    """The lines that a host says on a socket, as far as they have come.

    A line that has not been asked for stays in the socket, which is readable then.

    ended   nothing will follow
    """

    __slots__ = ("_data", "_sock", "_watch", "ended")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._watch = select.poll()
        self._watch.register(sock, select.POLLIN)
        self._data = bytearray()
        self.ended = False

    def next(self, timeout_s: float) -> Said | None:
        """The next one; None: nothing whole in that time, or the end.

        raises  AppError("script.host"): not what a host says
        """
        while not self._data.endswith(b"\n"):
            if len(self._data) > _LINE_MAX:
                raise AppError("script.host", "the host of a script says a line without end")
            if self.ended or not self._more(timeout_s):
                return None
        line = bytes(self._data)
        self._data.clear()
        return _parse(line)

    def _more(self, timeout_s: float) -> bool:
        """Waits by poll(), so that whoever sends on the socket finds it as it was."""
        if not self._watch.poll(timeout_s * 1000):
            return False
        try:
            ahead = self._sock.recv(_PIECE, socket.MSG_PEEK)
            data = self._sock.recv(ahead.find(b"\n") + 1 or len(ahead)) if ahead else b""
        except OSError:
            data = b""
        self.ended = not data
        self._data += data
        return bool(data)


def _parse(line: bytes) -> Said:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise AppError("script.host", f"the host of a script says {line[:80]!r}")
    return said
