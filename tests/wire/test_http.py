"""HTTP/1.1 as one more protocol: bytes in, events out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatebridge.wire.events import Body, BodyEnd, Fault, Reply, Request
from gatebridge.wire.http_head import split_target
from gatebridge.wire.scan import decode
from tests.rows import codes, cuts, feed, merged, pieces_of
from tests.wire.http_rows import CHUNKED, GET, POST, answer, body_of, ended, http


def request_of(events):
    (request,) = [event for event in events if isinstance(event, Request)]
    return request


VARS = [
    (
        "a GET",
        b"GET /a%20b/%C3%A9?x=%41&y HTTP/1.1\r\nHost: h:81\r\nX-Foo-Bar: \t1 \r\n\r\n",
        {
            "REQUEST_METHOD": "GET",
            "REQUEST_URI": "/a%20b/%C3%A9?x=%41&y",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b/\xc3\xa9",
            "QUERY_STRING": "x=%41&y",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "h:81",
            "HTTP_X_FOO_BAR": "1",
        },
    ),
    ("HTTP/1.0 without Host", b"GET /?? HTTP/1.0\r\n\r\n", {"QUERY_STRING": "?", "PATH_INFO": "/"}),
    (
        "absolute form",
        b"GET HTTP://h/a/b?c HTTP/1.1\r\nHost: h\r\n\r\n",
        {"REQUEST_URI": "HTTP://h/a/b?c", "PATH_INFO": "/a/b", "QUERY_STRING": "c"},
    ),
    ("absolute form, no path", b"GET https://h HTTP/1.1\r\nHost: h\r\n\r\n", {"PATH_INFO": "/"}),
    (
        "asterisk",
        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        {"PATH_INFO": "/*", "REQUEST_URI": "*", "REQUEST_METHOD": "OPTIONS"},
    ),
    (
        "an unknown method",
        b"M-SEARCH /x HTTP/1.1\r\nHost: h\r\n\r\n",
        {"REQUEST_METHOD": "M-SEARCH"},
    ),
    (
        "length and type of a body have no HTTP_",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Length: 0\r\n\r\n",
        {"CONTENT_TYPE": "a/b", "CONTENT_LENGTH": "0"},
    ),
    ("bytes beyond ASCII", b"GET / HTTP/1.1\r\nHost: h\r\nA: \xe9\r\n\r\n", {"HTTP_A": "\xe9"}),
    ("an empty value", b"GET / HTTP/1.1\r\nHost: h\r\nA:\r\n\r\n", {"HTTP_A": ""}),
    ("bare line feeds", b"GET /x HTTP/1.1\nHost: h\n\n", {"PATH_INFO": "/x"}),
    ("an empty line before", b"\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n", {"PATH_INFO": "/x"}),
    (
        "a newer minor version",
        b"GET / HTTP/1.7\r\nHost: h\r\n\r\n",
        {"SERVER_PROTOCOL": "HTTP/1.7"},
    ),
]


@pytest.mark.parametrize(("name", "data", "expected"), VARS, ids=[row[0] for row in VARS])
def test_variables(name, data, expected):
    for pieces in cuts(data):
        request = request_of(feed(http().receive, pieces))
        assert {key: request.vars.get(key) for key in expected} == expected
        assert request.complete
        assert request.vars == dict(request.pairs.all())
        assert not request.repeated


def test_nothing_the_connection_knows_is_made_up():
    request = request_of(http().receive(GET))
    assert not {"SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "HTTPS"} & set(request.vars)


def test_repeated_fields_are_repeated_pairs_and_underscores_are_dropped():
    data = b"GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nX_User: root\r\na: 2\r\nX-User: me\r\n\r\n"
    request = request_of(http().receive(data))
    assert request.repeated
    assert [value for name, value in request.pairs.all() if name == "HTTP_A"] == ["1", "2"]
    assert request.vars["HTTP_X_USER"] == "me"
    assert "root" not in request.vars.values()


REFUSED = [
    ("garbage", b"\x16\x03\x01\x02", "http.malformed", 400),
    ("FastCGI", b"\x01\x01\x00\x01", "http.malformed", 400),
    ("no target", b"GET\r\n\r\n", "http.malformed", 400),
    ("a field without colon", b"GET / HTTP/1.1\r\nHost: h\r\nfoo\r\n\r\n", "http.malformed", 400),
    ("a blank before the colon", b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", "http.malformed", 400),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", "http.malformed", 400),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "http.malformed", 400),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", "http.malformed", 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\n", "http.version", 505),
    ("CONNECT", b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", "http.method", 400),
    ("relative target", b"GET x HTTP/1.1\r\nHost: h\r\n\r\n", "http.target", 400),
    ("fragment", b"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n", "http.target", 400),
    ("NUL in the path", b"GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n", "http.target", 400),
    ("foreign scheme", b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "http.target", 400),
    ("no authority", b"GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n", "http.target", 400),
    (
        "two kinds of length (T9)",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "http.framing",
        400,
    ),
    (
        "chunks in HTTP/1.0",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "http.framing",
        400,
    ),
    (
        "lengths that differ",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "http.malformed",
        400,
    ),
    (
        "a signed length",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n",
        "http.malformed",
        400,
    ),
    (
        "a length of 2**64",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "length.too_big",
        413,
    ),
    ("gzip", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", "http.coding", 501),
]


@pytest.mark.parametrize(
    ("name", "data", "code", "status"), REFUSED, ids=[row[0] for row in REFUSED]
)
def test_refused_with_a_plain_answer_and_a_fault(name, data, code, status):
    expected = http().receive(data)
    for pieces in cuts(data):
        protocol = http()
        events = feed(protocol.receive, pieces)
        assert events == expected
        (fault,) = events
        assert isinstance(fault, Fault)
        assert (fault.id, fault.error.code) == (0, code)
        sent = fault.page(fault.error, "0badcafe")
        assert sent.startswith(b"HTTP/1.1 %d " % status)
        head, _, body = sent.partition(b"\r\n\r\n")
        assert b"Content-Length: %d\r\n" % len(body) in head
        assert body.endswith(b" incident 0badcafe.\n")
        assert code.encode() not in sent
        assert b"Connection: close" in head
        assert protocol.closing
        assert protocol.receive(GET) == []


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
def test_limit_of_the_head_holds_whatever_the_cuts(end):
    data = b"GET / HTTP/1.1\r\nHost: " + b"h" * 200 + end
    for pieces in cuts(data):
        events = feed(http(params=150).receive, pieces)
        assert codes(events) == ["http.head"]
        assert events[0].page(events[0].error, "0badcafe").startswith(b"HTTP/1.1 431 ")


def test_a_head_as_long_as_the_limit_is_served():
    assert codes(http(params=len(GET)).receive(GET)) == []
    assert codes(http(params=len(GET) - 1).receive(GET)) == ["http.head"]


def test_limit_of_fields():
    data = b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nC: d\r\n\r\n"
    assert codes(http(pairs=3).receive(data)) == []
    assert codes(http(pairs=2).receive(data)) == ["http.fields"]


BODIES = [
    ("counted", POST % 5 + b"hello", b"hello", "5"),
    ("chunked", CHUNKED + b"2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n", b"hello", None),
    ("no bytes in chunks", CHUNKED + b"0\r\n\r\n", b"", None),
]


@pytest.mark.parametrize(("name", "data", "body", "length"), BODIES, ids=[row[0] for row in BODIES])
def test_body(name, data, body, length):
    for pieces in cuts(data):
        events = feed(http().receive, pieces)
        vars = request_of(events).vars
        assert body_of(events) == body
        assert ended(events)
        assert vars.get("CONTENT_LENGTH") == length
        assert ("HTTP_TRANSFER_ENCODING" in vars) == (length is None)
    assert request_of(http().receive(data)).complete


def test_short_body_does_not_end():
    assert not ended(http().receive(POST % 5 + b"hell"))
    assert not ended(http().receive(CHUNKED + b"2\r\nhe\r\n0\r\n"))


def test_direct_bytes_are_counted_when_taken_elsewhere():
    protocol = http()
    protocol.receive(POST % 10 + b"ab")
    assert protocol.direct(1) == 8
    protocol.skip(1, 6)
    assert protocol.receive(b"cdG") == [Body(1, b"cd"), BodyEnd(1)]
    assert protocol.direct(1) == 0
    protocol = http()
    protocol.receive(POST % 2)
    protocol.skip(1, 2)
    assert protocol.direct(1) == 0
    assert answer(protocol)
    protocol = http()
    protocol.receive(CHUNKED + b"3\r\na")
    assert protocol.direct(1) == 2
    protocol.skip(1, 2)
    assert protocol.receive(b"\r\n0\r\n\r\n") == [BodyEnd(1)]


@pytest.mark.parametrize("data", [POST % 2, CHUNKED], ids=["counted", "chunked"])
def test_continue_is_said_before_the_request_event(data):
    data = data.replace(b"Host", b"Expect: 100-continue\r\nHost")
    reply, request = http().receive(data)
    assert reply == Reply(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert isinstance(request, Request)
    assert not request.complete


@pytest.mark.parametrize(
    "data",
    [
        GET.replace(b"Host", b"Expect: 100-continue\r\nHost"),
        (POST % 2).replace(b"1.1", b"1.0").replace(b"Host", b"Expect: 100-continue\r\nHost"),
    ],
    ids=["no body", "HTTP/1.0"],
)
def test_continue_is_not_said(data):
    (event,) = http().receive(data)
    assert isinstance(event, Request)


TARGETS = [
    ("/a//b/../c", ("/a//b/../c", "")),
    ("/%2541", ("/%41", "")),
    ("/%2F%2f?%2F", ("///", "%2F")),
    ("/%zz%4", ("/%zz%4", "")),
    ("http://h?x", ("/", "x")),
]


@pytest.mark.parametrize(("target", "expected"), TARGETS)
def test_C19_target_is_decoded_once(target, expected):
    assert split_target(target) == expected


@given(st.binary(max_size=50))
def test_decode_undoes_quoting(data):
    assert decode("".join(f"%{byte:02X}" for byte in data)) == data.decode("latin-1")


@settings(deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=80),
        st.lists(
            st.sampled_from([GET, CHUNKED, POST % 3, b"abc", b"1\r\nx\r\n", b"0\r\n\r\n", b"\r\n"]),
            max_size=6,
        ).map(b"".join),
    ),
    marks=st.lists(st.integers(0, 300), max_size=12),
)
def test_any_bytes_give_the_same_events_whatever_the_cuts(data, marks):
    def events(pieces):
        protocol = http()
        out = merged(feed(protocol.receive, pieces))
        while out[-1:] == [BodyEnd(1)]:
            answer(protocol)
            more = merged(protocol.receive(b""))
            out += more or [Reply(b"no more")]
        return out

    assert events(pieces_of(data, marks)) == events([data])
