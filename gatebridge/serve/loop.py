"""The worker's loop: normally one thread polls, reads, parses and calls the application inline.

A thread that polls, or is in the application, is a *poller*. While application calls run, a watch
looks every few milliseconds; when every poller is stuck in the application it doubles them, up to
the number of threads, and retires them after a second of calm. So a fast application costs no
hand-over, and a slow one gets all its threads.

When all threads are stuck the watch alone keeps an eye on the sockets: it answers what needs no
application (management records), notices who has left, and queues what does; where the pool has
other workers it hands them connections of which nothing is read instead.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from _thread import allocate_lock, get_ident
from collections import deque
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.engine.pages import new_incident
from gatebridge.errors import PeerError
from gatebridge.serve.connection import ARM, CLOSED, Connection
from gatebridge.serve.gate import Gate
from gatebridge.serve.overdue import RequestTimeout
from gatebridge.serve.poller import new_poller
from gatebridge.serve.scoreboard import begin, end
from gatebridge.serve.worker_log import WARNING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listen import Listener
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.serve.site import Site
    from gatebridge.wire.events import Request

    Fresh = list[tuple[Exchange, Request]]

_BATCH = 64  # sockets taken from one poll by a poller that is alone
CLOSE_S = 1.0  # for a thread to come back that nothing keeps
NO_THREAD_S = 10.0  # between two lines that say so
_ID_MOST = 40  # characters of a request's id on the scoreboard
PASSED, NOT_NOW, FULL = 0, 1, 2  # what pass_on() says
ACCEPT_PAUSE_S = 0.1  # after the process or the system ran out of descriptors
_OUT_OF_FDS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Slot:
    """A thread's place. The watch compares serial with seen: equal means stuck since last time."""

    __slots__ = ("began", "exchange", "given_up", "has_turn", "ident", "lock", "seen", "serial",
                 "thread", "view")  # fmt: skip

    def __init__(self, view: memoryview | None) -> None:
        self.view = view  # its place on the scoreboard
        self.began = 0.0  # monotonic; of the current application call, where there is a board
        self.given_up = -1  # the call that ran out of time
        self.has_turn = False  # of the exchange's connection
        self.exchange: Exchange | None = None  # in the application with it
        self.serial = 0  # application calls begun
        self.seen = -1
        self.lock = allocate_lock()  # a parked thread waits on it
        self.thread: threading.Thread | None = None
        self.ident = 0  # what a dump of stacks calls it; 0 before it runs

    def frame(self) -> FrameType | None:
        """Where it is now."""
        return sys._current_frames().get(self.ident)

    def interrupt(self, kind: type[BaseException]) -> None:
        """Raise kind in it, as soon as it runs Python code."""
        import ctypes  # costs what no other request should pay

        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.ident), ctypes.py_object(kind)
        )


