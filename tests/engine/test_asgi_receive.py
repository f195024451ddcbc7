"""ASGI 3, HTTP: receive(), the body, and the client's leaving."""

import asyncio

import pytest

from gatebridge.errors import PeerError
from tests.engine.async_recorder import (
    TEXT,
    AsyncRecorder,
    Feed,
    ask,
    body,
    engine_of,
    made,
    serve,
    start,
)

ROWS = [  # name, what came with the variables, CONTENT_LENGTH, complete, what comes, messages
    ("no body", b"", None, True, (), [(b"", False)]),
    ("a whole one", b"ab", 2, True, (), [(b"ab", False)]),
    ("all behind the variables", b"", 4, False, (b"ab", b"cd"), [(b"ab", True), (b"cd", False)]),
    ("the rest behind them", b"ab", 4, False, (b"cd",), [(b"ab", True), (b"cd", False)]),
    ("unknown length", b"", None, False, (b"ab",), [(b"ab", True), (b"", False)]),
    ("unknown length and nothing", b"", None, False, (), [(b"", False)]),
    ("length 0, its end not come yet", b"", 0, False, (b"x",), [(b"", False)]),
    ("more than CONTENT_LENGTH, FastCGI 6.2", b"abc", 2, True, (), [(b"ab", False)]),
    ("more behind it", b"a", 2, False, (b"bcd",), [(b"a", True), (b"b", False)]),
]


@pytest.mark.parametrize(("name", "first", "length", "complete", "pieces", "wanted"), ROWS,
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_bodies(name, first, length, complete, pieces, wanted):
    got = []

    async def app(scope, receive, send):
        while not got or got[-1][1]:
            message = await receive()
            assert message["type"] == "http.request"
            got.append((message["body"], message["more_body"]))
        await send(start(200, TEXT))
        await send(body())

    coded = {} if length is not None or complete else {"HTTP_TRANSFER_ENCODING": "chunked"}
    out = ask(app, made("POST", first, length, complete, **coded), pieces=pieces)
    assert out.log == ""
    assert got == wanted


def test_what_has_arrived_meanwhile_comes_in_one_message():
    got = []

    async def app(scope, receive, send):
        got.append(await receive())
        feed.arrive()
        feed.arrive()
        got.append(await receive())
        await send(start())
        await send(body())

    out = AsyncRecorder()
    feed = Feed(out, (b"cd", b"ef"))
    asyncio.run(serve(engine_of(app), made("POST", b"ab", 6, False), out, feed))
    assert [one["body"] for one in got] == [b"ab", b"cdef"]
    assert feed.waits == 0


@pytest.mark.parametrize("first", [b"", b"ab"])
def test_a_body_that_ends_early_is_a_disconnect(first):
    """FastCGI 6.2: the client may have crashed. More_body=False would call it whole."""
    got = []

    async def app(scope, receive, send):
        for _ in range(3):
            got.append(await receive())
        await send(start())
        await send(body())

    out = ask(app, made("POST", first, 4, complete=True))
    assert [one["type"] for one in got][-2:] == ["http.disconnect"] * 2
    assert b"".join(one.get("body", b"") for one in got) == first
    assert out.status.startswith("200 ")


def test_the_peer_leaves_in_the_middle_of_its_body():
    got = []

    async def app(scope, receive, send):
        got.extend([await receive(), await receive(), await receive()])
        await send(start())
        await send(body())

    ask(app, made("POST", b"ab", 9, False), pieces=(b"c", ConnectionResetError("left")))
    assert [one["type"] for one in got] == ["http.request", "http.request", "http.disconnect"]


REFUSED = [("body.too_big", "413 "), ("body.timeout", "408 "), ("body.no_space", "507 ")]


@pytest.mark.parametrize(("code", "status"), REFUSED)
def test_a_body_that_cannot_be_had_is_refused_whatever_a_framework_does(code, status):
    got = []

    async def app(scope, receive, send):
        got.append(await receive())
        try:
            await send(start(200, TEXT))
            await send(body(b"all is well"))
        except OSError as error:
            got.append(error)
            raise

    out = ask(app, made("POST", b"", 9, False), pieces=(PeerError(code, "why"),))
    assert got[0] == {"type": "http.disconnect"}
    assert isinstance(got[1], ConnectionError)
    assert out.names == ["answer"]
    assert out.status.startswith(status)
    assert (out.refusals, out.log) == ([code], "")
    assert out.incidents[0].encode() in out.body


def test_a_refused_body_cuts_an_answer_that_is_under_way():
    async def app(scope, receive, send):
        await send(start(200, TEXT))
        await send(body(b"a", True))
        await receive()
        await send(body(b"b", True))

    out = ask(app, made("POST", b"", 9, False), pieces=(PeerError("body.timeout", "why"),))
    assert out.names == ["start", "cut"]
    assert (out.refusals, out.log) == (["body.timeout"], "")


# -- http.disconnect


def test_a_second_receive_waits_until_the_client_leaves():
    got = []

    async def app(scope, receive, send):
        got.append((await receive())["type"])
        got.append((await receive())["type"])
        got.append((await receive())["type"])

    async def main():
        out = AsyncRecorder()
        task = asyncio.create_task(serve(engine_of(app), made(), out, Feed(out)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert got == ["http.request"]
        out.leave()
        await task
        assert (out.events, out.log) == ([], "")

    asyncio.run(main())
    assert got == ["http.request", "http.disconnect", "http.disconnect"]


def test_receive_behind_the_answer_is_a_disconnect_at_once():
    got = []

    async def app(scope, receive, send):
        await send(start())
        await send(body())
        got.append(await receive())

    ask(app)
    assert got == [{"type": "http.disconnect"}]


def test_a_listener_beside_a_stream_is_released_by_its_end():
    """As Starlette waits for http.disconnect in a task of its own."""

    async def app(scope, receive, send):
        await receive()
        listener = asyncio.create_task(receive())
        await send(start())
        await send(body(b"a", True))
        assert not listener.done()
        await send(body(b"b"))
        assert await listener == {"type": "http.disconnect"}

    out = ask(app)
    assert (out.names, out.log) == (["start", "write", "end"], "")


def test_a_receive_that_is_cancelled_loses_nothing():
    got = []

    async def app(scope, receive, send):
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        while True:
            message = await receive()
            got.append(message["body"])
            if not message["more_body"]:
                break
        await send(start())
        await send(body())

    ask(app, made("POST", b"", 4, False), pieces=(b"ab", b"cd"))
    assert b"".join(got) == b"abcd"


def test_send_raises_oserror_once_the_client_has_left():
    """ASGI 2.4 of the message format."""
    seen = []

    async def app(scope, receive, send):
        assert scope["asgi"]["spec_version"] >= "2.4"
        await send(start(200, TEXT))
        for _ in range(9):
            try:
                await send(body(b"1234", True))
            except OSError as error:
                seen.append(error)
                raise

    out = ask(app, out=AsyncRecorder(leaves_after=10))
    assert len(seen) == 1
    assert bytes(out.body) == b"12341234"
    assert (out.log, out.incidents) == ("", [])
