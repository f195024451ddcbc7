"""What is done about a request that takes longer than --timeout."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from gatebridge.engine.pages import new_incident, timeout_page
from gatebridge.next_steps import then
from gatebridge.serve.worker_log import ERROR

if TYPE_CHECKING:
    from gatebridge.serve.loop import Loop
    from gatebridge.serve.slot import Slot

_FRAMES = 20  # the innermost ones


class RequestTimeout(BaseException):
    """Raised in the thread of a request that ran out of time; applications should let it pass."""


def give_up(loop: Loop, slot: Slot) -> None:
    """Answer 504 in the application's place, and stop the thread as soon as it runs Python code."""
    exchange = slot.exchange
    if exchange is None or not slot.ident:
        return
    incident = new_incident()
    log = exchange.connection.site.log
    log.failures += 1
    limit = exchange.timeout_s or loop.timeout_s
    said = f"request.timeout incident {incident} ({exchange.line}) after {limit:g} s"
    log.line(ERROR, said + then("request.timeout"))
    frame = slot.frame()
    if frame is not None:
        for text in traceback.format_stack(frame)[-_FRAMES:]:
            for line in text.splitlines():
                log.line(ERROR, f"request.timeout {incident} {line}")
    if exchange.connection.time_out(exchange, *timeout_page(incident)):
        loop.abandon(slot, exchange)
    if slot.exchange is exchange:
        slot.interrupt(RequestTimeout)
