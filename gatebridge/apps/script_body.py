"""A request's body on its way to a program's standard input, while the program answers already."""

from __future__ import annotations

import os
import threading
from io import BytesIO
from select import POLLOUT, poll
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.scan import decimal

if TYPE_CHECKING:
    from gatebridge.apps.running import Running

_PIECE = 8192  # bytes; larger reads may wait in ways that only the request's own thread may
_SLICE_MS = 500
_ALL = (1 << 63) - 1


class Feed(Protocol):
    """error  why the body cannot go on; the program waits for the rest of it then"""

    error: BaseException | None

    @property
    def fd(self) -> int:
        """To be polled for writing, then write(); -1: nothing to write, or another thread does."""

    @property
    def moved(self) -> float:
        """When it last had nothing to wait for but the program; monotonic."""

    def write(self) -> None:
        """Write without waiting."""

    def stop(self) -> None:
        """Nobody reads it any more. The program has ended, or was told to."""


def body_length(environ: dict[str, Any]) -> int:
    """Bytes of body, -1 unknown; 0 for none (RFC 3875 section 4.2: nothing may be read then).

    raises  PeerError("length.malformed"), PeerError("length.too_big")
    """
    text = environ.get("CONTENT_LENGTH") or ""
    if text:
        return decimal(text, _ALL)
    body = environ.get("wsgi.input")
    if not environ.get("wsgi.input_terminated") or (type(body) is BytesIO and not body.getbuffer()):
        return 0
    return -1


def feed_of(environ: dict[str, Any], length: int, running: Running) -> Feed:
    """Whatever takes the body to the program: in this thread where it is all here."""
    if length == 0:
        return InMemory(running, b"")
    body = environ["wsgi.input"]
    if type(body) is BytesIO:
        data = body.read(length)
        if len(data) < length:
            raise PeerError("body.short", f"{length - len(data)} bytes of the body did not come")
        return InMemory(running, data)
    pump = Pump(body, length, os.dup(running.stdin), bool(environ.get("wsgi.run_once")))
    running.close_stdin()
    return pump


class InMemory:
    """A body that is here, written by the thread that reads the answer."""

    __slots__ = ("_left", "_running", "error", "moved")

    def __init__(self, running: Running, data: bytes) -> None:
        self._running = running
        self._left = memoryview(data)
        self.error: BaseException | None = None
        self.moved = 0.0
        if running.stdin >= 0:
            self.write()

    @property
    def fd(self) -> int:
        return self._running.stdin

    def write(self) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(self._running.stdin, self._left) :]
                self.moved = monotonic()
        except BlockingIOError:  # the pipe is full
            return
        except OSError:  # the program does not want it
            pass
        self._running.close_stdin()

    def stop(self) -> None:
        """The descriptor is closed with the others."""


class Pump:
    """A body that is still under way, or large: a thread takes it to the program.

    fd      a descriptor of standard input that is its own
    drains  what the program leaves unread is read all the same: one-shot CGI, where the process
            reads it anyway, and two threads must not read it at once
    """

    fd = -1

    def __init__(self, body: Any, length: int, fd: int, drains: bool) -> None:
        self.error: BaseException | None = None
        self._body = body
        self._left = length if length >= 0 else _ALL
        self._is_known = length >= 0
        self._stdin = fd
        self._drains = drains
        self._reads = False  # waits for the client
        self._moved = monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gatebridge-body", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads for this user
            os.close(fd)
            why = "raise the limit (TasksMax=, ulimit -u)"
            raise AppError("script.resources", f"no thread for its body: {error}; {why}") from None

    @property
    def moved(self) -> float:
        return monotonic() if self._reads else self._moved

    def write(self) -> None:
        """Its thread does."""

    def stop(self) -> None:
        self._stopped.set()
        if self._drains and self.error is None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._copy()
        except BaseException as error:
            # The program must not take what it has for all: it is told by a signal, and the pipe
            # stays open until then.
            self.error = error
            self._stopped.wait()
        finally:
            os.close(self._stdin)
            self._body = None

    def _copy(self) -> None:
        read = getattr(self._body, "read1", self._body.read)  # what is there, without waiting
        wanted = True
        while self._left > 0 and (wanted or self._drains):
            if self._stopped.is_set() and not self._drains:
                return
            self._reads = True
            data = read(min(_PIECE, self._left))
            self._reads = False
            self._moved = monotonic()
            if not data:
                break
            self._left -= len(data)
            wanted = wanted and self._write(data)
        if self._left > 0 and self._is_known and wanted:
            raise PeerError("body.short", f"{self._left} bytes of the body did not come")

    def _write(self, data: bytes) -> bool:
        """Write all of it; False: nobody reads it."""
        view = memoryview(data)
        waiter = poll()
        waiter.register(self._stdin, POLLOUT)
        while view:
            if self._stopped.is_set():
                return False
            waiter.poll(_SLICE_MS)
            try:
                view = view[os.write(self._stdin, view) :]
                self._moved = monotonic()
            except BlockingIOError:  # not yet
                continue
            except OSError:  # the program does not want it
                return False
        return True
