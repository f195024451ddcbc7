"""A WSGI application that asks a FastCGI or SCGI server: what flup.client's are."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from gatebridge.compat.places import place
from gatebridge.connect import Link, connect
from gatebridge.errors import GatebridgeError, PeerError, UseError
from gatebridge.wire.events import Body, End, ErrorText, Fault, Head
from gatebridge.wire.fastcgi_client import FastCGIClient
from gatebridge.wire.scan import decimal
from gatebridge.wire.scgi import ScgiClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatebridge.bind import Bind
    from gatebridge.wire.events import Event

TIMEOUT_S = 60.0  # in which nothing at all happens
_CHUNK = 65_536
_LONGEST = (1 << 63) - 1
_OF_A_CONNECTION = frozenset(("connection", "keep-alive", "transfer-encoding", "upgrade"))


class Asking:
    """connect: a path, or (host, port). filterEnviron: CGI's variables alone, else all capitals.

    raises UseError("flup.address")
    """

    protocol = "fastcgi"
    _environPrefixes: Iterable[str] = (
        "SERVER_", "HTTP_", "REQUEST_", "REMOTE_", "PATH_", "CONTENT_"
    )  # fmt: skip
    _environCopies: Iterable[str] = ("SCRIPT_NAME", "QUERY_STRING", "AUTH_TYPE")
    _environRenames: dict[str, str] = {}  # noqa: RUF012 - for subclasses to replace

    def __init__(
        self, connect: object, host: str | None, port: int | None, filterEnviron: bool
    ) -> None:
        if host is not None:
            connect = (host, port)
        if connect is None:
            raise UseError(
                "flup.address", "say connect=PATH, connect=(host, port), or host and port"
            )
        self._place: Bind = place(connect, 0, self.protocol)
        self._filterEnviron = filterEnviron

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        events = self._exchange(environ)
        try:
            for event in events:
                if isinstance(event, Head):
                    kept = [(k, v) for k, v in event.headers if k.lower() not in _OF_A_CONNECTION]
                    start_response(_with_reason(event.status), kept)
                    return _bodies(events, environ)
                _note(event, environ)
            raise PeerError("answer.empty", f"{self._place.text} ended the request unanswered")
        except GatebridgeError as error:
            environ["wsgi.errors"].write(f"{error}\n")
            text = b"Bad Gateway\n"
            length = ("Content-Length", str(len(text)))
            start_response("502 Bad Gateway", [("Content-Type", "text/plain"), length])
            return [text]

    def _pairs(self, environ: dict[str, Any]) -> list[tuple[str, str]]:
        """The variables to send. Text only: what is not belongs to this process."""
        found: dict[str, str] = {}
        prefixes, copies = tuple(self._environPrefixes), tuple(self._environCopies)
        for name, value in environ.items():
            if not isinstance(value, str):
                continue
            if not self._filterEnviron:
                if name.upper() == name:
                    found[name] = value
                continue
            if name.startswith(prefixes) or name in copies:
                found[name] = value
            if name in self._environRenames:
                found[self._environRenames[name]] = value
        return list(found.items())

    def _exchange(self, environ: dict[str, Any]) -> Iterator[Event]:
        length = decimal(environ.get("CONTENT_LENGTH") or "0", _LONGEST)
        pairs = self._pairs(environ)
        body = _read(environ["wsgi.input"], length)
        client: FastCGIClient | ScgiClient
        outgoing: Iterator[bytes | memoryview]
        if self.protocol == "scgi":
            client = scgi = ScgiClient()
            outgoing = chain([scgi.request(pairs, length)], body)
        else:
            client = fastcgi = FastCGIClient()
            pieces = (piece for data in body for piece in fastcgi.send_body(1, data))
            outgoing = chain(fastcgi.request(pairs), pieces, fastcgi.send_body_end(1))
        with connect(self._place, TIMEOUT_S) as sock:
            for data in Link(sock, outgoing, TIMEOUT_S).received():
                for event in client.receive(data):
                    if isinstance(event, Fault):
                        raise event.error
                    yield event
                    if isinstance(event, End):
                        return
            for event in client.finish():
                if isinstance(event, Fault):
                    raise event.error
                yield event


def _read(stream: Any, length: int) -> Iterator[bytes]:
    while length > 0:
        data = stream.read(min(_CHUNK, length))
        if not data:
            raise PeerError("body.short", f"{length} bytes of it are missing")
        length -= len(data)
        yield data


def _bodies(events: Iterator[Event], environ: dict[str, Any]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, Body):
            yield event.data
        _note(event, environ)


def _note(event: Event, environ: dict[str, Any]) -> None:
    if isinstance(event, ErrorText):
        environ["wsgi.errors"].write(event.data.decode("utf-8", "replace"))


def _with_reason(status: str) -> str:
    return status if " " in status else f"{status} -"
