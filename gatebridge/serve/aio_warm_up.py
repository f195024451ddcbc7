"""The warm-up request of a worker that has asynchronous applications."""

from __future__ import annotations

from asyncio import Event
from typing import TYPE_CHECKING, Any

from gatebridge.engine.wsgi import run
from gatebridge.serve.aio_choice import CHOSEN
from gatebridge.serve.warm_up import Probe, environ_of, judge
from gatebridge.wire.request import Pairs, Request

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application
    from gatebridge.serve.aio_loop import AioLoop


class AsyncProbe(Probe):
    """The same as an ``AsyncOut``."""

    congested = False
    extensions: dict[str, dict[str, object]] = {}

    async def drain(self) -> None:
        pass


class NoBody:
    """The ``AsyncSource`` of a request without a body, whose peer stays."""

    complete = True

    def take(self) -> bytes:
        return b""

    async def more(self) -> bytes:
        return b""

    async def gone(self) -> None:
        await Event().wait()


def warm_up_in(loop: AioLoop, app: Application, target: str) -> None:
    """As warm_up(), where asynchronous applications are among those that may answer."""
    environ = environ_of(target)
    probe = AsyncProbe()
    variables = [(name, str(value)) for name, value in environ.items() if name.isupper()]
    pairs = Pairs(b"", lambda block: variables)
    request = Request(1, environ, False, pairs)
    heads: list[Any] = []
    result = app(environ, lambda *head: heads.append(head))
    application: Any = environ.pop(CHOSEN, None)
    if application is None:
        run(lambda *words: (words[1](*heads[-1]), result)[1], environ, probe)
    else:
        loop.wait_for(application.serve(request, environ, 0, probe, NoBody()))
    judge(probe, target)
