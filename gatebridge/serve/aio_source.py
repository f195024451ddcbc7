"""The ``AsyncSource`` of an exchange, which has a fact of the name that a coroutine has there."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from gatebridge.serve.aio_exchange import AioExchange


class Source:
    """The body of an exchange for the engine: its gone() is a coroutine, the exchange's a fact."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: "AioExchange") -> None:
        self._exchange = exchange

    @property
    def complete(self) -> bool:
        return self._exchange.ended

    def take(self) -> bytes:
        return self._exchange.take()

    def more(self) -> "Coroutine[Any, Any, bytes]":
        return self._exchange.more()

    def gone(self) -> "Coroutine[Any, Any, None]":
        return self._exchange.has_left()
