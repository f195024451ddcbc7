"""The only declaration of every option: its default, unit and help. It is long because it is one
list: two would need a rule where to look.

Command-line flags, their help and the table in docs/cli.md derive from these fields, by test.
A field's metadata: help; unit ("s", "bytes", "requests" or ""); choices; repeatable is told by
a tuple default; placeholder is what the help shows for the value; table is where gatebridge.toml
keeps it; daemon tells that it belongs to the whole daemon, not to one pool; least and most bound
a number; commas tells that the text is a list.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    choices: tuple[str, ...] = (),
    placeholder: str = "",
    short: str = "",
    table: str = "server",
    daemon: bool = False,
    least: int = 0,
    most: int | None = None,
    commas: bool = False,
) -> Any:
    """A field of Settings."""
    about = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "placeholder": placeholder,
        "short": short,
        "table": table,
        "daemon": daemon,
        "least": least,
        "most": most,
        "commas": commas,
    }
    return field(default=default, metadata=about)


WORKERS_MOST = 128  # of all pools: a reload has twice as many for a while
THREADS_MOST = 128
CONNECTIONS_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What `gatebridge serve` can be told. Sizes are bytes, times are seconds."""

    bind: tuple[str, ...] = option(
        ("http://127.0.0.1:8000",),
        "Where to listen: unix:/path?mode=0660&owner=U&group=G, unix:@name, fcgi://HOST:PORT, "
        "scgi://, uwsgi://, http://, scgi+unix:/path, uwsgi+unix:/path, http+unix:/path, fd://0, "
        "systemd:NAME. TCP beyond loopback needs ?allow=ADDRESS. May be given several times.",
        placeholder="BIND",
        short="-b",
    )
    workers: str = option(
        "1",
        "Worker processes, at most; auto takes one for each processor. WEB_CONCURRENCY also "
        "says it.",
        placeholder="N",
        short="-w",
    )
    threads: int = option(
        8,
        "Application calls at once; an application that is fast uses one.",
        placeholder="N",
        least=1,
        most=THREADS_MOST,
    )
    engine: str = option(
        "gatebridge",
        "What reads and writes the sockets. flup is the real flup with its faults, for FastCGI and "
        "SCGI, to find out whether a fault is its or ours.",
        choices=("gatebridge", "flup"),
    )
    worker_class: str = option(
        "gthread",
        "What runs application calls: threads (gthread) or gevent's greenlets (gevent), for which "
        "the standard library is patched in the workers before the application is imported.",
        choices=("gthread", "gevent"),
        short="-k",
    )
    worker_connections: int = option(
        1000,
        "gevent: application calls at once in a worker.",
        placeholder="N",
        least=1,
        most=CONNECTIONS_MOST,
    )
    interface: str = option(
        "auto",
        "What the application is called by; auto goes by how it looks.",
        choices=("auto", "wsgi", "asgi", "asgi2", "tornado"),
    )
    root_path_style: str = option(
        "auto",
        "ASGI: whether a scope's path includes its root_path. The standard's way is include; auto "
        "takes it for all but Sanic and Falcon, which need strip.",
        choices=("auto", "include", "strip"),
    )
    lifespan: str = option(
        "auto",
        "ASGI: startup and shutdown events. With auto an application that raises on them does "
        "without; with on it is not served.",
        choices=("auto", "on", "off"),
    )
    mount: str | None = option(
        None,
        "Path the front server put the application at, as in /app; / for the root. Without it "
        "the border between SCRIPT_NAME and PATH_INFO is the server's, put right where known. On a "
        "command line also /x=TARGET: a further application below a path, which may be given "
        "several times.",
        placeholder="PATH",
    )
    front: str = option(
        "auto",
        "Front server whose quirks are expected; auto goes by SERVER_SOFTWARE, else by which "
        "variables it sends, and says in the log what it found.",
        choices=("auto", "nginx", "apache", "lighttpd", "caddy", "haproxy", "h2o", "iis"),
        table="trust",
    )
    forwarded_allow_ips: str = option(
        "",
        "Peers whose X-Forwarded-For and -Proto are believed, separated by commas: addresses, "
        "networks, unix, or * for all. None by default.",
        placeholder="LIST",
        table="trust",
        commas=True,
    )
    checked_user: bool = option(
        False,
        "The front server checks Basic credentials itself (nginx auth_basic, HAProxy "
        "http_auth), so its REMOTE_USER is believed.",
        table="trust",
    )
    send_file: str = option(
        "",
        "The front server sends files for wsgi.file_wrapper itself, if they are below a folder: "
        "nginx=/srv/files (X-Accel-Redirect, as conf writes it; nginx:/URL/=/srv/files by another "
        "internal location), caddy=, apache= or lighttpd=/srv/files (X-Sendfile).",
        placeholder="SERVER=DIR",
    )
    chdir: str = option("", "Folder to change to before the import.", placeholder="DIR")
    pythonpath: str = option(
        "",
        "Folders, separated by commas, put before the import path.",
        placeholder="DIRS",
        commas=True,
    )
    max_queue: int = option(
        512,
        "Requests that may wait for a thread; further ones are answered 503.",
        unit="requests",
        placeholder="N",
        table="limits",
    )
    limit_params: int = option(
        1 << 20,
        "Variables of a request, all together.",
        unit="bytes",
        placeholder="BYTES",
        table="limits",
    )
    limit_pairs: int = option(
        1000,
        "Variables of a request, their number.",
        placeholder="N",
        table="limits",
    )
    limit_body: int = option(
        1 << 30,
        "Largest request body; 413 beyond.",
        unit="bytes",
        placeholder="BYTES",
        table="limits",
    )
    limit_message: int = option(
        1 << 24,
        "Largest message of a WebSocket that a client may send; closed with 1009 beyond. 0 for no "
        "end.",
        unit="bytes",
        placeholder="BYTES",
        table="limits",
    )
    limit_connections: int = option(
        4096,
        "Connections at once, told to FCGI_GET_VALUES.",
        placeholder="N",
        table="limits",
    )
    header_timeout: float = option(
        10.0,
        "Time for the variables of a request to come whole.",
        unit="s",
        placeholder="S",
        table="limits",
    )
    body_timeout: float = option(
        60.0,
        "Time between two pieces of a request body.",
        unit="s",
        placeholder="S",
        table="limits",
    )
    send_timeout: float = option(
        60.0,
        "Time for the peer to take a piece of the answer.",
        unit="s",
        placeholder="S",
        table="limits",
    )
    graceful_timeout: float = option(
        30.0,
        "Time that TERM gives to requests under way.",
        unit="s",
        placeholder="S",
    )
    spool_memory: int = option(
        1 << 20,
        "Body bytes kept in memory where the length is unknown; beyond it a temporary file.",
        unit="bytes",
        placeholder="BYTES",
        table="limits",
    )
    spool_dir: str = option(
        "",
        "Folder of these files; the system's by default.",
        placeholder="DIR",
        table="limits",
    )
    spool_floor: int = option(
        16 << 20,
        "Free space left on that file system; 507 when a body would take it.",
        unit="bytes",
        placeholder="BYTES",
        table="limits",
    )
    multiplex: bool = option(
        True,
        "Accept several FastCGI requests at once on a connection (FCGI_MPXS_CONNS).",
        table="limits",
    )
    access_logfile: str = option(
        "",
        "Access log: a file, or - for standard error. None by default.",
        placeholder="FILE",
        table="log",
    )
    access_logformat: str = option(
        "",
        "Its lines, in Apache's letters; the default leaves out the query, which may hold "
        "secrets (%q adds it).",
        placeholder="FORMAT",
        table="log",
    )
    access_log_json: bool = option(
        False,
        "One JSON object a line instead.",
        table="log",
    )
    error_logfile: str = option(
        "-",
        "Error log: a file, or - for standard error.",
        placeholder="FILE",
        table="log",
        daemon=True,
    )
    log_level: str = option(
        "info",
        "The least severe line that is written.",
        choices=("debug", "info", "warning", "error"),
        table="log",
        daemon=True,
    )
    pm: str = option(
        "static",
        "Whether all workers run always (static), as many as are needed (dynamic), or none while "
        "nobody asks (ondemand); as PHP-FPM's pm.",
        choices=("static", "dynamic", "ondemand"),
    )
    min_spare_servers: int = option(1, "dynamic: idle workers at least.", placeholder="N")
    max_spare_servers: int = option(2, "dynamic: idle workers at most.", placeholder="N")
    process_idle_timeout: float = option(
        10.0, "ondemand: an idle worker ends after so long.", unit="s", placeholder="S"
    )
    preload: bool = option(
        False, "Load the application once for each generation, then fork the workers from it."
    )
    timeout: float = option(
        0.0,
        "Time for one request; then its client gets a 504 and its worker is replaced. 0 for none.",
        unit="s",
        placeholder="S",
        short="-t",
    )
    loop: str = option(
        "auto",
        "Event loop of asynchronous applications: uvloop where it is installed (auto), or one of "
        "the two.",
        choices=("auto", "asyncio", "uvloop"),
    )
    disconnect_timeout: float = option(
        10.0,
        "Asynchronous applications: time that a request goes on after its client has left; then "
        "its task is cancelled. 0 for no end.",
        unit="s",
        placeholder="S",
        table="limits",
    )
    websocket_ping: float = option(
        20.0,
        "WebSockets: time between two pings; a client that says nothing in between is taken for "
        "gone. 0 for none.",
        unit="s",
        placeholder="S",
        table="limits",
    )
    queue_timeout: float = option(
        0.0,
        "Time that a request may wait for a thread; 503 with Retry-After beyond. 0 for no end.",
        unit="s",
        placeholder="S",
        table="limits",
    )
    max_requests: int = option(
        0, "A worker is replaced after so many; 0 for never.", unit="requests", placeholder="N"
    )
    max_requests_jitter: int = option(
        0, "Up to so many more, by chance for each worker.", unit="requests", placeholder="N"
    )
    max_lifetime: float = option(
        0.0, "A worker is replaced after so long; 0 for never.", unit="s", placeholder="S"
    )
    max_rss: int = option(
        0, "A worker larger than this is replaced; 0 for never.", unit="bytes", placeholder="BYTES"
    )
    warmup: str = option(
        "",
        "A path that a new worker must answer below 500 before it serves.",
        placeholder="PATH",
    )
    user: str = option("", "User that workers run as.", placeholder="USER", short="-u")
    group: str = option("", "Group that workers run as.", placeholder="GROUP", short="-g")
    umask: str = option("", "File mode creation mask of workers, octal.", short="-m",
                        placeholder="MODE")  # fmt: skip
    env: tuple[str, ...] = option(
        (),
        "NAME=VALUE for the application's process environment. May be given several times.",
        placeholder="NAME=VALUE",
        short="-e",
    )
    env_file: str = option("", "A file of such lines.", placeholder="FILE")
    nice: int = option(0, "Added to the workers' niceness.", placeholder="N", least=-20, most=19)
    rlimit: tuple[str, ...] = option(
        (),
        "NAME=VALUE as in nofile=1024, as=1GiB, cpu, core, data, nproc, fsize, stack. May be given "
        "several times.",
        placeholder="NAME=VALUE",
    )
    status_path: str = option(
        "", "Path answered with this pool's status, before the application.", table="status",
        placeholder="PATH",
    )  # fmt: skip
    ping_path: str = option(
        "", "Path answered with pong, before the application.", table="status", placeholder="PATH"
    )
    status_allow: str = option(
        "127.0.0.1,::1",
        "Clients (REMOTE_ADDR) that these two paths answer, separated by commas; others get 403. A "
        "ping without REMOTE_ADDR, as health checks send it, is always answered.",
        table="status",
        placeholder="LIST",
        commas=True,
    )
    slowlog_timeout: float = option(
        0.0,
        "A request older than this is written to the slow log with its stack; 0 for none.",
        unit="s",
        placeholder="S",
        table="log",
    )
    slowlog: str = option(
        "-", "Slow log: a file, or - for the error log.", table="log", placeholder="FILE",
        daemon=True,
    )  # fmt: skip
    capture_output: bool = option(
        False,
        "Write what workers print to the error log, labelled with pool and worker.",
        table="log",
    )
    reload: bool = option(
        False, "Reload when a file of the application changes; for development.", table="reload"
    )
    reload_engine: str = option(
        "auto", "How changes are noticed.", choices=("auto", "watchfiles", "stat"), table="reload"
    )
    reload_interval: float = option(
        1.0, "Between two looks of the stat engine.", unit="s", placeholder="S", table="reload"
    )
    reload_extra_file: tuple[str, ...] = option(
        (),
        "Reload when this file is touched, or this symbolic link leads elsewhere; works without "
        "--reload. May be given several times.",
        placeholder="FILE",
        table="reload",
    )
    reload_exclude: tuple[str, ...] = option(
        (),
        "Pattern of paths whose changes do not reload, as in */generated/*. May be given several "
        "times.",
        placeholder="PATTERN",
        table="reload",
    )
    pid: str = option("", "File to write the daemon's process id to.", short="-p",
                      placeholder="FILE", daemon=True)  # fmt: skip
    daemon: bool = option(False, "Go to the background when ready.", short="-D", daemon=True)
    control_socket: str = option(
        "",
        "Where status, ping, top and ctl find the daemon; by default NAME.ctl in a private "
        "folder gatebridge below XDG_RUNTIME_DIR or /run.",
        placeholder="PATH",
        daemon=True,
    )
    idle_exit: float = option(
        0.0,
        "The daemon ends after so long without a request; 0 for never. For daemons that a shim "
        "starts.",
        unit="s",
        placeholder="S",
        daemon=True,
    )
    name: str = option(
        "", "The daemon's name; by default made from its first bind.", short="-n",
        placeholder="NAME", daemon=True,
    )  # fmt: skip
    route_state: str = option(
        "",
        "File that keeps what `gatebridge route set` changed; by default FILE.routes beside "
        "gatebridge.toml.",
        placeholder="FILE",
        daemon=True,
    )


