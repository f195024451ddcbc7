"""Every file below a folder, with bounds: links are not followed into folders."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

MAX_FILES = 50_000
MAX_DEPTH = 32  # folders below the first
_MAX_LEFT_OUT = 1000
_BACKUPS = ("~", ".bak", ".old", ".orig", ".rej", ".save", ".swp", ".swo", ".tmp")
_BACKUP_PARTS = (".dpkg-", ".rpmsave", ".rpmnew", ".rpmorig", ".ucf-")
_FOLDERS = ("__pycache__", "CVS")


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file, or a link to one.

    path    below the folder, as in "sub/a.cgi"
    file    the same from the current folder or the root
    status  of the file itself, where path is a link of what it leads to
    link    where a link leads, all links resolved; "" for no link
    """

    path: str
    file: str
    status: os.stat_result
    link: str


@dataclass(slots=True)
class Inventory:
    """folders: (path below the folder, its status). left_out: (path, why)."""

    folder: str
    entries: list[Entry] = field(default_factory=list)
    folders: list[tuple[str, os.stat_result]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    stopped: str = ""

    def leave_out(self, path: str, why: str) -> None:
        if len(self.left_out) < _MAX_LEFT_OUT:
            self.left_out.append((path, why))


def walk(folder: str) -> Inventory:
    """List a folder. What cannot be read is left out and named. raises OSError: not this folder"""
    found = Inventory(folder)
    found.folders.append((".", os.stat(folder)))
    os.scandir(folder).close()
    waiting = [("", 0)]
    while waiting and not found.stopped:
        below, depth = waiting.pop()
        inner = _list(found, below)
        if inner and depth == MAX_DEPTH:
            found.leave_out(f"{inner[0]}/", f"lies more than {MAX_DEPTH} folders deep")
        elif depth < MAX_DEPTH:
            waiting += [(path, depth + 1) for path in reversed(inner)]
    return found


def _list(found: Inventory, below: str) -> list[str]:
    """Note the files of one folder; the folders in it, by name."""
    inner = []
    try:
        with os.scandir(os.path.join(found.folder, below)) as listed:
            names = sorted(listed, key=lambda item: item.name)
    except OSError as error:
        found.leave_out(f"{below}/", f"cannot be listed: {error.strerror}")
        return []
    for item in names:
        path = os.path.join(below, item.name)
        try:
            if item.is_dir(follow_symlinks=False):
                if not item.name.startswith(".") and item.name not in _FOLDERS:
                    found.folders.append((path, item.stat(follow_symlinks=False)))
                    inner.append(path)
            else:
                _note(found, path, item)
        except OSError as error:
            found.leave_out(path, f"cannot be looked at: {error.strerror}")
        if len(found.entries) >= MAX_FILES:
            found.stopped = f"stopped after {MAX_FILES} files: name one of its folders instead"
            break
    return inner


def _note(found: Inventory, path: str, item: os.DirEntry[str]) -> None:
    why = _is_backup(item.name)
    if why:
        found.leave_out(path, why)
        return
    try:
        status = item.stat()
    except OSError as error:  # ELOOP, ENOENT
        found.leave_out(path, f"a link that leads nowhere: {error.strerror}")
        return
    if stat.S_ISREG(status.st_mode):
        link = os.path.realpath(item.path) if item.is_symlink() else ""
        found.entries.append(Entry(path, item.path, status, link))
    elif stat.S_ISDIR(status.st_mode):
        found.leave_out(path, "a link to a folder; it is not followed")
    else:
        found.leave_out(path, "neither a file nor a folder")


def _is_backup(name: str) -> str:
    if name.endswith(_BACKUPS) or any(part in name for part in _BACKUP_PARTS):
        return "an editor's or package manager's copy: a front server may still run or show it"
    return "hidden" if name.startswith(".") else ""


def read(entry: Entry, most: int) -> bytes:
    """A file's first bytes. raises OSError, also when it is no regular file any more"""
    fd = os.open(entry.file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "is no regular file any more")
        data = bytearray()
        while len(data) < most and (piece := file.read(most - len(data))):
            data += piece
        return bytes(data)
