"""A daemon that nobody has asked for a while ends; whoever needs it starts it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.serve.backlog import queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatebridge.serve.listener import Listener
    from gatebridge.serve.scoreboard import WorkerView

LOOK_S = 1.0  # at most; workers say about as often how many requests they have served


class Idle:
    """When it was last asked. now: monotonic, here and below."""

    __slots__ = ("_since", "_told")

    def __init__(self, now: float) -> None:
        self._since = now
        self._told: dict[int, int] = {}  # requests by the worker's pid

    def look(
        self,
        now: float,
        views: Mapping[str, Iterable[WorkerView]],
        listeners: Iterable[Listener],
    ) -> float:
        """Seconds without a request so far; 0.0 while one is under way or waits."""
        told: dict[int, int] = {}
        busy = False
        for view in [view for some in views.values() for view in some]:
            told[view.pid] = view.requests
            busy = busy or bool(view.running or view.queued)
            busy = busy or view.requests != self._told.get(view.pid, 0)
        self._told = told
        if busy or any(_waits(listener) for listener in listeners):
            self._since = now
        return now - self._since


def _waits(listener: Listener) -> bool:
    depth = queue(listener.sock)
    return depth is not None and depth[0] > 0
