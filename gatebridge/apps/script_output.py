"""The body of a program's answer, piece by piece as it comes."""

from __future__ import annotations

from math import inf
from signal import Signals
from typing import TYPE_CHECKING, Protocol

from gatebridge.errors import AppError, GatebridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.apps.script_talk import Talk

MOST_UNWANTED = 16 << 20  # bytes of output that are taken and thrown away


class Owner(Protocol):
    path: str

    def end(self, talk: Talk) -> None: ...


class Output:
    """What Script answers.

    first     what came together with the head
    length    the Content-Length, -1 without
    bodiless  the client gets no body (HEAD, 204, 304); the program may write one all the same
    """

    __slots__ = ("_bodiless", "_ended", "_first", "_left", "_owner", "_talk")

    def __init__(self, talk: Talk, first: bytes, length: int, bodiless: bool, owner: Owner) -> None:
        self._talk = talk
        self._first = first
        self._left = length
        self._bodiless = bodiless
        self._owner = owner
        self._ended = False  # its output

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """raises  AppError("script.killed"), AppError("script.timeout"), ConnectionError"""
        if self._bodiless or self._ended:
            raise StopIteration
        talk = self._talk
        if self._left == 0:
            self._finish()
            raise StopIteration
        piece, self._first = self._first, b""
        if not piece:
            piece = talk.read()
        if not piece:
            self._ended = True
            if note_status(talk, self._owner.path):
                raise AppError("script.killed", f"{self._owner.path} was ended by a signal")
            raise StopIteration
        if self._left > 0:
            self._left = max(0, self._left - len(piece))
        return piece

    def _finish(self) -> None:
        """All that it promised is there; it may work on, and its end is that of the answer."""
        talk = self._talk
        self._ended = talk.is_whole = True
        surplus = len(self._first)
        try:
            surplus += talk.drain(MOST_UNWANTED, inf)
        except AppError as error:  # the answer is whole all the same
            talk.errors.note(f"gatebridge: {self._owner.path}: {error}")
        if surplus:
            talk.errors.note(f"gatebridge: {self._owner.path} wrote more than its Content-Length")
        note_status(talk, self._owner.path)

    def close(self) -> None:
        talk = self._talk
        try:
            if self._bodiless and not self._ended:
                self._ended = True
                talk.drain(MOST_UNWANTED, talk.linger)
                note_status(talk, self._owner.path)
        except (GatebridgeError, OSError):  # the answer is out; nobody waits for the rest
            pass
        finally:
            self._owner.end(talk)


def note_status(talk: Talk, path: str) -> bool:
    """Say so when a program that has answered failed at its end. True: a signal ended it."""
    status = talk.status
    if not status:
        return False
    if status > 0:
        talk.errors.note(f"gatebridge: {path} ended with exit status {status}")
        return False
    try:
        name = Signals(-status).name
    except ValueError:  # a real-time one
        name = str(-status)
    talk.errors.note(f"gatebridge: {path} was ended by signal {name}")
    return True
