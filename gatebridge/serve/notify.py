"""systemd's two protocols for services: telling how we are, and taking over its sockets.

sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds_with_names(3). Each is read once, at the start,
and its variables are removed, so that no worker and no program of an application believes them.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError, PeerError
from gatebridge.serve.escape import escape
from gatebridge.wire.scan import decimal

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    Environ = MutableMapping[str, str]

_FIRST = 3  # SD_LISTEN_FDS_START
_UNNAMED = "unknown"  # what systemd calls sockets that were passed without names
_MAX_FDS = 4096
_MAX_USEC = 1 << 62
_UNSENT = 16  # messages kept for later; further ones push the oldest out


class Notify:
    """Messages to the service manager; does nothing where there is none.

    address     NOTIFY_SOCKET: a path, or @ and an abstract name; "" for nobody
    watchdog_s  half of what the manager gives us: how often to call watchdog(); 0.0 for never
    """

    __slots__ = ("_address", "_asked", "_unsent", "watchdog_s")

    def __init__(self, address: str, watchdog_usec: int = 0) -> None:
        self._asked = address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._unsent: deque[str] = deque(maxlen=_UNSENT)
        self.watchdog_s = watchdog_usec / 2_000_000 if address else 0.0

    @property
    def waiting(self) -> bool:
        """A message could not be sent: call retry() a little later."""
        return bool(self._unsent)

    def ready(self, status: str = "") -> None:
        """The service is up; also the end of a reload."""
        self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> None:
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", *_status(status))

    def stopping(self, status: str = "", limit_s: float = 0.0) -> None:
        """limit_s: how long requests may take to end, where TimeoutStopSec= is shorter."""
        extend = [f"EXTEND_TIMEOUT_USEC={int(limit_s * 1e6)}"] if limit_s > 0 else []
        self._send("STOPPING=1", *extend, *_status(status))

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(*_status(text))

    def watchdog(self) -> None:
        """We are alive. Not kept for later: the next one says the same."""
        if self._address:
            self._sent("WATCHDOG=1")

    def main_pid(self, pid: int) -> None:
        """Another process is the service from now on."""
        self._send(f"MAINPID={pid}")

    def retry(self) -> None:
        """Send what could not be sent."""
        while self._unsent and self._sent(self._unsent[0]):
            self._unsent.popleft()

    def environment(self) -> dict[str, str]:
        """What a program that takes our place finds the manager by; the watchdog is now its own."""
        if not self._asked:
            return {}
        found = {"NOTIFY_SOCKET": self._asked}
        if self.watchdog_s:
            found["WATCHDOG_USEC"] = str(round(self.watchdog_s * 2e6))
        return found

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        self.retry()
        message = "\n".join(lines)
        if self._unsent or not self._sent(message):
            self._unsent.append(message)

    def _sent(self, message: str) -> bool:
        """Try once, without waiting. False: the manager's queue is full just now."""
        data = message.encode("utf-8", "backslashreplace")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(data, socket.MSG_DONTWAIT, self._address)
            except OSError as error:
                return error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EINTR)
        return True


def find_notify(environ: Environ, pid: int) -> Notify:
    """What the environment says about the manager, removed from it. pid: our own."""
    address = environ.pop("NOTIFY_SOCKET", "")
    period = environ.pop("WATCHDOG_USEC", "")
    meant = environ.pop("WATCHDOG_PID", str(pid))
    if not address.startswith(("/", "@")) or len(address) < 2:  # vsock: is for virtual machines
        return Notify("")
    return Notify(address, _usec(period) if meant == str(pid) else 0)


def _usec(text: str) -> int:
    try:
        return decimal(text, _MAX_USEC)
    except PeerError:
        return 0


def _status(text: str) -> list[str]:
    return [f"STATUS={escape(text)}"] if text else []


@dataclass(frozen=True, slots=True)
class Passed:
    """Descriptors that the manager opened for us, by name. why: there are none because..."""

    fds: dict[str, list[int]]
    why: str = ""


def take_sockets(environ: Environ, pid: int) -> Passed:
    """What the environment says about them, removed from it. pid: our own.

    The descriptors are ours from then on: no program that is started gets them.

    raises  ConfigError("bind.systemd")
    """
    meant, count, names = (
        environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    environ.pop("LISTEN_PIDFDID", None)
    if not count:
        return Passed({}, "LISTEN_FDS is not set; start it by its .socket unit")
    if meant != str(pid):  # they were for a process that started us and did not remove them
        return Passed({}, f"LISTEN_PID is {meant} and this is {pid}; a shell in between needs exec")
    try:
        fds = range(_FIRST, _FIRST + decimal(count, _MAX_FDS))
        for fd in fds:
            os.set_inheritable(fd, False)
    except (PeerError, OSError) as error:
        raise ConfigError("bind.systemd", f"LISTEN_FDS={count}: {error}") from error
    labels = names.split(":") if names else [_UNNAMED] * len(fds)
    if len(labels) != len(fds):
        why = f"{len(labels)} names for {len(fds)} descriptors"
        raise ConfigError("bind.systemd", f"LISTEN_FDNAMES={names}: {why}")
    found: dict[str, list[int]] = {}
    for fd, label in zip(fds, labels, strict=True):
        found.setdefault(label or _UNNAMED, []).append(fd)
    return Passed(found, "" if found else "LISTEN_FDS is 0")
