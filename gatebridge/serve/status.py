"""What `gatebridge status` is told."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Any

from gatebridge import __version__
from gatebridge.serve import backlog
from gatebridge.serve.pool import DRAINING, LEAVING, READY, STARTING
from gatebridge.serve.status_page import pool_summary

if TYPE_CHECKING:
    from gatebridge.serve.crew import Crew
    from gatebridge.serve.generations import Generations
    from gatebridge.serve.house import House, Totals
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.scoreboard import WorkerView

    Answer = dict[str, Any]


def status(
    house: House, generations: Generations, written: dict[str, int], started: float
) -> Answer:
    """written: entries in the slow log, by pool; started: monotonic."""
    now = monotonic()
    pools: dict[str, list[Crew]] = {}
    for crew in generations.crews():
        pools.setdefault(crew.pool.name, []).append(crew)
    views = generations.views(now)
    outcome = generations.outcome
    return {
        "ok": True,
        "pid": os.getpid(),
        "version": __version__,
        "build": build(),
        "uptime_s": round(now - started, 1),
        "generation": generations.live.number if generations.live is not None else 0,
        "reload": {
            "state": outcome.state,
            "error": outcome.error,
            "traceback": outcome.traceback,
            "at": outcome.at,
        },
        "pools": {
            name: _pool(house.of(name), crews, views[name], written.get(name, 0))
            for name, crews in pools.items()
        },
    }


def _pool(totals: Totals, crews: list[Crew], views: list[WorkerView], written: int) -> Answer:
    found = pool_summary(views)
    found["requests"] += totals.requests
    found["failed"] += totals.failed
    found["slow"] = max(found["slow"] + totals.slow, written)
    found["lost_lines"] += totals.lost
    found["workers"] = {
        "starting": sum(crew.count(STARTING) for crew in crews),
        "ready": sum(crew.count(READY, LEAVING) for crew in crews),
        "draining": sum(crew.count(DRAINING) for crew in crews),
    }
    newest = max(crews, key=lambda crew: crew.generation)
    reasons = [crew.failure.error for crew in crews if crew.failure and crew.plan.failures]
    return {
        "pm": newest.pool.settings.pm,
        **found,
        "routes": _routes(newest),
        "binds": [_bind(listener) for listener in newest.listeners],
        "forks": totals.forks,
        "deaths": totals.deaths,
        "crash_loop": any(crew.plan.crash_loop for crew in crews),
        "reason": reasons[0] if reasons else "drained" if newest.plan.paused else "",
    }


def _routes(crew: Crew) -> list[Answer]:
    """Those that can be switched. requests: how many went to the legacy and to the new side."""
    board = crew.routes
    return [
        {
            "route": str(app),
            "name": app.name,
            "mode": "new" if board.is_new(index) else "legacy",
            "not_loaded": board.failed(index),
            "requests": list(board.counts(index)),
        }
        for index, app in enumerate(crew.pool.apps)
        if board is not None and app.new
    ]


def _bind(listener: Listener) -> Answer:
    queue = backlog.queue(listener.sock)
    queued, most = queue if queue is not None else (None, None)
    return {"text": listener.text, "backlog": most, "queued": queued}


def build() -> str:
    """Whether the hot modules are compiled."""
    from gatebridge.wire import fastcgi

    return "pure" if (fastcgi.__file__ or "").endswith(".py") else "compiled"
