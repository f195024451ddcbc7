"""The files in the state folder that a relay and its daemon share.

NAME.sock   where the daemon serves
NAME.lock   held by whoever starts a daemon
NAME.failed why the last start failed
NAME.ready  since when a daemon serves, and how many before it were killed young
NAME.log    the daemon's error log
NAME.ctl    its control socket
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass


def state_folder(base: str) -> str:
    """The folder of this user's sockets below ``base``, as the relays compute it."""
    return os.path.join(base, f"gatebridge-{os.geteuid()}")


def check_folder(folder: str) -> str:
    """Why the state folder cannot be trusted; "" where it can, or is not there yet."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return str(error.strerror)
    if not stat.S_ISDIR(found.st_mode):
        return "it is no folder"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}, and this is user {os.geteuid()}"
    if stat.S_IMODE(found.st_mode) & 0o777 != 0o700:
        return f"its mode is {stat.S_IMODE(found.st_mode) & 0o777:04o}, and 0700 is needed"
    return ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon of this name keeps its files."""

    folder: str
    name: str

    def path(self, ending: str) -> str:
        return os.path.join(self.folder, f"{self.name}.{ending}")

    def read(self, ending: str) -> tuple[str, float]:
        """A file's text and its age in seconds; ("", inf) where there is none."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            with open(
                os.open(self.path(ending), flags), encoding="utf-8", errors="replace"
            ) as file:
                return file.read(4096), time.time() - os.fstat(file.fileno()).st_mtime
        except OSError:
            return "", float("inf")

    def write(self, ending: str, text: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.path(ending), flags, 0o600)
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)

    def remove(self, ending: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path(ending))
