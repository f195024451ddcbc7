"""multipart/form-data as a stream, in reads of any size."""

import hashlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webtest.app import TestApp

from gatebridge.apps.multipart import MAX_HEAD, MAX_PREAMBLE, Parts, boundary_of
from gatebridge.errors import PeerError

TYPES = [
    ("multipart/form-data; boundary=abc", b"abc"),
    ('Multipart/Form-Data; charset=utf-8; Boundary="a b:c"', b"a b:c"),
    ("multipart/form-data;boundary=----WebKitFormBoundaryX; x=y", b"----WebKitFormBoundaryX"),
]


@pytest.mark.parametrize(("text", "boundary"), TYPES)
def test_boundary(text, boundary):
    assert boundary_of(text) == boundary


@pytest.mark.parametrize(
    "text",
    ["", "multipart/form-data", "multipart/mixed; boundary=a", "x; boundary=" + "a" * 71],
)
def test_no_boundary(text):
    with pytest.raises(PeerError, match="multipart.type"):
        boundary_of(text)


def part(head, content, boundary=b"B"):
    return b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


NAMED = b'Content-Disposition: form-data; name="f"'
ROWS = [
    ("one field", part(NAMED, b"x") + b"--B--\r\n", [({"name": "f"}, b"x")]),
    ("no content", part(NAMED, b"") + b"--B--", [({"name": "f"}, b"")]),
    (
        "a file and a field",
        part(NAMED + b'; filename="a;b.txt"\r\nContent-Type: a/b', b"\r\n--\r\n")
        + part(b"content-disposition:form-data;name=g", b"--A")
        + b"--B--\r\nepilogue",
        [({"name": "f", "filename": "a;b.txt"}, b"\r\n--\r\n"), ({"name": "g"}, b"--A")],
    ),
    (
        "UTF-8, backslashes and quotes",
        part(NAMED + '; filename="C:\\dir\\\\\\"é.txt"'.encode(), b"x") + b"--B--",
        [({"name": "f", "filename": 'C:\\dir\\\\"é.txt'}, b"x")],
    ),
    (
        "preamble, padding",
        b"hi\r\n--B \t\r\n" + NAMED + b"\r\n\r\nx\r\n--B--",
        [({"name": "f"}, b"x")],
    ),
    ("no header lines", b"--B\r\n\r\nx\r\n--B--", [({}, b"x")]),
    (
        "nearly the boundary",
        part(NAMED, b"\r\n--A\r\n-\r\r\n--") + b"--B--",
        [({"name": "f"}, b"\r\n--A\r\n-\r\r\n--")],
    ),
    ("no part at all", b"--B--", []),
]


def reader(data, size):
    stream = io.BytesIO(data)
    return lambda most: stream.read(min(size, most))


def contents(data, size, boundary=b"B"):
    parts = Parts(reader(data, size), boundary)
    out = []
    while (said := parts.next_part()) is not None:
        out.append((said, b"".join(parts.pieces())))
    return out


@pytest.mark.parametrize(("name", "data", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_parts(name, data, expected):
    for size in (1, 2, 3, 7, len(data)):
        assert contents(data, size) == expected


REFUSED = [
    ("cut in a part", part(NAMED, b"x"), "multipart.short"),
    ("cut in a head", b"--B\r\n" + NAMED, "multipart.short"),
    ("nothing", b"", "multipart.short"),
    ("another boundary's line", b"--Bad\r\n\r\n", "multipart.boundary"),
    ("endless preamble", b"x" * (MAX_PREAMBLE + 9), "multipart.preamble"),
    ("endless head", b"--B\r\nA: " + b"x" * MAX_HEAD + b"\r\n\r\n", "multipart.head"),
]


@pytest.mark.parametrize(("name", "data", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(name, data, code):
    for size in (7, len(data)):
        with pytest.raises(PeerError, match=code):
            contents(data, size)


def test_a_part_whose_pieces_are_not_read_is_passed_over():
    data = part(NAMED, b"x" * 200_000) + part(NAMED, b"y") + b"--B--"
    parts = Parts(reader(data, 1000), b"B")
    parts.next_part()
    parts.next_part()
    assert b"".join(parts.pieces()) == b"y"
    assert b"".join(parts.pieces()) == b""
    assert parts.next_part() is None


def test_what_is_held_does_not_grow_with_the_body():
    seen = []

    def read(size):
        seen.append(size)
        if len(seen) == 1:
            return b"--B\r\n\r\n"
        return bytes(size) if len(seen) < 200 else b"\r\n--B--"

    parts = Parts(read, b"B")
    parts.next_part()
    sizes = [len(piece) for piece in parts.pieces()]
    assert sum(sizes) == 198 * max(seen)
    assert max(sizes) <= 2 * max(seen)
    assert parts.next_part() is None


@settings(deadline=None)
@given(content=st.binary(max_size=3000), size=st.integers(1, 4000))
def test_what_webtest_encodes_is_read_back(content, size):
    kind, body = TestApp(None).encode_multipart([("a", "1")], [("file", "n.bin", content)])
    found = contents(body, size, boundary_of(kind))
    assert found[0] == ({"name": "a"}, b"1")
    assert found[1][0] == {"name": "file", "filename": "n.bin"}
    assert hashlib.sha256(found[1][1]).digest() == hashlib.sha256(content).digest()
