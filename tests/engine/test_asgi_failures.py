"""ASGI 3, HTTP: applications that raise, return too early, or are cancelled."""

import asyncio
import types

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

SECRET = "a reason no client may see"


class Stop(BaseException):
    pass


RAISED = [ValueError(SECRET), SystemExit(SECRET), KeyboardInterrupt(), Stop(SECRET)]


def raising(error: BaseException, *before):
    async def app(scope, receive, send):
        for message in before:
            await send(message)
        raise error

    return app


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("before", [(), (start(201, TEXT),)], ids=["first", "behind the start"])
def test_before_the_head_it_is_a_500_that_tells_only_the_incident(error, before):
    out = ask(raising(error, *before))
    assert out.names == ["answer"]
    assert out.status == "500 Internal Server Error"
    assert SECRET.encode() not in out.body
    assert out.incidents[0].encode() in out.body
    assert type(error).__name__ in out.log


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_in_the_middle_of_the_answer_it_is_a_cut(error):
    out = ask(raising(error, start(200, TEXT), body(b"half", True)))
    assert out.names == ["start", "cut"]
    assert type(error).__name__ in out.log


def test_behind_the_answer_it_is_only_told():
    """A background task that fails: the client has what it asked for."""
    out = ask(raising(ValueError(SECRET), start(200, TEXT), body(b"all")))
    assert out.events == [("answer", b"all")]
    assert SECRET in out.log


def test_a_500_to_head_has_no_body():
    out = ask(raising(ValueError(SECRET)), made("HEAD"))
    assert out.status.startswith("500 ")
    assert out.body == b""


UNFINISHED = [
    ("nothing at all", (), "answer"),
    ("only a start", (start(200, TEXT),), "answer"),
    ("no last piece", (start(200, TEXT), body(b"a", True)), "cut"),
]


@pytest.mark.parametrize(("name", "messages", "end"), UNFINISHED, ids=[r[0] for r in UNFINISHED])
def test_an_application_that_returns_too_early(name, messages, end):
    out = ask(sending(*messages))
    assert out.names[-1] == end
    assert "asgi.unfinished" in out.log


def test_an_application_that_is_not_async():
    def app(scope, receive, send):
        return None

    out = ask(app)
    assert out.status.startswith("500 ")
    assert "TypeError" in out.log


def test_out_of_order():
    for messages in ([start(), start()], [start(), body(b"a", True), start(), body()]):
        out = ask(sending(*messages))
        assert out.names[-1] in ("answer", "cut")
        assert "asgi.order" in out.log


def test_a_failure_after_the_client_left_is_no_news():
    async def app(scope, receive, send):
        out.leave()
        raise ValueError(SECRET)

    out = AsyncRecorder()
    ask(app, out=out)
    assert (out.events, out.log) == ([], "")


class Leaving(AsyncRecorder):
    """The peer leaves while it is told of the failure."""

    def failed(self, incident, error):
        super().failed(incident, error)
        self._leaves_after = 0


def test_the_client_leaves_while_it_is_told():
    out = Leaving()
    ask(raising(ValueError(SECRET)), out=out)
    assert (out.events, out.gone) == ([], True)


# -- cancelled


def cancelled(app, out: AsyncRecorder, *, left: bool = False) -> None:
    """Cancel the task as soon as the application waits."""

    async def main():
        waiting = asyncio.Event()

        async def inner(scope, receive, send):
            await app(scope, receive, send)
            waiting.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(serve(engine_of(inner), made(), out, Feed(out)))
        await waiting.wait()
        if left:
            out.leave()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_cancelled_task_answers_500_or_cuts():
    out = AsyncRecorder()
    cancelled(sending(), out)
    assert out.status.startswith("500 ")
    out = AsyncRecorder()
    cancelled(sending(start(), body(b"a", True)), out)
    assert out.names == ["start", "cut"]


def test_a_cancelled_task_says_nothing_where_nobody_waits():
    out = AsyncRecorder()
    cancelled(sending(start(), body(b"a", True)), out, left=True)
    assert (out.names, out.log) == (["start"], "")


def test_an_application_may_clean_up_when_it_is_cancelled():
    done = []

    async def app(scope, receive, send):
        await send(start(200, TEXT))
        await send(body(b"a", True))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done.append(True)
            raise

    async def main():
        out = AsyncRecorder()
        task = asyncio.create_task(serve(engine_of(app), made(), out, Feed(out)))
        while not out.events:
            await asyncio.sleep(0)
        out.leave()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    assert done == [True]


def test_a_coroutine_that_is_closed_answers_nobody():
    """The loop has ended before the task has."""
    out = AsyncRecorder()
    waiting = raising(ValueError(SECRET))

    @types.coroutine
    def pause():
        yield

    async def app(scope, receive, send):
        await pause()
        await waiting(scope, receive, send)

    coroutine = serve(engine_of(app), made(), out, Feed(out))
    coroutine.send(None)
    coroutine.close()
    assert (out.events, out.log) == ([], "")
