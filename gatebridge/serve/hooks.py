"""What a supervisor is given by whoever knows applications and configuration files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.route_board import RouteBoard
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.settings import Configuration, Pool


class Hooks(Protocol):
    """All of it runs in the supervisor, but for the first two."""

    def worker_main(
        self,
        *,
        pool: Pool,
        listeners: list[Listener],
        channel: socket.socket,
        slot: WorkerSlot,
        inbox: Inbox | None,
        routes: RouteBoard | None,
        applications: object | None,
        dump_fd: int,
    ) -> int:
        """A worker's life, in its own process. Returns its exit status.

        routes        of its pool and generation; None where none can be made any more
        slot          started: its state is STARTING
        applications  what load_applications() returned in a stem; None for loading them
        dump_fd       for faulthandler's stacks; non-blocking
        """

    def load_applications(self, pool: Pool, routes: RouteBoard | None) -> object:
        """Import, in a stem or a worker. raises anything"""

    def read_configuration(self) -> Configuration:
        """Read the file and the flags again. raises ConfigError"""

    def bind_all(self, configuration: Configuration) -> dict[str, list[Listener]]:
        """Open every bind of every pool. raises ConfigError, with none left open"""

    def open_inbox(self, pool: Pool) -> Inbox | None:
        """Before the first worker of a generation is forked: the pool's, which goes on after it."""

    def descriptors(self, pool: Pool) -> Sequence[int]:
        """What a worker needs open beside listeners, inbox, channel and pipes: its logs."""

    def adopt(self, pool: Pool, fds: Sequence[int]) -> None:
        """In a child: write to these from now on, which reopen() gave."""

    def reopen(self, pool: Pool) -> Sequence[int]:
        """After a rotation: the same logs, opened anew, for workers that could not do it."""
