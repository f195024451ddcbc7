"""wsgi.input over a feed of pieces that may still be under way."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.engine.seams import Source


_LARGE = 16_384  # bytes; a read of so many is left to the feed
_LARGEST = 1 << 20  # bytes; a larger read is done in several
CHUNK = 65_536  # bytes asked for where the caller wants a line or everything


def gather_by_pulling(source: "Source", want: int) -> bytes:
    """Source.gather() for a source whose pull() never returns more than it is asked for."""
    parts: list[bytes] = []
    while want > 0:
        piece = source.pull(want)
        if not piece:
            break
        want -= len(piece)
        parts.append(piece)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Body:
    """The ``wsgi.input`` of PEP 3333, ended at CONTENT_LENGTH whatever comes behind it.

    source  the feed
    first   what arrived together with the variables
    length  bytes; UNKNOWN_LENGTH reads to the feed's end

    After the end, ``short`` tells whether the feed ended before CONTENT_LENGTH (FastCGI 1.0
    section 6.2: the client may have crashed).
    """

    __slots__ = ("_at", "_buffer", "_left", "_source", "short")

    def __init__(self, source: "Source", first: bytes, length: int) -> None:
        self._source: Source | None = source
        self._at = 0
        self.short = False
        if length >= 0 and len(first) > length:
            first = first[:length]
        self._buffer = first
        self._left = length - len(first) if length >= 0 else -1

    def _next(self, want: int) -> bytes:
        """A piece past the buffer; b"" at the end."""
        source = self._source
        if source is None or self._left == 0:
            return b""
        piece = source.pull(want if self._left < 0 or want < self._left else self._left)
        if not piece:
            self._source = None
            self.short = self._left > 0
            return b""
        if self._left >= 0:
            if len(piece) > self._left:  # section 6.2: at most CONTENT_LENGTH is the body
                piece = piece[: self._left]
            self._left -= len(piece)
        return piece

    def _take(self, size: int) -> bytes:
        """Up to size bytes out of the buffer."""
        data = self._buffer
        at = self._at
        if at == 0 and size >= len(data):
            self._buffer = b""
            return data
        end = at + size
        if end >= len(data):
            self._buffer = b""
            self._at = 0
            return data[at:]
        self._at = end
        return data[at:end]

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return self._read_all()
        data = self._take(size)
        if len(data) == size:
            return data
        need = size - len(data)
        if not data and _LARGE <= need <= _LARGEST:
            return self._read_large(need)
        parts = [data] if data else []
        while need > 0:
            piece = self._read_large(min(need, _LARGEST)) if need >= _LARGE else self._next(need)
            if not piece:
                break
            if len(piece) > need:
                self._buffer = piece
                self._at = 0
                piece = self._take(need)
            need -= len(piece)
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read1(self, size: int = -1) -> bytes:
        """What is there, at most ``size`` bytes; waits only where nothing is. b"" at the end."""
        most = size if 0 <= size < CHUNK else CHUNK
        if most and not self._buffer:
            self._buffer = self._next(most)
            self._at = 0
        return self._take(most)

    def _read_large(self, size: int) -> bytes:
        """The next size bytes past the buffer, with as little copying as the feed can do."""
        source = self._source
        if source is None or self._left == 0:
            return b""
        most = size if self._left < 0 else min(size, self._left)
        data = source.gather(most)
        if self._left >= 0:
            self._left -= len(data)
        if len(data) < most:
            self._source = None
            self.short = self._left > 0
        return data

    def _read_all(self) -> bytes:
        parts = [self._take(len(self._buffer))]
        while True:
            piece = self._next(CHUNK)
            if not piece:
                return b"".join(parts)
            parts.append(piece)

    def drain(self) -> None:
        """Read what nobody wanted, and throw it away."""
        self._buffer = b""
        try:
            while self._next(CHUNK):
                pass
        except OSError:  # the peer has left, and nothing is lost
            pass

    def readline(self, size: int | None = -1) -> bytes:
        limit = -1 if size is None or size < 0 else size
        parts: list[bytes] = []
        got = 0
        while limit < 0 or got < limit:
            if not self._buffer:
                self._buffer = self._next(CHUNK)
                self._at = 0
                if not self._buffer:
                    break
            end = self._buffer.find(b"\n", self._at) + 1
            want = (end or len(self._buffer)) - self._at
            if limit >= 0:
                want = min(want, limit - got)
            part = self._take(want)
            got += len(part)
            parts.append(part)
            if part.endswith(b"\n"):
                break
        return b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        lines: list[bytes] = []
        got = 0
        while True:
            line = self.readline()
            if not line:
                return lines
            lines.append(line)
            got += len(line)
            if hint is not None and 0 < hint <= got:
                return lines

    def __iter__(self) -> "Iterator[bytes]":
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line
