"""The head of a program's answer (RFC 3875 section 6): which of the four kinds it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from gatebridge.errors import AppError
from gatebridge.wire.parse_head import parse_head

if TYPE_CHECKING:
    from gatebridge.wire.cgi_head import Head

# Of one connection, and the program's is a pipe (RFC 9110 section 7.6.1, PEP 3333).
_OF_CONNECTION = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    )
)
_CGI_FIELDS = ("content-type", "location", "status")
_MAY_STAND_BY = frozenset(("content-length", "content-type", "location"))
_STATUS = re.compile(rb"^(?:status[ \t]*:|HTTP/)", re.IGNORECASE | re.MULTILINE)


class ScriptHead:
    """A head that was found whole.

    status      "200 OK"
    headers     without those of a connection
    length      the Content-Length, -1 without
    redirect    "/path?query" of a local redirect, else ""
    """

    __slots__ = ("headers", "length", "redirect", "status")

    def __init__(self, head: Head, data: bytes) -> None:
        self.status = head.status
        self.headers = [one for one in head.headers if one[0].lower() not in _OF_CONNECTION]
        self.length = head.length
        self.redirect = _local_path(head, data)

    @property
    def is_bodiless(self) -> bool:
        return self.status[:3] in ("204", "304")


def read_head(data: bytes, limit: int, is_nph: bool) -> tuple[ScriptHead, bytes] | None:
    """The head and what follows it, None while it is incomplete.

    is_nph  the program writes the whole HTTP head, beginning with its status line
    raises  AppError("head.malformed"), AppError("head.too_big"), AppError("head.no_field"),
            AppError("head.chunked")
    """
    found = parse_head(data, limit)
    if found is None:
        return None
    head, consumed = found
    raw = data[:consumed]
    names = {name.lower() for name, _ in head.headers}
    has_status = _STATUS.search(raw) is not None
    if is_nph and not raw.startswith(b"HTTP/") and "content-type" not in names and not has_status:
        raise AppError(
            "head.malformed", "the program's name begins with nph-, its answer not HTTP/"
        )
    if not has_status and names.isdisjoint(_CGI_FIELDS):
        why = "a head needs one of them (RFC 3875 section 6.3)"
        raise AppError("head.no_field", f"neither Content-Type, Location nor Status: {why}")
    if "transfer-encoding" in names:
        why = "gatebridge frames the body; leave the header out"
        raise AppError("head.chunked", f"the program sends Transfer-Encoding: {why}")
    return ScriptHead(head, raw), data[consumed:]


def _local_path(head: Head, data: bytes) -> str:
    """Section 6.2.2. With a Status or further headers (a cookie) it is for the client."""
    fields = {name.lower(): value for name, value in head.headers}
    place = fields.get("location", "")
    if not place.startswith("/") or place.startswith(("//", "/\\")):  # of another host
        return ""
    if _STATUS.search(data) or not fields.keys() <= _MAY_STAND_BY:
        return ""
    return place


def redirected(environ: dict[str, object], place: str) -> dict[str, object]:
    """The environ of the request that a local redirect makes: a GET without a body.

    place  "/path?query", percent-encoded as in a URL
    """
    path, _, query = place.partition("#")[0].partition("?")
    fresh = {
        name: value
        for name, value in environ.items()
        if name not in ("CONTENT_LENGTH", "CONTENT_TYPE", "PATH_TRANSLATED", "SCRIPT_FILENAME")
    }
    method = environ.get("REQUEST_METHOD")
    fresh["REQUEST_METHOD"] = "HEAD" if method == "HEAD" else "GET"
    fresh["SCRIPT_NAME"] = ""
    fresh["PATH_INFO"] = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    fresh["QUERY_STRING"] = query
    fresh["REQUEST_URI"] = place.partition("#")[0]
    return fresh
