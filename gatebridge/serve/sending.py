"""The sending half of a connection: all of it, in order, to a peer that may be slow."""

from __future__ import annotations

import os
import struct
from _socket import MSG_DONTWAIT, SO_SNDBUF, SO_SNDTIMEO, SOL_SOCKET
from _thread import allocate_lock
from select import POLLIN, POLLOUT, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.engine.body import CHUNK

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import NoReturn

    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.site import Site

Piece = bytes | memoryview
_PIECES = 512  # of one sendmsg; the kernel takes 1,024
_SEND_SLICE = struct.pack("ll", 1, 0)  # a timeval: one second
_SENDFILE = 1 << 20  # bytes of a file in one call
_SEND_BUFFER = 1 << 20  # bytes asked for, of which the system gives what it allows: fewer waits
_OUTBOX_MOST = 1 << 20  # bytes of replies kept for a peer that does not read


class Sender:
    """What a connection has, and how it sends; see connection.Connection for the locks."""

    __slots__ = ("_alone", "_linger", "_outbox", "_send_flags", "_unread", "eof", "exchanges", "fd",
                 "lock", "sending", "site", "sock", "wire")  # fmt: skip

    def __init__(self, sock: socket.socket, site: Site) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.site = site
        self.wire = site.new_wire(site.limits)
        self.lock = allocate_lock()
        self.exchanges: dict[int, Exchange] = {}
        self.eof = False
        self.sending = False  # in the middle of pieces: nothing may come between them
        self._alone = False  # a thread receives without the lock
        self._linger = False
        self._unread = False  # some request was answered while its body was still to come
        self._send_flags = int(MSG_DONTWAIT)  # 0 once the peer has been slow
        self._outbox: list[Piece] = []  # replies of the protocol that the peer did not take yet

    def arrived(self, data: bytes) -> None:
        """Take in what was received; b"" is the end. The lock is held."""
        raise NotImplementedError

    def lost(self) -> None:
        """Nothing can be sent any more."""
        self.eof = True
        self._outbox = []
        for exchange in list(self.exchanges.values()):  # the watch comes here without the lock
            exchange.gone = True

    # the lock is held

    def send(self, pieces: Sequence[Piece]) -> None:
        """Send all of it. raises ConnectionResetError"""
        if self._outbox:
            pieces = [*self._outbox, *pieces]
            self._outbox = []
        try:
            if len(pieces) == 1:
                count = self.sock.send(pieces[0], self._send_flags)
                if count == len(pieces[0]):
                    return
            elif len(pieces) <= _PIECES:
                count = self.sock.sendmsg(pieces, (), self._send_flags)
                if count == sum(map(len, pieces)):
                    return
            else:
                count = 0
        except BlockingIOError:
            count = 0
        except OSError as error:
            self._send_failed(error)
        self._send_rest(pieces, count)

    def _send_rest(self, pieces: Sequence[Piece], count: int) -> None:
        """Send what is left after count bytes; the peer is slow, or there is a lot of it."""
        self.sending = True
        try:
            self._send_pieces(pieces, count)
        except OSError as error:
            self._send_failed(error)
        finally:
            self.sending = False
        if self._outbox:
            self._flush_outbox()

    def _send_pieces(self, pieces: Sequence[Piece], count: int) -> None:
        deadline = 0.0
        at = 0
        while True:
            while at < len(pieces) and count >= len(pieces[at]):
                count -= len(pieces[at])
                at += 1
            if at == len(pieces):
                return
            pieces = [memoryview(pieces[at])[count:], *pieces[at + 1 :]]
            at = 0
            try:
                count = self.sock.sendmsg(pieces[:_PIECES], (), self._send_flags)
                deadline = 0.0
            except BlockingIOError:
                count = 0
                deadline = deadline or monotonic() + self.site.send_idle_s
                self._wait_writable(deadline)

    def _send_failed(self, error: OSError) -> NoReturn:
        self.lost()
        raise ConnectionResetError(f"the peer has left: {error}") from None

    def _wait_writable(self, deadline: float) -> None:
        """The peer is slow, or sends all of its own before it reads.

        While something may come, it is taken in: a peer that waits for us to read would wait
        for ever. Else the kernel waits from now on, a second at a time.
        """
        if monotonic() > deadline:
            raise TimeoutError(f"the peer took no byte for {self.site.send_idle_s} s")
        if not self._send_flags:
            self._take_input()
        elif self.eof or not self._input_due():
            self._send_flags = 0
            self.sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _SEND_SLICE)
            self.sock.setsockopt(SOL_SOCKET, SO_SNDBUF, _SEND_BUFFER)
        else:
            waiter = poll()
            # where the application reads in a thread of its own, that one takes the input
            waiter.register(self.fd, POLLOUT if self._alone else POLLIN | POLLOUT)
            for _, flags in waiter.poll(1000):
                if flags & POLLIN:
                    self._take_input()

    def _input_due(self) -> bool:
        if self._unread:
            return True
        return any(not exchange.ended for exchange in list(self.exchanges.values()))

    def _take_input(self) -> None:
        """Receive once, whatever it is; an ABORT or the peer's leaving shows on the exchange."""
        if self._alone:
            return
        try:
            data = b"" if self.eof else self.sock.recv(CHUNK, MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not self._linger or not data:
            self.arrived(data)

    def _flush_outbox(self) -> None:
        """Send replies without waiting: whoever is served next takes the rest along."""
        if self.sending:
            return
        try:
            count = self.sock.sendmsg(self._outbox[:_PIECES], (), MSG_DONTWAIT)
        except BlockingIOError:
            if sum(map(len, self._outbox)) > _OUTBOX_MOST:
                self.lost()  # it asks and asks, and never reads
            return
        except OSError:
            self.lost()
            return
        data = b"".join(self._outbox)[count:]
        self._outbox = [data] if data else []

    def send_file(
        self,
        exchange: Exchange,
        pieces: Sequence[Piece],
        fd: int,
        offset: int,
        count: int,
        most: int,
    ) -> int:
        """Send pieces, then count bytes of a file as body. Returns how many bytes there were."""
        self.send(pieces)
        if self.wire.raw_body:
            return self._sendfile(fd, offset, count)
        left = count
        while left:
            data = os.pread(fd, min(left, most), offset)
            if not data:
                break
            offset += len(data)
            left -= len(data)
            self.send(self.wire.send_body(exchange.id, data))
            if exchange.gone:
                raise ConnectionResetError("the peer has left")
        return count - left

    def _sendfile(self, fd: int, offset: int, count: int) -> int:
        """Let the kernel copy: the body stands on the wire as it is, up to the close."""
        left = count
        deadline = 0.0
        self._send_flags = 0
        self.sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _SEND_SLICE)
        self.sending = True
        try:
            while left:
                try:
                    done = os.sendfile(self.fd, fd, offset, min(left, _SENDFILE))
                except BlockingIOError:
                    deadline = deadline or monotonic() + self.site.send_idle_s
                    self._wait_writable(deadline)
                    continue
                if not done:
                    break
                deadline = 0.0
                offset += done
                left -= done
        except OSError as error:
            self._send_failed(error)
        finally:
            self.sending = False
        return count - left
