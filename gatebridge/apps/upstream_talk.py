"""One request to a back end and its answer, over one connection."""

from __future__ import annotations

import socket
from select import POLLIN, POLLOUT, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.apps.upstream_body import Ask
    from gatebridge.apps.upstream_pool import Pool
    from gatebridge.apps.upstream_reply import Reply

_READ = 65_536
_SLICE_MS = 250.0  # between two looks whether the client is there


class Talk:
    """What one thread does with a back end, until it is over.

    gone     tells whether nobody waits for the answer
    timeout  seconds in which neither direction moves; 0: for ever
    is_answered  a byte has come, be it of an interim answer or of its error stream
    """

    __slots__ = ("_ask", "_feed", "_gone", "_heard", "_pool", "_sock", "_timeout", "is_answered",
                 "reply")  # fmt: skip

    def __init__(
        self,
        pool: Pool,
        sock: socket.socket,
        ask: Ask,
        reply: Reply,
        gone: Callable[[], bool],
        timeout: float,
    ) -> None:
        self.reply = reply
        self.is_answered = False
        self._pool = pool
        self._sock: socket.socket | None = sock
        self._gone = gone
        self._timeout = timeout
        self._heard = 0.0  # monotonic
        self._ask = ask
        try:
            self._feed = ask.feed(sock)
        except BaseException:
            sock.close()
            raise

    @property
    def is_untouched(self) -> bool:
        """Nothing was sent."""
        return self._feed.count == 0

    def read_head(self) -> bytes:
        """Until the head has come; the body's bytes that came with it. raises as read()"""
        while True:
            data = self._step()
            if self.reply.status:
                return data

    def read(self) -> bytes:
        """The next piece of the body, b"" at its end.

        raises  AppError("upstream.…"), ConnectionError when the client has left, and whatever
                kept the request's body from coming
        """
        while not self.reply.done:
            data = self._step()
            if data:
                return data
        return b""

    def _step(self) -> bytes:
        data = self._receive()
        if data:
            self.is_answered = True
            data = self.reply.receive(data)
            if not data and self._gone():  # an endless error stream comes without a pause
                raise ConnectionResetError("the client has left")
            return data
        self.reply.keeps = False
        self.reply.finish()
        return b""

    def _receive(self) -> bytes:
        """What comes next; b"" when the back end has closed the connection."""
        sock = self._sock
        if sock is None:
            return b""
        self._heard = monotonic()  # the client may have been slow until now
        look = poll()
        while True:
            try:
                return sock.recv(_READ)
            except BlockingIOError:
                pass
            except OSError:  # reset
                return b""
            look.register(sock, POLLIN | POLLOUT if self._feed.waits else POLLIN)
            look.poll(self._wait_ms())
            if self._feed.waits:
                self._feed.write()
            self._check()

    def _wait_ms(self) -> float:
        if not self._timeout:
            return _SLICE_MS
        return min(_SLICE_MS, self._timeout * 1000) + 1

    def _check(self) -> None:
        if self._gone():
            raise ConnectionResetError("the client has left")
        if self._feed.error is not None:
            raise self._feed.error
        idle = monotonic() - max(self._heard, self._feed.moved)
        if self._timeout and idle > self._timeout:
            why = "timeout= says how long it may be silent"
            raise AppError("upstream.timeout", f"nothing for {self._timeout:g} s; {why}")

    def close(self) -> None:
        """The answer is over, and the request is not sent again."""
        self.end()
        self._ask.close()

    def end(self) -> None:
        """Over, one way or another: the connection is kept where it can be."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        reply = self.reply
        if reply.done and reply.keeps and self._feed.is_done:
            self._feed.stop()
            self._pool.put(sock)
            return
        try:
            sock.shutdown(socket.SHUT_RDWR)  # its thread that still sends sees it, too
        except OSError:
            pass
        self._feed.stop()
        sock.close()
