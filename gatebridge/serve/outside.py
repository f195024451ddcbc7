"""What a supervisor shows to the outside: control socket, pid file, service manager, slow log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.serve.control import Control, open_control
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.pid_file import PidFile
from gatebridge.serve.slow_log import SlowLog
from gatebridge.serve.worker_log import DEBUG, WARNING, WorkerLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.serve.house import House
    from gatebridge.serve.notify import Notify
    from gatebridge.serve.reexec import Heritage
    from gatebridge.serve.scoreboard import WorkerView
    from gatebridge.settings import Configuration, Settings

FIXED = ("error_logfile", "pid", "control_socket", "name", "daemon")  # by no reload
SLOW_LOOK_S = 0.25  # between two looks for slow requests
SLOW_IDLE_S = 1.0  # while there are none at all
FILES_LOOK_S = 2.0  # between two looks whether socket files are still there
_RETRY_S = 1.0  # for messages to the service manager


class Outside:
    """control: None where its place is unknown or taken and nobody asked for it by name.

    signal  sends a signal to a worker, by its pid
    """

    def __init__(self, house: House, notify: Notify, ask: Callable[[int], None]) -> None:
        self.control: Control | None = None
        self.notify = notify
        self._house = house
        self._ask = ask
        self._pid: PidFile | None = None
        self._slow_file: LogFile | None = None
        self._slow_path = "-"
        self._settings: Settings | None = None  # those that it was started with
        self.slow = SlowLog(self._put, {})
        house.dumped = self.slow.dumped
        house.gone = self.slow.gone

    def open(self, configuration: Configuration, name: str, heritage: Heritage | None) -> None:
        """name: the daemon's. raises ConfigError"""
        settings = configuration.settings
        if settings.pid:
            self._pid = PidFile(settings.pid)
        if heritage is not None and heritage.control is not None:
            self.control = Control(heritage.control_path, heritage.control)
        else:
            self.control = self._open_control(settings.control_socket, name)
        if self.control is not None:
            self._house.turns.watch(self.control.fd, self.control.serve)
            self.control.fault = self._house.log.fault
        self.configure(configuration)
        if self.notify.watchdog_s:
            self._watchdog(self._house.now())

    def _open_control(self, path: str, name: str) -> Control | None:
        try:
            return open_control(path, name)
        except ConfigError as error:
            if path:
                raise
            self._house.log.line(WARNING, f"no control socket, so no status and no ctl: {error}")
            return None

    def configure(self, configuration: Configuration) -> None:
        """What a reload may have changed; what it must not is said."""
        settings, before = configuration.settings, self._settings or configuration.settings
        changed = [name for name in FIXED if getattr(settings, name) != getattr(before, name)]
        if changed:
            text = f"{', '.join(changed)} cannot change while the daemon runs: restart it"
            self._house.log.line(WARNING, f"reload.fixed {text}")
        self._settings = before
        self.slow.timeout = {
            pool.name: pool.settings.slowlog_timeout for pool in configuration.pools
        }
        try:
            self._slow_to(settings.slowlog if self.wants_slow else "-")
        except ConfigError as error:  # the entries go where they went before
            self._house.log.line(WARNING, str(error))

    def _slow_to(self, path: str) -> None:
        if path != self._slow_path:
            file, self._slow_file = self._slow_file, LogFile(path) if path != "-" else None
            self._slow_path = path
            if file is not None:
                os.close(file.fd)

    def _put(self, text: str) -> None:
        if self._slow_file is not None:
            WorkerLog(self._slow_file, DEBUG).line(WARNING, text)
        else:
            self._house.log.line(WARNING, text)

    # -- each turn

    @property
    def look(self) -> float:
        """When tick() has something to do."""
        times = [self.slow.deadline, self.control.deadline if self.control else None]
        return min([when for when in times if when is not None], default=inf)

    def tick(self, now: float) -> None:
        self.slow.settle(now)
        if self.control is not None:
            self.control.expire(now)
        if self.notify.waiting:
            self._house.turns.at("notify", now + _RETRY_S, lambda now: self.notify.retry())

    def look_for_slow(self, now: float, views: list[WorkerView]) -> float:
        """Look. After so many seconds again: later while nothing runs that could become slow."""
        self.slow.look(now, views, self._ask)
        if any(view.running for view in views):
            return SLOW_LOOK_S
        return max(SLOW_LOOK_S, min(SLOW_IDLE_S, min(self._slow_limits(), default=0.0) / 2))

    @property
    def wants_slow(self) -> bool:
        return bool(self._slow_limits())

    def _slow_limits(self) -> list[float]:
        limits = self.slow.timeout
        return [s for s in limits.values() if s] if isinstance(limits, Mapping) else [limits]

    def _watchdog(self, now: float) -> None:
        self.notify.watchdog()
        self._house.turns.at("watchdog", now + self.notify.watchdog_s, self._watchdog)

    def renew(self) -> None:
        """Listen anew where somebody has removed the control socket's file."""
        if self.control is None:
            return
        try:
            if self.control.renew():
                self._house.log.line(WARNING, f"control socket {self.control.path} made anew")
                self._house.turns.watch(self.control.fd, self.control.serve)
        except ConfigError as error:
            self._house.log.line(WARNING, f"control socket: {error}")

    def reopen(self) -> None:
        if self._slow_file is not None:
            self._slow_file.reopen()

    def close(self) -> None:
        if self.control is not None:
            self._house.turns.forget(self.control.fd)
            self.control.close()
            self.control = None
        if self._pid is not None:
            self._pid.remove()
