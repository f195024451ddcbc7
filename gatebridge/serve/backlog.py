"""How many connections wait in the kernel's queue of a listening socket (Linux).

They have connected, perhaps sent their request already, and nobody has accepted them yet.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

# linux/tcp.h: of a listening socket tcpi_unacked is the queue, tcpi_sacked the most it may hold
_TCP_INFO = struct.Struct("=B7x4I2I")  # state, others, rto, ato, snd_mss, rcv_mss, unacked, sacked
_TCP_LISTEN = 10

# linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_SHOW_RQLEN = 0x10
_ATTRIBUTE_RQLEN = 4
_NO_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBHIIIII")  # family, protocol, -, states, inode, show, cookie
_MESSAGE_SIZE = 16  # family, type, state, -, inode, cookie
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_RQLEN = struct.Struct("=II")  # of a listening socket: the queue, the most it may hold
_ANSWER_MAX = 4096


def queue(sock: socket.socket) -> tuple[int, int] | None:
    """(connections that wait, the most that may); None where the kernel does not tell."""
    if sys.platform != "linux":
        return None
    try:
        if sock.family == socket.AF_UNIX:
            return _unix(os.fstat(sock.fileno()).st_ino)
        return _tcp(sock)
    except (OSError, struct.error):
        return None


def _tcp(sock: socket.socket) -> tuple[int, int] | None:
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    state, _, _, _, _, waiting, most = _TCP_INFO.unpack(info)
    return (waiting, most) if state == _TCP_LISTEN else None


def _unix(inode: int) -> tuple[int, int] | None:
    """Asks for one socket by its inode. The kernel answers before send() returns."""
    body = _REQUEST.pack(
        socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode & 0xFFFFFFFF, _SHOW_RQLEN, _NO_COOKIE, _NO_COOKIE
    )
    length = _HEADER.size + len(body)
    head = _HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG) as link:
        link.send(head + body)
        return _parse(link.recv(_ANSWER_MAX))


def _parse(answer: bytes) -> tuple[int, int] | None:
    length, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:  # an error message, as where unix_diag is not built in
        return None
    at = _HEADER.size + _MESSAGE_SIZE
    end = min(length, len(answer))
    while at + _ATTRIBUTE.size <= end:
        size, name = _ATTRIBUTE.unpack_from(answer, at)
        if name == _ATTRIBUTE_RQLEN:
            waiting, most = _RQLEN.unpack_from(answer, at + _ATTRIBUTE.size)
            return waiting, most
        at += max(size + 3 & ~3, _ATTRIBUTE.size)
    return None
