"""The uwsgi protocol, both sides: rows of clauses U001 to U013 that bytes alone can show."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatebridge.errors import UseError
from gatebridge.wire.cgi_head import make_head
from gatebridge.wire.events import (
    Body,
    BodyEnd,
    End,
    Event,
    Fault,
    Head,
    Limits,
    Pairs,
    Request,
)
from gatebridge.wire.uwsgi import MAX_BLOCK, Uwsgi, UwsgiClient, split_block
from tests.rows import codes, cuts, feed, merged, pieces_of


def block(*pairs: tuple[str, str]) -> bytes:
    out = b""
    for pair in pairs:
        for text in pair:
            out += len(text).to_bytes(2, "little") + text.encode("latin-1")
    return out


def packet(data: bytes, modifier1: int = 0, modifier2: int = 0) -> bytes:
    return bytes((modifier1,)) + len(data).to_bytes(2, "little") + bytes((modifier2,)) + data


def request(*pairs: tuple[str, str]) -> Request:
    """The Request event as merged() shows it."""
    raw = Pairs(block(*pairs), split_block)
    vars: dict[str, object] = dict(pairs)
    return Request(1, vars, len(vars) != len(pairs), raw, complete=False)


def seen(data: bytes, limits: Limits | None = None) -> list[Event]:
    """The events of data, the same at every cut."""
    first: list[Event] | None = None
    for pieces in cuts(data):
        protocol = Uwsgi(limits or Limits())
        events = merged(feed(protocol.receive, pieces))
        assert first is None or events == first, pieces
        assert protocol.closing == bool(codes(events))
        first = events
    return first or []


GET = ("REQUEST_METHOD", "GET")
TWO = ("CONTENT_LENGTH", "2")
BIG = ("A", "x" * 300)  # both bytes of a size are used

GOOD = [
    ("U001 no length", packet(block(GET)), [request(GET), BodyEnd(1)]),
    ("U001 empty length, as nginx", packet(block(("CONTENT_LENGTH", ""))), [
        request(("CONTENT_LENGTH", "")), BodyEnd(1)]),
    ("U001 modifier2 means nothing", packet(block(GET), 0, 7), [request(GET), BodyEnd(1)]),
    ("U004 bytewise", packet(block(GET, BIG)), [request(GET, BIG), BodyEnd(1)]),
    ("U005 body", packet(block(TWO)) + b"ab", [request(TWO), Body(1, b"ab"), BodyEnd(1)]),
    ("U005 surplus is not body", packet(block(TWO)) + b"abc\0", [
        request(TWO), Body(1, b"ab"), BodyEnd(1)]),
    ("U012 short body has no end", packet(block(TWO)) + b"a", [request(TWO), Body(1, b"a")]),
    ("empty value, NUL, latin-1", packet(block(("A", ""), ("\xe9", "\0\xff"))), [
        request(("A", ""), ("\xe9", "\0\xff")), BodyEnd(1)]),
    ("a name of 256 bytes", packet(block(("N" * 256, "v"), GET)), [
        request(("N" * 256, "v"), GET), BodyEnd(1)]),
    ("duplicates: the last, and all raw", packet(block(("A", "1"), GET, ("A", "2"))), [
        request(("A", "1"), GET, ("A", "2")), BodyEnd(1)]),
    ("the same length twice", packet(block(TWO, TWO)) + b"ab", [
        request(TWO, TWO), Body(1, b"ab"), BodyEnd(1)]),
    ("W017 HTTP_CONTENT_LENGTH is not believed", packet(block(("HTTP_CONTENT_LENGTH", "9")))
     + b"123456789", [request(("HTTP_CONTENT_LENGTH", "9")), BodyEnd(1)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "expected"), GOOD, ids=[row[0] for row in GOOD])
def test_U001_U004_U005_U012_requests(name: str, data: bytes, expected: list[Event]) -> None:
    assert seen(data) == expected


WHOLE = block(GET, ("A", "b"))

BAD = [
    ("U006 value beyond the block", packet(block(GET) + b"\x01\0A\x02\0b"), "params.malformed"),
    ("U006 name beyond the block", packet(block(GET) + b"\x05\0A\x01\0b"), "params.malformed"),
    ("U006 65,535 everywhere", packet(b"\xff\xff" * 4), "params.malformed"),
    ("U006 value of 65,535", packet(b"\x01\0A\xff\xff"), "params.malformed"),
    ("U007 name without value", packet(block(GET) + b"\x01\0A"), "params.malformed"),
    ("U007 only a name", packet(b"\x01\0A"), "params.malformed"),
    ("U007 half a size", packet(block(GET) + b"\x01"), "params.malformed"),
    ("U007 name and half a size", packet(block(GET) + b"\x01\0A\0"), "params.malformed"),
    ("empty name", packet(block(GET, ("", "b"))), "params.malformed"),
    ("two empty strings", packet(bytes(4)), "params.malformed"),
    ("U008 modifier1 17", packet(WHOLE, 17), "uwsgi.modifier"),
    ("U010 TLS hello", b"\x16\x03\x01\x02\0\x01", "uwsgi.modifier"),
    ("U010 HTTP", b"GET / HTTP/1.1\r\n\r\n", "uwsgi.modifier"),
    ("U010 zeros", bytes(30), "request.empty"),
    ("U011 empty block", packet(b""), "request.empty"),
    ("U012 length of letters", packet(block(("CONTENT_LENGTH", "abc"))), "length.malformed"),
    ("U012 negative length", packet(block(("CONTENT_LENGTH", "-1"))), "length.malformed"),
    ("U012 1_0", packet(block(("CONTENT_LENGTH", "1_0"))), "length.malformed"),
    ("U012 10**20", packet(block(("CONTENT_LENGTH", "1" + "0" * 20))), "length.too_big"),
    ("two lengths that differ", packet(block(TWO, ("CONTENT_LENGTH", "1"))), "length.repeated"),
]


@pytest.mark.parametrize(("name", "data", "code"), BAD, ids=[row[0] for row in BAD])
def test_U006_U007_U008_U010_U011_U012_refused(name: str, data: bytes, code: str) -> None:
    events = seen(data)
    assert codes(events) == [code]
    assert [event.id for event in events if isinstance(event, Fault)] == [0]
    assert len(events) == 1


@pytest.mark.parametrize("modifier1", range(1, 256))
def test_U008_U013_no_other_modifier_is_served(modifier1: int) -> None:
    protocol = Uwsgi(Limits())
    assert codes(protocol.receive(bytes((modifier1,)))) == ["uwsgi.modifier"]
    assert protocol.closing
    assert protocol.receive(packet(WHOLE)) == []


def test_U003_a_block_of_65535_bytes() -> None:
    pair = ("A", "x" * (MAX_BLOCK - len(block(GET)) - 5))
    data = packet(block(GET, pair))
    assert data[1:3] == b"\xff\xff"
    assert merged(Uwsgi(Limits()).receive(data)) == [request(GET, pair), BodyEnd(1)]
    pieces = [data[at : at + 1] for at in range(len(data))]
    assert merged(feed(Uwsgi(Limits()).receive, pieces)) == [request(GET, pair), BodyEnd(1)]


def test_U003_datasize_is_little_endian() -> None:
    protocol = Uwsgi(Limits())
    assert protocol.receive(b"\0\x04\x01\0" + bytes(259)) == []  # 260 bytes, not 1025
    assert codes(protocol.receive(b"\0")) == ["params.malformed"]


def test_U005_a_mebibyte_in_pieces() -> None:
    body = bytes(range(256)) * 4096
    data = packet(block(("CONTENT_LENGTH", str(len(body))))) + body
    for size in (1000, 65_536, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        events = merged(feed(Uwsgi(Limits()).receive, pieces))
        assert events[1:] == [Body(1, body), BodyEnd(1)]


def test_U005_body_taken_off_the_wire_by_the_caller() -> None:
    protocol = Uwsgi(Limits())
    protocol.receive(packet(block(("CONTENT_LENGTH", "10"))) + b"abc")
    assert protocol.direct(1) == 7
    protocol.skip(1, 7)
    assert protocol.direct(1) == 0
    assert protocol.receive(b"more") == []


def test_F037_block_above_the_limit_is_not_awaited() -> None:
    size = len(packet(WHOLE)) - 4
    assert codes(seen(packet(WHOLE), Limits(params=size))) == []
    assert codes(seen(packet(WHOLE)[:4], Limits(params=size - 1))) == ["params.too_big"]


@pytest.mark.parametrize(("most", "refused"), [(2, []), (1, ["params.too_many"])])
def test_T21_pairs_above_the_limit(most: int, refused: list[str]) -> None:
    assert codes(seen(packet(WHOLE), Limits(pairs=most))) == refused


def test_U002_answer_has_an_http_status_line_then_the_close() -> None:
    head = make_head("404 Not Found", [("Content-Type", "text/plain"), ("X-A", "\xe9")])
    protocol = Uwsgi(Limits())
    protocol.receive(packet(WHOLE))
    lines = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nX-A: \xe9\r\n\r\n"
    assert protocol.send_head(1, head) == [lines]
    assert protocol.send_body(1, b"gone") == [b"gone"]
    assert protocol.send_error(1, b"oops") == []
    assert not protocol.closing
    assert protocol.send_end(1, 0) == []
    assert protocol.closing
    protocol = Uwsgi(Limits())
    protocol.receive(packet(WHOLE))
    assert protocol.send_answer(1, head, b"gone") == [lines + b"gone"]
    assert protocol.closing


# -- hypothesis: streams

TEXT = st.text(st.characters(max_codepoint=255), max_size=12)
NAMES = st.text(st.characters(max_codepoint=255), min_size=1, max_size=12)
VARS = st.lists(st.tuples(NAMES, TEXT), max_size=6)


@given(vars=VARS, body=st.binary(max_size=40), marks=st.lists(st.integers(0, 400)))
def test_client_and_application_agree(
    vars: list[tuple[str, str]], body: bytes, marks: list[int]
) -> None:
    data = UwsgiClient().request(vars, len(body)) + body
    events = merged(feed(Uwsgi(Limits()).receive, pieces_of(data, marks)))
    assert isinstance(events[0], Request)
    own = [pair for pair in vars if pair[0] != "CONTENT_LENGTH"]
    assert events[0].pairs.all() == [("CONTENT_LENGTH", str(len(body))), *own]
    assert events[1:] == ([Body(1, body)] if body else []) + [BodyEnd(1)]


SHAPED = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(packet),
    st.binary(max_size=60).map(lambda tail: packet(WHOLE) + tail),
    st.tuples(st.binary(max_size=30), st.integers(0, 80)).map(
        lambda p: b"\0" + bytes((p[1], 0, 0)) + WHOLE + p[0]
    ),
    st.lists(st.sampled_from((b"\0", b"\1", b"\2", b"A", b"\xff")), max_size=24).map(
        lambda parts: packet(b"".join(parts))
    ),
)


@given(data=SHAPED, marks=st.lists(st.integers(0, 100), max_size=8))
@example(packet(b"\0\0\0\0"), [3])
@example(packet(b"\1\0A\0\0\1"), [3])
def test_U010_any_bytes_in_any_pieces(data: bytes, marks: list[int]) -> None:
    whole = merged(Uwsgi(Limits(params=70)).receive(data))
    assert merged(feed(Uwsgi(Limits(params=70)).receive, pieces_of(data, marks))) == whole
    assert len(codes(whole)) <= 1


@given(data=SHAPED)
def test_U006_what_is_accepted_is_exactly_the_block(data: bytes) -> None:
    events = Uwsgi(Limits()).receive(data)
    if events and isinstance(events[0], Request):
        size = int.from_bytes(data[1:3], "little")
        assert block(*events[0].pairs.all()) == data[4 : 4 + size]
        assert events[0].vars == dict(events[0].pairs.all())


# -- client


def test_client_sets_the_length_itself() -> None:
    vars = [("A", "1"), ("CONTENT_LENGTH", "99")]
    assert UwsgiClient().request(vars, 2) == packet(block(TWO, ("A", "1")))


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (("", "1"), "params.malformed"),
        (("A", "\u20ac"), "params.latin1"),
        (("A", "x" * 65_536), "params.too_big"),
        (("A", "x" * (MAX_BLOCK - len(block(TWO)) - 4)), "params.too_big"),
    ],
)
def test_T15_client_checks_sizes_before_encoding(pair: tuple[str, str], code: str) -> None:
    with pytest.raises(UseError) as caught:
        UwsgiClient().request([pair], 2)
    assert caught.value.code == code


def test_T15_client_fills_a_block_to_its_last_byte() -> None:
    pair = ("A", "x" * (MAX_BLOCK - len(block(TWO)) - 5))
    assert UwsgiClient().request([pair], 2) == packet(block(TWO, pair))


@pytest.mark.parametrize("line", [b"HTTP/1.0 302 Found\r\n", b"Status: 302 Found\r\n"])
def test_U002_client_reads_both_forms_at_every_cut(line: bytes) -> None:
    for pieces in cuts(line + b"Location: /x\r\n\r\nbody"):
        client = UwsgiClient()
        assert merged(feed(client.receive, pieces)) == [
            Head(1, "302 Found", [("Location", "/x")]),
            Body(1, b"body"),
        ]
        assert client.finish() == [End(1)]
