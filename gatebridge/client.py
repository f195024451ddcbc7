"""A blocking client: one request to anything that speaks FastCGI, SCGI, uwsgi or HTTP.

    exchange(bind, ask) -> iterator of Head, Body, ErrorText, End, as they arrive
    request(bind, method, url, …) -> Response, all of it

Each way to fail has a code of its own:

    connect.no_socket, .not_a_socket, .permission, .refused, .busy, .timeout, .unresolved, .failed
    protocol.silent, .http, .fastcgi, .tls, .garbage    something listens, and speaks otherwise
    answer.timeout, .cut, .short                        it broke off
    head.malformed, head.too_big, record.…              it broke the rules
"""

from collections.abc import Iterator
from typing import IO

from gatebridge.bind import Bind, parse_bind
from gatebridge.connect import Link, connect
from gatebridge.errors import PeerError
from gatebridge.meta import Ask, stated_length, variables
from gatebridge.wire.events import (
    AUTHORIZER,
    DATA,
    FILTER,
    RESPONDER,
    Body,
    End,
    ErrorText,
    Event,
    Fault,
    Head,
)
from gatebridge.wire.fastcgi_client import FastCGIClient
from gatebridge.wire.scan import decimal, is_token
from gatebridge.wire.scgi import ScgiClient
from gatebridge.wire.uwsgi import UwsgiClient

TIMEOUT_S = 30.0
_LONGEST = (1 << 63) - 1

_Client = FastCGIClient | ScgiClient | UwsgiClient


class Response:
    """An answer. app_status and protocol_status as in wire.events.End."""

    __slots__ = ("app_status", "body", "errors", "headers", "protocol_status", "status")

    def __init__(self) -> None:
        self.status = ""  # "200 OK"; "" where the application refused the request by a status
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.errors = b""
        self.app_status = 0
        self.protocol_status = 0

    @property
    def code(self) -> int:
        return int(self.status[:3]) if self.status else 0

    def header(self, name: str, default: str = "") -> str:
        """The first header of that name."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return default


def request(
    bind: str | Bind,
    method: str = "GET",
    url: str = "/",
    headers: list[tuple[str, str]] | None = None,
    body: bytes | IO[bytes] | None = None,
    *,
    params: list[tuple[str, str]] | None = None,
    role: int = RESPONDER,
    keep: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Response:
    """Send one request and read all of the answer. For the arguments see Ask and exchange()."""
    response = Response()
    body_parts: list[bytes] = []
    error_parts: list[bytes] = []
    for event in exchange(bind, Ask(method, url, headers, body, params, role, keep), timeout_s):
        if isinstance(event, Body):
            body_parts.append(event.data)
        elif isinstance(event, ErrorText):
            error_parts.append(event.data)
        elif isinstance(event, Head):
            response.status = event.status
            response.headers = event.headers
        elif isinstance(event, End):
            response.app_status = event.app_status
            response.protocol_status = event.protocol_status
    response.body = b"".join(body_parts)
    response.errors = b"".join(error_parts)
    return response


def exchange(bind: str | Bind, ask: Ask, timeout_s: float = TIMEOUT_S) -> Iterator[Event]:
    """Send one request; give Head, Body, ErrorText and End as they come.

    timeout_s  seconds in which nothing at all happened
    raises     ConfigError, PeerError: see the list above; UseError for what cannot be sent
    """
    place = parse_bind(bind) if isinstance(bind, str) else bind
    if place.protocol == "http":
        from gatebridge.client_http import exchange_http  # needs more of the standard library

        events = exchange_http(place, ask, timeout_s)
    else:
        events = _gateway(place, ask, timeout_s)
    return _measured(events, ask.method)


def _measured(events: Iterator[Event], method: str) -> Iterator[Event]:
    """Pass the events on; hold the body against Content-Length."""
    promised = -1
    got = 0
    headed = False
    for event in events:
        headed = headed or isinstance(event, Head)
        if isinstance(event, Head) and method != "HEAD" and event.status[:3] not in ("204", "304"):
            for name, value in event.headers:
                if name.lower() == "content-length":
                    promised = _promised(value)
        elif isinstance(event, Body):
            got += len(event.data)
        elif isinstance(event, End) and got < promised:
            raise PeerError("answer.short", f"{got} of {promised} bytes, then the end")
        elif isinstance(event, End) and not (headed or event.app_status or event.protocol_status):
            raise PeerError("answer.cut", "the application ended the request without an answer")
        yield event


def _promised(length: str) -> int:
    try:
        return decimal(length, _LONGEST)
    except PeerError as error:
        detail = f"the answer's Content-Length is {length[:40]!r}, no number of bytes"
        raise PeerError(error.code, detail) from error


def _gateway(place: Bind, ask: Ask, timeout_s: float) -> Iterator[Event]:
    vars = variables(ask.method, ask.url, ask.headers, ask.length, ask.params, ask.role)
    client, outgoing = _start(place.protocol, ask, vars)
    with connect(place, timeout_s) as sock:
        link = Link(sock, outgoing, timeout_s)
        for data in link.received():
            if place.protocol == "scgi" and link.first.startswith(b"HTTP/"):
                raise _http_here(place)  # it would pass for a head of nph- kind
            for event in client.receive(data):
                if isinstance(event, Fault):
                    raise _explained(event.error, place, link.first)
                yield event
                if isinstance(event, End):
                    return
        for event in client.finish():
            if isinstance(event, Fault):
                raise _explained(event.error, place, link.first)
            yield event


def _start(
    protocol: str, ask: Ask, vars: list[tuple[str, str]]
) -> tuple[_Client, Iterator[bytes | memoryview]]:
    """The protocol's client, and everything to send, read and framed as it goes out."""
    if protocol == "fastcgi":
        fastcgi = FastCGIClient()
        return fastcgi, _records(fastcgi, fastcgi.request(vars, 1, ask.role, ask.keep), ask)
    client = ScgiClient() if protocol == "scgi" else UwsgiClient()
    return client, _bytes(client.request(vars, stated_length(vars, ask.length)), ask)


