"""A request out of a recorded file: bytes as a front server sent them, or a report as JSON."""

import json

from gatebridge.environ.build import Builder
from gatebridge.errors import UseError
from gatebridge.wire.events import Body, BodyEnd, Event, Fault, Limits, Pairs, Request
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.scgi import Scgi
from gatebridge.wire.uwsgi import Uwsgi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROTOCOLS = ("fastcgi", "scgi", "uwsgi", "http", "cgi", "json")

_LIMITS = Limits(params=1 << 24, pairs=100_000)  # of a file: the daemon refuses earlier
HTTP_ADDED = {  # what the daemon's HTTP listener knows of a connection, and a file does not
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_SOFTWARE": "gatebridge",
    "REMOTE_ADDR": "",
}


class Recorded:
    """A request from a file. added: as in a report; settings: what it was built with, or {}."""

    __slots__ = ("added", "protocol", "request", "settings")

    def __init__(self, protocol: str, request: Request) -> None:
        self.protocol = protocol
        self.request = request
        self.added: dict[str, str] = dict(HTTP_ADDED) if protocol == "http" else {}
        self.settings: dict[str, object] = {}

    def builder(self, **own: "Any") -> Builder:
        """One with the settings that it was recorded with, but for those given here."""
        given = {**self.settings, **own}
        return Builder(
            mount=given.get("mount"),
            front=given.get("front") or "auto",
            trusted=tuple(given.get("trusted") or ()),
            forwarded=tuple(given.get("forwarded") or ("for", "proto")),
            checked_user=given.get("checked_user") is True,
        )


def read(data: bytes, protocol: str = "") -> Recorded:
    """The first request of a file.

    protocol  one of PROTOCOLS; "" to tell by the first bytes. cgi is an environment, each
              NAME=VALUE ended by a NUL as `env -0` writes it, then an empty one and the body
    raises    UseError("recorded.…") where there is none; PeerError: what the parser says
    """
    protocol = protocol or told_by(data)
    if protocol == "json":
        return _of_report(data)
    if protocol == "cgi":
        return Recorded(protocol, _of_environment(data))
    request: Request | None = None
    for event in _events(protocol, data):
        if isinstance(event, Fault):
            raise event.error
        if isinstance(event, Request) and request is None:
            request = event
        elif request is not None and isinstance(event, Body) and event.id == request.id:
            request.body += event.data
        elif request is not None and isinstance(event, BodyEnd) and event.id == request.id:
            request.complete = True
    if request is None:
        why = f"read as {protocol}, the file ends before the variables of a request do"
        raise UseError("recorded.no_request", f"{why}; --protocol names another")
    return Recorded(protocol, request)


def told_by(data: bytes) -> str:
    """The protocol that the first bytes belong to. raises UseError("recorded.unknown")"""
    if data[:1] == b"{":
        return "json"
    if data[:1] == b"\x01":  # the version of every record
        return "fastcgi"
    if data[:1].isdigit():  # the length of a netstring
        return "scgi"
    if data[:1] == b"\x00":  # modifier1 of WSGI
        return "uwsgi"
    line = data.partition(b"\n")[0].rstrip(b"\r")
    if b"\0" not in line and line.rpartition(b" ")[2].startswith(b"HTTP/"):
        return "http"
    if b"=" in data.partition(b"\0")[0] and b"\0" in data:
        return "cgi"
    known = ", ".join(PROTOCOLS)
    raise UseError("recorded.unknown", f"the file is nothing known; --protocol is one of {known}")


def _events(protocol: str, data: bytes) -> list[Event]:
    if protocol == "fastcgi":
        return FastCGI(_LIMITS).receive(data)
    if protocol == "scgi":
        return Scgi(_LIMITS).receive(data)
    if protocol == "uwsgi":
        return Uwsgi(_LIMITS).receive(data)
    if protocol == "http":
        from gatebridge.wire.http import Http

        return Http(_LIMITS, lambda: "").receive(data)
    raise UseError("recorded.protocol", f"{protocol!r} is none of {', '.join(PROTOCOLS)}")


def _of_environment(data: bytes) -> Request:
    """As one CGI request has it. RFC 3875 section 4.2: no more of the body than its length."""
    block, _, body = data.partition(b"\0\0")
    fields = [field.decode("latin-1").partition("=") for field in block.split(b"\0") if field]
    pairs = [(name, value) for name, mark, value in fields if mark]
    known = any(name == "CONTENT_LENGTH" for name, _ in pairs)
    return _request(pairs, 1, b"" if known else body, not known, False)


def _of_report(data: bytes) -> Recorded:
    try:
        told = json.loads(data)
        pairs = [(str(name), str(value)) for name, value in told["received"]]
        body, settings, added = told["body"], told["settings"], told["added"]
        size, complete = int(body["bytes"]), bool(body["complete"])
        request = _request(
            pairs, int(told["role"]), bytes(min(size, 1 << 20)), complete, bool(body["doubtful"])
        )
        recorded = Recorded("json", request)
        recorded.settings = {str(name): value for name, value in settings.items()}
        recorded.added = {str(name): str(value) for name, value in added.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = "JSON, but nothing that gatebridge explain --save has written"
        raise UseError("recorded.json", f"{why}: {type(error).__name__}: {error}") from error
    return recorded


def _request(
    pairs: list[tuple[str, str]], role: int, body: bytes, complete: bool, doubtful: bool
) -> Request:
    vars: dict[str, object] = dict(pairs)
    raw = Pairs(b"", lambda _block: pairs)
    return Request(1, vars, len(vars) != len(pairs), raw, role, body, complete, doubtful)
