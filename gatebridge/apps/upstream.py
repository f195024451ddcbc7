"""A back end that speaks HTTP or FastCGI, as a WSGI application: gunicorn, uvicorn, PHP-FPM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatebridge.apps.script_body import body_length
from gatebridge.apps.upstream_body import Ask, Spooled
from gatebridge.apps.upstream_failure import failure
from gatebridge.apps.upstream_pool import Pool
from gatebridge.apps.upstream_reply import FastCgiReply, HttpReply
from gatebridge.apps.upstream_request import fastcgi_variables, http_head
from gatebridge.apps.upstream_talk import Talk
from gatebridge.errors import AppError
from gatebridge.wire.fastcgi_client import FastCGIClient

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from gatebridge.apps.upstream_options import Place
    from gatebridge.apps.upstream_reply import Reply

# RFC 9110 section 9.2.2: asked twice they do what they do once
_ERRORS_MOST = 1 << 20  # bytes of one request's error stream that are logged
_IDEMPOTENT = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"))


class Upstream:
    """One back end; each request is one request to it.

    A kept connection may have been closed by the back end a moment ago. Then, and never else, a
    request is sent once more, by a new connection: where no byte of an answer came, and nothing of
    the request was sent, or it is an idempotent one without a body.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pool = Pool(place)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """raises  PeerError("params.malformed"), PeerError("upstream.path"),
        PeerError("http.method"), PeerError("length.…"), whatever the body raises,
        ConnectionError. What the back end does wrong is answered.
        """
        try:
            talk, rest = self._ask(environ)
        except AppError as error:
            return failure(error, self._place.text, environ, start_response)
        try:
            start_response(talk.reply.status, _typed(talk.reply, environ))
        except BaseException:
            talk.close()
            raise
        if talk.reply.done:
            talk.close()
            return [rest]
        return Output(talk, rest)

    def _ask(self, environ: dict[str, Any]) -> tuple[Talk, bytes]:
        """Up to the answer's head, and what of the body came with it."""
        place, pool = self._place, self._pool
        exchange = _OverHttp if place.is_http else _OverFastCgi
        asked = exchange(environ, place, body_length(environ), pool.keep > 0)
        try:
            sock = pool.take()
            if sock is not None:
                try:
                    return self._begin(sock, asked, environ)
                except _Again:
                    pass
            return self._begin(pool.open(), asked, environ, is_fresh=True)
        except BaseException:
            asked.ask.close()
            raise

    def _begin(
        self, sock: socket.socket, asked: _Asked, environ: dict[str, Any], is_fresh: bool = False
    ) -> tuple[Talk, bytes]:
        """raises  _Again, where the connection was closed and nothing is lost"""
        gone = environ.get("gatebridge.gone") or _is_never
        timeout = self._place.options.timeout
        talk = Talk(self._pool, sock, asked.ask, asked.new_reply(), gone, timeout)
        try:
            return talk, talk.read_head()
        except AppError as error:
            talk.end()
            if error.code == "upstream.closed" and not (is_fresh or talk.is_answered):
                if talk.is_untouched or asked.is_repeatable:
                    raise _Again from None
            raise
        except BaseException:
            talk.end()
            raise

    def close(self) -> None:
        """The worker's end."""
        self._pool.close()


class _Again(Exception):
    """A kept connection was closed by the back end before it could be used."""


class Output:
    """The body of an answer that is still coming. first: what came with the head"""

    __slots__ = ("_first", "_talk")

    def __init__(self, talk: Talk, first: bytes) -> None:
        self._talk = talk
        self._first = first

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """raises  as Talk.read()"""
        piece, self._first = self._first, b""
        if not piece:
            piece = self._talk.read()
        if not piece:
            raise StopIteration
        return piece

    def close(self) -> None:
        self._talk.close()


class _OverHttp:
    """A request as HTTP."""

    def __init__(self, environ: dict[str, Any], place: Place, length: int, keeps: bool) -> None:
        self._is_head = environ["REQUEST_METHOD"] == "HEAD"
        self._most = place.options.head
        frame = _chunk if length < 0 else _as_it_is
        self.ask = Ask(http_head(environ, place, length), environ, length, frame)
        self.is_repeatable = not length and environ["REQUEST_METHOD"] in _IDEMPOTENT

    def new_reply(self) -> HttpReply:
        return HttpReply(self._is_head, self._most)


class _OverFastCgi:
    """The same as FastCGI, with id 1."""

    def __init__(self, environ: dict[str, Any], place: Place, length: int, keeps: bool) -> None:
        spooled = None
        if length < 0:  # PHP reads as much as CONTENT_LENGTH says
            spooled = Spooled(environ["wsgi.input"])
            length = spooled.length
        self._is_head = environ["REQUEST_METHOD"] == "HEAD"
        self._vars = fastcgi_variables(environ, place, length)
        self._keeps = keeps
        self._errors = environ["wsgi.errors"]
        self._said = 0  # bytes of its error stream
        head = b"".join(FastCGIClient().request(self._vars, 1, keep=keeps))
        self.ask = Ask(head, environ, length, _stdin, spooled)
        self.is_repeatable = not length and environ["REQUEST_METHOD"] in _IDEMPOTENT

    def new_reply(self) -> FastCgiReply:
        client = FastCGIClient()
        client.request(self._vars, 1, keep=self._keeps)
        return FastCgiReply(client, self._is_head, self._keeps, self._say)

    def _say(self, data: bytes) -> None:
        """Its error stream, up to a bound: one that never stops must not fill the disk."""
        if self._said > _ERRORS_MOST:
            return
        self._said += len(data)
        self._errors.write(data.decode("utf-8", "backslashreplace"))
        if self._said > _ERRORS_MOST:
            self._errors.write(f"\n(more than {_ERRORS_MOST} bytes; the rest is left out)\n")
        self._errors.flush()


def _typed(reply: Reply, environ: dict[str, Any]) -> list[tuple[str, str]]:
    """CGI asks for a type where HTTP does not (RFC 3875 section 6.3.1, RFC 9110 section 8.3)."""
    headers = reply.headers
    if environ.get("gatebridge.protocol") != "cgi" or reply.status[:3] in ("204", "304"):
        return headers
    if any(name.lower() == "content-type" for name, _ in headers):
        return headers
    return [*headers, ("Content-Type", "application/octet-stream")]


_Asked = _OverHttp | _OverFastCgi
_framing = FastCGIClient()


def _as_it_is(data: bytes) -> bytes:
    return data


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _stdin(data: bytes) -> bytes:
    return b"".join(_framing.send_body(1, data) if data else _framing.send_body_end(1))


def _is_never() -> bool:
    return False
