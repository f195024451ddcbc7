"""What a worker may and who it is: limits, user and groups, umask, folder, environment.

plan_privileges() looks everything up and checks it in the supervisor, so that a fault is told at
the start and not by a worker that dies; apply() does it in the forked child, in the one order that
works, and looks afterwards whether it holds (T11: CVE-2014-0240, CVE-2014-8583).
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge import units
from gatebridge.errors import ConfigError
from gatebridge.serve.env_file import parse_pair, read_env_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NICEST = 19
_ENDLESS = ("unlimited", "infinity")


def _count(text: str) -> int:
    if not text.isdecimal() or not text.isascii():
        raise ValueError(f"{text!r} is no number")
    return int(text)


def _whole_seconds(text: str) -> int:
    return int(units.seconds(text))


_LIMITS: dict[str, tuple[int, Callable[[str], int]]] = {
    "as": (resource.RLIMIT_AS, units.size),
    "core": (resource.RLIMIT_CORE, units.size),
    "cpu": (resource.RLIMIT_CPU, _whole_seconds),
    "data": (resource.RLIMIT_DATA, units.size),
    "fsize": (resource.RLIMIT_FSIZE, units.size),
    "nofile": (resource.RLIMIT_NOFILE, _count),
    "nproc": (resource.RLIMIT_NPROC, _count),
    "stack": (resource.RLIMIT_STACK, units.size),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One rlimit. text: as it was written."""

    text: str
    number: int
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Account:
    """Who to become. changes: it is not who we are, so the kernel has to be asked."""

    name: str
    home: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    changes: bool


@dataclass(frozen=True, slots=True)
class Privileges:
    """All of it, looked up and checked.

    folder       where to change to; "" for staying
    optional     the folder was not asked for, so a worker that may not enter it stays where it is
    environment  to be added, in order
    umask        -1 for the inherited one
    """

    account: Account | None
    limits: tuple[Limit, ...]
    nice: int
    umask: int
    folder: str
    optional: bool
    environment: tuple[tuple[str, str], ...]

    def apply(self) -> None:
        """Become it. Only in a child that does nothing else yet; after a failure it must exit.

        The kernel takes a parent-death signal away from who changes its user: set it afterwards.

        raises  ConfigError
        """
        for limit in self.limits:
            _set_limit(limit)
        if self.nice:
            _set_nice(self.nice)
        if self.account is not None:
            _become(self.account)
        if self.umask >= 0:
            os.umask(self.umask)  # cannot fail
        self._enter()
        os.environ.update(self.environment)

    def _enter(self) -> None:
        if not self.folder:
            return
        try:
            os.chdir(self.folder)
        except OSError as error:
            if self.optional:
                return
            raise ConfigError("chdir.failed", _why_no_folder(self, error)) from error
        os.environ["PWD"] = self.folder if os.path.isabs(self.folder) else os.getcwd()


def plan_privileges(
    *,
    user: str,
    group: str,
    umask: str,
    chdir: str,
    env: Sequence[str],
    env_file: str,
    rlimit: Sequence[str],
    nice: int,
    start_folder: str = "",
) -> Privileges:
    """Read and check what a pool was told. Changes nothing in this process.

    start_folder  what start_folder() said when the daemon began: a relative chdir starts there, and
                  without chdir a worker goes there, so that a symbolic link is followed anew
    raises        ConfigError
    """
    account = _account(user, group)
    limits = tuple([_parse_limit(text) for text in rlimit])
    if nice < 0 and os.geteuid() != 0:
        raise ConfigError("nice.not_root", f"--nice {nice}: only root may go below 0")
    environment = _of_account(account) if user and account else []
    if env_file:
        environment += read_env_file(os.path.join(start_folder, env_file))
    environment += [parse_pair(text) for text in env]
    return Privileges(
        account=account,
        limits=limits,
        nice=nice,
        umask=_parse_umask(umask),
        folder=os.path.join(start_folder, chdir) if chdir else start_folder,
        optional=not chdir,
        environment=tuple(environment),
    )


