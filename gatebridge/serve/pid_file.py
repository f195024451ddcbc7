"""The file that holds the daemon's process id. Its lock, not the number, tells who is alive.

A number alone says little: after a crash another program may have it, and in a container it is
always the same.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from typing import NoReturn

_TRIES = 20  # others may make and remove it meanwhile
_MOST = 32  # bytes; a process id is shorter
_MODE = 0o644


class PidFile:
    """Made by the process whose id it holds. fd: a child closes it, or the lock outlives us.

    raises  ConfigError("pid.…")
    """

    __slots__ = ("_owner", "_path", "fd")

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the daemon may change its folder
        self._owner = os.getpid()
        try:
            self.fd = self._make()
        except OSError as error:
            why = f"cannot write {path}: {error.strerror}"
            raise ConfigError("pid.failed", f"{why}; choose another --pid{_hint(error)}") from error

    def _make(self) -> int:
        """Place a whole, locked file where there is none, or a stale one."""
        fresh = f"{self._path}.{os.urandom(6).hex()}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(fresh, flags, _MODE)
        try:
            os.fchmod(fd, _MODE)  # whatever the umask: who may signal us may read whom
            os.write(fd, b"%d\n" % self._owner)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._place(fresh)
        except BaseException:
            os.close(fd)
            os.unlink(fresh)
            raise
        return fd

    def _place(self, fresh: str) -> None:
        """Give ``fresh`` the path. Of two daemons that try, the old one's lock chooses."""
        for _ in range(_TRIES):
            stale = self._lock_stale()
            if stale >= 0:
                try:
                    if _same(stale, self._path):
                        os.rename(fresh, self._path)
                        return
                finally:
                    os.close(stale)
                continue
            try:
                os.link(fresh, self._path, follow_symlinks=False)
            except FileExistsError:
                continue
            os.unlink(fresh)
            return
        raise ConfigError("pid.failed", f"{self._path} changes all the time; who else writes it?")

    def _lock_stale(self) -> int:
        """The file that lies there, locked; -1 for none. raises ConfigError for a live one"""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            return -1
        except OSError:
            if not os.path.islink(self._path):
                raise
            self._refuse("symlink", "is a symbolic link, which is not followed")
        try:
            said = self._read(fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._live(said)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _read(self, fd: int) -> str:
        """What it says; refuses what no daemon has written."""
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            self._refuse("kind", "is no regular file; it is left alone")
        if found.st_uid not in (os.geteuid(), 0):
            self._refuse("owner", f"belongs to user {found.st_uid}; it is left alone")
        said = os.pread(fd, _MOST, 0).strip()
        if said and not said.isdigit():
            self._refuse("content", "holds no process id; it is left alone")
        return said.decode("ascii")

    def _live(self, said: str) -> NoReturn:
        who = f"process {said}" if said else "another process"
        why = f"{self._path}: a daemon runs as {who}; stop it first, or choose another --pid"
        raise ConfigError("pid.live", why)

    def _refuse(self, code: str, why: str) -> NoReturn:
        raise ConfigError(f"pid.{code}", f"{self._path} {why}; remove it, or choose another --pid")

    def remove(self) -> None:
        """At our end: remove the file if it is still ours."""
        if self.fd < 0:
            return
        if os.getpid() == self._owner and _same(self.fd, self._path):
            try:
                os.unlink(self._path)
            except OSError:  # the user we became may not: the next daemon finds it stale
                pass
        self.close()

    def close(self) -> None:
        """Give the lock up and leave the file: for a child, and for who takes our place."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _same(fd: int, path: str) -> bool:
    """Whether the path still leads to that file."""
    try:
        there = os.lstat(path)
    except OSError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _hint(error: OSError) -> str:
    hints = {
        "FileNotFoundError": ", or create its folder first",
        "PermissionError": ", in a folder that this user may write to",
    }
    return hints.get(type(error).__name__, "")
