"""Application calls: what waits for a thread or for its body, what runs, and what is refused."""

from __future__ import annotations

import os
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.engine.pages import new_incident
from gatebridge.errors import PeerError
from gatebridge.serve.arming import Arming
from gatebridge.serve.gate import Gate
from gatebridge.serve.scoreboard import begin, end

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.connection import Connection
    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.slot import Slot
    from gatebridge.serve.worker_log import WorkerLog
    from gatebridge.wire.events import Request

    Fresh = list[tuple[Exchange, Request]]

_ID_MOST = 40  # characters of a request's id on the scoreboard


class Calls(Arming):
    """The requests of a loop's connections.

    threads    application calls at once
    max_queue  requests that may wait for a thread; beyond it they are answered 503
    """

    def __init__(
        self, threads: int, max_queue: int, board: WorkerSlot | None, log: WorkerLog
    ) -> None:
        super().__init__(threads, board, log)
        self.max_queue = max_queue
        self.timeout_s = 0.0  # for an application call; 0 for no end
        self.queue_s = 0.0  # for a request to wait for a thread; 0 for no end
        self.worn_after = 0  # application calls; 0 for never
        self.worn: Callable[[], None] = _nothing
        self.overdue: Callable[[], None] = _nothing
        self.pending: deque[tuple[Exchange, Request]] = deque()
        self.gate = Gate(max(1, threads // 2))
        self.deferred: deque[Exchange] = deque()  # their bodies come without a thread
        self.forked = False

    def handle(self, connection: Connection, slot: Slot | None) -> None:
        """Serve what has come on a connection, then wait for more or close it.

        slot  None: the caller is the watch, which calls no application but queues for it
        """
        if not connection.turn.acquire(False) and not self._take_turn(connection):
            return
        if connection.sending and not self._keep_turn(connection):
            return
        fresh = connection.receive()
        while fresh:
            if slot is None:
                if self._moved(fresh):
                    return
                self.submit(fresh)
                break
            if len(fresh) > 1:
                self.submit(fresh[1:])
            exchange, request = fresh[0]
            if not exchange.ended:
                if self.gate.full:
                    self._defer(exchange, request)
                    break
                exchange.has_turn = True
            slot.has_turn = True
            self._run(slot, exchange, request)
            if exchange.abandoned:
                return
            fresh = connection.next_ahead() if connection.site.name == "http" else []
        self._settle(connection, True)

    def _moved(self, fresh: Fresh) -> bool:
        """Whether an event loop has a request now; one of its needs none of our threads."""
        exchange, request = fresh[0]
        site = exchange.connection.site
        if site.is_elsewhere is None or len(fresh) > 1:
            return False
        try:
            exchange.app = site.prepare(exchange, request)
        except PeerError as error:  # the watch refuses nothing: that may wait for a slow peer
            exchange.error = error
            return False
        return exchange.app is None

    def submit(self, fresh: Fresh) -> None:
        """Queue requests for the next free thread."""
        now = monotonic() if fresh else 0.0
        for exchange, request in fresh:
            exchange.queued_at = now
            if len(self.pending) >= self.max_queue:
                # the connection's lock may be held here: the watch refuses it in a moment
                exchange.error = PeerError("queue.full", f"{self.max_queue} requests wait")
            self.pending.append((exchange, request))
        if fresh:
            self.wake()

    def _run_pending(self, slot: Slot) -> None:
        """Run what is queued now; the watch may queue more all the time, and sockets wait too."""
        for _ in range(len(self.pending)):
            if self.stopping:
                return
            try:
                exchange, request = self.pending.popleft()
            except IndexError:  # another thread was quicker
                return
            turn = False
            exchange.queued_s = waited = monotonic() - exchange.queued_at
            if self.queue_s and waited > self.queue_s and exchange.error is None:
                exchange.error = PeerError("queue.timeout", f"it waited for {waited:.1f} s")
            if exchange.error is not None:
                exchange.environ = request.vars
                exchange.connection.site.refuse(exchange, exchange.error)
                exchange.connection.site.turned_away(exchange, request)
            elif not exchange.gone and not exchange.ended and self.gate.full:
                self._defer(exchange, request)
            elif not exchange.gone:
                if not exchange.ended:
                    exchange.has_turn = turn = exchange.connection.turn.acquire(False)
                slot.has_turn = turn
                self._run(slot, exchange, request)
                if exchange.abandoned:
                    continue
                if exchange.over == "http":
                    self.submit(exchange.connection.next_ahead())
            else:
                exchange.connection.site.release(exchange)
            self._settle(exchange.connection, turn)

    def _defer(self, exchange: Exchange, request: Request) -> None:
        """Keep a request until its body is whole, or a thread may wait for it."""
        connection = exchange.connection
        with connection.lock:
            waits = not exchange.ended
            if waits:
                exchange.deferred = request
                connection.deadline = monotonic() + exchange.idle_s
        if not waits:  # its end has come meanwhile
            self.submit([(exchange, request)])
            return
        self.deferred.append(exchange)
        if self.watch_asleep:
            self._rouse()

    def _undefer(self) -> None:
        """Run the oldest deferred request after all."""
        try:
            exchange = self.deferred.popleft()
        except IndexError:  # another thread was quicker
            return
        with exchange.connection.lock:
            request = exchange.claim() if not exchange.gone else None
        if request is not None:
            self.submit([(exchange, request)])

    def expire_deferred(self, connection: Connection) -> None:
        """Refuse what waits for a body of which nothing came in time."""
        error = PeerError("body.timeout", "its body did not come")
        for exchange in list(connection.exchanges.values()):
            request = exchange.deferred
            incident = new_incident()
            if request is not None and connection.turn_away(exchange, error, incident):
                exchange.deferred = None
                exchange.environ = request.vars
                exchange.refused(incident, error)
                connection.site.turned_away(exchange, request)
        self._settle(connection, False)

    def refuse_surplus(self) -> None:
        """Answer 503 to what max_queue has no room for, or what has waited too long."""
        kept: list[tuple[Exchange, Request]] = []
        while self.pending:
            try:
                exchange, request = self.pending.popleft()
            except IndexError:  # a thread took the last one
                break
            error, connection = exchange.error, exchange.connection
            if error is not None and error.code.startswith("queue."):
                incident = new_incident()
                if connection.turn_away(exchange, error, incident):
                    exchange.environ = request.vars
                    exchange.refused(incident, error)
                    connection.site.turned_away(exchange, request)
                    self._settle(connection, False)
                    continue
            kept.append((exchange, request))
        self.pending.extend(kept)

    def _run(self, slot: Slot, exchange: Exchange, request: Request) -> None:
        slot.serial += 1
        slot.exchange = exchange
        if slot.view is not None:
            self._note(slot, slot.view, request)
            exchange.place = slot.view
        if self.watch_asleep:
            self._rouse()
        try:
            exchange.connection.site.serve(exchange, request)
        except Exception as error:  # a fault of ours: say so, and keep the thread
            exchange.connection.site.log.fault(exchange.line, error)
            exchange.connection.close()
        finally:
            slot.exchange = None
            slot.began = 0.0
            if slot.view is not None:
                end(slot.view)
            if self.forked:
                os._exit(0)

    def _note(self, slot: Slot, view: memoryview, request: Request) -> None:
        """Tell the scoreboard, where a supervisor looks while this thread may be stuck in C."""
        slot.began = now = monotonic()
        vars = request.vars
        id = str(vars.get("HTTP_X_REQUEST_ID") or "")[:_ID_MOST]
        path = str(vars.get("REQUEST_URI") or "-").partition("?")[0]  # queries hold secrets (T19)
        line = f"{vars.get('REQUEST_METHOD') or '-'} {path}"
        data = line.encode("utf-8", "backslashreplace")
        begin(view, slot.ident, now, data, id.encode("ascii", "replace"))
        if self.worn_after and self.served >= self.worn_after:
            self.worn_after = 0
            self.worn()

    def after_fork(self) -> None:
        """The application forked, and this is the child: it must not answer for its parent."""
        self.forked = True
        for slot in self.slots:
            if slot.exchange is not None:
                slot.exchange.gone = True
                slot.exchange.connection.eof = True

    def obey(self, worn_after: int, worn: Callable[[], None], overdue: Callable[[], None]) -> None:
        """When to tell whoever watches over this worker, and how."""
        self.worn_after = worn_after
        self.worn = worn
        self.overdue = overdue

    @property
    def crowded(self) -> bool:
        """So much is queued that no more should be taken in before some of it is done."""
        return len(self.pending) > self.max_queue // 4

    @property
    def served(self) -> int:
        """Application calls so far."""
        return sum([slot.serial for slot in self.slots])

    @property
    def queued(self) -> int:
        """Requests that wait for a thread."""
        return len(self.pending)

    @property
    def in_flight(self) -> int:
        """Requests in the application or waiting for a thread."""
        running = [s for s in self.slots if s.exchange is not None and s.given_up != s.serial]
        return len(running) + len(self.pending)


def _nothing() -> None:
    """Where nobody wants to know."""
