"""A request, and the CGI meta-variables that a web server would make of it (RFC 3875 4.1)."""

import io
import os
from collections.abc import Iterator
from typing import IO
from urllib.parse import quote, unquote_to_bytes, urlsplit

from gatebridge import __version__
from gatebridge.errors import PeerError, UseError
from gatebridge.wire.events import AUTHORIZER, FILTER, RESPONDER
from gatebridge.wire.scan import decimal, has_controls, is_token

Pairs = list[tuple[str, str]]

_URL = "%/:?#[]@!$&'()*+,;=-._~"  # what of a URL is left as it is
_LONGEST = (1 << 63) - 1
_OMITTED = frozenset(  # section 6.3 of FastCGI: an authorizer gets none of these
    ("CONTENT_LENGTH", "PATH_INFO", "PATH_TRANSLATED", "SCRIPT_NAME")
)


_CHUNK = 65_536


class Ask:
    """One request.

    url       a path with query, or http(s)://host:port/path
    body      None: none at all; a file is read from where it stands to its end
    params    variables as they are, in place of ours of the same name (not over HTTP)
    role      FastCGI: RESPONDER, AUTHORIZER, FILTER or any other number
    keep      FastCGI: ask the application to leave the connection open
    """

    __slots__ = ("body", "headers", "keep", "length", "method", "params", "role", "url")

    def __init__(
        self,
        method: str = "GET",
        url: str = "/",
        headers: list[tuple[str, str]] | None = None,
        body: bytes | IO[bytes] | None = None,
        params: list[tuple[str, str]] | None = None,
        role: int = RESPONDER,
        keep: bool = False,
    ) -> None:
        self.method = method
        self.url = url
        self.headers = headers or []
        self.params = params or []
        self.role = role
        self.keep = keep
        self.body: IO[bytes] | None = io.BytesIO(body) if isinstance(body, bytes) else body
        self.length = -1
        if self.body is not None:
            start = self.body.tell()
            self.length = self.body.seek(0, os.SEEK_END) - start
            self.body.seek(start)

    def pieces(self) -> Iterator[bytes]:
        """The body, exactly ``length`` bytes of it even where a file grows meanwhile."""
        left = self.length
        while self.body is not None and left > 0:
            piece = self.body.read(min(_CHUNK, left))
            if not piece:
                raise UseError("body.shrunk", f"the body ended {left} bytes early")
            left -= len(piece)
            yield piece


class Target:
    """What a URL names: its raw form for REQUEST_URI, and whom it is addressed to.

    raw     "/a%20b?x=1", as it stands in a request line
    path    percent-decoded, bytes as latin-1 text
    query   raw
    """

    __slots__ = ("host", "path", "port", "query", "raw", "scheme")

    def __init__(self, url: str) -> None:
        text = quote(url, safe=_URL).partition("#")[0]
        self.scheme = "http"
        self.host = ""
        self.port = 0
        if text.startswith(("http://", "https://")):
            text = self._authority(text)
        elif text[:1] not in ("/", "*", "?", ""):
            raise UseError("url.malformed", f"{url!r} is neither a /path nor an http URL")
        path, _, self.query = text.partition("?")
        path = path or "/"
        self.path = unquote_to_bytes(path).decode("latin-1")
        self.raw = f"{path}?{self.query}" if self.query else path

    def _authority(self, text: str) -> str:
        """Take scheme and host off; what remains."""
        try:
            parts = urlsplit(text)
            self.port = parts.port or 0
        except ValueError as error:
            raise UseError("url.malformed", f"{text!r}: {error}") from error
        if not parts.hostname:
            raise UseError("url.malformed", f"{text!r} names no host")
        self.scheme = parts.scheme
        self.host = parts.hostname
        return text[len(parts.scheme) + 3 + len(parts.netloc) :]


def variables(
    method: str,
    url: str,
    headers: Pairs,
    length: int,
    params: Pairs,
    role: int = RESPONDER,
) -> Pairs:
    """All variables of a request, in the order that servers send them.

    headers  as a client would write them; repeated ones are joined (section 4.1.18)
    length   bytes of body, -1: the request has none and says nothing about it
    params   sent as they are, in place of ours of the same name
    raises   UseError("url.…"), UseError("method.malformed"), UseError("header.malformed")
    """
    fields = checked(method, headers)
    target = Target(url)
    own = _of_request(method, target, fields, length) + _of_server(target, fields)
    if role == FILTER:
        own += (("FCGI_DATA_LAST_MOD", "0"), ("FCGI_DATA_LENGTH", "0"))
    for name, value in fields.items():
        if name not in ("content-type", "content-length"):
            own.append(("HTTP_" + name.upper().replace("-", "_"), value))
    given = {name for name, _ in params}
    kept = [pair for pair in own if pair[0] not in given]
    if role == AUTHORIZER:
        kept = [pair for pair in kept if pair[0] not in _OMITTED]
    return kept + params


def checked(method: str, headers: Pairs) -> dict[str, str]:
    """Lower-case name -> value; of repeated headers all values, as section 4.1.18 asks."""
    if not is_token(method):
        raise UseError("method.malformed", repr(method))
    fields: dict[str, str] = {}
    for name, value in headers:
        if not is_token(name) or has_controls(value) or not is_latin1(value):
            raise UseError("header.malformed", f"{name!r}: {value!r}")
        key = name.lower()
        if key in fields:
            value = fields[key] + ("; " if key == "cookie" else ", ") + value
        fields[key] = value
    return fields


def is_latin1(text: str) -> bool:
    return not text or max(text) <= "\xff"


def stated_length(vars: Pairs, length: int) -> int:
    """The CONTENT_LENGTH among vars where it is a number, else the true length."""
    for name, value in vars:
        if name == "CONTENT_LENGTH":
            try:
                return decimal(value, _LONGEST)
            except PeerError:
                break
    return max(length, 0)


def _of_request(method: str, target: Target, fields: dict[str, str], length: int) -> Pairs:
    own = [
        ("REQUEST_METHOD", method),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", target.path),
        ("QUERY_STRING", target.query),
        ("REQUEST_URI", target.raw),
    ]
    if "content-type" in fields:
        own.append(("CONTENT_TYPE", fields["content-type"]))
    if "content-length" in fields:
        own.append(("CONTENT_LENGTH", fields["content-length"]))
    elif length >= 0:
        own.append(("CONTENT_LENGTH", str(length)))
    return own


def _of_server(target: Target, fields: dict[str, str]) -> Pairs:
    secure = target.scheme == "https"
    port = str(target.port or (443 if secure else 80))
    literal = f"[{target.host}]" if ":" in target.host else target.host
    host = f"{literal}:{target.port}" if target.port else literal
    if not host:
        host = fields.get("host", "localhost")
        literal, colon, digits = host.rpartition(":")
        if colon and digits.isdigit() and "]" not in digits:
            port = digits
        else:
            literal = host
    fields.setdefault("host", host)
    own = [
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", f"gatebridge/{__version__}"),
        ("REQUEST_SCHEME", target.scheme),
        ("SERVER_NAME", literal),
        ("SERVER_PORT", port),
        ("SERVER_ADDR", "127.0.0.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "0"),
    ]
    return [*own, ("HTTPS", "on")] if secure else own
