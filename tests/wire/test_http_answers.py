"""Answers over HTTP/1.1, and what a connection does between two requests."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatebridge.errors import UseError
from gatebridge.wire.cgi_head import make_head
from gatebridge.wire.events import Limits, Request
from gatebridge.wire.http import DRAIN, Http
from tests.rows import codes, feed, merged, pieces_of
from tests.wire.http_rows import CHUNKED, DATE, GET, POST, answer, body_of, ended, http

STAMP = f"Date: {DATE}\r\nServer: gatebridge\r\n".encode()
LENGTH = [("Content-Length", "5")]
ANSWERS = [
    (
        "known length",
        GET,
        ("200 OK", LENGTH),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + STAMP + b"\r\nhello",
        False,
    ),
    (
        "unknown length: chunks",
        GET,
        ("404 Nö", [], (b"he", b"", b"llo")),
        "HTTP/1.1 404 Nö\r\n".encode("latin-1")
        + STAMP
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        False,
    ),
    (
        "HTTP/1.0: until the end",
        b"GET / HTTP/1.0\r\n\r\n",
        ("200 OK", []),
        b"HTTP/1.1 200 OK\r\n" + STAMP + b"Connection: close\r\n\r\nhello",
        True,
    ),
    (
        "the client wants it closed",
        GET.replace(b"Host", b"Connection: close\r\nHost"),
        ("200 OK", LENGTH),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + STAMP + b"Connection: close\r\n\r\nhello",
        True,
    ),
    (
        "HEAD: the head of a GET, no body",
        GET.replace(b"GET", b"HEAD"),
        ("200 OK", LENGTH),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + STAMP + b"\r\n",
        False,
    ),
    (
        "204",
        GET,
        ("204 No Content", [("Content-Length", "0")], ()),
        b"HTTP/1.1 204 No Content\r\n" + STAMP + b"\r\n",
        False,
    ),
    (
        "304 with a length",
        GET,
        ("304 Not Modified", LENGTH),
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n" + STAMP + b"\r\n",
        False,
    ),
    (
        "the application's own Date and Server",
        GET,
        ("200", [("date", "now"), ("SERVER", "mine"), ("X", " a\tb "), *LENGTH]),
        b"HTTP/1.1 200 \r\ndate: now\r\nSERVER: mine\r\nX: a\tb\r\nContent-Length: 5\r\n\r\nhello",
        False,
    ),
    (
        "shorter than promised: closed",
        GET,
        ("200 OK", [("Content-Length", "9")]),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n" + STAMP + b"\r\nhello",
        True,
    ),
]


@pytest.mark.parametrize(
    ("name", "data", "given", "expected", "closing"), ANSWERS, ids=[row[0] for row in ANSWERS]
)
def test_answer(name, data, given, expected, closing):
    protocol = http()
    protocol.receive(data)
    assert answer(protocol, *given) == expected
    assert protocol.closing is closing


def test_failed_answer_has_no_end():
    protocol = http()
    protocol.receive(GET)
    assert not answer(protocol, app_status=1).endswith(b"0\r\n\r\n")
    assert protocol.closing


def test_more_than_the_promised_length_is_our_mistake():
    protocol = http()
    protocol.receive(GET)
    with pytest.raises(UseError, match="http.answer"):
        answer(protocol, headers=[("Content-Length", "4")])


def test_closing_set_from_outside_is_told_to_the_client():
    protocol = http()
    protocol.receive(GET)
    protocol.closing = True
    assert b"\r\nConnection: close\r\n" in answer(protocol)
    assert protocol.receive(GET) == []


def test_no_date_without_a_clock():
    protocol = Http(Limits())
    protocol.receive(GET)
    assert b"Date" not in answer(protocol)
    (fault,) = Http(Limits()).receive(b"\0")
    assert b"Date" not in fault.page(fault.error, "0badcafe")


@pytest.mark.parametrize("data", [GET, POST % 2 + b"ab", CHUNKED + b"1\r\na\r\n0\r\n\r\n"])
def test_next_request_is_read_after_the_end_of_the_answer(data):
    protocol = http()
    first = protocol.receive(data * 3)
    assert isinstance(first[0], Request)
    assert ended(first)
    for _ in range(2):
        assert protocol.receive(b"") == []
        answer(protocol)
        assert merged(protocol.receive(b"")) == merged(first)
    answer(protocol)
    assert protocol.receive(b"") == []
    assert merged(protocol.receive(data)) == merged(first)


def test_bytes_ahead_of_an_answer_are_bounded():
    protocol = http(params=100)
    protocol.receive(GET + b"x" * 100)
    events = protocol.receive(b"x")
    assert codes(events) == ["http.pipeline"]
    assert answer(protocol) == b""


def test_unread_body_leaves_the_connection_in_step():
    for unread in (POST % 9000 + b"x" * 9000, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"):
        protocol = http()
        protocol.receive(unread[:80])
        answer(protocol)
        assert not protocol.closing
        (request,) = protocol.receive(unread[80:] + GET)
        assert request.vars["REQUEST_METHOD"] == "GET"
        assert protocol.direct(1) == 0


def test_unread_body_that_is_too_long_closes():
    protocol = http()
    protocol.receive(POST % (DRAIN + 1))
    answer(protocol)
    assert protocol.closing
    protocol = http()
    protocol.receive(CHUNKED + b"%x\r\n" % (2 * DRAIN))
    answer(protocol)
    assert not protocol.closing
    protocol.receive(bytes(DRAIN + 1))
    assert protocol.closing


def test_fault_inside_a_body_is_answered_unless_an_answer_began():
    protocol = http()
    protocol.receive(CHUNKED)
    (fault,) = protocol.receive(b"zz\r\n")
    assert fault.page(fault.error, "0badcafe").startswith(b"HTTP/1.1 400 ")
    assert fault.error.code == "http.chunk"
    assert answer(protocol) == b""
    protocol = http()
    protocol.receive(CHUNKED)
    protocol.send_head(1, make_head("200 OK", []))
    assert codes(protocol.receive(b"zz\r\n")) == ["http.chunk"]
    assert protocol.send_body(1, b"x") == []
    assert protocol.send_end(1, 1) == []


def test_malformed_request_behind_an_answered_one_is_answered_too():
    protocol = http()
    protocol.receive(GET + b"\0")
    answer(protocol)
    (fault,) = protocol.receive(b"")
    assert fault.page(fault.error, "0badcafe").startswith(b"HTTP/1.1 400 ")
    assert fault.id == 0


WHOLE = [
    ("its length is added", GET, [], b"Content-Length: 5\r\n\r\nhello"),
    ("its length is known", GET, LENGTH, b"Content-Length: 5\r\n" + STAMP + b"\r\nhello"),
    ("HEAD", GET.replace(b"GET", b"HEAD"), LENGTH, STAMP + b"\r\n"),
]


@pytest.mark.parametrize(("name", "data", "headers", "end"), WHOLE, ids=[row[0] for row in WHOLE])
def test_whole_answer(name, data, headers, end):
    protocol = http()
    protocol.receive(data)
    assert protocol.busy
    out = b"".join(protocol.send_answer(1, make_head("200 OK", headers), b"hello"))
    assert out.endswith(end)
    assert not protocol.closing
    assert not protocol.busy


def test_cut_answer_is_not_ended():
    protocol = http()
    protocol.receive(GET)
    protocol.send_head(1, make_head("200 OK", []))
    assert protocol.keeps(1)
    assert protocol.send_cut(1, True) == []
    assert protocol.closing
    assert not protocol.keeps(1)


def test_busy_while_something_is_half_read():
    protocol = http()
    assert not protocol.busy
    protocol.receive(GET[:5])
    assert protocol.busy
    protocol.receive(GET[5:] + GET[:5])
    answer(protocol)
    assert protocol.busy


def test_no_error_stream():
    assert http().send_error(1, b"x") == []


@settings(deadline=None)
@given(
    requests=st.lists(
        st.tuples(st.binary(max_size=400), st.booleans(), st.booleans()), min_size=1, max_size=4
    ),
    marks=st.lists(st.integers(0, 3000), max_size=12),
)
def test_what_an_h11_client_sends_arrives_and_what_it_gets_back_parses(requests, marks):
    protocol = http()
    for body, chunked, counted in requests:
        client = h11.Connection(h11.CLIENT)
        how = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
        data = client.send(h11.Request(method="PUT", target="/t", headers=[("Host", "a"), how]))
        data += client.send(h11.Data(data=body)) + client.send(h11.EndOfMessage())
        events = feed(protocol.receive, pieces_of(data, marks))
        assert body_of(events) == body
        assert ended(events)
        length = [("Content-Length", str(len(body)))] if counted else []
        client.receive_data(answer(protocol, "200 OK", length, [body]))
        assert isinstance(client.next_event(), h11.Response)
        got = b""
        while isinstance(event := client.next_event(), h11.Data):
            got += event.data
        assert got == body
        assert isinstance(event, h11.EndOfMessage)
