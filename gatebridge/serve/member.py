"""A child of the supervisor, worker or stem, as the supervisor knows it."""

from __future__ import annotations

import os
import signal
from math import inf
from typing import TYPE_CHECKING

from gatebridge.serve import channel, spawn
from gatebridge.serve.pool import DRAINING, READY, STARTING, View

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from gatebridge.serve.channel import Message

_AGAIN_S = 0.1  # between two tries to kill one that a stem is making

NO_SLOT = -1  # a stem, or a worker that another supervisor started


class Member:
    """One child.

    key       its number among all that this supervisor ever had
    index     its slot on the board
    pid       0 while a stem has been asked for it and has not answered
    since     when it took up its state
    ready_at  when it became ready; inf before
    calm      when it last said that nothing is running in it
    deadline  when it is killed
    wanted    nobody has told it to end
    killed    by us
    dump      read end of the pipe with its stacks; output: of what it prints; -1 for none
    """

    __slots__ = ("calm", "deadline", "dump", "generation", "index", "key", "killed", "output",
                 "pid", "ready_at", "since", "sock", "state", "wanted")  # fmt: skip

    def __init__(
        self, key: int, index: int, generation: int, sock: socket.socket, dump: int, output: int
    ) -> None:
        self.key = key
        self.index = index
        self.generation = generation
        self.sock = sock
        self.dump = dump
        self.output = output
        self.pid = 0
        self.state = STARTING
        self.since = 0.0
        self.ready_at = inf
        self.calm = 0.0
        self.deadline = inf
        self.wanted = True
        self.killed = False

    def become(self, state: int, now: float) -> None:
        self.state = state
        self.since = now
        if state == READY:
            self.ready_at = now

    def view(self, running: int, threads: int) -> View:
        return View(self.key, self.state, self.since, running, threads, self.calm, self.deadline)

    def tell(self, message: Message, fds: Sequence[int] = ()) -> bool:
        return channel.send(self.sock, message, fds)

    def drain(self, now: float, limit_s: float, last: bool = False) -> None:
        """Finish what is under way within limit_s, then end.

        last  nobody else will serve who waits in the kernel's queue
        """
        if self.state == DRAINING and not self.wanted:
            return
        self.wanted = False
        self.become(DRAINING, now)
        self.deadline = min(self.deadline, now + limit_s)
        if not self.tell({"do": "drain", "last": last}):
            self.signal(signal.SIGTERM)

    def quit(self, now: float, limit_s: float) -> None:
        """End now. One that is not ready yet has nothing to end properly."""
        self.wanted = False
        if self.ready_at == inf:
            self.kill(now)
            return
        self.become(DRAINING, now)
        self.deadline = min(self.deadline, now + limit_s)
        if not self.tell({"do": "quit"}):
            self.signal(signal.SIGINT)

    def kill(self, now: float) -> None:
        if self.state != DRAINING:
            self.become(DRAINING, now)
        self.killed = True
        self.deadline = inf if self.signal(signal.SIGKILL) else now + _AGAIN_S

    def signal(self, number: int) -> bool:
        """A stem says which pids are its workers', so each is looked at before it is believed."""
        if self.pid <= 0 or not spawn.is_child(self.pid):
            return False
        try:
            os.kill(self.pid, number)
        except OSError:  # it has ended
            return False
        return True

    def read(self, fd: int, most: int) -> bytes | None:
        """What one of its pipes holds; None for nothing now, b"" for nothing ever."""
        try:
            return os.read(fd, most) if fd >= 0 else None
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def close(self) -> None:
        self.sock.close()
        for fd in (self.dump, self.output):
            if fd >= 0:
                os.close(fd)
        self.dump = self.output = -1
