"""SCGI, both sides: rows of clauses S001 to S021 that bytes alone can show."""

import tracemalloc

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
from gatebridge.wire.scgi import Scgi, ScgiClient, split_strings
from tests.rows import codes, cuts, feed, merged, pieces_of

HEAD = [("CONTENT_LENGTH", "0"), ("SCGI", "1")]


def strings(*pairs: tuple[str, str]) -> bytes:
    return "".join(f"{name}\0{value}\0" for name, value in pairs).encode("latin-1")


def netstring(block: bytes) -> bytes:
    return b"%d:%b," % (len(block), block)


def packet(*pairs: tuple[str, str], length: int = 0, body: bytes = b"") -> bytes:
    own = (("CONTENT_LENGTH", str(length or len(body))), ("SCGI", "1"))
    return netstring(strings(*own, *pairs)) + body


def request(*pairs: tuple[str, str], length: str = "0", doubtful: bool = False) -> Request:
    """The Request event as merged() shows it."""
    block = strings(("CONTENT_LENGTH", length), ("SCGI", "1"), *pairs)
    every = split_strings(block)
    vars: dict[str, object] = dict(every)
    repeated = len(vars) != len(every)
    raw = Pairs(block, split_strings)
    return Request(1, vars, repeated, raw, complete=False, doubtful=doubtful)


def seen(data: bytes, limits: Limits | None = None) -> list[Event]:
    """The events of data, the same at every cut."""
    first: list[Event] | None = None
    for pieces in cuts(data):
        protocol = Scgi(limits or Limits())
        events = merged(feed(protocol.receive, pieces))
        assert first is None or events == first, pieces
        assert protocol.closing == bool(codes(events))
        first = events
    return first or []


