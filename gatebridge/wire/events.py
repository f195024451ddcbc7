"""What a protocol object says happened, and the members that all of them share.

One connection loop serves every protocol, because each class of this package has these members:

    receive(data) -> list[Event]            never raises on a peer's bytes, see Fault
    send_head(id, head) -> list[bytes]      head: wire.cgi_head.Head
    send_body(id, data) -> list[bytes]
    send_end(id, app_status, errors) -> list[bytes]   errors: the last of the error stream
    send_error(id, data) -> list[bytes]     the error stream; [] where the protocol has none
    send_answer(id, head, body) -> list[bytes]  head, whole body and end in one go
    send_cut(id, alone) -> list[bytes]      end an answer that failed half-way, where that can be
                                            said; alone: the connection is closed behind it
    direct(id) -> int                       n > 0: the next n bytes on the wire are pure STDIN;
                                            n < 0: the next -n are framing; 0: cannot tell
    skip(id, count)                         the caller took that many of them off the wire itself
    due(id, want) -> int                    bytes to receive for want bytes of STDIN, with the
                                            framing as foreseen; 0: use receive()
    sure(id, want) -> int                   as many of these as will come, whatever comes next
    take(id, data, at, parts) -> (at, n)    n bytes of STDIN at data[at:] become parts, up to the
                                            first byte that receive() must see
    counted: bool                           a body ends when direct() bytes of it were skipped
    raw_body: bool                          a body goes out as it is, up to the close
    busy: bool                              a request is not answered, or something is half read
    resting: bool                           neither, and the next request may come
    closing: bool                           close the connection once everything queued is sent

Events are cut-invariant: the same bytes in other pieces give the same events, but for how the
bytes of a body are divided over Request.body and Body.
"""

from gatebridge.errors import PeerError
from gatebridge.wire.request import (
    AUTHORIZER,
    DATA,
    FILTER,
    RESPONDER,
    STDIN,
    UNKNOWN_LENGTH,
    Event,
    Pairs,
    Request,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AUTHORIZER",
    "DATA",
    "FILTER",
    "RESPONDER",
    "STDIN",
    "UNKNOWN_LENGTH",
    "Abort",
    "Body",
    "BodyEnd",
    "End",
    "ErrorText",
    "Event",
    "Fault",
    "Head",
    "Limits",
    "Pairs",
    "Reply",
    "Request",
    "Values",
]


class Limits:
    """Caps on what a peer may send before an application sees any of it.

    params       bytes of all variables of a request, names, values and their framing
    pairs        variables of a request
    requests     at once, on one connection and in all: FCGI_MAX_REQS
    connections  at once: FCGI_MAX_CONNS
    multiplex    several requests at once on one connection: FCGI_MPXS_CONNS
    roles        that are served; a request for another one gets UNKNOWN_ROLE
    """

    __slots__ = ("connections", "multiplex", "pairs", "params", "requests", "roles")

    def __init__(
        self,
        params: int = 1 << 20,
        pairs: int = 1000,
        requests: int = 256,
        connections: int = 4096,
        multiplex: bool = True,
        roles: tuple[int, ...] = (RESPONDER, AUTHORIZER, FILTER),
    ) -> None:
        self.params = params
        self.pairs = pairs
        self.requests = requests
        self.connections = connections
        self.multiplex = multiplex
        self.roles = roles


class Body(Event):
    """A piece of a body stream. stream: STDIN or DATA."""

    __slots__ = ("data", "id", "stream")

    def __init__(self, id: int, data: bytes, stream: int = STDIN) -> None:
        self.id = id
        self.data = data
        self.stream = stream

    def state(self) -> tuple[object, ...]:
        return (self.id, self.data, self.stream)


class BodyEnd(Event):
    """A body stream is at its end. stream: STDIN or DATA."""

    __slots__ = ("id", "stream")

    def __init__(self, id: int, stream: int = STDIN) -> None:
        self.id = id
        self.stream = stream

    def state(self) -> tuple[object, ...]:
        return (self.id, self.stream)


class Abort(Event):
    """The front server wants no answer any more (FCGI_ABORT_REQUEST); send_end is still due."""

    __slots__ = ("id",)

    def __init__(self, id: int) -> None:
        self.id = id

    def state(self) -> tuple[object, ...]:
        return (self.id,)


class Reply(Event):
    """Bytes to send back at once, whatever the applications do (management records)."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    def state(self) -> tuple[object, ...]:
        return (self.data,)


class Fault(Event):
    """The peer broke the protocol. id 0: the connection is lost (closing is now true, nothing
    more is parsed); else only this request is, and an error answer on this id is still due.
    Two faults are equal when id and code are.

    page  of a lost connection: its last bytes to send, from the error and an incident's id
    """

    __slots__ = ("error", "id", "page")

    def __init__(
        self, id: int, error: PeerError, page: "Callable[[PeerError, str], bytes] | None" = None
    ) -> None:
        self.id = id
        self.page = page
        # without the traceback: its frames hold what was parsed, and this event
        self.error = error.with_traceback(None)

    def state(self) -> tuple[object, ...]:
        return (self.id, self.error.code)


class Head(Event):
    """Client side: the head of an answer. status "200 OK"; headers latin-1, in order."""

    __slots__ = ("headers", "id", "status")

    def __init__(self, id: int, status: str, headers: list[tuple[str, str]]) -> None:
        self.id = id
        self.status = status
        self.headers = headers

    def state(self) -> tuple[object, ...]:
        return (self.id, self.status, self.headers)


class ErrorText(Event):
    """Client side: a piece of the error stream."""

    __slots__ = ("data", "id")

    def __init__(self, id: int, data: bytes) -> None:
        self.id = id
        self.data = data

    def state(self) -> tuple[object, ...]:
        return (self.id, self.data)


class End(Event):
    """Client side: the request is answered.

    app_status       the application's exit status, 0 where the protocol has none
    protocol_status  FastCGI's: 0 complete, 1 cannot multiplex, 2 overloaded, 3 unknown role
    """

    __slots__ = ("app_status", "id", "protocol_status")

    def __init__(self, id: int, app_status: int = 0, protocol_status: int = 0) -> None:
        self.id = id
        self.app_status = app_status
        self.protocol_status = protocol_status

    def state(self) -> tuple[object, ...]:
        return (self.id, self.app_status, self.protocol_status)


class Values(Event):
    """Client side: the answer to FCGI_GET_VALUES."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def state(self) -> tuple[object, ...]:
        return (self.values,)

    def __hash__(self) -> int:
        return len(self.values)
