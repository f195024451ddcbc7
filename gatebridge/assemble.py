"""Settings into listeners, sites and a worker: the only file that knows every concrete class."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING

from gatebridge.aio import begin_loop, listen, mix
from gatebridge.apps.interface import Interface, as_application
from gatebridge.bind import parse_bind
from gatebridge.environ.build import Builder
from gatebridge.environ.report import LISTENERS
from gatebridge.errors import ConfigError
from gatebridge.serve.access_log import COMBINED, AccessLog
from gatebridge.serve.aio_choice import is_async
from gatebridge.serve.clock import current_date
from gatebridge.serve.listen import networks, open_listener, somaxconn
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.loop import Loop
from gatebridge.serve.more_stacks import answer_usr1, answer_usr1_with
from gatebridge.serve.send_file import parse as send_file
from gatebridge.serve.site import Site, Wire
from gatebridge.serve.watch_thread import Watch
from gatebridge.serve.worker import MASKED, Worker
from gatebridge.serve.worker_log import LEVELS, WARNING, WorkerLog
from gatebridge.settings import calls_at_once, worker_count
from gatebridge.wire.events import Limits
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.scgi import Scgi
from gatebridge.wire.uwsgi import Uwsgi

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatebridge.engine.seams import Application
    from gatebridge.loading import Applications
    from gatebridge.serve.aio_loop import AioLoop
    from gatebridge.serve.aio_mixed import Mixed
    from gatebridge.serve.inbox import Inbox
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.scoreboard import WorkerSlot
    from gatebridge.settings import Settings


def _wire(protocol: str) -> Callable[[Limits], Wire]:
    if protocol == "http":  # needs h11, which app.fcgi of a bare checkout may lack
        from gatebridge.wire.http import Http

        return lambda limits: Http(limits, current_date)
    return _WIRES[protocol]


_WIRES: dict[str, Callable[[Limits], Wire]] = {"fastcgi": FastCGI, "scgi": Scgi, "uwsgi": Uwsgi}


def serve_alone(app: Application, settings: Settings, opened: Sequence[Listener] = ()) -> int:
    """Serve in this process, without a supervisor, until a signal ends it: .fcgi scripts.

    opened  in the place of settings.bind; closed at the end, as is all else that was opened then
    Returns the exit status. raises ConfigError
    """
    if settings.worker_class != "gthread":  # the script has imported its application already
        raise ConfigError("worker.class", f"{settings.worker_class} needs gatebridge serve")
    said = Interface(settings.interface, settings.root_path_style, settings.lifespan)
    app = as_application(app, said, "the application")
    error_file = LogFile(settings.error_logfile)
    log = WorkerLog(error_file, LEVELS[settings.log_level])
    access_file = LogFile(settings.access_logfile) if settings.access_logfile else None
    listeners = list(opened)
    aio = begin_loop([app], settings, log)
    # Whoever sees the socket may send TERM; it waits until somebody drains and removes the socket.
    signal.pthread_sigmask(signal.SIG_BLOCK, MASKED)
    try:
        for text in settings.bind if not opened else ():
            listeners.append(_listen(text))
        serve_listeners(listeners, app, settings, log, access_file)
    except BaseException:
        for listener in listeners:
            listener.close()
        if aio is not None:
            aio.stop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MASKED)
        raise

    logs = [file for file in (error_file, access_file) if file is not None]

    def reopen() -> None:
        for file in logs:
            file.reopen()

    if aio is not None:
        listen(aio, listeners, app)
        return Worker(aio, listeners, log, settings.graceful_timeout, reopen).run()
    return _run_loop(listeners, settings, log, reopen, logs if opened else [])


def _run_loop(
    listeners: list[Listener],
    settings: Settings,
    log: WorkerLog,
    reopen: Callable[[], None],
    logs: list[LogFile],
) -> int:
    """logs: to be closed at the end, as the process goes on and may serve again"""
    loop = new_loop(listeners, settings)
    watch = Watch(loop).run
    worker = Worker(loop, listeners, log, settings.graceful_timeout, reopen, None, watch)
    worker.run()
    if logs:
        loop.close_idle(True)
    if logs and loop.close():
        worker.close()
        for file in logs:
            file.close()
    return 0


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
    new: type[Loop] = Loop
    if settings.worker_class == "gevent":
        from gatebridge.serve.gevent_loop import GeventLoop  # only where gevent is

        new = GeventLoop
    loop = new(listeners, calls_at_once(settings), settings.max_queue, slot, inbox, siblings)
    loop.timeout_s = settings.timeout
    loop.queue_s = settings.queue_timeout
    return loop


def new_watch(loop: Loop, settings: Settings, dump_fd: int) -> Callable[[], object]:
    """What a supervised worker's loop is watched by. dump_fd: where its stacks go on USR1"""
    if settings.worker_class != "gevent":
        return Watch(loop).run
    from gatebridge.serve.gevent_watch import GeventWatch, greenlets

    answer_usr1(dump_fd, partial(greenlets, loop))
    return GeventWatch(loop).run


def new_turning(
    loaded: Applications,
    listeners: list[Listener],
    app: Application,
    settings: Settings,
    slot: WorkerSlot,
    inbox: Inbox | None,
    dump_fd: int,
) -> tuple[Loop | AioLoop | Mixed, Callable[[], object] | None]:
    """What a supervised worker's requests are served by, and what watches that."""
    aio = loaded.loop
    if aio is not None:
        answer_usr1_with(dump_fd, aio.stacks)
        if all(map(is_async, loaded.sides)):
            listen(aio, listeners, app, inbox)
            return aio, None
    loop = new_loop(listeners, settings, slot, inbox)
    watch = new_watch(loop, settings, dump_fd)
    return (loop if aio is None else mix(aio, loop, listeners, loaded.answers)), watch


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
    trusted = tuple([item for item in settings.forwarded_allow_ips.split(",") if item])
    builder = Builder(
        mount=settings.mount,
        front=settings.front,
        trusted=trusted,
        multithread=calls_at_once(settings) > 1,
        multiprocess=worker_count(settings.workers) > 1,
        checked_user=settings.checked_user,
    )
    LISTENERS[listener.text] = builder
    name = listener.bind.protocol
    limits, new_wire = _limits(settings), _wire(name)
    site = Site(name, listener.text, listener.tcp, new_wire, limits, builder, app, log, access)
    if listener.tcp:
        host, _, port = listener.text.rpartition("://")[2].rpartition(":")
        site.server = (host.strip("[]"), port)
    site.secure = listener.tls is not None
    site.limit_body = settings.limit_body
    site.limit_message = settings.limit_message
    site.websocket_ping_s = settings.websocket_ping
    site.header_s = settings.header_timeout
    site.body_idle_s = settings.body_timeout
    site.send_idle_s = settings.send_timeout
    site.spool_memory = settings.spool_memory
    site.spool_dir = settings.spool_dir or None
    site.spool_floor = settings.spool_floor
    site.send_file = send_file(settings.send_file)
    return site


def _limits(settings: Settings) -> Limits:
    return Limits(
        params=settings.limit_params,
        pairs=settings.limit_pairs,
        requests=calls_at_once(settings) + settings.max_queue,
        connections=settings.limit_connections,
        multiplex=settings.multiplex,
    )