def _records(
    client: FastCGIClient, pieces: list[bytes | memoryview], ask: Ask
) -> Iterator[bytes | memoryview]:
    yield b"".join(pieces)
    if ask.role == AUTHORIZER:
        return  # section 6.3: no STDIN at all
    for piece in ask.pieces():
        yield from client.send_body(1, piece)
    yield from client.send_body_end(1)
    if ask.role == FILTER:
        yield from client.send_body_end(1, DATA)


def _bytes(head: bytes, ask: Ask) -> Iterator[bytes | memoryview]:
    yield head
    yield from ask.pieces()


# -- what went wrong


def _http_here(place: Bind) -> PeerError:
    return PeerError("protocol.http", f"{place.text} answers in HTTP, not in {place.protocol}")


def _explained(error: PeerError, place: Bind, first: bytes) -> PeerError:
    """Name the protocol that the other side speaks, where its first bytes tell it."""
    spoken = place.protocol
    if not first:
        return PeerError(
            "protocol.silent",
            f"{place.text} closed the connection without a byte: not {spoken}, or it gave up",
        )
    if first.startswith(b"HTTP/") and spoken != "uwsgi":
        return _http_here(place)
    if first.startswith((b"\x15\x03", b"\x16\x03")):
        return PeerError("protocol.tls", f"{place.text} answers in TLS, not in {spoken}")
    if spoken != "fastcgi" and first[0] == 1 and first[1:2] in (b"\x03", b"\x06", b"\x07"):
        return PeerError("protocol.fastcgi", f"{place.text} answers in FastCGI, not in {spoken}")
    line, end, _ = first.partition(b"\n")
    no_field = b":" not in line and (
        error.code == "head.malformed" or (error.code == "answer.cut" and _is_no_field(line, end))
    )
    if error.code in ("record.version", "record.type") or (spoken != "fastcgi" and no_field):
        return PeerError("protocol.garbage", f"{place.text} answers {first[:32]!r}: not {spoken}")
    return error


def _is_no_field(line: bytes, end: bytes) -> bool:
    """Tell whether this cannot become a header line, as "Sta" still can."""
    return bool(end) or not is_token(line.decode("latin-1"))
