"""FastCGI 1.0, application side: rows of clauses F001 to F126 that bytes in and events out show."""

import pytest

from gatebridge.errors import PeerError
from gatebridge.wire.events import (
    DATA,
    Abort,
    Body,
    BodyEnd,
    Event,
    Fault,
    Limits,
    Pairs,
    Reply,
    Request,
)
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.records import split_pairs
from tests.rows import codes, cuts, feed, merged
from tests.wire import fastcgi_rows as rows
from tests.wire.fastcgi_rows import GET, begin, block, rec, stream

END = rec(4, 1)
STDIN_END = rec(5, 1)
ROUND = block(("A", "b"))
ASKED = begin() + stream(4, 1, ROUND)  # a request but for its STDIN


def request(*pairs: tuple[str, str], id: int = 1, role: int = 1, wide: bool = False) -> Request:
    """The Request event as merged() shows it."""
    raw = block(*pairs, wide=wide)
    every = split_pairs(raw)
    vars: dict[str, object] = dict(every)
    return Request(
        id, vars, len(vars) != len(every), Pairs(raw, split_pairs), role, b"", complete=False
    )


def fault(id: int, code: str) -> Fault:
    return Fault(id, PeerError(code))


def seen(data: bytes, limits: Limits | None = None) -> list[Event]:
    """The events of data, the same at every cut."""
    first: list[Event] | None = None
    for pieces in cuts(data):
        protocol = FastCGI(limits or Limits())
        events = merged(feed(protocol.receive, pieces))
        assert first is None or events == first, pieces
        first = events
    return first or []


def refused(id: int, status: int) -> Reply:
    return Reply(rec(3, id, bytes((0, 0, 0, 0, status, 0, 0, 0))))


ONE = request(("A", "b"))

