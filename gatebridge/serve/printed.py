"""What the workers of a crew print: their pipes into the log, each at its own pace."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.serve.capture import CHUNK, Capture

if TYPE_CHECKING:
    from gatebridge.serve.house import House
    from gatebridge.serve.member import Member

_LAST = 64  # reads of what a pipe still holds when its worker has ended


class Printed:
    """pool: the name that its lines carry."""

    __slots__ = ("_captures", "_house", "_pool")

    def __init__(self, house: House, pool: str) -> None:
        self._house = house
        self._pool = pool
        self._captures: dict[int, Capture] = {}

    def listen(self, member: Member) -> None:
        if member.output >= 0:
            self._house.turns.watch(member.output, lambda: self._heard(member))

    def end(self, member: Member) -> None:
        """It has ended: write what is left. A program that it started may still have the pipe."""
        self._house.turns.cancel(_name(member))
        for _ in range(_LAST):
            data = member.read(member.output, CHUNK)
            if not data:
                break
            self._capture(member).feed(data, monotonic())
        capture = self._captures.pop(member.key, None)
        if capture is not None:
            capture.end()

    def _heard(self, member: Member) -> None:
        turns = self._house.turns
        data = member.read(member.output, CHUNK)
        if not data:
            if data is not None:
                turns.forget(member.output)
            return
        now = monotonic()
        pause = self._capture(member).feed(data, now)
        if pause:
            turns.forget(member.output)
            turns.at(_name(member), now + pause, lambda now: self.listen(member))

    def _capture(self, member: Member) -> Capture:
        """Made when it first prints: only then is its pid known for certain."""
        if member.key not in self._captures:
            slot = "stem" if member.index < 0 else str(member.index)
            label = f"{self._pool}/{slot}[{member.pid}]"
            self._captures[member.key] = Capture(self._house.log, label, monotonic())
        return self._captures[member.key]


def _name(member: Member) -> str:
    return f"printed {member.key}"
