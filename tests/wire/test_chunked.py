"""The chunked coding: rows of bytes, cut everywhere."""

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatebridge.errors import PeerError
from gatebridge.wire.chunked import MAX_EXTRA, MAX_LINE, Chunked
from tests.rows import cuts, pieces_of

ROWS = [
    ("one chunk", b"3\r\nabc\r\n0\r\n\r\n", b"abc", b""),
    ("two chunks, the next request behind", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\nGET", b"abc", b"GET"),
    ("no data at all", b"0\r\n\r\n", b"", b""),
    (
        "leading zeros, both cases, no end",
        b"00a\r\n0123456789\r\n0A\r\nabc",
        b"0123456789abc",
        None,
    ),
    ("extensions are dropped", b'2;a=b;c="d"\r\nok\r\n0;z\r\n\r\n', b"ok", b""),
    ("blanks behind the size", b"2 \t\r\nok\r\n0\r\n\r\n", b"ok", b""),
    ("trailer fields are dropped", b"0\r\nDigest: x\r\nVia: y\r\n\r\nG", b"", b"G"),
    ("data that looks like framing", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", b""),
]

REFUSED = [
    ("no size", b"\r\n"),
    ("prefix", b"0x2\r\nok\r\n"),
    ("underscore", b"1_0\r\n"),
    ("sign", b"-1\r\n"),
    ("blank before the size", b" 2\r\nok\r\n"),
    ("sixteen digits", b"0000000000000001\r\n"),
    ("bare line feed", b"2\nok\r\n"),
    ("carriage return inside a line", b"2;a\rb\r\n"),
    ("data longer than said", b"2\r\noka\r\n"),
    ("data ended by a bare line feed", b"2\r\nok\n0\r\n\r\n"),
    ("trailer that is no field", b"0\r\nGET / HTTP/1.1\r\n\r\n"),
    ("trailer folded", b"0\r\nA: b\r\n c\r\n\r\n"),
    ("endless line", b"1;" + b"x" * MAX_LINE),
    ("endless extensions", (b"1;" + b"x" * 4000 + b"\r\na\r\n") * 17),
    ("endless trailers", b"0\r\n" + (b"A: " + b"x" * 4000 + b"\r\n") * 17),
]


def read(pieces):
    """(body, rest) of the pieces, rest None while the body is not at its end."""
    chunks = Chunked()
    body, rest = b"", b""
    for piece in pieces:
        if chunks.done:
            rest += piece
            continue
        data, rest = chunks.receive(piece)
        body += data
    return body, rest if chunks.done else None


@pytest.mark.parametrize(("name", "data", "body", "rest"), ROWS, ids=[row[0] for row in ROWS])
def test_body_and_rest(name, data, body, rest):
    for pieces in cuts(data):
        assert read(pieces) == (body, rest)


@pytest.mark.parametrize(("name", "data"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(name, data):
    small = len(data) < 200
    for pieces in cuts(data) if small else ([data], pieces_of(data, [1, MAX_LINE, MAX_EXTRA])):
        with pytest.raises(PeerError, match="http.chunk"):
            read([*pieces, b"more"])  # body before the fault is returned first


def test_bytes_taken_off_the_wire_elsewhere_are_counted():
    chunks = Chunked()
    assert chunks.receive(b"a\r\n12") == (b"12", b"")
    assert chunks.left == 8
    chunks.skip(5)
    assert chunks.receive(b"890\r\n0\r\n\r\nX") == (b"890", b"X")
    chunks = Chunked()
    chunks.receive(b"2\r\n")
    chunks.skip(2)
    assert chunks.receive(b"\r\n0\r\n\r\n") == (b"", b"")
    assert chunks.done


@settings(deadline=None)
@given(
    bodies=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    marks=st.lists(st.integers(0, 5000), max_size=20),
    rest=st.binary(max_size=10),
)
def test_what_h11_writes_is_read_however_it_is_cut(bodies, marks, rest):
    conn = h11.Connection(h11.CLIENT)
    head = [("Host", "a"), ("Transfer-Encoding", "chunked")]
    conn.send(h11.Request(method="POST", target="/", headers=head))
    data = b"".join(conn.send(h11.Data(data=body)) for body in bodies)
    data += conn.send(h11.EndOfMessage())
    assert read(pieces_of(data + rest, marks)) == (b"".join(bodies), rest)


@settings(deadline=None)
@given(data=st.text("0123456789aAfF;\r\n :x").map(str.encode), marks=st.lists(st.integers(0, 99)))
def test_any_bytes_give_the_same_whatever_the_cuts(data, marks):
    def outcome(pieces):
        try:
            return read(pieces)
        except PeerError as error:
            return error.code

    assert outcome(pieces_of(data, marks)) == outcome([data])
