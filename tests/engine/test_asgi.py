"""ASGI 3, HTTP: what an application sends, and what becomes of it."""

import asyncio
import collections.abc
from http import HTTPStatus

import pytest

from tests.engine.async_recorder import (
    TEXT,
    AsyncRecorder,
    Feed,
    ask,
    body,
    engine_of,
    made,
    sending,
    serve,
    start,
)

# -- heads


STATUSES = [
    ("an int gets its reason", 200, "200 OK"),
    ("an IntEnum is one", HTTPStatus.NOT_FOUND, "404 Not Found"),
    ("one that nobody has registered", 299, "299"),
    ("the last", 999, "999"),
]


@pytest.mark.parametrize(("name", "status", "line"), STATUSES, ids=[row[0] for row in STATUSES])
def test_statuses(name, status, line):
    assert ask(sending(start(status), body())).status == line


HEADERS = [
    ("order and case are kept", [(b"x-b", b"1"), (b"X-A", b"2")], [("x-b", "1"), ("X-A", "2")]),
    ("duplicates", [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")],
     [("set-cookie", "a=1"), ("set-cookie", "b=2")]),
    ("latin-1 and a tab", [(b"x-a", b"caf\xe9\ta")], [("x-a", "caf\xe9\ta")]),
    ("an empty value", [(b"x-a", b"")], [("x-a", "")]),
    ("lists in place of tuples", [[b"x-a", b"1"], (b"x-b", b"2")], [("x-a", "1"), ("x-b", "2")]),
    ("a generator", (pair for pair in [(b"x-a", b"1")]), [("x-a", "1")]),
    ("a tuple", ((b"x-a", b"1"),), [("x-a", "1")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "headers", "wanted"), HEADERS, ids=[row[0] for row in HEADERS])
def test_headers(name, headers, wanted):
    first = {"type": "http.response.start", "status": 200, "headers": headers}
    out = ask(sending(first, body(b"", True), body()))
    assert out.head.headers == wanted
    assert out.head.block == "".join(f"{a}: {b}\r\n" for a, b in wanted).encode("latin-1")


def test_headers_are_optional():
    first = {"type": "http.response.start", "status": 200}
    assert ask(sending(first, body(b"", True), body())).head.headers == []


WRONG = [
    ("status is text", start("200"), "status.type"),
    ("status is a bool", start(True), "status.type"),
    ("status is a list", start([200]), "status.type"),
    ("no status", {"type": "http.response.start"}, "status.type"),
    ("an informational status", start(103), "status.malformed"),
    ("four digits", start(1000), "status.malformed"),
    ("a name with a space", start(200, (b"x a", b"1")), "header.name"),
    ("an empty name", start(200, (b"", b"1")), "header.name"),
    ("HTTP/2's own", start(200, (b":status", b"200")), "header.name"),
    ("CR LF in a value", start(200, (b"x-a", b"a\r\nset-cookie: b")), "header.control"),
    ("LF in a value", start(200, (b"x-a", b"a\nb")), "header.control"),
    ("CR in a name", start(200, (b"x-a\r\nb", b"1")), "header.name"),
    ("NUL in a value", start(200, (b"x-a", b"\0")), "header.control"),
    ("text for a name", start(200, ("x-a", b"1")), "header.type"),
    ("text for a value", start(200, (b"x-a", "1")), "header.type"),
    ("three in a pair", start(200, (b"x-a", b"1", b"2")), "header.pair"),
    ("None for a pair", start(200, None), "header.list"),
    ("None for headers", {"type": "http.response.start", "status": 200, "headers": None},
     "header.list"),
    ("lengths that differ", start(200, (b"content-length", b"1"), (b"content-length", b"2")),
     "header.length"),
    ("no number for a length", start(200, (b"content-length", b"+1")), "header.length"),
    ("no message", None, "asgi.message"),
    ("no type", {}, "asgi.message"),
    ("a type nobody knows", {"type": "http.response.zerocopysend"}, "asgi.message"),
    ("a WebSocket's message", {"type": "websocket.accept"}, "asgi.message"),
    ("a body first", body(b"x"), "asgi.order"),
    ("trailers first", {"type": "http.response.trailers"}, "asgi.order"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "message", "code"), WRONG, ids=[row[0] for row in WRONG])
def test_what_no_head_may_be_is_500_and_tells_the_log(name, message, code):
    out = ask(sending(message, body(b"secret")))
    assert out.status.startswith("500 ")
    assert out.names == ["answer"]
    assert code in out.log
    assert b"secret" not in out.body
    assert out.incidents[0].encode() in out.body


def test_a_wrong_head_is_raised_where_it_is_sent():
    """So that a framework's own error page can take its place."""

    async def app(scope, receive, send):
        try:
            await send(start(200, (b"x", b"a\r\nb")))
        except Exception:
            await send(start(503, TEXT))
            await send(body(b"mine"))

    out = ask(app)
    assert (out.status, bytes(out.body)) == ("503 Service Unavailable", b"mine")


@pytest.mark.parametrize("name", [b"connection", b"keep-alive", b"upgrade", b"status"])
def test_headers_of_the_connection_are_dropped_and_noted(name):
    out = ask(sending(start(200, (name, b"x"), TEXT), body(b"x")))
    assert out.notes == ["header.forbidden"]
    assert name not in out.head.block


def test_transfer_encoding_is_dropped_without_a_word():
    """ASGI: the server shall ignore it. Sanic and Quart send it with every stream."""
    out = ask(sending(start(200, (b"transfer-encoding", b"chunked")), body(b"x")))
    assert out.notes == []
    assert b"chunked" not in out.head.block


# -- bodies


def test_a_whole_answer_is_sent_at_once_with_its_length():
    out = ask(sending(start(200, TEXT), body(b"hello")))
    assert out.events == [("answer", b"hello")]
    assert out.head.length == 5


def test_body_and_more_body_are_optional():
    out = ask(sending(start(200, TEXT), {"type": "http.response.body"}))
    assert out.events == [("answer", b"")]


def test_nothing_is_sent_before_the_first_body():
    """ASGI: the server must not start before it has a http.response.body."""
    seen = []

    async def app(scope, receive, send):
        await send(start(200, TEXT))
        seen.append(list(out.events))
        await send(body(b"", True))
        seen.append(list(out.events))
        await send(body(b"x"))

    out = AsyncRecorder()
    ask(app, out=out)
    assert seen == [[], [("start", b"")]]
    assert out.names == ["start", "write", "end"]


def test_pieces_are_sent_as_they_come():
    out = ask(sending(start(), body(b"a", True), body(b"", True), body(b"b", True), body(b"c")))
    assert out.events == [("start", b"a"), ("write", b"b"), ("write", b"c"), ("end", b"")]


@pytest.mark.parametrize("data", [bytearray(b"ab"), memoryview(b"ab")])
def test_other_kinds_of_bytes(data):
    assert bytes(ask(sending(start(), body(data))).body) == b"ab"


@pytest.mark.parametrize("data", ["text", None, 1, [b"a"]])
def test_what_is_no_bytes_is_500(data):
    out = ask(sending(start(), body(data)))
    assert out.status.startswith("500 ")
    assert "body.type" in out.log


def test_content_length_is_kept_to():
    length = (b"content-length", b"3")
    out = ask(sending(start(200, length), body(b"ab", True), body(b"cde")))
    assert bytes(out.body) == b"abc"
    assert out.names[-1] == "end"
    assert out.notes == ["body.too_long"]
    out = ask(sending(start(200, length), body(b"abcde")))
    assert out.events == [("answer", b"abc")]
    assert out.notes == ["body.too_long"]


def test_fewer_bytes_than_content_length_are_cut_or_500():
    length = (b"content-length", b"3")
    out = ask(sending(start(200, length), body(b"ab", True), body()))
    assert out.names == ["start", "cut"]
    assert "body.too_short" in out.log
    assert ask(sending(start(200, length), body(b"ab"))).status.startswith("500 ")


BODILESS = [("HEAD", 200), ("GET", 204), ("GET", 304)]


@pytest.mark.parametrize(("method", "status"), BODILESS)
def test_answers_without_a_body(method, status):
    out = ask(sending(start(status, (b"etag", b"x")), body(b"unseen")), made(method))
    assert out.events == [("answer", b"")]
    assert out.head.length == (6 if status == 200 else -1)


def test_head_keeps_the_length_that_the_application_tells():
    out = ask(sending(start(200, (b"content-length", b"9")), body()), made("HEAD"))
    assert (out.head.length, out.notes) == (9, [])


def test_an_endless_stream_learns_that_head_was_answered():
    asked = 0

    async def app(scope, receive, send):
        nonlocal asked
        await send(start(200, TEXT))
        while True:
            asked += 1
            await send(body(b"tick", True))

    out = ask(app, made("HEAD"))
    assert out.events == [("answer", b"")]
    assert (asked, out.log) == (2, "")


def test_what_comes_behind_the_end_is_ignored_and_noted():
    out = ask(sending(start(), body(b"a"), body(b"b"), body()))
    assert out.events == [("answer", b"a")]
    assert out.notes == ["body.too_long"]


# -- back-pressure


def test_send_waits_while_the_peer_is_slow():
    sent = []

    async def app(scope, receive, send):
        await send(start())
        for number in range(3):
            await send(body(b"12345678", True))
            sent.append(number)
        await send(body())

    async def main():
        out = AsyncRecorder(high=10)
        task = asyncio.create_task(serve(engine_of(app), made(), out, Feed(out)))
        while "drain" not in out.names:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert sent == [0]  # the second piece is taken, and its send() has not returned
        out.read()
        await task
        assert sent == [0, 1, 2]
        assert bytes(out.body) == b"12345678" * 3

    asyncio.run(main())


def test_send_gives_a_coroutine_that_may_become_a_task():
    async def app(scope, receive, send):
        given = send(start(200, TEXT))
        assert isinstance(given, collections.abc.Coroutine)
        assert await given is None
        await asyncio.create_task(send(body(b"a", True)))
        await asyncio.gather(send(body(b"b", True)))
        await asyncio.wait_for(send(body(b"c")), 5)

    out = ask(app)
    assert bytes(out.body) == b"abc"
    assert out.names[-1] == "end"


def test_a_send_that_is_not_awaited_costs_nothing():
    async def app(scope, receive, send):
        given = send(start(200, TEXT))
        given.close()
        with pytest.raises(ValueError, match="thrown"):
            send(body(b"x")).throw(ValueError("thrown"))

    assert ask(app).events == [("answer", b"x")]


# -- interfaces


def test_a_double_callable():
    class App:
        def __init__(self, scope):
            assert scope["asgi"]["version"] == "2.0"
            self.path = scope["path"]

        async def __call__(self, receive, send):
            await send(start(200, TEXT))
            await send(body(self.path.encode()))

    assert bytes(ask(App, double=True).body) == b"/p"


def test_the_scope_has_state_and_what_the_wire_carries():
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        scope.get("extensions", {}).clear()
        await sending(start(), body())(scope, receive, send)

    out = AsyncRecorder(("http.response.pathsend",))
    ask(app, out=out)
    ask(app)
    assert scopes[0]["state"] == {}
    assert "extensions" not in scopes[1]
    assert out.extensions == {"http.response.pathsend": {}}  # each request has a copy


def test_an_engine_says_who_it_is_where_a_wsgi_application_is_called():
    engine = engine_of(sending())
    environ: dict[str, object] = {}
    assert (engine.is_async_engine, engine(environ, None)) == (True, ())
    assert environ == {"gatebridge.asgi": engine}


def test_the_awaitable_of_the_application_can_be_seen():
    seen = []

    async def app(scope, receive, send):
        seen.append(out.running)
        await sending(start(), body())(scope, receive, send)

    out = AsyncRecorder()
    ask(app, out=out)
    assert seen[0].cr_code is app.__code__
