"""The configurations of front servers: where they are, and what each says."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.apache_text import read_apache
from gatebridge.doctor.caddy_text import read_caddy
from gatebridge.doctor.haproxy_text import read_haproxy
from gatebridge.doctor.iis_text import read_iis
from gatebridge.doctor.lighttpd_text import read_lighttpd
from gatebridge.doctor.machine import Machine
from gatebridge.doctor.nginx_text import read_nginx
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.doctor.passing import Passing

READERS: Final[dict[str, Callable[[Machine, str], list[Passing]]]] = {
    "nginx": read_nginx,
    "apache": read_apache,
    "lighttpd": read_lighttpd,
    "haproxy": read_haproxy,
    "caddy": read_caddy,
    "iis": read_iis,
}
USUAL: Final = (  # (server, where distributions keep it)
    ("nginx", "/etc/nginx/nginx.conf"),
    ("apache", "/etc/apache2/apache2.conf"),
    ("apache", "/etc/httpd/conf/httpd.conf"),
    ("lighttpd", "/etc/lighttpd/lighttpd.conf"),
    ("haproxy", "/etc/haproxy/haproxy.cfg"),
    ("caddy", "/etc/caddy/Caddyfile"),
)
_FILES_MOST: Final = 5000
_SIZE_MOST: Final = 8 << 20  # characters
_OPTIONS: Final = {
    "nginx": "-c", "apache": "-f", "lighttpd": "-f", "haproxy": "-f", "caddy": "--config",
}  # fmt: skip
_SIGNS: Final = (  # what only this server's configuration says
    ("iis", re.compile(r"<(?:system\.webServer|system\.applicationHost|webFarms)\b", re.I)),
    ("caddy", re.compile(r"^[ \t]*(?:reverse_proxy|php_fastcgi|handle(?:_path)?|file_server)\b",
                         re.M)),
    ("lighttpd", re.compile(r"^[ \t]*(?:server\.[\w-]+|(?:fastcgi|scgi|proxy)\.server)\s*\+?=",
                            re.M)),
    ("haproxy", re.compile(r"^(?:frontend|backend|listen|defaults|fcgi-app)\b[^{]*$", re.M)),
    ("nginx", re.compile(r"(?:^|[\s{;])(?:(?:location\s[^\n{]{,500}|http\s{,99}|server\s{,99}"
                         r"|upstream\s\S{1,500}\s{,99})\{|(?:fastcgi|scgi|uwsgi|proxy)_pass\s)")),
    ("apache", re.compile(r"^[ \t]*(?:<(?:VirtualHost|Location|Directory|IfModule|Proxy)\b"
                          r"|ProxyPass\b|LoadModule\b|SetHandler\b|AddHandler\b|ScriptAlias\b|RewriteRule\b"
                          r"|Fcgid\w+\s)", re.M | re.I)),
)  # fmt: skip


def server_of(path: str, text: str) -> str:
    """The server that a file is for: by what it says. raises ConfigError("doctor.front_config")"""
    for server, sign in _SIGNS:
        if sign.search(text):
            return server
    known = ", ".join(READERS)
    why = f"it says nothing that only one server says; name the file as SERVER:{path}"
    raise ConfigError("doctor.front_config", f"{path}: {why} ({known})")


def read_named(named: str) -> list[Passing]:
    """What an operator names: FILE, or SERVER:FILE. raises ConfigError("doctor.front_config")"""
    server, colon, path = named.partition(":")
    if not colon or server not in READERS:
        server, path = "", named
    path = os.path.abspath(path)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        raise ConfigError("doctor.front_config", f"{path}: {error.strerror}") from error
    if not os.path.isfile(path):
        raise ConfigError("doctor.front_config", f"{path}: it is no file")
    machine = Machine()
    return _read(server or server_of(path, machine.read(path)), machine, path)


class _Files(Machine):
    """The files of one configuration. Some that include each other may stand for any number."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.root)
        self._left = _FILES_MOST
        self._room = _SIZE_MOST

    def read(self, path: str) -> str:
        """raises ConfigError("doctor.front_config")"""
        text = super().read(path)
        self._left -= 1
        self._room -= len(text)
        if self._left < 0 or self._room < 0:
            why = f"it leads to more than {_FILES_MOST} files, or {_SIZE_MOST >> 20} MiB of them"
            raise ConfigError("doctor.front_config", f"{path}: {why}")
        return text


def _read(server: str, machine: Machine, path: str) -> list[Passing]:
    """raises ConfigError("doctor.front_config")"""
    try:
        return READERS[server](_Files(machine), path)
    except RecursionError as error:
        why = f"{path}: blocks in too many others"
        raise ConfigError("doctor.front_config", why) from error


def read_usual(machine: Machine) -> list[Passing]:
    """Of each server whose configuration may be read: it is where distributions keep it, or where
    the command line of a running one says. One that cannot be read as a whole says nothing."""
    files = dict.fromkeys(USUAL)
    for name, words in machine.front_commands():
        server = server_named(name)
        files |= {(server, path): None for path in _named(server, words)}
    found: list[Passing] = []
    for server, path in files:
        with suppress(ConfigError):
            found += _read(server, machine, path) if machine.read(path) else []
    return found


def server_named(program: str) -> str:
    """The server that a program is: httpd is Apache's, too."""
    return {"apache2": "apache", "httpd": "apache"}.get(program, program)


def _named(server: str, words: list[str]) -> list[str]:
    """The files that a command line names. nginx's master has all of it in one word."""
    option = _OPTIONS.get(server)
    split = [part for word in words for part in word.split()]
    return [path for before, path in pairwise(split) if before == option and path[:1] == "/"]
