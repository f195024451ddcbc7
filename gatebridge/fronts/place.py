"""What a configuration of a front server is made from: one application, as it must be reached."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.serve.send_file import URL

if TYPE_CHECKING:
    from gatebridge.bind import Bind

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SERVER_NAME = re.compile(r"[A-Za-z0-9._*:\[\]-]+( [A-Za-z0-9._*:\[\]-]+)*")
_LISTEN = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.*-]+):)?(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Start:
    """How the daemon behind is started, for what starts it.

    argv    the command, as for a shell; () when nobody said it
    folder  absolute: what the command runs in
    file    its gatebridge.toml, absolute; "" for none
    user, group  that its workers run as; "" for those that start it
    logs    absolute paths of the files that it writes
    pid     its pid file, absolute; "" for none
    stop    seconds that it gives to requests under way
    binds   the place's own, as the daemon is told: with their options, and every address
    """

    argv: tuple[str, ...] = ()
    folder: str = ""
    file: str = ""
    user: str = ""
    group: str = ""
    logs: tuple[str, ...] = ()
    pid: str = ""
    stop: float = 30.0
    binds: tuple[Bind, ...] = ()


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the front server listens. host: "" for every address; tls: it speaks TLS there."""

    host: str
    port: int
    tls: bool

    @property
    def address(self) -> str:
        """As nginx and Apache write it: "80", "127.0.0.1:80", "[::1]:80"."""
        return f"{self.host}:{self.port}" if self.host else str(self.port)


@dataclass(frozen=True, slots=True)
class Place:
    """One application (pool), as a front server must reach it.

    binds        where it listens, all of one protocol; several are several back ends
    mount        "" for the root, else "/app": decoded, without a slash at its end
    server_name  host names, a blank between two; "_" for every one, and "localhost" where the
                 server can be told so without TLS
    listen       "80", "127.0.0.1:8080", "443 ssl"; "" for 80, or 443 with TLS
    static       (URL prefix, folder) of files that the front server sends itself; no slash at the
                 end of either
    upload       bytes of the largest request body; 0 for no limit
    buffering    False: streams reach the client at once, request bodies are passed as they come
    tls          (certificate, key) files, or () for none
    send_files   folder whose files the application may name in X-Accel-Redirect or X-Sendfile
    send_url     what an X-Accel-Redirect begins with, a slash at both ends
    timeout      seconds that the front server waits for the application: a little longer than the
                 daemon itself does
    health       a path that is answered while the daemon is well; "" for none
    keep         connections kept open to the daemon
    shim         path of a .cgi or .fcgi for the forms that start one
    name         of the application, for upstreams, units and files
    start        how the daemon is started
    raises       ConfigError("conf.…") for what no server can be told
    """

    binds: tuple[Bind, ...]
    mount: str = ""
    server_name: str = "localhost"
    listen: str = ""
    static: tuple[tuple[str, str], ...] = ()
    upload: int = 1 << 30
    buffering: bool = True
    tls: tuple[str, ...] = ()
    send_files: str = ""
    send_url: str = URL
    timeout: float = 60.0
    health: str = ""
    keep: int = 32
    shim: str = ""
    name: str = "gatebridge"
    start: Start = field(default=Start())

    def __post_init__(self) -> None:
        for about in fields(self):
            for text in _texts(getattr(self, about.name)):
                _refuse_breaks(about.name, text)
        _check_binds(self.binds)
        _check_paths(self)
        if not _NAME.fullmatch(self.name):
            words = "letters, digits, - and _, a letter first"
            raise ConfigError("conf.name", f"{self.name!r} cannot name it: write {words}")
        if not _SERVER_NAME.fullmatch(self.server_name):
            why = "is no host name; write one beyond ASCII as xn--…"
            raise ConfigError("conf.server_name", f"{self.server_name!r} {why}")
        _ = self.door

    @property
    def protocol(self) -> str:
        """fastcgi, scgi, uwsgi or http; "" where nothing listens (a shim starts it)."""
        return self.binds[0].protocol if self.binds else ""

    @property
    def door(self) -> Listen:
        """Where the front server listens. raises ConfigError("conf.listen")"""
        words = self.listen.split()
        tls = bool(self.tls) or words[1:] == ["ssl"]
        found = _LISTEN.fullmatch(words[0]) if words else None
        if not words:
            return Listen("", 443 if tls else 80, tls)
        if not found or words[1:] not in ([], ["ssl"]) or not 0 < int(found["port"]) < 65_536:
            why = "is no place to listen at; write 80, 127.0.0.1:8080 or 443 ssl"
            raise ConfigError("conf.listen", f"{self.listen!r} {why}")
        host = found["host"] or ""
        return Listen("" if host == "*" else host, int(found["port"]), tls)


