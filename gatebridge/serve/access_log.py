"""One line per request: Apache's format letters, or JSON.

%h peer  %l -  %u user  %t time  %r request line  %m method  %U path  %q ?query  %H protocol
%s %>s status  %b bytes or -  %B bytes  %D microseconds  %T seconds  %v server  %p port  %P pid
%f referring page without query  %{Name}i request header  %{NAME}e any variable  %%
%{request_id}x the request's id  %{queue_us}x microseconds it waited for a thread
%{worker_us}x those in the thread; %D and %T are both together
"""

from __future__ import annotations

import json
import os
import re
import time
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.serve.escape import quote
from gatebridge.serve.request_id import request_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.asked import Asked
    from gatebridge.serve.log_file import LogFile

    Field = Callable[[dict[str, object], Asked, float], str]

# Without the query, cookies and credentials: they hold secrets (T19).
COMBINED = '%h %l %u %t "%m %U %H" %>s %b "%f" "%{User-Agent}i" %D'
_LETTER = re.compile(r"%(?:\{([^}]*)\})?(>?[A-Za-z%])?")  # without a letter it is a mistake


def _var(name: str, empty: str = "-") -> Field:
    return lambda environ, exchange, seconds: quote(str(environ.get(name) or empty))


def _path(environ: dict[str, object], exchange: Asked, seconds: float) -> str:
    return quote(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}") or "-"


def _query(environ: dict[str, object], exchange: Asked, seconds: float) -> str:
    query = environ.get("QUERY_STRING")
    return quote(f"?{query}") if query else ""


def _line(environ: dict[str, object], exchange: Asked, seconds: float) -> str:
    method, protocol = environ.get("REQUEST_METHOD", "-"), environ.get("SERVER_PROTOCOL", "-")
    path, query = _path(environ, exchange, seconds), _query(environ, exchange, seconds)
    return f"{quote(str(method))} {path}{query} {quote(str(protocol))}"


def _referer(environ: dict[str, object], exchange: Asked, seconds: float) -> str:
    """Without query and fragment: another page's secrets are secrets too."""
    page = str(environ.get("HTTP_REFERER") or "-")
    return quote(page.partition("?")[0].partition("#")[0])


def _status(environ: dict[str, object], exchange: Asked, seconds: float) -> str:
    """499 is nginx's word for a client that left before the answer."""
    return exchange.status[:3] or ("499" if exchange.gone else "-")


def _queued(exchange: Asked) -> float:
    """Seconds."""
    return exchange.queued_s


def _microseconds(seconds: float) -> str:
    return str(int(seconds * 1e6))


def _time(environ: dict[str, object], exchange: Asked, seconds: float) -> str:
    return time.strftime("[%d/%b/%Y:%H:%M:%S %z]", time.localtime(exchange.started))


_FIELDS: dict[str, Field] = {
    "f": _referer,
    "h": _var("REMOTE_ADDR"),
    "l": lambda environ, exchange, seconds: "-",
    "u": _var("REMOTE_USER"),
    "t": _time,
    "r": _line,
    "m": _var("REQUEST_METHOD"),
    "U": _path,
    "q": _query,
    "H": _var("SERVER_PROTOCOL"),
    "s": _status,
    ">s": _status,
    "b": lambda environ, exchange, seconds: str(exchange.sent or "-"),
    "B": lambda environ, exchange, seconds: str(exchange.sent),
    "D": lambda environ, exchange, seconds: _microseconds(_queued(exchange) + seconds),
    "T": lambda environ, exchange, seconds: str(int(_queued(exchange) + seconds)),
    "v": _var("SERVER_NAME"),
    "p": _var("SERVER_PORT"),
    "P": lambda environ, exchange, seconds: str(os.getpid()),
    "%": lambda environ, exchange, seconds: "%",
}

_OURS: dict[str, Field] = {  # %{...}x
    "request_id": lambda environ, exchange, seconds: quote(request_id(environ)),
    "queue_us": lambda environ, exchange, seconds: _microseconds(_queued(exchange)),
    "worker_us": lambda environ, exchange, seconds: _microseconds(seconds),
}


def compile_format(text: str) -> tuple[str, list[Field]]:
    """A format as a str.format-like template of %s and the fields to fill in.

    raises  ConfigError("log.format")
    """
    fields: list[Field] = []
    template: list[str] = []
    at = 0
    for match in _LETTER.finditer(text):
        name, letter = match.groups()
        template += (text[at : match.start()].replace("%", "%%"), "%s")
        at = match.end()
        if name and letter == "i":
            fields.append(_var("HTTP_" + name.upper().replace("-", "_")))
        elif name and letter == "e":
            fields.append(_var(name))
        elif name in _OURS and letter == "x":
            fields.append(_OURS[name])
        elif not name and letter in _FIELDS:
            fields.append(_FIELDS[letter])
        else:
            known = [f"%{key}" for key in _FIELDS] + ["%{Name}i", "%{NAME}e"]
            known += [f"%{{{key}}}x" for key in _OURS]
            why = f"unknown {match.group()!r}; there are {' '.join(known)}"
            raise ConfigError("log.format", why)
    template.append(text[at:].replace("%", "%%"))
    return "".join(template), fields


class AccessLog:
    """format: of Apache's letters; with_json writes an object a line instead.

    wants_id  a line has the request's id
    seconds   of write(): in the worker's thread
    """

    __slots__ = ("_fields", "_file", "_json", "_template", "wants_id")

    def __init__(self, file: LogFile, format: str, with_json: bool) -> None:
        self._file = file
        self._json = with_json
        self._template, self._fields = compile_format(format)
        self.wants_id = with_json or _OURS["request_id"] in self._fields

    def write(self, environ: dict[str, object], exchange: Asked, seconds: float) -> None:
        if self._json:
            self._file.write(_as_json(environ, exchange, seconds))
        else:
            values = tuple([field(environ, exchange, seconds) for field in self._fields])
            self._file.write(self._template % values)

    def reopen(self) -> None:
        self._file.reopen()


def _as_json(environ: dict[str, object], exchange: Asked, seconds: float) -> str:
    status = _status(environ, exchange, seconds)
    record = {
        "time": round(exchange.started, 6),
        "peer": environ.get("REMOTE_ADDR") or "",
        "user": environ.get("REMOTE_USER") or "",
        "method": environ.get("REQUEST_METHOD") or "",
        "path": f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}",
        "protocol": environ.get("SERVER_PROTOCOL") or "",
        "status": int(status) if status != "-" else None,
        "bytes": exchange.sent,
        "seconds": round(_queued(exchange) + seconds, 6),
        "queue_s": round(_queued(exchange), 6),
        "worker_s": round(seconds, 6),
        "server": environ.get("SERVER_NAME") or "",
        "referer": _referer(environ, exchange, seconds).removeprefix("-"),
        "agent": environ.get("HTTP_USER_AGENT") or "",
        "over": exchange.over,
        "pid": os.getpid(),
        "request_id": request_id(environ),
    }
    return json.dumps(record)
