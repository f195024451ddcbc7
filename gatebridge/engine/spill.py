"""Bodies that nobody reads yet: memory up to a threshold, then a temporary file."""

import os
import tempfile
from collections import deque

from gatebridge.engine.body import gather_by_pulling
from gatebridge.errors import PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gatebridge.engine.seams import Source

_CHECK_EVERY = 16 << 20  # bytes between two looks at the file system's free space


class Spill:
    """A queue of body bytes: put() at one end, get() at the other, each under the caller's lock.

    threshold  bytes kept in memory
    directory  where the file goes beyond it; unlinked at once
    floor      bytes that must stay free on that file system
    """

    __slots__ = ("_directory", "_file", "_floor", "_pieces", "_read_at", "_threshold", "_unchecked",
                 "_write_at", "size")  # fmt: skip

    def __init__(self, threshold: int, directory: str | None, floor: int) -> None:
        self._threshold = threshold
        self._directory = directory
        self._floor = floor
        self._pieces: deque[bytes] = deque()
        self._file = -1
        self._read_at = 0
        self._write_at = 0
        self._unchecked = 0
        self.size = 0  # bytes inside

    def put(self, data: bytes) -> None:
        """Keep a piece. raises PeerError("body.no_space") when the disk is full."""
        if not data:
            return  # get() would give it back, and that means the end
        if self._file < 0 and self.size + len(data) <= self._threshold:
            self._pieces.append(data)
            self.size += len(data)
            return
        try:
            self._to_file(data)
        except OSError as error:
            self.close()
            raise PeerError("body.no_space", f"cannot keep a body on disk: {error}") from error

    def _to_file(self, data: bytes) -> None:
        if self._file < 0:
            where = self._directory or tempfile.gettempdir()
            self._check_space(where)
            self._file, path = tempfile.mkstemp(prefix="gatebridge-", dir=where)
            os.unlink(path)
            while self._pieces:
                self._append(self._pieces.popleft())
        self._unchecked += len(data)
        if self._unchecked >= _CHECK_EVERY:
            self._unchecked = 0
            self._check_space(None)
        self._append(data)
        self.size += len(data)

    def _check_space(self, path: str | None) -> None:
        stat = os.statvfs(path) if path else os.fstatvfs(self._file)
        if stat.f_bavail * stat.f_frsize < self._floor:
            raise OSError(28, f"less than {self._floor} bytes free")

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._file, view, self._write_at)
            self._write_at += count
            view = view[count:]

    def get(self, want: int) -> bytes:
        """Up to want bytes, b"" when empty."""
        if self._pieces:
            data = self._pieces.popleft()
            if len(data) > want:
                self._pieces.appendleft(data[want:])
                data = data[:want]
        elif self._file >= 0:
            data = os.pread(self._file, want, self._read_at)
            self._read_at += len(data)
        else:
            return b""
        self.size -= len(data)
        return data

    def close(self) -> None:
        self._pieces.clear()
        self.size = 0
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()


class Spooled:
    """A whole body of a length that nobody announced, as the Source of a wsgi.input."""

    __slots__ = ("_spill", "length")

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self.length = spill.size

    def pull(self, want: int) -> bytes:
        return self._spill.get(want)

    def gather(self, want: int) -> bytes:
        return gather_by_pulling(self, want)


def spool(source: "Source", first: bytes, spill: Spill, limit: int) -> Spooled:
    """Read a body to its end, so that its length can be told to the application.

    limit   bytes; the largest body accepted
    raises  PeerError("body.too_big"), PeerError("body.no_space")
    """
    piece = first
    while True:
        if piece:
            if spill.size + len(piece) > limit:
                spill.close()
                raise PeerError("body.too_big", f"more than {limit} bytes")
            spill.put(piece)
        piece = source.pull(65_536)
        if not piece:
            return Spooled(spill)
