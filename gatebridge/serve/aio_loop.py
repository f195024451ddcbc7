"""A worker whose applications are asynchronous: the event loop polls, in a thread of its own.

To a Worker and a Duty it looks as serve.loop.Loop does. Members that they call run in their thread
and hand over what touches connections; a loop that an application blocks answers them late.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent.futures import TimeoutError as TooLate
from typing import TYPE_CHECKING, Any

from gatebridge.errors import AppError, ConfigError
from gatebridge.serve.aio_connection import AioConnection
from gatebridge.serve.aio_stacks import as_thread, frames_of
from gatebridge.serve.aio_tasks import TICK_S, Tasks
from gatebridge.serve.more_stacks import NO_THREAD
from gatebridge.serve.scoreboard import THREADS_MAX
from gatebridge.serve.worker_log import ERROR, INFO

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.worker_log import WorkerLog

_BATCH = 16  # connections accepted at once, of which others may want some
_ACCEPT_PAUSE_S = 0.1  # after the process or the system ran out of descriptors
_ANSWER_S = 1.0  # for the loop to answer its worker
_END_S = 10.0  # for the applications to end


def new_event_loop(kind: str) -> asyncio.AbstractEventLoop:
    """kind: "auto", "asyncio" or "uvloop". raises ConfigError("loop.uvloop")"""
    if kind != "asyncio":
        try:
            import uvloop  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            if kind == "uvloop":
                why = "uvloop is not installed: pip install 'gatebridge[fast]', or --loop asyncio"
                raise ConfigError("loop.uvloop", why) from None
        else:
            made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return made
    return asyncio.new_event_loop()


class AioLoop:
    """The event loop of one worker, its listeners and its applications.

    applications  they have startup() and shutdown(); begun by startup(), ended by stop()
    most          requests at once
    places        of the scoreboard that threads have: the first ones
    """

    def __init__(
        self,
        applications: Sequence[Any],
        log: WorkerLog,
        kind: str,
        most: int,
        board: WorkerSlot | None = None,
        places: int = 0,
    ) -> None:
        self.log = log
        self.inbox: Inbox | None = None
        self.order: list[Listener] = []
        self.draining = False
        self.hands_on = False
        self._applications = applications
        self._begun: list[Any] = []
        views = []
        if board is not None:
            board.widen(THREADS_MAX)
            views = [board.thread(at) for at in range(places, THREADS_MAX)]
        self.tasks = Tasks(views, most)
        self.tasks.rested = self._rested
        self.loop = self.tasks.loop = new_event_loop(kind)
        self.loop.set_exception_handler(self._unhandled)
        self._thread = threading.Thread(target=self._run, name="gatebridge-asyncio", daemon=True)
        self._started = self._ends = False

    # -- the thread

    def _run(self) -> None:
        """Until stop(): a task that calls sys.exit(), or stops the loop, ends no worker."""
        asyncio.set_event_loop(self.loop)
        while not (self._ends or self.loop.is_closed()):
            error: BaseException | None = None
            try:
                self.loop.run_forever()
            except BaseException as left:
                error = left
            if not self._ends:
                said = "the application has left the event loop, which goes on"
                self._unhandled(self.loop, {"message": said, "exception": error})

    def startup(self) -> None:
        """Begin the loop and the applications. raises what their startup() does"""
        self._thread.start()
        self._started = True
        for application in self._applications:
            self.wait_for(application.startup())
            self._begun.append(application)
            why = getattr(application, "without_lifespan", "")
            if why:  # it may be that a startup failed, and nobody would know
                self.log.line(INFO, f"the application is served without lifespan: {why}")

    def wait_for(self, coroutine: Coroutine[Any, Any, Any], most_s: float | None = None) -> Any:
        """Run a coroutine in the loop, and wait for it here. raises what it does"""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(most_s)

    def _call(self, function: Callable[..., Any], *words: Any, most_s: float = _ANSWER_S) -> Any:
        """Call a function in the loop's thread, and wait for it. raises TooLate"""

        async def call() -> Any:
            return function(*words)

        return self.wait_for(call(), most_s)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        """What nobody has awaited or caught: of the application nearly always."""
        error = about.get("exception")
        self.log.line(ERROR, f"asyncio.unhandled {about.get('message')}: {error!r}")
        if isinstance(error, BaseException):
            for line in self.log.traceback(error).splitlines():
                self.log.line(ERROR, f"asyncio.unhandled {line}")

    # -- as a worker's loop

    def serve(self, listeners: Sequence[Listener], inbox: Inbox | None) -> None:
        """What start() will listen to."""
        self.order = list(listeners)
        self.inbox = inbox

    def start(self) -> None:
        self._call(self._listen)

    def _listen(self) -> None:
        for listener in self.order:
            self.loop.add_reader(listener.fd, self._accept, listener)
        if self.inbox is not None:
            self.loop.add_reader(self.inbox.fd, self._take_over)
        self.loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self.loop.call_later(TICK_S, self._tick)
        self.tasks.sweep()
        if not isinstance(self.loop, asyncio.SelectorEventLoop):
            self.tasks.hear_errors()

    def _accept(self, listener: Listener) -> None:
        for _ in range(_BATCH):
            if not self._accept_one(listener):
                return

    def _accept_one(self, listener: Listener) -> bool:
        """Serve the next of a listener's queue. False: there is none."""
        try:
            sock, peer = listener.accept()
        except BlockingIOError:  # another process was quicker
            return False
        except ConnectionError:  # ECONNABORTED and its like: that peer is gone
            return True
        except OSError as error:
            self.loop.remove_reader(listener.fd)
            self.loop.call_later(_ACCEPT_PAUSE_S, self._resume, listener)
            self.log.accept_paused(listener.text, error)
            return False
        if not listener.admits(peer) or listener.is_stranger(sock):
            self.log.refused_peer(peer, listener.text)
            sock.close()
            return True
        self.tasks.add(AioConnection(sock, listener.site, peer, self.tasks))
        return True

    def _resume(self, listener: Listener) -> None:
        if listener in self.order:
            self.loop.add_reader(listener.fd, self._accept, listener)

    def _take_over(self) -> bool:
        """Serve a connection that a worker before us has passed on. False: there is none."""
        if self.inbox is None:
            return False
        try:
            passed = self.inbox.take()
        except OSError:  # out of descriptors: it stays for others, and for later
            return False
        if passed is None:
            return False
        for listener in self.order:
            if listener.text == passed.listener:
                sock: socket.socket = listener.adopt(passed.fd)
                connection = AioConnection(sock, listener.site, passed.peer, self.tasks)
                connection.served = passed.served
                self.tasks.add(connection)
                return True
        os.close(passed.fd)  # nobody of this generation listens there
        return True

    def refuse_new(self) -> None:
        """Accept no more: other workers are there for them."""
        self._quietly(self._refuse_new)

    def _refuse_new(self) -> None:
        for listener in self.order:
            self.loop.remove_reader(listener.fd)
        self.order = []
        if self.inbox is not None:
            self.loop.remove_reader(self.inbox.fd)

    def _quietly(self, function: Callable[..., Any], *words: Any) -> Any:
        """As _call(); None where the loop is blocked: it does it when it is not."""
        if threading.current_thread() is self._thread:  # an overdue task was seen there
            return function(*words)
        try:
            return self._call(function, *words)
        except TooLate:
            return None

    def take_queue(self, listener: Listener) -> None:
        """Accept what the kernel has queued: those clients were told that we are there."""
        self._quietly(self._take_queue, listener)

    def _take_queue(self, listener: Listener) -> None:
        while self._accept_one(listener):
            continue

    def take_inbox(self) -> None:
        """The same for what other workers passed on."""
        self._quietly(self._take_inbox)

    def _take_inbox(self) -> None:
        while self._take_over():
            continue

    def close_idle(self, fresh_too: bool) -> int:
        """Close connections between requests; how many are not."""
        left = self._quietly(self._close_idle, fresh_too)
        return 1 if left is None else int(left)

    def _close_idle(self, fresh_too: bool) -> int:
        left = 0
        for connection in list(self.tasks.connections.values()):
            if connection.raw is not None:
                connection.raw.reader.goes_away()
                left += 1
            elif not connection.untouched or connection.waits_for_input():
                left += 1
            elif connection.deadline and not fresh_too:
                left += 1
            else:
                self._part(connection)
        return left

    def _rested(self, connection: AioConnection) -> None:
        if self.draining and connection.untouched and not connection.waits_for_input():
            self._part(connection)

    def _part(self, connection: AioConnection) -> None:
        """A connection between requests goes to another worker, or ends."""
        inbox = self.inbox if self.hands_on else None
        if inbox is not None:
            inbox.offer(connection.site.bind, connection.peer, connection.served, connection.fd)
        connection.close()

    @property
    def in_flight(self) -> int:
        return len(self.tasks.active)

    @property
    def queued(self) -> int:
        return 0

    @property
    def served(self) -> int:
        return self.tasks.served

    def obey(self, worn_after: int, worn: Callable[[], None], overdue: Callable[[], None]) -> None:
        """When to tell whoever watches over this worker, and how."""
        self.tasks.worn_after = worn_after
        self.tasks.worn = worn
        self.tasks.overdue = overdue

    def after_fork(self) -> None:
        """The application forked, and this is the child: it must not answer for its parent."""
        self.tasks.forked = True
        for connection in list(self.tasks.connections.values()):
            connection.closed = True
            for exchange in connection.exchanges.values():
                exchange.gone = exchange.finished = True

    def stacks(self, interrupted: object) -> bytes:
        """Where the tasks are, behind the stacks of threads. From a signal handler."""
        found = []
        for exchange in list(self.tasks.active.values()):
            if exchange.place is None:
                continue
            frames = frames_of(exchange.running)
            if getattr(exchange.running, "cr_running", False):  # it is in the thread's own stack
                frames = self._own_frames()
            found.append(as_thread(NO_THREAD | exchange.serial, frames))
        return b"".join(found)

    def _own_frames(self) -> list[tuple[str, int, str]]:
        """The event loop's thread, the outermost call first."""
        at = sys._current_frames().get(self._thread.ident or 0)
        frames: list[tuple[str, int, str]] = []
        while at is not None:
            frames.append((at.f_code.co_filename, at.f_lineno or 0, at.f_code.co_name))
            at = at.f_back
        return frames[::-1]

    # -- the end

    def stop(self) -> None:
        """End tasks, applications and the loop; nothing is raised."""
        if not self._started:
            self.loop.close()
            return
        try:
            self.wait_for(self._end(), _END_S)
        except TooLate:
            self.log.line(ERROR, f"lifespan.shutdown did not end in {_END_S:g} s")
        except Exception as error:
            self.log.fault("asyncio", error)
        self._ends = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_ANSWER_S)
        if not self._thread.is_alive():
            self.loop.close()

    async def _end(self) -> None:
        await _cancel([one.task for one in self.tasks.active.values()])
        for application in self._begun:
            try:
                await application.shutdown()
            except AppError as error:
                self.log.note(error, "at the end")
        for connection in list(self.tasks.connections.values()):
            connection.close()
        await _cancel(asyncio.all_tasks() - {asyncio.current_task()})  # of the application's own
        await self.loop.shutdown_asyncgens()
        await self.loop.shutdown_default_executor()


async def _cancel(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """End tasks; those that do not heed it are left."""
    chosen = [task for task in tasks if task is not None]
    for task in chosen:
        task.cancel()
    if chosen:
        await asyncio.wait(chosen, timeout=_ANSWER_S)
