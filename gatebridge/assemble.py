"""Settings into listeners, sites and a worker: the only file that knows every concrete class."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from gatebridge.bind import parse_bind
from gatebridge.environ.build import Builder
from gatebridge.environ.report import LISTENERS
from gatebridge.serve.access_log import COMBINED, AccessLog
from gatebridge.serve.clock import current_date
from gatebridge.serve.listen import Listener, networks, open_listener, somaxconn
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.loop import Loop
from gatebridge.serve.send_file import parse as send_file
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
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.settings import Settings


def _http(limits: Limits) -> Wire:
    return Http(limits, current_date)


WIRES: dict[str, Callable[[Limits], Wire]] = {
    "fastcgi": FastCGI,
    "scgi": Scgi,
    "uwsgi": Uwsgi,
    "http": _http,
}


def serve_alone(app: Application, settings: Settings) -> int:
    """Serve in this process, without a supervisor, until a signal ends it: .fcgi scripts.

    returns  the exit status
    raises   ConfigError
    """
    error_file = LogFile(settings.error_logfile)
    log = WorkerLog(error_file, LEVELS[settings.log_level])
    access_file = LogFile(settings.access_logfile) if settings.access_logfile else None
    listeners: list[Listener] = []
    # Whoever sees the socket may send TERM; it waits until somebody drains and removes the socket.
    signal.pthread_sigmask(signal.SIG_BLOCK, MASKED)
    try:
        for text in settings.bind:
            listeners.append(_listen(text))
        serve_listeners(listeners, app, settings, log, access_file)
    except BaseException:
        for listener in listeners:
            listener.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASKED)
        raise

    def reopen() -> None:
        error_file.reopen()
        if access_file is not None:
            access_file.reopen()

    loop = new_loop(listeners, settings)
    return Worker(loop, listeners, log, settings.graceful_timeout, reopen).run()


def serve_listeners(
    listeners: list[Listener],
    app: Application,
    settings: Settings,
    log: WorkerLog,
    access_file: LogFile | None,
) -> None:
    """Give each listener its protocol, application, limits and logs. raises ConfigError"""
    access = None
    if access_file is not None:
        format = settings.access_logformat or COMBINED
        access = AccessLog(access_file, format, settings.access_log_json)
    for listener in listeners:
        listener.site = _site(listener, app, settings, log, access)
        _warn_backlog(listener, log)


def new_loop(
    listeners: list[Listener],
    settings: Settings,
    slot: WorkerSlot | None = None,
    inbox: Inbox | None = None,
) -> Loop:
    """slot and inbox: of a supervised worker."""
    siblings = slot is not None and worker_count(settings.workers) > 1
    loop = Loop(listeners, settings.threads, settings.max_queue, slot, inbox, siblings)
    loop.timeout_s = settings.timeout
    loop.queue_s = settings.queue_timeout
    return loop


def _listen(text: str) -> Listener:
    addresses = os.environ.get("FCGI_WEB_SERVER_ADDRS", "")
    return open_listener(parse_bind(text), networks(addresses, "FCGI_WEB_SERVER_ADDRS"))


def _warn_backlog(listener: Listener, log: WorkerLog) -> None:
    asked = listener.bind.options.get("backlog")
    if asked and int(asked) > somaxconn():
        log.line(WARNING, f"backlog.lowered {asked} to net.core.somaxconn, {somaxconn()}")


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
        multiprocess=worker_count(settings.workers) > 1,
        checked_user=settings.checked_user,
    )
    LISTENERS[listener.text] = builder
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
    site.send_file = send_file(settings.send_file)
    return site
