"""CGI for an ASGI application: an event loop for the one request of this process.

Imported only where such an application is; what a WSGI one costs stays as it is.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

from gatebridge.apps.interface import AUTO, as_application
from gatebridge.engine.body import CHUNK, Body
from gatebridge.engine.pages import failure_page, new_incident
from gatebridge.errors import AppError, PeerError
from gatebridge.oneshot import LIMIT_BODY, Answer, Stdin, drain

if TYPE_CHECKING:
    from gatebridge.engine.aseams import AsyncEngine
    from gatebridge.wire.cgi_head import Head
    from gatebridge.wire.request import Request

_GRACE_S = 1.0  # between http.disconnect and the task's end, once the server wants no more


class Stdout:
    """The AsyncOut of the engine: descriptor 1. Writes block: there is one request here."""

    congested = False

    def __init__(self, out: Answer) -> None:
        self._out = out
        self.extensions: dict[str, dict[str, object]] = {}
        self.running: object = None
        self.over = asyncio.Event()  # the server has left, or the answer is complete

    @property
    def gone(self) -> bool:
        return self._out.gone

    def left(self) -> None:
        """The server wants no more."""
        self._out.gone = True
        self.over.set()

    def _must_be_there(self) -> None:
        if self._out.gone:
            raise ConnectionResetError("the server wants no more")

    def answer(self, head: Head, body: bytes) -> None:
        self._must_be_there()
        self._out.answer(head, body)
        self.over.set()

    def start(self, head: Head, data: bytes) -> None:
        self._must_be_there()
        self._out.start(head, data)

    def write(self, data: bytes) -> None:
        self._must_be_there()
        self._out.write(data)

    def file(self, head: Head, path: str) -> bool:
        return False

    def hints(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Not carried: CGI has no informational answers."""

    def trailers(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Not carried."""

    def end(self) -> None:
        self.over.set()

    def cut(self, error: BaseException) -> None:
        self._out.cut(error)
        self.over.set()

    async def drain(self) -> None:
        """Nothing is ever kept."""

    def failed(self, incident: str, error: BaseException) -> None:
        self._out.failed(incident, error)

    def refused(self, incident: str, error: PeerError) -> None:
        self._out.refused(incident, error)

    def note(self, error: AppError) -> None:
        self._out.note(error)


class Input:
    """The AsyncSource of the engine: descriptor 0, up to CONTENT_LENGTH or its end."""

    def __init__(self, length: int, ended: bool, out: Stdout) -> None:
        self.left = 0 if ended else length  # bytes, UNKNOWN_LENGTH for up to the end
        self._read = 0
        self._out = out

    @property
    def complete(self) -> bool:
        return self.left == 0

    def take(self) -> bytes:
        return b""  # nothing is read ahead

    async def more(self) -> bytes:
        if self.left == 0:
            return b""
        await _readable(0)
        data = os.read(0, CHUNK if self.left < 0 else min(CHUNK, self.left))
        self._read += len(data)
        if self._read > LIMIT_BODY:
            raise PeerError("body.too_big", f"more than {LIMIT_BODY} bytes")
        if not data:
            self.left = 0
        elif self.left > 0:
            self.left -= len(data)
        return data

    async def gone(self) -> None:
        await self._out.over.wait()


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    try:
        loop.add_reader(fd, _settle, ready)
    except OSError:  # a file, or /dev/null: there it never waits
        return
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def async_engine(app: object) -> AsyncEngine | None:
    """What serves it, None for a WSGI application. raises ConfigError("app.interface")"""
    made: Any = app
    if not getattr(app, "is_async_engine", False):
        made = as_application(app, AUTO, "the application")
    return made if getattr(made, "is_async_engine", False) else None


def answer_async(
    engine: AsyncEngine, request: Request, environ: dict[str, object], length: int, out: Answer
) -> int:
    """Answer the one request of this process. Returns the exit status."""
    left = asyncio.run(_answer(engine, request, environ, length, out))
    if left:
        drain(Body(Stdin(), b"", left), out)
    return 1 if out.cut_off else 0


async def _answer(
    engine: AsyncEngine, request: Request, environ: dict[str, object], length: int, out: Answer
) -> int:
    """Startup, the request, shutdown. Returns how many bytes of the body nobody has read."""
    stdout = Stdout(out)
    source = Input(length, request.complete, stdout)
    try:
        await engine.startup()
    except AppError as error:
        _fail(stdout, error, is_head=environ["REQUEST_METHOD"] == "HEAD")
        return source.left
    loop = asyncio.get_running_loop()
    task = loop.create_task(engine.serve(request, environ, length, stdout, source))

    def stop() -> None:
        stdout.left()
        loop.call_later(_GRACE_S, task.cancel)

    # Not the loop's own way: it would give the signal its default back, and what out ignores
    # behind the last byte would end us.
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, lambda number, frame: loop.call_soon_threadsafe(stop))
    await asyncio.wait([task])
    try:
        await engine.shutdown()
    except AppError as error:
        stdout.failed(new_incident(), error)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the loop is gone; only the drain follows
    return source.left


def _fail(out: Stdout, error: AppError, is_head: bool) -> None:
    incident = new_incident()
    out.failed(incident, error)
    try:
        out.answer(*failure_page(incident, is_head))
    except ConnectionError:  # and nobody wants to know
        pass
