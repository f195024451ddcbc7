"""The chunked transfer coding (RFC 9112 section 7.1), read strictly.

h11 reads it too, but what it makes of an endless chunk line depends on how the bytes arrive, and
a caller cannot take the bytes of a chunk off the wire behind its back (see direct in wire.events).
"""

from gatebridge.errors import PeerError
from gatebridge.wire.scan import is_token

MAX_LINE = 4096  # bytes of a chunk's line or of a trailer field
MAX_EXTRA = 65_536  # bytes of chunk extensions and trailer fields of one body; both are dropped
MAX_DIGITS = 15  # hexadecimal; stays below 2**63

_HEX = frozenset(b"0123456789abcdefABCDEF")

_SIZE = 0  # what the next line is
_AFTER = 1  # the line end behind a chunk's data
_TRAILER = 2


class Chunked:
    """One chunked body. left: bytes of the chunk's data still to come. done: it is at its end."""

    __slots__ = ("_awaited", "_error", "_extra", "_line", "done", "left")

    def __init__(self) -> None:
        self.left = 0
        self.done = False
        self._line = bytearray()  # an incomplete one
        self._awaited = _SIZE
        self._extra = 0
        self._error: PeerError | None = None

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Read on: (bytes of body, bytes behind the body's end).

        raises  PeerError("http.chunk"), at the next call where there was body before it
        """
        if self._error is not None:
            raise self._error
        pieces: list[bytes] = []
        at = 0
        size = len(data)
        while at < size and not self.done:
            if self.left:
                piece = data[at : at + self.left]
                self.skip(len(piece))
                pieces.append(piece)
                at += len(piece)
            else:
                try:
                    at = self._read_line(data, at)
                except PeerError as error:
                    if not pieces:
                        raise
                    self._error = error  # what came before it counts, however it was cut
                    break
        return b"".join(pieces), data[at:]

    def skip(self, count: int) -> None:
        """Count bytes of the chunk's data that were taken off the wire elsewhere."""
        self.left -= count
        if not self.left:
            self._awaited = _AFTER

    def _read_line(self, data: bytes, at: int) -> int:
        """Take a line, or the part of one that came; returns where the next byte is."""
        end = data.find(b"\n", at) + 1
        line = self._line
        line += data[at : end or len(data)]
        if len(line) > MAX_LINE:
            raise PeerError("http.chunk", f"a line of more than {MAX_LINE} bytes")
        if not end:
            return len(data)
        if not line.endswith(b"\r\n") or line.find(b"\r") != len(line) - 2:
            raise PeerError("http.chunk", f"line end in {bytes(line[:32])!r}")
        text = bytes(line[:-2])
        line.clear()
        if self._awaited == _SIZE:
            self._size(text)
        elif self._awaited == _TRAILER:
            self._trailer(text)
        elif text:
            raise PeerError("http.chunk", f"{text[:32]!r} behind a chunk's data")
        else:
            self._awaited = _SIZE
        return end

    def _size(self, line: bytes) -> None:
        digits, _, extension = line.partition(b";")
        digits = digits.rstrip(b" \t")
        if not digits or len(digits) > MAX_DIGITS or not _HEX.issuperset(digits):
            raise PeerError("http.chunk", f"size {digits[:32]!r}")  # int() would take b"0x_1"
        self._count(len(extension))
        self.left = int(digits, 16)
        self._awaited = _AFTER if self.left else _TRAILER

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        name, colon, _ = line.partition(b":")
        if not colon or not is_token(name.decode("latin-1")):
            raise PeerError("http.chunk", f"trailer field {line[:32]!r}")
        self._count(len(line))

    def _count(self, size: int) -> None:
        self._extra += size
        if self._extra > MAX_EXTRA:
            raise PeerError("http.chunk", f"more than {MAX_EXTRA} bytes of extensions and trailers")