GOOD = [
    ("S001 no body", packet(), [request(), BodyEnd(1)]),
    ("S003 empty value kept", packet(("QUERY_STRING", "")), [
        request(("QUERY_STRING", "")), BodyEnd(1)]),
    ("S004 body", packet(body=b"ab"), [request(length="2"), Body(1, b"ab"), BodyEnd(1)]),
    ("S005 surplus is not body", packet(body=b"ab") + b"cd\0\xff", [
        request(length="2"), Body(1, b"ab"), BodyEnd(1)]),
    ("S005 surplus without body", packet() + packet(), [request(), BodyEnd(1)]),
    ("S007 short body has no end", packet(length=5, body=b"abc"), [
        request(length="5"), Body(1, b"abc")]),
    ("S016 duplicates: the last, and all raw", packet(("A", "1"), ("B", ""), ("A", "2")), [
        request(("A", "1"), ("B", ""), ("A", "2")), BodyEnd(1)]),
    ("latin-1 both ways", packet(("PATH_INFO", "/\xe9\x80\xff"), ("\xe9", "=")), [
        request(("PATH_INFO", "/\xe9\x80\xff"), ("\xe9", "=")), BodyEnd(1)]),
    ("a length of leading zeros is digits", netstring(strings(
        ("CONTENT_LENGTH", "002"), ("SCGI", "1"))) + b"ab", [
        request(length="002"), Body(1, b"ab"), BodyEnd(1)]),
    ("the same CONTENT_LENGTH twice", packet(("CONTENT_LENGTH", "2"), body=b"ab"), [
        request(("CONTENT_LENGTH", "2"), length="2"), Body(1, b"ab"), BodyEnd(1)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "expected"), GOOD, ids=[row[0] for row in GOOD])
def test_S001_S003_S004_S005_S007_S016_requests(
    name: str, data: bytes, expected: list[Event]
) -> None:
    assert seen(data) == expected


def test_S016_the_last_of_a_name_wins() -> None:
    [event] = Scgi(Limits()).receive(packet(("A", "1"), ("A", "2")))
    assert isinstance(event, Request)
    assert event.vars["A"] == "2"
    assert event.repeated
    assert list(event.pairs.all()) == [*HEAD, ("A", "1"), ("A", "2")]


LONG = b"9" * 100_000

BAD = [
    ("S008 comma", strings(*HEAD), lambda b: b"%d:%b;" % (len(b), b), "netstring.comma"),
    ("S008 length one short", strings(*HEAD), lambda b: b"%d:%b," % (len(b) - 1, b),
     "netstring.comma"),
    ("S009 no number", b"", lambda b: b"abc:", "length.malformed"),
    ("S009 sign", b"", lambda b: b"+24:", "length.malformed"),
    ("S009 negative", b"", lambda b: b"-24:", "length.malformed"),
    ("S009 underscore", b"", lambda b: b"2_4:", "length.malformed"),
    ("S009 space", b"", lambda b: b" 24:", "length.malformed"),
    ("S009 leading zero", strings(*HEAD), lambda b: b"0" + netstring(b), "length.malformed"),
    ("S009 superscript", b"", lambda b: b"\xb2:", "length.malformed"),
    ("S009 no digits", b"", lambda b: b":,", "length.malformed"),
    ("S010 99,999,999,999", b"", lambda b: b"99999999999:", "params.too_big"),
    ("S010 over the limit by one", b"", lambda b: b"1048577:", "params.too_big"),
    ("S011 24 digits", b"", lambda b: LONG[:24], "params.too_big"),
    ("S011 digits, then none", b"", lambda b: LONG[:24] + b"x:", "params.too_big"),
    ("S012 CONTENT_LENGTH second", strings(*HEAD[::-1]), netstring, "scgi.content_length"),
    ("S012 CONTENT_LENGTH missing", strings(("SCGI", "1")), netstring, "scgi.content_length"),
    ("S012 CONTENT_LENGTH empty", strings(("CONTENT_LENGTH", ""), ("SCGI", "1")), netstring,
     "scgi.content_length"),
    ("S013 SCGI missing", strings(("CONTENT_LENGTH", "0"), ("A", "b")), netstring,
     "scgi.version"),
    ("S013 SCGI 2", strings(("CONTENT_LENGTH", "0"), ("SCGI", "2")), netstring, "scgi.version"),
    ("S014 odd strings", strings(*HEAD) + b"A\0", netstring, "params.malformed"),
    ("S014 last string not ended", strings(*HEAD) + b"A\0b", netstring, "params.malformed"),
    ("S014 empty name", strings(*HEAD, ("", "b")), netstring, "params.malformed"),
    ("S015 negative", strings(("CONTENT_LENGTH", "-1"), ("SCGI", "1")), netstring,
     "length.malformed"),
    ("S015 word", strings(("CONTENT_LENGTH", "abc"), ("SCGI", "1")), netstring,
     "length.malformed"),
    ("S015 1e3", strings(("CONTENT_LENGTH", "1e3"), ("SCGI", "1")), netstring,
     "length.malformed"),
    ("S015 padded", strings(("CONTENT_LENGTH", " 5"), ("SCGI", "1")), netstring,
     "length.malformed"),
    ("S015 10**20", strings(("CONTENT_LENGTH", "1" + "0" * 20), ("SCGI", "1")), netstring,
     "length.too_big"),
    ("S016 two lengths that differ", strings(*HEAD, ("CONTENT_LENGTH", "5")), netstring,
     "length.repeated"),
    ("S018 a TLS hello", b"", lambda b: b"\x16\x03\x01\x02\x00", "length.malformed"),
    ("S018 HTTP", b"", lambda b: b"GET / HTTP/1.1\r\n\r\n", "length.malformed"),
    ("S018 FastCGI", b"", lambda b: b"\x01\x01\0\x01\0\x08\0\0", "length.malformed"),
    ("no variables", b"", netstring, "request.empty"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "block", "frame", "code"), BAD, ids=[row[0] for row in BAD])
def test_S008_S009_S010_S011_S012_S013_S014_S015_S016_S018_refused(
    name: str, block: bytes, frame, code: str
) -> None:
    events = seen(frame(block))
    assert codes(events) == [code]
    assert [event.id for event in events if isinstance(event, Fault)] == [0]
    assert len(events) == 1


def test_S010_S011_refused_at_the_first_digit_too_many() -> None:
    protocol = Scgi(Limits())
    assert protocol.receive(b"104857") == []
    assert codes(protocol.receive(b"7")) == ["params.too_big"]
    assert protocol.closing
    assert protocol.receive(packet()) == []


def test_S011_memory_stays_bounded() -> None:
    tracemalloc.start()
    for data in (LONG, b"1048577:" + LONG, b"99999999999:"):
        protocol = Scgi(Limits())
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        protocol.receive(data)
        for _ in range(100):
            protocol.receive(LONG)
        after, peak = tracemalloc.get_traced_memory()
        assert peak - before < 50_000
    tracemalloc.stop()


def test_S021_netstring_above_the_limit_is_not_awaited() -> None:
    limits = Limits(params=64)
    assert codes(seen(packet(("A", "x" * 40)), limits)) == ["params.too_big"]
    assert codes(seen(b"65:", limits)) == ["params.too_big"]
    exactly = packet(("A", "x" * 37))
    assert exactly.startswith(b"64:")
    assert codes(seen(exactly, limits)) == []


@pytest.mark.parametrize(("more", "refused"), [(1, []), (2, ["params.too_many"])])
def test_S021_pairs_above_the_limit(more: int, refused: list[str]) -> None:
    pairs = [(f"N{number}", "") for number in range(more)]
    assert codes(seen(packet(*pairs), Limits(pairs=3))) == refused


def test_S021_a_block_of_nul_costs_no_list_of_strings() -> None:
    tracemalloc.start()
    data = netstring(bytes(1 << 20))
    assert codes(Scgi(Limits()).receive(data)) == ["params.too_many"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 << 20  # three copies of the block, and not a million strings


def test_S006_a_mebibyte_in_pieces() -> None:
    body = bytes(range(256)) * 4096
    data = packet(body=body)
    for size in (1000, 65_536, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        events = merged(feed(Scgi(Limits()).receive, pieces))
        assert events == [request(length=str(len(body))), Body(1, body), BodyEnd(1)]


def test_S006_body_taken_off_the_wire_by_the_caller() -> None:
    protocol = Scgi(Limits())
    assert protocol.direct(1) == 0
    protocol.receive(packet(length=10, body=b"abc"))
    assert protocol.direct(1) == 7
    protocol.skip(1, 5)
    assert protocol.direct(1) == 2
    assert protocol.receive(b"yz!") == [Body(1, b"yz"), BodyEnd(1)]
    assert protocol.direct(1) == 0


NGINX_H2 = (
    ("SERVER_PROTOCOL", "HTTP/2.0"),
    ("DOCUMENT_URI", "/app/x"),
    ("HTTP_CONTENT_LENGTH", "7"),
)


def test_nginx_http2_hides_the_length_of_an_unbuffered_body() -> None:
    expected = [request(*NGINX_H2, doubtful=True), Body(1, b"a=1&b=2"), BodyEnd(1)]
    assert seen(packet(*NGINX_H2) + b"a=1&b=2") == expected
    assert seen(packet(*NGINX_H2) + b"a=1&b=2surplus") == expected
    assert seen(packet(*NGINX_H2)) == [request(*NGINX_H2, doubtful=True)]


NOT_HIDDEN = [
    ("not nginx", {"DOCUMENT_URI": None}),
    ("another server", {"SERVER_SOFTWARE": "lighttpd/1.4.69"}),
    ("true zero", {"HTTP_CONTENT_LENGTH": "0"}),
    ("no number", {"HTTP_CONTENT_LENGTH": "1_0"}),
    ("negative", {"HTTP_CONTENT_LENGTH": "-1"}),
    ("empty", {"HTTP_CONTENT_LENGTH": ""}),
    ("absent", {"HTTP_CONTENT_LENGTH": None}),
]


@pytest.mark.parametrize(("name", "change"), NOT_HIDDEN, ids=[row[0] for row in NOT_HIDDEN])
def test_W017_http_content_length_is_not_believed(name: str, change: dict) -> None:
    vars = {**dict(NGINX_H2), **change}
    pairs = [(name, value) for name, value in vars.items() if value is not None]
    assert seen(packet(*pairs) + b"a=1&b=2") == [request(*pairs), BodyEnd(1)]


def test_nginx_announces_what_it_has_read_of_an_unbuffered_body() -> None:
    pairs = (("SERVER_PROTOCOL", "HTTP/1.1"), *NGINX_H2[1:])
    expected = [request(*pairs, length="2", doubtful=True), Body(1, b"a=1&b=2"), BodyEnd(1)]
    assert seen(packet(*pairs, length=2) + b"a=1&b=2") == expected


def test_W017_a_stated_length_wins_over_a_smaller_one() -> None:
    pairs = (*NGINX_H2[:2], ("HTTP_CONTENT_LENGTH", "1"))
    events = seen(packet(*pairs, body=b"ab") + b"=1&b=")
    assert events == [request(*pairs, length="2"), Body(1, b"ab"), BodyEnd(1)]


def test_nginx_names_itself_and_is_still_believed() -> None:
    pairs = (*NGINX_H2, ("SERVER_SOFTWARE", "nginx/1.22.1"))
    assert seen(packet(*pairs))[0] == request(*pairs, doubtful=True)


def test_S002_answer_is_a_cgi_response_then_the_close() -> None:
    head = make_head("404 Not Found", [("Content-Type", "text/plain"), ("X-A", "\xe9")])
    protocol = Scgi(Limits())
    protocol.receive(packet())
    block = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\nX-A: \xe9\r\n\r\n"
    assert protocol.send_head(1, head) == [block]
    assert protocol.send_error(1, b"oops") == []
    assert protocol.send_body(1, b"") == []
    assert protocol.send_body(1, b"gone") == [b"gone"]
    assert not protocol.closing
    assert (protocol.active, protocol.busy, protocol.keeps(1)) == (1, True, False)
    assert protocol.send_end(1, 0) == []
    assert protocol.closing
    assert (protocol.active, protocol.busy) == (0, False)


@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_S002_whole_answer(size: int) -> None:
    protocol = Scgi(Limits())
    protocol.receive(packet())
    out = protocol.send_answer(1, make_head("200 OK", []), bytes(size))
    assert b"".join(out) == b"Status: 200 OK\r\n\r\n" + bytes(size)
    assert protocol.closing


def test_S002_a_cut_answer_just_closes() -> None:
    protocol = Scgi(Limits())
    protocol.receive(packet())
    assert protocol.send_cut(1, True) == []
    assert protocol.closing


def test_nothing_yet() -> None:
    protocol = Scgi(Limits())
    assert protocol.receive(b"") == []
    assert (protocol.active, protocol.busy, protocol.closing) == (0, False, False)
    assert protocol.receive(b"2") == []
    assert (protocol.active, protocol.busy) == (0, True)
    protocol = Scgi(Limits())
    protocol.receive(packet(length=3))
    assert protocol.receive(b"") == []


# -- hypothesis: streams

TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=12)
NAMES = st.text(st.characters(min_codepoint=1, max_codepoint=255), min_size=1, max_size=12)
VARS = st.lists(st.tuples(NAMES, TEXT), max_size=6)


@given(vars=VARS, body=st.binary(max_size=40), marks=st.lists(st.integers(0, 400)))
def test_client_and_application_agree(
    vars: list[tuple[str, str]], body: bytes, marks: list[int]
) -> None:
    data = ScgiClient().request(vars, len(body)) + body
    events = merged(feed(Scgi(Limits()).receive, pieces_of(data, marks)))
    assert isinstance(events[0], Request)
    own = [pair for pair in vars if pair[0] not in ("CONTENT_LENGTH", "SCGI")]
    assert events[0].pairs.all() == [("CONTENT_LENGTH", str(len(body))), ("SCGI", "1"), *own]
    assert events[1:] == ([Body(1, body)] if body else []) + [BodyEnd(1)]


SHAPED = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(lambda tail: packet(("A", "b")) + tail),
    st.tuples(st.integers(0, 99), st.binary(max_size=80)).map(lambda p: b"%d:%b" % p),
    st.binary(max_size=60).map(lambda tail: netstring(strings(*HEAD) + tail)),
)


@given(data=SHAPED, marks=st.lists(st.integers(0, 100), max_size=8))
@example(b"0:,", [1, 2])
@example(b"00:,", [1])
@example(b"24:CONTENT_LENGTH\x000\x00SCGI\x001\x00,", [3])
def test_S018_any_bytes_in_any_pieces(data: bytes, marks: list[int]) -> None:
    whole = merged(Scgi(Limits(params=70)).receive(data))
    assert merged(feed(Scgi(Limits(params=70)).receive, pieces_of(data, marks))) == whole
    assert len(codes(whole)) <= 1


# -- client


def test_client_puts_its_own_two_first() -> None:
    vars = [("A", "1"), ("SCGI", "7"), ("CONTENT_LENGTH", "99"), ("B", "")]
    expected = netstring(strings(("CONTENT_LENGTH", "5"), ("SCGI", "1"), ("A", "1"), ("B", "")))
    assert ScgiClient().request(vars, 5) == expected


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (("A\0B", "1"), "params.malformed"),
        (("A", "1\0"), "params.malformed"),
        (("", "1"), "params.malformed"),
        (("A", "\u20ac"), "params.latin1"),
    ],
)
def test_client_refuses_what_scgi_cannot_carry(pair: tuple[str, str], code: str) -> None:
    with pytest.raises(UseError) as caught:
        ScgiClient().request([pair], 0)
    assert caught.value.code == code


