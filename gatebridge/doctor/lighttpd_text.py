"""Where lighttpd hands requests on, read from its configuration."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from gatebridge.doctor.check import BROKEN
from gatebridge.doctor.nginx_tree import DEPTH_MOST, files_like
from gatebridge.doctor.passing import SAMPLE, SAMPLE_URI, Flaw, Passing, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.machine import Machine

_TOKEN: Final = re.compile(
    r'\s+|\#[^\n]*|(?P<text>"(?:[^"\\]|\\.)*")|(?P<mark>=>|\+=|:=|[()={},])|(?P<word>[^\s(){}=,"]+)'
)
_KINDS: Final = {"fastcgi.server": "fastcgi", "scgi.server": "scgi", "proxy.server": "http"}
_KIB: Final = 1024

Token = tuple[str, str, str]  # kind, text, FILE:LINE


def read_lighttpd(machine: Machine, path: str) -> list[Passing]:
    tokens = list(_tokens(machine, os.path.abspath(path), ()))
    said = {name: value for name, value, _ in _assigned(tokens) if isinstance(value, str)}
    found = []
    for name, value, where in _assigned(tokens):
        if name in _KINDS and isinstance(value, list):
            for prefix, hosts in value:
                for host in hosts if isinstance(hosts, list) else []:
                    found += list(_passing(_KINDS[name], prefix, host, said, where))
    return found


def _tokens(machine: Machine, path: str, around: tuple[str, ...]) -> Iterator[Token]:
    if path in around or len(around) >= DEPTH_MOST:
        return
    text, line, included = machine.read(path), 1, False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "text" and included:
            pattern = os.path.join(os.path.dirname(path), match["text"][1:-1])
            for one in files_like(machine, pattern):
                yield from _tokens(machine, one, (*around, path))
            included = False
        elif kind is not None:
            included = match[0] == "include"
            if not included:
                value = re.sub(r"\\(.)", r"\1", match[0][1:-1]) if kind == "text" else match[0]
                yield kind, value, f"{path}:{line}"
        line += match[0].count("\n")


def _assigned(tokens: list[Token]) -> Iterator[tuple[str, Any, str]]:
    """(name, value, where) of each assignment, in whatever condition it stands.

    value  a text, or a list of (key, value) for an array; keys are "" where it has none
    """
    for at, (kind, text, where) in enumerate(tokens[:-2]):
        if kind == "word" and tokens[at + 1][1] in ("=", "+=", ":="):
            yield text, _value(tokens, at + 2)[0], where


def _value(tokens: list[Token], at: int) -> tuple[Any, int]:
    """A value, and where it ends."""
    if at >= len(tokens):
        return "", at
    if tokens[at][:2] != ("mark", "("):
        return tokens[at][1], at + 1
    found: list[tuple[str, Any]] = []
    at += 1
    while at < len(tokens) and tokens[at][:2] != ("mark", ")"):
        if tokens[at][:2] == ("mark", ","):
            at += 1
            continue
        key = ""
        if at + 1 < len(tokens) and tokens[at + 1][:2] == ("mark", "=>"):
            key, at = tokens[at][1], at + 2
        value, at = _value(tokens, at)
        found.append((key, value))
    return found, at + 1


def _passing(
    kind: str, prefix: str, host: tuple[str, Any], said: dict[str, str], where: str
) -> Iterator[Passing]:
    """host: a back end as ("" or its name, its options)."""
    if not isinstance(host[1], list):
        return
    options = {key: value for key, value in host[1] if isinstance(value, str)}
    target = f"unix:{options['socket']}" if "socket" in options else ""
    if "host" in options:
        path = options["host"]
        target = f"unix:{path}" if path[:1] == "/" else f"{path}:{options.get('port', '80')}"
    if not target or "bin-path" in options:
        return
    is_prefix = prefix.startswith("/")
    size = whole(said.get("server.max-request-size", ""))
    streams = said.get("server.stream-response-body", "0") != "0"
    timeout = options.get("read-timeout", "")
    mount = prefix.rstrip("/") if is_prefix else None
    yield Passing(
        "lighttpd",
        where,
        kind,
        (target,),
        mount,
        _sent(mount, options) if kind != "http" and mount is not None else None,
        size * _KIB if size is not None else None,
        float(timeout) if timeout.isdecimal() and timeout != "0" else None,
        "" if streams else "server.stream-response-body is 0",
        {
            "upload": "server.max-request-size, in KiB, for {0} bytes",
            "timeout": '"read-timeout" => {0}',
            "buffered": "server.stream-response-body = 1",
            "pass": f"{kind}.server",
        },
        tuple(_flaws(kind, prefix, options, where)),
    )


def _sent(mount: str, options: dict[str, str]) -> dict[str, str]:
    sent = {"HTTP_HOST": "x", "REQUEST_URI": mount + SAMPLE_URI, "SERVER_SOFTWARE": "lighttpd"}
    if mount or options.get("fix-root-scriptname") == "enable":
        return sent | {"SCRIPT_NAME": mount, "PATH_INFO": SAMPLE}
    first, slash, rest = SAMPLE[1:].partition("/")  # it takes the first part for a program's name
    return sent | {"SCRIPT_NAME": f"/{first}", "PATH_INFO": slash + rest}


def _flaws(kind: str, prefix: str, options: dict[str, str], where: str) -> Iterator[Flaw]:
    if kind != "http" and options.get("check-local") != "disable":
        why = "lighttpd answers 404 itself where no file has the path's name"
        yield Flaw("front.try_files", why, f'{where}: no "check-local" => "disable" for {prefix}',
                   '"check-local" => "disable"', BROKEN)  # fmt: skip
