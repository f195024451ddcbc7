"""The operator is told once which front server a listener has, and whose rows are applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.environ.front import BY_NAME, UNKNOWN, recognise
from gatebridge.serve import channel
from gatebridge.serve.worker_log import INFO, WARNING

if TYPE_CHECKING:
    from gatebridge.serve.channel import Message
    from gatebridge.serve.member import Member
    from gatebridge.serve.worker_log import WorkerLog

_LONGEST = 100  # characters of a name that is quoted
_MOST = 64  # lines about one listener
_BINDS = 1024


def front_line(bind: str, front: str, software: str, sign: str) -> tuple[int, str]:
    """Level and text. sign: what told, as in environ.case.Met."""
    named = f"SERVER_SOFTWARE {software[:_LONGEST]!r}" if software else "no SERVER_SOFTWARE"
    told = recognise(software)
    if sign == "front" and told is not UNKNOWN and told.name != front:
        text = f"front.differs on {bind}: the front option says {front}, which counts; {named}"
        return WARNING, text
    if sign == "front":
        return INFO, f"front.given on {bind}: {front}, by the front option ({named})"
    if not sign:
        hint = "set the front option if it is one of the servers that are known"
        return INFO, f"front.unknown on {bind}: {named}, and no variable tells; {hint}"
    why = named if sign == "SERVER_SOFTWARE" else f"by its variables {sign}; {named}"
    return INFO, f"front.recognised on {bind}: {front} ({why})"


class FrontLog:
    """A supervisor's: of all workers that meet a front server, the first is heard."""

    __slots__ = ("_log", "_told")

    def __init__(self, log: WorkerLog) -> None:
        self._log = log
        self._told: dict[str, set[tuple[str, str, str]]] = {}

    def heard(self, member: Member, message: Message, now: float) -> None:
        """A worker says it, who may say anything."""
        bind, front, software, sign = [
            channel.text_of(message, key)[:256] for key in ("bind", "front", "software", "sign")
        ]
        if front not in BY_NAME or (bind not in self._told and len(self._told) >= _BINDS):
            return
        told = self._told.setdefault(bind, set())
        if (front, software, sign) not in told and len(told) < _MOST:
            told.add((front, software, sign))
            self._log.line(*front_line(bind, front, software, sign))