def test_client_reads_an_answer_at_every_cut() -> None:
    data = b"Status: 201 Created\nX-A: 1\nX-A: 2\n\nbody\n\nmore"
    for pieces in cuts(data):
        client = ScgiClient()
        assert merged(feed(client.receive, pieces)) == [
            Head(1, "201 Created", [("X-A", "1"), ("X-A", "2")]),
            Body(1, b"body\n\nmore"),
        ]
        assert client.finish() == [End(1)]
        assert client.closing
        assert client.finish() == []


ANSWERS = [
    ("silent close", b"", "answer.empty"),
    ("cut head", b"Status: 200 OK\r\nX-A", "answer.cut"),
    ("no header", b"\r\nbody", "head.malformed"),
    ("garbage", b"\x15\x03\x01\x00\x02\n\n", "head.malformed"),
    ("folded", b"X-A: 1\r\n more\r\n\r\n", "head.malformed"),
    ("T16 101 fields", b"X-A: 1\n" * 101 + b"\n", "head.too_big"),
    ("T16 no end of head", b"X" * 65_537, "head.too_big"),
    ("T16 head of 64 KiB and more", b"X-A: " + b"y" * 65_536 + b"\n\n", "head.too_big"),
]


@pytest.mark.parametrize(("name", "data", "code"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_T16_client_names_what_is_wrong(name: str, data: bytes, code: str) -> None:
    step = max(len(data) // 97, 1)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    for way in ([data], pieces):
        client = ScgiClient()
        events = feed(client.receive, way) + client.finish()
        assert codes(events) == [code]
        assert client.receive(b"X-A: 1\n\n") == []


@given(data=st.binary(max_size=80), marks=st.lists(st.integers(0, 100), max_size=8))
@example(b"A: b\n\n\n\n", [5])
@example(b"\r\n", [1])
def test_T16_any_answer_in_any_pieces(data: bytes, marks: list[int]) -> None:
    whole, cut = ScgiClient(), ScgiClient()
    expected = merged(whole.receive(data) + whole.finish())
    assert merged(feed(cut.receive, pieces_of(data, marks)) + cut.finish()) == expected
