"""What an ASGI application sends as a head, checked by the same rules as a WSGI one's."""

from http import HTTPStatus

from gatebridge.errors import AppError
from gatebridge.wire.cgi_head import Head, make_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STATUSES = {one.value: f"{one.value} {one.phrase}" for one in HTTPStatus if one >= 200}
_CACHE_ENTRIES = 512
_CACHE_BYTES = 160

_pairs: dict[tuple[bytes, bytes], tuple[str, str]] = {}


def asgi_head(status: "Any", headers: "Any") -> Head:
    """Check and encode the status and headers of http.response.start; they may be anything.

    raises  AppError("status.…"), AppError("header.…")
    """
    if type(headers) is not list:
        headers = _listed(headers)
    pairs: list[tuple[str, str]] = []
    try:
        for header in headers:
            pair = _pairs.get(header)
            pairs.append(_decode(header) if pair is None else pair)
    except TypeError:  # lists in place of tuples, or worse
        pairs = _slowly(headers)
    if not isinstance(status, int) or isinstance(status, bool):
        raise AppError("status.type", f"status must be int, not {type(status).__name__}")
    return make_head(_STATUSES.get(status) or _status(status), pairs)


def _status(status: int) -> str:
    """One that has no reason phrase. The line is right without."""
    if not 200 <= status <= 999:
        raise AppError("status.malformed", f"{status} is no final status: 200 to 999")
    return str(int(status))


def _listed(headers: "Any") -> list["Any"]:
    try:
        return list(headers)
    except TypeError as error:
        raise AppError("header.list", f"headers must be an iterable: {error}") from error


def _slowly(headers: "list[Any]") -> list[tuple[str, str]]:
    """The same for an iterable of any iterables, as ASGI allows it."""
    try:
        return [_decode(tuple(header)) for header in headers]
    except TypeError as error:
        raise AppError("header.list", f"headers must hold [name, value] pairs: {error}") from error


def _decode(header: "Any") -> tuple[str, str]:
    if len(header) != 2:
        raise AppError("header.pair", f"{header!r:.80} is not a [name, value] pair")
    name, value = header
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise AppError("header.type", f"{header!r:.80}: name and value must be bytes")
    if name[:1] == b":":
        raise AppError("header.name", f"{name[:64]!r}: HTTP/2's own headers are the server's")
    pair = (name.decode("latin-1"), value.decode("latin-1"))
    if len(name) + len(value) < _CACHE_BYTES:
        if len(_pairs) >= _CACHE_ENTRIES:
            _pairs.clear()
        _pairs[(name, value)] = pair
    return pair


def plain_fields(headers: "Any") -> list[tuple[bytes, bytes]]:
    """Trailers or hints, checked as a head's are. raises AppError("header.…")"""
    head = asgi_head(200, headers)
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers]
