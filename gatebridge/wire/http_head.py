"""The head of an HTTP request as CGI variables, and what it says about the body."""

import h11

from gatebridge.errors import PeerError
from gatebridge.wire.cgi_head import MAX_LENGTH
from gatebridge.wire.scan import decimal, decode


def variables(parsed: h11.Request) -> list[tuple[str, str]]:
    """The CGI variables of a request line and its fields, in order, repeated fields kept.

    raises  PeerError("http.version"), PeerError("http.target"), PeerError("http.method")
    """
    version = parsed.http_version.decode("ascii")
    if not version.startswith("1."):
        raise PeerError("http.version", version)
    if parsed.method == b"CONNECT":
        raise PeerError("http.method", "CONNECT: this is no proxy")
    target = parsed.target.decode("latin-1")
    path, query = split_target(target)
    pairs = [
        ("REQUEST_METHOD", parsed.method.decode("ascii")),
        ("REQUEST_URI", target),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", path),
        ("QUERY_STRING", query),
        ("SERVER_PROTOCOL", f"HTTP/{version}"),
    ]
    for name, value in parsed.headers:  # names in lower case
        if b"_" in name:
            continue
        key = name.decode("ascii").upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        pairs.append((key, value.decode("latin-1")))
    return pairs


def split_target(target: str) -> tuple[str, str]:
    """A request target (RFC 9112 section 3.2) as (decoded path, raw query).

    ``*`` becomes "/*", because a WSGI path starts with a slash. raises PeerError("http.target")
    """
    path, _, query = target.partition("?")
    if path == "*":
        return "/*", query
    scheme = path[:8].lower()
    if scheme.startswith("http://") or scheme == "https://":
        authority, slash, rest = path.partition("://")[2].partition("/")
        path = slash + rest or "/"
        if not authority:
            raise PeerError("http.target", repr(target[:64]))
    if not path.startswith("/") or "#" in target:
        raise PeerError("http.target", repr(target[:64]))
    path = decode(path)
    if "\0" in path:  # no front server lets it through either
        raise PeerError("http.target", "NUL in the path")
    return path, query


def body_length(parsed: h11.Request, vars: dict[str, object]) -> int:
    """Bytes of body, -1 for a chunked one.

    raises  PeerError("http.framing"): two lengths (RFC 9112 section 6.3), or chunks in HTTP/1.0;
            PeerError("length.too_big")
    """
    length = vars.get("CONTENT_LENGTH")
    if "HTTP_TRANSFER_ENCODING" in vars:
        if length is not None or parsed.http_version < b"1.1":
            raise PeerError("http.framing", "Transfer-Encoding beside another length, or in 1.0")
        return -1
    return decimal(str(length), MAX_LENGTH) if length is not None else 0
