"""The head of a CGI response (RFC 3875 section 6), as written for a server. Cold set.

FastCGI, SCGI, the uwsgi protocol and CGI itself share it, so an application's header list is
checked and encoded once, in make_head(), whatever carries it.
"""

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.scan import decimal, has_controls, is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LENGTH = (1 << 63) - 1

# RFC 9110 section 7.6.1 names what belongs to one connection, and PEP 3333 forbids it to
# applications; Status is how CGI spells the status line, so a header of that name would be a
# second one. The names are dropped and counted, because old applications do send them.
_FORBIDDEN = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "status",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_UNCACHED = frozenset(("set-cookie", "etag", "date", "last-modified", "location", "expires"))
_CACHE_ENTRIES = 512
_CACHE_CHARACTERS = 160


class Line:
    """One checked and encoded header. length: of a Content-Length, else -1."""

    __slots__ = ("data", "length")

    def __init__(self, data: bytes, length: int) -> None:
        self.data = data
        self.length = length


class Head:
    """A checked response head.

    status   "200 OK"
    headers  latin-1, in order; without those that must not be sent
    block    the headers encoded, every line ended by CR LF; no Status line, no empty line
    length   the Content-Length, -1 without
    dropped  names left out of a header list, for the log
    """

    __slots__ = ("block", "dropped", "headers", "length", "status")

    def __init__(
        self,
        status: str,
        headers: list[tuple[str, str]],
        block: bytes,
        length: int,
        dropped: tuple[str, ...] = (),
    ) -> None:
        self.status = status
        self.headers = headers
        self.block = block
        self.length = length
        self.dropped = dropped

    @property
    def code(self) -> int:
        return int(self.status[:3])  # three ASCII digits: is_status() saw them

    def with_length(self, length: int) -> "Head":
        """The same head with a Content-Length that the application left to the server."""
        text = str(length)
        headers = [*self.headers, ("Content-Length", text)]
        block = self.block + b"Content-Length: " + text.encode("ascii") + b"\r\n"
        return Head(self.status, headers, block, length, self.dropped)


_lines: dict[tuple[str, str], Line] = {}
_statuses: dict[str, bytes] = {}


def make_head(status: "Any", headers: "Any") -> Head:
    """Check and encode what an application gave to start_response(); it may be anything.

    raises  AppError("status.…"), AppError("header.…"): PEP 3333, RFC 9110 section 5
    """
    if status not in _statuses:
        learn_status(status)
    if not isinstance(headers, list):
        raise AppError("header.list", f"headers must be a list, not {type(headers).__name__}")
    length = -1
    dropped: tuple[str, ...] = ()
    parts: list[bytes] = []
    try:
        for header in headers:
            line = _lines.get(header)
            if line is None:
                line = _encode(header)
                if not line.data:
                    dropped += (header[0],)
            parts.append(line.data)
            if line.length >= 0:
                if length >= 0 and line.length != length:
                    raise AppError("header.length", "two Content-Length headers that differ")
                length = line.length
    except TypeError as error:  # unhashable: a list where a pair belongs
        raise AppError("header.pair", f"headers must hold (str, str) tuples: {error}") from error
    if dropped:
        headers = [header for header in headers if header[0].lower() not in _FORBIDDEN]
    return Head(status, headers, b"".join(parts), length, dropped)


def status_line(head: Head) -> bytes:
    """The Status line alone, with its end."""
    # another thread may have made room in the meantime
    return _statuses.get(head.status) or b"Status: " + head.status.encode("latin-1") + b"\r\n"


def cgi_block(head: Head) -> bytes:
    """The head as FastCGI, SCGI and CGI carry it: Status, headers, empty line."""
    return b"".join((status_line(head), head.block, b"\r\n"))


def learn_status(status: object) -> None:
    """Check a status and keep its line. raises AppError("status.…")"""
    if isinstance(status, str) and status in _statuses:
        return
    if not isinstance(status, str):
        raise AppError("status.type", f"status must be str, not {type(status).__name__}")
    if not is_status(status):
        raise AppError("status.malformed", repr(status[:64]))
    try:
        line = b"Status: " + status.encode("latin-1") + b"\r\n"
    except UnicodeEncodeError as error:
        raise AppError("status.malformed", f"{status[:64]!r} is not latin-1") from error
    if len(_statuses) >= _CACHE_ENTRIES:
        _statuses.clear()
    _statuses[status] = line


def is_status(status: str) -> bool:
    """Tell whether text is a final status: 200 to 999, then a space and a reason, or no reason."""
    code = status[:3]
    if len(code) != 3 or not code.isascii() or not code.isdigit() or code[0] in "01":
        return False
    return (len(status) == 3 or status[3] == " ") and not has_controls(status)


def _encode(header: "Any") -> Line:
    if type(header) is not tuple or len(header) != 2:
        raise AppError("header.pair", f"{header!r:.80} is not a (name, value) tuple")
    name, value = header
    if not isinstance(name, str) or not isinstance(value, str):
        raise AppError("header.type", f"{header!r:.80}: name and value must be str")
    if not is_token(name):
        raise AppError("header.name", repr(name[:64]))
    if has_controls(value):
        raise AppError("header.control", f"{name}: {value[:64]!r}")
    key = name.lower()
    if key in _FORBIDDEN:
        return Line(b"", -1)
    length = -1
    if key == "content-length":
        try:
            length = decimal(value.strip(" "), MAX_LENGTH)
        except PeerError as error:
            raise AppError("header.length", f"Content-Length: {value[:32]!r}") from error
    try:
        line = Line(f"{name}: {value}\r\n".encode("latin-1"), length)
    except UnicodeEncodeError as fault:
        raise AppError("header.latin1", f"{name}: {value[:64]!r}") from fault
    if (
        len(_lines) < _CACHE_ENTRIES
        and len(name) + len(value) < _CACHE_CHARACTERS
        and key not in _UNCACHED
    ):
        _lines[header] = line
    return line