@dataclass(frozen=True, slots=True)
class App:
    """What answers some of a pool's requests: an [[app]], a [[route]] or a --mount.

    match        which paths, as routing/rule.py reads it: "/x", "= /x", "~ REGEX", "" for all
    target       what answers; beside ``new`` it is the legacy side
    new          the side that a route moves to; "" where there is one target
    mode         with ``new``: who answers as the file has it, "legacy" or "new"
    host         whom a request must be for; "" for anybody
    methods      upper case, in order; none for all
    timeout      seconds; 0.0 as the pool
    limit_body   bytes; -1 as the pool
    concurrency  requests at once in the whole daemon; 0 for no end
    name         what `gatebridge route` may call it by
    """

    match: str
    target: str
    new: str = ""
    mode: str = ""
    host: str = ""
    methods: tuple[str, ...] = ()
    timeout: float = 0.0
    limit_body: int = -1
    concurrency: int = 0
    name: str = ""

    @property
    def rule(self) -> tuple[str, str, tuple[str, ...]]:
        """What tells it from the others of its pool, whatever answers."""
        return self.match, self.host, self.methods

    def __str__(self) -> str:
        """Its rule in words: "/x on shop.example.org for GET, POST"."""
        words = [self.match or "/"]
        if self.host:
            words.append(f"on {self.host}")
        if self.methods:
            words.append(f"for {', '.join(self.methods)}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers that serve the same applications with the same options."""

    name: str
    settings: Settings
    apps: tuple[App, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """Everything a daemon is told.

    settings  the options that belong to the whole daemon; pools repeat them
    file      the gatebridge.toml that was read, absolute; "" for none
    origins   who said it: "threads" or "pool.NAME.threads" -> "default", "FILE:LINE", "PORT",
              "--threads"
    """

    pools: tuple[Pool, ...]
    settings: Settings
    file: str = ""
    origins: dict[str, str] = field(default_factory=dict, compare=False)


def calls_at_once(settings: Settings) -> int:
    """Application calls that a worker may have under way."""
    if settings.worker_class == "gevent":
        return settings.worker_connections
    return settings.threads


def worker_count(workers: str) -> int:
    """The number that Settings.workers means: auto is one for each processor we may use."""
    if workers != "auto":
        return int(workers)
    count: int | None = None
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        count = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):  # Linux and BSD
        count = len(os.sched_getaffinity(0))
    return min(count or os.cpu_count() or 1, WORKERS_MOST)
