"""wsgi.input: the same bytes by every call, however they arrive."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatebridge.engine.body import Body, gather_by_pulling
from gatebridge.engine.spill import Spill, spool
from gatebridge.errors import PeerError
from gatebridge.wire.events import UNKNOWN_LENGTH

LINES = b"one\ntwo\n\nlast but one\n" + b"x" * 18_000 + b"\n" + b"no end"
FLOOR = 0


class Pieces:
    """A Source that gives its pieces as they are, or as much of one as is wanted.

    greedy   a piece may be longer than what was wanted (a record that holds more)
    then     raised once all is given
    """

    def __init__(self, pieces: list[bytes], greedy: bool = False, then: Any = None) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.greedy = greedy
        self.then = then
        self.pulls = 0
        self.most = 0

    def pull(self, want: int) -> bytes:
        self.pulls += 1
        self.most = max(self.most, want)
        if not self.pieces:
            if self.then is not None:
                raise self.then
            return b""
        piece = self.pieces.pop(0)
        if not self.greedy and len(piece) > want:
            self.pieces.insert(0, piece[want:])
            piece = piece[:want]
        return piece

    def gather(self, want: int) -> bytes:
        parts: list[bytes] = []
        while want > 0:
            piece = self.pull(want)
            if len(piece) > want:
                self.pieces.insert(0, piece[want:])
                piece = piece[:want]
            if not piece:
                break
            want -= len(piece)
            parts.append(piece)
        return b"".join(parts)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def spooled(data: bytes, threshold: int) -> Body:
    kept = spool(Pieces(cut(data, 777)), b"", Spill(threshold, None, FLOOR), 1 << 30)
    return Body(kept, b"", kept.length)


WAYS: dict[str, Callable[[bytes], Any]] = {
    "complete with the variables": lambda data: Body(Pieces([]), data, len(data)),
    "complete, surplus behind": lambda data: Body(Pieces([b"s"]), data + b"urplus", len(data)),
    "BytesIO": BytesIO,
    "byte by byte": lambda data: Body(Pieces(cut(data, 1)), b"", len(data)),
    "in pieces": lambda data: Body(Pieces(cut(data, 7)), b"", len(data)),
    "in large pieces": lambda data: Body(Pieces(cut(data, 30_011)), b"", len(data)),
    "in greedy pieces": lambda data: Body(Pieces(cut(data, 30_011), True), b"", len(data)),
    "a part with the variables": lambda data: Body(Pieces([data[3:]]), data[:3], len(data)),
    "surplus in the last piece": lambda data: Body(Pieces([data + b"s"], True), b"", len(data)),
    "surplus behind": lambda data: Body(Pieces([data, b"s"]), b"", len(data)),
    "of unknown length": lambda data: Body(Pieces(cut(data, 999), True), b"", UNKNOWN_LENGTH),
    "spooled in memory": lambda data: spooled(data, 1 << 20),
    "spooled on disk": lambda data: spooled(data, 0),
    "spooled across": lambda data: spooled(data, 5_000),
}

CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("W020 read()", lambda body: body.read()),
    ("W020 read(-1)", lambda body: body.read(-1)),
    ("W020 read(None)", lambda body: body.read(None)),
    ("W020 read(0)", lambda body: (body.read(0), body.read())),
    ("W021 read(7)", lambda body: (body.read(7), body.read(7), body.read())),
    ("W021 read(20000)", lambda body: (body.read(20_000), body.read(20_000), body.read())),
    ("W021 read(all)", lambda body: (body.read(len(LINES)), body.read(1))),
    ("W021 read(more)", lambda body: (body.read(1 << 24), body.read(1 << 24))),
    ("W021 read(5), read(50000)", lambda body: (body.read(5), body.read(50_000))),
    ("W022 readline()", lambda body: [body.readline() for _ in range(9)]),
    ("W022 readline(-1)", lambda body: [body.readline(-1) for _ in range(9)]),
    ("W022 readline(None)", lambda body: [body.readline(None) for _ in range(3)]),
    ("W023 readline(0)", lambda body: (body.readline(0), body.readline())),
    ("W023 readline(2)", lambda body: [body.readline(2) for _ in range(9)]),
    ("W023 readline(4)", lambda body: [body.readline(4) for _ in range(9)]),
    ("W023 readline(10000)", lambda body: [body.readline(10_000) for _ in range(9)]),
    ("W024 readlines()", lambda body: body.readlines()),
    ("W024 readlines(None)", lambda body: body.readlines(None)),
    ("W024 readlines(0)", lambda body: body.readlines(0)),
    ("W024 readlines(1)", lambda body: (body.readlines(1), body.readlines())),
    ("W024 readlines(5)", lambda body: (body.readlines(5), body.readlines(5), body.read())),
    ("W025 iteration", list),
    ("W025 iteration, begun twice", lambda body: (next(iter(body)), list(body))),
    ("W025 iteration, then read()", lambda body: (next(body), body.read())),
    ("W026 b'' after the end", lambda body: (body.read(), body.read(), body.read(5),
                                             body.readline(), body.readlines(), list(body))),
    ("W027 mixed", lambda body: (body.read(2), body.readline(), body.readline(3), body.read(1),
                                 next(body), body.readlines(1), body.read())),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "call"), CALLS, ids=[row[0] for row in CALLS])
def test_W020_W021_W022_W023_W024_W025_W026_W027(way: str, name: str, call) -> None:
    """What io.BytesIO would say."""
    assert call(WAYS[way](LINES)) == call(BytesIO(LINES))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "call"), CALLS, ids=[row[0] for row in CALLS])
def test_W027_an_empty_body(way: str, name: str, call) -> None:
    if "next" in name or "iteration, " in name or "mixed" in name:
        with pytest.raises(StopIteration):
            call(WAYS[way](b""))
        return
    assert call(WAYS[way](b"")) == call(BytesIO(b""))


STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "readline", "readlines"]), st.integers(-1, 40_000)),
    max_size=8,
)


@settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(
        st.sampled_from([b"\n", b"ab", b"c\n", b"x" * 17_000, b"y" * 70_000]), max_size=9
    ),
    piece=st.sampled_from([1, 3, 1_000, 20_000, 65_536, 200_000]),
    first=st.integers(0, 30),
    greedy=st.booleans(),
    steps=STEPS,
)
def test_W020_W027_any_calls_on_any_pieces(parts, piece, first, greedy, steps) -> None:
    data = b"".join(parts)[: 3_000 if piece < 5 else None]
    source = Pieces(cut(data[first:], piece), greedy)
    body, wanted = Body(source, data[:first], len(data)), BytesIO(data)
    for name, size in [*steps, ("read", -1)]:
        assert getattr(body, name)(size) == getattr(wanted, name)(size)
    assert not body.short


# -- the end


def test_W026_the_feed_is_not_asked_past_content_length() -> None:
    source = Pieces([b"hello"], then=AssertionError("asked for more than there is"))
    body = Body(source, b"", 5)
    assert (body.read(), body.read(), body.readline(), body.read(9)) == (b"hello", b"", b"", b"")


def test_W027_no_body_asks_nobody() -> None:
    source = Pieces([], then=AssertionError("asked"))
    body = Body(source, b"", 0)
    assert (body.read(), body.read(5), body.readline(), list(body)) == (b"", b"", b"", [])
    assert source.pulls == 0


def test_read1_waits_for_one_piece_only() -> None:
    source = Pieces([b"one", b"two" * 40_000], then=ConnectionResetError("nobody asks so often"))
    body = Body(source, b"first", 100_000)
    assert (body.read1(3), body.read1(), source.pulls) == (b"fir", b"st", 0)
    assert (body.read1(100), source.pulls) == (b"one", 1)
    assert len(body.read1(1 << 20)) == 65_536
    assert body.read1(0) == b""
    assert len(body.read1(7)) == 7
    rest = body.read()
    assert 5 + 3 + 65_536 + 7 + len(rest) == 100_000
    assert body.read1(5) == b""


def test_W021_no_more_is_asked_for_than_is_left() -> None:
    source = Pieces(cut(b"x" * 100, 10))
    body = Body(source, b"", 100)
    assert len(body.read(1_000_000)) == 100
    assert source.most <= 100


def test_W021_a_huge_read_asks_for_a_mebibyte_at_most() -> None:
    """CONTENT_LENGTH is a claim: memory is taken for what comes."""
    source = Pieces([b"abc"])
    assert Body(source, b"", 1 << 40).read(1 << 40) == b"abc"
    assert source.most <= 1 << 20


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[row[0] for row in CALLS])
@pytest.mark.parametrize("size", [7, 6_000, 100_000])
def test_F046a_W020_a_short_body_ends_and_says_so(name: str, call, size: int) -> None:
    body = Body(Pieces(cut(LINES, size)), b"", len(LINES) + 1)
    assert call(body) == call(BytesIO(LINES))
    body.read()
    assert body.short


@pytest.mark.parametrize("way", [way for way in WAYS if way != "BytesIO"])
def test_F046a_a_whole_body_is_not_short(way: str) -> None:
    body = WAYS[way](LINES)
    body.read()
    assert not body.short


FAULTS = [
    ConnectionResetError("gone"),
    PeerError("body.timeout", "late"),
    PeerError("body.no_space"),
]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
@pytest.mark.parametrize(
    "call",
    [lambda b: b.read(), lambda b: b.read(9), lambda b: b.read(70_000), lambda b: b.readline(),
     lambda b: b.readlines(), list],
    ids=["read", "read-9", "read-70000", "readline", "readlines", "iterate"],
)  # fmt: skip
def test_F045_W020_a_fault_of_the_feed_reaches_the_application(error, call) -> None:
    """A body that stops half-way never looks like one that has ended."""
    body = Body(Pieces([b"half"], then=error), b"", 100_000)
    with pytest.raises(type(error)):
        call(body)


def test_gather_by_pulling_stops_at_the_end() -> None:
    source = Pieces([b"ab", b"cd"])
    assert gather_by_pulling(source, 3) == b"abc"
    assert gather_by_pulling(source, 3) == b"d"
    assert gather_by_pulling(source, 3) == b""