def start_folder() -> str:
    """The current folder by the name it was entered with; getcwd() has every link resolved."""
    here = os.getcwd()
    named = os.environ.get("PWD", "")
    try:
        return named if os.path.isabs(named) and os.path.samefile(named, here) else here
    except OSError:  # PWD of another machine or time
        return here


# -- user and groups


def _account(user: str, group: str) -> Account | None:
    if not user and not group:
        return None
    entry = _user(user)
    if entry is None and user and not group:
        why = f"user {user} has no entry in the user database, so its group is unknown"
        raise ConfigError("user.no_group", f"{why}; add --group")
    uid = entry.pw_uid if entry else int(user) if user else os.geteuid()
    name = entry.pw_name if entry else user
    gid = _gid(group) if group else entry.pw_gid if entry else os.getegid()
    groups = tuple(os.getgrouplist(entry.pw_name, gid)) if entry else (gid,)
    changes = _changes(uid, gid)
    if changes and os.geteuid() != 0:
        who = " ".join([f"--user {user}"] * bool(user) + [f"--group {group}"] * bool(group))
        why = f"only root may become another, and this is {_own_name()}"
        raise ConfigError("user.not_root", f"{who}: {why}; start it as root, or leave that out")
    return Account(name, entry.pw_dir if entry else "/", uid, gid, groups, changes)


def _changes(uid: int, gid: int) -> bool:
    """Root always asks the kernel: it may have groups that were not asked for."""
    same = os.getresuid() == (uid, uid, uid) and os.getresgid() == (gid, gid, gid)
    return not same or os.geteuid() == 0


def _user(user: str) -> pwd.struct_passwd | None:
    """Its entry; None for none asked, and for a number without one."""
    try:
        if units.is_id(user):
            return pwd.getpwuid(int(user))
        return pwd.getpwnam(user) if user else None
    except KeyError as error:
        if units.is_id(user):
            return None
        why = f"there is no user {user!r}; create it (useradd --system), or name another"
        raise ConfigError("user.unknown", why) from error


def _gid(group: str) -> int:
    if units.is_id(group):
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        why = f"there is no group {group!r}; create it (groupadd --system), or name another"
        raise ConfigError("group.unknown", why) from error


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _of_account(account: Account) -> list[tuple[str, str]]:
    return [("HOME", account.home), ("USER", account.name), ("LOGNAME", account.name)]


def _become(account: Account) -> None:
    """Groups, then group, then user: after each the right to do the one before is still there."""
    if account.changes:
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("setgroups", lambda: os.setgroups(account.groups)),
            ("setgid", lambda: os.setresgid(account.gid, account.gid, account.gid)),
            ("setuid", lambda: os.setresuid(account.uid, account.uid, account.uid)),
        )
        for name, step in steps:
            try:
                step()
            except OSError as error:
                why = f"{name} for {account.name or account.gid} failed: {error.strerror}"
                hint = "a container needs CAP_SETUID and CAP_SETGID for it"
                raise ConfigError("user.failed", f"{why}; {hint}") from error
    _verify(account)


def _verify(account: Account) -> None:
    """Look whether it holds, and whether the way back is closed."""
    uid, gid = account.uid, account.gid
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise ConfigError("user.kept", f"ids are {os.getresuid()} and {os.getresgid()}")
    if account.changes and set(os.getgroups()) - {gid} != set(account.groups) - {gid}:
        raise ConfigError("user.kept", f"groups are {os.getgroups()}, not {account.groups}")
    if uid == 0:
        return
    for call in (os.setuid, os.seteuid, *([os.setgid] if gid else [])):
        if _works(call):
            why = f"{call.__name__}(0) still works as {account.name}"
            raise ConfigError("user.kept", f"{why}; take CAP_SETUID and CAP_SETGID away")


