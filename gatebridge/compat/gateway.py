"""What flup's servers have in common: arguments, run(), and the methods that scripts override."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from gatebridge.assemble import new_loop, serve_listeners
from gatebridge.bind import parse_bind
from gatebridge.compat import places
from gatebridge.compat.guard import FailedRequest, Guard, trace_page
from gatebridge.compat.one_request import answer
from gatebridge.compat.prefork import ChildWorker, Prefork, Spares
from gatebridge.compat.script_worker import CAUGHT, ScriptWorker
from gatebridge.dispatch import cgi_is_forced, is_listener
from gatebridge.errors import UseError
from gatebridge.oneshot import main
from gatebridge.serve.listen import networks
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.watch_thread import Watch
from gatebridge.serve.worker_log import DEBUG, ERROR, INFO, WARNING, WorkerLog
from gatebridge.settings import THREADS_MOST, Settings
from gatebridge.wire.events import RESPONDER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatebridge.bind import Bind
    from gatebridge.engine.seams import Application
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.scoreboard import WorkerSlot

ROLES = (RESPONDER,)
said_bind = ""  # of `gatebridge run-script --bind`: for servers that are told no address


@functools.cache
def standard_error() -> LogFile:
    """One for every run() of the process: it has a descriptor of its own."""
    return LogFile("-")


class NoDefault:
    """Stands for an argument that was not given."""


class ThreadPool:
    """What scripts set at the end of flup's, as CherryPy does; threads end here without it."""

    minSpare = maxSpare = maxThreads = _idleCount = 0


