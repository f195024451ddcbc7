"""Which files of a folder are programs: read once, so that no request looks for others."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import Final

from gatebridge.errors import ConfigError

DEPTH_MOST: Final = 8  # folders below the first
PROGRAMS_MOST: Final = 4096
_FILES_MOST: Final = 100_000  # looked at; a folder of programs that holds more is a mistake

# What editors, package managers and people leave beside a file
_LEFT = re.compile(
    r".*(~|\.(bak|backup|old|orig|rej|save|sav|tmp|sw[a-p]|dpkg-[a-z]+|ucf-[a-z]+|rpm(new|save|orig)))"
    r"|#.*#",
    re.IGNORECASE,
)
# Not executable, these are a program somebody forgot to chmod; anything else is its data
_PROGRAMS = (".cgi", ".fcgi", ".pl", ".php", ".py", ".rb", ".sh", ".tcl")


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a folder holds. Names are relative to it, with slashes.

    programs  name -> file, absolute, without links
    left_out  names that look like a hidden file or a backup
    skipped   name -> why it was not looked at
    """

    programs: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def take_inventory(root: str, extensions: tuple[str, ...] = ()) -> Inventory:
    """Find the programs below a folder.

    root        absolute, without links
    extensions  of programs, with their dot; () any
    raises      ConfigError("target.…")
    """
    found = Inventory()
    folders = [("", 0)]
    seen = 0
    while folders:
        folder, depth = folders.pop()
        for entry in _entries(root, folder, found):
            seen += 1
            if seen > _FILES_MOST:
                raise _too_many(root, f"{_FILES_MOST} files")
            name = folder + entry.name
            if entry.name.startswith(".") or _LEFT.fullmatch(entry.name):
                found.left_out.append(name)
            elif entry.is_dir(follow_symlinks=False):
                if depth < DEPTH_MOST:
                    folders.append((name + "/", depth + 1))
                else:
                    found.skipped[name] = f"lies deeper than {DEPTH_MOST} folders"
            elif not extensions or entry.name.endswith(extensions):
                _add(found, root, name, entry, extensions)
        if len(found.programs) > PROGRAMS_MOST:
            raise _too_many(root, f"{PROGRAMS_MOST} programs")
    return found


def _entries(root: str, folder: str, found: Inventory) -> list[os.DirEntry[str]]:
    place = os.path.join(root, folder)
    try:
        with os.scandir(place) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if folder:
            found.skipped[folder] = str(error.strerror)
            return []
        raise ConfigError("target.unreadable", f"{place!r}: {error.strerror}") from None


def _too_many(root: str, what: str) -> ConfigError:
    return ConfigError("target.too_many", f"{root!r} holds more than {what}: name a smaller folder")


def _add(
    found: Inventory,
    root: str,
    name: str,
    entry: os.DirEntry[str],
    extensions: tuple[str, ...],
) -> None:
    """Take a file, or a link to one, if it is a program."""
    path = os.path.join(root, name)
    if entry.is_symlink():
        path = os.path.realpath(path)
        if not is_below(path, root) or not os.path.isfile(path):
            found.skipped[name] = "is a link out of the folder, to nowhere or to a folder"
            return
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except OSError:  # gone since
        return
    if not stat.S_ISREG(mode):
        return
    if mode & 0o111 or entry.name.endswith(extensions or _PROGRAMS):
        found.programs[name] = path


def is_below(path: str, root: str) -> bool:
    """Whether a path lies in a folder, both absolute and without links."""
    return path.startswith(root.rstrip("/") + "/")
