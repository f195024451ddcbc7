"""Bytes of a back end in, head and body out; however they are cut."""

from collections.abc import Callable, Iterator

import pytest

from gatebridge.apps.upstream_reply import FastCgiReply, HttpReply, Reply
from gatebridge.errors import AppError
from gatebridge.wire.fastcgi_client import FastCGIClient
from gatebridge.wire.records import END_REQUEST, STDERR, STDOUT, record

Got = tuple[str, list[tuple[str, str]], bytes, bool, bool]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def halves(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]
    yield data[len(data) // 2 :]


CUTS = [whole, bytewise, halves]


def read(reply: Reply, pieces: Iterator[bytes], closes: bool) -> Got:
    body = b"".join([reply.receive(piece) for piece in pieces])
    if closes:
        reply.finish()
    return reply.status, reply.headers, body, reply.done, reply.keeps


OK = b"HTTP/1.1 200 OK\r\n"
LONG = OK + b"Content-Length: 5\r\n\r\n"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"

ROWS = [  # bytes, closed behind them -> status, headers, body, done, keeps
    ("a length, 6.3", LONG + b"hello", False,
     ("200 OK", [("Content-Length", "5")], b"hello", True, True)),
    ("no body yet", LONG + b"he", False,
     ("200 OK", [("Content-Length", "5")], b"he", False, True)),
    ("a length of none", OK + b"Content-Length: 0\r\n\r\n", False,
     ("200 OK", [("Content-Length", "0")], b"", True, True)),
    ("chunks, 7.1", CHUNKS + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: v\r\n\r\n", False,
     ("200 OK", [], b"hello", True, True)),
    ("to the end of the connection", OK + b"\r\nhello", True,
     ("200 OK", [], b"hello", True, False)),
    ("close", OK + b"Connection: Close\r\nContent-Length: 1\r\n\r\nx", False,
     ("200 OK", [("Content-Length", "1")], b"x", True, False)),
    ("1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", False,
     ("200 OK", [("Content-Length", "1")], b"x", True, False)),
    ("1.0 kept", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", False,
     ("200 OK", [("Content-Length", "1")], b"x", True, True)),
    ("bytes behind the answer", LONG + b"hello!", False,
     ("200 OK", [("Content-Length", "5")], b"hello", True, False)),
    ("bytes behind the chunks", CHUNKS + b"0\r\n\r\nHTTP/1.1", False,
     ("200 OK", [], b"", True, False)),
    ("interim answers, RFC 9110 15.2",
     b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + LONG
     + b"hello", False, ("200 OK", [("Content-Length", "5")], b"hello", True, True)),
    ("204", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: b\r\n\r\n", False,
     ("204 No Content", [("A", "b")], b"", True, True)),
    ("304 tells a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", False,
     ("304 Not Modified", [("Content-Length", "9")], b"", True, True)),
    ("a length twice alike", OK + b"Content-Length: 1\r\nA: b\r\nContent-Length: 1\r\n\r\nx", False,
     ("200 OK", [("A", "b"), ("Content-Length", "1")], b"x", True, True)),
    ("of the connection, 7.6.1",
     OK + b"Connection: x-hop, keep-alive\r\nX-Hop: a\r\nKeep-Alive: b\r\nUpgrade: c\r\n"
     b"Proxy-Authenticate: d\r\nTrailer: e\r\nTE: f\r\nProxy-Connection: g\r\nA: h\r\n"
     b"Content-Length: 0\r\n\r\n", False,
     ("200 OK", [("A", "h"), ("Content-Length", "0")], b"", True, True)),
    ("Connection cannot hide the length", OK + b"Connection: content-length\r\n"
     b"Content-Length: 1\r\n\r\nx", False,
     ("200 OK", [("Content-Length", "1")], b"x", True, True)),
    ("repeated fields", OK + b"Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", False,
     ("200 OK", [("Set-Cookie", "a"), ("Set-Cookie", "b"), ("Content-Length", "0")], b"", True,
      True)),
    ("a Status field is no status", b"HTTP/1.1 404 Not Found\r\nStatus: 200\r\n"
     b"Content-Length: 0\r\n\r\n", False,
     ("404 Not Found", [("Content-Length", "0")], b"", True, True)),
    ("no reason", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", False,
     ("200 OK", [("Content-Length", "0")], b"", True, True)),
    ("no reason known", b"HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n", False,
     ("299 Unknown", [("Content-Length", "0")], b"", True, True)),
    ("lines without CR", b"HTTP/1.1 200 OK\nA: b\nContent-Length: 1\n\nx", False,
     ("200 OK", [("A", "b"), ("Content-Length", "1")], b"x", True, True)),
    ("nothing but a status line", b"HTTP/1.1 200 OK\r\n\r\nx", True,
     ("200 OK", [], b"x", True, False)),
]  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("data", "closes", "got"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_http(data: bytes, closes: bool, got: Got, cut: Callable) -> None:
    assert read(HttpReply(False, 65_536), cut(data), closes) == got


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("data", [LONG, CHUNKS, OK + b"\r\n"])
def test_head_has_no_body(data: bytes, cut: Callable) -> None:
    status, _, body, done, keeps = read(HttpReply(True, 65_536), cut(data), False)
    assert (status, body, done) == ("200 OK", b"", True)
    assert keeps
    assert read(HttpReply(True, 65_536), cut(data + b"x"), False)[4] is False


BAD = [
    ("nothing", b"", "upstream.closed"),
    ("half a head", OK, "upstream.cut"),
    ("half a body", LONG + b"he", "upstream.cut"),
    ("chunks without end", CHUNKS + b"2\r\nhe\r\n", "upstream.cut"),
    ("half a chunk", CHUNKS + b"5\r\nhe", "upstream.cut"),
    ("TLS", b"\x15\x03\x01\0\2\2\x46", "upstream.malformed"),
    ("FastCGI", b"\1\6\0\1\0\0\0\0", "upstream.malformed"),
    ("CGI", b"Status: 200 OK\r\n\r\n", "upstream.malformed"),
    ("HTTP/2", b"HTTP/2 200\r\n\r\n", "upstream.malformed"),
    ("status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", "upstream.malformed"),
    ("status that is none", b"HTTP/1.1 OK\r\n\r\n", "upstream.malformed"),
    ("folded", OK + b"A: b\r\n c\r\n\r\n", "upstream.malformed"),
    ("space before the colon", OK + b"Content-Length : 5\r\n\r\n", "upstream.malformed"),
    ("a control", OK + b"A: b\0\r\n\r\n", "upstream.malformed"),
    ("a bare CR", OK + b"A: b\rX: y\r\n\r\n", "upstream.malformed"),
    ("an upgrade", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "upstream.malformed"),
    ("100 for ever", b"HTTP/1.1 100 Continue\r\n\r\n" * 65, "upstream.malformed"),
    ("two lengths", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "upstream.framing"),
    ("a list of lengths", OK + b"Content-Length: 1, 1\r\n\r\n", "upstream.framing"),
    ("a length below zero", OK + b"Content-Length: -1\r\n\r\n", "upstream.framing"),
    ("a huge length", OK + b"Content-Length: 9" + b"9" * 19 + b"\r\n\r\n", "upstream.framing"),
    ("chunks and a length", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
     "upstream.framing"),
    ("no coding and a length", OK + b"Transfer-Encoding:\r\nContent-Length: 1\r\n\r\n",
     "upstream.framing"),
    ("chunked twice", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n", "upstream.framing"),
    ("chunked, and again", OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n",
     "upstream.framing"),
    ("gzip, chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "upstream.framing"),
    ("chunks in 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "upstream.framing"),
    ("a chunk's size", CHUNKS + b"x\r\n", "upstream.framing"),
    ("long head", OK + b"A: " + b"b" * 2000 + b"\r\n\r\n", "upstream.too_big"),
    ("head without end", OK + b"A: " + b"b" * 2000, "upstream.too_big"),
    ("many fields", OK + b"A:\r\n" * 200_000 + b"\r\n", "upstream.too_big"),
]  # fmt: skip


@pytest.mark.parametrize("cut", [whole, halves])
@pytest.mark.parametrize(("data", "code"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_http_that_is_none(data: bytes, code: str, cut: Callable) -> None:
    with pytest.raises(AppError) as refused:
        read(HttpReply(False, 2000), cut(data), True)
    assert refused.value.code == code


def test_a_thousand_fields_and_no_more() -> None:
    with pytest.raises(AppError) as refused:
        read(HttpReply(False, 1 << 20), whole(OK + b"A:\r\n" * 1001 + b"\r\n"), False)
    assert refused.value.code == "upstream.too_big"
    read(HttpReply(False, 1 << 20), whole(OK + b"A:\r\n" * 1000 + b"\r\n"), False)


# -- FastCGI

END = record(END_REQUEST, 1, bytes(8))


def out(data: bytes) -> bytes:
    return record(STDOUT, 1, data)


FASTCGI = [
    ("a head and a body",
     out(b"Status: 404 No\r\nA: b\r\nConnection: x\r\n\r\nhel") + out(b"lo") + END,
     ("404 No", [("A", "b")], b"hello", True, True)),
    ("not at its end", out(b"A: b\r\n\r\nhello"), ("200 OK", [("A", "b")], b"hello", False, True)),
    ("a redirect", out(b"Location: /x\r\n\r\n") + END,
     ("302 Found", [("Location", "/x")], b"", True, True)),
    ("304 with a body", out(b"Status: 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello") + END,
     ("304 Not Modified", [("Content-Length", "5")], b"", True, True)),
    ("bytes behind it", out(b"A: b\r\n\r\n") + END + END,
     ("200 OK", [("A", "b")], b"", True, None)),
]  # fmt: skip


def fastcgi(is_head: bool, say: Callable[[bytes], object] = print) -> FastCgiReply:
    client = FastCGIClient()
    client.request([], 1, keep=True)
    return FastCgiReply(client, is_head, True, say)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("data", "got"), [row[1:] for row in FASTCGI],
                         ids=[row[0] for row in FASTCGI])  # fmt: skip
def test_fastcgi(data: bytes, got: Got, cut: Callable) -> None:
    found = read(fastcgi(False), cut(data), False)
    assert found[:4] == got[:4]
    assert got[4] is None or found[4] == got[4]


def test_fastcgi_head() -> None:
    answer = out(b"Content-Length: 5\r\n\r\nhello") + END
    assert read(fastcgi(True), whole(answer), False)[2:4] == (b"", True)


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_connection_is_kept_when_the_padding_has_come(missing: int) -> None:
    """Or the next answer on it would begin with that."""
    end = b"\1\3\0\1\0\x08\3\0" + bytes(8 + 3 - missing)
    found = read(fastcgi(False), whole(out(b"A: b\r\n\r\n") + end), False)
    assert found[3:] == (True, not missing)


def test_what_it_writes_as_an_error() -> None:
    said: list[bytes] = []
    data = record(STDERR, 1, b"PHP Notice") + out(b"A: b\r\n\r\n")
    data += record(END_REQUEST, 1, b"\0\0\0\7" + bytes(4))
    read(fastcgi(False, said.append), whole(data), False)
    assert said == [b"PHP Notice", b"gatebridge: it ended with status 7\n"]


BAD_FASTCGI = [
    ("nothing", b"", "upstream.closed"),
    ("no answer", END, "upstream.closed"),
    ("half an answer", out(b"A: b\r\n\r\nhel"), "upstream.cut"),
    ("half a head", out(b"A: b\r\n") + END, "upstream.cut"),
    ("short of its length", out(b"Content-Length: 5\r\n\r\nhel") + END, "upstream.cut"),
    (
        "two lengths",
        out(b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab") + END,
        "upstream.framing",
    ),
    ("HTTP", OK + b"\r\n", "upstream.malformed"),
    ("no head", out(b"\r\nhello") + END, "upstream.malformed"),
    ("a long head", out(b"A: " + b"b" * 65_000) + out(b"b" * 2000), "upstream.too_big"),
    ("overloaded", record(END_REQUEST, 1, b"\0\0\0\0\2\0\0\0"), "upstream.overloaded"),
    ("refused", record(END_REQUEST, 1, b"\0\0\0\0\3\0\0\0"), "upstream.malformed"),
]


@pytest.mark.parametrize("cut", [whole, halves])
@pytest.mark.parametrize(("data", "code"), [row[1:] for row in BAD_FASTCGI],
                         ids=[row[0] for row in BAD_FASTCGI])  # fmt: skip
def test_fastcgi_that_is_none(data: bytes, code: str, cut: Callable) -> None:
    with pytest.raises(AppError) as refused:
        read(fastcgi(False), cut(data), True)
    assert refused.value.code == code
