"""gatebridge serve: a configuration into a supervisor, and what that calls in its children."""

from __future__ import annotations

import faulthandler
import os
import signal
from time import monotonic
from typing import TYPE_CHECKING, cast

from gatebridge.aio import begin_loop
from gatebridge.assemble import new_turning, serve_listeners
from gatebridge.bind import parse_bind
from gatebridge.config import resolve
from gatebridge.errors import GatebridgeError
from gatebridge.loading import Applications, load_applications
from gatebridge.serve import binds, channel, flup_engine, reexec
from gatebridge.serve.background import Report, go_background
from gatebridge.serve.duty import Duty, Lifetime
from gatebridge.serve.explaining import Explaining
from gatebridge.serve.flup_engine import FlupWork, FlupWorker
from gatebridge.serve.inbox import Inbox
from gatebridge.serve.listen import open_listeners
from gatebridge.serve.loaded_files import loaded_files
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.notify import take_sockets
from gatebridge.serve.status_page import StatusPage, pool_summary, with_page
from gatebridge.serve.stem import LOAD_FAILED, failure
from gatebridge.serve.supervisor import SIGNALS, Supervisor
from gatebridge.serve.warm_up import warm_up
from gatebridge.serve.worker import Turning, Worker
from gatebridge.serve.worker_log import LEVELS, WARNING, WorkerLog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gatebridge.config import Asked
    from gatebridge.engine.seams import Application
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.notify import Passed
    from gatebridge.serve.route_board import RouteBoard
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.settings import Configuration, Pool, Settings


def serve(
    asked: Asked,
    exit_status: Callable[[GatebridgeError], int],
    new: Callable[[Asked, Configuration, Passed, dict[str, list[int]]], Daemon] | None = None,
) -> int:
    """Run the daemon until it is stopped. Returns the exit status. raises GatebridgeError

    new  makes the hooks, in the place of Daemon
    """
    # Whoever sees a socket may send a signal; it waits until somebody can obey it.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    heritage = reexec.inherit()  # what the program before this one left
    passed = take_sockets(os.environ, os.getpid())
    configuration = resolve(asked)
    report = Report()
    if configuration.settings.daemon and heritage is None:
        report = go_background([fd for fds in passed.fds.values() for fd in fds])
    try:
        inboxes = heritage.inboxes if heritage is not None else {}
        hooks = (new or Daemon)(asked, configuration, passed, inboxes)
        there = heritage.listeners if heritage is not None else ()
        listeners = binds.listen(configuration, there, hooks.bind_all)
        return Supervisor(configuration, listeners, hooks, report, heritage).run()
    except GatebridgeError as error:
        report.failed(exit_status(error), f"gatebridge: {error}")
        raise


