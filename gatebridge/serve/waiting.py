"""Whether connections wait for a pool in the kernel, and being told when one does."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from gatebridge.serve.backlog import queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.listener import Listener
    from gatebridge.serve.turns import Turns


class Waiting:
    """At listeners, and in the inbox, where drained workers have left kept ones.

    inbox  gives its descriptor, -1 while there is none
    call   what is called when a connection waits, while somebody wants to know
    """

    __slots__ = ("_call", "_inbox", "_listeners", "_turns", "_watched")

    def __init__(
        self,
        turns: Turns,
        listeners: list[Listener],
        inbox: Callable[[], int],
        call: Callable[[], None],
    ) -> None:
        self._turns = turns
        self._listeners = listeners
        self._inbox = inbox
        self._call = call
        self._watched: list[int] = []

    def _fds(self) -> list[int]:
        fds = [listener.fd for listener in self._listeners]
        inbox = self._inbox()
        return [*fds, inbox] if inbox >= 0 else fds

    def now(self) -> bool:
        """Whether one waits now. A listener that is shut is readable without any."""
        poll = select.poll()
        for fd in self._fds():
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, flags in poll.poll(0) if flags & select.POLLIN}
        for listener in self._listeners:
            if listener.fd in ready:
                ready.remove(listener.fd)
                depth = queue(listener.sock)
                if depth is None or depth[0]:
                    return True
        return bool(ready)

    def tell(self, wanted: bool) -> None:
        """Call from now on, or no more. Other generations may wait at the same listeners."""
        if wanted == bool(self._watched):
            return
        for fd in self._watched:
            self._turns.forget(fd, self)
        self._watched = self._fds() if wanted else []
        for fd in self._watched:
            self._turns.watch(fd, self._call, self)
