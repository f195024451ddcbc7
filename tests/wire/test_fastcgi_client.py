"""FastCGI 1.0, web-server side: what it sends, and what it makes of applications' records."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatebridge.errors import UseError
from gatebridge.wire import records
from gatebridge.wire.cgi_head import make_head
from gatebridge.wire.events import (
    DATA,
    FILTER,
    RESPONDER,
    STDIN,
    Body,
    End,
    ErrorText,
    Event,
    Fault,
    Head,
    Limits,
    Reply,
    Request,
    Values,
)
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.fastcgi_client import FastCGIClient
from tests.rows import codes, cuts, feed, merged, pieces_of


def rec(kind: int, id: int, content: bytes = b"", pad: int = 0, reserved: int = 0) -> bytes:
    size = len(content).to_bytes(2, "big")
    head = bytes((1, kind)) + id.to_bytes(2, "big") + size + bytes((pad, reserved))
    return head + content + b"\xee" * pad


def end(id: int, app: int = 0, status: int = 0) -> bytes:
    return rec(3, id, app.to_bytes(4, "big") + bytes((status, 0, 0, 0)))


def out(id: int, data: bytes, pad: int = 0) -> bytes:
    return rec(6, id, data, pad)


def err(id: int, data: bytes) -> bytes:
    return rec(7, id, data)


def asked(*ids: int, query: bool = False) -> FastCGIClient:
    client = FastCGIClient()
    for id in ids:
        client.request([], id, keep=True)
    if query:
        client.get_values(["FCGI_MPXS_CONNS"])
    return client


def joined(events: list[Event]) -> list[Event]:
    """merged(), and pieces of the error stream that follow one another become one."""
    result: list[Event] = []
    for event in merged(events):
        last = result[-1] if result else None
        if isinstance(event, ErrorText) and isinstance(last, ErrorText) and last.id == event.id:
            result[-1] = ErrorText(event.id, last.data + event.data)
        else:
            result.append(event)
    return result


def seen(data: bytes, *ids: int, query: bool = False) -> list[Event]:
    """The events of data and of the close behind it, the same at every cut."""
    first: list[Event] | None = None
    for pieces in cuts(data):
        client = asked(*(ids or (1,)), query=query)
        events = joined(feed(client.receive, pieces) + client.finish())
        assert first is None or events == first, pieces
        first = events
    return first or []


HEAD = b"Status: 200 OK\r\nX-A: b\r\n\r\n"
OK = Head(1, "200 OK", [("X-A", "b")])
QUERY = rec(10, 0, b"\x0f\x01FCGI_MPXS_CONNS1")

GOOD = [
    ("F001 head, body, end", out(1, HEAD + b"ab") + out(1, b"") + end(1), [
        OK, Body(1, b"ab"), End(1)]),
    ("F002 no empty STDOUT, as PHP-FPM", out(1, HEAD) + end(1), [OK, End(1)]),
    ("F003 nothing counts after the end", out(1, HEAD) + end(1) + out(1, b"late") + end(1, 7), [
        OK, End(1)]),
    ("F011 padding", out(1, HEAD, 7) + out(1, b"ab", 255) + rec(6, 1, b"", 3) + end(1), [
        OK, Body(1, b"ab"), End(1)]),
    ("F012 reserved bytes", rec(6, 1, HEAD, reserved=255) + end(1), [OK, End(1)]),
    ("head in pieces", out(1, HEAD[:9]) + out(1, HEAD[9:]) + end(1), [OK, End(1)]),
    ("F122 STDERR between", err(1, b"a") + out(1, HEAD) + err(1, b"b") + err(1, b"c") + end(1), [
        ErrorText(1, b"a"), OK, ErrorText(1, b"bc"), End(1)]),
    ("F126 appStatus", out(1, HEAD) + end(1, 0xDEADBEEF), [OK, End(1, 0xDEADBEEF)]),
    ("F071 unknown role", end(1, 0, 3), [End(1, 0, 3)]),
    ("F112 overloaded", end(1, 0, 2), [End(1, 0, 2)]),
    ("F083 cannot multiplex", end(1, 0, 1), [End(1, 0, 1)]),
    ("an end without an answer", end(1), [End(1)]),
    ("F081 other ids unseen", out(9, b"x") + err(9, b"y") + end(9) + out(1, HEAD) + end(1), [
        OK, End(1)]),
    ("STDOUT of id 0", out(0, b"x") + end(0) + out(1, HEAD) + end(1), [OK, End(1)]),
    ("types 0, 12, 255 ignored", rec(0, 1, b"x", 1) + rec(12, 1, b"x") + rec(255, 0) + rec(0, 0)
     + out(1, HEAD) + end(1), [OK, End(1)]),
    ("results nobody asked for", QUERY + rec(11, 0, bytes(8)) + out(1, HEAD) + end(1), [
        OK, End(1)]),
    ("a bad head spoils its request only", out(1, b"no head\n\n") + out(1, HEAD) + end(1, 5), [
        Fault(1, records.PeerError("head.malformed")), End(1, 5)]),
    ("a head cut by the end", out(1, b"X-A: b\r\n") + end(1), [
        Fault(1, records.PeerError("answer.cut")), End(1)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "expected"), GOOD, ids=[row[0] for row in GOOD])
def test_F001_to_F126_answers(name: str, data: bytes, expected: list[Event]) -> None:
    assert seen(data) == expected


def test_F080_F083_answers_of_two_requests_interleave() -> None:
    data = out(0x1234, HEAD[:5]) + out(0xFFFF, HEAD + b"1") + out(0x1234, HEAD[5:] + b"2")
    data += end(0xFFFF) + out(0x1234, b"3") + end(0x1234)
    assert seen(data, 0x1234, 0xFFFF) == [
        Head(0xFFFF, "200 OK", [("X-A", "b")]),
        Body(0xFFFF, b"1"),
        Head(0x1234, "200 OK", [("X-A", "b")]),
        Body(0x1234, b"2"),
        End(0xFFFF),
        Body(0x1234, b"3"),
        End(0x1234),
    ]


VALUES = [
    ("F061 a value", QUERY, [Values({"FCGI_MPXS_CONNS": "1"})]),
    ("F063 empty result", rec(10, 0), [Values({})]),
    ("padding", rec(10, 0, b"\x01\x01AB", 4), [Values({"A": "B"})]),
    ("F067 a peer that knows no GET_VALUES", rec(11, 0, b"\x09" + bytes(7)), [Values({})]),
    ("UNKNOWN_TYPE of something else", rec(11, 0, b"\x63" + bytes(7)) + QUERY, [
        Values({"FCGI_MPXS_CONNS": "1"})]),
    ("GET_VALUES_RESULT with a request id", rec(10, 1, b"\x01\x01AB") + QUERY, [
        Values({"FCGI_MPXS_CONNS": "1"})]),
    ("only the first counts", QUERY + rec(10, 0), [Values({"FCGI_MPXS_CONNS": "1"})]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "expected"), VALUES, ids=[row[0] for row in VALUES])
def test_F060_to_F067_values(name: str, data: bytes, expected: list[Event]) -> None:
    rest = out(1, HEAD) + end(1)
    assert seen(data + rest, query=True) == [*expected, OK, End(1)]


LOST = [
    ("F100 version 2", b"\x02" + out(1, HEAD)[1:], "record.version"),
    ("F105 HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", "record.version"),
    ("F104 garbage", b"\x15\x03\x01\0\x02", "record.version"),
    ("F106 an echo server", rec(1, 1, b"\0\1\0\0\0\0\0\0"), "record.type"),
    ("F106 STDIN", out(1, HEAD) + rec(5, 1, b"x"), "record.type"),
    ("F103 END_REQUEST of 4 bytes", rec(3, 1, bytes(4)), "record.end"),
    ("F103 END_REQUEST of nothing", rec(3, 1), "record.end"),
    ("F103 END_REQUEST of 65,535 bytes", rec(3, 1, bytes(65_535)), "record.end"),
    ("F033 lengths of 2**31-1 (CVE-2025-23016)", rec(10, 0, b"\xff" * 8), "values.malformed"),
    ("F032 pair longer than the record", rec(10, 0, b"\x05\x05AB"), "values.malformed"),
    ("silent close", b"", "answer.empty"),
    ("closed without END_REQUEST", out(1, HEAD + b"ab"), "answer.cut"),
    ("closed inside a header", out(1, HEAD)[:5], "answer.cut"),
    ("closed inside content", out(1, HEAD)[:-1], "answer.cut"),
    ("closed inside padding", end(1)[:6] + b"\x05" + end(1)[7:], "answer.cut"),
]


@pytest.mark.parametrize(("name", "data", "code"), LOST, ids=[row[0] for row in LOST])
def test_T16_the_connection_is_lost(name: str, data: bytes, code: str) -> None:
    step = max(len(data) // 97, 1)
    ways = [[data], [data[at : at + step] for at in range(0, len(data), step)]]
    for way in ways if len(data) > 200 else cuts(data):
        client = asked(1, 2, query=True)
        events = feed(client.receive, way) + client.finish()
        assert codes(events) == [code]
        assert [event.id for event in events if isinstance(event, Fault)] == [0]
        assert client.closing
        assert client.receive(out(1, HEAD)) + client.finish() == []


HEADS = [
    ("101 fields", b"X-A: 1\n" * 101 + b"\n", "head.too_big"),
    ("no end", b"X" * 65_537, "head.too_big"),
    ("more than 64 KiB", b"X-A: " + b"y" * 65_536 + b"\n\n", "head.too_big"),
    ("control character", b"X-A: \x01\n\n", "head.malformed"),
    ("two status words", b"Status: 200\x00OK\n\n", "head.malformed"),
]


@pytest.mark.parametrize(("name", "data", "code"), HEADS, ids=[row[0] for row in HEADS])
def test_T16_heads_are_capped(name: str, data: bytes, code: str) -> None:
    for size in (65_535, 997):
        client = asked(1)
        wire = b"".join(out(1, data[at : at + size]) for at in range(0, len(data), size))
        events = client.receive(wire + out(1, HEAD) + end(1))
        assert events[1:] == [End(1)]
        assert codes(events) == [code]
        assert events[0] == Fault(1, records.PeerError(code))


def test_T16_a_hundred_fields_are_fine() -> None:
    [head] = asked(1).receive(out(1, b"X-A: 1\n" * 100 + b"\n"))
    assert isinstance(head, Head)
    assert len(head.headers) == 100


def test_F120_a_full_record_of_body() -> None:
    data = out(1, HEAD) + out(1, bytes(65_535), 255) * 3 + end(1)
    pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    assert joined(feed(asked(1).receive, pieces)) == [OK, Body(1, bytes(3 * 65_535)), End(1)]


# -- sending


def sent(pieces: list[bytes | memoryview]) -> bytes:
    return b"".join(pieces)


def test_F004_F005_F070_begin_carries_role_and_flag() -> None:
    client = FastCGIClient()
    assert sent(client.request([], 1)) == rec(1, 1, b"\0\1\0\0\0\0\0\0") + rec(4, 1)
    assert client.active == 1
    assert not client.closing
    kept = client.request([("A", "b")], 0x1234, FILTER, keep=True)
    begin = rec(1, 0x1234, b"\0\3\1\0\0\0\0\0")
    assert sent(kept) == begin + rec(4, 0x1234, b"\1\1Ab") + rec(4, 0x1234)
    strange = FastCGIClient().request([], 7, role=0x6363)
    assert sent(strange)[:16] == rec(1, 7, b"\x63\x63\0\0\0\0\0\0")


def test_F005_closing_after_the_last_answer_unless_kept() -> None:
    client = FastCGIClient()
    assert not client.closing
    client.request([], 1)
    client.receive(out(1, HEAD) + end(1))
    assert client.closing
    assert client.finish() == []
    client = FastCGIClient()
    client.request([], 1, keep=True)
    client.receive(out(1, HEAD) + end(1))
    assert not client.closing
    client.request([], 1, keep=True)  # the id is free again
    assert client.receive(out(1, HEAD) + end(1)) == [OK, End(1)]


def test_body_streams_abort_and_queries() -> None:
    client = FastCGIClient()
    assert sent(client.send_body(1, b"ab")) == rec(5, 1, b"ab")
    assert sent(client.send_body(1, b"")) == b""
    assert sent(client.send_body_end(1)) == rec(5, 1)
    assert sent(client.send_body(1, b"ab", DATA)) == rec(8, 1, b"ab")
    assert sent(client.send_body_end(1, DATA)) == rec(8, 1)
    assert sent(client.abort(300)) == rec(2, 300)
    assert sent(client.get_values(["A", "BC"])) == rec(9, 0, b"\1\0A\2\0BC")


def test_F027_variables_of_any_size_go_out_in_whole_records() -> None:
    vars = [("A", "x" * 70_000), ("N" * 300, ""), ("B", "y" * 128)]
    data = sent(FastCGIClient().request(vars, 1))
    application = FastCGI(Limits())
    [event] = application.receive(data + rec(5, 1))
    assert isinstance(event, Request)
    assert event.pairs.all() == vars


USE = [
    ("id 0", {"id": 0}, "id.range"),
    ("id 65536", {"id": 65_536}, "id.range"),
    ("negative id", {"id": -1}, "id.range"),
    ("id in use", {"id": 9}, "id.in_use"),
    ("not latin-1", {"vars": [("A", "\u20ac")]}, "params.latin1"),
]


@pytest.mark.parametrize(("name", "changed", "code"), USE, ids=[row[0] for row in USE])
def test_F086_wrong_use_is_refused(name: str, changed: dict, code: str) -> None:
    client = asked(9)
    with pytest.raises(UseError) as caught:
        client.request(**{"vars": [], "id": 1, **changed})
    assert caught.value.code == code
    assert client.active == 1


def test_a_query_of_more_than_a_record() -> None:
    with pytest.raises(UseError):
        FastCGIClient().get_values(["N" * 65_535])


# -- both sides of this package meet

TEXT = st.text(st.characters(max_codepoint=255), max_size=200)
PIECES = st.lists(st.binary(min_size=1, max_size=50), max_size=4)


@given(
    vars=st.lists(st.tuples(TEXT, TEXT), max_size=5),
    stdin=PIECES,
    body=PIECES,
    errors=PIECES,
    app=st.integers(0, 2**32 - 1),
    id=st.integers(1, 65_535),
    marks=st.lists(st.integers(0, 10_000), max_size=8),
)
def test_client_and_application_agree(
    vars: list[tuple[str, str]],
    stdin: list[bytes],
    body: list[bytes],
    errors: list[bytes],
    app: int,
    id: int,
    marks: list[int],
) -> None:
    client, application = FastCGIClient(), FastCGI(Limits())
    wire = client.request(vars, id, RESPONDER)
    for piece in stdin:
        wire += client.send_body(id, piece, STDIN)
    wire += client.send_body_end(id)
    asking = merged(feed(application.receive, pieces_of(sent(wire), marks)))
    assert isinstance(asking[0], Request)
    assert asking[0].pairs.all() == vars
    received = b"".join(event.data for event in asking if isinstance(event, Body))
    assert received == b"".join(stdin)
    answer = application.send_head(id, make_head("200 OK", [("X-A", "b")]))
    for piece in body:
        answer += application.send_body(id, piece)
    for piece in errors:
        answer += application.send_error(id, piece)
    answer += application.send_end(id, app)
    events = joined(feed(client.receive, pieces_of(sent(answer), marks)))
    expected: list[Event] = [Head(id, "200 OK", [("X-A", "b")])]
    expected += [Body(id, b"".join(body))] if body else []
    expected += [ErrorText(id, b"".join(errors))] if errors else []
    assert events == [*expected, End(id, app)]
    assert client.closing
    assert application.closing


def test_F060_values_between_both_sides() -> None:
    client, application = FastCGIClient(), FastCGI(Limits(multiplex=True, requests=9))
    [reply] = application.receive(sent(client.get_values(["FCGI_MPXS_CONNS", "FCGI_MAX_REQS"])))
    assert isinstance(reply, Reply)
    assert client.receive(reply.data) == [Values({"FCGI_MPXS_CONNS": "1", "FCGI_MAX_REQS": "9"})]


RECORDS = st.one_of(
    st.tuples(
        st.sampled_from((0, 3, 6, 6, 6, 7, 10, 11, 12, 255)),
        st.sampled_from((0, 1, 1, 1, 2, 9)),
        st.one_of(st.binary(max_size=20), st.sampled_from((HEAD, bytes(8), b"A: b\n", b"\n"))),
        st.integers(0, 9),
    ).map(lambda p: rec(*p)),
    st.binary(max_size=12),
)


@given(
    parts=st.lists(RECORDS, max_size=8),
    marks=st.lists(st.integers(0, 300), max_size=8),
    query=st.booleans(),
)
@example([rec(3, 1)], [7], True)
@example([rec(10, 0, b"\xff\xff\xff\xff\xff")], [9], True)
def test_T16_any_records_in_any_pieces(parts: list[bytes], marks: list[int], query: bool) -> None:
    data = b"".join(parts)
    whole, cut = asked(1, 2, query=query), asked(1, 2, query=query)
    expected = joined(whole.receive(data) + whole.finish())
    assert joined(feed(cut.receive, pieces_of(data, marks)) + cut.finish()) == expected
    assert whole.closing == cut.closing