class Daemon:
    """The supervisor's Hooks. inboxes: descriptors of the program before this one, by pool."""

    def __init__(
        self,
        asked: Asked,
        configuration: Configuration,
        passed: Passed,
        inboxes: dict[str, list[int]],
    ) -> None:
        self._asked = asked
        self._passed = passed
        names = [pool.name for pool in configuration.pools if pool.name in inboxes]
        self._inboxes = {name: Inbox(inboxes.pop(name)) for name in names}
        self._files: dict[str, LogFile] = {}  # opened before privileges are dropped
        self._error_path = configuration.settings.error_logfile
        self._worker_log: WorkerLog | None = None
        self._open(configuration)

    def _open(self, configuration: Configuration) -> None:
        """All logs, so that one that cannot be written is told now. raises ConfigError"""
        for pool in configuration.pools:
            self.descriptors(pool)

    def _file(self, path: str) -> LogFile:
        if path not in self._files:
            self._files[path] = LogFile(path)
        return self._files[path]

    def _paths(self, pool: Pool) -> list[str]:
        access = pool.settings.access_logfile
        return [self._error_path, access] if access else [self._error_path]

    def descriptors(self, pool: Pool) -> Sequence[int]:
        return [self._file(path).fd for path in self._paths(pool)]

    def adopt(self, pool: Pool, fds: Sequence[int]) -> None:
        for path, fd in zip(self._paths(pool), fds, strict=False):
            self._file(path).adopt(fd)

    def reopen(self, pool: Pool) -> Sequence[int]:
        """After a rotation: descriptors of the new files, for workers that could not open them."""
        for path in self._paths(pool):
            self._file(path).reopen()
        return self.descriptors(pool)

    def read_configuration(self) -> Configuration:
        configuration = resolve(self._asked)
        self._open(configuration)
        return configuration

    def bind_all(self, configuration: Configuration) -> dict[str, list[Listener]]:
        opened: dict[str, list[Listener]] = {}
        addresses = binds.web_server_addrs()
        try:
            for pool in configuration.pools:
                some = opened[pool.name] = []
                for text in pool.settings.bind:
                    some += open_listeners(parse_bind(text), addresses, self._passed)
        except BaseException:
            for listener in [one for some in opened.values() for one in some]:
                listener.close()
            raise
        return opened

    def open_inbox(self, pool: Pool) -> Inbox | None:
        """One for all generations: what an old one leaves is taken by the new one."""
        if pool.name not in self._inboxes:
            self._inboxes[pool.name] = Inbox()
        return self._inboxes[pool.name]

    def _log(self, pool: Pool) -> WorkerLog:
        """A worker's, which serves one pool."""
        if self._worker_log is None:
            file = self._file(self._error_path)
            self._worker_log = WorkerLog(file, LEVELS[pool.settings.log_level])
        return self._worker_log

    def load_applications(self, pool: Pool, routes: RouteBoard | None) -> Applications:
        return load_applications(pool, routes)

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
        faulthandler.register(signal.SIGUSR1, file=dump_fd, all_threads=True, chain=False)
        for listener in listeners:
            listener.leave_file()  # it is the supervisor's
        loaded = cast("Applications | None", applications)
        try:
            if pool.settings.engine == "flup":
                flup_engine.examine(listeners)
            if loaded is None:
                loaded = self.load_applications(pool, routes)
                tell_files(channel, pool, loaded.broken)
            loaded.loop = begin_loop(loaded.sides, pool.settings, self._log(pool), slot)
            app = self._application(pool, loaded, slot, routes)
        except BaseException as error:
            tell_failed(channel, pool, error)
            if loaded is not None:
                loaded.close()
            return LOAD_FAILED
        return self._serve(pool, loaded, app, listeners, channel, slot, inbox, routes, dump_fd)

    def _application(
        self, pool: Pool, loaded: Applications, slot: WorkerSlot, routes: RouteBoard | None
    ) -> Application:
        """The application with what stands before it; it has answered its warm-up request."""
        settings = pool.settings
        app = loaded.table(routes.worker(slot.index) if routes is not None else None)
        if settings.warmup and loaded.loop is not None:
            from gatebridge.serve.aio_warm_up import warm_up_in  # it brings asyncio

            warm_up_in(loaded.loop, app, settings.warmup)
        elif settings.warmup:
            warm_up(app, settings.warmup)
        if not (settings.status_path or settings.ping_path):
            return app

        def read() -> dict[str, object]:
            views = slot.board.read(monotonic())
            return pool_summary([view for view in views if view.pool == pool.name])

        page = StatusPage(
            pool.name, read, settings.status_path, settings.ping_path, settings.status_allow
        )
        return with_page(page, app)

    def _serve(
        self,
        pool: Pool,
        loaded: Applications,
        app: Application,
        listeners: list[Listener],
        sock: socket.socket,
        slot: WorkerSlot,
        inbox: Inbox | None,
        routes: RouteBoard | None,
        dump_fd: int,
    ) -> int:
        settings, log = pool.settings, self._log(pool)
        files = [self._file(path) for path in self._paths(pool)]
        access_file = files[1] if len(files) > 1 else None
        if access_file is not None:
            access_file.told = log.lost_lines
        serve_listeners(listeners, app, settings, log, access_file)
        loop: Turning | FlupWork
        if settings.engine == "flup":
            loop, watch = FlupWork(), None
        else:
            loop, watch = new_turning(loaded, listeners, app, settings, slot, inbox, dump_fd)

        def reopen(fds: list[int]) -> None:
            self.adopt(pool, fds)

        lifetime = lifetime_of(settings)
        lost = lambda: sum(file.lost for file in files)  # noqa: E731 - two words in place
        obey = routes.obey if routes is not None else None
        explain = Explaining([one.site for one in listeners], sock, loaded.split).obey
        duty = Duty(sock, slot, loop, log, lifetime, reopen, lost, obey, explain)
        try:
            return new_worker(loop, listeners, log, settings, duty, watch).run()
        finally:
            for error in loaded.close():
                log.line(WARNING, f"app.close an application could not be closed: {error!r}")


def new_worker(
    loop: Turning | FlupWork,
    listeners: list[Listener],
    log: WorkerLog,
    settings: Settings,
    duty: Duty,
    watch: Callable[[], object] | None,
) -> Worker:
    grace = settings.graceful_timeout
    if isinstance(loop, FlupWork):
        return FlupWorker(loop, listeners, log, grace, duty, settings.threads > 1)
    return Worker(loop, listeners, log, grace, _nothing, duty, watch)


def lifetime_of(settings: Settings) -> Lifetime:
    """When a worker with these settings is replaced."""
    return Lifetime(
        settings.max_requests,
        settings.max_requests_jitter,
        settings.max_lifetime,
        settings.max_rss,
        settings.graceful_timeout,
        settings.pm == "ondemand",
    )


def tell_failed(sock: socket.socket, pool: Pool, error: BaseException) -> None:
    """Why a worker cannot serve, and which files would mend it."""
    tell_files(sock, pool, error)
    channel.send(sock, failure(error))


def tell_files(sock: socket.socket, pool: Pool, error: BaseException | None) -> None:
    """Which files the application consists of, or would mend what is broken."""
    if pool.settings.reload:
        channel.send(sock, {"say": "files", "files": loaded_files(error)})


def _nothing() -> None:
    """A supervised worker reopens its logs when it is told to, with the new files at hand."""
