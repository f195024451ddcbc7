"""The client's HTTP side, over any bind: the standard library's http.client on our socket."""

from collections.abc import Iterator
from http.client import (
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    IncompleteRead,
    RemoteDisconnected,
    UnknownProtocol,
)
from io import BufferedReader
from socket import socket

from gatebridge.bind import Bind
from gatebridge.connect import connect
from gatebridge.errors import PeerError, UseError
from gatebridge.meta import Ask, Target, checked
from gatebridge.wire.events import Body, End, Event, Head

_CHUNK = 65_536


class _Lines(BufferedReader):
    """What an answer is read from. http.client would take a head that is cut for a whole one."""

    in_head = True
    _begun = False

    def readline(self, size: int | None = -1, /) -> bytes:
        if not self.in_head:
            return super().readline(size)
        try:
            line = super().readline(size)
        except ConnectionResetError:
            line = b""
        self._begun = self._begun or line != b""
        if self._begun and line[-1:] != b"\n" and len(line) != size:
            raise ConnectionError("closed inside the head")
        return line


class _Answer(HTTPResponse):
    def __init__(
        self, sock: socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        self.fp = self._lines = _Lines(self.fp.detach())

    def begin(self) -> None:
        super().begin()
        self._lines.in_head = False


def exchange_http(place: Bind, ask: Ask, timeout_s: float) -> Iterator[Event]:
    """As client.exchange()."""
    if ask.params:
        raise UseError("params.http", "HTTP carries no variables, only headers")
    names = checked(ask.method, ask.headers)
    target = Target(ask.url)
    connection = HTTPConnection("localhost", timeout=timeout_s)
    connection.response_class = _Answer
    try:
        connection.sock = connect(place, timeout_s)
        connection.sock.settimeout(timeout_s)
        _send(connection, ask, target, names)
        response = _response(connection, place)
        status = f"{response.status} {response.reason}".rstrip(" ")
        yield Head(1, status, [(name, value) for name, value in response.getheaders()])
        yield from _body(response)
        yield End(1)
    except TimeoutError as error:
        raise PeerError("answer.timeout", f"nothing for {timeout_s:g} s") from error
    except (HTTPException, ConnectionError) as error:
        raise PeerError("answer.cut", f"the answer broke off: {error}") from error
    finally:
        connection.close()


def _response(connection: HTTPConnection, place: Bind) -> HTTPResponse:
    """The head of the answer. raises PeerError, ConnectionError"""
    try:
        return connection.getresponse()
    except RemoteDisconnected as error:
        detail = f"{place.text} closed the connection without a byte: not http, or it gave up"
        raise PeerError("protocol.silent", detail) from error
    except (BadStatusLine, UnknownProtocol) as error:
        detail = f"{place.text} answers {str(error)[:40]!r}: not http"
        raise PeerError("protocol.garbage", detail) from error
    except HTTPException as error:  # of lines and their number
        raise PeerError("head.too_big", str(error)) from error


def _send(connection: HTTPConnection, ask: Ask, target: Target, names: dict[str, str]) -> None:
    connection.putrequest(ask.method, target.raw, skip_host=True, skip_accept_encoding=True)
    if "host" not in names:
        literal = f"[{target.host}]" if ":" in target.host else target.host
        host = f"{literal}:{target.port}" if target.port else literal
        connection.putheader("Host", host or "localhost")
    for name, value in ask.headers:
        connection.putheader(name, value)
    if ask.length >= 0 and "content-length" not in names:
        connection.putheader("Content-Length", str(ask.length))
    if "connection" not in names:
        connection.putheader("Connection", "close")
    try:
        connection.endheaders()
        for piece in ask.pieces():
            connection.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass  # an answer may be there to read


def _body(response: HTTPResponse) -> Iterator[Event]:
    while True:
        try:
            data = response.read1(_CHUNK)
        except IncompleteRead as error:
            if error.partial:
                yield Body(1, error.partial)
            raise PeerError("answer.cut", "closed inside a chunk, or it is malformed") from error
        if not data:
            return
        yield Body(1, data)