class Gateway:
    """One flup server: __init__ of each kind fills it in, run() serves.

    protocol  fastcgi or scgi
    """

    protocol = "fastcgi"

    def __init__(
        self,
        application: Application,
        environ: Mapping[str, object] | None,
        flags: tuple[bool, bool],
        address: object,
        umask: int | None,
        debug: bool,
    ) -> None:
        self.application = application
        self.environ = {} if environ is None else environ
        self.multithreaded, self.multiprocess = flags
        self.debug = debug
        self.roles: tuple[int, ...] = ROLES
        self.forceCGI = False
        self._bindAddress = address
        self._umask = umask
        self._multiplexed = False
        self._mount: str | None = None
        self._level = INFO
        self._access = False  # a line for each request
        self._threads = 1
        self._spares: Spares | None = None  # of children; None for threads
        self._max_requests = 0  # of a child
        self._timeout_s = 0.0  # for a request; 0 for no end
        self._wait_s = 0.0  # for a byte; 0 for our own
        self._running: ScriptWorker | Prefork | None = None
        self._hupReceived = False
        self._threadPool = ThreadPool()

    # -- for scripts to call and to override

    def run(self) -> bool:
        """Serve until HUP, INT or TERM. Returns whether it was HUP. One CGI request: exits.

        raises  OSError where the system does not let us listen, UseError, ConfigError
        """
        if not callable(self.application):
            kind = type(self.application).__name__
            raise UseError("flup.application", f"the application is of type {kind}")
        self._hupReceived = False
        bind = self._place()
        # Whoever sees the socket may send TERM; it waits until somebody removes the socket.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)
        try:
            listener = places.listen(bind, self._isClientAllowed)
            try:
                return self._serve(listener)
            finally:
                listener.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def error(self, req: FailedRequest) -> None:
        """Called when the application failed and nothing of its answer is out.

        May be overridden: writes a CGI response to req.stdout.
        """
        req.stdout.write(trace_page(self.debug))

    def shutdown(self) -> None:
        """run() has waited for its threads already."""

    def _isClientAllowed(self, addr: object) -> object:
        """May be overridden. addr: as accept() gives it."""
        return True

    def _mainloopPeriodic(self) -> None:
        """May be overridden: called about once a second in the main thread."""

    def _exit(self, reload: bool = False) -> None:
        """End run(), which returns ``reload``."""
        if self._running is not None:
            self._running.leave(reload)

    @property
    def _keepGoing(self) -> bool:
        """May be set to False, from any thread or signal handler: as _exit()."""
        return self._running is not None

    @_keepGoing.setter
    def _keepGoing(self, value: object) -> None:
        if not value:
            self._exit(self._hupReceived)

    def _installSignalHandlers(self) -> None:
        """May be overridden, where the script catches signals itself."""
        if isinstance(self._running, ScriptWorker):
            self._running.catch()

    def _restoreSignalHandlers(self) -> None:
        """As _installSignalHandlers()."""
        if isinstance(self._running, ScriptWorker):
            self._running.set_back()

    # -- where

    def _place(self) -> Bind:
        """Where to listen. Answers CGI, and exits, where that is asked."""
        if self._bindAddress is not None:
            return places.place(self._bindAddress, self._umask, self.protocol)
        if not (self.forceCGI or cgi_is_forced()):
            if is_listener(0):
                return parse_bind("fd://0")
            if said_bind and "REQUEST_METHOD" not in os.environ:
                bind = parse_bind(said_bind)
                bind.protocol = self.protocol
                return bind
        guard = self._guard((False, True))
        if "REQUEST_METHOD" in os.environ:
            raise SystemExit(answer(guard))
        main(guard)
        raise SystemExit(2)  # not reached: main() says what this file is for, and exits

    # -- the engine

    def _guard(self, flags: tuple[bool, bool]) -> Guard:
        is_own = "error" in vars(self) or type(self).error is not Gateway.error
        error = self._error_page if is_own or self.debug else None
        return Guard(self.application, dict(self.environ), flags, error, self._relocate())

    def _error_page(self, environ: dict[str, object]) -> bytes:
        failed = FailedRequest(self, environ)
        self.error(failed)
        return failed.stdout.getvalue()

    def _relocate(self) -> Callable[[dict[str, object]], None] | None:
        return None

    def _settings(self) -> Settings:
        return Settings(
            threads=self._threads,
            workers=str(self._spares.children if self._spares else 1),
            multiplex=bool(self._multiplexed),
            mount=self._mount,
            timeout=float(self._timeout_s),
        )

    def _is_open(self) -> bool:
        """May anybody connect who reaches a TCP port?"""
        return True

    def _serve(self, listener: places.ScriptListener) -> bool:
        settings = self._settings()
        log = WorkerLog(standard_error(), self._level)
        warned = places.warning(listener.bind, self._is_open())
        if warned:
            log.line(WARNING, warned)
        app = self._guard((bool(self.multithreaded), bool(self.multiprocess)))
        access = standard_error() if self._access else None
        serve_listeners([listener], app, settings, log, access)
        site = listener.site
        site.limits.roles = tuple(self.roles)
        if self._wait_s:
            site.body_idle_s = site.send_idle_s = self._wait_s
        if self._spares is not None:
            if threading.current_thread() is not threading.main_thread():
                why = "a server of children has signal handlers: call its run() in the main thread"
                raise UseError("flup.thread", f"{why}, or take flup.server.fcgi")
            return self._serve_by_children(listener, settings, log, self._spares)
        periodic: Callable[[], None] | None = None
        if type(self)._mainloopPeriodic is not Gateway._mainloopPeriodic:
            periodic = self._mainloopPeriodic
        loop = new_loop([listener], settings)
        worker = ScriptWorker(loop, [listener], log, settings.graceful_timeout, self, periodic)
        self._running = worker
        try:
            return worker.serve()
        finally:
            self._running = None

    def _serve_by_children(
        self,
        listener: places.ScriptListener,
        settings: Settings,
        log: WorkerLog,
        spares: Spares,
    ) -> bool:
        def serve(slot: WorkerSlot, inbox: Inbox) -> int:
            listener.leave_file()  # it is the parent's
            quiet = WorkerLog(standard_error(), max(self._level, WARNING))
            listener.site.log = quiet
            loop = new_loop([listener], settings, slot, inbox)
            grace, watch = settings.graceful_timeout, Watch(loop).run
            worker = ChildWorker(loop, [listener], quiet, grace, _nothing, watch=watch)
            if self._max_requests > 0:
                loop.worn_after = self._max_requests
                loop.worn = worker.wear_out
            return worker.run()

        log.listening(listener.text, listener.bind.protocol)
        self._running = running = Prefork(spares, serve, listener, log, settings.graceful_timeout)
        try:
            return running.run()
        finally:
            self._running = None


