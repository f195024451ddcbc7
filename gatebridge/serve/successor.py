"""The program that USR2 puts in this one's place: tried out first, then become."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from gatebridge.serve import reexec, spawn
from gatebridge.serve.worker_log import ERROR, INFO

if TYPE_CHECKING:
    from gatebridge.serve.generations import Generations
    from gatebridge.serve.house import House
    from gatebridge.serve.outside import Outside
    from gatebridge.serve.spawn import Death

TRIAL_S: Final = 60.0  # for the trial run


class Successor:
    """wanted: it has been asked for, and begins when no reload is under way."""

    __slots__ = ("_generations", "_house", "_outside", "_passed", "_trial", "wanted")

    def __init__(self, house: House, generations: Generations, outside: Outside) -> None:
        self._house = house
        self._generations = generations
        self._outside = outside
        self._trial = 0  # its pid
        self._passed = False  # the trial went well
        self.wanted = False

    def consider(self) -> None:
        """At the end of a turn, when everything that happened before is known."""
        if self._passed:
            self._passed = False
            self._become()
        if self.wanted and not self._trial and self._generations.coming is None:
            self.wanted = False
            try:
                self._trial = reexec.try_out(self._estate(), self._environment())
                self._house.turns.at("trial", self._house.now() + TRIAL_S, self._end_trial)
            except OSError as error:
                self._house.log.line(ERROR, f"reexec.failed: {error}")

    def _end_trial(self, now: float) -> None:
        if spawn.is_child(self._trial):
            os.kill(self._trial, signal.SIGKILL)

    def ended(self, death: Death, stopping: bool) -> bool:
        """Whether it was the trial run. If that went well this program ends with the turn."""
        if death.pid != self._trial:
            return False
        self._trial = 0
        self._house.turns.cancel("trial")
        if death.status:
            text = f"reexec.failed: a trial run of the new program ended with {death}"
            self._house.log.line(ERROR, f"{text}; this one goes on")
        else:
            self._passed = not stopping
        return True

    def _become(self) -> None:
        self._house.log.line(INFO, "re-executing with the same sockets")
        self._outside.notify.reloading("re-executing")
        try:
            reexec.execute(self._estate(), self._environment())
        except OSError as error:
            self._house.log.line(ERROR, f"reexec.failed: {error}")
            self._outside.notify.ready()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._outside.notify.environment()}

    def _estate(self) -> reexec.Estate:
        control = self._outside.control
        return reexec.Estate(
            self._generations.number,
            self._house.folder,
            [(one.bind.text, one.fd) for one in self._generations.listeners],
            (control.sock.fileno(), control.path) if control is not None else (-1, ""),
            [
                reexec.leave(member, crew.pool.name)
                for crew in self._generations.crews()
                for member in crew.members.values()
                if member.pid
            ],
            self._inboxes(),
        )

    def _inboxes(self) -> dict[str, list[int]]:
        pools = {crew.pool.name: crew.pool for crew in self._generations.serving()}
        found = {name: self._house.hooks.open_inbox(pool) for name, pool in pools.items()}
        return {name: list(inbox.fds) for name, inbox in found.items() if inbox is not None}
