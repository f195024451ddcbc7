"""The only declaration of every option: its default, unit and help.

Command-line flags, their help and the table in docs/cli.md derive from these fields, by test.
A field's metadata: help; unit ("s", "bytes", "requests" or ""); choices; repeatable is told by
a tuple default; placeholder is what the help shows for the value.
"""

from __future__ import annotations

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
) -> Any:
    """A field of Settings."""
    about = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "placeholder": placeholder,
        "short": short,
    }
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class Settings:
    """What `gatebridge serve` can be told. Sizes are bytes, times are seconds."""

    bind: tuple[str, ...] = option(
        ("http://127.0.0.1:8000",),
        "Where to listen: unix:/path?mode=0660&owner=U&group=G, unix:@name, fcgi://HOST:PORT, "
        "scgi://, uwsgi://, http://, scgi+unix:/path, uwsgi+unix:/path, http+unix:/path, fd://0. "
        "TCP beyond loopback needs ?allow=ADDRESS. May be given several times.",
        placeholder="BIND",
        short="-b",
    )
    workers: int = option(
        1, "Worker processes. This version runs one.", placeholder="N", short="-w"
    )
    threads: int = option(
        8, "Application calls at once; an application that is fast uses one.", placeholder="N"
    )
    mount: str | None = option(
        None,
        "Path the front server put the application at, as in /app; / for the root. Without it "
        "the border between SCRIPT_NAME and PATH_INFO is the server's, put right where known.",
        placeholder="PATH",
    )
    front: str = option(
        "auto",
        "Front server whose quirks are expected; auto goes by SERVER_SOFTWARE.",
        choices=("auto", "nginx", "apache", "lighttpd", "caddy", "haproxy", "h2o", "iis"),
    )
    forwarded_allow_ips: str = option(
        "",
        "Peers whose X-Forwarded-For and -Proto are believed, separated by commas: addresses, "
        "networks, unix, or * for all. None by default.",
        placeholder="LIST",
    )
    checked_user: bool = option(
        False,
        "The front server checks Basic credentials itself (nginx auth_basic, HAProxy "
        "http_auth), so its REMOTE_USER is believed.",
    )
    chdir: str = option("", "Folder to change to before the import.", placeholder="DIR")
    pythonpath: str = option(
        "", "Folders, separated by commas, put before the import path.", placeholder="DIRS"
    )
    max_queue: int = option(
        512,
        "Requests that may wait for a thread; further ones are answered 503.",
        unit="requests",
        placeholder="N",
    )
    limit_params: int = option(
        1 << 20, "Variables of a request, all together.", unit="bytes", placeholder="BYTES"
    )
    limit_pairs: int = option(1000, "Variables of a request, their number.", placeholder="N")
    limit_body: int = option(
        1 << 30, "Largest request body; 413 beyond.", unit="bytes", placeholder="BYTES"
    )
    limit_connections: int = option(
        4096, "Connections at once, told to FCGI_GET_VALUES.", placeholder="N"
    )
    header_timeout: float = option(
        10.0, "Time for the variables of a request to come whole.", unit="s", placeholder="S"
    )
    body_timeout: float = option(
        60.0, "Time between two pieces of a request body.", unit="s", placeholder="S"
    )
    send_timeout: float = option(
        60.0, "Time for the peer to take a piece of the answer.", unit="s", placeholder="S"
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
    )
    spool_dir: str = option(
        "", "Folder of these files; the system's by default.", placeholder="DIR"
    )
    spool_floor: int = option(
        16 << 20,
        "Free space left on that file system; 507 when a body would take it.",
        unit="bytes",
        placeholder="BYTES",
    )
    multiplex: bool = option(
        True, "Accept several FastCGI requests at once on a connection (FCGI_MPXS_CONNS)."
    )
    access_logfile: str = option(
        "", "Access log: a file, or - for standard error. None by default.", placeholder="FILE"
    )
    access_logformat: str = option(
        "",
        "Its lines, in Apache's letters; the default leaves out the query, which may hold "
        "secrets (%q adds it).",
        placeholder="FORMAT",
    )
    access_log_json: bool = option(False, "One JSON object a line instead.")
    error_logfile: str = option(
        "-", "Error log: a file, or - for standard error.", placeholder="FILE"
    )
    log_level: str = option(
        "info",
        "The least severe line that is written.",
        choices=("debug", "info", "warning", "error"),
    )
