"""FastCGI 1.0, application side: what calls send, what closes, and any stream of records at all."""

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatebridge.wire.cgi_head import make_head
from gatebridge.wire.events import Abort, Body, BodyEnd, Event, Fault, Limits, Reply, Request
from gatebridge.wire.fastcgi import FastCGI
from tests.rows import codes, feed, merged, pieces_of
from tests.wire import fastcgi_rows as rows
from tests.wire.fastcgi_rows import GET, KEEP, begin, block, rec, stream, whole

HEAD = make_head("200 OK", [("A", "b")])
HEAD_DATA = b"Status: 200 OK\r\nA: b\r\n\r\n"
ROUND = block(("A", "b"))


def sent(pieces: list[bytes | memoryview]) -> bytes:
    return b"".join(pieces)


def end(id: int = 1, app: int = 0, status: int = 0) -> tuple[int, int, bytes]:
    return (3, id, app.to_bytes(4, "big") + bytes((status, 0, 0, 0)))


def asked(*ids: int, flags: int = 0, body: bool = False) -> FastCGI:
    protocol = FastCGI(Limits())
    for id in ids or (1,):
        protocol.receive(rows.request(*GET, id=id, flags=flags, body=b"x" if body else b""))
    return protocol


WAYS = ["quick", "slow"]


def one(way: str, flags: int = 0) -> FastCGI:
    """A connection with request 1 on it, recognised in one test or read record by record."""
    protocol = FastCGI(Limits())
    data = rows.request(*GET, flags=flags)
    feed(protocol.receive, [data] if way == "quick" else [data[:20], data[20:]])
    return protocol


@pytest.mark.parametrize("way", WAYS)
def test_F001_F002_F003_head_body_end_in_one_go(way: str) -> None:
    protocol = one(way)
    out = whole(sent(protocol.send_answer(1, HEAD, b"hello")))
    assert out == [(6, 1, HEAD_DATA + b"hello"), (6, 1, b""), end()]
    assert protocol.send_end(1, 0) == []  # section 3.3: the id is inactive now


@pytest.mark.parametrize("way", WAYS)
def test_F001_F002_F003_head_body_end_one_by_one(way: str) -> None:
    protocol = one(way)
    data = sent(protocol.send_head(1, HEAD)) + sent(protocol.send_body(1, b"he"))
    data += sent(protocol.send_body(1, b"")) + sent(protocol.send_body(1, b"llo"))
    assert whole(data) == [(6, 1, HEAD_DATA), (6, 1, b"he"), (6, 1, b"llo")]
    assert whole(sent(protocol.send_end(1, 0))) == [(6, 1, b""), end()]
    assert protocol.send_end(1, 0) == protocol.send_cut(1, True) == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("flags", "closing"), [(0, True), (1, False), (0xFE, True), (255, False)])
def test_F004_F005_F010_closing_follows_the_flag(way: str, flags: int, closing: bool) -> None:
    for answer in range(3):
        protocol = one(way, flags)
        assert not protocol.closing
        assert protocol.busy
        assert protocol.keeps(1) is not closing
        if answer == 0:
            protocol.send_answer(1, HEAD, b"")
        elif answer == 1:
            protocol.send_end(1, 0)
        else:
            protocol.send_cut(1, alone=True)
        assert protocol.closing is closing
        assert not protocol.busy


def test_F006_F007_ids_are_used_again() -> None:
    protocol = FastCGI(Limits())
    for id in [1, 1, 1, *range(1, 101), 65_535, 1]:
        for step in (10_000, 9):
            data = rows.request(*GET, id=id, flags=KEEP)
            events = feed(protocol.receive, [data[i : i + step] for i in range(0, len(data), step)])
            [request, last] = merged(events)
            assert isinstance(request, Request)
            assert request.id == id
            assert last == BodyEnd(id)
            assert whole(sent(protocol.send_answer(id, HEAD, b"")))[-1] == end(id)
            assert not protocol.closing


@pytest.mark.parametrize("way", WAYS)
def test_F008_the_flag_is_of_each_request(way: str) -> None:
    protocol = one(way, KEEP)
    protocol.send_answer(1, HEAD, b"")
    assert not protocol.closing
    protocol.receive(rows.request(*GET))
    assert not protocol.closing
    protocol.send_answer(1, HEAD, b"")
    assert protocol.closing


def test_F008_closing_waits_for_the_other_requests() -> None:
    protocol = asked(1, 2)
    protocol.receive(rows.request(*GET, id=3, flags=KEEP))
    protocol.send_end(1, 0)
    protocol.send_end(3, 0)
    assert not protocol.closing
    protocol.send_answer(2, HEAD, b"")
    assert protocol.closing


def test_F072_a_refused_role_keeps_or_closes_as_it_asked() -> None:
    protocol = FastCGI(Limits())
    protocol.receive(begin(5, KEEP, 99))
    assert not protocol.closing
    protocol.receive(begin(5, 0, 99))
    assert protocol.closing


