"""What this system says about a configuration, without opening or changing anything."""

from __future__ import annotations

import errno
import grp
import importlib.util
import os
import pwd
import socket
import stat
from typing import TYPE_CHECKING

from gatebridge.bind import Bind, parse_bind
from gatebridge.config.clashes import path_of
from gatebridge.config.programs import look_at_programs
from gatebridge.config.said import Place, Problem
from gatebridge.control_client import daemon_name, default_path
from gatebridge.errors import ConfigError
from gatebridge.serve.privileges import plan_privileges
from gatebridge.serve.route_modes import switched
from gatebridge.serve.route_state import state_path
from gatebridge.units import is_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.serve.privileges import Privileges
    from gatebridge.settings import Configuration, Pool, Settings

_PROBE_S = 0.2  # for a socket to take a connection


class System:
    """Looks at everything that a start would need.

    problems  what would stop a daemon
    notes     what an operator may want to know
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._running = _answers(control_socket(configuration))
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def look(self) -> None:
        for pool in self._configuration.pools:
            for text in pool.settings.bind:
                for reason in self._bind_problems(parse_bind(text)):
                    self._add(f"pool.{pool.name}.bind", f"{text}: {reason}")
            self._look_at_workers(pool)
            self._look_at_folders(pool)
        settings = self._configuration.settings
        for name in ("error_logfile", "slowlog", "pid", "control_socket"):
            self._look_at_file(name, str(getattr(settings, name)))
        if any(switched(self._configuration)):
            self._look_at_file("route_state", state_path(self._configuration))
        if settings.daemon and settings.error_logfile == "-":
            self.notes.append("error_logfile: a daemon in the background has no standard error")

    def _add(self, key: str, reason: str) -> None:
        origin = self._configuration.origins[key]
        in_file = self._configuration.file and origin.startswith(self._configuration.file)
        place = Place(origin, key if in_file else "")
        self.problems.append(Problem(place, reason))

    # -- sockets

    def _bind_problems(self, bind: Bind) -> Iterator[str]:
        if bind.family in ("fd", "systemd"):
            self.notes.append(f"{bind.text}: only the starter's descriptors will tell")
        elif bind.family == "tcp":
            yield from self._tcp_problems(bind)
        else:
            yield from _owner_problems(bind)
            yield from self._unix_problems(bind)

    def _tcp_problems(self, bind: Bind) -> Iterator[str]:
        try:
            found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
        except OSError as error:
            yield f"no address for {bind.host}: {error.strerror}"
            return
        family, _, _, _, address = found[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)  # without listen(): nobody can connect
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    yield from self._busy(bind)
                else:
                    yield f"cannot be bound: {error.strerror}"

    def _unix_problems(self, bind: Bind) -> Iterator[str]:
        if bind.family == "abstract":
            if _answers("\0" + bind.path):
                yield from self._busy(bind)
            return
        yield from _folder_problems(os.path.dirname(os.path.abspath(bind.path)))
        try:
            kind = os.lstat(bind.path).st_mode
        except OSError:
            return
        if not stat.S_ISSOCK(kind):
            yield "there is a file that is no socket; it would be left alone"
        elif _answers(bind.path):
            yield from self._busy(bind)

    def _busy(self, bind: Bind) -> Iterator[str]:
        if self._running:
            self.notes.append(f"{bind.text}: this daemon is running; a reload keeps the socket")
        else:
            yield "another program listens there"

    # -- workers

    def _look_at_workers(self, pool: Pool) -> None:
        settings = pool.settings
        try:
            account = plan_of(settings).account
            self._look_at_programs(pool, account.uid if account is not None else os.geteuid())
        except ConfigError as error:
            name = error.code.partition(".")[0]  # "user.unknown" is about the option user
            key = f"pool.{pool.name}.{name}"
            known = key if key in self._configuration.origins else f"pool.{pool.name}.user"
            self._add(known, error.detail)
        wants = settings.reload and settings.reload_engine == "watchfiles"
        if wants and importlib.util.find_spec("watchfiles") is None:
            reason = "watchfiles is not installed; pip install watchfiles, or take stat"
            self._add(f"pool.{pool.name}.reload_engine", reason)

    def _look_at_programs(self, pool: Pool, uid: int) -> None:
        for stops, text in look_at_programs(pool, uid):
            if stops:
                self._add(f"pool.{pool.name}.app", text)
            else:
                self.notes.append(text)

    def _look_at_folders(self, pool: Pool) -> None:
        settings = pool.settings
        if settings.access_logfile not in ("", "-"):
            path = path_of(settings, settings.access_logfile)
            self._look_at_file(f"pool.{pool.name}.access_logfile", path)
        if settings.spool_dir:
            for reason in _folder_problems(path_of(settings, settings.spool_dir)):
                self._add(f"pool.{pool.name}.spool_dir", reason)
        for folder in settings.pythonpath.split(","):
            if folder and not os.path.isdir(folder):
                self.notes.append(f"pythonpath: {folder} is no folder")

    def _look_at_file(self, key: str, path: str) -> None:
        """A file that is to be written, and perhaps made."""
        if path in ("", "-"):
            return
        if os.path.isdir(path):
            self._add(key, f"{path} is a folder")
        elif not os.path.exists(path):
            for reason in _folder_problems(os.path.dirname(os.path.abspath(path))):
                self._add(key, f"{path}: {reason}")
        elif not stat.S_ISSOCK(os.stat(path).st_mode) and not os.access(path, os.W_OK):
            self._add(key, f"{path} may not be written")


def plan_of(settings: Settings) -> Privileges:
    """What a pool's workers become. raises ConfigError"""
    return plan_privileges(
        user=settings.user,
        group=settings.group,
        umask=settings.umask,
        chdir=settings.chdir,
        env=settings.env,
        env_file=settings.env_file,
        rlimit=settings.rlimit,
        nice=settings.nice,
    )


def control_socket(configuration: Configuration) -> str:
    """Where a daemon of this configuration has it, started by this user."""
    settings = configuration.settings
    if settings.control_socket:
        return settings.control_socket
    name = settings.name or configuration.pools[0].settings.bind[0]
    return default_path(daemon_name(name))


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(path)
        except (BlockingIOError, TimeoutError):  # its queue is full
            return True
        except OSError:
            return False
    return True


def _folder_problems(folder: str) -> Iterator[str]:
    if not os.path.isdir(folder):
        yield f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield f"nothing may be made in {folder}"


def _owner_problems(bind: Bind) -> Iterator[str]:
    """?owner= and ?group=: do they exist, and may we give the socket to them?"""
    owner, group = bind.options.get("owner", ""), bind.options.get("group", "")
    root = os.geteuid() == 0
    try:
        uid = int(owner) if is_id(owner) else pwd.getpwnam(owner).pw_uid if owner else -1
        if uid >= 0 and uid != os.geteuid() and not root:
            yield f"only root may give it to {owner}"
    except KeyError:
        yield f"no user {owner!r}"
    try:
        gid = int(group) if is_id(group) else grp.getgrnam(group).gr_gid if group else -1
        if gid >= 0 and gid not in (os.getegid(), *os.getgroups()) and not root:
            yield f"only root or a member may give it to group {group}"
    except KeyError:
        yield f"no group {group!r}"