class Loop:
    """Everything one worker process serves.

    threads    application calls at once
    max_queue  requests that may wait for a thread; beyond it they are answered 503
    """

    def __init__(
        self,
        listeners: list[Listener],
        threads: int,
        max_queue: int,
        board: WorkerSlot | None = None,
        inbox: Inbox | None = None,
        siblings: bool = False,
    ) -> None:
        self.board = board
        self.siblings = siblings  # other workers may be free when all threads here are stuck
        self.inbox = inbox
        self.order = listeners
        self.timeout_s = 0.0  # for an application call; 0 for no end
        self.queue_s = 0.0  # for a request to wait for a thread; 0 for no end
        self.worn_after = 0  # application calls; 0 for never
        self.worn: Callable[[], None] = _nothing
        self.overdue: Callable[[], None] = _nothing
        self.threads = threads
        self.max_queue = max_queue
        self.poller = new_poller()
        self.listeners = {listener.fd: listener for listener in listeners}
        self.connections: dict[int, Connection] = {}  # those the poller knows
        self.pending: deque[tuple[Exchange, Request]] = deque()
        self.slots: list[Slot] = []
        self.parked: list[Slot] = []
        self.pollers = 0  # threads that are not parked
        self.surplus = 0  # pollers that should park
        self.stopping = False
        self.forked = False
        self.draining = False
        self.told_threads = -inf  # when it was said that no thread could be started
        self.hands_on = False  # while draining: kept connections go to other workers
        self.paused: dict[int, float] = {}  # listener fd -> when to accept again
        self.watch_asleep = False
        self.watch_lock = allocate_lock()
        self.watch_lock.acquire()
        self._lock = allocate_lock()  # guards parked, pollers, surplus
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.poller.listen(self._wake_read)
        self.gate = Gate(max(1, threads // 2))
        self.deferred: deque[Exchange] = deque()  # their bodies come without a thread
        self.inbox_fd = -1
        if inbox is not None:
            self.inbox_fd = inbox.fd
            self.poller.listen(inbox.fd)
        for listener in listeners:
            listener.site.submit = self.submit
            listener.site.gate = self.gate
            self.poller.listen(listener.fd)

    # -- threads

    def start(self) -> None:
        """Start the first poller; the watch is started by whoever owns it."""
        self.add_pollers(1)

    def add_pollers(self, count: int) -> None:
        """Let more threads poll."""
        with self._lock:
            for _ in range(min(count, self.threads - self.pollers)):
                self.pollers += 1
                if self.parked:
                    self.parked.pop().lock.release()
                    continue
                board = self.board
                slot = Slot(board.thread(len(self.slots)) if board is not None else None)
                slot.lock.acquire()
                self.slots.append(slot)
                name = f"gatebridge-{len(self.slots)}"
                slot.thread = threading.Thread(target=self._poll, args=(slot,), name=name)
                slot.thread.daemon = True
                try:
                    slot.thread.start()
                except RuntimeError as error:  # no more threads for this user: with those there are
                    self.slots.pop()
                    self.pollers -= 1
                    if not self.slots:
                        raise
                    self._no_thread(error)
                    return

    def _no_thread(self, error: RuntimeError) -> None:
        """Say once in a while that there are fewer threads than there should be."""
        now = monotonic()
        if now >= self.told_threads + NO_THREAD_S:
            self.told_threads = now
            self.order[0].site.log.line(WARNING, f"threads.few {len(self.slots)}: {error}")

    def retire(self) -> None:
        """Ask all pollers but one to park when they are done with what they do."""
        with self._lock:
            self.surplus = self.pollers - 1
            count = self.surplus
        for _ in range(count):  # one byte a poller: each reads one, and parks
            self.wake()

    def _park(self, slot: Slot) -> None:
        with self._lock:
            if self.surplus <= 0 or self.pollers <= 1:
                self.surplus = 0
                return
            self.surplus -= 1
            self.pollers -= 1
            self.parked.append(slot)
        slot.lock.acquire()

    def wake(self) -> None:
        """Make one poller look at pending, surplus and stopping."""
        try:
            os.write(self._wake_write, b"!")
        except BlockingIOError:  # it has been told often enough
            pass

    def stop(self) -> None:
        """Let every thread return when its application call does."""
        self.stopping = True
        self.add_pollers(self.threads)
        with self._lock:
            for slot in self.parked:
                slot.lock.release()
            self.parked.clear()
        self.wake()

    def close(self) -> bool:
        """After stop(): give back what the system lent. False: some thread is still at work."""
        self._rouse()  # the watch, to end
        for slot in self.slots:
            if slot.thread is not None:
                slot.thread.join(CLOSE_S)
                if slot.thread.is_alive():
                    return False
        self.poller.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        return True

    # -- one thread

    def _poll(self, slot: Slot) -> None:
        slot.ident = get_ident()
        while not self.stopping:
            try:
                self._poll_on(slot)
            except RequestTimeout:  # came when the call it was meant for had just ended
                continue
        self.wake()  # the next one

    def _poll_on(self, slot: Slot) -> None:
        poll = self.poller.poll
        connections = self.connections
        while not self.stopping:
            if self.pending:
                self._run_pending(slot)
                if self.crowded:
                    continue
            if self.deferred and not self.gate.full:
                self._undefer()
                continue
            if self.surplus > 0:
                self._park(slot)
                continue
            wait = 0.0 if self.pending else -1.0
            for fd, _ in poll(wait, _BATCH if self.pollers == 1 else 1):
                connection = connections.get(fd)
                if connection is not None:
                    self.handle(connection, slot)
                elif fd in self.listeners:
                    self._accept(self.listeners[fd], slot)
                elif fd == self.inbox_fd:
                    self.take_over(slot)
                else:
                    self.woken(fd)

    def woken(self, fd: int) -> bool:
        """Take one wake-up, if that is what fd is."""
        if fd != self._wake_read:
            return False
        try:
            os.read(fd, 1)
        except BlockingIOError:  # another poller was quicker
            pass
        return True

    def _accept(self, listener: Listener, slot: Slot) -> None:
        """Serve a new connection; where others wait their turn already, all new ones join them."""
        for _ in range(_BATCH if self.pending else 1):
            connection = self.accept(listener)
            if connection is None:
                return
            self.handle(connection, None if self.pending else slot)
            if self.crowded:
                return

    @property
    def crowded(self) -> bool:
        """So much is queued that no more should be taken in before some of it is done."""
        return len(self.pending) > self.max_queue // 4

    def accept(self, listener: Listener) -> Connection | None:
        """Take one connection off a listener's queue."""
        try:
            sock, peer = listener.accept()
        except BlockingIOError:  # another poller or process was quicker
            return None
        except OSError as error:
            if error.errno in _OUT_OF_FDS:
                self._pause(listener, error)
            return None  # ECONNABORTED and its like: that peer is gone
        if not listener.admits(peer) or listener.is_stranger(sock):
            listener.site.log.refused_peer(peer, listener.text)
            sock.close()
            return None
        return self.connect(sock, listener.site, peer)

    def connect(self, sock: socket.socket, site: Site, peer: object) -> Connection:
        """A connection as this loop has them."""
        return Connection(sock, site, peer)

    def take_over(self, slot: Slot | None) -> bool:
        """Serve a connection that a stuck worker has passed on. False: there is none."""
        if self.inbox is None:
            return False
        try:
            passed = self.inbox.take()
        except OSError as error:  # out of descriptors
            self.poller.remove(self.inbox_fd)
            self.paused[self.inbox_fd] = monotonic() + ACCEPT_PAUSE_S
            self.order[0].site.log.accept_paused("connections of other workers", error)
            self._rouse()
            return False
        if passed is None:
            return False
        for listener in self.order:
            if listener.text == passed.listener:
                break
        else:  # nobody of this generation listens there
            os.close(passed.fd)
            return True
        connection = self.connect(listener.adopt(passed.fd), listener.site, passed.peer)
        connection.served = passed.served  # a kept one has no deadline for its next request
        self.handle(connection, slot)
        return True

    def pass_on(self, connection: Connection) -> int:
        """Let another worker have a connection of which nothing is read: PASSED, NOT_NOW, FULL."""
        inbox, fd = self.inbox, connection.fd
        if inbox is None:
            return FULL
        if not connection.turn.acquire(False):
            return NOT_NOW
        try:
            if not connection.lock.acquire(False):
                return NOT_NOW
            try:
                if not connection.untouched or self.connections.get(fd) is not connection:
                    return NOT_NOW
                name = connection.site.bind
                self.poller.remove(fd)
                del self.connections[fd]
                if inbox.offer(name, connection.peer, connection.served, fd):
                    connection.expire_locked()
                    return PASSED
                connection.level = False
                self._arm(connection)
                return FULL
            finally:
                connection.lock.release()
        finally:
            connection.turn.release()

    def take_queue(self, listener: Listener) -> None:
        """Accept what the kernel has queued: those clients were told that we are there."""
        while True:
            connection = self.accept(listener)
            if connection is None:
                return
            self.handle(connection, None)

    def take_inbox(self) -> None:
        """The same for what other workers have passed on."""
        while self.take_over(None):
            continue

    def close_idle(self, fresh_too: bool) -> int:
        """Close connections between requests; how many are not."""
        left = 0
        for connection in list(self.connections.values()):
            if connection.exchanges or connection.wire.busy:
                left += 1
                continue
            if connection.deadline and not fresh_too:
                left += 1
                continue
            if connection.readable():  # a request that a poller is about to read
                left += 1
                continue
            how = self.pass_on(connection) if self.hands_on else FULL
            if how == NOT_NOW:
                left += 1
            elif how == FULL:
                self.drop(connection)
        return left

    def abandon(self, slot: Slot, exchange: Exchange) -> None:
        """The watch has answered for a thread: serve the connection's next request without it."""
        connection = exchange.connection
        if slot.has_turn:
            connection.turn = allocate_lock()  # the thread keeps the old one
            connection.turn.acquire()
        self._settle(connection, slot.has_turn)

    def refuse_new(self) -> None:
        """Accept no more: other workers are there for them."""
        for listener in self.order:
            self.listeners.pop(listener.fd, None)
            try:
                self.poller.remove(listener.fd)
            except (OSError, KeyError):  # it was removed before
                continue
        if self.inbox_fd >= 0:
            self.poller.remove(self.inbox_fd)
            self.inbox_fd = -1

    def _pause(self, listener: Listener, error: OSError) -> None:
        self.poller.remove(listener.fd)
        self.paused[listener.fd] = monotonic() + ACCEPT_PAUSE_S
        listener.site.log.accept_paused(listener.text, error)
        self._rouse()

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

    def _take_turn(self, connection: Connection) -> bool:
        """Another thread has this connection, and sees to what came when it is done.

        Its lock is not waited for: that thread may hold it as long as a slow peer likes. The
        order of the steps is what makes it right: whoever settles between them either finds
        that the descriptor is not armed any more, or has given the turn back to us.
        """
        fd = connection.fd
        if connection.level:
            connection.level = False
            try:
                self.poller.disarm(fd)
            except OSError:  # closed meanwhile
                return False
            if connection.closed:
                self._rearm(fd, connection)
                return False
        return connection.turn.acquire(False)

    def _keep_turn(self, connection: Connection) -> bool:
        """We have the turn, but a thread that answers another request there is sending.

        It settles when it is done, and finds the turn free and the descriptor not armed; or it
        is done already, and the turn is ours.
        """
        while connection.sending:
            if connection.level:
                connection.level = False
                try:
                    self.poller.disarm(connection.fd)
                except OSError:  # closed meanwhile
                    break
            connection.turn.release()
            if connection.sending or not connection.turn.acquire(False):
                return False
        return True

    def _rearm(self, fd: int, former: Connection) -> None:
        """The descriptor was closed and may already be another connection's, now disarmed."""
        other = self.connections.get(fd)
        if other is not None and other is not former:
            other.level = False
            try:
                self.poller.arm(fd, False, True)
            except OSError:  # closed as well, or about to be armed
                pass

    def _settle(self, connection: Connection, has_turn: bool) -> None:
        if not has_turn and connection.turn.locked():
            return  # its thread settles
        with connection.lock:  # so that the descriptor cannot be closed and used again meanwhile
            if has_turn:
                connection.turn.release()
            elif connection.turn.locked():
                return
            if connection.level and self.pollers == 1 and connection.resting and not self.draining:
                return  # still armed: nearly always so on a kept connection
            verdict = connection.settle()
            if verdict != CLOSED:
                if verdict == ARM and not connection.exchanges:
                    verdict = self._between_requests(connection)
                if verdict != CLOSED:
                    self._arm(connection)
        if verdict == CLOSED and self.connections.get(connection.fd) is connection:
            del self.connections[connection.fd]

    def resume(self, connection: Connection) -> None:
        """Wait for the next request on a connection that was somebody else's."""
        connection.turn.acquire()
        self._settle(connection, True)

    def _between_requests(self, connection: Connection) -> int:
        """Nothing is under way: give what is half read its deadline, or close when draining."""
        known = connection.fd in self.connections
        if connection.wire.busy or not (known or connection.served):
            if not connection.deadline:
                connection.deadline = monotonic() + connection.site.header_s
                if self.watch_asleep:
                    self._rouse()
        elif self.draining and not self.hands_on:
            connection.expire_locked()
            return CLOSED
        elif connection.deadline:
            connection.deadline = 0.0
        return ARM

    def _arm(self, connection: Connection) -> None:
        """Wait for more. A single poller needs no one-shot, and saves a call for each request."""
        fd = connection.fd
        if connection.eof:  # nothing more comes; the thread that answers settles
            if connection.level:
                connection.level = False
                self.poller.disarm(fd)
            return
        level = self.pollers == 1 and not connection.writable_wanted
        if self.connections.get(fd) is not connection:
            self.connections[fd] = connection
            self.poller.add(fd, connection.writable_wanted, not level)
        elif not level or not connection.level:
            self.poller.arm(fd, connection.writable_wanted, not level)
        connection.level = level

    def expire(self, connection: Connection) -> None:
        """Close a connection that did not become a request in time."""
        if connection.expire():
            connection.site.log.expired(connection.peer, connection.site.bind)
            if self.connections.get(connection.fd) is connection:
                del self.connections[connection.fd]

    def drop(self, connection: Connection) -> None:
        """Close a connection that is between two requests."""
        if connection.expire() and self.connections.get(connection.fd) is connection:
            del self.connections[connection.fd]

    # -- application calls

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

    @property
    def served(self) -> int:
        """Application calls so far."""
        return sum([slot.serial for slot in self.slots])

    def after_fork(self) -> None:
        """The application forked, and this is the child: it must not answer for its parent."""
        self.forked = True
        for slot in self.slots:
            if slot.exchange is not None:
                slot.exchange.gone = True
                slot.exchange.connection.eof = True

    def _rouse(self) -> None:
        with self._lock:
            if self.watch_asleep:
                self.watch_asleep = False
                self.watch_lock.release()

    @property
    def queued(self) -> int:
        """Requests that wait for a thread."""
        return len(self.pending)

    def obey(self, worn_after: int, worn: Callable[[], None], overdue: Callable[[], None]) -> None:
        """When to tell whoever watches over this worker, and how."""
        self.worn_after = worn_after
        self.worn = worn
        self.overdue = overdue

    @property
    def in_flight(self) -> int:
        """Requests in the application or waiting for a thread."""
        running = [s for s in self.slots if s.exchange is not None and s.given_up != s.serial]
        return len(running) + len(self.pending)


def _nothing() -> None:
    """Where nobody wants to know."""
