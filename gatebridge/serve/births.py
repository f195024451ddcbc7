"""Both sides of a fork: what the supervisor prepares, and what the child does before it works."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

from gatebridge.errors import GatebridgeError
from gatebridge.serve import channel, spawn
from gatebridge.serve.capture import print_line_by_line
from gatebridge.serve.member import NO_SLOT, Member
from gatebridge.serve.slow_log import dump_pipe
from gatebridge.serve.stem import Stem, failure
from gatebridge.serve.worker_log import WARNING
from gatebridge.settings import calls_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from gatebridge.serve.house import House
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.privileges import Privileges
    from gatebridge.serve.route_board import RouteBoard
    from gatebridge.settings import Pool

BOOT_FAILED: Final = 3  # exit status of a child that could not begin


class Pipes:
    """What connects a child: its channel, a pipe for stacks, and one for what it prints.

    In a with statement, closed at its end: all of it, or the child's ends alone after keep().
    """

    def __init__(self, output: bool) -> None:
        self.channel, self._far = channel.pair()
        self.dump, dump = dump_pipe()
        self.output, printed = os.pipe() if output else (-1, -1)
        self.theirs = [self._far.fileno(), dump, *([printed] if output else [])]
        self._kept = False
        if output:
            os.set_blocking(self.output, False)

    def keep(self) -> None:
        self._kept = True

    def __enter__(self) -> Pipes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._far.close()
        for fd in self.theirs[1:]:
            os.close(fd)
        if not self._kept:
            self.channel.close()
            for fd in (self.dump, self.output):
                if fd >= 0:
                    os.close(fd)


class Births:
    """Makes the children of one pool and generation.

    routes  None where none is made: workers of the program before have a memory of their own

    All that can fail raises OSError and leaves nothing behind.
    """

    def __init__(
        self,
        house: House,
        pool: Pool,
        generation: int,
        listeners: list[Listener],
        privileges: Privileges,
        routes: RouteBoard | None,
    ) -> None:
        self._house = house
        self._pool = pool
        self._generation = generation
        self._listeners = listeners
        self._privileges = privileges
        self.routes = routes
        self._inbox: Inbox | None = None
        self._opened = False

    @property
    def inbox_fd(self) -> int:
        """Readable when a connection waits there; -1 before any worker was made."""
        return self._inbox.fds[0] if self._inbox is not None else -1

    def worker(self, now: float) -> Member:
        """A worker that imports the application by itself."""
        return self._fork(self._house.take_slot(), now, self._be_worker)

    def stem(self, now: float) -> Member:
        return self._fork(NO_SLOT, now, self._be_stem)

    def from_stem(self, stem: Member, now: float) -> Member:
        """A worker that a stem is asked for; the stem's answer tells its pid."""
        with Pipes(self._pool.settings.capture_output) as pipes:
            index = self._house.take_slot()
            if not channel.send(stem.sock, {"do": "fork", "slot": index}, pipes.theirs):
                self._house.free_slot(index)
                raise OSError("the stem does not answer")
            pipes.keep()
        return self._member(index, pipes, now)

    def close(self) -> None:
        """No child will be made any more. The inbox goes on with the next generation."""
        self._inbox = None
        if self.routes is not None:
            self.routes.close()

    def free(self, index: int) -> None:
        """The worker that had this slot is gone."""
        if self.routes is not None:
            self.routes.gone(index)
        self._house.free_slot(index)

    def tell_not_loaded(self) -> None:
        """Of routes that cannot be switched, once."""
        for app, reason in self.routes.fresh_notes() if self.routes is not None else []:
            text = f"pool {self._pool.name} {app}: {reason}; its other side answers"
            self._house.log.line(WARNING, f"route.not_loaded {text}")

    def _fork(self, index: int, now: float, be: Callable[[int, list[int]], int]) -> Member:
        try:
            if not self._opened:
                self._inbox = self._house.hooks.open_inbox(self._pool)
                self._opened = True
            with Pipes(self._pool.settings.capture_output) as pipes:
                fds = pipes.theirs
                pid = spawn.fork(lambda: be(index, fds), {*fds, *self._keep()})
                pipes.keep()
        except OSError:
            self._house.free_slot(index)
            raise
        member = self._member(index, pipes, now)
        member.pid = pid
        return member

    def _member(self, index: int, pipes: Pipes, now: float) -> Member:
        key = self._house.next_key()
        member = Member(key, index, self._generation, pipes.channel, pipes.dump, pipes.output)
        member.since = member.calm = now
        return member

    def _keep(self) -> tuple[int, ...]:
        """Descriptors that every child of this pool needs, beside its pipes."""
        inbox = self._inbox.fds if self._inbox is not None else ()
        more = self._house.hooks.descriptors(self._pool)
        return (*[listener.fd for listener in self._listeners], *inbox, *more)

    # -- in the child

    def _be_worker(self, index: int, fds: list[int]) -> int:
        if not self._begin(fds):
            return BOOT_FAILED
        return self._work(None, index, fds)

    def _be_stem(self, index: int, fds: list[int]) -> int:
        if not self._begin(fds):
            return BOOT_FAILED
        print_to(fds)
        sock = socket.socket(fileno=fds[0])
        return Stem(
            sock,
            self._house.pid,
            lambda: self._house.hooks.load_applications(self._pool, self.routes),
            self._work,
            self._keep(),
            lambda fds: self._house.hooks.adopt(self._pool, fds),
            self._pool.settings.reload,
        ).run()

    def _begin(self, fds: Sequence[int]) -> bool:
        """Become who the pool runs as, bound to the supervisor's life."""
        for listener in self._listeners:
            listener.leave_file()  # the supervisor removes it
        try:
            self._privileges.apply()
        except (GatebridgeError, OSError) as error:
            with socket.socket(fileno=fds[0]) as sock:
                channel.send(sock, failure(error))
            return False
        spawn.die_with(self._house.pid)
        return True

    def _work(self, applications: object | None, index: int, fds: Sequence[int]) -> int:
        print_to(fds)
        sock = socket.socket(fileno=fds[0])
        slot = self._house.board.worker(index)
        calls = calls_at_once(self._pool.settings)
        slot.start(os.getpid(), self._pool.name, self._generation, calls)
        try:
            return self._house.hooks.worker_main(
                pool=self._pool,
                listeners=self._listeners,
                channel=sock,
                slot=slot,
                inbox=self._inbox,
                routes=self.routes,
                applications=applications,
                dump_fd=fds[1],
            )
        except Exception as error:  # whatever it is, the supervisor has to know why
            channel.send(sock, failure(error))
            return BOOT_FAILED


def print_to(fds: Sequence[int]) -> None:
    """Standard output and error go to the supervisor, where it captures them."""
    if len(fds) > 2:
        os.dup2(fds[2], 1)
        os.dup2(fds[2], 2)
        os.close(fds[2])
        print_line_by_line()
