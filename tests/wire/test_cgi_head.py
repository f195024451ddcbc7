"""The head of a CGI response: written for a server, read from a script (RFC 3875 section 6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatebridge.errors import AppError
from gatebridge.wire.cgi_head import (
    Head,
    cgi_block,
    is_status,
    make_head,
    status_line,
)
from gatebridge.wire.parse_head import MAX_FIELDS, parse_head

LIMIT = 65_536
CONTROLS = [chr(c) for c in (*range(9), *range(10, 32), 127)]

Headers = list[tuple[str, str]]


def code_of(status: object, headers: object) -> str:
    with pytest.raises(AppError) as caught:
        make_head(status, headers)  # type: ignore[arg-type]
    return caught.value.code


# -- written

WRITTEN: list[tuple[str, str, Headers, bytes]] = [
    ("no header", "200 OK", [], b"Status: 200 OK\r\n\r\n"),
    ("W030 reason kept", "299 Very Own", [], b"Status: 299 Very Own\r\n\r\n"),
    ("W030 no reason", "204", [], b"Status: 204\r\n\r\n"),
    ("W030 empty reason", "204 ", [], b"Status: 204 \r\n\r\n"),
    ("W031 order and duplicates", "200 OK", [("B", "2"), ("A", "1"), ("B", "3")],
     b"Status: 200 OK\r\nB: 2\r\nA: 1\r\nB: 3\r\n\r\n"),
    ("W032 an empty value", "200 OK", [("A", "")], b"Status: 200 OK\r\nA: \r\n\r\n"),
    ("W032 latin-1", "200 \xd6K", [("A", "\xe9\xff")], b"Status: 200 \xd6K\r\nA: \xe9\xff\r\n\r\n"),
    ("a tab is no control", "200 OK", [("A", "b\tc")], b"Status: 200 OK\r\nA: b\tc\r\n\r\n"),
    ("F073a Variable-", "200 OK", [("Variable-USER", "x")],
     b"Status: 200 OK\r\nVariable-USER: x\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "status", "headers", "data"), WRITTEN, ids=[r[0] for r in WRITTEN]
)
def test_W030_W031_W032_F001_heads_as_written(
    name: str, status: str, headers: Headers, data: bytes
) -> None:
    for _ in range(2):  # the second time from what is remembered
        head = make_head(status, headers)
        assert cgi_block(head) == data
        assert status_line(head) == data.partition(b"\r\n")[0] + b"\r\n"
        assert head.headers == headers
        assert head.dropped == ()
        assert head.code == int(status[:3])
    assert parse_head(data, LIMIT) is not None


@pytest.mark.parametrize("control", CONTROLS, ids=[repr(c) for c in CONTROLS])
def test_W051_W052_W053_W054_T7_control_characters_are_never_sent(control: str) -> None:
    for text in (control, f"a{control}", f"{control}b", f"a{control}b\xe9"):
        assert code_of("200 OK", [("A", text)]) == "header.control"
        assert code_of("200 OK", [(text, "b")]) == "header.name"
        assert code_of(f"200 {text}", []) == "status.malformed"
        assert code_of(f"200{control}OK", []) == "status.malformed"


REFUSED: list[tuple[str, object, object, str]] = [
    ("status of bytes", b"200 OK", [], "status.type"),
    ("status of a number", 200, [], "status.type"),
    ("W055 an empty status", "", [], "status.malformed"),
    ("W055 two digits", "20 OK", [], "status.malformed"),
    ("W055 four digits", "2000 OK", [], "status.malformed"),
    ("W055 letters", "OK", [], "status.malformed"),
    ("W055 other digits", "\u0662\u0660\u0660 OK", [], "status.malformed"),
    ("W055 superscript", "\xb2\xb2\xb2 OK", [], "status.malformed"),
    ("W055 interim", "100 Continue", [], "status.malformed"),
    ("W055 a reason that is no latin-1", "200 \u20ac", [], "status.malformed"),
    ("W056 a tuple of headers", "200 OK", (("A", "b"),), "header.list"),
    ("W056 a dict", "200 OK", {"A": "b"}, "header.list"),
    ("W056 None", "200 OK", None, "header.list"),
    ("W056 a list for a pair", "200 OK", [["A", "b"]], "header.pair"),
    ("W056 three in a pair", "200 OK", [("A", "b", "c")], "header.pair"),
    ("W056 a string", "200 OK", ["Ab"], "header.pair"),
    ("W056 bytes as value", "200 OK", [("A", b"b")], "header.type"),
    ("W056 bytes as name", "200 OK", [(b"A", "b")], "header.type"),
    ("W056 a number", "200 OK", [("A", 1)], "header.type"),
    ("W056 not latin-1", "200 OK", [("A", "\u20ac")], "header.latin1"),
    ("an empty name", "200 OK", [("", "b")], "header.name"),
    ("a name with a colon", "200 OK", [("A:", "b")], "header.name"),
    ("a name with a space", "200 OK", [("A ", "b")], "header.name"),
    ("W058 a length of letters", "200 OK", [("Content-Length", "x")], "header.length"),
    ("W058 a negative length", "200 OK", [("Content-Length", "-1")], "header.length"),
    ("W058 no length", "200 OK", [("Content-Length", "")], "header.length"),
    ("W058 two lengths", "200 OK", [("Content-Length", "1"), ("content-length", "2")],
     "header.length"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "status", "headers", "code"), REFUSED, ids=[r[0] for r in REFUSED]
)
def test_W055_W056_W058_refused(name: str, status: object, headers: object, code: str) -> None:
    assert code_of(status, headers) == code
    assert code_of(status, headers) == code  # what was refused is not remembered


DROPPED = ["Connection", "KEEP-ALIVE", "Proxy-Authenticate", "Status", "TE", "Trailer",
           "Transfer-Encoding", "Upgrade", "Proxy-Connection"]  # fmt: skip


@pytest.mark.parametrize("name", DROPPED)
def test_forbidden_headers_are_left_out_and_named(name: str) -> None:
    head = make_head("200 OK", [("A", "1"), (name, "x"), ("B", "2")])
    assert head.dropped == (name,)
    assert head.headers == [("A", "1"), ("B", "2")]
    assert cgi_block(head) == b"Status: 200 OK\r\nA: 1\r\nB: 2\r\n\r\n"


def test_length_of_a_head() -> None:
    assert make_head("200 OK", []).length == -1
    assert make_head("200 OK", [("content-length", " 12 ")]).length == 12
    assert make_head("200 OK", [("Content-Length", "3"), ("CONTENT-LENGTH", "3")]).length == 3
    longer = make_head("200 OK", [("A", "1")]).with_length(7)
    assert longer.length == 7
    assert longer.headers == [("A", "1"), ("Content-Length", "7")]
    assert cgi_block(longer) == b"Status: 200 OK\r\nA: 1\r\nContent-Length: 7\r\n\r\n"


def test_more_heads_than_are_remembered() -> None:
    for number in range(2000):
        head = make_head(f"200 Reason {number}", [("X", str(number)), ("Y", "y" * 300)])
        assert cgi_block(head).startswith(b"Status: 200 Reason %d\r\nX: %d\r\n" % (number, number))


# -- read

PARSED: list[tuple[str, bytes, str, Headers]] = [
    ("CR LF", b"Status: 404 Not Found\r\nA: b\r\n\r\n", "404 Not Found", [("A", "b")]),
    ("C09 LF", b"Status: 404 Not Found\nA: b\n\n", "404 Not Found", [("A", "b")]),
    ("C09 mixed", b"A: b\r\nC: d\n\r\n", "200 OK", [("A", "b"), ("C", "d")]),
    ("C09 mixed the other way", b"A: b\nC: d\r\n\n", "200 OK", [("A", "b"), ("C", "d")]),
    ("C08 no status", b"Content-Type: a/b\n\n", "200 OK", [("Content-Type", "a/b")]),
    ("C08 status last, any case", b"A: b\nSTATUS:301 Moved\n\n", "301 Moved", [("A", "b")]),
    ("C08 code alone", b"Status: 500\n\n", "500", []),
    ("C07 Location is a redirect", b"Location: http://h/\n\n", "302 Found",
     [("Location", "http://h/")]),
    ("C06 local Location too", b"location: /x?y\n\n", "302 Found", [("location", "/x?y")]),
    ("C07 Status beside Location", b"Status: 303 See\nLocation: /\n\n", "303 See",
     [("Location", "/")]),
    ("C10 nph- status line", b"HTTP/1.1 201 Created\r\nA: b\r\n\r\n", "201 Created", [("A", "b")]),
    ("value trimmed", b"A:   b c \t\n\n", "200 OK", [("A", "b c")]),
    ("empty value", b"A:\n\n", "200 OK", [("A", "")]),
    ("duplicates in order", b"B: 1\nA: 2\nB: 3\n\n", "200 OK",
     [("B", "1"), ("A", "2"), ("B", "3")]),
    ("latin-1", b"A: \xe9\xff\n\n", "200 OK", [("A", "\xe9\xff")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data", "status", "headers"), PARSED, ids=[r[0] for r in PARSED])
def test_C06_C07_C08_C09_C10_heads_as_read(
    name: str, data: bytes, status: str, headers: Headers
) -> None:
    for at in range(len(data)):
        assert parse_head(data[:at], LIMIT) is None, data[:at]
    for body in (b"", b"x", b"\n", b"\r\n\r\n", b"A: b\n\n"):
        parsed = parse_head(data + body, LIMIT)
        assert parsed is not None
        head, consumed = parsed
        assert (head.status, head.headers, consumed) == (status, headers, len(data))


MALFORMED = [
    ("C09 folded", b"A: b\n c\n\n"),
    ("C09 folded by a tab", b"A: b\r\n\tc\r\n\r\n"),
    ("no colon", b"A b\n\n"),
    ("no name", b": b\n\n"),
    ("space before the colon", b"A : b\n\n"),
    ("no header at all", b"\nhello"),
    ("no header at all, CR LF", b"\r\nhello"),
    ("HTML at once", b"<html>\n\n"),
    ("NUL", b"A: b\0c\n\n"),
    ("a bare CR", b"A: b\rc\n\n"),
    ("a bad status", b"Status: OK\n\n"),
    ("status with a control", b"Status: 200 O\x01K\n\n"),
    ("nph- without a code", b"HTTP/1.1 \nA: b\n\n"),
    ("an interim status", b"Status: 100 Continue\n\n"),
    ("a length of letters", b"Content-Length: x\n\n"),
    ("a negative length", b"Content-Length: -1\n\n"),
]


@pytest.mark.parametrize(("name", "data"), MALFORMED, ids=[row[0] for row in MALFORMED])
def test_C09_T16_malformed_heads(name: str, data: bytes) -> None:
    with pytest.raises(AppError) as caught:
        parse_head(data, LIMIT)
    assert caught.value.code == "head.malformed"


def test_T16_a_head_has_a_size_and_a_number_of_fields() -> None:
    for data in (b"X" * 101, b"A: " + b"x" * 96 + b"\n\n", b"A: b\n" * 20 + b"\n"):
        with pytest.raises(AppError) as caught:
            parse_head(data, 100)
        assert caught.value.code == "head.too_big"
    assert parse_head(b"A: " + b"x" * 95 + b"\n\n", 100) is not None
    assert parse_head(b"X" * 100, 100) is None
    assert parse_head(b"A: b\n" * MAX_FIELDS + b"\n", LIMIT) is not None
    with pytest.raises(AppError) as caught:
        parse_head(b"A: b\n" * (MAX_FIELDS + 1) + b"\n", LIMIT)
    assert caught.value.code == "head.too_big"


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
NAMES = st.text("abcXYZ-09", min_size=1, max_size=12).map("x-".__add__)


@given(st.lists(st.tuples(NAMES, TEXT.map(str.strip)), max_size=9), TEXT)
def test_what_is_written_is_read_back(headers: Headers, reason: str) -> None:
    head = make_head(f"200 {reason}", headers)
    parsed = parse_head(cgi_block(head), LIMIT)
    assert parsed is not None
    assert isinstance(parsed[0], Head)
    assert parsed[0].headers == headers
    assert parsed[0].status.rstrip() == f"200 {reason}".rstrip()


@given(st.binary(max_size=40))
def test_T16_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    for text in (data, b"A: b\n" + data, b"Status: " + data + b"\n\n"):
        try:
            parsed = parse_head(text, LIMIT)
        except AppError:
            continue
        assert parsed is None or is_status(parsed[0].status)


def test_a_head_outlives_the_memory_of_its_status():
    head = make_head("299 Seldom", [("X", "y")])
    for number in range(1, 600):  # another thread's answers in between
        make_head(f"200 N{number}", [])
    assert cgi_block(head) == b"Status: 299 Seldom\r\nX: y\r\n\r\n"