def test_F088_F089_F092_an_abort_ends_the_id() -> None:
    protocol = asked(1, flags=KEEP)
    assert protocol.receive(rec(2, 1)) == [Abort(1)]
    assert whole(sent(protocol.send_end(1, 0))) == [(6, 1, b""), end()]
    assert protocol.receive(rec(2, 1)) == []
    assert not protocol.closing
    [reply] = protocol.receive(begin(1, 0) + rec(2, 1))
    assert reply == Reply(rec(*end()))
    assert protocol.closing


def test_F080_ids_are_echoed() -> None:
    for id in (1, 255, 256, 0x1234, 65_535):
        protocol = asked(id)
        data = sent(protocol.send_answer(id, HEAD, b"x")) + sent(protocol.send_error(id, b"e"))
        out = whole(data)
        assert {found for _, found, _ in out} == {id}


SIZES = [0, 1, 16_384, 16_385, 65_535 - len(HEAD_DATA), 65_536 - len(HEAD_DATA), 200_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_F120_answers_of_many_sizes(size: int, way: str) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    protocol = one(way)
    out = whole(sent(protocol.send_answer(1, HEAD, body[:size])))
    assert b"".join(content for _, _, content in out[:-1]) == HEAD_DATA + body[:size]
    assert out[-2:] == [(6, 1, b""), end()]
    assert all(content for _, _, content in out[:-2])
    assert protocol.closing


def test_F121_a_large_body_is_not_copied() -> None:
    body = bytes(8 << 20)
    for answer in (False, True):
        protocol = asked(1)
        tracemalloc.start()
        pieces = protocol.send_answer(1, HEAD, body) if answer else protocol.send_body(1, body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(map(len, pieces)) > len(body)
        assert peak < 1 << 20


def test_F122_errors_go_beside_the_answer() -> None:
    protocol = asked(1)
    data = sent(protocol.send_error(1, b"one")) + sent(protocol.send_head(1, HEAD))
    data += sent(protocol.send_error(1, b"")) + sent(protocol.send_error(1, b"two"))
    data += sent(protocol.send_end(1, 0))
    out = whole(data)
    assert [content for kind, _, content in out if kind == 7] == [b"one", b"two"]
    assert [content for kind, _, content in out if kind == 6] == [HEAD_DATA, b""]


@pytest.mark.parametrize("way", WAYS)
def test_F126_app_status(way: str) -> None:
    assert whole(sent(one(way).send_end(1, 7)))[-1] == end(1, 7)
    assert whole(sent(one(way).send_end(1, -1)))[-1] == end(1, 0xFFFFFFFF)
    for alone in (True, False):  # an answer that was cut is no success
        cut = whole(sent(one(way).send_cut(1, alone)))
        assert all(kind != 3 or content[:4] != bytes(4) for kind, _, content in cut)
    assert cut == [end(1, 1, 2)]


def test_F033_T1_huge_lengths_cost_nothing() -> None:
    raw = b"\xff" * 8
    tracemalloc.start()
    for _ in range(50):
        protocol = FastCGI(Limits())
        assert codes(protocol.receive(begin() + stream(4, 1, raw))) == ["params.malformed"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_F037_what_comes_over_the_limit_is_not_kept() -> None:
    protocol = FastCGI(Limits(params=1000))
    more = rec(4, 1, bytes(60_000))
    tracemalloc.start()
    events = protocol.receive(begin(1, KEEP) + more)
    for _ in range(100):
        events += protocol.receive(more)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes(events) == ["params.too_big"]
    assert peak < 200_000
    assert whole(sent(protocol.send_answer(1, HEAD, b"")))[-1] == end()
    assert protocol.receive(more + rec(4, 1) + rec(5, 1)) == []
    assert not protocol.closing
    assert len(merged(protocol.receive(rows.request(("A", "b"))))) == 2


def test_F081_F082_inactive_ids_leak_nothing() -> None:
    protocol = FastCGI(Limits())
    tracemalloc.start()
    for id in range(2, 2000):
        stray = stream(4, id, ROUND) + rec(5, id, bytes(500)) + rec(8, id, bytes(500))
        assert protocol.receive(stray + rec(2, id)) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert not protocol.busy


# -- bytes taken off the wire beside receive()


def test_F040_F043_direct_bytes_are_pure_body() -> None:
    """Walk through STDIN as wsgi.input does: framing received, body skipped."""
    body = bytes(range(250)) * 30
    data = stream(5, 1, body, 997, pad=3)
    protocol = FastCGI(Limits())
    protocol.receive(begin() + stream(4, 1, ROUND))
    got, at = b"", 0
    ended = False
    while not ended:
        ready = protocol.direct(1)
        if ready > 0:
            size = min(ready, 600)
            got += data[at : at + size]
            protocol.skip(1, size)
        else:
            size = -ready or 1
            ended = BodyEnd(1) in protocol.receive(data[at : at + size])
        at += size
    assert got == body
    assert at == len(data) - 3  # the padding behind the end


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 9), st.integers(1, 50))
def test_F043_take_goes_on_only_in_the_same_stream(sizes: list[int], pad: int, want: int) -> None:
    parts = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    data = b"".join(rec(5, 1, part, pad) for part in parts) + rec(9, 0) + stream(5, 1, b"end")
    protocol = FastCGI(Limits())
    protocol.receive(begin() + stream(4, 1, ROUND))
    got: list[bytes | memoryview] = []
    others: list[Event] = []

    def see(events: list[Event]) -> None:
        got.extend(event.data for event in events if isinstance(event, Body))
        others.extend(event for event in events if not isinstance(event, Body))

    see(protocol.receive(data[:8]))
    at, body = 8, 0
    while protocol.direct(1) > 0:
        size = protocol.due(1, want)
        assert min(want, protocol.direct(1)) <= protocol.sure(1, want) <= size
        piece = data[at : at + size]
        end, count = protocol.take(1, piece, 0, got)
        body += count
        at += len(piece)
        see(protocol.receive(piece[end:]))
    see(protocol.receive(data[at:]))
    assert b"".join(got) == b"".join(parts) + b"end"
    assert body >= min(want, sizes[0])
    assert others == [Reply(rec(10, 0)), BodyEnd(1)]


# -- any records at all

KINDS = (0, 1, 2, 4, 4, 5, 5, 8, 9, 3, 6, 11, 12, 255)
CONTENTS = (
    b"\0\1\1\0\0\0\0\0", b"\0\1\0\0\0\0\0\0", b"\0\3\1\0\0\0\0\0", b"\0\2\0\0\0\0\0\0",
    b"\0\x63\1\0\0\0\0\0", b"", b"", ROUND, ROUND[:3], b"\xff" * 8, block(("FCGI_MAX_REQS", "")),
)  # fmt: skip
RECORDS = st.one_of(
    st.tuples(
        st.sampled_from(KINDS),
        st.sampled_from((0, 1, 1, 1, 2, 3, 65_535)),
        st.one_of(st.sampled_from(CONTENTS), st.binary(max_size=20)),
        st.sampled_from((0, 0, 1, 8, 255)),
    ).map(lambda p: rec(*p)),
    st.sampled_from((begin(), begin(1, 1), begin(2, 1), stream(4, 1, ROUND), rows.request(*GET))),
    st.binary(max_size=10),
)
LIMITS = st.builds(
    Limits,
    params=st.sampled_from((4, 30, 1 << 20)),
    pairs=st.sampled_from((1, 1000)),
    requests=st.sampled_from((1, 256)),
    multiplex=st.booleans(),
)


def played(limits: Limits, pieces: list[bytes]) -> tuple[list[Event], bool, bool, int]:
    protocol = FastCGI(limits)
    events = feed(protocol.receive, pieces)
    lost = any(isinstance(event, Fault) and event.id == 0 for event in events)
    return merged(events), protocol.closing, lost or protocol.busy, protocol.active


@given(
    parts=st.lists(RECORDS, max_size=10),
    marks=st.lists(st.integers(0, 400), max_size=10),
    limits=LIMITS,
)
@example([rec(0, 0, begin() + rec(2, 1))], [8], Limits())
@example([begin(role=3) + stream(4, 1, ROUND) + rec(8, 1) + rec(5, 1)], [32], Limits())
@example([rec(1, 1), rows.request(*GET)], [8], Limits())
def test_F013_F014_F104_any_records_in_any_pieces(
    parts: list[bytes], marks: list[int], limits: Limits
) -> None:
    data = b"".join(parts)
    expected = played(limits, [data])
    assert played(limits, pieces_of(data, marks)) == expected
    assert played(limits, [data[at : at + 1] for at in range(len(data))]) == expected
    lost = [event for event in expected[0] if isinstance(event, Fault) and event.id == 0]
    assert len(lost) <= 1
    assert not lost or expected[1]
    for event in expected[0]:
        if isinstance(event, Reply):
            whole(event.data)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_F104_any_bytes_in_any_pieces(data: bytes, marks: list[int]) -> None:
    assert played(Limits(), pieces_of(data, marks)) == played(Limits(), [data])


@given(
    data=st.data(),
    pairs=st.lists(st.tuples(st.text("AB", max_size=3), st.text("xy", max_size=200)), max_size=4),
    body=st.binary(max_size=100),
    id=st.integers(1, 65_535),
)
def test_F020_F041_records_of_any_size_give_the_same_request(
    data: st.DataObject, pairs: list[tuple[str, str]], body: bytes, id: int
) -> None:
    wire = begin(id)
    for kind, content in ((4, block(*pairs)), (5, body)):
        marks = data.draw(st.lists(st.integers(0, 500), max_size=6))
        for piece in pieces_of(content, marks):
            wire += rec(kind, id, piece, data.draw(st.integers(0, 20))) if piece else b""
        wire += rec(kind, id)
    events = merged(FastCGI(Limits()).receive(wire))
    assert isinstance(events[0], Request)
    assert events[0].pairs.all() == pairs
    assert events[1:] == [Body(id, body)] * bool(body) + [BodyEnd(id)]
