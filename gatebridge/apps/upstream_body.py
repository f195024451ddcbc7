"""A request on its way to a back end, while that answers already."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from select import POLLOUT, poll
from tempfile import SpooledTemporaryFile
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from gatebridge.errors import AppError, PeerError

if TYPE_CHECKING:
    import socket

_PIECE = 8192  # bytes; larger reads may wait in ways that only the request's own thread may
_SLICE_MS = 500
_MEMORY = 1 << 20  # bytes of a body without a length that stay in memory
_COPY = 65_536

Frame = Callable[[bytes], bytes]


class Ask:
    """What is sent for one request; a body in memory can be sent again.

    head    all that comes before the body
    length  bytes, -1 unknown
    frame   a piece of body as it is sent; b"" gives the end
    raises  PeerError("body.short"), and whatever reading raises
    """

    __slots__ = ("_spooled", "body", "data", "frame", "head", "length", "run_once")

    def __init__(
        self,
        head: bytes,
        environ: dict[str, Any],
        length: int,
        frame: Frame,
        spooled: Spooled | None = None,
    ) -> None:
        self.head = head
        self.frame = frame
        self.length = length
        self.run_once = bool(environ.get("wsgi.run_once"))
        self._spooled = spooled
        self.body: Any = environ["wsgi.input"] if spooled is None else spooled.file
        self.data: bytes | None = None if length else b""
        if length and type(self.body) is BytesIO:
            self.data = self.body.read(length)
            if len(self.data) < length:
                raise _short(length - len(self.data))

    def feed(self, sock: socket.socket) -> Feed:
        """Send it there. raises AppError("upstream.resources")"""
        if self.data is None:
            return Pump(self, sock)
        parts = [self.head]
        for at in range(0, len(self.data), _COPY):
            parts.append(self.frame(self.data[at : at + _COPY]))
        parts.append(self.frame(b""))
        return InMemory(sock, b"".join(parts))

    def close(self) -> None:
        """Nothing of it is sent any more."""
        if self._spooled is not None:
            self._spooled.file.close()


class Feed(Protocol):
    """error    why the body cannot go on
    count    bytes that went out
    is_done  all of it did
    waits    write() is to be called when the socket takes more
    moved    when it last had nothing to wait for but the back end; monotonic
    """

    error: BaseException | None
    count: int
    is_done: bool

    @property
    def waits(self) -> bool: ...

    @property
    def moved(self) -> float: ...

    def write(self) -> None:
        """Write without waiting."""

    def stop(self) -> None:
        """The answer is over."""


class InMemory:
    """All of it is here: written by the thread that reads the answer."""

    __slots__ = ("_left", "_sock", "count", "error", "is_done", "moved")

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        self._sock = sock
        self._left = memoryview(data)
        self.error: BaseException | None = None
        self.count = 0
        self.is_done = False
        self.moved = monotonic()
        self.write()

    @property
    def waits(self) -> bool:
        return len(self._left) > 0

    def write(self) -> None:
        try:
            while self._left:
                sent = self._sock.send(self._left)
                self._left = self._left[sent:]
                self.count += sent
                self.moved = monotonic()
        except BlockingIOError:
            return
        except OSError:  # it does not want it, and may have answered all the same
            self._left = self._left[:0]
            return
        self.is_done = True

    def stop(self) -> None:
        """Nothing of it is left."""


class Pump:
    """A body that is still under way, or large: a thread takes it to the back end.

    One-shot CGI reads what the back end leaves unread all the same: the process does so anyway,
    and two threads must not read it at once.
    """

    waits = False

    def __init__(self, ask: Ask, sock: socket.socket) -> None:
        self.error: BaseException | None = None
        self.count = 0
        self.is_done = False
        self._ask = ask
        self._reads = False  # waits for the client
        self._moved = monotonic()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        # The head goes out here, so that nothing of the body is read where nobody takes it.
        try:
            self.count = sock.send(ask.head)
        except BlockingIOError:
            pass
        except OSError:
            return
        self._sock = sock.dup()
        self._thread = threading.Thread(target=self._run, name="gatebridge-body", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads for this user
            self._sock.close()
            why = "raise the limit (TasksMax=, ulimit -u)"
            text = f"no thread for the body: {error}; {why}"
            raise AppError("upstream.resources", text) from None

    @property
    def moved(self) -> float:
        return monotonic() if self._reads else self._moved

    def write(self) -> None:
        """Its thread does."""

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None and self._ask.run_once and self.error is None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._copy()
        except BaseException as error:
            self.error = error
        finally:
            self._sock.close()

    def _copy(self) -> None:
        ask = self._ask
        wanted = self._write(ask.head[self.count :])
        if not (wanted or ask.run_once):
            return
        for data in self._pieces(ask.body, ask.length):
            wanted = wanted and self._write(ask.frame(data))
            if not (wanted or ask.run_once):
                return
        self.is_done = wanted and self._write(ask.frame(b""))

    def _pieces(self, body: Any, left: int) -> Iterator[bytes]:
        read = getattr(body, "read1", body.read)  # what is there, without waiting
        while left and not (self._stopped.is_set() and not self._ask.run_once):
            self._reads = True
            data = read(min(_PIECE, left) if left > 0 else _PIECE)
            self._reads = False
            self._moved = monotonic()
            if not data:
                break
            left -= len(data) if left > 0 else 0
            yield data
        if left > 0 and not self._stopped.is_set():
            raise _short(left)

    def _write(self, data: bytes) -> bool:
        """Write all of it; False: nobody reads it."""
        view = memoryview(data)
        waiter = poll()
        waiter.register(self._sock, POLLOUT)
        while view:
            if self._stopped.is_set():
                return False
            try:
                sent = self._sock.send(view)
            except BlockingIOError:
                waiter.poll(_SLICE_MS)
                continue
            except OSError:  # it does not want it
                return False
            self.count += sent
            view = view[sent:]
            self._moved = monotonic()
        return True


def _short(count: int) -> PeerError:
    return PeerError("body.short", f"{count} bytes of the body did not come")


class Spooled:
    """A body of unknown length, read to its end into a temporary file, for FastCGI.

    raises  whatever reading it raises
    """

    __slots__ = ("file", "length")

    def __init__(self, body: Any) -> None:
        self.file = SpooledTemporaryFile(_MEMORY)
        self.length = 0
        try:
            while data := body.read(_COPY):
                self.length += len(data)
                self.file.write(data)
            self.file.seek(0)
        except BaseException:
            self.file.close()
            raise
