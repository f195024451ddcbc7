"""Captured bytes through the protocol classes to a Request and a body, as the daemon would."""

from collections.abc import Callable

from gatebridge.serve.site import Wire
from gatebridge.wire.events import Body, BodyEnd, Event, Limits, Pairs, Reply, Request
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.scgi import Scgi
from gatebridge.wire.uwsgi import Uwsgi
from tests.corpus.captures import Capture

WIRES: dict[str, Callable[[Limits], Wire]] = {
    "fcgi": FastCGI,
    "fcgid": FastCGI,
    "scgi": Scgi,
    "uwsgi": Uwsgi,
}


class Replayed:
    """request as the events gave it; body all of it; keep: the connection stays open."""

    __slots__ = ("body", "ended", "keep", "replies", "request")

    def __init__(self) -> None:
        self.request: Request | None = None
        self.body = b""
        self.ended = False
        self.keep = False
        self.replies: list[bytes] = []

    def take(self, event: Event) -> None:
        if isinstance(event, Request):
            assert self.request is None
            self.request = event
            self.body = event.body
            self.ended = event.complete
        elif isinstance(event, Body):
            self.body += event.data
        elif isinstance(event, BodyEnd):
            self.ended = True
        elif isinstance(event, Reply):
            self.replies.append(event.data)
        else:
            raise AssertionError(event)


def replay(capture: Capture, step: int = 0) -> Replayed:
    """Feed a capture in pieces of step bytes, or whole."""
    out = Replayed()
    data = capture.data
    if capture.protocol == "cgi":
        return _cgi(data)
    wire = WIRES[capture.protocol](Limits())
    step = step or len(data)
    for at in range(0, len(data), step):
        for event in wire.receive(data[at : at + step]):
            out.take(event)
    if out.request is not None:
        out.keep = wire.keeps(out.request.id)
    return out


def _cgi(data: bytes) -> Replayed:
    """What the one-shot bridge does: the environment, then CONTENT_LENGTH bytes or all of stdin."""
    block, _, stdin = data.partition(b"\0\0")
    pairs = []
    for field in block.split(b"\0"):
        name, _, value = field.decode("latin-1").partition("=")
        pairs.append((name, value))
    out = Replayed()
    vars: dict[str, object] = dict(pairs)
    known = "CONTENT_LENGTH" in vars
    out.body = stdin
    out.ended = True
    raw = Pairs(b"", lambda _block: pairs)
    out.request = Request(1, vars, False, raw, body=b"" if known else stdin, complete=not known)
    return out
