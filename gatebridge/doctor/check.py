"""One question of the doctor, and what it finds.

A module of checks is a list of functions with @check, each of which asks Facts and says a Finding,
or None where all is well or nothing can be said. checks.py names the modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatebridge.doctor.facts import Facts

LINKS: Final = ("browser", "front server", "socket", "worker", "application")  # a request's way
BROKEN: Final = "broken"  # no request gets through, or what it does is wrong
WARNING: Final = "warning"  # it works, and will hurt


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong.

    cause     a sentence
    evidence  what was seen; may have several lines, as a traceback has
    mend      the command or the line of a configuration that mends it
    severity  BROKEN or WARNING
    """

    cause: str
    evidence: str
    mend: str
    severity: str = BROKEN


@dataclass(frozen=True, slots=True)
class Check:
    """A question about a set-up.

    id        "socket.missing"; stable
    link      one of LINKS
    question  as the documentation lists it
    run       raises what Facts raise where it cannot tell
    explains  ids of what is only a consequence, where this is found
    """

    id: str
    link: str
    question: str
    run: Callable[[Facts], Finding | None]
    explains: tuple[str, ...] = ()


class Checks:
    """A module's checks of one link, in the order in which they are named."""

    def __init__(self, link: str) -> None:
        self._link = link
        self._checks: list[Check] = []

    def __call__(
        self, id: str, question: str, explains: tuple[str, ...] = ()
    ) -> Callable[[Callable[[Facts], Finding | None]], Callable[[Facts], Finding | None]]:
        """Decorates the function that runs it."""

        def add(run: Callable[[Facts], Finding | None]) -> Callable[[Facts], Finding | None]:
            self._checks.append(Check(id, self._link, question, run, explains))
            return run

        return add

    def __iter__(self) -> Iterator[Check]:
        return iter(self._checks)
