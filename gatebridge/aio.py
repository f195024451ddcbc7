"""Pools with asynchronous applications: which they are, and the event loop that serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from gatebridge.errors import ConfigError
from gatebridge.serve.aio_choice import is_async
from gatebridge.settings import calls_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatebridge.engine.seams import Application
    from gatebridge.serve.aio_choice import Asynchronous
    from gatebridge.serve.aio_loop import AioLoop
    from gatebridge.serve.aio_mixed import Mixed
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.loop import Loop
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.worker_log import WorkerLog
    from gatebridge.settings import Settings


def begin_loop(
    applications: Sequence[Application],
    settings: Settings,
    log: WorkerLog,
    slot: WorkerSlot | None = None,
) -> AioLoop | None:
    """The event loop of a worker, its applications started; None: none of them is asynchronous.

    raises  ConfigError("loop.uvloop"), AppError("lifespan.…")
    """
    chosen = [one for one in applications if is_async(one)]
    if not chosen:
        return None
    from gatebridge.serve.aio_loop import AioLoop  # asyncio is imported where it is needed

    if settings.worker_class == "gevent":
        raise ConfigError("worker.class", "gevent is for WSGI applications; ASGI ones need none")
    unique = list({id(one): one for one in chosen}.values())
    places = 0 if len(chosen) == len(applications) else calls_at_once(settings)
    loop = AioLoop(unique, log, settings.loop, settings.limit_connections, slot, places)
    loop.tasks.timeout_s = settings.timeout
    loop.tasks.left_s = settings.disconnect_timeout
    try:
        loop.startup()
    except BaseException:
        loop.stop()
        raise
    return loop


def listen(loop: AioLoop, listeners: list[Listener], app: Application, inbox: Any = None) -> None:
    """Let a loop serve what sites were made for."""
    for listener in listeners:
        listener.site.sole = cast("Asynchronous", app) if is_async(app) else None
    loop.serve(listeners, inbox)


def mix(
    aio: AioLoop,
    loop: Loop,
    listeners: list[Listener],
    answers: Callable[[dict[str, object]], object],
) -> Mixed:
    """Both loops for a pool of both kinds. answers: who would, by a request's environ"""
    from gatebridge.serve.aio_mixed import Mixed

    for listener in listeners:
        listener.site.is_elsewhere = lambda environ: is_async(answers(environ))
    return Mixed(loop, aio, listeners)
