"""A connection whose waits let other greenlets run."""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.errors import PeerError
from gatebridge.serve.connection import Connection
from gatebridge.serve.gevent_hub import READ, WRITE, new_lock, wait_fd

if TYPE_CHECKING:
    import socket

    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.sending import Piece
    from gatebridge.serve.site import Site

_WAIT_S = 1.0  # then it looks whether somebody else took what came
_SLICE_S = 0.01  # the same where two requests read each other's bytes off the socket
_FILE_CHUNK = 1 << 17  # bytes read at once from a file that is sent


class GeventConnection(Connection):
    """Its socket never waits in the kernel, and its lock may be waited for by greenlets."""

    __slots__ = ()

    def __init__(self, sock: socket.socket, site: Site, peer: object) -> None:
        super().__init__(sock, site, peer)
        self.lock = new_lock()

    def _wait_readable(self, deadline: float) -> None:
        left = deadline - monotonic()
        if left <= 0:
            raise PeerError("body.timeout", "no byte of the body came in time")
        self.site.gate.enter()
        try:
            wait_fd(self.fd, READ, _SLICE_S if len(self.exchanges) > 1 else min(left, _WAIT_S))
        finally:
            self.site.gate.leave()

    def _gather_alone(self, exchange: Exchange, parts: list[Piece], want: int) -> int:
        """pull() waits in its place."""
        return want

    def _wait_writable(self, deadline: float) -> None:
        if monotonic() > deadline:
            raise TimeoutError(f"the peer took no byte for {self.site.send_idle_s} s")
        self._take_input()
        reads = not self.eof and self._input_due()
        wait_fd(self.fd, READ | WRITE if reads else WRITE, _WAIT_S)

    def _sendfile(self, fd: int, offset: int, count: int) -> int:
        self._send_flags = int(MSG_DONTWAIT)
        left = count
        while left:
            data = os.pread(fd, min(left, _FILE_CHUNK), offset)
            if not data:
                break
            offset += len(data)
            left -= len(data)
            self.send([data])
        return count - left
