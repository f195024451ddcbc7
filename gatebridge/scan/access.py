"""What keeps a program from being run, or makes it unsafe to: suexec's rules, by file mode."""

from __future__ import annotations

import os
import pwd
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatebridge.scan.inventory import Entry

Problem = tuple[str, str]  # (code, sentence)


def of_folder(status: os.stat_result) -> list[Problem]:
    """Who can write the folder can exchange every program in it."""
    who = _writers(status)
    if not who:
        return []
    return [("permission.folder_writable", f"its folder is writable by {who}: chmod go-w")]


def of_program(entry: Entry, folder: os.stat_result, root: str) -> list[Problem]:
    """folder: of the folder the file lies in. root: the folder all programs must lie in."""
    problems = []
    mode = entry.status.st_mode
    who = _writers(entry.status)
    if who:
        problems.append(("permission.writable", f"writable by {who}: chmod go-w"))
    if mode & (stat.S_ISUID | stat.S_ISGID):
        said = "runs with its owner's or group's rights (setuid, setgid): chmod ug-s"
        problems.append(("permission.setid", said))
    if entry.status.st_uid not in (folder.st_uid, 0):
        said = f"belongs to {_user(entry.status.st_uid)}, its folder to {_user(folder.st_uid)}"
        problems.append(("permission.owner", said))
    root = os.path.realpath(root)
    if entry.link and os.path.commonpath([root, entry.link]) != root:
        said = f"is a link that leads out of the folder, to {entry.link}"
        problems.append(("permission.link_outside", said))
    return problems


def not_executable() -> Problem:
    return "permission.not_executable", "is not executable: chmod +x"


def executable_data() -> Problem:
    said = "is executable, but no program; a server would try to run it: chmod -x"
    return "permission.executable_data", said


def is_executable(status: os.stat_result) -> bool:
    return bool(status.st_mode & 0o111)


def _writers(status: os.stat_result) -> str:
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    return "its group" if status.st_mode & stat.S_IWGRP else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
