"""FastCGI 1.0, web-server side: calls become records, the application's records become events.

Section numbers are those of the FastCGI specification of 29 April 1996. The application behind
the socket is not trusted: every length is checked against what the record holds, its head is
capped (wire.answer), records of ids that are not active are dropped unseen.
"""

from gatebridge.errors import PeerError, UseError
from gatebridge.wire.answer import Answer
from gatebridge.wire.events import RESPONDER, STDIN, End, ErrorText, Event, Fault, Values
from gatebridge.wire.records import (
    ABORT_REQUEST,
    END_REQUEST,
    GET_VALUES,
    GET_VALUES_RESULT,
    HEADER,
    KEEP_CONN,
    MAX_CONTENT,
    NULL_ID,
    PARAMS,
    REQUEST_COMPLETE,
    STDERR,
    STDOUT,
    UNKNOWN_TYPE,
    VERSION,
    begin_request,
    encode_pairs,
    header,
    record,
    split_pairs,
    stream,
)

Pieces = list[bytes | memoryview]

_OURS = frozenset((1, 2, 4, 5, 8, 9))  # types that only a web server sends
_WHOLE = frozenset((END_REQUEST, GET_VALUES_RESULT, UNKNOWN_TYPE))  # parsed when complete


class FastCGIClient:
    """One connection to an application, any number of requests on it at once.

    request(vars, id, role, keep) -> pieces    BEGIN_REQUEST and all of PARAMS
    send_body(id, data, stream) -> pieces      STDIN, or DATA for a FILTER
    send_body_end(id, stream) -> pieces
    abort(id), get_values(names) -> pieces
    receive(data) -> events                    Head, Body, ErrorText, End, Values, Fault
    finish() -> events                         the peer closed: a Fault if something is missing
    closing                                    nothing more can come that anybody waits for
    """

    __slots__ = ("_answers", "_asked", "_broken", "_held", "_id", "_keep", "_kind", "_left",
                 "_pad", "_seen")  # fmt: skip

    def __init__(self) -> None:
        self._answers: dict[int, Answer] = {}
        self._asked = 0  # GET_VALUES that are not answered
        self._broken = False
        self._keep = True
        self._held = b""  # a header not yet whole, or the content of a small record
        self._kind = 0  # of the record being read; 0: between records
        self._id = 0
        self._left = 0  # bytes of its content still to come
        self._pad = 0
        self._seen = False  # at least a byte has come

    @property
    def closing(self) -> bool:
        return self._broken or not (self._keep or self._answers)

    @property
    def is_between(self) -> bool:
        """Whether all that has come were whole records."""
        return self._kind == 0 and not self._held

    @property
    def active(self) -> int:
        """How many requests are unanswered."""
        return len(self._answers)

    # -- sending

    def request(
        self, vars: list[tuple[str, str]], id: int = 1, role: int = RESPONDER, keep: bool = False
    ) -> Pieces:
        """Start a request. vars: latin-1, sent as they are.

        raises  UseError("id.range"), UseError("id.in_use"), UseError("params.latin1")
        """
        if not 0 < id <= 0xFFFF:
            raise UseError("id.range", f"a request id is 1 to 65,535, not {id}")
        if id in self._answers:
            raise UseError("id.in_use", f"request {id} is not answered yet")
        try:
            block = encode_pairs(vars)
        except UnicodeEncodeError as error:
            raise UseError("params.latin1", str(error)) from error
        self._answers[id] = Answer(id, alone=False)
        self._keep = keep
        out: Pieces = [begin_request(id, role, KEEP_CONN if keep else 0)]
        out += stream(PARAMS, id, block)
        out.append(header(PARAMS, id, 0))
        return out

    def send_body(self, id: int, data: bytes, kind: int = STDIN) -> Pieces:
        return stream(kind, id, data)

    def send_body_end(self, id: int, kind: int = STDIN) -> Pieces:
        return [header(kind, id, 0)]

    def abort(self, id: int) -> Pieces:
        return [header(ABORT_REQUEST, id, 0)]

    def get_values(self, names: list[str]) -> Pieces:
        """Ask for FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS (section 4.1)."""
        block = encode_pairs([(name, "") for name in names])
        if len(block) > MAX_CONTENT:
            raise UseError("params.too_big", "a query is one record of at most 65,535 bytes")
        self._asked += 1
        return [record(GET_VALUES, NULL_ID, block)]

    # -- receiving

    def receive(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        at = 0
        size = len(data)
        self._seen = self._seen or size > 0
        while at < size and not self._broken:
            if self._kind == 0:
                at = self._header(data, at, events)
            elif self._left:
                at = self._content(data, at, events)
            else:
                step = min(self._pad, size - at)
                at += step
                self._pad -= step
            if self._kind and not self._left and not self._pad:
                self._kind = 0
        return events

    def finish(self) -> list[Event]:
        """The peer closed the connection."""
        if self._broken or not (self._answers or self._asked or self._kind or self._held):
            self._broken = True
            return []
        events: list[Event] = []
        if not self._seen:
            self._break("answer.empty", "closed without a byte of answer", events)
        elif self._kind or self._held:
            self._break("answer.cut", "closed inside a record", events)
        else:
            self._break("answer.cut", "closed before END_REQUEST", events)
        return events

    def _header(self, data: bytes, at: int, events: list[Event]) -> int:
        end = min(at + HEADER - len(self._held), len(data))
        head = self._held = self._held + data[at:end]
        if head[0] != VERSION:
            self._break("record.version", f"{head!r} does not start a FastCGI record", events)
        elif len(head) > 1 and head[1] in _OURS:
            self._break("record.type", f"type {head[1]} comes from web servers only", events)
        elif len(head) == HEADER:
            self._held = b""
            self._kind = head[1] or 256  # 0 is no type, and not our mark for "between records"
            self._id = (head[2] << 8) | head[3]
            self._left = (head[4] << 8) | head[5]
            self._pad = head[6]
            if not self._left and self._kind in _WHOLE:
                self._whole(b"", events)
        return end

    def _content(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take what has arrived of the current record's content."""
        end = min(at + self._left, len(data))
        piece = data[at:end]
        self._left -= end - at
        if self._kind in _WHOLE:
            self._held += piece
            if not self._left:
                content, self._held = self._held, b""
                self._whole(content, events)
        elif self._id in self._answers:
            if self._kind == STDOUT:
                events += self._answers[self._id].receive(piece)
            elif self._kind == STDERR:
                events.append(ErrorText(self._id, piece))
        return end

    def _whole(self, content: bytes, events: list[Event]) -> None:
        """One function per type that is parsed as a whole."""
        if self._kind == END_REQUEST:
            self._end(content, events)
        elif self._id == NULL_ID and self._asked:
            if self._kind == GET_VALUES_RESULT:
                self._values(content, events)
            elif content[:1] == bytes((GET_VALUES,)):  # section 4.2: it knows no variables
                self._asked -= 1
                events.append(Values({}))

    def _end(self, content: bytes, events: list[Event]) -> None:
        """END_REQUEST, section 5.5. A request refused by protocolStatus has no answer to miss."""
        if self._id not in self._answers:
            return
        if len(content) != 8:
            self._break("record.end", f"END_REQUEST of {len(content)} bytes, not 8", events)
            return
        answer = self._answers.pop(self._id)
        if content[4] == REQUEST_COMPLETE and answer.started:
            events += [event for event in answer.finish() if isinstance(event, Fault)]
        events.append(End(self._id, int.from_bytes(content[:4], "big"), content[4]))

    def _values(self, content: bytes, events: list[Event]) -> None:
        self._asked -= 1
        try:
            events.append(Values(dict(split_pairs(content))))
        except PeerError as error:
            self._break("values.malformed", error.detail, events)

    def _break(self, code: str, detail: str, events: list[Event]) -> None:
        self._broken = True
        self._answers.clear()
        self._held = b""
        events.append(Fault(NULL_ID, PeerError(code, detail)))
