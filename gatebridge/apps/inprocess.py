"""Python scripts called in interpreters that live on: the fastest way, for scripts that behave.

Each runner has one request at a time. A script that does what cannot be undone in a process that
goes on (os._exit, forks, threads) is run by a fork of a zygote from then on.
"""

from __future__ import annotations

import os
import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING

from gatebridge.apps.hosted import (
    START_S,
    Host,
    Hosted,
    Pipes,
    Scripts,
    Slots,
    kill_group,
    say_on_stderr,
)
from gatebridge.apps.warm import Warm
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.apps.host.packet import Said
    from gatebridge.apps.host.source import Key
    from gatebridge.apps.hosted import Answer, Words
    from gatebridge.apps.options import ScriptOptions
    from gatebridge.apps.running import Call, Running

IDLE_S = 60.0
_TRIES = 4
_DEAD_S = 1.0  # between a process's last descriptor and its status


class InProcess:
    """A launcher (see running.Launcher).

    say     told what the operator should know, each once
    idle_s  a runner without a request for so long ends
    """

    def __init__(
        self,
        options: ScriptOptions,
        say: Callable[[str], None] = say_on_stderr,
        idle_s: float = IDLE_S,
    ) -> None:
        self._options = options
        self._say = say
        self._said: set[str] = set()
        self._idle_s = idle_s
        self._scripts = Scripts()
        self._warm = Warm(options, say)
        self._demoted: dict[str, Key] = {}
        self._spoilt: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._slots = Slots(self._options)
        self._idle: list[Host] = []

    def _in_this_process(self) -> None:
        """In a fork of whoever made it nothing runs yet: the hosts are not ours."""
        if self._pid != os.getpid():
            for host in self._idle:
                host.abandon()
            self._begin()

    def start(self, call: Call) -> Running:
        self._in_this_process()
        key = self._scripts.check(call)
        if self._demoted.get(call.path) == key:
            return self._warm.start(call)
        self._slots.take(call.path)
        try:
            return self._run(call, key)
        except OSError as error:
            self._slots.give()
            raise AppError("script.start", f"{call.path}: {error.strerror}") from error
        except BaseException:
            self._slots.give()
            raise

    def close(self) -> None:
        self._in_this_process()
        with self._lock:
            hosts, self._idle = self._idle, []
        for host in hosts:
            host.close()
        for host in hosts:
            host.end()
        self._warm.close()

    def _run(self, call: Call, key: Key) -> _Called:
        """raises AppError, OSError"""
        pipes = Pipes(call.has_body)
        try:
            host, answer = self._ask(call, pipes)
        except BaseException:
            pipes.close()
            raise
        pipes.close_theirs()

        def done(reusable: bool, reason: str) -> None:
            if reason:
                self._demote(call.path, key, reason)
            self._free(host, reusable)
            self._slots.give()

        return _Called(host, pipes, answer, done)

    def _ask(self, call: Call, pipes: Pipes) -> tuple[Host, Answer]:
        """A runner that has begun with it. raises AppError, OSError"""
        for _ in range(_TRIES):
            host = self._take(os.path.dirname(call.path))
            try:
                answer = host.ask(call, pipes, False)
            except OSError:  # it had been idle for too long
                host.kill()
                continue
            said = answer.next(START_S)
            if said is not None and "pid" in said:
                return host, answer
            answer.sock.close()
            if said is None or "stale" in said:
                host.kill()
                continue
            self._free(host, True)
            raise AppError("script.start", str(said.get("error", "its host says nonsense")))
        raise AppError("script.host", f"{call.path}: the interpreter for it ends again and again")

    def _take(self, folder: str) -> Host:
        """An idle runner, or a new one. raises AppError("script.host"), OSError"""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        while True:
            wanted = [name for name in self._options.preload or () if name not in self._spoilt]
            words: Words = {
                "preload": wanted,
                "folder": folder,
                "learns": False,
                "idle_s": self._idle_s,
            }
            host = Host("runner", words, self._options)
            if host.listen(START_S) and host.ready:
                for name, why in host.failed:
                    self._tell(f"script.preload {name} cannot be imported ahead: {why}")
                return host
            host.kill()
            module, reason = host.refused or (host.importing, "importing it ends the process")
            if not module:
                raise AppError("script.host", "an interpreter ended before it ran anything")
            self._spoilt.add(module)
            self._tell(f"script.preload {module} is not imported ahead: {reason}")

    def _free(self, host: Host, reusable: bool) -> None:
        if not reusable:
            host.kill()
            return
        with self._lock:
            self._idle.append(host)
            ended = [host for host in self._idle if host.is_over()]
            self._idle = [host for host in self._idle if host not in ended]
        for host in ended:
            host.close()

    def _demote(self, path: str, key: Key, reason: str) -> None:
        self._demoted[path] = key
        self._tell(f"script.demoted {path} runs in a fork from now on (warm mode): {reason}")

    def _tell(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)


class _Called(Hosted):
    """A script in a runner."""

    def __init__(
        self, host: Host, pipes: Pipes, answer: Answer, done: Callable[[bool, str], None]
    ) -> None:
        """done: told at close() whether the runner is as it was, and why it must not be used so."""
        super().__init__(0, pipes, answer, lambda: done(self._reusable, self._reason))
        self._host = host
        self._reusable = False
        self._reason = ""
        self._is_killed = False

    def _judge(self, said: Said) -> int | None:
        status = said.get("status")
        if isinstance(status, int):
            self._reason = str(said.get("demote", "it says nonsense"))
            self._reusable = not self._reason
            return status
        status = _exit_status(self._host.process.pid, _DEAD_S if self.ended >= 0 else 0.0)
        if status is None:  # it has closed all descriptors, or became another program
            self.ended = -1
            return None
        how = f"signal {-status} ends it" if status < 0 else "it ends its process (os._exit)"
        self._reason = "" if self._is_killed else how
        return status

    def _send(self, number: int) -> None:
        if self.status() is not None and self._reusable:
            return  # the script is over, and its runner another's
        self._is_killed = True
        kill_group(self._host.process.pid, number)

    def close(self) -> None:
        self.status()
        super().close()


def _exit_status(pid: int, timeout_s: float) -> int | None:
    """That of a child which is about to end; it is not reaped, so that its group has a name."""
    until = monotonic() + timeout_s
    while True:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        if monotonic() >= until:
            return None
        sleep(0.0005)
