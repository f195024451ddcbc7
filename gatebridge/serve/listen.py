"""Listening sockets: made, taken over, tested and removed again."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import sys
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError, PeerError
from gatebridge.serve.listener import Listener
from gatebridge.serve.socket_file import MAX_PATH, alone, bind_file, clear_stale
from gatebridge.serve.tls_option import check_tls, open_tls
from gatebridge.units import is_id
from gatebridge.wire.scan import decimal

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.serve.listener import Network
    from gatebridge.serve.notify import Passed

BACKLOG = 4096  # or what the system allows, if that is less
_MODE = "0660"  # of a Unix socket's file
_WITHOUT = {  # options that would do nothing, by family
    "unix": {"allow": "is of TCP; mode=, owner= and group= say who may connect here"},
    "abstract": dict.fromkeys(
        ("allow", "mode", "owner", "group"),
        "keeps nobody out of a socket without a file; write unix:/path, or peer=same",
    ),
    "tcp": dict.fromkeys(("mode", "owner", "group"), "is of a Unix socket's file"),
    "fd": dict.fromkeys(("mode", "owner", "group"), "is for whoever opened it to say"),
    "systemd": dict.fromkeys(("mode", "owner", "group"), "is for its .socket unit to say"),
}


def open_listener(bind: Bind, web_server_addrs: tuple[Network, ...]) -> Listener:
    """Listen where ``bind`` says.

    web_server_addrs  FCGI_WEB_SERVER_ADDRS, for FastCGI listeners
    raises            ConfigError("bind.…")
    """
    allow: tuple[Network, ...] = ()
    _check_peer(bind)
    tls = open_tls(bind)
    try:
        if bind.family == "tcp":
            allow = _allow(bind, bind.host)
            sock = _open_tcp(bind)
        elif bind.family == "fd":
            sock = _inherit(bind, bind.port)
            allow = networks(bind.options.get("allow", ""), bind.text)
        elif bind.family == "systemd":
            raise ConfigError("bind.systemd", f"{bind.text}: no socket was passed")
        else:
            sock = _open_unix(bind)
    except OSError as error:
        raise ConfigError("bind.failed", f"{bind.text}: {error}{_hint(error)}") from error
    if not allow and bind.protocol == "fastcgi" and bind.family != "unix":
        allow = web_server_addrs
    return Listener(bind, sock, allow, tls)


def open_listeners(
    bind: Bind, web_server_addrs: tuple[Network, ...], passed: Passed
) -> list[Listener]:
    """All that ``bind`` stands for: several sockets of systemd's may have one name.

    passed  what take_sockets() found
    raises  ConfigError("bind.…")
    """
    if bind.family != "systemd":
        return [open_listener(bind, web_server_addrs)]
    fds = passed.fds.get(bind.path, ())
    if not fds:
        there = ", ".join(passed.fds)
        why = f"FileDescriptorName= of those passed: {there}" if there else passed.why
        raise ConfigError("bind.systemd", f"{bind.text}: no such socket was passed; {why}")
    opened: list[Listener] = []
    try:
        for fd in fds:
            opened.append(adopt_listener(bind, fd, web_server_addrs))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def adopt_listener(bind: Bind, fd: int, web_server_addrs: tuple[Network, ...]) -> Listener:
    """A socket that systemd, another supervisor or another listener opened; ``fd`` stays open.

    What may connect from beyond loopback is said here as well (T8).
    raises  ConfigError("bind.…")
    """
    tls = open_tls(bind)
    try:
        sock = _inherit(bind, fd)
    except OSError as error:
        raise ConfigError("bind.failed", f"{bind.text}: descriptor {fd}: {error}") from error
    try:
        allow = _allow_adopted(bind, sock)
        if bind.family == "unix":
            _own_file(bind)
    except OSError as error:
        sock.close()
        raise ConfigError("bind.failed", f"{bind.text}: {error}{_hint(error)}") from error
    except ConfigError:
        sock.close()
        raise
    if not allow and bind.protocol == "fastcgi" and sock.family != socket.AF_UNIX:
        allow = web_server_addrs
    return Listener(bind, sock, allow, tls)


def _allow_adopted(bind: Bind, sock: socket.socket) -> tuple[Network, ...]:
    if sock.family == socket.AF_UNIX:
        return ()
    if bind.family == "fd":
        return networks(bind.options.get("allow", ""), bind.text)
    return _allow(bind, sock.getsockname()[0])


def _own_file(bind: Bind) -> None:
    """Mode and owner of a socket's file, as they are written now."""
    mode, owner, group = _mode(bind), _uid(bind), _gid(bind)
    try:
        os.chmod(bind.path, mode)
        if owner >= 0 or group >= 0:
            os.chown(bind.path, owner, group)
    except FileNotFoundError:  # somebody removed it; it is noticed later
        return


def examine(bind: Bind) -> None:
    """Look at what is written, without the system. raises ConfigError("bind.…")"""
    backlog(bind)
    _check_peer(bind)
    check_tls(bind)
    for name, why in _WITHOUT[bind.family].items():
        if name in bind.options:  # and whoever wrote it counts on it
            raise ConfigError("bind.option", f"{bind.text}: {name}= {why}")
    if bind.family == "tcp":
        _allow(bind, bind.host)
    elif bind.family in ("unix", "abstract"):
        _mode(bind)
        _check_length(bind)
    else:
        networks(bind.options.get("allow", ""), bind.text)


