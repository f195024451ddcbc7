"""A connection behind a 101: bytes both ways, and no request any more."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from gatebridge.wire.http import Http
from gatebridge.wire.upgrade import SWITCHING

if TYPE_CHECKING:
    from gatebridge.engine.aseams import RawReader
    from gatebridge.serve.aio_exchange import AioExchange


def no_upgrade(exchange: AioExchange) -> str:
    """Why this connection cannot go on behind a 101; "" where it can."""
    name = exchange.connection.site.name
    if name == "fastcgi":
        return "FastCGI has no upgrade: let nginx use uwsgi, SCGI or HTTP for WebSockets"
    if name != "http" and exchange.front.startswith("Apache"):
        return "Apache passes an upgrade on over HTTP only: ProxyPass to an http:// bind"
    return ""


def upgrade(exchange: AioExchange, head: bytes, reader: RawReader) -> Raw:
    """Answer with a 101; ``Upgradable.upgrade``. raises ConnectionError"""
    connection = exchange.connection
    early = connection.wire.take_early() if isinstance(connection.wire, Http) else b""
    raw = Raw(exchange, reader, early)
    exchange.status = SWITCHING
    exchange.timeout_s = inf
    connection.tasks.leaves_board(exchange)
    connection.take_over(raw)
    connection.send([head])
    return raw


class Raw:
    """The ``RawBytes`` of engine.aseams, for the exchange whose answer the 101 was.

    It has no time limit of a request, and no place on the scoreboard: it may stay for days.
    """

    __slots__ = ("_connection", "_exchange", "early", "most", "ping_s", "reader")

    def __init__(self, exchange: AioExchange, reader: RawReader, early: bytes) -> None:
        self._exchange = exchange
        self._connection = exchange.connection
        self.reader = reader
        self.early = early
        self.most = exchange.connection.site.limit_message
        self.ping_s = exchange.connection.site.websocket_ping_s

    @property
    def paused(self) -> bool:
        return self._connection.paused

    def send(self, data: bytes) -> None:
        self._exchange.sent += len(data)
        self._connection.send([data])

    def pause(self) -> None:
        self._connection.pause()

    def resume(self) -> None:
        if self._connection.paused:
            self._connection.resume()

    def end(self, unread: bool, left: bool) -> None:
        exchange = self._exchange
        self._connection.leave_raw(unread)
        if left:
            exchange.leaves()
        else:
            exchange.completes()
