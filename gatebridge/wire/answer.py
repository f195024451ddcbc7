"""The client side of an answer: bytes of a CGI response -> Head, Body, End.

SCGI and uwsgi answers are that and nothing else; the STDOUT stream of FastCGI is the same.
"""

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.events import Body, End, Event, Fault, Head
from gatebridge.wire.parse_head import parse_head

MAX_HEAD = 65_536  # bytes; parse_head() counts the fields


class Answer:
    """One answer. After a Fault nothing more of it is looked at.

    receive(data) -> list[Event]   Head, then Body
    finish() -> list[Event]        the stream is at its end: End, or Fault("answer.…")
    id       what the events carry
    alone    the answer has the connection for itself: Faults carry id 0, "the connection is lost"
    """

    __slots__ = ("_fault_id", "_head", "closing", "id")

    def __init__(self, id: int = 1, alone: bool = True) -> None:
        self.id = id
        self._fault_id = 0 if alone else id
        self.closing = False
        self._head: bytearray | None = bytearray()  # None: it is complete

    def receive(self, data: bytes) -> list[Event]:
        if self.closing or not data:
            return []
        if self._head is None:
            return [Body(self.id, data)]
        self._head += data
        if b"\n" not in data and len(self._head) <= MAX_HEAD:
            return []  # no line has ended, so the head has not
        try:
            parsed = parse_head(bytes(self._head), MAX_HEAD)
        except AppError as error:  # what our side calls the application is the peer here
            return self._fault(error.code, error.detail)
        if parsed is None:
            return []
        head, consumed = parsed
        rest = bytes(self._head[consumed:])
        self._head = None
        out: list[Event] = [Head(self.id, head.status, head.headers)]
        if rest:
            out.append(Body(self.id, rest))
        return out

    def finish(self) -> list[Event]:
        """The stream is at its end."""
        if self.closing:
            return []
        if self._head is not None:
            if not self._head:
                return self._fault("answer.empty", "closed without a byte of answer")
            seen = bytes(self._head[:80])
            return self._fault("answer.cut", f"closed inside the head: {seen!r}")
        self.closing = True
        return [End(self.id)]

    @property
    def started(self) -> bool:
        """At least a byte has come."""
        return self._head is None or len(self._head) > 0

    def _fault(self, code: str, detail: str) -> list[Event]:
        self.closing = True
        self._head = bytearray()
        return [Fault(self._fault_id, PeerError(code, detail))]
