"""All generations there are: one that serves, one that may take over, and those that drain."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from gatebridge.errors import GatebridgeError
from gatebridge.serve import binds
from gatebridge.serve.crew import Failure
from gatebridge.serve.generation import Generation, heirs
from gatebridge.serve.worker_log import DEBUG, ERROR, INFO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatebridge.serve.crew import Crew
    from gatebridge.serve.house import House
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.member import Member
    from gatebridge.serve.notify import Notify
    from gatebridge.serve.reexec import Heritage
    from gatebridge.serve.scoreboard import WorkerView
    from gatebridge.serve.spawn import Death
    from gatebridge.settings import Configuration


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the last reload. state: ok, running or failed; at: seconds since the epoch."""

    state: str = "ok"
    error: str = ""
    traceback: str = ""
    at: float = 0.0


class Generations:
    """live: who serves; coming: who takes over when ready; listeners: what is open now.

    number  of the last one
    """

    def __init__(self, house: House, notify: Notify) -> None:
        self.all: list[Generation] = []
        self.live: Generation | None = None
        self.coming: Generation | None = None
        self.number = 0
        self.listeners: list[Listener] = []
        self.outcome = Outcome()
        self.hopeless: Failure | None = None  # nobody serves, and nobody will
        self.stopping = False
        self._heirs: list[Crew] = []
        self._house = house
        self._notify = notify
        self._again = False
        self._waiting: list[Callable[[Outcome], None]] = []
        self._answering: list[Callable[[Outcome], None]] = []

    @property
    def over(self) -> bool:
        return not self.all and not self._heirs

    def crews(self) -> Iterable[Crew]:
        for generation in self.all:
            yield from generation.crews
        yield from self._heirs

    def serving(self) -> list[Crew]:
        return self.live.crews if self.live is not None else []

    def views(self, now: float) -> dict[str, list[WorkerView]]:
        """What workers do, by pool; who they are is known here, whatever their memory says."""
        seen = self._house.views(now)
        found: dict[str, list[WorkerView]] = {}
        for crew in self.crews():
            views = found.setdefault(crew.pool.name, [])
            for member in crew.members.values():
                view = seen.get(member.index)
                if view is not None and member.pid:
                    views.append(replace(view, pid=member.pid, pool=crew.pool.name))
        return found

    def member(self, pid: int) -> Member | None:
        """A worker by its pid."""
        for crew in self.crews():
            for member in crew.members.values():
                if member.pid == pid:
                    return member
        return None

    # -- a new one

    def begin(self, configuration: Configuration, listeners: dict[str, list[Listener]]) -> None:
        """The first of this supervisor. raises ConfigError"""
        self._come(Generation(self._house, configuration, listeners, self.number + 1))

    def adopt(self, heritage: Heritage, configuration: Configuration) -> None:
        """Workers and listeners of the program that this one replaces."""
        self.number = heritage.generation
        self.listeners = heritage.listeners
        self._heirs = heirs(self._house, configuration, heritage)

    def reload(
        self,
        why: str,
        done: Callable[[Outcome], None] | None = None,
        read: bool = True,
    ) -> None:
        """Start a new generation; while one is coming, start another one after it.

        done  is told what became of it
        read  the configuration again
        """
        if done is not None:
            self._waiting.append(done)
        if self.coming is not None:
            self._again = True
            return
        self._house.log.line(INFO, f"reload: {why}")
        self._answering, self._waiting = self._waiting, []
        self.outcome = Outcome("running", at=time.time())
        self._notify.reloading(why)
        try:
            self._come(self._next(read))
        except GatebridgeError as error:
            self._fail(Failure(str(error)))
        except Exception as error:  # a fault of ours must not end the supervisor
            self._house.log.fault("reload", error)
            self._fail(Failure(f"{type(error).__name__}: {error}", traceback.format_exc()))

    def _next(self, read: bool) -> Generation:
        hooks = self._house.hooks
        if read or self.live is None:
            configuration = hooks.read_configuration()
        else:
            configuration = self.live.configuration
        listeners = binds.listen(configuration, self.listeners, hooks.bind_all)
        try:
            return Generation(self._house, configuration, listeners, self.number + 1)
        except BaseException:
            fresh = [one for some in listeners.values() for one in some]
            binds.close_unshared(fresh, self.listeners)
            raise

    def _come(self, generation: Generation) -> None:
        self.number = generation.number
        self.all.append(generation)
        self.coming = generation

    # -- each turn

    @property
    def look(self) -> float:
        return min([-inf if crew.dirty else crew.look for crew in self.crews()], default=inf)

    def tick(self, now: float) -> None:
        """Let every crew do what is due, then see who serves."""
        for crew in list(self.crews()):
            if crew.dirty or crew.look <= now:
                crew.tick(now)
        if self.coming is not None:
            self._judge(self.coming, now)
        for generation in [one for one in self.all if one.over]:
            if generation not in (self.live, self.coming):
                self.all.remove(generation)
                generation.close()
        self._heirs = [crew for crew in self._heirs if not crew.over]
        if not (self.live or self.coming or self._heirs or self.stopping):
            self.reload("the last worker of the program before this one has ended")

    def _judge(self, coming: Generation, now: float) -> None:
        if self.live is None and not self._heirs:
            if coming.serves:
                self._promote(coming, now)
            else:
                self.hopeless = coming.hopeless
        elif coming.complete:
            self._promote(coming, now)
        elif coming.failure is not None:
            coming.withdraw(now, self.listeners)
            binds.close_unshared(coming.open(), self.listeners)
            self.coming = None
            self._fail(coming.failure)

    def _promote(self, coming: Generation, now: float) -> None:
        old, self.listeners = self.listeners, coming.open()
        level = INFO if self.live is not None else DEBUG  # of the first one, that it listens
        self.live, self.coming = coming, None
        binds.refuse_unshared(old, self.listeners)
        for crew in self.crews():
            if crew not in coming.crews:
                crew.drain(now, self.listeners)
        binds.close_unshared(old, self.listeners)
        self._house.log.line(level, f"generation {coming.number} is ready")
        self._end(Outcome("ok", at=time.time()))

    def _fail(self, failure: Failure) -> None:
        who = f"generation {self.live.number}" if self.live is not None else "what was there"
        text = f"reload.failed, {who} keeps serving: {failure.error}"
        self._house.log.line(ERROR, text)
        self._end(Outcome("failed", failure.error, failure.traceback, time.time()))

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._notify.ready("" if outcome.state == "ok" else f"reload failed: {outcome.error}")
        answering, self._answering = self._answering, []
        for done in answering:
            done(outcome)
        if self._again:
            self._again = False
            self.reload("asked for again meanwhile")

    # -- the end of workers, and of all

    def ended(self, death: Death, now: float) -> bool:
        return any(crew.ended(death, now) for crew in self.crews())

    def stop(self, now: float) -> None:
        """Whoever serves finishes what is under way; the listeners are closed."""
        self._end_reload(now)
        for listener in self.listeners:  # before a worker takes what it thinks are the last
            listener.refuse()
        for crew in self.crews():
            crew.stop(now)
        self._close()

    def quit(self, now: float) -> None:
        self._end_reload(now)
        for crew in self.crews():
            crew.quit(now)
        self._close()

    def _end_reload(self, now: float) -> None:
        """The first generation, though it has not served yet, is all there is, and stays."""
        coming, self._again, self.stopping = self.coming, False, True
        if coming is not None and (self.live is not None or self._heirs):
            coming.withdraw(now, self.listeners)
            binds.close_unshared(coming.open(), self.listeners)
        elif coming is not None:
            self.listeners = coming.open()
        self.live = self.coming = None
        waiting = [*self._answering, *self._waiting]
        self._answering, self._waiting = [], []
        for done in waiting:
            done(Outcome("failed", "the daemon stops", at=time.time()))

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()
        self.listeners = []
