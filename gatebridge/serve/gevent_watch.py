"""The watch of a worker of class gevent, and what it shows of its greenlets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.serve.gevent_hub import pause
from gatebridge.serve.watch_thread import TICK_S, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from gatebridge.serve.loop import Loop
    from gatebridge.serve.slot import Slot

_SLOWER = 10  # there may be a thousand calls to look at, and the loop itself reads the sockets


class GeventWatch(Watch):
    """Runs in a greenlet of its own."""

    __slots__ = ()

    def _pause(self, seconds: float) -> None:
        pause(seconds * _SLOWER if seconds == TICK_S else seconds)

    def _look_after(self, stuck: list[Slot]) -> None:
        """Only where the loop does not: a greenlet has the turn, or nothing can come but an end."""
        super()._look_after([slot for slot in stuck if _is_left_alone(slot)])


def _is_left_alone(slot: Slot) -> bool:
    exchange = slot.exchange
    return slot.has_turn or (exchange is not None and exchange.connection.eof)


def greenlets(loop: Loop, interrupted: FrameType | None) -> Iterator[tuple[int, str, FrameType]]:
    """For answer_usr1(): those in the application. The one that runs has no frame of its own."""
    for slot in loop.slots:
        if slot.exchange is not None:
            frame = slot.frame() or interrupted
            if frame is not None:
                yield slot.ident, "greenlet", frame