def _check_peer(bind: Bind) -> None:
    wanted = bind.options.get("peer", "same")
    if wanted != "same" or ("peer" in bind.options and bind.family not in ("unix", "abstract")):
        why = "peer=same, of a Unix socket, is all there is: the daemon's own user, or root"
        raise ConfigError("bind.peer", f"{bind.text}: {why}")


def networks(text: str, option: str) -> tuple[Network, ...]:
    """Addresses and networks separated by commas. raises ConfigError("bind.allow")"""
    try:
        return tuple([ip_network(item, strict=False) for item in text.split(",") if item])
    except ValueError as error:
        raise ConfigError("bind.allow", f"{option}: {error}") from error


def _allow(bind: Bind, host: str) -> tuple[Network, ...]:
    """The allow option; without it only loopback addresses may be listened on."""
    allow = networks(bind.options.get("allow", ""), bind.text)
    if not allow and not _is_loopback(host):
        why = "everybody who reaches this port could call the application"
        raise ConfigError(
            "bind.open", f"{bind.text}: {why}; add ?allow=ADDRESS of the front server"
        )
    return allow


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _mode(bind: Bind) -> int:
    mode = bind.options.get("mode", _MODE)
    if not mode or set(mode) - set("01234567") or len(mode) > 4 or int(mode, 8) > 0o777:
        raise ConfigError("bind.mode", f"{bind.text}: mode is octal, 0000 to 0777")
    return int(mode, 8)


def _hint(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return ": this user may not create it there; choose a folder of its own"
    if error.errno == errno.ENOENT:
        return ": create the folder first"
    if error.errno == errno.EADDRINUSE:
        return ": another program listens there"
    return ""


def _check_length(bind: Bind) -> None:
    if len(os.fsencode(bind.path)) > MAX_PATH:
        why = f"a Unix socket's path has at most {MAX_PATH} bytes"
        raise ConfigError("bind.path", f"{bind.text}: {why}; choose a shorter one")


def _open_unix(bind: Bind) -> socket.socket:
    _check_length(bind)
    mode = _mode(bind)
    owner, group = _uid(bind), _gid(bind)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if bind.family == "abstract":
            sock.bind("\0" + bind.path)
        else:
            with alone(bind.path):
                clear_stale(bind.path)
                bind_file(sock, bind.path, mode)
                if owner >= 0 or group >= 0:
                    os.chown(bind.path, owner, group)
                sock.listen(backlog(bind))
        if bind.family == "abstract":
            sock.listen(backlog(bind))
    except BaseException:
        sock.close()
        raise
    return sock


def _uid(bind: Bind) -> int:
    name = bind.options.get("owner", "")
    try:
        return int(name) if is_id(name) else pwd.getpwnam(name).pw_uid if name else -1
    except KeyError as error:
        raise ConfigError("bind.owner", f"{bind.text}: no user {name!r}") from error


def _gid(bind: Bind) -> int:
    name = bind.options.get("group", "")
    try:
        return int(name) if is_id(name) else grp.getgrnam(name).gr_gid if name else -1
    except KeyError as error:
        raise ConfigError("bind.group", f"{bind.text}: no group {name!r}") from error


def _open_tcp(bind: Bind) -> socket.socket:
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty, or longer than 63
        raise ConfigError("bind.failed", f"{bind.text}: {bind.host!r} is no host name") from error
    family, _, _, _, address = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted ones inherit it
        sock.bind(address)
        sock.listen(backlog(bind))
    except BaseException:
        sock.close()
        raise
    return sock


def _inherit(bind: Bind, fd: int) -> socket.socket:
    """A listener that the starter opened (FastCGI section 2.2: descriptor 0)."""
    queue = backlog(bind) if "backlog" in bind.options else None
    copy = os.dup(fd)
    try:
        sock = socket.socket(fileno=copy)
    except OSError:  # a pipe, a file
        os.close(copy)
        raise
    try:
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        listening = 1  # systems without that option: accept() will tell
    if not listening:
        sock.close()
        hint = "; systemd's needs Accept=no" if bind.family == "systemd" else ""
        raise ConfigError("bind.fd", f"descriptor {fd} is no listening socket{hint}")
    if fd > 2:  # of 0 to 2 the next program has its own
        os.set_inheritable(fd, False)
    if queue is not None:
        sock.listen(queue)
    return sock


def backlog(bind: Bind) -> int:
    """Connections the kernel may queue: what was asked for, else BACKLOG or the system's most."""
    asked = bind.options.get("backlog")
    if asked is not None:
        try:
            return decimal(asked, 65_535)
        except PeerError as error:
            raise ConfigError("bind.backlog", f"{bind.text}: {asked!r} is no number") from error
    return min(BACKLOG, somaxconn())


def somaxconn() -> int:
    """The system's cap on every backlog."""
    if sys.platform != "linux":
        return socket.SOMAXCONN
    try:
        with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return socket.SOMAXCONN
