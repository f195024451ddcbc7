"""A worker whose requests the real flup serves: ``--engine flup``, to find out whose a fault is.

Listeners, application, logs and supervisor are the same; what reads and writes the sockets is
flup's, with all its faults. It has no limits, no scoreboard places and no slow log.
"""

from __future__ import annotations

import importlib
import signal
import threading
from math import inf
from time import monotonic, time
from typing import TYPE_CHECKING, Any, cast

from gatebridge.engine.pages import new_incident
from gatebridge.errors import ConfigError
from gatebridge.serve.worker import GRACEFUL, MASKED, Worker
from gatebridge.serve.worker_log import WARNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatebridge.serve.duty import Duty
    from gatebridge.serve.exchange import Exchange
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.loop import Loop
    from gatebridge.serve.site import Site
    from gatebridge.serve.worker_log import WorkerLog

MODULES = {"fastcgi": "flup.server.fcgi", "scgi": "flup.server.scgi"}
FAULTS = (
    "engine.flup flup itself serves this pool, faults and all: idle connections take its threads "
    "until a request is never served, it sends CR LF in a header's value (response splitting), "
    "lets the Proxy header through, misreads variables that are split over two records, and has "
    "no limits; for bisecting only, see docs/from-flup.md"
)
_LOOK_S = 0.02  # between two looks at what is left, while draining


class FlupWork:
    """What a Duty asks of a loop, counted around the application."""

    def __init__(self) -> None:
        self._worn_after = 0
        self._worn: Callable[[], None] = _nothing
        self.served = 0
        self.running = 0
        self.queued = 0  # flup does not tell
        self._lock = threading.Lock()

    def obey(self, worn_after: int, worn: Callable[[], None], overdue: Callable[[], None]) -> None:
        self._worn_after = worn_after
        self._worn = worn

    def refuse_new(self) -> None:
        """Nobody has run out of time: flup knows no timeout."""

    def begin(self) -> None:
        with self._lock:
            self.served += 1
            self.running += 1
        if self._worn_after and self.served >= self._worn_after:
            self._worn_after = 0
            self._worn()

    def end(self) -> None:
        with self._lock:
            self.running -= 1


class FlupWorker(Worker):
    """listeners: with their sites. work: what duty counts by."""

    __slots__ = ("_servers", "_work")

    def __init__(
        self,
        work: FlupWork,
        listeners: list[Listener],
        log: WorkerLog,
        graceful_s: float,
        duty: Duty,
        is_threaded: bool,
    ) -> None:
        super().__init__(cast("Loop", work), listeners, log, graceful_s, _nothing, duty)
        self._work = work
        self._servers = [_server(one, work, is_threaded) for one in listeners]

    def run(self) -> int:
        """Serve until a signal or the supervisor ends it. Returns the exit status."""
        duty = self._duty
        self._catch_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASKED)
        self._log.line(WARNING, FAULTS)
        threads = [threading.Thread(target=one.run, daemon=True) for one in self._servers]
        for thread in threads:
            thread.start()
        if duty is not None:
            duty.begin(self._waker)
        number = self._wait(-1.0)
        for server in self._servers:
            server._keepGoing = False
        if number in GRACEFUL:
            if duty is not None:
                duty.draining()
            self._finish(threads)
        for listener in self._listeners:
            listener.close()
        return 0

    def _finish(self, threads: list[threading.Thread]) -> None:
        """Until nobody accepts and no request runs. flup would wait for idle connections as well,
        which is its fault 2: these close when this process ends."""
        deadline = monotonic() + self._graceful_s if self._graceful_s else inf
        while any(thread.is_alive() for thread in threads) or self._work.running:
            number = self._wait(_LOOK_S)
            if monotonic() > deadline or (number and self._is_hurried(number)):
                return


def examine(listeners: list[Listener]) -> None:
    """While there is still somebody to tell. raises ConfigError("engine.…")"""
    for listener in listeners:
        _module(listener)


