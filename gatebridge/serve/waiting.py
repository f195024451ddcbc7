"""Whether connections wait in the kernel's queues of a pool, and being told when one does."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.listen import Listener
    from gatebridge.serve.turns import Turns


class Waiting:
    """call: what is called when a connection waits, while somebody wants to know."""

    __slots__ = ("_call", "_listeners", "_turns", "_wanted")

    def __init__(self, turns: Turns, listeners: list[Listener], call: Callable[[], None]) -> None:
        self._turns = turns
        self._listeners = listeners
        self._call = call
        self._wanted = False

    def now(self) -> bool:
        """Whether one waits now."""
        poll = select.poll()
        for listener in self._listeners:
            poll.register(listener.fd, select.POLLIN)
        return any(flags & select.POLLIN for _, flags in poll.poll(0))

    def tell(self, wanted: bool) -> None:
        """Call from now on, or no more. Other generations may wait at the same listeners."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for listener in self._listeners:
            if wanted:
                self._turns.watch(listener.fd, self._call, self)
            else:
                self._turns.forget(listener.fd, self)
