"""What a front server's configuration says of one place where it hands requests on.

Each parser of a server (nginx_text, apache_text, …) makes these out of files; front_checks judges
them, and knows no server's words beyond those that a Passing brings.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatebridge.doctor.check import WARNING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.bind import Bind

SAMPLE = "/a b/\xc3\xa9"  # a path as a WSGI string, below the mount
SAMPLE_URI = "/a%20b/%C3%A9"
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "": 1}
_LOCAL = ("localhost", "127.0.0.1", "::1")
_ANYWHERE = ("", "*", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something that is wrong by itself, whatever is behind.

    id  of the check that says it
    """

    id: str
    cause: str
    seen: str
    mend: str
    severity: str = WARNING


@dataclass(frozen=True, slots=True)
class Passing:
    """One place where requests are handed on.

    server    nginx, apache, lighttpd, haproxy, caddy or iis
    where     FILE:LINE
    protocol  fastcgi, scgi, uwsgi or http; cgi or fcgid of a program that the server starts
    targets   "unix:/run/x.sock" or "host:port"
    program   a pattern as fnmatch's of the files that it starts; "" for none
    mount     the URL prefix that comes here: "" for the root, None for not known
    sent      what a request for SAMPLE below the mount brings; None for not known
    upload    bytes of the largest body, 0 for no limit; None for not known
    unheeded  bytes of a limit that is written there, and that the server does not keep to; or None
    timeout   seconds without a byte; None for not known
    buffered  the directive that collects answers; "" for none
    words     what mends: "upload", "timeout", "mount", "path", "buffered" -> a line with {0}
    flaws     what its parser found
    """

    server: str
    where: str
    protocol: str
    targets: tuple[str, ...] = ()
    mount: str | None = None
    sent: Mapping[str, str] | None = None
    upload: int | None = None
    timeout: float | None = None
    buffered: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    flaws: tuple[Flaw, ...] = ()
    program: str = ""
    unheeded: int | None = None

    def starts(self, script: str) -> bool:
        paths = {os.path.abspath(script), os.path.realpath(script)}
        return any(fnmatch.fnmatchcase(path, self.program) for path in paths)

    def points_to(self, bind: Bind) -> bool:
        return any(same_place(target, bind) for target in self.targets)


def same_place(target: str, bind: Bind) -> bool:
    """Whether a front server that is told the target comes to the bind, protocol aside."""
    if bind.family == "unix":
        path = target.removeprefix("unix:")
        return path != target and os.path.realpath(path) == os.path.realpath(bind.path)
    if bind.family != "tcp":
        return False
    host, _, port = target.rpartition(":")
    host = host.strip("[]")
    if port != str(bind.port) or target.startswith("unix:"):
        return False
    return host == bind.host or bind.host in _ANYWHERE or {host, bind.host} <= {*_LOCAL}


def seconds(text: str) -> float:
    """As in "1m 30s"."""
    parts: list[tuple[str, str]] = re.findall(r"(\d+)(ms|[smhdw]?)", text)
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def readable(value: str) -> str:
    """A WSGI string in quotes, as UTF-8 where its bytes are."""
    try:
        return f"{value.encode('latin-1').decode('utf-8')!r}"
    except UnicodeError:
        return repr(value)
