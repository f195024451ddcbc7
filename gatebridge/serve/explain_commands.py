"""`gatebridge explain`: a control socket asks all workers to keep what one request carries.

An order is a file of the supervisor's, without a name, with room in it for each worker; workers
get its descriptor over their channels, and the first one that meets such a request writes what it
carried. The file is read as what it is: bytes that a child wrote.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from time import monotonic
from typing import TYPE_CHECKING, Any

from gatebridge.errors import AppError, UseError
from gatebridge.serve.channel import seconds_of, text_of
from gatebridge.serve.control import LATER, failure
from gatebridge.serve.explaining import ROOM
from gatebridge.serve.pool import LEAVING, READY
from gatebridge.serve.probe_answer import ANSWERS

if TYPE_CHECKING:
    from gatebridge.serve.channel import Message
    from gatebridge.serve.control import Control
    from gatebridge.serve.member import Member
    from gatebridge.serve.supervisor import Supervisor

    Answer = dict[str, Any]

ARM_S = 2.0  # for the workers to say that they have heard
LIMIT_S = 60.0  # for the request to come, if nothing is said
_LIMIT_MAX_S = 3600.0
_TOKEN_MAX = 64  # characters
_PATH_MAX = 1024
_STRIDE = ROOM + 1  # the last byte says to a worker that its report was taken
_TIMERS = ("explain-arm", "explain-take", "explain-over")


class _Order:
    """What is being waited for. asked: workers, by key; unheard: those that have not said so."""

    __slots__ = ("arming", "asked", "fd", "found", "kind", "number", "path", "place", "taking",
                 "token", "unheard", "until")  # fmt: skip

    def __init__(self, number: int, token: str, path: str, until: float, kind: str) -> None:
        self.number = number
        self.token = token
        self.path = path
        self.kind = kind
        self.place = 0  # in the file, of what was found
        self.until = until
        self.fd = _nameless_file()
        self.asked: set[int] = set()
        self.unheard: set[int] = set()
        self.arming = 0  # the client who is told when all have heard
        self.taking = 0  # the client who waits for the report
        self.found: Answer | None = None


class ExplainCommands:
    """One order at a time: a new one takes the place of the one before."""

    __slots__ = ("_control", "_generations", "_number", "_order", "_turns")

    def __init__(self, supervisor: Supervisor, control: Control) -> None:
        house = supervisor.house
        self._control = control
        self._generations = supervisor.generations
        self._turns = house.turns
        self._number = 0
        self._order: _Order | None = None
        house.said["explaining"] = self._heard
        house.said["explained"] = self._explained
        house.greeted = self._greeted
        control.handlers.update({"explain-next": self.next, "explain-take": self.take})

    def next(self, request: Answer) -> Answer:
        """Wait for a request. Answered when the workers do: {"number": …, "workers": …}.

        token, below  what it must carry, and how its path must begin; "" for any
        limit         seconds
        answer        of probe_answer.ANSWERS, to give instead of the application's; with a token
        raises        UseError("explain.malformed"), AppError("explain.file")
        """
        token, path = text_of(request, "token"), text_of(request, "below")
        limit = seconds_of(request, "limit") or LIMIT_S
        kind = text_of(request, "answer")
        if kind and (kind not in ANSWERS or not token):
            raise UseError("explain.malformed", f"an answer is one of {', '.join(ANSWERS)}")
        if len(token) > _TOKEN_MAX or len(path) > _PATH_MAX or limit > _LIMIT_MAX_S:
            text = f"at most {_LIMIT_MAX_S:g} s, a path of {_PATH_MAX} letters"
            raise UseError("explain.malformed", f"{text} and a token of {_TOKEN_MAX}")
        self._end("explain.replaced", "another gatebridge explain waits now")
        now = monotonic()
        self._number += 1
        try:
            order = self._order = _Order(self._number, token, path, now + limit, kind)
        except OSError as error:
            text = f"no file to keep the request in: {error.strerror}; free some space or files"
            raise AppError("explain.file", text) from error
        for crew in self._generations.crews():
            for member in crew.members.values():
                if member.state in (READY, LEAVING):
                    self._ask(order, member)
        order.unheard = set(order.asked)
        order.arming = request["client"]
        self._turns.at("explain-over", order.until, lambda now: self._over())
        if order.unheard:
            self._turns.at("explain-arm", now + ARM_S, lambda now: self._armed(order))
        else:
            self._armed(order)
        return LATER

    def take(self, request: Answer) -> Answer:
        """The report of that request, or null after ``wait`` seconds without one.

        raises  UseError("explain.over")
        """
        order = self._order
        if order is None or request.get("number") != order.number:
            why = "nobody waits for this request any more: its time is over, or another one's began"
            raise UseError("explain.over", why)
        if order.found is not None:
            return self._hand_over(order)
        if order.taking:
            self._control.later(order.taking, _nothing())
        order.taking = request["client"]
        until = min(monotonic() + seconds_of(request, "wait"), order.until)
        self._turns.at("explain-take", until, lambda now: self._late(order))
        return LATER

    def close(self) -> None:
        self._end("explain.over", "the daemon stops")

    # -- workers

    def _ask(self, order: _Order, member: Member) -> None:
        if member.index < 0:  # of the program before this one
            return
        left = order.until - monotonic()
        about: Message = {"number": order.number, "token": order.token, "path": order.path}
        about["answer"] = order.kind
        message = {"do": "explain", **about, "left": left, "at": member.index * _STRIDE}
        if left > 0 and member.tell(message, [order.fd]):
            order.asked.add(member.key)

    def _greeted(self, member: Member) -> None:
        if self._order is not None and self._order.found is None:
            self._ask(self._order, member)

    def _heard(self, member: Member, message: Message, now: float) -> None:
        order = self._order
        if order is not None and message.get("number") == order.number:
            order.unheard.discard(member.key)
            if not order.unheard:
                self._armed(order)

    def _explained(self, member: Member, message: Message, now: float) -> None:
        order, size = self._order, message.get("size")
        if order is None or message.get("number") != order.number or order.found is not None:
            return
        if member.key not in order.asked or not isinstance(size, int):
            return
        order.place = member.index * _STRIDE
        order.found = _read(order.fd, order.place, size)
        order.found["pool"] = self._pool_of(member)
        self._stop(order)
        if order.taking:
            client, order.taking = order.taking, 0
            self._control.later(client, self._hand_over(order))

    def _pool_of(self, member: Member) -> str:
        crews = self._generations.crews()
        return next((crew.pool.name for crew in crews if member.key in crew.members), "")

    def _stop(self, order: _Order) -> None:
        """Nobody need look any more."""
        for crew in self._generations.crews():
            for member in crew.members.values():
                if member.key in order.asked:
                    member.tell({"do": "explain"})

    # -- who asks

    def _armed(self, order: _Order) -> None:
        self._turns.cancel("explain-arm")
        if order.arming:
            client, order.arming = order.arming, 0
            told = {"ok": True, "number": order.number, "workers": len(order.asked)}
            self._control.later(client, told)

    def _late(self, order: _Order) -> None:
        if order.taking:
            client, order.taking = order.taking, 0
            self._control.later(client, _nothing())

    def _hand_over(self, order: _Order) -> Answer:
        """Once: nobody else is to see it. A worker that waits for it goes on."""
        found, self._order = order.found, None
        with contextlib.suppress(OSError):  # it goes on after its time, then
            os.pwrite(order.fd, b"\1", order.place + ROOM)
        self._forget(order)
        return {"ok": True, "report": found}

    def _over(self) -> None:
        self._end("", "")

    def _end(self, code: str, text: str) -> None:
        order, self._order = self._order, None
        if order is None:
            return
        self._stop(order)
        self._forget(order)
        answer = failure(code, text) if code else _nothing()
        for client in (order.arming, order.taking):
            if client:
                self._control.later(client, answer)

    def _forget(self, order: _Order) -> None:
        for name in _TIMERS:
            self._turns.cancel(name)
        os.close(order.fd)


def _nothing() -> Answer:
    return {"ok": True, "report": None}


def _nameless_file() -> int:
    """Nobody else can open it, and it is gone with its last descriptor."""
    make = getattr(os, "memfd_create", None)
    if make is not None:
        fd: int = make("gatebridge-explain")
        return fd
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _read(fd: int, at: int, size: int) -> Answer:
    """What a worker wrote, whatever that is."""
    try:
        found = json.loads(os.pread(fd, size, at)) if 0 < size <= ROOM else None
    except (OSError, ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    return {"failed": "the worker could not tell: its log says why"}
