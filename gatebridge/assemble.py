"""Settings into listeners, sites and a worker: the only file that knows every concrete class."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from gatebridge.apps.load import load
from gatebridge.bind import parse_bind
from gatebridge.environ.build import Builder
from gatebridge.errors import ConfigError
from gatebridge.serve.access_log import COMBINED, AccessLog
from gatebridge.serve.clock import current_date
from gatebridge.serve.listen import Listener, networks, open_listener, somaxconn
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.loop import Loop
from gatebridge.serve.site import Site, Wire
from gatebridge.serve.worker import MASKED, Worker
from gatebridge.serve.worker_log import LEVELS, WARNING, WorkerLog
from gatebridge.settings import worker_count
from gatebridge.wire.events import Limits
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.http import Http
from gatebridge.wire.scgi import Scgi
from gatebridge.wire.uwsgi import Uwsgi

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.engine.seams import Application
    from gatebridge.settings import Settings


def _http(limits: Limits) -> Wire:
    return Http(limits, current_date)


WIRES: dict[str, Callable[[Limits], Wire]] = {
    "fastcgi": FastCGI,
    "scgi": Scgi,
    "uwsgi": Uwsgi,
    "http": _http,
}


def serve_target(target: str, settings: Settings) -> int:
    """Load an application by name and serve it. Returns the exit status."""
    if settings.chdir:
        try:
            os.chdir(settings.chdir)
        except OSError as error:
            raise ConfigError("chdir.failed", f"{settings.chdir}: {error}") from error
    for folder in reversed([item for item in settings.pythonpath.split(",") if item]):
        sys.path.insert(0, os.path.abspath(folder))
    return serve(load(target, os.getcwd()), settings)


def serve(app: Application, settings: Settings) -> int:
    """Serve an application in this process until a signal ends it. Returns the exit status.

    raises  ConfigError
    """
    if worker_count(settings.workers) != 1:
        raise ConfigError("workers.one", "this version runs one worker process: --workers 1")
    if settings.threads < 1:
        raise ConfigError("threads.none", "--threads takes 1 or more")
    error_file = LogFile(settings.error_logfile)
    log = WorkerLog(error_file, LEVELS[settings.log_level])
    access = _access_log(settings)
    listeners: list[Listener] = []
    # Whoever sees the socket may send TERM; it waits until somebody drains and removes the socket.
    signal.pthread_sigmask(signal.SIG_BLOCK, MASKED)
    try:
        for text in settings.bind:
            listeners.append(_listen(text))
        for listener in listeners:
            listener.site = _site(listener, app, settings, log, access)
            _warn_backlog(listener, log)
    except BaseException:
        for listener in listeners:
            listener.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASKED)
        raise
    loop = Loop(listeners, settings.threads, settings.max_queue)

    def reopen() -> None:
        error_file.reopen()
        if access is not None:
            access.reopen()

    return Worker(loop, listeners, log, settings.graceful_timeout, reopen).run()


def _listen(text: str) -> Listener:
    addresses = os.environ.get("FCGI_WEB_SERVER_ADDRS", "")
    return open_listener(parse_bind(text), networks(addresses, "FCGI_WEB_SERVER_ADDRS"))


def _warn_backlog(listener: Listener, log: WorkerLog) -> None:
    asked = listener.bind.options.get("backlog")
    if asked and int(asked) > somaxconn():
        log.line(WARNING, f"backlog.lowered {asked} to net.core.somaxconn, {somaxconn()}")


def _access_log(settings: Settings) -> AccessLog | None:
    if not settings.access_logfile:
        return None
    format = settings.access_logformat or COMBINED
    return AccessLog(LogFile(settings.access_logfile), format, settings.access_log_json)


def _site(
    listener: Listener,
    app: Application,
    settings: Settings,
    log: WorkerLog,
    access: AccessLog | None,
) -> Site:
    limits = Limits(
        params=settings.limit_params,
        pairs=settings.limit_pairs,
        requests=settings.threads + settings.max_queue,
        connections=settings.limit_connections,
        multiplex=settings.multiplex,
    )
    trusted = tuple([item for item in settings.forwarded_allow_ips.split(",") if item])
    builder = Builder(
        mount=settings.mount,
        front=settings.front,
        trusted=trusted,
        multithread=settings.threads > 1,
        checked_user=settings.checked_user,
    )
    name = listener.bind.protocol
    site = Site(name, listener.text, listener.tcp, WIRES[name], limits, builder, app, log, access)
    if listener.tcp:
        host, _, port = listener.text.rpartition("://")[2].rpartition(":")
        site.server = (host.strip("[]"), port)
    site.limit_body = settings.limit_body
    site.header_s = settings.header_timeout
    site.body_idle_s = settings.body_timeout
    site.send_idle_s = settings.send_timeout
    site.spool_memory = settings.spool_memory
    site.spool_dir = settings.spool_dir or None
    site.spool_floor = settings.spool_floor
    return site
