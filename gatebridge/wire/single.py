"""What SCGI and the uwsgi protocol share: one request per connection, its body counted.

Both send the variables as one block whose length comes first, then CONTENT_LENGTH bytes of body;
the answer ends with the connection. A protocol adds how the block is framed and split.
"""

from gatebridge.errors import PeerError
from gatebridge.wire.cgi_head import MAX_LENGTH, Head, cgi_block
from gatebridge.wire.events import RESPONDER, Body, BodyEnd, Event, Fault, Limits, Pairs, Request
from gatebridge.wire.scan import decimal

ID = 1  # neither protocol has request ids

Pieces = list[bytes | memoryview]

_COPIED = 16_384  # bytes; a copy of a longer body costs more than a gathered send
_VARIABLES = -1  # left, while the variables are not complete


class Single:
    """Application side of one connection; see wire.events for the members."""

    __slots__ = ("_held", "_left", "_limits", "_need", "closing")

    counted = True  # a body ends when direct() bytes of it were skipped
    raw_body = True  # a body goes out as it is

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = bytearray()  # variables that are not complete
        self._need = 0  # bytes of them before another look is worth it
        self._left = _VARIABLES  # bytes of body to come
        self.closing = False

    def receive(self, data: bytes) -> list[Event]:
        if self._left > 0:
            return self._more_body(data)
        if self._left == 0:
            return []  # more than CONTENT_LENGTH is not body, and no second request follows
        if self._held:
            self._held += data
            if len(self._held) < self._need:
                return []
            data = bytes(self._held)
        try:
            return self._variables(data)
        except PeerError as error:
            self._left = 0
            self._held = bytearray()
            self.closing = True
            return [Fault(0, error)]

    def _variables(self, data: bytes) -> list[Event]:
        """Parse the block and what follows it, or call _wait(). May raise PeerError."""
        raise NotImplementedError

    def _wait(self, data: bytes, need: int) -> list[Event]:
        """Keep data until need bytes are there."""
        self._need = need
        if not self._held:
            self._held += data
        return []

    def _request(
        self, vars: dict[str, object], repeated: bool, pairs: Pairs, rest: bytes, lie: int = 0
    ) -> list[Event]:
        """The events of complete variables. rest: what came behind them. lie: see Scgi."""
        length = lie or body_length(vars, repeated, pairs)
        if len(rest) > length:
            rest = rest[:length]
        self._left = left = length - len(rest)
        self._held = bytearray()
        request = Request(
            ID, vars, repeated, pairs, RESPONDER, rest, left == 0 and not lie, lie > 0
        )
        return [request] if left or not lie else [request, BodyEnd(ID)]

    def _more_body(self, data: bytes) -> list[Event]:
        left = self._left
        if len(data) > left:
            data = data[:left]
        self._left = left - len(data)
        if self._left:
            return [Body(ID, data)] if data else []
        return [Body(ID, data), BodyEnd(ID)]

    def direct(self, id: int) -> int:
        return self._left if self._left > 0 else 0

    def due(self, id: int, want: int) -> int:
        return min(want, self._left) if self._left > 0 else 0

    def sure(self, id: int, want: int) -> int:
        return self.due(id, want)

    def take(self, id: int, data: bytes, at: int, parts: Pieces) -> tuple[int, int]:
        parts.append(data[at:])
        self.skip(id, len(data) - at)
        return len(data), len(data) - at

    def skip(self, id: int, count: int) -> None:
        self._left -= count

    @property
    def active(self) -> int:
        """How many requests are unanswered."""
        return int(self._left >= 0 and not self.closing)

    @property
    def busy(self) -> bool:
        """The request is not answered yet, or half read."""
        return self.active > 0 or len(self._held) > 0

    @property
    def resting(self) -> bool:
        return False  # one request, and the connection is over

    def keeps(self, id: int) -> bool:
        return False

    def send_head(self, id: int, head: Head) -> Pieces:
        return [self._head(head)]

    def send_body(self, id: int, data: bytes) -> Pieces:
        return [data] if data else []

    def send_end(self, id: int, app_status: int, errors: bytes = b"") -> Pieces:
        self.closing = True
        return []

    def send_cut(self, id: int, alone: bool) -> Pieces:
        self.closing = True
        return []  # a body ends with the connection here, whole or not

    def send_error(self, id: int, data: bytes) -> Pieces:
        return []  # neither protocol carries an error stream

    def send_answer(self, id: int, head: Head, body: bytes) -> Pieces:
        self.closing = True
        if len(body) > _COPIED:
            return [self._head(head), body]
        return [self._head(head) + body]

    def _head(self, head: Head) -> bytes:
        return cgi_block(head)


def body_length(vars: dict[str, object], repeated: bool, pairs: Pairs) -> int:
    """The one source of a body's length: CONTENT_LENGTH; '' (nginx) and absent are 0.

    raises  PeerError("length.…"), also where it comes twice and differs
    """
    field = vars.get("CONTENT_LENGTH")
    if repeated and len({value for name, value in pairs.all() if name == "CONTENT_LENGTH"}) > 1:
        raise PeerError("length.repeated", "two CONTENT_LENGTH that differ")
    return decimal(str(field), MAX_LENGTH) if field else 0
