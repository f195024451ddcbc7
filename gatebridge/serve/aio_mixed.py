"""WSGI and ASGI applications in one worker: the inline loop polls, and hands requests over.

A request for an asynchronous application takes its connection along to the event loop, which runs
in a thread of its own; answered and kept, the connection goes back. So WSGI requests cost what
they cost without, however many streams are open, and no thread waits for a stream. Connections
do not carry several requests at once here (FCGI_MPXS_CONNS 0), which no web server asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.serve.aio_connection import AioConnection
from gatebridge.serve.aio_exchange import AioExchange
from gatebridge.serve.connection import Connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gatebridge.serve.aio_loop import AioLoop
    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.loop import Loop
    from gatebridge.serve.site import Site, Wire
    from gatebridge.wire.events import Request


class Moved:
    """What goes along with a request to the event loop."""

    __slots__ = ("body", "ended", "length", "lost", "peer", "request", "site", "sock", "wire")

    def __init__(
        self,
        connection: Connection,
        sock: socket.socket,
        exchange: Exchange,
        request: Request,
        length: int,
    ) -> None:
        feed = exchange.feed
        self.sock = sock
        self.site: Site = connection.site
        self.peer = connection.peer
        self.wire: Wire = connection.wire
        self.request = request
        self.length = length
        self.body = feed.get(feed.size) if feed is not None else b""
        self.ended = exchange.ended
        self.lost = connection.eof


class Mixed:
    """Both loops as one, to a Worker and a Duty."""

    def __init__(self, loop: Loop, aio: AioLoop, listeners: Sequence[Listener]) -> None:
        self._loop = loop
        self._aio = aio
        self._listeners = {listener.site: listener for listener in listeners}
        aio.serve([], None)
        aio.tasks.returned = self._take_back
        for listener in listeners:
            listener.site.limits.multiplex = False
            listener.site.elsewhere = self.move

    # -- there, in a thread of the inline loop

    def move(self, exchange: Exchange, request: Request, length: int) -> bool:
        """Give a request and its connection to the event loop. False: it has gone meanwhile."""
        connection = exchange.connection
        loop, fd = self._loop, connection.fd
        with connection.lock:
            if connection.closed or connection.exchanges.get(exchange.id) is not exchange:
                return False
            if loop.connections.get(fd) is connection:
                del loop.connections[fd]
            loop.poller.remove(fd)
            connection.exchanges.clear()
            connection.closed = True  # for whoever still has it; the descriptor stays open
            exchange.abandoned = True
            moved = Moved(connection, connection.sock, exchange, request, length)
        if exchange.feed is not None:
            exchange.feed.close()
        self._aio.loop.call_soon_threadsafe(self._adopt, moved)
        return True

    # -- here, in the event loop's

    def _adopt(self, moved: Moved) -> None:
        tasks = self._aio.tasks
        connection = AioConnection(moved.sock, moved.site, moved.peer, tasks, moved.wire)
        tasks.connections[connection.fd] = connection
        exchange = AioExchange(connection, moved.request.id, moved.ended)
        connection.exchanges[exchange.id] = exchange
        exchange.arrived(moved.body)
        tasks.begin_built(exchange, moved.request, moved.length)
        if moved.lost and not connection.closed:
            connection.ends()
        connection.watch()

    def _take_back(self, connection: AioConnection) -> bool:
        """Answered and kept: it may be for anybody again. False: it is not."""
        if not connection.returns:
            return False
        listener = self._listeners[connection.site]
        sock = listener.adopt(connection.detach())
        again = Connection(sock, connection.site, connection.peer)
        again.wire = connection.wire
        again.served = True
        fresh = again.next_ahead() if connection.site.name == "http" else []
        if fresh:
            self._loop.submit(fresh)
        else:
            self._loop.resume(again)
        return True

    # -- as one

    def start(self) -> None:
        self._aio.start()
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()
        self._aio.stop()

    def after_fork(self) -> None:
        self._loop.after_fork()
        self._aio.after_fork()

    def refuse_new(self) -> None:
        self._loop.refuse_new()

    def take_queue(self, listener: Listener) -> None:
        self._loop.take_queue(listener)

    def take_inbox(self) -> None:
        self._loop.take_inbox()

    def close_idle(self, fresh_too: bool) -> int:
        return self._aio.close_idle(fresh_too) + self._loop.close_idle(fresh_too)

    def obey(self, worn_after: int, worn: Callable[[], None], overdue: Callable[[], None]) -> None:
        self._loop.obey(worn_after, worn, overdue)
        self._aio.obey(worn_after, worn, overdue)

    @property
    def draining(self) -> bool:
        return self._loop.draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self._loop.draining = value

    @property
    def hands_on(self) -> bool:
        return self._loop.hands_on

    @hands_on.setter
    def hands_on(self, value: bool) -> None:
        self._loop.hands_on = value

    @property
    def inbox(self) -> Inbox | None:
        return self._loop.inbox

    @property
    def in_flight(self) -> int:
        return self._loop.in_flight + self._aio.in_flight

    @property
    def queued(self) -> int:
        return self._loop.queued

    @property
    def served(self) -> int:
        """Application calls: a request that was handed over was one of the inline loop's, too."""
        return self._loop.served
