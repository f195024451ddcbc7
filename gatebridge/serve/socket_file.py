"""The file of a Unix socket: stale ones are replaced, live ones and other files left alone."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PATH = 107  # bytes of a Unix socket's path, without the closing NUL
_PROBE_S = 1.0  # for a live daemon to take a connection


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Keep a second daemon from finding our socket stale while it is bound and not listening."""
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def clear_stale(path: str) -> None:
    """Remove a socket nobody answers on. raises ConfigError("bind.in_use")"""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise ConfigError("bind.in_use", f"{path} exists and is no socket; it is left alone")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            why = f"cannot tell whether {path} is in use: {error}"
            raise ConfigError("bind.in_use", why) from error
    raise ConfigError("bind.in_use", f"a daemon answers on {path}; stop it first")


def bind_file(sock: socket.socket, path: str, mode: int) -> None:
    """Bind so that the file never exists with a wider mode."""
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def inode(path: str) -> tuple[int, int] | None:
    """What tells a file from another one that took its path; None when there is none."""
    try:
        found = os.lstat(path)
    except OSError:  # gone, or never there
        return None
    return found.st_dev, found.st_ino