def _module(listener: Listener) -> Any:
    name = MODULES.get(listener.bind.protocol)
    if name is None:
        why = f"flup does not speak {listener.bind.protocol}: bind FastCGI or SCGI"
        raise ConfigError("engine.protocol", f"{listener.text}: {why}")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError("engine.missing", f"{error}: pip install flup") from error


def _server(listener: Listener, work: FlupWork, is_threaded: bool) -> Any:
    """A flup server on our socket."""
    module: Any = _module(listener)

    class Server(module.WSGIServer):  # type: ignore[misc]  # it has no types
        def _setupSocket(self) -> Any:
            return listener.sock

        def _cleanupSocket(self, sock: Any) -> None:
            """It is closed with its listener."""

        def _installSignalHandlers(self) -> None:
            """The worker has them; flup's thread may not."""

        def _restoreSignalHandlers(self) -> None:
            pass

        def _isClientAllowed(self, addr: Any) -> bool:
            return listener.admits(addr)

        def shutdown(self) -> None:
            """It would wait for idle connections."""

    app = FlupApplication(listener.site, work)
    return Server(app, multithreaded=is_threaded, bindAddress=None)


class FlupApplication:
    """The site's application with our logs around it."""

    def __init__(self, site: Site, work: FlupWork) -> None:
        self._site = site
        self._work = work

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        site = self._site
        environ["wsgi.errors"] = _Errors(site.log, environ["wsgi.errors"])
        environ["gatebridge.protocol"] = site.name
        environ["gatebridge.bind"] = site.bind
        environ["gatebridge.engine"] = "flup"
        call = _Call(site, self._work, environ, start_response)
        try:
            result = site.app(environ, call.start_response)
        except BaseException as error:
            call.failed(error)
            call.end()
            raise
        return _Sized(call, result) if hasattr(result, "__len__") else _Pieces(call, result)


class _Call:
    """One request: as much of an Exchange as the access log looks at."""

    gone = False
    queued_s = 0.0

    def __init__(
        self, site: Site, work: FlupWork, environ: dict[str, Any], start_response: Any
    ) -> None:
        self.site = site
        self.connection = self  # of a JSON line: connection.site.name
        self.status = ""
        self.sent = 0
        self.started = 0.0
        self._work = work
        self._environ = environ
        self._start_response = start_response
        self._begun = monotonic()
        work.begin()

    def start_response(self, status: Any, *rest: Any) -> Any:
        write = self._start_response(status, *rest)
        self.status = str(status)

        def counted(data: bytes) -> None:
            self.sent += len(data)
            write(data)

        return counted

    def failed(self, error: BaseException) -> None:
        environ = self._environ
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        where = f"{environ.get('REQUEST_METHOD', '-')} {path}"
        self.status = self.status if self.sent else "500"
        self.site.log.failed(new_incident(), where, error)

    def end(self) -> None:
        access = self.site.access
        if access is not None:
            self.started = time()
            access.write(self._environ, cast("Exchange", self), monotonic() - self._begun)
        self._work.end()


class _Pieces:
    def __init__(self, call: _Call, result: Iterable[bytes]) -> None:
        self._call = call
        self._result: Any = result

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._result:
                self._call.sent += len(piece)
                yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self._call.failed(error)
            raise

    def close(self) -> None:
        try:
            if hasattr(self._result, "close"):
                self._result.close()
        finally:
            self._call.end()


class _Sized(_Pieces):
    """flup gives a list of one block its Content-Length."""

    def __len__(self) -> int:
        return len(self._result)


class _Errors:
    """wsgi.errors: flup's stream to the front server, and our log."""

    def __init__(self, log: WorkerLog, stream: Any) -> None:
        self._log = log
        self._stream = stream

    def write(self, text: str) -> int:
        self._log.application(text)
        self._stream.write(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._stream.flush()


def _nothing() -> None:
    """Where nobody wants to know."""
