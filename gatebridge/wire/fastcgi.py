"""FastCGI 1.0, application side: bytes from the web server become events, calls become bytes.

Section numbers are those of the FastCGI specification of 29 April 1996. Records may be cut
anywhere; no byte is parsed twice. A whole GET as nginx sends it (BEGIN, one PARAMS record, two
ends of stream) is recognised by its two ends and parsed without looking at its records. That path
repeats the rules of the slow one, so both stay in this file, long as it is.
"""

from gatebridge.errors import PeerError
from gatebridge.wire.cgi_head import Head, cgi_block, status_line
from gatebridge.wire.events import (
    AUTHORIZER,
    FILTER,
    RESPONDER,
    Abort,
    Body,
    BodyEnd,
    Event,
    Fault,
    Limits,
    Pairs,
    Reply,
    Request,
)
from gatebridge.wire.records import (
    ABORT_REQUEST,
    BEGIN_REQUEST,
    CANT_MPX_CONN,
    DATA,
    GET_VALUES,
    GET_VALUES_RESULT,
    HEADER,
    KEEP_CONN,
    MAX_CONTENT,
    NULL_ID,
    OVERLOADED,
    PARAMS,
    REQUEST_COMPLETE,
    STDERR,
    STDIN,
    STDOUT,
    UNKNOWN_ROLE,
    UNKNOWN_TYPE,
    VERSION,
    decode_pairs,
    encode_pairs,
    end_request,
    header,
    record,
    split_pairs,
    stream,
)

_BEGIN_1 = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01"  # BEGIN of id 1, role RESPONDER
_PARAMS_1 = b"\x01\x04\x00\x01"  # a PARAMS record of id 1
_ENDS_1 = b"\x01\x04\x00\x01\x00\x00\x00\x00\x01\x05\x00\x01\x00\x00\x00\x00"
_FRAME = 8 + 8 + 8 + 16  # bytes around the content of such a request
_END_1 = header(STDOUT, 1, 0) + end_request(1, 0, REQUEST_COMPLETE)
_COPIED = 16_384  # bytes; a copy of a longer body costs more than a gathered send

Pieces = list[bytes | memoryview]


class Stream:
    """What is known of an active request id."""

    __slots__ = ("data_open", "early", "id", "keep", "params", "ready", "refused", "role", "size",
                 "stdin_open")  # fmt: skip

    def __init__(self, id: int, role: int, keep: bool) -> None:
        self.id = id
        self.role = role
        self.keep = keep
        self.params: list[bytes] = []
        self.size = 0  # bytes of params and early together
        self.early: list[bytes] = []  # STDIN that came before the end of PARAMS
        self.ready = False  # PARAMS have ended and the Request event is out
        self.refused = False  # a Fault is out; whatever still comes is dropped
        self.stdin_open = role != AUTHORIZER  # section 6.3: it gets PARAMS and no body
        self.data_open = role == FILTER


