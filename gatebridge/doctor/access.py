"""Whether a user may connect to a Unix socket, and what keeps them from it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from gatebridge.apps.permission import user_name
from gatebridge.connect import connect
from gatebridge.doctor.machine import may
from gatebridge.doctor.probe import CONNECT_S
from gatebridge.errors import GatebridgeError
from gatebridge.serve.trial import run_apart

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.doctor.machine import Person

_SEARCH, _WRITE = 1, 2
_TRIAL_S = 1.0


def closed_folder(whom: Person, path: str) -> str:
    """The first folder above a file that they may not search; "" for none."""
    folder = os.path.dirname(os.path.abspath(path))
    above = [folder]
    while above[-1] != "/":
        above.append(os.path.dirname(above[-1]))
    for one in reversed(above):
        if not may(whom, os.stat(one), _SEARCH):
            return one
    return ""


def may_write(whom: Person, path: str) -> bool:
    return may(whom, os.stat(path), _WRITE)


def refuses(whom: Person, bind: Bind) -> bool | None:
    """Connect as that user. None where only root could try."""
    if os.geteuid() not in (0, whom.uid):
        return None
    try:
        run_apart(partial(_connect, whom, bind), _TRIAL_S)
    except GatebridgeError as error:
        return error.code == "connect.permission"
    return False


def _connect(whom: Person, bind: Bind) -> None:
    """In a child."""
    if os.geteuid() != whom.uid:
        os.setgroups(sorted(whom.groups))
        os.setgid(min(whom.groups, default=whom.uid))
        os.setuid(whom.uid)
    connect(bind, CONNECT_S).close()


def described(path: str) -> str:
    """ "mode 0660, owner root, group 33"."""
    found = os.stat(path)
    return f"{path}: mode {found.st_mode & 0o7777:04o}, owner {user_name(found.st_uid)}, " \
        f"group {group_name(found.st_gid)}"  # fmt: skip


def group_name(gid: int) -> str:
    import grp  # a look into a database, for sentences only

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"
