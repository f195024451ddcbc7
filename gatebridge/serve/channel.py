"""Messages between a supervisor and its children: one JSON object a packet, descriptors beside it.

A child runs the application, so what it sends is no more to be believed than a stranger's bytes.
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    Message = dict[str, Any]

MESSAGE_MAX = 65_536  # bytes of a packet
FDS_MAX = 8
_FDS = socket.CMSG_SPACE(FDS_MAX * array("i").itemsize)


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end, which never waits, and the child's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> bool:
    """Whether it was taken: not so when the other end is gone, or stuck with a full buffer."""
    data = json.dumps(message).encode()
    try:
        if fds:
            return socket.send_fds(sock, [data], list(fds)) == len(data)
        return sock.send(data) == len(data)
    except OSError:
        return False


def receive(sock: socket.socket) -> Message:
    """The next message; one that is none is empty.

    raises  BlockingIOError, EOFError
    """
    message, fds = receive_fds(sock)
    for fd in fds:
        os.close(fd)
    return message


def receive_fds(sock: socket.socket) -> tuple[Message, list[int]]:
    """The same with the descriptors that came along; they are close-on-exec."""
    try:
        data, controls, flags, _ = sock.recvmsg(MESSAGE_MAX, _FDS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError as error:
        raise EOFError from error
    fds = array("i")
    for level, kind, payload in controls:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if not data:
        for fd in fds:
            os.close(fd)
        raise EOFError
    return ({} if flags & socket.MSG_TRUNC else _parse(data)), list(fds)


def _parse(data: bytes) -> Message:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def text_of(message: Message, key: str) -> str:
    """A text of a message; "" where there is none."""
    value = message.get(key)
    return value if isinstance(value, str) else ""


def seconds_of(message: Message, key: str) -> float:
    """A time of a message; 0.0 where there is none."""
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(value) if 0 <= value < 1e9 else 0.0
