"""A back end's answer: bytes of HTTP/1.1, or of FastCGI, become a head and pieces of body.

The back end is the operator's, and yet every length is checked: what it sends goes on to clients.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import MAX_LENGTH, is_status
from gatebridge.wire.chunked import Chunked
from gatebridge.wire.events import Body, End, ErrorText, Fault, Head
from gatebridge.wire.records import OVERLOADED, REQUEST_COMPLETE
from gatebridge.wire.scan import decimal, has_controls, is_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.wire.fastcgi_client import FastCGIClient

Headers = list[tuple[str, str]]

_MOST_FIELDS = 1000
_MOST_INTERIM = 64  # answers of 1xx
# Of one connection (RFC 9110 section 7.6.1, PEP 3333)
_OF_CONNECTION = frozenset(
    """connection keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding
    upgrade""".split()
)


class Reply(Protocol):
    """An answer on its way.

    status     "200 OK"; "" while the head has not come
    headers    without those of a connection
    length     bytes that the body is to have, -1 unknown
    done       all of it is here
    keeps      the back end leaves the connection open, once it is done
    """

    status: str
    headers: Headers
    length: int
    done: bool
    keeps: bool

    def receive(self, data: bytes) -> bytes:
        """What of the body came with it. raises AppError("upstream.…")"""

    def finish(self) -> None:
        """The back end has closed the connection. raises AppError("upstream.…") if that is early"""


class HttpReply:
    """See Reply. is_head: of a HEAD request; most: bytes of the head"""

    __slots__ = ("_chunked", "_head", "_interim", "_is_head", "_left", "_most", "done", "headers",
                 "keeps", "length", "status")  # fmt: skip

    def __init__(self, is_head: bool, most: int) -> None:
        self.status = ""
        self.headers: Headers = []
        self.length = -1
        self.done = False
        self.keeps = False
        self._is_head = is_head
        self._most = most
        self._head = bytearray()
        self._interim = 0
        self._chunked: Chunked | None = None
        self._left = -1  # bytes of the body; -1: to the connection's end, or chunked

    def receive(self, data: bytes) -> bytes:
        if self.done:
            self.keeps = False  # more than an answer
            return b""
        if not self.status:
            data = self._take_head(data)
            if not self.status:
                return b""
        if self._chunked is not None:
            return self._take_chunks(self._chunked, data)
        if self._left >= 0:
            data = self._take(data)
        return data

    def finish(self) -> None:
        if self.done:
            return
        if not self.status:
            if self._head:
                raise AppError("upstream.cut", f"it closed after {len(self._head)} bytes of a head")
            raise AppError("upstream.closed", "it closed the connection without a byte of answer")
        if self._chunked is not None or self._left > 0:
            left = f"{self._left} bytes" if self._chunked is None else "the last chunk"
            raise AppError("upstream.cut", f"it closed the connection, and {left} had not come")
        self.done = True

    def _take_head(self, data: bytes) -> bytes:
        """What follows the head, once there is a whole one."""
        head = self._head
        head += data
        while True:
            if not b"HTTP/1.".startswith(head[:7]):
                raise AppError("upstream.malformed", f"it answers {bytes(head[:32])!r}: not HTTP/1")
            end = _end_of_head(head)
            if max(end, len(head) if end < 0 else 0) > self._most:
                raise AppError("upstream.too_big", f"its head is longer than {self._most} bytes")
            if end < 0:
                return b""
            text = bytes(head[:end]).decode("latin-1")
            del head[:end]
            if text[9:10] != "1":
                self._read(text)
                return bytes(head)
            self._interim += 1
            if text[9:12] == "101" or self._interim > _MOST_INTERIM:
                raise AppError("upstream.malformed", f"it answers {text[:32]!r}, unasked")

    def _read(self, text: str) -> None:
        lines = [line[:-1] if line.endswith("\r") else line for line in text.split("\n")]
        version, _, status = lines[0].partition(" ")
        status = status.rstrip(" ")
        if len(version) != 8 or not version[7].isdigit() or not is_status(status):
            raise AppError("upstream.malformed", f"status line {lines[0][:64]!r}")
        fields = [_field(line) for line in lines[1:] if line]
        if len(fields) > _MOST_FIELDS:
            raise AppError("upstream.too_big", f"its head has {len(fields)} fields")
        named = {word for word in _words(fields, "connection") if word}
        # A Status field is for CGI, and would be read as one by the front server.
        gone = _OF_CONNECTION | named - {"content-length", "content-type"} | {"status"}
        self.headers = [one for one in fields if one[0].lower() not in gone]
        self.keeps = "close" not in named if version > "HTTP/1.0" else "keep-alive" in named
        self._frame(fields, version, status[:3])
        self.status = status if len(status) > 3 else f"{status} {_reason(status)}"

    def _frame(self, fields: Headers, version: str, code: str) -> None:
        """RFC 9112 section 6.3: where the body ends."""
        codings = _words(fields, "transfer-encoding")
        lengths = [value for name, value in fields if name.lower() == "content-length"]
        if len(set(lengths)) > 1 or (codings and lengths):
            raise AppError("upstream.framing", "it says the length of its answer twice")
        if codings and (codings != ["chunked"] or version == "HTTP/1.0"):
            raise AppError("upstream.framing", f"transfer coding {', '.join(codings)[:64]!r}")
        if lengths:
            try:
                self.length = decimal(lengths[0], MAX_LENGTH)
            except PeerError:
                why = f"Content-Length {lengths[0][:32]!r}"
                raise AppError("upstream.framing", why) from None
        if len(lengths) > 1:  # alike
            self._drop_lengths()
            self.headers.append(("Content-Length", lengths[0]))
        if self._is_head or code in ("204", "304"):
            self._left = 0
            if code == "204":
                self._drop_lengths()
            self.done = True
        elif codings:
            self._chunked = Chunked()
        elif self.length >= 0:
            self._left = self.length
            self.done = self._left == 0
        else:
            self.keeps = False

    def _drop_lengths(self) -> None:
        self.headers = [one for one in self.headers if one[0].lower() != "content-length"]

    def _take(self, data: bytes) -> bytes:
        if len(data) > self._left:
            self.keeps = False
            data = data[: self._left]
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def _take_chunks(self, chunked: Chunked, data: bytes) -> bytes:
        try:
            data, surplus = chunked.receive(data)
        except PeerError as error:
            raise AppError("upstream.framing", f"its chunks: {error.detail}") from None
        self.done = chunked.done
        if surplus:
            self.keeps = False
        return data


def _reason(code: str) -> str:
    """For a status without one, as Hypercorn sends it: PEP 3333 wants words."""
    try:
        return HTTPStatus(int(code)).phrase
    except ValueError:
        return "Unknown"


def _end_of_head(head: bytearray) -> int:
    """Behind the empty line; -1."""
    full, bare = head.find(b"\n\r\n"), head.find(b"\n\n")
    if full >= 0 and (bare < 0 or full < bare):
        return full + 3
    return bare + 2 if bare >= 0 else -1


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    if not colon or not is_token(name) or has_controls(value):
        raise AppError("upstream.malformed", f"no header line: {line[:64]!r}")
    return name, value


def _words(fields: Headers, wanted: str) -> list[str]:
    """The words of a list header, in small letters; at least "" where there is such a field."""
    values = [value for name, value in fields if name.lower() == wanted]
    return [word.strip(" \t").lower() for value in values for word in value.split(",")]


class FastCgiReply:
    """See Reply. say: takes what the back end writes as FastCGI's error stream"""

    __slots__ = ("_client", "_is_bodiless", "_say", "_got", "done", "headers", "keeps", "length",
                 "status")  # fmt: skip

    def __init__(
        self, client: FastCGIClient, is_head: bool, keeps: bool, say: Callable[[bytes], None]
    ) -> None:
        self.status = ""
        self.headers: Headers = []
        self.length = -1
        self.done = False
        self.keeps = keeps
        self._client = client
        self._is_bodiless = is_head
        self._got = 0
        self._say = say

    def receive(self, data: bytes) -> bytes:
        if self.done:
            self.keeps = False
            return b""
        parts: list[bytes] = []
        for event in self._client.receive(data):
            if isinstance(event, Body):
                parts.append(event.data)
            elif isinstance(event, Head):
                self._take_head(event)
            elif isinstance(event, ErrorText):
                self._say(event.data)
            elif isinstance(event, Fault):
                raise self._fault(event.error)
            elif isinstance(event, End):
                self._end(event)
        body = b"".join(parts)
        self._got += len(body)
        if not self._client.is_between:  # padding is still to come, or more than an answer
            self.keeps = self.keeps and not self.done
        if self.done and not self._is_bodiless and self._got < self.length:
            why = f"it ended {self.length - self._got} bytes short of its Content-Length"
            raise AppError("upstream.cut", why)
        return b"" if self._is_bodiless else body

    def finish(self) -> None:
        if self.done:
            return
        for event in self._client.finish():
            if isinstance(event, Fault):
                raise self._fault(event.error)

    def _take_head(self, head: Head) -> None:
        self.status = head.status
        self.headers = [one for one in head.headers if one[0].lower() not in _OF_CONNECTION]
        for name, value in head.headers:
            if name.lower() == "content-length":
                length = decimal(value, MAX_LENGTH)  # parse_head() has read it
                if self.length not in (-1, length):
                    raise AppError("upstream.framing", "it says the length of its answer twice")
                self.length = length
        if head.status[:3] in ("204", "304"):
            self._is_bodiless = True

    def _end(self, end: End) -> None:
        if end.protocol_status == OVERLOADED:
            raise AppError("upstream.overloaded", "it takes no more requests at once")
        if end.protocol_status != REQUEST_COMPLETE:
            raise AppError("upstream.malformed", f"it refuses: status {end.protocol_status}")
        if not self.status:
            raise AppError("upstream.closed", "it ended the request without an answer")
        if end.app_status:
            self._say(b"gatebridge: it ended with status %d\n" % end.app_status)
        self.done = True

    def _fault(self, error: PeerError) -> AppError:
        if error.code == "answer.empty":
            return AppError("upstream.closed", "it closed the connection without a byte of answer")
        if error.code.startswith("answer."):
            return AppError("upstream.cut", error.detail)
        if error.code == "head.too_big":
            return AppError("upstream.too_big", error.detail)
        return AppError("upstream.malformed", f"{error.detail} ({error.code})")
