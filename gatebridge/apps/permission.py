"""Which program may run: suexec's rules, held against the file that is opened, not against a path.

Every folder from / down is opened in turn without following links, so nothing that is swapped
between a look and the next step leads elsewhere. Nobody but root and the owner of the folder of
programs can then have written the file, or put another into its place.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.apps.running import Call, Launcher, Running

# O_PATH (Linux) asks for no permission to list a folder, nor to read a program
_PATH: Final = getattr(os, "O_PATH", os.O_RDONLY)
_FOLDER: Final = _PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_SET_ID: Final = stat.S_ISUID | stat.S_ISGID
_ANY_EXECUTE: Final = 0o111


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose files run, below one folder.

    root     that folder, absolute, links resolved
    owners   uids; everything from / down belongs to one of them
    uid      who the programs run as
    check    False: anybody's files run (owner=any), wherever they lie below root
    execute  a program needs its execute bit
    read     it must be readable too, as a warmed interpreter reads it
    """

    root: str
    owners: frozenset[int]
    uid: int
    check: bool = True
    execute: bool = True
    read: bool = False

    def judge_folder(self, path: str, found: os.stat_result) -> None:
        """raises AppError("permission.…") when others may change what lies in a folder"""
        if not self.check:
            return
        self._judge_owner(path, found)
        # In a sticky folder, as /tmp, nobody renames what belongs to somebody else.
        above = not (path + "/").startswith(self.root.rstrip("/") + "/")
        if found.st_mode & _OTHERS_WRITE and not (above and found.st_mode & stat.S_ISVTX):
            raise _writable(path, found.st_mode, "put other programs there")

    def judge_file(self, path: str, found: os.stat_result) -> None:
        """raises AppError("permission.…") when the file must not run"""
        if self.execute and not found.st_mode & _ANY_EXECUTE:
            why = "its name alone makes it no program"
            raise AppError("permission.mode", f"{path!r} is not executable, and {why}: chmod +x")
        if not self.check:
            return
        self._judge_owner(path, found)
        if found.st_mode & _OTHERS_WRITE:
            raise _writable(path, found.st_mode, "write another program into it")
        if found.st_mode & _SET_ID:
            why = "and a program of the web has no business with another user's rights"
            raise AppError("permission.set_id", f"{path!r} is setuid or setgid, {why}: chmod ug-s")

    def _judge_owner(self, path: str, found: os.stat_result) -> None:
        if found.st_uid in self.owners:
            return
        owner = user_name(found.st_uid)
        if self.uid == 0:
            why = "while gatebridge runs as root, and so would the program"
            detail = f"{path!r} belongs to {owner}, {why}: give gatebridge a user, or chown it"
        else:
            names = " nor to ".join(user_name(uid) for uid in sorted(self.owners))
            detail = f"{path!r} belongs to {owner}, neither to {names}: chown it, or owner=any"
            if len(self.owners) == 1:
                detail = f"{path!r} belongs to {owner}, not to {names}: chown it, or owner=any"
        raise AppError("permission.owner", detail)


def owners_of(root: str, uid: int) -> frozenset[int]:
    """Whose programs run: root's and the folder's owner's; where all runs as root, root's alone.

    raises  OSError when there is no such folder
    """
    return frozenset({0}) if uid == 0 else frozenset({0, os.stat(root).st_uid})


def _writable(path: str, mode: int, what: str) -> AppError:
    who = "anybody" if mode & stat.S_IWOTH else "its group"
    detail = f"{path!r} is writable for {who}, who could {what}: chmod go-w, or owner=any"
    return AppError("permission.writable", detail)


def user_name(uid: int) -> str:
    import pwd  # a look into a database, for sentences only

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def open_program(path: str, whom: Trust) -> int:
    """A descriptor of a program that may run, to be closed by the caller.

    path     absolute, without links in it
    returns  open for reading; for execution alone (O_PATH) where reading is not allowed
    raises   AppError("permission.…") with the rule it breaks
    """
    fd = open_below(path, whom.judge_folder, whom.read)
    try:
        whom.judge_file(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_folder(path: str, whom: Trust) -> None:
    """raises AppError("permission.…") when programs in this folder must not run"""
    at = _open_folder(path, whom.judge_folder)
    os.close(at)


def open_below(
    path: str, judge: Callable[[str, os.stat_result], None] | None = None, read: bool = True
) -> int:
    """A regular file, every folder on its way opened without following a link.

    path    absolute, without "." and ".." and links in it
    judge   looks at each folder, and may raise
    read    False: where it may not be read, a descriptor to execute it will do
    raises  AppError("permission.…")
    """
    folder, _, name = path.rpartition("/")
    at = _open_folder(folder or "/", judge)
    try:
        # A first look, so that no device and no pipe is opened; the second one counts.
        _must_be_regular(path, os.stat(name, dir_fd=at, follow_symlinks=False))
        try:
            fd = os.open(name, _FILE, dir_fd=at)
        except PermissionError:
            if read:
                raise
            fd = os.open(name, _PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            _must_be_regular(path, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd
    except OSError as error:
        raise _told(path, error) from None
    finally:
        os.close(at)


def _must_be_regular(path: str, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise AppError("permission.link", f"{path!r} has become a link since the start: reload")
    if not stat.S_ISREG(found.st_mode):
        raise AppError("permission.kind", f"{path!r} is no regular file")


def _open_folder(path: str, judge: Callable[[str, os.stat_result], None] | None) -> int:
    at = os.open("/", _FOLDER)
    done = ""
    try:
        if judge is not None:
            judge("/", os.fstat(at))
        for name in path.split("/"):
            if not name:
                continue
            done = f"{done}/{name}"
            below = os.open(name, _FOLDER, dir_fd=at)
            os.close(at)
            at = below
            if judge is not None:
                judge(done, os.fstat(at))
    except OSError as error:
        os.close(at)
        raise _told(done, error) from None
    except BaseException:
        os.close(at)
        raise
    return at


def _told(path: str, error: OSError) -> AppError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        why = "has become a link or a file since the start: reload"
        return AppError("permission.link", f"{path!r} {why}")
    if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
        return AppError("permission.gone", f"{path!r} is not there any more: reload")
    if error.errno == errno.EACCES:
        user = user_name(os.geteuid())
        return AppError("permission.denied", f"{path!r} cannot be opened by {user}")
    return AppError("permission.open", f"{path!r} cannot be opened: {error.strerror}")


class Checked:
    """A launcher that judges each program once more, at the moment it is started.

    give   what is started is the descriptor that was judged, not the path
    """

    __slots__ = ("_give", "_launcher", "_trust")

    def __init__(self, launcher: Launcher, whom: Trust, give: bool) -> None:
        self._launcher = launcher
        self._trust = whom
        self._give = give

    def start(self, call: Call) -> Running:
        """raises AppError("permission.…"), or what the launcher raises"""
        fd = open_program(call.path, self._trust)
        try:
            return self._launcher.start(replace(call, fd=fd) if self._give else call)
        finally:
            os.close(fd)

    def close(self) -> None:
        self._launcher.close()
