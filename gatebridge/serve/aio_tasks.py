"""The requests of an asyncio worker: each is a task from its variables to the end of its coroutine.

A pool's applications may all be asynchronous, and still be behind a routing table and a status
page, which are WSGI. Such a chooser is called as WSGI has it; an asynchronous application under it
leaves itself in environ[CHOSEN] and answers nothing. What the chooser answers itself (404, 405, a
redirect, the status page) is a list of bytes, and is sent from here.
"""

import os
from asyncio import AbstractEventLoop, Future, Task
from contextvars import copy_context
from io import BytesIO
from select import poll
from time import monotonic
from typing import Any

from gatebridge.engine.pages import new_incident, timeout_page
from gatebridge.errors import AppError, PeerError
from gatebridge.next_steps import then
from gatebridge.routing.limits import CountedInput
from gatebridge.serve.aio_choice import CHOSEN
from gatebridge.serve.aio_connection import AioConnection
from gatebridge.serve.aio_exchange import AioExchange
from gatebridge.serve.aio_probe import answering
from gatebridge.serve.aio_source import Source
from gatebridge.serve.aio_stacks import lines_of
from gatebridge.serve.more_stacks import NO_THREAD
from gatebridge.serve.request_id import request_id
from gatebridge.serve.scoreboard import begin, end
from gatebridge.serve.worker_log import ERROR
from gatebridge.wire.cgi_head import make_head
from gatebridge.wire.request import UNKNOWN_LENGTH, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.engine.seams import Application
    from gatebridge.serve.site import Site

TICK_S = 0.5  # between two looks at what only time changes
_READS = 64  # at once of a connection whose peer has gone
_ID_MOST = 40  # characters of a request's id on the scoreboard
_STUBBORN_S = 5.0  # for a task that was cancelled after its time limit; then its worker is replaced


