"""HTTP/1.1 and 1.0 as one more protocol: for development, health checks and balancers.

h11 reads the head of a request and frames the answer; the body is counted here, so that the
caller may take its bytes off the wire itself. The variables of a request are those of CGI:
REQUEST_METHOD, REQUEST_URI (raw), SCRIPT_NAME (empty), PATH_INFO (decoded once), QUERY_STRING,
SERVER_PROTOCOL, CONTENT_TYPE, CONTENT_LENGTH and HTTP_*. SERVER_NAME, SERVER_PORT, REMOTE_ADDR
and REMOTE_PORT are facts of the connection: whoever owns the socket adds them.

A field name with an underscore is dropped, because X_User and X-User would be one variable.
Of a chunked body the length is unknown until BodyEnd: no CONTENT_LENGTH, and
HTTP_TRANSFER_ENCODING says why. `100 Continue` is sent with the Request event, not when the
application first reads: a protocol that does no I/O does not see that.

Requests sent ahead of their answers wait here; after send_end() call receive(b"") for the next.
"""

import re
from collections.abc import Callable

import h11

from gatebridge.errors import PeerError, UseError
from gatebridge.wire.cgi_head import Head
from gatebridge.wire.chunked import Chunked
from gatebridge.wire.events import (
    RESPONDER,
    Body,
    BodyEnd,
    Event,
    Fault,
    Limits,
    Pairs,
    Reply,
    Request,
)
from gatebridge.wire.http_head import body_length, variables
from gatebridge.wire.scan import is_token

ID = 1  # of every request; there is one at a time
DRAIN = 1 << 20  # bytes of an unread body worth reading to keep the connection
SLICE = 65_536  # bytes looked at in one go

_BLANK_LINE = re.compile(rb"\n\r?\n")

_HEAD = 0  # what the next byte belongs to
_LENGTH = 1  # a body with a Content-Length
_CHUNKED = 2
_WAIT = 3  # a request that must wait for the answer before it
_OVER = 4

_REASONS = {
    400: "Bad Request",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    505: "HTTP Version Not Supported",
}
_STATUS_OF = {  # what a fault answers, 400 where it is not listed
    "http.fields": 431,
    "http.head": 431,
    "http.coding": 501,
    "http.version": 505,
    "length.too_big": 413,
}

Pieces = list[bytes | memoryview]