REQUESTS = [
    ("F001 GET", rows.request(*GET), [request(*GET), BodyEnd(1)]),
    ("F001 POST", rows.request(("A", "b"), body=b"hello"),
     [request(("A", "b"), ("CONTENT_LENGTH", "5")), Body(1, b"hello"), BodyEnd(1)]),
    ("F010 flags 0xFE", begin(flags=0xFE) + stream(4, 1, ROUND) + STDIN_END, [ONE, BodyEnd(1)]),
    ("F011 padding of 1", begin(pad=1) + stream(4, 1, ROUND, pad=1) + stream(5, 1, b"ab", pad=1),
     [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F011 padding of 7", begin(pad=7) + stream(4, 1, ROUND, pad=7) + stream(5, 1, b"ab", pad=7),
     [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F011 padding of 255", begin(pad=255) + stream(4, 1, ROUND, pad=255)
     + stream(5, 1, b"ab", pad=255), [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F020 PARAMS of 1 byte", begin() + stream(4, 1, ROUND, 1) + STDIN_END, [ONE, BodyEnd(1)]),
    ("F022 4-byte lengths", begin() + stream(4, 1, block(("A", "b"), wide=True)) + STDIN_END,
     [request(("A", "b"), wide=True), BodyEnd(1)]),
    ("F028 empty name", begin() + stream(4, 1, block(("", "x"))) + STDIN_END,
     [request(("", "x")), BodyEnd(1)]),
    ("F029 NUL passed whole", begin() + stream(4, 1, block(("A", "b\0c"))) + STDIN_END,
     [request(("A", "b\0c")), BodyEnd(1)]),
    ("F031 no variables", begin() + END + STDIN_END, [request(), BodyEnd(1)]),
    ("F034 duplicate name", begin() + stream(4, 1, block(("A", "1"), ("A", "2"))) + STDIN_END,
     [request(("A", "1"), ("A", "2")), BodyEnd(1)]),
    ("F035 PARAMS after their end", ASKED + rec(4, 1, block(("C", "d"))) + END + STDIN_END,
     [ONE, BodyEnd(1)]),
    ("F035 STDIN after its end", ASKED + stream(5, 1, b"ab") + stream(5, 1, b"cd"),
     [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F035 PARAMS after STDIN's end", ASKED + STDIN_END + rec(4, 1, b"\xff") + END,
     [ONE, BodyEnd(1)]),
    ("F040 STDIN in one record", ASKED + stream(5, 1, b"hello"),
     [ONE, Body(1, b"hello"), BodyEnd(1)]),
    ("F041 STDIN in records of 1 byte", ASKED + stream(5, 1, b"hello", 1),
     [ONE, Body(1, b"hello"), BodyEnd(1)]),
    ("F043 padding on STDIN", ASKED + stream(5, 1, b"hello", 2, pad=3),
     [ONE, Body(1, b"hello"), BodyEnd(1)]),
    ("F050 chunked, no length", ASKED + stream(5, 1, b"hello"),
     [ONE, Body(1, b"hello"), BodyEnd(1)]),
    ("F051 the end of STDIN is still to come", ASKED + rec(5, 1, b"he"), [ONE, Body(1, b"he")]),
    ("F068 unknown type inside a request", begin() + rec(99, 1, b"\1\2\3", 2) + stream(4, 1, ROUND)
     + rec(12, 1) + stream(5, 1, b"ab"), [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F068 type 0 inside a request", begin() + rec(0, 1, begin(9), 2) + stream(4, 1, ROUND)
     + rec(0, 1, b"", 1) + stream(5, 1, b"ab"), [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F073 authorizer gets no body", begin(role=2) + stream(4, 1, ROUND),
     [request(("A", "b"), role=2), BodyEnd(1)]),
    ("F073 authorizer's STDIN unseen", begin(role=2) + stream(4, 1, ROUND) + stream(5, 1, b"x"),
     [request(("A", "b"), role=2), BodyEnd(1)]),
    ("F074 filter", begin(role=3) + stream(4, 1, ROUND) + stream(5, 1, b"ab") + stream(8, 1, b"cd"),
     [request(("A", "b"), role=3), Body(1, b"ab"), BodyEnd(1), Body(1, b"cd", DATA),
      BodyEnd(1, DATA)]),
    ("F074a filter without STDIN", begin(role=3) + stream(4, 1, ROUND) + STDIN_END
     + stream(8, 1, b"cd", 1), [request(("A", "b"), role=3), BodyEnd(1), Body(1, b"cd", DATA),
                                BodyEnd(1, DATA)]),
    ("F074a filter, DATA first", begin(role=3) + stream(4, 1, ROUND) + stream(8, 1, b"")
     + stream(5, 1, b"ab"), [request(("A", "b"), role=3), BodyEnd(1, DATA), Body(1, b"ab"),
                             BodyEnd(1)]),
    ("F074a filter, DATA ends before PARAMS", begin(role=3) + rec(8, 1) + stream(4, 1, ROUND)
     + stream(5, 1, b"ab"), [request(("A", "b"), role=3), BodyEnd(1, DATA), Body(1, b"ab"),
                             BodyEnd(1)]),
    ("F075 DATA in a responder request", ASKED + stream(8, 1, b"no") + stream(5, 1, b"ab"),
     [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F075 DATA before PARAMS end", begin() + stream(8, 1, b"no") + stream(4, 1, ROUND)
     + STDIN_END, [ONE, BodyEnd(1)]),
    ("F081 stray STDIN of other ids", rec(5, 7, b"x") + ASKED + stream(5, 2, b"no")
     + rec(5, 0, b"n") + stream(5, 1, b"ab"), [ONE, Body(1, b"ab"), BodyEnd(1)]),
    ("F082 stray PARAMS of other ids", stream(4, 7, ROUND) + begin() + stream(4, 2, ROUND)
     + stream(4, 1, ROUND) + rec(4, 0, ROUND) + rec(4, 0) + STDIN_END, [ONE, BodyEnd(1)]),
    ("F087 BEGIN with id 0", begin(0) + stream(4, 0, ROUND) + stream(5, 0, b""), []),
    ("F091 ABORT of an inactive id", rec(2, 7) + rec(2, 0) + ASKED + rec(2, 9) + STDIN_END,
     [ONE, BodyEnd(1)]),
    ("F106 what only applications send", rec(3, 1, bytes(8)) + begin() + rec(6, 1, b"x")
     + rec(7, 1, b"x", 3) + rec(3, 1, bytes(8)) + stream(4, 1, ROUND) + rec(10, 0, b"\xff\xff")
     + rec(11, 0, bytes(8)) + rec(6, 1) + STDIN_END, [ONE, BodyEnd(1)]),
    ("F109 STDIN before PARAMS ended", begin() + rec(5, 1, b"ab") + stream(4, 1, ROUND)
     + rec(5, 1, b"cd") + STDIN_END, [ONE, Body(1, b"abcd"), BodyEnd(1)]),
    ("F109 all of STDIN before PARAMS", begin() + stream(5, 1, b"ab") + stream(4, 1, ROUND),
     [ONE, Body(1, b"ab"), BodyEnd(1)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "expected"), REQUESTS, ids=[r[0] for r in REQUESTS])
def test_F001_F010_F011_F013_F014_F020_F022_F028_F029_F031_F034_F035_requests(
    name: str, data: bytes, expected: list[Event]
) -> None:
    assert seen(data) == expected


def test_F012_reserved_bytes_are_ignored() -> None:
    data = bytearray(rows.request(("A", "b"), body=b"hello"))
    plain = seen(bytes(data))
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 6], "big")
        data[at + 7] = 0xFF
        if data[at + 1] == rows.BEGIN:
            data[at + 11 : at + 16] = b"\xff" * 5
        at += 8 + length
    assert seen(bytes(data)) == plain


def test_F021_pair_cut_at_every_byte() -> None:
    raw = block(("A", "b" * 200), ("", ""), ("N" * 128, "v"))
    expected = [request(("A", "b" * 200), ("", ""), ("N" * 128, "v")), BodyEnd(1)]
    for at in range(len(raw) + 1):
        records = rec(4, 1, raw[:at]) * (at > 0) + rec(4, 1, raw[at:]) * (at < len(raw))
        data = begin() + records + END + STDIN_END
        protocol = FastCGI(Limits())
        assert merged(protocol.receive(data)) == expected
        protocol = FastCGI(Limits())
        bytewise = [data[i : i + 1] for i in range(len(data))]
        assert merged(feed(protocol.receive, bytewise)) == expected


SIZES = [("A", "b" * n) for n in (0, 1, 127, 128, 255, 256, 16_384, 70_000)]
SIZES += [("N" * n, "v") for n in (127, 128, 300)]


@pytest.mark.parametrize("pair", SIZES, ids=[f"{len(a)}-{len(b)}" for a, b in SIZES])
def test_F023_F024_F025_F036_names_and_values_of_many_lengths(pair: tuple[str, str]) -> None:
    for step in (65_535, 997, 8):
        data = begin() + stream(4, 1, block(pair), step) + STDIN_END
        for pieces in ([data], [data[at : at + 113] for at in range(0, len(data), 113)]):
            events = merged(feed(FastCGI(Limits()).receive, pieces))
            assert events == [request(pair), BodyEnd(1)]


def test_F026_F027_a_thousand_variables_256_kib() -> None:
    pairs = [(f"HTTP_X_{number:03}", "x" * 255) for number in range(1000)]
    assert len(block(*pairs)) > 256 << 10
    assert seen_in_blocks(rows.request(*pairs)) == [request(*pairs), BodyEnd(1)]


def seen_in_blocks(data: bytes, limits: Limits | None = None) -> list[Event]:
    """As seen(), for data too long for every cut."""
    first: list[Event] | None = None
    for step in (len(data), 65_535, 16_384, 61):
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        events = merged(feed(FastCGI(limits or Limits()).receive, pieces))
        assert first is None or events == first, step
        first = events
    return first or []


def test_F030_bytes_80_to_ff() -> None:
    text = bytes(range(128, 256)).decode("latin-1")
    [event] = FastCGI(Limits()).receive(rows.request(("A", text), (text, "b")))
    assert isinstance(event, Request)
    assert event.vars == {"A": text, text: "b"}
    assert event.pairs.all() == [("A", text), (text, "b")]


def test_F034_of_a_repeated_name_the_last_value_and_all_raw() -> None:
    [event] = FastCGI(Limits()).receive(rows.request(("A", "1"), ("B", "2"), ("A", "3")))
    assert isinstance(event, Request)
    assert event.vars == {"A": "3", "B": "2"}
    assert event.repeated
    assert event.pairs.all() == [("A", "1"), ("B", "2"), ("A", "3")]


def test_F042_eight_mebibytes_of_stdin() -> None:
    body = bytes(range(256)) * (32 << 10)
    wire = ASKED + stream(5, 1, body, 32_768, pad=5)
    protocol = FastCGI(Limits())
    events = feed(protocol.receive, [wire[at : at + 60_000] for at in range(0, len(wire), 60_000)])
    [first, got, last] = merged(events)
    assert isinstance(got, Body)
    assert (first, last) == (ONE, BodyEnd(1))
    assert got.data == body


# -- management

MPXS = rows.size(15) + rows.size(0) + b"FCGI_MPXS_CONNS"
ALL = block(("FCGI_MAX_CONNS", ""), ("FCGI_MAX_REQS", ""), ("FCGI_MPXS_CONNS", ""))
LIMITS = Limits(connections=40, requests=9)
TOLD = Reply(rec(10, 0, block(("FCGI_MPXS_CONNS", "1"))))

VALUES = [
    ("F060 FCGI_MPXS_CONNS", rec(9, 0, MPXS), [TOLD]),
    ("F061 all three", rec(9, 0, ALL), [Reply(rec(10, 0, block(
        ("FCGI_MAX_CONNS", "40"), ("FCGI_MAX_REQS", "9"), ("FCGI_MPXS_CONNS", "1"))))]),
    ("F062 unknown names left out", rec(9, 0, block(("X", ""), ("FCGI_MAX_REQS", ""), ("Y", "z"))),
     [Reply(rec(10, 0, block(("FCGI_MAX_REQS", "9"))))]),
    ("F062 only unknown names", rec(9, 0, block(("X", ""))), [Reply(rec(10, 0))]),
    ("F063 empty query", rec(9, 0), [Reply(rec(10, 0))]),
    ("F063 empty query, padded", rec(9, 0, b"", 3), [Reply(rec(10, 0))]),
    ("a name asked for twice", rec(9, 0, MPXS + MPXS, 1), [TOLD]),
    ("F064 before a request", rec(9, 0, MPXS) + ASKED + STDIN_END, [TOLD, ONE, BodyEnd(1)]),
    ("F065 between BEGIN and PARAMS", begin() + rec(9, 0, MPXS) + stream(4, 1, ROUND) + STDIN_END,
     [TOLD, ONE, BodyEnd(1)]),
    ("F065 inside PARAMS", begin() + rec(4, 1, ROUND[:2]) + rec(9, 0, MPXS) + rec(4, 1, ROUND[2:])
     + END + STDIN_END, [TOLD, ONE, BodyEnd(1)]),
    ("F065 inside STDIN", ASKED + rec(5, 1, b"a") + rec(9, 0, MPXS) + stream(5, 1, b"b"),
     [ONE, Body(1, b"a"), TOLD, Body(1, b"b"), BodyEnd(1)]),
    ("GET_VALUES with a request id", rec(9, 1, MPXS) + ASKED + rec(9, 1, b"\xff") + STDIN_END,
     [ONE, BodyEnd(1)]),
    *[(f"F066 type {kind}", rec(kind, 0, b"abc", 2) + ASKED + rec(kind, 0) + STDIN_END,
       [Reply(rec(11, 0, bytes((kind, 0, 0, 0, 0, 0, 0, 0)))), ONE,
        Reply(rec(11, 0, bytes((kind, 0, 0, 0, 0, 0, 0, 0)))), BodyEnd(1)])
      for kind in (0, 12, 99, 255)],
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "expected"), VALUES, ids=[row[0] for row in VALUES])
def test_F060_F061_F062_F063_F064_F065_F066_F067_management(
    name: str, data: bytes, expected: list[Event]
) -> None:
    assert seen(data, LIMITS) == expected


def test_F060_the_answer_is_the_truth() -> None:
    [reply] = FastCGI(Limits(multiplex=False)).receive(rec(9, 0, MPXS))
    assert reply == Reply(rec(10, 0, block(("FCGI_MPXS_CONNS", "0"))))


# -- one connection, several requests

SEVERAL = [
    ("F070 role 99", begin(5, 1, 99) + stream(4, 5, ROUND) + stream(5, 5, b"x"), [refused(5, 3)]),
    ("F071 role 0", begin(5, 1, 0), [refused(5, 3)]),
    ("F071 role 4", begin(5, 1, 4), [refused(5, 3)]),
    ("F070 role 0x0100", begin(5, 1, 0x100), [refused(5, 3)]),
    ("F072 next request on it", begin(5, 1, 99) + ASKED + STDIN_END,
     [refused(5, 3), ONE, BodyEnd(1)]),
    ("F080 ids are big-endian", b"".join(rows.request(("A", "b"), id=id)
     for id in (255, 256, 0x1234, 65_535)), [event for id in (255, 256, 0x1234, 65_535)
     for event in (request(("A", "b"), id=id), BodyEnd(id))]),
    ("F083 bodies of two requests interleave", begin(1, 1) + begin(2, 1) + stream(4, 2, ROUND)
     + rec(4, 1, ROUND[:1]) + rec(5, 2, b"x") + rec(4, 1, ROUND[1:]) + END + rec(5, 1, b"a")
     + rec(5, 2, b"y") + rec(5, 2) + rec(5, 1, b"b") + STDIN_END,
     [request(("A", "b"), id=2), Body(2, b"x"), ONE, Body(1, b"a"), Body(2, b"y"), BodyEnd(2),
      Body(1, b"b"), BodyEnd(1)]),
    ("F086 id already active", ASKED + begin(1, 1), [ONE, fault(0, "request.id_in_use")]),
    ("F086 and nothing behind it", ASKED + begin(1, 1) + rows.request(id=3) + rec(9, 0),
     [ONE, fault(0, "request.id_in_use")]),
    ("F088 ABORT before STDIN's end", ASKED + rec(5, 1, b"a") + rec(2, 1) + rec(5, 1, b"b"),
     [ONE, Body(1, b"a"), Abort(1), Body(1, b"b")]),
    ("F088 ABORT with content and padding", ASKED + rec(2, 1, b"abc", 5) + STDIN_END,
     [ONE, Abort(1), BodyEnd(1)]),
    ("F089 ABORT before PARAMS' end", begin() + rec(4, 1, ROUND) + rec(2, 1) + END + STDIN_END,
     [refused(1, 0)]),
    ("F089 BEGIN and ABORT, as HAProxy", begin(1, 1) + rec(2, 1) + rows.request(("A", "b")),
     [refused(1, 0), ONE, BodyEnd(1)]),
    ("F092 the id may be used again", begin(1, 1) + rec(2, 1) + begin(1, 1) + rec(2, 1) + ASKED,
     [refused(1, 0), refused(1, 0), ONE]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "expected"), SEVERAL, ids=[row[0] for row in SEVERAL])
def test_F070_F071_F072_F080_F081_F082_F083_F086_F088_F089_F091_F092_connection(
    name: str, data: bytes, expected: list[Event]
) -> None:
    assert seen(data) == expected


def test_F084_F085_a_second_request_is_refused_where_multiplexing_is_off() -> None:
    data = ASKED + rows.request(("C", "d"), id=2, flags=1) + stream(5, 1, b"ab")
    limits = Limits(multiplex=False)
    assert seen(data, limits) == [ONE, refused(2, 1), Body(1, b"ab"), BodyEnd(1)]
    whole = rows.request(("A", "b"))
    assert seen(whole + begin(2, 1), limits) == [ONE, BodyEnd(1), refused(2, 1)]


def test_F112_more_requests_than_may_be() -> None:
    data = begin(1, 1) + begin(2, 1) + begin(3, 1) + rec(2, 1) + begin(4, 1)
    assert seen(data, Limits(requests=2)) == [refused(3, 2), refused(1, 0)]


# -- what is no FastCGI

LOST = [
    ("F100 version 0", b"\0" + begin()[1:], "record.version"),
    ("F100 version 2", b"\2" + begin()[1:], "record.version"),
    ("F100 in the second record", begin() + b"\2" + END[1:], "record.version"),
    ("F103 BEGIN of 0 bytes", rec(1, 1), "record.begin"),
    ("F103 BEGIN of 4 bytes", rec(1, 1, b"\0\1\0\0"), "record.begin"),
    ("F103 BEGIN of 16 bytes", rec(1, 1, b"\0\1\0\0" + bytes(12)), "record.begin"),
    ("F104 garbage", b"\x16\x03\x01\x02\0\x01\0", "record.version"),
    ("F105 HTTP", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "record.version"),
    ("F105 the first byte is enough", b"G", "record.version"),
    ("F032 a query longer than its record", rec(9, 0, b"\5\5AB"), "values.malformed"),
    ("F033 a query of 0x7FFFFFFF twice", rec(9, 0, b"\xff" * 8), "values.malformed"),
]


@pytest.mark.parametrize(("name", "data", "code"), LOST, ids=[row[0] for row in LOST])
def test_F100_F103_F104_F105_the_connection_is_lost(name: str, data: bytes, code: str) -> None:
    for pieces in cuts(data):
        protocol = FastCGI(Limits())
        events = feed(protocol.receive, pieces)
        assert events == [fault(0, code)]
        assert protocol.closing
        assert protocol.receive(rows.request(*GET)) == []


BAD = [
    ("F032 pair longer than the stream", b"\1\5Ab", "params.malformed"),
    ("F032 one byte short", block(("A", "b"))[:-1], "params.malformed"),
    ("F033 lengths of 0x7FFFFFFF", b"\xff" * 8 + b"ab", "params.malformed"),
    ("F037 too many bytes", block(("A", "b" * 60)), "params.too_big"),
    ("T21 too many variables", block(*[("A", "b")] * 6), "params.too_many"),
]


@pytest.mark.parametrize(("name", "raw", "code"), BAD, ids=[row[0] for row in BAD])
def test_F032_F033_F037_only_the_request_is_lost(name: str, raw: bytes, code: str) -> None:
    for step in (65_535, 1):
        data = begin() + stream(4, 1, raw, step) + stream(5, 1, b"ab") + rec(9, 0)
        events = seen(data, Limits(params=50, pairs=5))
        assert events == [fault(1, code), Reply(rec(10, 0))]
        assert codes(events) == [code]


def test_F037_a_get_in_one_piece_has_the_same_limits() -> None:
    raw = block(("A", "b" * 300))
    for size, expected in ((len(raw), []), (len(raw) - 1, ["params.too_big"])):
        assert codes(seen(rows.request(("A", "b" * 300)), Limits(params=size))) == expected


def test_F109_an_early_body_is_bounded() -> None:
    data = begin() + rec(5, 1, bytes(150)) + rec(5, 1, bytes(150)) + stream(4, 1, ROUND)
    assert codes(seen(data, Limits(params=200))) == ["params.late"]


LIMITED = [  # roles that are served, role asked, refused
    ((1,), 1, False),
    ((1,), 2, True),
    ((1,), 3, True),
    ((2, 3), 1, True),
    ((2, 3), 2, False),
]


@pytest.mark.parametrize(("roles", "role", "is_refused"), LIMITED, ids=repr)
def test_F070_a_role_that_is_not_served(
    roles: tuple[int, ...], role: int, is_refused: bool
) -> None:
    """Whole in one piece, as nginx sends a GET, and byte by byte."""
    data = begin(role=role) + stream(4, 1, ROUND) + STDIN_END
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        wire = FastCGI(Limits(roles=roles))
        events = [event for piece in pieces for event in wire.receive(piece)]
        assert (refused(1, 3) in events) == is_refused
        assert any(isinstance(event, Request) for event in events) != is_refused
