"""What the system says, apart from a configuration. Tests put another one in its place."""

from __future__ import annotations

import importlib.metadata
import os
import pwd
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FRONTS: Final = ("nginx", "apache2", "httpd", "lighttpd", "caddy", "haproxy")
MOST: Final = 1 << 20  # characters of a file
_LABEL: Final = "security.selinux"


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the system, as its processes are."""

    name: str
    uid: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class Process:
    """name: of its program, cut to 15 bytes as the kernel has it."""

    pid: int
    name: str
    uid: int


def _open_at_once(path: str, flags: int) -> int:
    """A pipe that nobody writes to would be waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


class Machine:
    """root: what stands before /proc, /sys, /etc and /run."""

    def __init__(self, root: str = "") -> None:
        self.root = root

    def read(self, path: str) -> str:
        """A file's text, as far as MOST; "" where there is none, or it may not be read."""
        try:
            with open(f"{self.root}{path}", encoding="utf-8", errors="replace",
                      opener=_open_at_once) as file:  # fmt: skip
                return file.read(MOST) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else ""
        except OSError:
            return ""

    def names(self, path: str) -> list[str]:
        """What lies in a folder, in order."""
        try:
            return sorted(os.listdir(f"{self.root}{path}"))
        except OSError:
            return []

    def number(self, path: str) -> int | None:
        """The first number of a file."""
        words = self.read(path).split()
        return int(words[0]) if words and words[0].isdecimal() else None

    def link(self, path: str) -> str:
        try:
            return os.readlink(f"{self.root}{path}")
        except OSError:
            return ""

    def label(self, path: str) -> str:
        """The SELinux label of a file; "" where it has none."""
        read = getattr(os, "getxattr", None)
        if read is None:
            return ""
        try:
            data: bytes = read(path, _LABEL, follow_symlinks=False)
        except OSError:
            return ""
        return data.rstrip(b"\0").decode("ascii", "replace")

    @property
    def enforces_selinux(self) -> bool:
        return self.number("/sys/fs/selinux/enforce") == 1

    def now(self) -> float:
        return time.time()

    def version(self, package: str) -> str:
        """Of what is installed for this Python; "" for nothing."""
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return ""

    def needs(self, package: str) -> list[str]:
        """What it says it requires, as in "click>=8.1.7"."""
        try:
            return importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:
            return []

    def process(self, pid: int) -> Process | None:
        """None when it is gone."""
        fields = dict(
            line.split(":\t", 1)
            for line in self.read(f"/proc/{pid}/status").splitlines()
            if ":\t" in line
        )
        if "Uid" not in fields:
            return None
        return Process(pid, fields.get("Name", ""), int(fields["Uid"].split()[1]))

    def words(self, pid: int) -> list[str]:
        """A process's command line."""
        return [word for word in self.read(f"/proc/{pid}/cmdline").split("\0") if word]

    def fronts(self) -> list[Process]:
        """Processes of front servers that are no root's: those that connect."""
        found = [self.process(pid) for pid, _ in self._of_fronts()]
        return [one for one in found if one is not None and one.uid]

    def front_commands(self) -> list[tuple[str, list[str]]]:
        """(program, command line) of each process of a front server."""
        return [(name, self.words(pid)) for pid, name in self._of_fronts()]

    def _of_fronts(self) -> Iterator[tuple[int, str]]:
        for pid in self.names("/proc"):
            name = self.read(f"/proc/{pid}/comm").strip() if pid.isdecimal() else ""
            if name in FRONTS:
                yield int(pid), name

    def private_tmp(self, pid: int, folder: str) -> bool:
        """Whether systemd gave a process a /tmp or /var/tmp of its own. folder: which of them"""
        for line in self.read(f"/proc/{pid}/mountinfo").splitlines():
            words = line.split()
            if len(words) > 4 and words[4] == folder and "/systemd-private-" in words[3]:
                return True
        return False


def person(name: str) -> Person | None:
    """By name or number; None when there is nobody of that name."""
    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        return Person(f"uid {name}", int(name), frozenset()) if name.isdecimal() else None
    groups = frozenset(os.getgrouplist(found.pw_name, found.pw_gid))
    return Person(found.pw_name, found.pw_uid, groups)


def may(whom: Person, found: os.stat_result, bit: int) -> bool:
    """Whether the mode of a file allows it. bit: 4, 2 or 1. Access lists may allow more."""
    if whom.uid == 0:
        return True
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == whom.uid:
        return bool(mode >> 6 & bit)
    if found.st_gid in whom.groups:
        return bool(mode >> 3 & bit)
    return bool(mode & bit)
