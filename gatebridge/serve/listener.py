"""A listening socket: what it accepts, and how it stops."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

from gatebridge.control_client import peer_uid
from gatebridge.serve.socket_file import inode

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.serve.site import Site
    from gatebridge.serve.tls import Tls

Network = IPv4Network | IPv6Network


class Listener:
    """An open listening socket and what its connections are served with.

    allow  networks TCP peers must be in; empty admits all (loopback and Unix sockets)
    tls    encrypts its connections; None, as nearly always: a front server does that
    """

    __slots__ = ("_allow", "_family", "_inode", "_made", "_uid", "bind", "fd", "site",
                 "sock", "text", "tls")  # fmt: skip

    site: Site

    def __init__(
        self,
        bind: Bind,
        sock: socket.socket,
        allow: tuple[Network, ...],
        tls: Tls | None = None,
    ) -> None:
        self.bind = bind
        self.sock = sock
        self.fd = sock.fileno()
        self._family = sock.family
        self._allow = allow
        self._uid = os.geteuid() if bind.options.get("peer") else -1
        self._inode = inode(bind.path) if bind.family == "unix" else None
        self._made = bind.family in ("unix", "abstract")  # by us: no other program listens there
        sock.setblocking(False)
        self.tls: Tls | None = None
        self.text = describe(bind, sock)
        if tls is not None:
            self.set_tls(tls)

    @property
    def tcp(self) -> bool:
        return self._family != socket.AF_UNIX

    def set_tls(self, tls: Tls) -> None:
        self.tls = tls
        self.text = self.text.replace("http", "https", 1)

    def accept(self) -> tuple[socket.socket, object]:
        """Take one connection. Its timeout does not matter: all its calls are MSG_DONTWAIT."""
        fd, peer = self.sock._accept()  # type: ignore[attr-defined]  # without a wrapper object
        if self.tls is not None:
            return self.tls.accept(socket.socket(fileno=fd)), peer
        return _LowSocket(self._family, socket.SOCK_STREAM, 0, fd), peer

    def adopt(self, fd: int) -> socket.socket:
        """A connection that another worker has accepted here."""
        sock: socket.socket = _LowSocket(self._family, socket.SOCK_STREAM, 0, fd)
        return sock

    def is_stranger(self, sock: socket.socket) -> bool:
        """Tell whether ?peer=same keeps out who has connected: not our user, and not root."""
        return self._uid >= 0 and peer_uid(sock) not in (self._uid, 0, None)

    def admits(self, peer: object) -> bool:
        """Tell whether a TCP peer is in the allow list (FastCGI section 3.2, and ?allow=)."""
        if not self._allow:
            return True
        if not isinstance(peer, tuple):  # FCGI_WEB_SERVER_ADDRS knows TCP peers only
            return False
        address = ip_address(str(peer[0]).partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._allow)

    @property
    def lost(self) -> bool:
        """The socket's file is gone, or another one has its path: nobody can connect any more."""
        return self._inode is not None and inode(self.bind.path) != self._inode

    def leave_file(self) -> None:
        """The file is another listener's from now on."""
        self._inode = None
        self._made = False

    def refuse(self) -> None:
        """Nobody connects from now on; who is queued can still be accepted, to the last.

        Only at Unix sockets of ours: systemd listens on at its own, and a TCP socket would forget
        its queue.
        """
        if self._made:
            self._remove_file()
            with suppress(OSError):  # where listening sockets know no shutdown(), close() is all
                self.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Stop listening; remove the socket's file if it is still the one we made."""
        self._remove_file()
        self.sock.close()

    def _remove_file(self) -> None:
        ours, self._inode = self._inode, None  # once: the path may be another's afterwards
        if ours is not None and inode(self.bind.path) == ours:
            os.unlink(self.bind.path)


_LowSocket = socket.socket.__mro__[1]  # _socket.socket: a third cheaper to make


def describe(bind: Bind, sock: socket.socket) -> str:
    """Where a listener listens, as a person reads it; a port 0 as the port it became."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        scheme = "fcgi" if bind.protocol == "fastcgi" else bind.protocol
        return f"{scheme}://{host}:{name[1]}"
    if bind.family == "fd":
        return bind.text
    if bind.family == "systemd":
        path = os.fsdecode(name).replace("\0", "@", 1)
        return f"unix:{path}" if bind.protocol == "fastcgi" else f"{bind.protocol}+unix:{path}"
    return bind.text.partition("?")[0]