class FastCGIGateway(Gateway):
    """fcgi, fcgi_fork and fcgi_single."""

    def __init__(
        self,
        application: Application,
        environ: Mapping[str, object] | None,
        flags: tuple[bool, bool],
        address: object,
        umask: int | None,
        debug: bool,
        multiplexed: bool,
        roles: tuple[int, ...],
        force_cgi: bool,
    ) -> None:
        super().__init__(application, environ, flags, address, umask, debug)
        self.roles = roles
        self.forceCGI = force_cgi
        self._multiplexed = multiplexed
        self._web_server_addrs: tuple[Any, ...] | None = None

    def run(self) -> bool:
        said = os.environ.get("FCGI_WEB_SERVER_ADDRS")
        if said is not None:
            self._web_server_addrs = networks("".join(said.split()), "FCGI_WEB_SERVER_ADDRS")
        return super().run()

    def _is_open(self) -> bool:
        return self._web_server_addrs is None

    def _isClientAllowed(self, addr: object) -> object:
        """FCGI_WEB_SERVER_ADDRS, FastCGI section 3.2: it is about TCP."""
        found = self._web_server_addrs
        if found is None or not isinstance(addr, tuple):
            return True
        return bool(found) and places.in_networks(str(addr[0]), found)


class SCGIGateway(Gateway):
    """scgi and scgi_fork."""

    protocol = "scgi"

    def __init__(
        self,
        application: Application,
        script_name: object,
        environ: Mapping[str, object] | None,
        flags: tuple[bool, bool],
        address: object,
        umask: int | None,
        allowed: list[str] | tuple[str, ...] | None,
        level: int,
        debug: bool,
    ) -> None:
        super().__init__(application, environ, flags, address, umask, debug)
        self.scriptName = script_name
        if isinstance(script_name, str):
            self._mount = script_name or "/"
        self._allowedServers = allowed
        self._level = min(max(level // 10 * 10, DEBUG), ERROR)
        self._access = level <= logging.INFO
        self.logger = logging.getLogger("scgi-wsgi")
        self.logger.setLevel(level)

    def run(self) -> bool:
        """As every server's, but that False is returned where the system does not let us listen."""
        try:
            return super().run()
        except OSError as error:
            WorkerLog(standard_error(), self._level).line(ERROR, f"{error}")
            return False

    def _is_open(self) -> bool:
        return self._allowedServers is None

    def _isClientAllowed(self, addr: object) -> object:
        allowed = self._allowedServers
        return allowed is None or not isinstance(addr, tuple) or addr[0] in allowed

    def _relocate(self) -> Callable[[dict[str, object]], None] | None:
        return _said_script_name


def _said_script_name(environ: dict[str, object]) -> None:
    """WSGI_SCRIPT_NAME, which a front server may send: where the application is."""
    said = environ.get("WSGI_SCRIPT_NAME")
    if not isinstance(said, str) or said.lower() == "none":
        return
    path = f"{environ['SCRIPT_NAME']}{environ['PATH_INFO']}"
    if path == said or path.startswith(f"{said.rstrip('/')}/"):
        environ["SCRIPT_NAME"] = said.rstrip("/")
        environ["PATH_INFO"] = path[len(said.rstrip("/")) :]


def threads(
    is_multithreaded: bool, minSpare: int = 1, maxSpare: int = 5, maxThreads: int = sys.maxsize
) -> int:
    """Requests at once. raises UseError("flup.spare")"""
    for number in (minSpare, maxSpare, maxThreads):
        if not isinstance(number, int) or number < 0:
            raise UseError("flup.spare", f"minSpare, maxSpare and maxThreads count, as {number!r}")
    if not is_multithreaded:
        return 1
    return max(1, min(max(minSpare, maxThreads), THREADS_MOST))


def children(
    gateway: Gateway,
    minSpare: int = 1,
    maxSpare: int = 5,
    maxChildren: int = 50,
    maxRequests: int = 0,
    sockTimeout: float = 0,
) -> None:
    """Fill in what a server of children is told. raises ValueError as flup's"""
    if isinstance(sockTimeout, bool) or not isinstance(sockTimeout, int | float) or sockTimeout < 0:
        raise ValueError("sockTimeout must be a number of seconds, 0 or more")
    gateway._spares = Spares(minSpare, maxSpare, max(maxSpare, maxChildren))
    gateway._max_requests = maxRequests
    gateway._wait_s = float(sockTimeout)


def _nothing() -> None:
    """As in script_worker."""