class FastCGI:
    """One connection from a web server. Members: see wire.events."""

    __slots__ = ("_broken", "_buffer", "_close", "_id", "_kind", "_left", "_limits", "_owner",
                 "_pad", "_parts", "_quick", "_responds", "_size", "_streams")  # fmt: skip

    counted = False  # a body ends with a record of its own
    raw_body = False  # a body goes out in records

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._responds = RESPONDER in limits.roles
        self._streams: dict[int, Stream] = {}
        self._buffer = b""  # a header not yet whole, or the content of a small record
        self._kind = 0  # of the record whose content or padding is being read; 0: between records
        self._id = 0
        self._left = 0  # bytes of its content still to come
        self._pad = 0
        self._size = 1  # of the last record that had content
        self._owner: Request | None = None  # whose body the parts are, while receive() runs
        self._parts: Pieces = []
        self._quick = 0  # id 1 is active without a Stream: it came whole; 2: and keeps
        self._close = False
        self._broken = False

    @property
    def closing(self) -> bool:
        return self._broken or (self._close and not self._streams and not self._quick)

    @property
    def busy(self) -> bool:
        """Some request is not answered yet, or a record is half read."""
        return bool(self._streams or self._quick or self._kind or self._buffer)

    @property
    def resting(self) -> bool:
        """Nothing is under way, and the next request may come."""
        return not (
            self._streams
            or self._quick
            or self._kind
            or self._buffer
            or self._close
            or self._broken
        )

    # -- receiving

    def receive(self, data: bytes) -> list[Event]:
        if (
            data[-16:] == _ENDS_1
            and data[:10] == _BEGIN_1
            and data[16:20] == _PARAMS_1
            and len(data) == _FRAME + (data[20] << 8) + data[21] + data[22]
            and not (self._streams or self._quick or self._kind or self._buffer or self._broken)
            and self._responds
        ):
            return self._whole_get(data)
        if self._quick:
            self._unquick()
        events: list[Event] = []
        at = 0
        size = len(data)
        while at < size and not self._broken:
            if self._kind == 0:
                at = self._header(data, at, events)
            elif self._left:
                at = self._content(data, at, events)
            else:
                step = min(self._pad, size - at)
                at += step
                self._pad -= step
                if not self._pad:
                    self._kind = 0
        if self._owner is not None:
            self._join(None)
        return events

    def _whole_get(self, data: bytes) -> list[Event]:
        block = data[24 : -16 - data[22]]
        self._quick = 1 + (data[10] & KEEP_CONN)
        try:
            if len(block) > self._limits.params:
                raise PeerError("params.too_big", f"more than {self._limits.params} bytes")
            variables, repeated = decode_pairs(block, self._limits.pairs)
        except PeerError as error:
            return [self._refuse(self._unquick(), error)]
        return [Request(1, variables, repeated, Pairs(block, split_pairs))]

    def _unquick(self) -> Stream:
        """Give id 1 the Stream that a request has which did not come whole."""
        active = self._streams[1] = Stream(1, RESPONDER, self._quick == 2)
        active.ready = True
        active.stdin_open = False
        self._quick = 0
        return active

    def _active(self, id: int) -> Stream | None:
        if self._quick:
            self._unquick()
        return self._streams.get(id)

    def _header(self, data: bytes, at: int, events: list[Event]) -> int:
        """Read a record header, or the part of it that is there."""
        have = len(self._buffer)
        if have or len(data) - at < HEADER:
            end = min(at + HEADER - have, len(data))
            self._buffer += data[at:end]
            head = self._buffer
        else:
            end = at + HEADER
            head = data[at:end]
        if head[0] != VERSION:
            self._break("record.version", f"{head!r} does not start a FastCGI record", events)
            return end
        if len(head) < HEADER:
            return end
        self._buffer = b""
        self._kind = head[1] or 256  # type 0 is not our mark for "between records"
        self._id = (head[2] << 8) | head[3]
        self._left = (head[4] << 8) | head[5]
        self._pad = head[6]
        if self._left:
            self._size = self._left
        else:
            self._empty(events)
            if not self._pad:
                self._kind = 0
        return end

    def _content(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take what has arrived of the current record's content."""
        kind = self._kind
        active = self._streams.get(self._id)
        if kind == STDIN and events and active is not None and active.stdin_open:
            last = events[-1]
            if isinstance(last, Request) and last.id == active.id:
                if self._owner is not last:
                    self._join(last)
                return self.take(active.id, data, at, self._parts)[0]
        end = min(at + self._left, len(data))
        piece = data[at:end]
        self._left -= end - at
        if kind == STDIN or kind == DATA:
            if active is not None:
                self._body(active, kind, piece, events)
        elif kind == PARAMS:
            if active is not None and not active.ready and not active.refused:
                self._params(active, piece, events)
        elif kind == BEGIN_REQUEST or (kind == GET_VALUES and self._id == NULL_ID):
            self._small(piece, events)
        if not self._left:
            if kind > PARAMS and kind != STDIN and kind != DATA:
                self._management(kind, events)
            elif kind == ABORT_REQUEST:
                self._abort(events)
            if not self._pad:
                self._kind = 0
        return end

    def _small(self, piece: bytes, events: list[Event]) -> None:
        """Collect the content of a record that is parsed as a whole."""
        self._buffer += piece
        if self._left:
            return
        content = self._buffer
        self._buffer = b""
        if self._kind == BEGIN_REQUEST:
            self._begin(content, events)
        else:
            self._values(content, events)

    def _empty(self, events: list[Event]) -> None:
        """A record without content: the end of a stream, an ABORT, or an empty query."""
        kind = self._kind
        active = self._streams.get(self._id)
        if kind == PARAMS:
            if active is not None and not active.ready and not active.refused:
                self._params_end(active, events)
        elif kind == STDIN or kind == DATA:
            if active is not None:
                self._body_end(active, kind, events)
        elif kind == ABORT_REQUEST:
            self._abort(events)
        elif kind == BEGIN_REQUEST:
            self._begin(b"", events)
        elif kind == GET_VALUES and self._id == NULL_ID:
            self._values(b"", events)
        else:
            self._management(kind, events)

    # -- one function per record type

    def _begin(self, content: bytes, events: list[Event]) -> None:
        id = self._id
        if id == NULL_ID:  # section 3.3: the null id is for management records only
            return
        if len(content) != 8:
            self._break("record.begin", f"BEGIN_REQUEST of {len(content)} bytes, not 8", events)
            return
        if id in self._streams:
            self._break("request.id_in_use", f"BEGIN_REQUEST for the active id {id}", events)
            return
        role = (content[0] << 8) | content[1]
        keep = (content[2] & KEEP_CONN) != 0
        refusal = REQUEST_COMPLETE
        if role not in self._limits.roles:
            refusal = UNKNOWN_ROLE
        elif self._streams and not self._limits.multiplex:
            refusal = CANT_MPX_CONN
        elif len(self._streams) >= self._limits.requests:
            refusal = OVERLOADED
        if refusal:
            self._close = self._close or not keep
            events.append(Reply(end_request(id, 0, refusal)))
        else:
            self._streams[id] = Stream(id, role, keep)

    def _abort(self, events: list[Event]) -> None:
        active = self._streams.get(self._id)
        if active is None:  # section 3.3: of an inactive id, ignored
            return
        if active.ready or active.refused:
            events.append(Abort(active.id))
        else:  # nobody was called yet: HAProxy sends BEGIN and ABORT without any PARAMS
            self._forget(active)
            events.append(Reply(end_request(active.id, 0, REQUEST_COMPLETE)))

    def _params(self, active: Stream, piece: bytes, events: list[Event]) -> None:
        active.size += len(piece)
        if active.size > self._limits.params:
            error = PeerError("params.too_big", f"more than {self._limits.params} bytes")
            events.append(self._refuse(active, error))
        else:
            active.params.append(piece)

    def _params_end(self, active: Stream, events: list[Event]) -> None:
        block = active.params[0] if len(active.params) == 1 else b"".join(active.params)
        active.params = []
        try:
            variables, repeated = decode_pairs(block, self._limits.pairs)
        except PeerError as error:
            events.append(self._refuse(active, error))
            return
        active.ready = True
        body = b"".join(active.early)
        active.early = []
        done = not active.stdin_open and not active.data_open
        pairs = Pairs(block, split_pairs)
        events.append(Request(active.id, variables, repeated, pairs, active.role, body, done))
        if not done and not active.stdin_open:
            events.append(BodyEnd(active.id, STDIN))
        if not done and active.role == FILTER and not active.data_open:
            events.append(BodyEnd(active.id, DATA))

    def _body(self, active: Stream, kind: int, piece: bytes, events: list[Event]) -> None:
        if active.refused or not (active.stdin_open if kind == STDIN else active.data_open):
            return
        if not active.ready:
            self._early(active, kind, piece, events)
            return
        events.append(Body(active.id, piece, kind))

    def _join(self, owner: Request | None) -> None:
        """Give a request the body that came with its variables, copied once; go on with another."""
        if self._owner is not None:
            self._owner.body = b"".join(self._parts)
        self._owner = owner
        self._parts = [] if owner is None or not owner.body else [owner.body]

    def _early(self, active: Stream, kind: int, piece: bytes, events: list[Event]) -> None:
        """STDIN before the end of PARAMS: unusual, allowed, and bounded like PARAMS."""
        active.size += len(piece)
        if kind == DATA or active.size > self._limits.params:
            error = PeerError("params.late", "a body came before the end of PARAMS")
            events.append(self._refuse(active, error))
        else:
            active.early.append(piece)

    def _body_end(self, active: Stream, kind: int, events: list[Event]) -> None:
        if kind == STDIN:
            was, active.stdin_open = active.stdin_open, False
        else:
            was, active.data_open = active.data_open, False
        if not was or not active.ready:
            return
        last = events[-1] if events else None
        more = active.stdin_open or active.data_open
        if isinstance(last, Request) and last.id == active.id and not more:
            last.complete = True
        else:
            events.append(BodyEnd(active.id, kind))

    def _values(self, content: bytes, events: list[Event]) -> None:
        """FCGI_GET_VALUES, section 4.1: the names we know, with their true values."""
        known = {
            "FCGI_MAX_CONNS": str(self._limits.connections),
            "FCGI_MAX_REQS": str(self._limits.requests),
            "FCGI_MPXS_CONNS": "1" if self._limits.multiplex else "0",
        }
        try:
            names = [name for name, _ in split_pairs(content)]
        except PeerError as error:
            self._break("values.malformed", error.detail, events)
            return
        asked = [(name, known[name]) for name in dict.fromkeys(names) if name in known]
        events.append(Reply(record(GET_VALUES_RESULT, NULL_ID, encode_pairs(asked))))

    def _management(self, kind: int, events: list[Event]) -> None:
        """Section 4.2; types that only an application sends, or that have an id, are ignored."""
        if kind > UNKNOWN_TYPE and self._id == NULL_ID:
            content = bytes((kind & 255, 0, 0, 0, 0, 0, 0, 0))
            events.append(Reply(record(UNKNOWN_TYPE, NULL_ID, content)))

    # -- failing

    def _break(self, code: str, detail: str, events: list[Event]) -> None:
        self._broken = True
        events.append(Fault(NULL_ID, PeerError(code, detail)))

    def _refuse(self, active: Stream, error: PeerError) -> Fault:
        active.refused = True
        active.params = []
        active.early = []
        return Fault(active.id, error)

    def _forget(self, active: Stream) -> None:
        del self._streams[active.id]
        if not active.keep:
            self._close = True

    # -- reading the wire beside receive()

    def direct(self, id: int) -> int:
        if self._kind == 0:
            return len(self._buffer) - HEADER
        if self._left:
            return self._left if self._kind == STDIN and self._id == id else 0
        return -self._pad - HEADER

    def skip(self, id: int, count: int) -> None:
        self._left -= count
        if not self._left and not self._pad:
            self._kind = 0

    def due(self, id: int, want: int) -> int:
        if self._kind == STDIN and self._left:
            left = self._left
            if want < left or self._id != id:
                return want if self._id == id else 0
            return want + ((want - left) // self._size + 1) * (self._pad + HEADER)
        if self._kind or self._buffer:
            return 0
        active = self._streams.get(id)
        if active is None or not active.stdin_open:
            return 0
        return want + (want // self._size + 2) * HEADER

    def sure(self, id: int, want: int) -> int:
        if not self._kind:
            return HEADER
        left = self._left
        return want if want <= left else left + self._pad + HEADER

    def take(self, id: int, data: bytes, at: int, parts: Pieces) -> tuple[int, int]:
        view = memoryview(data)
        size = len(data)
        body = 0
        end = at  # of what receive() need not see
        while self._left or self._kind == 0:
            if self._left:
                end = at + self._left
                if end >= size:
                    parts.append(view[at:])
                    self._left = end - size
                    if not self._left and not self._pad:
                        self._kind = 0
                    return size, body + size - at
                parts.append(view[at:end])
                body += self._left
                self._left = 0
                at = end + self._pad
            if (
                at + HEADER > size
                or data[at] != VERSION
                or data[at + 1] != STDIN
                or (data[at + 2] << 8) | data[at + 3] != id
            ):
                break
            length = (data[at + 4] << 8) | data[at + 5]
            if not length:
                break
            self._kind = STDIN
            self._id = id
            self._left = self._size = length
            self._pad = data[at + 6]
            at += HEADER
        if not self._pad:
            self._kind = 0
        return end, body

    # -- sending

    def keeps(self, id: int) -> bool:
        """The KEEP_CONN flag of an active request."""
        active = self._active(id)
        return active is not None and active.keep

    @property
    def active(self) -> int:
        """How many requests are unanswered."""
        return len(self._streams) + (self._quick > 0)

    def send_head(self, id: int, head: Head) -> Pieces:
        return stream(STDOUT, id, cgi_block(head))

    def send_body(self, id: int, data: bytes) -> Pieces:
        return stream(STDOUT, id, data)

    def send_error(self, id: int, data: bytes) -> Pieces:
        return stream(STDERR, id, data)

    def send_end(self, id: int, app_status: int, errors: bytes = b"") -> Pieces:
        active = self._active(id)
        if active is None:
            return []
        self._forget(active)
        end = end_request(id, app_status, REQUEST_COMPLETE)
        return [header(STDOUT, id, 0), *stream(STDERR, id, errors), end]

    def send_cut(self, id: int, alone: bool) -> Pieces:
        active = self._active(id)
        if active is None:
            return []
        self._forget(active)
        if alone:  # a record no web server asked for: nginx gives the answer up, others ignore it
            return [header(GET_VALUES_RESULT, NULL_ID, 0)]
        return [end_request(id, 1, OVERLOADED)]

    def send_answer(self, id: int, head: Head, body: bytes) -> Pieces:
        line = status_line(head)
        size = len(line) + len(head.block) + 2 + len(body)
        if size > MAX_CONTENT:
            out = stream(STDOUT, id, cgi_block(head))
            out += stream(STDOUT, id, body)
            out += self.send_end(id, 0)
            return out
        if self._quick and id == 1:
            self._close = self._close or self._quick == 1
            self._quick = 0
            first = b"\x01\x06\x00\x01" + size.to_bytes(2, "big") + b"\x00\x00"
            end = _END_1
        else:
            first = header(STDOUT, id, size)
            end = b"".join(self.send_end(id, 0))
        if size > _COPIED:
            return [b"".join((first, line, head.block, b"\r\n")), body, end]
        return [b"".join((first, line, head.block, b"\r\n", body, end))]
