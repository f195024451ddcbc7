"""Workers that cannot keep --timeout themselves: a request in C code holds the interpreter.

No thread of such a worker runs, so its own watch cannot answer 504. It is asked for its stacks,
which the signal handler writes whatever holds the interpreter, and killed at the next look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.next_steps import then
from gatebridge.serve.pool import LEAVING, READY
from gatebridge.serve.worker_log import ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatebridge.serve.crew import Crew
    from gatebridge.serve.scoreboard import WorkerView
    from gatebridge.serve.worker_log import WorkerLog

LOOK_S = 0.5
_SLACK_S = 1.0  # for a worker to have seen to it by itself


class Hung:
    """ask: lets a worker write its stacks, by its pid; raises OSError"""

    __slots__ = ("_ask", "_asked", "_log")

    def __init__(self, log: WorkerLog, ask: Callable[[int], None]) -> None:
        self._log = log
        self._ask = ask
        self._asked: dict[int, float] = {}  # pid -> when the request began

    def wanted(self, crews: Iterable[Crew]) -> bool:
        """Some request has a limit: its pool's, or its route's."""
        pools = [crew.pool for crew in crews]
        return any(pool.settings.timeout or any(app.timeout for app in pool.apps) for pool in pools)

    def look(self, now: float, crews: Iterable[Crew], views: dict[str, list[WorkerView]]) -> None:
        """Kill whoever was asked at the last look and is still in the same request."""
        seen: dict[int, float] = {}
        for crew in crews:
            usual = crew.pool.settings.timeout
            running = {view.pid: view.running for view in views.get(crew.pool.name, ())}
            for member in crew.members.values():
                oldest = running.get(member.pid) or []
                late = [one for one in oldest if 0 < (one.limit or usual) < one.age - _SLACK_S]
                if member.state not in (READY, LEAVING) or not late:
                    continue
                request = late[0]
                seen[member.pid] = request.started
                if self._asked.get(member.pid) != request.started:
                    self._say(member.pid, request.line, request.age)
                else:
                    member.kill(now)
        self._asked = seen

    def _say(self, pid: int, line: str, age: float) -> None:
        why = "code that holds the interpreter; the worker is killed"
        said = f"request.hung pid {pid} ({line}) after {age:.1f} s in {why}"
        self._log.line(ERROR, said + then("request.hung"))
        try:
            self._ask(pid)
        except OSError:  # it has ended meanwhile
            return
