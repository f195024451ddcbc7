"""Connections on their way from a worker that is stuck to one that is not.

All workers of a pool hold both ends of one socket pair, so what is offered waits in the kernel for
whoever is free first, be it the worker that offered it. One that drains offers the kept connections
that it has no request of, rather than closing them while the next request may be on its way.
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 1024  # bytes of what is said about a connection
_FDS = socket.CMSG_SPACE(array("i").itemsize)


class Passed:
    """A connection that was taken over.

    listener  what its Listener.text says
    served    some request on it was answered
    """

    __slots__ = ("fd", "listener", "peer", "served")

    def __init__(self, listener: str, peer: object, served: bool, fd: int) -> None:
        self.served = served
        self.listener = listener
        self.peer = peer
        self.fd = fd


class Inbox:
    """Made in the supervisor before any worker of the pool is forked.

    fds  of one that the program before this one made
    """

    __slots__ = ("_offers", "_takes")

    def __init__(self, fds: Sequence[int] = ()) -> None:
        if fds:
            self._takes, self._offers = [socket.socket(fileno=fd) for fd in fds]
        else:
            self._takes, self._offers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (self._takes, self._offers):
            sock.setblocking(False)

    @property
    def fds(self) -> Sequence[int]:
        return (self._takes.fileno(), self._offers.fileno())

    @property
    def fd(self) -> int:
        """Readable when take() has something."""
        return self._takes.fileno()

    def offer(self, listener: str, peer: object, served: bool, fd: int) -> bool:
        """Send a copy of a descriptor. False: the inbox is full, so keep the connection."""
        about = [listener, list(peer) if isinstance(peer, tuple) else "", served]
        said = json.dumps(about).encode()
        try:
            return socket.send_fds(self._offers, [said], [fd]) == len(said)
        except OSError:  # full, or too many descriptors under way
            return False

    def take(self) -> Passed | None:
        """The oldest connection; None where there is none, or another worker was quicker.

        raises  OSError when there is no room for one more descriptor: it stays for the others
        """
        os.close(os.dup(self._takes.fileno()))  # the kernel would drop what finds no room
        try:
            data, controls, _, _ = self._takes.recvmsg(_MOST, _FDS, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return None
        fds = array("i")
        for level, kind, payload in controls:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        try:
            listener, peer, served = json.loads(data)
            return Passed(str(listener), tuple(peer) if peer else "", bool(served), fds[0])
        except (ValueError, TypeError, IndexError):  # out of descriptors: it was closed on the way
            for fd in fds:
                os.close(fd)
            return None

    def close(self) -> None:
        self._takes.close()
        self._offers.close()