class Tasks:
    """What the connections of one event loop share.

    loop       set before the first connection
    views      places on the scoreboard; a request that finds none free runs without
    most       requests at once; further ones are answered 503
    timeout_s  for one request; 0.0 for no end
    left_s     for a request whose peer has left, before its task is cancelled; 0.0 for no end
    overdue    is called when a task does not end that ran out of time
    """

    loop: AbstractEventLoop

    def __init__(self, views: list[memoryview], most: int) -> None:
        self.views = views
        self.most = most
        self.timeout_s = 0.0
        self.left_s = 0.0
        self.served = 0
        self.worn_after = 0
        self.worn: Callable[[], None] = _nothing
        self.overdue: Callable[[], None] = _nothing
        self.rested: Callable[[AioConnection], None] = _stays
        self.returned: Callable[[AioConnection], bool] = _ours
        self.connections: dict[int, AioConnection] = {}
        self.active: dict[int, AioExchange] = {}  # by ident; their tasks are not done
        self.stubborn: dict[int, float] = {}  # ident -> when it was cancelled for its time limit
        self.forked = False
        self._free = list(range(len(views)))
        self._context = copy_context()  # of no request: callbacks may run in another request's

    def new_future(self) -> "Future[None]":
        return self.loop.create_future()

    def now(self) -> float:
        return monotonic()

    # -- connections

    def add(self, connection: AioConnection) -> None:
        """Serve a connection on which something may wait already."""
        self.connections[connection.fd] = connection
        connection.deadline = monotonic() + connection.site.header_s
        connection.readable()
        if not connection.closed:
            self.loop.call_soon(connection.watch)

    def forget(self, connection: AioConnection) -> None:
        if self.connections.get(connection.fd) is connection:
            del self.connections[connection.fd]

    # -- one request

    def begin(self, exchange: AioExchange, request: Request) -> None:
        """Run a request. Raises nothing of the peer's or the application's."""
        connection = exchange.connection
        site = connection.site
        if site.name == "http":
            site.add_addresses(connection.peer, request.vars)
        exchange.began = monotonic()
        exchange.environ = request.vars
        instead: Application | None = None
        try:
            _, length = site.builder.build(request)
            if site.builder.news:
                instead = site.notice(connection.peer, request)
        except PeerError as error:
            if site.builder.news:
                site.notice(connection.peer, request)
            exchange.refuse(error)
            return
        request.vars.update(site.extra)
        self.begin_built(exchange, request, length, instead)

    def begin_built(
        self,
        exchange: AioExchange,
        request: Request,
        length: int,
        instead: "Application | None" = None,
    ) -> None:
        """The same for a request whose environ is built.

        length   of its body
        instead  a WSGI application that answers in the place of the site's
        """
        site = exchange.connection.site
        environ = exchange.environ = request.vars
        exchange.began = monotonic()
        try:
            length = self._prepare(exchange, request, site, environ, length)
        except PeerError as error:
            exchange.refuse(error)
            return
        application: Any = site.sole if instead is None else answering(instead)
        if application is None:
            application = self._choose(exchange, site, environ)
            if application is None:
                return
        self.served += 1
        if self.worn_after and self.served >= self.worn_after:
            self.worn_after = 0
            self.worn()
        exchange.serial = self.served
        self.active[self.served] = exchange
        if self._free:
            self._note(exchange, environ)
        coroutine = application.serve(request, environ, length, exchange, Source(exchange))
        exchange.running = coroutine
        task = Task(coroutine, loop=self.loop, context=self._context.copy())
        exchange.task = task
        task.add_done_callback(exchange.task_done)

    def _prepare(
        self,
        exchange: AioExchange,
        request: Request,
        site: "Site",
        environ: dict[str, object],
        length: int,
    ) -> int:
        """What the environ has beside variables; the body's length. raises PeerError"""
        environ["gatebridge.timeout"] = exchange.limit_time
        environ["gatebridge.gone"] = exchange.is_gone
        if site.access is not None and site.access.wants_id:
            request_id(environ)  # the application may show it, too
        if request.doubtful:  # nginx announces a part of it; the client's own word is the length
            environ["CONTENT_LENGTH"] = environ.get("HTTP_CONTENT_LENGTH", "")
            length = UNKNOWN_LENGTH
        if length > site.limit_body:
            raise PeerError("body.too_big", f"{length} > {site.limit_body} bytes")
        if len(self.active) >= self.most:
            raise PeerError("queue.full", f"{self.most} requests are under way")
        exchange.received += len(request.body)
        return length

    def _choose(self, exchange: AioExchange, site: "Site", environ: dict[str, object]) -> Any:
        """The asynchronous application for a request; None: a page was sent in its place."""
        heads: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: Any, headers: Any, exc_info: Any = None) -> Any:
            heads.append((status, headers))
            return None

        environ["wsgi.input"] = BytesIO()
        result: Any = None
        try:
            result = site.app(environ, start_response)
            chosen = environ.pop(CHOSEN, None)
            if chosen is not None:
                exchange.release = getattr(result, "close", None)
                counted = environ["wsgi.input"]
                if isinstance(counted, CountedInput):
                    exchange.most = counted.most
                return chosen
            body = b"".join(result)
            if not heads:
                raise AppError("start_response.missing", "the application never called it")
            head = make_head(*heads[-1])
            exchange.answer(head if head.length >= 0 else head.with_length(len(body)), body)
        except PeerError as error:
            exchange.refuse(error)
        except ConnectionError:
            exchange.gone = True
        except Exception as error:
            exchange.fail(error)
        if result is not None and hasattr(result, "close"):
            result.close()
        return None

    def _note(self, exchange: AioExchange, environ: dict[str, object]) -> None:
        """Tell the scoreboard, where a supervisor looks."""
        at = exchange.place_at = self._free.pop()
        view = exchange.place = self.views[at]
        id = str(environ.get("HTTP_X_REQUEST_ID") or "")[:_ID_MOST]
        path = str(environ.get("REQUEST_URI") or "-").partition("?")[0]  # queries hold secrets
        line = f"{environ.get('REQUEST_METHOD') or '-'} {path}"
        data = line.encode("utf-8", "backslashreplace")
        begin(
            view, NO_THREAD | exchange.serial, exchange.began, data, id.encode("ascii", "replace")
        )

    def answered(self, exchange: AioExchange) -> None:
        """Its answer is complete, or nobody's; its task may go on."""
        self.leaves_board(exchange)
        exchange.log_line(monotonic())

    def leaves_board(self, exchange: AioExchange) -> None:
        """No supervisor need watch it."""
        if exchange.place is not None:
            end(exchange.place)
            self._free.append(exchange.place_at)
            exchange.place = None

    def done(self, exchange: AioExchange, task: "Task[None]") -> None:
        """Its coroutine has ended."""
        self.active.pop(exchange.serial, None)
        self.stubborn.pop(exchange.serial, None)
        exchange.running = None
        if exchange.release is not None:
            exchange.release()
            exchange.release = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            exchange.connection.site.log.fault(exchange.line, error)
        if not (exchange.finished or exchange.sends_file):
            exchange.fail(error or AppError("asgi.cancelled", "its task was cancelled"))
        if exchange.finished:
            exchange.environ = None
        if self.forked:
            os._exit(0)

    # -- what only time changes

    def sweep(self) -> None:
        now = monotonic()
        for connection in list(self.connections.values()):
            connection.sweep(now)
        for exchange in list(self.active.values()):
            most = exchange.timeout_s or self.timeout_s
            if exchange.left_at:
                if self.left_s and now - exchange.left_at > self.left_s:
                    exchange.left_at = 0.0  # once: it may have to wait while it tidies up
                    self.cancel(exchange)
            elif most and not exchange.finished and now - exchange.began > most:
                self._time_out(exchange, most, now)
        for serial, since in list(self.stubborn.items()):
            if now - since > _STUBBORN_S:
                del self.stubborn[serial]
                self.overdue()

    def hear_errors(self) -> None:
        """Read on where a peer has gone: of a socket with an error uvloop tells once, and what had
        come before the error, if it is more than one read, would wait for ever.
        """
        waiter = poll()
        for fd in self.connections:
            waiter.register(fd, 0)
        for fd, _ in waiter.poll(0):
            for _ in range(_READS):
                connection = self.connections.get(fd)
                if connection is None or not connection.is_read:
                    break
                connection.readable()

    def cancel(self, exchange: AioExchange) -> None:
        if exchange.task is not None:
            exchange.task.cancel()

    def _time_out(self, exchange: AioExchange, most: float, now: float) -> None:
        """Answer 504 in the application's place, or cut what it has begun; end its task."""
        incident = new_incident()
        log = exchange.connection.site.log
        log.failures += 1
        said = f"request.timeout incident {incident} ({exchange.line}) after {most:g} s"
        log.line(ERROR, said + then("request.timeout"))
        for line in lines_of(exchange.running):
            log.line(ERROR, f"request.timeout {incident} {line}")
        try:
            if exchange.status:
                exchange.cut(PeerError("request.timeout", f"after {most:g} s"))
            else:
                exchange.answer(*timeout_page(incident))
        except ConnectionError:  # left at the same moment
            pass
        exchange.gone = exchange.abandoned = True
        self.stubborn[exchange.serial] = now
        self.cancel(exchange)


def _nothing() -> None:
    """Where nobody wants to know."""


def _stays(connection: AioConnection) -> None:
    """A kept connection waits for its next request."""


def _ours(connection: AioConnection) -> bool:
    """Nobody else wants a connection."""
    return False
