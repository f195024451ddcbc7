"""What the checks ask about, each gathered when it is first asked for, and once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from gatebridge.bind import Bind, parse_bind
from gatebridge.config.clashes import path_of
from gatebridge.config.system import control_socket, plan_of
from gatebridge.control_client import call, daemon_name, find
from gatebridge.doctor.front_files import read_named, read_usual, server_named
from gatebridge.doctor.machine import Machine, person
from gatebridge.doctor.probe import Heard, Reached, listen_to, reach
from gatebridge.doctor.sessions import find_in_sources
from gatebridge.doctor.url_probe import HEADERS, Url
from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.loading import load_applications
from gatebridge.serve.trial import run_apart
from gatebridge.shim_check import examine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.doctor.machine import Person, Process
    from gatebridge.doctor.passing import Passing
    from gatebridge.doctor.url_probe import Came
    from gatebridge.settings import Configuration, Pool
    from gatebridge.shim_check import Finding

ANSWER_S = 1.0  # for a daemon to answer
_STREAMS = re.compile("\\A(?!.*X-Accel-Buffering).*?text/event-stream", re.S)
IMPORT_S = 1.5  # for an application to be imported
_CANNOT_CONNECT = ("fd", "systemd")  # binds that only their starter knows


@dataclass(frozen=True, slots=True)
class Meant:
    """What the operator names.

    configuration   None where neither an application nor a file is named
    problems        why the configuration that was named cannot be had
    command         the command that starts the daemon
    binds           where no configuration is
    control_socket  of the daemon, and its name; "" for what follows from the configuration
    front_user      that the front server connects as; "" for that of a running one
    scripts         CGI programs
    error_log       of the front server; "" for none
    front_config    FILE or SERVER:FILE of front servers; () for those of the system
    url             that a front server answers, to be asked; "" for none
    streams         whether the application is said to send answers piece by piece
    environ         that the daemon is started in
    """

    configuration: Configuration | None = None
    problems: tuple[str, ...] = ()
    command: str = "gatebridge serve"
    binds: tuple[str, ...] = ()
    control_socket: str = ""
    name: str = ""
    front_user: str = ""
    scripts: tuple[str, ...] = ()
    error_log: str = ""
    front_config: tuple[str, ...] = ()
    url: str = ""
    streams: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)


class Facts:
    """Of one set-up at one time."""

    def __init__(self, meant: Meant, machine: Machine | None = None) -> None:
        self.meant = meant
        self.machine = machine if machine is not None else Machine()
        self._heard: dict[str, Heard] = {}
        self._reached: dict[str, Reached] = {}

    @property
    def pools(self) -> tuple[Pool, ...]:
        configuration = self.meant.configuration
        return configuration.pools if configuration is not None else ()

    def is_said(self, pool: Pool, option: str) -> bool:
        """Whether somebody said it, so that it is no default."""
        made = self.meant.configuration
        origins = made.origins if made is not None else {}
        return origins.get(f"pool.{pool.name}.{option}", "default") != "default"

    def folders(self, pool: Pool) -> list[str]:
        """Where a pool's modules are looked for, apart from what is installed."""
        named = [folder for folder in pool.settings.pythonpath.split(",") if folder]
        return [path_of(pool.settings, folder) for folder in (".", *named)]

    @property
    def bind_texts(self) -> list[str]:
        """As they are written, those of descriptors and systemd included."""
        if self.meant.binds:
            return list(self.meant.binds)
        return [text for pool in self.pools for text in pool.settings.bind]

    @cached_property
    def binds(self) -> tuple[Bind, ...]:
        """Where front servers should connect to. raises ConfigError("bind.…")"""
        texts = self.bind_texts
        if not texts:
            texts = [bind["text"] for pool in self.status_pools for bind in pool["binds"]]
        found = [parse_bind(text) for text in texts]
        return tuple(bind for bind in found if bind.family not in _CANNOT_CONNECT)

    def reached(self, bind: Bind) -> Reached:
        """Whether anybody takes connections there."""
        if bind.text not in self._reached:
            self._reached[bind.text] = reach(bind)
        return self._reached[bind.text]

    def heard(self, bind: Bind) -> Heard:
        """Who answers there. raises ConfigError("connect.…"), PeerError("connect.…")"""
        if bind.text not in self._heard:
            self._heard[bind.text] = listen_to(bind)
        return self._heard[bind.text]

    # -- the application

    @cached_property
    def failures(self) -> dict[Pool, str]:
        """Why a pool's applications cannot be loaded, as a worker loads them: with its traceback.

        Tried where no worker of the pool has done it. What takes longer than IMPORT_S is well.
        raises  ConfigError("trial.…") where it cannot be tried
        """
        ready = {
            pool["name"] for pool in self.status_pools if (pool.get("workers") or {}).get("ready")
        }
        if ((self.status or {}).get("reload") or {}).get("state") == "failed":
            ready = set()
        found: dict[Pool, str] = {}
        for pool in self.pools:
            if pool.name in ready:
                continue
            try:
                run_apart(partial(_load, pool), IMPORT_S)
            except GatebridgeError as error:
                if error.code != "trial.timeout":
                    found[pool] = str(error)
        return found

    # -- the daemon

    @cached_property
    def _asked(self) -> tuple[dict[str, Any] | None, GatebridgeError | None]:
        if not self._means_daemon:
            return None, None
        try:
            return call(self._control_socket, "status", ANSWER_S), None
        except GatebridgeError as error:
            return None, error

    @property
    def _means_daemon(self) -> bool:
        """Not where only programs are named, which need none."""
        meant = self.meant
        named = meant.configuration or meant.binds or meant.control_socket or meant.name
        return bool(named or not (meant.scripts or meant.error_log or meant.problems))

    @property
    def _control_socket(self) -> str:
        meant = self.meant
        if meant.control_socket or meant.name or meant.configuration is None:
            named = meant.name or (daemon_name(meant.binds[0]) if meant.binds else "")
            return find(meant.control_socket, named)
        path = control_socket(meant.configuration)
        if meant.configuration.settings.control_socket or os.path.exists(path):
            return path
        return find("", os.path.basename(path).removesuffix(".ctl"))

    @property
    def status(self) -> dict[str, Any] | None:
        """What the daemon says of itself; None where none answers."""
        return self._asked[0]

    @property
    def silence(self) -> GatebridgeError | None:
        """Why the daemon does not answer; None where it does, or none is meant."""
        return self._asked[1]

    @property
    def silence_text(self) -> str:
        """Without the list of all other daemons."""
        return str(self.silence or "").partition("; there are ")[0]

    @property
    def status_pools(self) -> list[dict[str, Any]]:
        """Its pools, each with its name."""
        pools = (self.status or {}).get("pools", {})
        return [{"name": name, "binds": [], **pool} for name, pool in pools.items()]

    def of_daemon(self, bind: Bind) -> Bind | None:
        """The daemon's own bind of the same place, whatever it speaks there."""
        for pool in self.status_pools:
            for one in pool["binds"]:
                its = parse_bind(one["text"])
                if _place(its) == _place(bind):
                    return its
        return None

    # -- programs

    @cached_property
    def shims(self) -> list[tuple[str, Finding]]:
        """(path, what `gatebridge shim check` says) of the programs that gatebridge wrote."""
        found: list[tuple[str, Finding]] = []
        for path in filter(os.path.isfile, self.meant.scripts):
            try:
                with open(path, "rb") as file:
                    if b"gatebridge" not in file.read():
                        continue
                found += [(path, finding) for finding in examine(path)]
            except (OSError, GatebridgeError):
                continue
        return found

    # -- the front server

    @cached_property
    def front(self) -> Person | None:
        """Who connects; None where nobody says it."""
        if self.meant.front_user:
            return person(self.meant.front_user)
        uids = {one.uid for one in self.connecting}
        return person(str(uids.pop())) if len(uids) == 1 else None

    @cached_property
    def connecting(self) -> list[Process]:
        """Running front servers whose configuration was read, and leads here: others may be
        anybody's, and what they may not is none of our business."""
        try:
            leading = {one.server for one, _, _ in self.handed}
        except ConfigError:  # front.file says it
            return []
        return [one for one in self.machine.fronts() if server_named(one.name) in leading]

    @cached_property
    def url(self) -> Url | None:
        """What may be asked; None where no daemon is there to say what comes."""
        if not self.meant.url or self.status is None:
            return None
        return Url(self.meant.url, self._control_socket)

    @property
    def streams(self) -> str:
        """How it is known that an application sends answers piece by piece; "" for not."""
        said = "--streams" if self.meant.streams else ""
        return said or next(filter(None, map(self.streams_of, self.pools)), "")

    def streams_of(self, pool: Pool) -> str:
        """As streams. What switches the collecting off by itself is not meant."""
        if self.meant.streams:
            return "--streams"
        for app in pool.apps:
            seen = find_in_sources(app.target, self.folders(pool), _STREAMS)
            if seen:
                return f"{seen} sends text/event-stream"
        return ""

    @cached_property
    def came(self) -> Came | None:
        """Of a first request."""
        return self.url.ask(*HEADERS) if self.url is not None else None

    @property
    def passings(self) -> list[Passing]:
        """Where front servers hand requests on. raises ConfigError("doctor.front_config")"""
        if isinstance(self._passings, ConfigError):
            raise self._passings
        return self._passings

    @cached_property
    def _passings(self) -> list[Passing] | ConfigError:
        try:
            if self.meant.front_config:
                return [one for named in self.meant.front_config for one in read_named(named)]
            return read_usual(self.machine)
        except ConfigError as error:
            return error

    @cached_property
    def handed(self) -> list[tuple[Passing, Bind, Pool | None]]:
        """Those that come here, with where, and the pool behind as far as it is known."""
        return [
            (one, bind, self._pool_of(bind))
            for one in self.passings
            for bind in self.binds
            if one.points_to(bind)
        ]

    @cached_property
    def started(self) -> list[tuple[Passing, Pool | None]]:
        """Those that start a program which is meant, with the pool as far as it is known."""
        pool = self.pools[0] if len(self.pools) == 1 else None
        found: list[tuple[Passing, Pool | None]] = []
        for script in self.meant.scripts:
            its = [one for one in self.passings if one.program and one.starts(script)]
            kept = [one for one in its if one.protocol == "fcgid"] or its  # the handler counts
            found += [(one.of_program(script), pool) for one in kept]
        found += [(one, pool) for one in self.passings if one.program == "gatebridge"]
        return found

    def _pool_of(self, bind: Bind) -> Pool | None:
        return next((pool for pool in self.pools if bind.text in pool.settings.bind), None)


def _place(bind: Bind) -> tuple[str, str, str, int]:
    path = os.path.abspath(bind.path) if bind.family == "unix" else bind.path
    return bind.family, path, bind.host, bind.port


def _load(pool: Pool) -> None:
    """In a child, as a worker does. What it prints is not ours to show."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    plan_of(pool.settings).apply()
    load_applications(pool).close()
