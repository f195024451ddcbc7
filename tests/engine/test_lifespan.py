"""ASGI 3, lifespan: startup, shutdown, state, and applications that know nothing of it."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from gatebridge.errors import AppError
from tests.engine.async_recorder import AsyncRecorder, Feed, body, engine_of, made, serve, start


def lived(app, mode="auto", requests=1, double=False):
    """Startup, requests, shutdown in one loop; nothing of the application may be left there."""

    async def main():
        engine = engine_of(app, mode, double)
        await engine.startup()
        try:
            outs = [AsyncRecorder() for _ in range(requests)]
            for out in outs:
                await serve(engine, made(), out, Feed(out))
            await engine.shutdown()
        finally:
            left = asyncio.all_tasks() - {asyncio.current_task()}
        assert left == set()
        return engine, outs

    return asyncio.run(main())


def living(log, on_startup=(), on_shutdown=(), request=None):
    """An application that answers the events with these messages, complete where there are none."""

    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            await (request or answering)(scope, receive, send)
            return
        log.append(await receive())
        scope["state"]["pool"] = log
        for message in on_startup or ({"type": "lifespan.startup.complete"},):
            await send(message)
        log.append(await receive())
        for message in on_shutdown or ({"type": "lifespan.shutdown.complete"},):
            await send(message)

    return app


async def answering(scope, receive, send):
    await send(start())
    await send(body())


def test_startup_then_requests_then_shutdown():
    log: list[object] = []

    async def request(scope, receive, send):
        log.append("request")
        await answering(scope, receive, send)

    engine, _ = lived(living(log, request=request))
    assert log == [{"type": "lifespan.startup"}, "request", {"type": "lifespan.shutdown"}]
    assert engine.without_lifespan == ""


def test_state_of_startup_is_copied_for_each_request():
    seen = []

    async def request(scope, receive, send):
        seen.append(dict(scope["state"]))
        scope["state"]["mine"] = 1
        await answering(scope, receive, send)

    log: list[object] = []
    lived(living(log, request=request), requests=2)
    assert seen == [{"pool": log}, {"pool": log}]
    assert seen[0]["pool"] is log  # a shallow copy


async def raising(scope, receive, send):
    """As Django does."""
    if scope["type"] == "lifespan":
        raise ValueError("only HTTP here")
    assert scope["state"] == {}
    await answering(scope, receive, send)


async def raising_later(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        raise ValueError("only HTTP here")
    await answering(scope, receive, send)


async def returning(scope, receive, send):
    if scope["type"] == "http":
        await answering(scope, receive, send)


async def exiting(scope, receive, send):
    if scope["type"] == "lifespan":
        raise SystemExit("only HTTP here")
    await answering(scope, receive, send)


WITHOUT = [
    (raising, "ValueError: only HTTP here"),
    (raising_later, "ValueError: only HTTP here"),
    (returning, "it returned without a word"),
    (exiting, "SystemExit: only HTTP here"),
]


@pytest.mark.parametrize(("app", "why"), WITHOUT, ids=[row[0].__name__ for row in WITHOUT])
def test_an_application_without_lifespan_is_served(app, why):
    engine, outs = lived(app)
    assert engine.without_lifespan == why
    assert outs[0].status == "200 OK"


@pytest.mark.parametrize(("app", "why"), WITHOUT, ids=[row[0].__name__ for row in WITHOUT])
def test_unless_lifespan_is_on(app, why):
    with pytest.raises(AppError, match=why) as raised:
        lived(app, "on")
    assert raised.value.code == "lifespan.raised"


def test_startup_failed_is_told_with_its_message():
    failed = {"type": "lifespan.startup.failed", "message": "no database"}
    with pytest.raises(AppError, match="no database") as raised:
        lived(living([], [failed]))
    assert raised.value.code == "lifespan.failed"


def test_startup_failed_needs_no_message():
    with pytest.raises(AppError, match="does not say why"):
        lived(living([], [{"type": "lifespan.startup.failed"}]))


def test_shutdown_failed_is_told_with_its_message():
    failed = {"type": "lifespan.shutdown.failed", "message": "still busy"}
    with pytest.raises(AppError, match="still busy") as raised:
        lived(living([], (), [failed]))
    assert raised.value.code == "lifespan.failed"


def test_an_application_that_raises_on_shutdown():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            return await answering(scope, receive, send)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ValueError("cannot clean up")

    with pytest.raises(AppError, match="ValueError: cannot clean up") as raised:
        lived(app)
    assert raised.value.code == "lifespan.failed"


def test_an_application_that_ends_before_its_shutdown():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            return await answering(scope, receive, send)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ValueError("lost its nerve")

    with pytest.raises(AppError, match="lost its nerve") as raised:
        lived(app)
    assert raised.value.code == "lifespan.raised"


def test_one_that_only_returns_on_shutdown_has_cleaned_up():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            return await answering(scope, receive, send)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()

    lived(app)


def test_one_that_goes_on_behind_its_shutdown_is_ended():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            return await answering(scope, receive, send)
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            await asyncio.sleep(0)

    lived(app)


def test_messages_out_of_order_are_refused():
    early = {"type": "lifespan.shutdown.complete"}
    engine, _ = lived(living([], [early]))
    assert "asgi.order" in engine.without_lifespan


def test_a_startup_that_takes_too_long_is_cancelled_with_the_wait():
    ended = []

    async def app(scope, receive, send):
        await receive()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main():
        task = asyncio.create_task(engine_of(app).startup())
        while len(asyncio.all_tasks()) < 3:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert ended == [True]


def test_shutdown_is_asked_for_once():
    log: list[object] = []

    async def main():
        engine = engine_of(living(log))
        await engine.startup()
        await engine.shutdown()
        await engine.shutdown()

    asyncio.run(main())
    assert len(log) == 2


def test_a_double_callable_has_lifespan():
    log = []

    class App:
        def __init__(self, scope):
            self.scope = scope

        async def __call__(self, receive, send):
            await living(log)(self.scope, receive, send)

    lived(App, double=True)
    assert [one["type"] for one in log] == ["lifespan.startup", "lifespan.shutdown"]


# -- real ones


def test_starlette_keeps_what_its_lifespan_gives():
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    log = []

    @asynccontextmanager
    async def lifespan(app):
        log.append("up")
        yield {"name": "state of startup"}
        log.append("down")

    async def page(request):
        return PlainTextResponse(request.state.name)

    _, outs = lived(Starlette(routes=[Route("/p", page)], lifespan=lifespan))
    assert bytes(outs[0].body) == b"state of startup"
    assert log == ["up", "down"]


def test_starlette_says_why_it_does_not_start():
    from starlette.applications import Starlette

    @asynccontextmanager
    async def lifespan(app):
        raise ValueError("no database")
        yield

    with pytest.raises(AppError, match="ValueError: no database") as raised:
        lived(Starlette(lifespan=lifespan))
    assert raised.value.code == "lifespan.failed"


def test_quart_runs_its_hooks():
    from quart import Quart

    log = []
    app = Quart("shop")

    @app.before_serving
    async def before():
        log.append("up")

    @app.after_serving
    async def after():
        log.append("down")

    @app.route("/p")
    async def page():
        return "quart"

    _, outs = lived(app)
    assert (bytes(outs[0].body), log) == (b"quart", ["up", "down"])
