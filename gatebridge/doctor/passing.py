"""What a front server's configuration says of one place where it hands requests on.

Each parser of a server (nginx_text, apache_text, …) makes these out of files; front_checks judges
them, and knows no server's words beyond those that a Passing brings.
"""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, field, replace
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
_DIGITS = 15  # of a number that is meant; Python itself reads no more than 4300


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
    execution (pattern as fnmatch's, whether programs may be started there): the last one counts
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
    execution: tuple[tuple[str, bool], ...] = ()

    def of_program(self, script: str) -> Passing:
        """As it is for one of the programs that it starts."""
        said = [may for pattern, may in self.execution for path in _paths(script)
                if fnmatch.fnmatchcase(path, pattern)]  # fmt: skip
        if not said or not said[-1]:
            return self
        return replace(self, flaws=tuple([one for one in self.flaws if one.id != "front.execute"]))

    def starts(self, script: str) -> bool:
        return any(fnmatch.fnmatchcase(path, self.program) for path in _paths(script))

    def points_to(self, bind: Bind) -> bool:
        return any(same_place(target, bind) for target in self.targets)


def _paths(script: str) -> set[str]:
    return {os.path.abspath(script), os.path.realpath(script)}


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


def whole(text: str) -> int | None:
    """A number; None for what is none, or longer than any that a server takes."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None


def seconds(text: str) -> float:
    """As in "1m 30s"."""
    parts: list[tuple[str, str]] = re.findall(r"(\d+)(ms|[smhdw]?)", text)
    return sum((whole(number) or 0) * _SECONDS[unit] for number, unit in parts)


def readable(value: str) -> str:
    """A WSGI string in quotes, as UTF-8 where its bytes are."""
    try:
        return f"{value.encode('latin-1').decode('utf-8')!r}"
    except UnicodeError:
        return repr(value)
