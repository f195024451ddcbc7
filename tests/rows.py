"""Feeding bytes in pieces: what a parser says must not depend on where the pieces end."""

from collections.abc import Callable, Iterator

from gatebridge.wire.events import Body, BodyEnd, Event, Request

Receive = Callable[[bytes], list[Event]]


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The whole, byte by byte, and every cut in two."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def pieces_of(data: bytes, marks: list[int]) -> list[bytes]:
    """``data`` cut at the given positions, in any order and out of range too (for hypothesis)."""
    at = sorted({mark % (len(data) + 1) for mark in marks} | {0, len(data)})
    return [data[start:stop] for start, stop in zip(at, at[1:], strict=False)]


def feed(receive: Receive, pieces: list[bytes]) -> list[Event]:
    """All events of the pieces, in order."""
    return [event for piece in pieces for event in receive(piece)]


def merged(events: list[Event]) -> list[Event]:
    """The same events without how a body was divided.

    A body and its end become Body events of their own behind the Request, pieces that follow one
    another become one.
    """
    out: list[Event] = []
    for event in events:
        if isinstance(event, Request):
            for part in _unfolded(event):
                _append(out, part)
        else:
            _append(out, event)
    return out


def _unfolded(request: Request) -> Iterator[Event]:
    yield Request(
        request.id,
        request.vars,
        request.repeated,
        request.pairs,
        request.role,
        b"",
        False,
        request.doubtful,
    )
    yield Body(request.id, request.body)
    if request.complete:
        yield BodyEnd(request.id)


def _append(out: list[Event], event: Event) -> None:
    if isinstance(event, Body):
        last = out[-1] if out else None
        if isinstance(last, Body) and (last.id, last.stream) == (event.id, event.stream):
            out[-1] = Body(event.id, last.data + event.data, event.stream)
            return
        if not event.data:
            return
    out.append(event)


def codes(events: list[Event]) -> list[str]:
    """The codes of the faults among the events."""
    return [event.error.code for event in events if hasattr(event, "error")]
