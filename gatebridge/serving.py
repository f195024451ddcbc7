"""Werkzeug's run_simple() with this server behind it: the same arguments, for development."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import warnings
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from gatebridge.apps.debugger import with_debugger
from gatebridge.apps.static_files import StaticFiles
from gatebridge.assemble import serve_alone
from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError, UseError
from gatebridge.serve.listen import open_listener
from gatebridge.serve.restart import (
    RESTART,
    SOCKET,
    Files,
    Watcher,
    is_inner,
    start_again_and_again,
)
from gatebridge.serve.tls_option import ADHOC
from gatebridge.serve.worker import IGNORED, MASKED
from gatebridge.settings import THREADS_MOST, Settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Mapping

    from gatebridge.engine.seams import Application
    from gatebridge.serve.listener import Listener

    Encryption = ssl.SSLContext | tuple[str, str | None] | str

ENGINES: Final = {  # reloader_type: engine
    "auto": "auto",
    "stat": "stat",
    "watchdog": "auto",
    "watchfiles": "watchfiles",
}
LOG: Final = '%h - - %t "%r" %>s %b'
_GRACE_S = 3.0  # for requests under way, before a changed program is started again
_EVERYBODY = "allow=0.0.0.0/0,::/0"
_SIGNALS = (*MASKED, *IGNORED, signal.SIGPIPE, signal.SIGCHLD, signal.SIGUSR2, signal.SIGTTIN,
            signal.SIGTTOU, signal.SIGWINCH)  # fmt: skip


def run_simple(
    hostname: str,
    port: int,
    application: Application,
    use_reloader: bool = False,
    use_debugger: bool = False,
    use_evalex: bool = True,
    extra_files: Iterable[str] | None = None,
    exclude_patterns: Iterable[str] | None = None,
    reloader_interval: float = 1,
    reloader_type: str = "auto",
    threaded: bool = False,
    processes: int = 1,
    request_handler: object = None,
    static_files: Mapping[str, str | tuple[str, str]] | None = None,
    passthrough_errors: bool = False,
    ssl_context: Encryption | None = None,
) -> None:
    """Serve a WSGI application over HTTP until Ctrl-C or TERM; see docs/dev.md for the arguments.

    raises  TypeError, ValueError: as Werkzeug; UseError("serving.…"), ConfigError, SystemExit
    """
    _check(port, threaded, processes, reloader_type, request_handler)
    inner = use_reloader and is_inner()
    listener = _listen(hostname, port, ssl_context, use_reloader and not inner)
    with closing(listener):
        if not inner:
            _tell(listener, hostname)
        if use_reloader and not inner:
            _stay_outside(listener)
            return
        app = StaticFiles(application, static_files) if static_files else application
        if use_debugger:
            app = with_debugger(app, use_evalex, hostname)
        files = _files(reloader_type, extra_files, exclude_patterns) if inner else None
        server = Server(listener, THREADS_MOST if threaded else 1, processes, passthrough_errors)
        server.run(app, files, reloader_interval)


def _check(
    port: object, threaded: bool, processes: int, reloader_type: str, request_handler: object
) -> None:
    """raises  TypeError, ValueError, UseError("serving.reloader")"""
    if not isinstance(port, int):
        raise TypeError("port must be an integer")
    if threaded and processes > 1:
        raise ValueError("threaded and processes exclude each other: leave one out")
    if reloader_type not in ENGINES:
        known = ", ".join(ENGINES)
        raise UseError("serving.reloader", f"reloader_type {reloader_type!r} is none of {known}")
    if request_handler is not None:
        warnings.warn("request_handler is not used: this is another server", stacklevel=3)


def _files(kind: str, extra: Iterable[str] | None, exclude: Iterable[str] | None) -> Files:
    """raises  ConfigError("reload.engine")"""
    return Files(ENGINES[kind], list(extra or ()), list(exclude or ()))


def _listen(hostname: str, port: int, tls: Encryption | None, outside: bool) -> Listener:
    """The socket. Ends the program when it cannot be had, as Werkzeug does."""
    try:
        context = _context(tls, hostname) if tls is not None and not outside else None
        listener = open_listener(parse_bind(_bind_text(hostname, port)), ())
    except ConfigError as error:
        print(f"gatebridge: {error}", file=sys.stderr)
        sys.exit(1)
    if context is not None:
        from gatebridge.serve.tls import Tls

        listener.set_tls(Tls(context))
    elif tls is not None:  # the program inside has it
        listener.text = listener.text.replace("http", "https", 1)
    return listener


def _bind_text(hostname: str, port: int) -> str:
    if is_inner() and SOCKET in os.environ:
        return f"http+fd://{int(os.environ[SOCKET])}"
    return bind_text(hostname or "0.0.0.0", port)  # noqa: S104 - as Werkzeug has it


def bind_text(hostname: str, port: int, *options: str) -> str:
    """A name or an address, or "unix://PATH", as a bind; whoever may reach it may connect."""
    if hostname.startswith("unix://"):
        place = f"http+unix:{os.path.abspath(hostname.removeprefix('unix://'))}"
        return "?".join([place, *(["&".join(options)] if options else [])])
    family = socket.AF_INET6 if ":" in hostname else socket.AF_INET
    try:
        host = str(socket.getaddrinfo(hostname, port, family, socket.SOCK_STREAM)[0][4][0])
    except OSError:
        host = hostname  # the bind says why
    said = list(options) if is_loopback(host) else [_EVERYBODY, *options]
    place = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return "?".join([place, *(["&".join(said)] if said else [])])


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _context(tls: Encryption, hostname: str) -> ssl.SSLContext:
    """raises  ConfigError("bind.tls"), ConfigError("tls.adhoc"), UseError("serving.tls")"""
    from gatebridge.serve.tls import adhoc_context, file_context

    if tls == ADHOC:
        return adhoc_context("" if hostname.startswith("unix://") else hostname)
    if isinstance(tls, tuple) and len(tls) == 2:
        return file_context(*tls)
    if isinstance(tls, str | tuple):
        raise UseError("serving.tls", f"ssl_context {tls!r}: a context, (cert, key) or 'adhoc'")
    return tls


def _tell(listener: Listener, hostname: str) -> None:
    """Where a browser finds it."""
    scheme, _, rest = listener.text.partition("://")
    port = rest.rpartition(":")[2]
    place, more = hostname, ""
    if hostname in ("", "0.0.0.0", "::"):
        place = "::1" if hostname == "::" else "127.0.0.1"
        more = " and all other addresses of this machine"
    if not hostname.startswith("unix://"):
        place = f"{scheme}://[{place}]:{port}" if ":" in place else f"{scheme}://{place}:{port}"
    print(f" * Running on {place}{more}", file=sys.stderr)
    print(" * For development only. Ctrl-C ends it.", file=sys.stderr, flush=True)


def _stay_outside(listener: Listener) -> None:
    """Hold the socket while the program runs inside, again and again."""
    status = start_again_and_again(
        listener.fd, lambda: print(" * Restarting", file=sys.stderr, flush=True)
    )
    if status:
        sys.exit(status)


class Server:
    """Serves in this process, or in several that are forked from it.

    passes  with one thread and one process: an exception of the application ends run_simple()
    """

    def __init__(self, listener: Listener, threads: int, processes: int, passes: bool) -> None:
        self._listener = listener
        self._processes = processes
        self._error: BaseException | None = None
        self._passes = passes and threads == 1 and processes <= 1
        self._settings = Settings(
            bind=(listener.bind.text,),
            workers=str(max(1, processes)),
            threads=threads,
            access_logfile="-",
            access_logformat=LOG,
            log_level="warning",
            graceful_timeout=_GRACE_S,
            limit_body=1 << 62,
        )

    def run(self, app: Application, files: Files | None, interval_s: float) -> None:
        """Until a signal, or a changed file: then SystemExit(RESTART)."""
        with _own_signals():
            if self._processes > 1:
                changed = self._run_several(app, files, interval_s)
            else:
                changed = self._run_one(app, files, interval_s)
        if changed:
            print(f" * Changed: {', '.join(changed)}", file=sys.stderr, flush=True)
            sys.exit(RESTART)
        if self._error is not None:
            raise self._error

    def _run_one(self, app: Application, files: Files | None, interval_s: float) -> list[str]:
        watcher = Watcher(files, interval_s, _terminate) if files is not None else None
        try:
            shown = self._passing(app) if self._passes else app
            serve_alone(shown, self._settings, [self._listener])
        finally:
            if watcher is not None:
                watcher.close()
        return watcher.changed if watcher is not None else []

    def _run_several(self, app: Application, files: Files | None, interval_s: float) -> list[str]:
        from gatebridge.serving_several import serve_application  # a supervisor is much larger

        look = files.look if files is not None else None
        try:
            return serve_application(app, self._settings, self._listener, look, interval_s)
        finally:
            if files is not None:
                files.close()

    def _passing(self, app: Application) -> Application:
        """passthrough_errors: the first exception ends the server, and leaves run_simple()."""

        def passing(environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
            result: Iterable[bytes] = ()
            try:
                try:
                    result = app(environ, start_response)
                    yield from result
                finally:
                    close = getattr(result, "close", None)
                    if close is not None:
                        close()
            except Exception as error:
                self._error = error
                os.kill(os.getpid(), signal.SIGTERM)
                raise

        return passing


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _own_signals() -> Iterator[None]:
    """What serving makes of signals is undone behind it; meanwhile they wait for the server."""
    if threading.current_thread() is not threading.main_thread():
        raise UseError("serving.thread", "run_simple() takes signals: call it in the main thread")
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, MASKED)
    wakeup = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