class Http:
    """One connection; see wire.events for the members.

    date  gives the text of a Date field; without it answers carry none (RFC 9110 section 6.6.1
          asks for one where there is a clock, and there is none in this package)
    closing  may be set from outside before send_head(): the answer then says Connection: close
    counted  the body has a Content-Length; else it ends with a chunk
    """

    __slots__ = (
        "_answered",
        "_chunked",
        "_chunks",
        "_conn",
        "_date",
        "_fresh",
        "_left",
        "_limits",
        "_pending",
        "_scanned",
        "_silent",
        "_spare",
        "_state",
        "_trailers",
        "closing",
        "counted",
    )

    raw_body = False  # h11 counts it, and may cut it into chunks

    def __init__(self, limits: Limits, date: Callable[[], str] | None = None) -> None:
        self._limits = limits
        self._date = date
        self._conn = h11.Connection(h11.SERVER)
        self._state = _HEAD
        self._pending = bytearray()  # what came and is not parsed
        self._scanned = 0  # bytes of it that hold no end of the head
        self._left = 0  # bytes of a _LENGTH body to come
        self._chunks = Chunked()
        self._fresh: Request | None = None  # the one of this receive()
        self._answered = False  # the body that comes is of a request already answered
        self._spare = 0  # bytes of it that will still be read
        self._silent = False  # the answer has no body: HEAD, 204, 304
        self._chunked = False  # the answer's body goes out in chunks
        self._trailers: list[tuple[bytes, bytes]] = []
        self.closing = False
        self.counted = True

    def receive(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        self._fresh = None
        if self._state == _LENGTH and not self._pending and len(data) < self._left:
            self._left -= len(data)
            self._body(data, events)
            return events
        self._pending += data
        try:
            while self._step(events):
                pass
        except PeerError as error:
            answers = self._state == _HEAD or self._conn.our_state is h11.SEND_RESPONSE
            events.append(Fault(0, error, self._refusal if answers else None))
            self._end()
        return events

    def _step(self, events: list[Event]) -> bool:
        """Parse one thing; False when only more bytes, or an answer, can change anything."""
        if self._state == _HEAD:
            return self._head(events)
        if self._state == _LENGTH:
            return self._length_body(events)
        if self._state == _CHUNKED:
            return self._chunked_body(events)
        if self._state == _OVER:
            self._pending.clear()
        elif len(self._pending) > self._limits.params:
            raise PeerError("http.pipeline", "too many bytes ahead of an answer")
        return False

    def _head(self, events: list[Event]) -> bool:
        """State _HEAD: wait for an empty line, then parse."""
        pending = self._pending
        while pending.startswith(b"\r\n"):  # RFC 9112 section 2.2: some clients send one too many
            del pending[:2]
        if not pending or pending == b"\r":
            return False
        if not is_token(chr(pending[0])):  # TLS or FastCGI at the wrong door: do not wait for more
            raise PeerError("http.malformed", f"{bytes(pending[:16])!r} starts no request")
        end = self._head_end()
        if (end or len(pending)) > self._limits.params:
            raise PeerError("http.head", f"more than {self._limits.params} bytes")
        if not end:
            return False
        head = bytes(pending[:end])
        del pending[:end]
        self._scanned = 0
        self._begin(self._parse(head), events)
        return True

    def _head_end(self) -> int:
        """Where the body begins; 0 while the empty line has not come."""
        found = _BLANK_LINE.search(self._pending, max(self._scanned - 2, 0))
        self._scanned = len(self._pending)
        return found.end() if found else 0

    def _parse(self, head: bytes) -> h11.Request:
        self._conn = h11.Connection(h11.SERVER)
        self._conn.receive_data(head)
        try:
            event = self._conn.next_event()
        except h11.RemoteProtocolError as error:
            code = "http.coding" if error.error_status_hint == 501 else "http.malformed"
            raise PeerError(code, str(error)[:160]) from error
        if not isinstance(event, h11.Request):
            raise PeerError("http.malformed", repr(head[:32]))
        return event

    def _begin(self, parsed: h11.Request, events: list[Event]) -> None:
        """The event of a complete head, and the state of its body."""
        if len(parsed.headers) > self._limits.pairs:
            raise PeerError("http.fields", f"{len(parsed.headers)} > {self._limits.pairs} fields")
        pairs = variables(parsed)
        vars: dict[str, object] = dict(pairs)
        self._left = body_length(parsed, vars)
        repeated = len(vars) != len(pairs)
        raw = Pairs(b"", lambda _block: pairs)
        request = Request(ID, vars, repeated, raw, RESPONDER, b"", self._left == 0)
        self._silent = parsed.method == b"HEAD"
        self._answered = False
        self.counted = self._left >= 0
        self._state = _WAIT if not self._left else _LENGTH
        if not self.counted:
            self._state = _CHUNKED
            self._chunks = Chunked()
        if self._left and self._conn.they_are_waiting_for_100_continue:
            events.append(Reply(b"HTTP/1.1 100 Continue\r\n\r\n"))
        self._fresh = request
        events.append(request)

    def _length_body(self, events: list[Event]) -> bool:
        """State _LENGTH."""
        piece = bytes(self._pending[: self._left])
        del self._pending[: self._left]
        self._left -= len(piece)
        self._body(piece, events)
        if self._left:
            return False
        self._body_end(events)
        return True

    def _chunked_body(self, events: list[Event]) -> bool:
        """State _CHUNKED."""
        data = bytes(self._pending[:SLICE])
        piece, rest = self._chunks.receive(data)
        del self._pending[: len(data) - len(rest)]
        self._body(piece, events)
        if self._chunks.done:
            self._body_end(events)
        return bool(data)

    def _body(self, piece: bytes, events: list[Event]) -> None:
        if self._answered:
            self._spare -= len(piece)
            if self._spare < 0:
                self._end()
        elif not piece:
            pass
        elif self._fresh is not None and not self._fresh.body:
            self._fresh.body = piece
        else:
            self._fresh = None
            events.append(Body(ID, piece))

    def _body_end(self, events: list[Event]) -> None:
        if self._state == _OVER:
            return
        self._state = _HEAD if self._answered else _WAIT
        if self._answered:
            return
        if self._fresh is not None:
            self._fresh.complete = True
        else:
            events.append(BodyEnd(ID))

    def _end(self) -> None:
        self.closing = True
        self._state = _OVER
        self._pending.clear()

    def take_early(self) -> bytes:
        """What came behind the last head, before its answer; for whoever reads on after a 101."""
        early = bytes(self._pending)
        self._end()
        return early

    def direct(self, id: int) -> int:
        if self._answered:
            return 0
        if self._state == _CHUNKED:
            return self._chunks.left
        return self._left if self._state == _LENGTH else 0

    def due(self, id: int, want: int) -> int:
        return min(want, self.direct(id))

    def sure(self, id: int, want: int) -> int:
        return self.due(id, want)

    def take(self, id: int, data: bytes, at: int, parts: Pieces) -> tuple[int, int]:
        parts.append(data[at:])
        self.skip(id, len(data) - at)
        return len(data), len(data) - at

    def skip(self, id: int, count: int) -> None:
        if self._state == _CHUNKED:
            self._chunks.skip(count)
            return
        self._left -= count
        if not self._left:
            self._state = _WAIT

    @property
    def busy(self) -> bool:
        """A request is not answered yet, or half read."""
        return self._state in (_LENGTH, _CHUNKED, _WAIT) or len(self._pending) > 0

    @property
    def resting(self) -> bool:
        return not self.closing and not self.busy

    def keeps(self, id: int) -> bool:
        return not self.closing

    def send_head(self, id: int, head: Head) -> Pieces:
        return self._send_head(head, [])

    def _send_head(self, head: Head, more: list[tuple[bytes, bytes]]) -> Pieces:
        if self._state == _OVER:
            return []
        code = head.code
        headers = [
            (name.encode("latin-1"), value.strip(" \t").encode("latin-1"))
            for name, value in head.headers
            if code != 204 or name.lower() != "content-length"  # RFC 9110 section 8.6
        ]
        names = {name.lower() for name, _ in headers}
        if self._date is not None and b"date" not in names:
            headers.append((b"Date", self._date().encode("latin-1")))
        if b"server" not in names:
            headers.append((b"Server", b"gatebridge"))
        if self.closing:
            headers.append((b"Connection", b"close"))
        self._silent = self._silent or code in (204, 304)
        reason = head.status[4:].encode("latin-1")
        headers += more
        self._trailers = []
        self._chunked = (
            not self._silent
            and b"content-length" not in {name.lower() for name, _ in headers}
            and self._conn.their_http_version == b"1.1"
        )
        return self._send(h11.Response(status_code=code, reason=reason, headers=headers))

    def send_hints(self, headers: list[tuple[bytes, bytes]]) -> Pieces:
        """A 103 before the head; nothing to a client of HTTP/1.0, which knows none."""
        if self._state == _OVER or self._conn.their_http_version == b"1.0":
            return []
        return self._send(h11.InformationalResponse(status_code=103, headers=headers))

    def keep_trailers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Further fields for send_end() to put behind the body, where it goes out in chunks."""
        self._trailers += headers

    def send_body(self, id: int, data: bytes) -> Pieces:
        if self._state == _OVER or self._silent or not data:
            return []
        return self._send(h11.Data(data=data))

    def _send(self, event: h11.Event) -> Pieces:
        try:
            return [*(self._conn.send_with_data_passthrough(event) or ())]
        except h11.LocalProtocolError as error:
            raise UseError("http.answer", str(error)) from error

    def send_answer(self, id: int, head: Head, body: bytes) -> Pieces:
        more = []
        if head.length < 0 and not self._silent and head.code not in (204, 304):
            more.append((b"Content-Length", b"%d" % len(body)))
        out = self._send_head(head, more)
        out += self.send_body(id, body)
        out += self.send_end(id, 0)
        return out

    def send_end(self, id: int, app_status: int, errors: bytes = b"") -> Pieces:
        """End the answer; so that the client sees a cut where it failed or is too short."""
        out: Pieces = []
        if self._conn.our_state is h11.SEND_BODY and not app_status:
            try:
                end = h11.EndOfMessage(headers=self._trailers if self._chunked else [])
                out += self._conn.send_with_data_passthrough(end) or ()
            except h11.LocalProtocolError:  # fewer bytes than Content-Length promised
                self.closing = True
        if self._conn.our_state is not h11.DONE:  # MUST_CLOSE: HTTP/1.0, or Connection: close
            self.closing = True
        if self._state == _WAIT:
            self._state = _HEAD
        self._answered = True
        self._spare = DRAIN
        if self.closing or (self._state == _LENGTH and self._left > DRAIN):
            self._end()
        return out

    def send_cut(self, id: int, alone: bool) -> Pieces:
        return self.send_end(id, 1)

    def send_error(self, id: int, data: bytes) -> Pieces:
        return []  # HTTP has no error stream

    def _refusal(self, error: PeerError, incident: str) -> bytes:
        """A whole plain answer to what is no request, as engine.pages makes them."""
        code = _STATUS_OF.get(error.code, 400)
        line = f"The request was refused. The server's log tells more under incident {incident}."
        text = f"{_REASONS[code]}\n\n{line}\n"
        date = f"Date: {self._date()}\r\n" if self._date is not None else ""
        return (
            f"HTTP/1.1 {code} {_REASONS[code]}\r\n{date}Server: gatebridge\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
            f"Connection: close\r\n\r\n{text}"
        ).encode("latin-1")
