"""Where a flup server listens: bindAddress and umask, or descriptor 0."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gatebridge.bind import Bind, parse_bind
from gatebridge.errors import ConfigError, UseError
from gatebridge.serve.listen import open_listener
from gatebridge.serve.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.listener import Network

_SCHEMES = {"fastcgi": "fcgi", "scgi": "scgi"}
_ANYBODY = "0.0.0.0/0,::/0"  # flup listens wherever it is told; who may connect is asked later


class ScriptListener(Listener):
    """allowed: told each peer's address, as accept() gives it."""

    __slots__ = ("_allowed",)

    def __init__(
        self, bind: Bind, sock: socket.socket, allowed: Callable[[object], object]
    ) -> None:
        super().__init__(bind, sock, ())
        self._allowed = allowed

    def admits(self, peer: object) -> bool:
        return bool(self._allowed(peer))


def listen(bind: Bind, allowed: Callable[[object], object]) -> ScriptListener:
    """raises  ConfigError("bind.…"); OSError where it is the system that refuses, as flup does"""
    try:
        opened = open_listener(bind, ())
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, OSError):
            raise OSError(cause.errno, str(error)) from error
        if error.code == "bind.in_use":
            raise OSError(errno.EADDRINUSE, str(error)) from error
        raise
    return ScriptListener(bind, opened.sock, allowed)


def place(address: object, umask: int | None, protocol: str) -> Bind:
    """A bindAddress as a bind.

    address   a path, (host, port), (host, port, flow, scope) of IPv6, or unix:/path?mode=…
    umask     for a path; None for the process's own
    protocol  fastcgi or scgi
    raises    UseError("flup.address"), ConfigError("bind.…")
    """
    if isinstance(address, str | os.PathLike):
        text = os.fspath(address)
        if isinstance(text, str) and text:
            return _path(text, umask, protocol)
    if isinstance(address, tuple | list) and len(address) >= 2:
        host, port = address[0], address[1]
        if isinstance(host, str) and isinstance(port, int):
            return _tcp(host, port, len(address) > 2, protocol)
    forms = "a path, (host, port) with a number, or unix:/path?mode=0660&group=NAME"
    raise UseError("flup.address", f"bindAddress {address!r} is neither of {forms}")


def _path(text: str, umask: int | None, protocol: str) -> Bind:
    if text.startswith("unix:"):
        bind = parse_bind(text)
        bind.protocol = protocol
        return bind
    mode = 0o777 & ~(_umask() if umask is None else umask)
    bind = Bind(text, protocol, {"mode": f"{mode:04o}"})
    bind.family = "unix"
    bind.path = text
    return bind


def _tcp(host: str, port: int, is_ipv6: bool, protocol: str) -> Bind:
    if is_ipv6:
        host = host or "::"
    else:
        host = socket.gethostbyname(host or "0.0.0.0")  # "localhost" is IPv4 there
    shown = f"[{host}]" if is_ipv6 else host
    bind = Bind(f"{_SCHEMES[protocol]}://{shown}:{port}", protocol, {"allow": _ANYBODY})
    bind.family = "tcp"
    bind.host = host
    bind.port = port
    return bind


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def warning(bind: Bind, is_open: bool) -> str:
    """What an operator should know of a bind; "" for nothing. is_open: anybody may connect"""
    if bind.family == "unix" and os.geteuid() == 0:
        mode = int(bind.options.get("mode", "0660"), 8)
        if not (mode & 0o022 or bind.options.get("owner")):
            return (
                f"only root can connect to {bind.path} (mode {mode:04o}): give umask=0o007 and a "
                "group, as in bindAddress='unix:/run/app.sock?mode=0660&group=www-data'"
            )
    if bind.family == "tcp" and is_open and not in_networks(bind.host, ()):
        return f"everybody who reaches {bind.text} can call the application: name the front server"
    return ""


def in_networks(address: str, networks: tuple[Network, ...]) -> bool:
    """Is it in one of them, or, where there are none, this machine's own?"""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks) if networks else found.is_loopback
