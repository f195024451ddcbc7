"""multipart/form-data (RFC 7578), read as a stream: what is held does not grow with the body."""

import re
from collections.abc import Callable, Iterator

from gatebridge.errors import PeerError

MAX_HEAD = 8192  # bytes of the header lines of a part
MAX_PREAMBLE = 8192  # bytes before the first part, and on a boundary's line
MAX_BOUNDARY = 70  # characters, RFC 2046 section 5.1.1
READ = 65_536

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([\w*-]+)=(?:"((?:\\"|[^"])*)"|([^\s;]*))')


def boundary_of(content_type: str) -> bytes:
    """The boundary that a CONTENT_TYPE names. raises PeerError("multipart.type")"""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        raise PeerError("multipart.type", repr(content_type[:80]))
    boundary = found[1] or found[2]
    if len(boundary) > MAX_BOUNDARY:
        raise PeerError("multipart.type", f"a boundary of {len(boundary)} characters")
    return boundary.encode("latin-1")


class Parts:
    """The parts of a body, one after the other: next_part(), then pieces() to its end.

    read  read(size) -> bytes, b"" at the end: wsgi.input
    Every member raises PeerError("multipart.…") on what is no such body.
    """

    def __init__(self, read: Callable[[int], bytes], boundary: bytes) -> None:
        self._read = read
        self._delimiter = b"\r\n--" + boundary
        self._held = b"\r\n"  # so that the first delimiter is one like the others
        self._inside = True  # something before the next delimiter is not read
        self._preamble = True  # and that is no part

    def next_part(self) -> dict[str, str] | None:
        """What the next part says of itself: its Content-Disposition parameters; None: no more."""
        passed = 0
        for piece in self.pieces():
            passed += len(piece)
            if self._preamble and passed > MAX_PREAMBLE:
                raise PeerError("multipart.preamble", f"more than {MAX_PREAMBLE} bytes")
        self._preamble = False
        if self._starts_with(b"--"):
            return None
        padding = self._until(b"\r\n", MAX_PREAMBLE)
        if padding.strip(b" \t"):
            raise PeerError("multipart.boundary", repr(padding[:32]))
        self._inside = True
        if self._starts_with(b"\r\n"):  # a part without header lines
            self._held = self._held[2:]
            return {}
        return disposition(self._until(b"\r\n\r\n", MAX_HEAD))

    def pieces(self) -> Iterator[bytes]:
        """The content of the part, up to its delimiter."""
        if self._inside:
            yield from self._until_delimiter()
            self._inside = False

    def _until_delimiter(self) -> Iterator[bytes]:
        """Yield what comes before the next delimiter, and take the delimiter."""
        delimiter = self._delimiter
        while True:
            at = self._held.find(delimiter)
            if at >= 0:
                piece = self._held[:at]
                self._held = self._held[at + len(delimiter) :]
                if piece:
                    yield piece
                return
            keep = len(delimiter) - 1
            if len(self._held) > keep:
                yield self._held[:-keep]
                self._held = self._held[-keep:]
            self._more()

    def _starts_with(self, mark: bytes) -> bool:
        while len(self._held) < len(mark):
            self._more()
        return self._held.startswith(mark)

    def _until(self, end: bytes, limit: int) -> bytes:
        """Take what comes before ``end``, and ``end``."""
        while True:
            at = self._held.find(end)
            if (len(self._held) if at < 0 else at) > limit:
                raise PeerError("multipart.head", f"more than {limit} bytes")
            if at >= 0:
                found, self._held = self._held[:at], self._held[at + len(end) :]
                return found
            self._more()

    def _more(self) -> None:
        data = self._read(READ)
        if not data:
            raise PeerError("multipart.short", "the body ends before its last boundary")
        self._held += data


def disposition(head: bytes) -> dict[str, str]:
    """The parameters of a part's Content-Disposition: name, filename.

    Browsers send UTF-8 and write ``"`` as %22 (WHATWG HTML); curl writes a backslash before it.
    """
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            found = _PARAMETER.finditer(value)
            return {
                item[1].lower(): (item[2] or item[3] or "").replace('\\"', '"') for item in found
            }
    return {}
