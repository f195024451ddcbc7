"""TLS before an HTTP listener, for development: elsewhere it is the front server's business.

The loop gets one end of a socket pair and knows nothing of it; a thread for each connection
encrypts and decrypts between that and the client.
"""

from __future__ import annotations

import atexit
import os
import socket
import ssl
import tempfile
import threading
from select import POLLIN, POLLOUT, poll
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.serve.devcert import make_pair
from gatebridge.serve.tls_option import ADHOC

if TYPE_CHECKING:
    from collections.abc import Callable

_HANDSHAKE_S = 10.0
_LINGER_S = 2.0  # for what a client still sends when its answer is out, and at our own end
_CHUNK = 65_536
_PLAIN = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This port speaks TLS: write https:// in the address.\n"
)


def open_context(text: str, host: str) -> ssl.SSLContext:
    """What a listener's ?tls= says: "adhoc", CERT or CERT,KEY, which are PEM files.

    host    that an adhoc certificate names, beside localhost
    raises  ConfigError("bind.tls"), ConfigError("tls.adhoc")
    """
    if text == ADHOC:
        return adhoc_context(host)
    cert, _, key = text.partition(",")
    return file_context(cert, key or None)


def file_context(cert: str, key: str | None) -> ssl.SSLContext:
    """raises ConfigError("bind.tls")"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # an SSLError is one
        why = error.strerror or str(error)
        files = f"{cert} and {key}" if key else cert
        raise ConfigError(
            "bind.tls", f"certificate and key cannot be read, {files}: {why}"
        ) from error
    return context


def adhoc_context(host: str) -> ssl.SSLContext:
    """A certificate of our own, which no browser trusts. raises ConfigError("tls.adhoc")"""
    cert, key = make_pair(host)
    with tempfile.TemporaryDirectory(prefix="gatebridge-tls-") as folder:
        paths = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        for path, data in zip(paths, (cert, key), strict=True):
            with open(path, "wb") as file:
                file.write(data)
        return file_context(*paths)


class Tls:
    """What a listener's connections are encrypted by."""

    __slots__ = ("_context", "_tunnels")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._tunnels: set[Tunnel] = set()

    def accept(self, outer: socket.socket) -> socket.socket:
        """The decrypted end of a connection just accepted. raises OSError, with ``outer`` closed"""
        try:
            inner, ours = socket.socketpair()
        except OSError:
            outer.close()
            raise
        if not self._tunnels:
            atexit.unregister(self._finish)  # of a process that forked us
            atexit.register(self._finish)
        tunnel = Tunnel(self._context, outer, inner)
        self._tunnels.add(tunnel)
        tunnel.over = self._tunnels.discard
        tunnel.thread.start()
        return ours

    def _finish(self) -> None:
        """Answers that the loop has given may still be on their way to the client."""
        deadline = monotonic() + _LINGER_S
        for tunnel in list(self._tunnels):
            tunnel.thread.join(max(0.0, deadline - monotonic()))


class Tunnel:
    """One connection. outer: the client's socket; inner: leads to the loop."""

    __slots__ = ("_cipher", "_ended", "_inner", "_inner_eof", "_outer", "_outer_eof", "_plain",
                 "_ready", "_received", "_sent", "_tls", "over", "thread")  # fmt: skip

    def __init__(self, context: ssl.SSLContext, outer: socket.socket, inner: socket.socket) -> None:
        self._outer = outer
        self._inner = inner
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_side=True)
        self._cipher = b""  # for the client
        self._plain = b""  # for the loop
        self._ready = False  # the handshake is done
        self._outer_eof = self._inner_eof = False
        self._ended = 0.0  # monotonic; when the whole answer was out
        self.over: Callable[[Tunnel], None] = _nothing
        self.thread = threading.Thread(target=self._run, name="gatebridge-tls", daemon=True)

    def _run(self) -> None:
        try:
            self._outer.setblocking(False)
            self._inner.setblocking(False)
            deadline = monotonic() + _HANDSHAKE_S
            while not self._done(deadline):
                self._turn()
        except OSError:  # either side has left, or does not speak TLS
            pass
        finally:
            self._outer.close()
            self._inner.close()
            self.over(self)

    def _done(self, deadline: float) -> bool:
        if not self._ready:
            return self._outer_eof or monotonic() > deadline
        if self._ended and monotonic() > self._ended + _LINGER_S:
            return True
        return bool(self._ended) and self._outer_eof

    def _turn(self) -> None:
        outer, inner = self._outer.fileno(), self._inner.fileno()
        waiter = poll()
        wanted = {
            outer: POLLIN * (not self._outer_eof and not self._plain)
            | POLLOUT * bool(self._cipher),
            inner: POLLIN * (self._ready and not self._inner_eof and not self._cipher)
            | POLLOUT * bool(self._plain),
        }
        for fd, events in wanted.items():
            if events:
                waiter.register(fd, events)
        for fd, events in waiter.poll(1000):
            if fd == outer and events & ~POLLOUT and wanted[outer] & POLLIN:
                self._from_outer()
            if fd == inner and events & ~POLLOUT and wanted[inner] & POLLIN:
                self._from_inner()
        self._flush()

    def _from_outer(self) -> None:
        data = _receive(self._outer)
        if data is None or self._ended:  # what comes behind the answer is read and thrown away
            self._outer_eof = self._outer_eof or data == b""
            return
        if data:
            self._received.write(data)
        else:
            self._received.write_eof()
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while not self._outer_eof:
                piece = self._tls.read(_CHUNK)
                self._plain += piece
                self._outer_eof = not piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:  # closed without TLS's own goodbye, as most do
            self._outer_eof = True
        except ssl.SSLZeroReturnError:
            self._outer_eof = True
        except ssl.SSLError as error:
            self._refuse(error)
            raise

    def _refuse(self, error: ssl.SSLError) -> None:
        if not self._ready:
            alert = _PLAIN if error.reason == "HTTP_REQUEST" else self._sent.read()
            self._outer.send(alert)

    def _from_inner(self) -> None:
        data = _receive(self._inner)
        if data:
            self._tls.write(data)
        elif data == b"":
            self._inner_eof = True
            try:
                self._tls.unwrap()
            except ssl.SSLError:  # wants the client's goodbye, for which nobody waits
                pass

    def _flush(self) -> None:
        self._cipher += self._sent.read()
        self._cipher = _send(self._outer, self._cipher)
        if self._inner_eof and not self._cipher and not self._ended:
            self._ended = monotonic()
            self._outer.shutdown(socket.SHUT_WR)
        if self._plain and not self._ended:
            self._plain = _send(self._inner, self._plain)
        elif self._ended:
            self._plain = b""
        if self._outer_eof and not self._plain and self._ready and not self._ended:
            self._inner.shutdown(socket.SHUT_WR)


def _receive(sock: socket.socket) -> bytes | None:
    """What has come, b"" at the end, None for nothing yet. raises OSError"""
    try:
        return sock.recv(_CHUNK)
    except BlockingIOError:
        return None


def _send(sock: socket.socket, data: bytes) -> bytes:
    """What could not be sent yet. raises OSError"""
    try:
        return data[sock.send(data) :] if data else b""
    except BlockingIOError:
        return data


def _nothing(tunnel: Tunnel) -> None:
    """Nobody counts it."""