def address(bind: Bind) -> str:
    """HOST:PORT of a TCP bind, an IPv6 address in brackets."""
    host = f"[{bind.host}]" if ":" in bind.host else bind.host
    return f"{host}:{bind.port}"


def only(place: Place, server: str, protocols: tuple[str, ...]) -> None:
    """Refuse a protocol that this server does not speak. raises ConfigError("conf.protocol")"""
    if place.protocol not in protocols:
        known = ", ".join(protocols)
        why = f"{server} reaches a daemon by {known}, and {place.binds[0].text!r} is none of them"
        raise ConfigError("conf.protocol", f"{why}; give gatebridge serve a further --bind")


def unsupported(server: str, what: str, instead: str) -> ConfigError:
    """The error for something that this server cannot do, or not in this form."""
    return ConfigError("conf.unsupported", f"{server} cannot {what}; {instead}")


def _texts(value: object) -> list[str]:
    """Every text in a field, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, tuple):
        return [text for part in value for text in _texts(part)]
    if isinstance(value, Start):
        return _texts(tuple(getattr(value, about.name) for about in fields(value)))
    return [value.path] if hasattr(value, "path") else []


def _refuse_breaks(name: str, text: str) -> None:
    """No server's configuration can quote a control character, and none is meant."""
    if any(ord(char) < 32 or ord(char) == 127 or "\ud800" <= char <= "\udfff" for char in text):
        why = "holds a line break, a control character or a byte that is not UTF-8; rename it"
        raise ConfigError("conf.control", f"{name}: {text!r} {why}")


def _check_binds(binds: tuple[Bind, ...]) -> None:
    if len({bind.protocol for bind in binds}) > 1:
        found = ", ".join(bind.text for bind in binds)
        raise ConfigError("conf.protocols", f"several back ends speak one protocol, not {found}")
    for bind in binds:
        if bind.family in ("fd", "systemd"):
            why = "is a socket that somebody else opens; say where, as in --bind unix:/run/x.sock"
            raise ConfigError("conf.bind", f"{bind.text!r} {why}")
        if bind.family == "unix" and not bind.path.startswith("/"):
            why = "is relative, and a front server has another folder; write /… whole"
            raise ConfigError("conf.bind", f"{bind.text!r} {why}")
        if bind.family == "tcp" and not bind.port:
            raise ConfigError("conf.bind", f"{bind.text!r}: port 0 is another one each time")


def _check_paths(place: Place) -> None:
    if place.mount and (not place.mount.startswith("/") or place.mount.endswith("/")):
        why = "is no mount: write /app, or nothing for the root"
        raise ConfigError("conf.mount", f"{place.mount!r} {why}")
    for prefix, folder in place.static:
        if not prefix.startswith("/") or prefix.endswith("/") or not folder.startswith("/"):
            why = "write /PREFIX=/FOLDER, both from the root on, without a slash at the end"
            raise ConfigError("conf.static", f"{prefix}={folder}: {why}")
    if place.health and not place.health.startswith("/"):
        raise ConfigError("conf.health", f"{place.health!r} is no path: write /ping")
    if place.send_files and not place.send_files.startswith("/"):
        why = "is no folder from the root on"
        raise ConfigError("conf.send_files", f"{place.send_files!r} {why}")
    if len(place.tls) not in (0, 2) or not all(file.startswith("/") for file in place.tls):
        why = "write CERTIFICATE,KEY, both from the root on"
        raise ConfigError("conf.tls", f"{','.join(place.tls)!r}: {why}")
