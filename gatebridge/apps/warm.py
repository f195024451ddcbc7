"""Python scripts as forks of a warmed interpreter, the zygote.

A zygote imports only before its first request. What its scripts import besides, it says; then a
second one is warmed with that, and takes over when it is ready. So no import can hold up or break
a request, and a request that comes earlier imports for itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

from gatebridge.apps.hosted import (
    START_S,
    Host,
    Hosted,
    Pipes,
    Scripts,
    Slots,
    kill_group,
    names_of,
    say_on_stderr,
)
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.apps.host.packet import Said
    from gatebridge.apps.hosted import Answer, Words
    from gatebridge.apps.options import ScriptOptions
    from gatebridge.apps.running import Call

_TRIES = 4  # hosts that a request may see end before its script begins
_GIVEN_UP = 3  # hosts that die one after the other, and no module is to blame
_KILLED = -int(signal.SIGKILL)


class Warm:
    """A launcher (see running.Launcher).

    say  told what the operator should know, each once
    """

    def __init__(self, options: ScriptOptions, say: Callable[[str], None] = say_on_stderr) -> None:
        self._options = options
        self._say = say
        self._said: set[str] = set()
        self._scripts = Scripts()
        self._begin()

    def _begin(self) -> None:
        """Nothing runs yet."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._slots = Slots(self._options)
        self._zygote: Host | None = None
        self._next: Host | None = None
        self._retired: list[Host] = []
        self._names = list(self._options.preload or ())
        self._spoilt: set[str] = set()
        self._folder = "/"

    def _in_this_process(self) -> None:
        """In a fork of whoever made it nothing runs yet: the hosts are not ours."""
        if self._pid != os.getpid():
            for host in (self._zygote, self._next, *self._retired):
                if host is not None:
                    host.abandon()
            self._begin()

    def start(self, call: Call) -> _Forked:
        self._in_this_process()
        self._scripts.check(call)
        self._slots.take(call.path)
        try:
            pipes = Pipes(call.has_body)
            try:
                pid, answer = self._ask(call, pipes)
            except BaseException:
                pipes.close()
                raise
        except OSError as error:
            self._slots.give()
            raise AppError("script.start", f"{call.path}: {error.strerror}") from error
        except BaseException:
            self._slots.give()
            raise
        pipes.close_theirs()
        return _Forked(pid, pipes, answer, self._slots.give)

    def is_warm(self) -> bool:
        """Whether everything learned so far has been imported, or cannot be."""
        with self._lock:
            zygote = self._current()
            return self._next is None and not zygote.learned

    def close(self) -> None:
        self._in_this_process()
        with self._lock:
            hosts = [self._zygote, self._next, *self._retired]
            self._zygote, self._next, self._retired = None, None, []
        for host in hosts:
            if host is not None:
                host.close()
        for host in hosts:
            if host is not None:
                host.end()

    def _ask(self, call: Call, pipes: Pipes) -> tuple[int, Answer]:
        """raises AppError, OSError"""
        is_stale_right = False
        for _ in range(_TRIES):
            with self._lock:
                if self._zygote is None:
                    self._folder = os.path.dirname(call.path)
                zygote = self._current()
            try:
                answer = zygote.ask(call, pipes, is_stale_right)
            except OSError:
                self._lost(zygote)
                continue
            said = answer.next(START_S)
            if said is not None and "pid" in said:
                return int(said["pid"]), answer
            answer.sock.close()
            if said is None:
                self._lost(zygote)
            elif "stale" in said:
                is_stale_right = not self._renew(zygote)
            else:
                raise AppError("script.start", str(said.get("error", "its host says nonsense")))
        raise AppError("script.host", f"{call.path}: the interpreter for it ends again and again")

    def _current(self) -> Host:
        """The zygote to ask. The lock is held. raises AppError("script.host"), OSError"""
        self._retired = [host for host in self._retired if not host.is_over()]
        if self._zygote is not None:
            alive = self._zygote.listen(0.0)
            learned = [name for name in self._zygote.learned if name not in self._names]
            self._zygote.learned.clear()
            self._names += learned
            if not alive:
                self._retire()
            elif learned and self._next is None:
                self._next = self._warm()
        if self._next is not None or self._zygote is None:
            self._advance(0.0 if self._zygote is not None else START_S)
        if self._zygote is None:
            raise AppError("script.host", "no interpreter could be warmed: see the lines before")
        return self._zygote

    def _advance(self, timeout_s: float) -> None:
        """Bring the next zygote further; it takes over when it is ready. The lock is held."""
        deaths = 0
        while deaths < _GIVEN_UP:
            if self._next is None:
                self._next = self._warm()
            host = self._next
            alive = host.listen(timeout_s)
            if host.ready and alive:
                self._take_over(host)
                return
            if alive and timeout_s == 0.0:
                return
            self._next = None
            host.kill()
            module, reason = host.refused or (host.importing, "importing it ends the process")
            if not module:
                deaths += 1
                self._tell("script.host an interpreter ended before it was warm")
                continue
            self._refuse(module, reason)

    def _take_over(self, host: Host) -> None:
        wanted = set(self._options.preload or ())
        for name, why in host.failed:
            if name in wanted:
                self._tell(f"script.preload {name} cannot be imported ahead: {why}")
        self._spoilt |= names_of(host.failed) - wanted
        self._next = None
        self._retire()
        self._zygote = host
        if set(self._wanted()) - set(host.asked):  # learned while it was warmed
            self._next = self._warm()

    def _refuse(self, module: str, reason: str) -> None:
        self._spoilt.add(module)
        self._tell(f"script.preload {module} is not imported ahead: {reason}")

    def _retire(self) -> None:
        """The zygote takes no more requests, and ends when nothing runs in it."""
        if self._zygote is not None:
            self._zygote.close()
            self._retired.append(self._zygote)
            self._zygote = None

    def _lost(self, zygote: Host) -> None:
        """It does not answer: it has ended, or hangs."""
        with self._lock:
            if self._zygote is zygote:
                self._zygote = None
                zygote.kill()

    def _renew(self, zygote: Host) -> bool:
        """A file of its modules has changed: a new one, and only then is it retired."""
        with self._lock:
            if self._zygote is not zygote:
                return True
            if self._next is not None:  # warmed from older files, perhaps
                self._next.kill()
            self._next = self._warm()
            self._advance(START_S)
            return self._zygote is not zygote

    def _wanted(self) -> list[str]:
        return [name for name in self._names if name not in self._spoilt]

    def _warm(self) -> Host:
        learns = self._options.preload is None
        words: Words = {
            "preload": self._wanted(),
            "folder": self._folder,
            "learns": learns,
            "idle_s": 0.0,
        }
        return Host("zygote", words, self._options)

    def _tell(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


class _Forked(Hosted):
    """A fork of a zygote."""

    def _judge(self, said: Said) -> int:
        status = said.get("status")
        if isinstance(status, int):
            return status
        kill_group(self.pid, signal.SIGKILL)  # its zygote has died, and nobody else ends it
        return _KILLED

    def _send(self, number: int) -> None:
        with contextlib.suppress(OSError):  # the zygote has gone; see status()
            self._answer.sock.send(bytes((number,)))