def _works(call: Callable[[int], None]) -> bool:
    try:
        call(0)
    except PermissionError:
        return False
    return True


# -- limits and the rest


def _parse_limit(text: str) -> Limit:
    """NAME=VALUE for both, or NAME=SOFT:HARD."""
    name, equals, value = text.partition("=")
    known = _LIMITS.get(name.strip().lower())
    if known is None or not equals:
        names = ", ".join(_LIMITS)
        raise ConfigError("rlimit.malformed", f"--rlimit {text}: write NAME=VALUE; names: {names}")
    number, read = known
    first, _, second = value.partition(":")
    try:
        soft = _amount(first.strip(), read)
        hard = _amount(second.strip(), read) if second else soft
    except ValueError as error:
        raise ConfigError("rlimit.malformed", f"--rlimit {text}: {error}") from error
    if _beyond(soft, hard):
        raise ConfigError("rlimit.malformed", f"--rlimit {text}: the first is above the second")
    limit = Limit(text, number, soft, hard)
    _check_hard(limit)
    return limit


def _amount(text: str, read: Callable[[str], int]) -> int:
    if text.lower() in _ENDLESS:
        return resource.RLIM_INFINITY
    value = read(text)
    if not 0 <= value < 2**63:
        raise ValueError(f"{text!r} is out of range")
    return value


def _beyond(one: int, other: int) -> bool:
    endless = resource.RLIM_INFINITY
    return other != endless and (one == endless or one > other)


def _check_hard(limit: Limit) -> None:
    """Raise the hard limit and put it back: root alone may, and not root of every container."""
    soft, hard = resource.getrlimit(limit.number)
    if not _beyond(limit.hard, hard):
        return
    try:
        resource.setrlimit(limit.number, (soft, limit.hard))
    except (ValueError, OSError) as error:
        raise _above_hard(limit, hard) from error
    resource.setrlimit(limit.number, (soft, hard))


def _above_hard(limit: Limit, hard: int) -> ConfigError:
    why = f"--rlimit {limit.text}: above the hard limit, {hard}, which this process may not raise"
    hint = "raise it where the daemon is started (LimitNOFILE= and so on, ulimit -H)"
    return ConfigError("rlimit.above_hard", f"{why}; {hint}")


def _set_limit(limit: Limit) -> None:
    wanted = (limit.soft, limit.hard)
    try:
        resource.setrlimit(limit.number, wanted)
    except (ValueError, OSError) as error:
        raise _above_hard(limit, resource.getrlimit(limit.number)[1]) from error
    if resource.getrlimit(limit.number) != wanted:
        raise ConfigError("rlimit.failed", f"--rlimit {limit.text} did not take effect")


def _set_nice(step: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = max(-20, min(_NICEST, before + step))
    try:
        after = os.nice(step)
    except OSError as error:
        why = f"--nice {step}: {error.strerror}; below 0 takes root with CAP_SYS_NICE"
        raise ConfigError("nice.failed", why) from error
    if after != wanted:
        raise ConfigError("nice.failed", f"--nice {step} led to {after} instead of {wanted}")


def _parse_umask(text: str) -> int:
    if not text:
        return -1
    if set(text) - set("01234567") or len(text) > 4 or int(text, 8) > 0o777:
        raise ConfigError("umask.malformed", f"--umask {text!r}: octal, 000 to 777, as in 027")
    return int(text, 8)


def _why_no_folder(privileges: Privileges, error: OSError) -> str:
    account = privileges.account
    who = f" as {account.name}" if account and account.name else ""
    hints = {
        "FileNotFoundError": "create it first",
        "NotADirectoryError": "name a folder",
        "PermissionError": "every folder on the way needs the x permission for that user",
    }
    hint = hints.get(type(error).__name__, "")
    return f"--chdir {privileges.folder}{who}: {error.strerror}{hint and '; '}{hint}"
