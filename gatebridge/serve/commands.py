"""The commands of the control socket, each answered by the supervisor itself."""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, Any

from gatebridge import __version__
from gatebridge.errors import UseError
from gatebridge.serve import status
from gatebridge.serve.control import LATER
from gatebridge.serve.pool import LEAVING, READY
from gatebridge.serve.worker_log import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.control import Control
    from gatebridge.serve.generations import Outcome
    from gatebridge.serve.supervisor import Supervisor

    Answer = dict[str, Any]


class Commands:
    """Tells a control socket how each command is answered."""

    def __init__(self, supervisor: Supervisor, control: Control) -> None:
        self._supervisor = supervisor
        self._control = control
        control.handlers.update(
            {
                "status": self.status,
                "ping": self.ping,
                "reload": self.reload,
                "stop": self.stop,
                "drain": self.drain,
                "scale": self.scale,
                "reopen-logs": self.reopen_logs,
                "stacks": self.stacks,
                "log-level": self.log_level,
            }
        )

    def status(self, request: Answer) -> Answer:
        here = self._supervisor
        written = here.outside.slow.written
        return status.status(here.house, here.generations, written, here.started)

    def ping(self, request: Answer) -> Answer:
        """Of the supervisor alone: it answers when every worker is stuck."""
        here = self._supervisor
        crews = here.generations.serving()
        return {
            "ok": True,
            "pid": os.getpid(),
            "name": here.name,
            "version": __version__,
            "generation": here.generations.number,
            "ready": sum(crew.count(READY, LEAVING) for crew in crews),
            "workers": sum(len(crew.members) for crew in crews),
            "healthy": bool(crews) and all(crew.healthy for crew in crews),
        }

    def reload(self, request: Answer) -> Answer:
        """Answered when the new generation serves, or will not."""
        if self._supervisor.stopping:
            raise UseError("reload.stopping", "the daemon stops")
        self._supervisor.generations.reload("asked by ctl", self._outcome(request["client"]))
        return LATER

    def _outcome(self, client: int) -> Callable[[Outcome], None]:
        def told(outcome: Outcome) -> None:
            if outcome.state == "ok":
                number = self._supervisor.generations.number
                answer: Answer = {"ok": True, "generation": number}
            else:
                answer = {"ok": False, "code": "reload.failed", "error": outcome.error}
                answer["traceback"] = outcome.traceback
            self._control.later(client, answer)

        return told

    def stop(self, request: Answer) -> Answer:
        self._supervisor.stop(quick=request.get("quick") is True)
        return {"ok": True, "pid": os.getpid()}

    def drain(self, request: Answer) -> Answer:
        return {"ok": True, "workers": self._supervisor.drain()}

    def scale(self, request: Answer) -> Answer:
        count, name = request.get("workers"), request.get("pool", "")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UseError("scale.number", "a number of workers, from 1")
        found = self._supervisor.scale(lambda before: count, name if isinstance(name, str) else "")
        return {"ok": True, "pool": found.pool.name, "workers": found.plan.most}

    def reopen_logs(self, request: Answer) -> Answer:
        self._supervisor.reopen_logs()
        return {"ok": True}

    def stacks(self, request: Answer) -> Answer:
        here = self._supervisor
        client = request["client"]
        found = here.generations.views(monotonic())
        views = [view for some in found.values() for view in some]
        here.outside.slow.stacks(
            views, here.ask_for_stacks, lambda answer: self._control.later(client, answer)
        )
        return LATER

    def log_level(self, request: Answer) -> Answer:
        level = request.get("level")
        if not isinstance(level, str) or level not in LEVELS:
            raise UseError("level.unknown", f"a level is one of {', '.join(LEVELS)}")
        self._supervisor.log_level(level)
        return {"ok": True, "level": level}
