"""The supervisor: owns the listeners, and sees to it that workers serve them.

It imports no application, waits for nothing but its next event, and starts a new generation of
workers before it sends the old one away.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable  # noqa: TC003 - SIGNALS is annotated at run time
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from gatebridge.control_client import daemon_name
from gatebridge.errors import ConfigError, UseError
from gatebridge.serve import binds, hung, privileges, spawn
from gatebridge.serve.background import Report
from gatebridge.serve.commands import Commands
from gatebridge.serve.crew import KILL_S, QUICK_S
from gatebridge.serve.explain_commands import ExplainCommands
from gatebridge.serve.follow import Follow
from gatebridge.serve.front_log import FrontLog
from gatebridge.serve.generations import Generations
from gatebridge.serve.house import House
from gatebridge.serve.idle import LOOK_S as IDLE_LOOK_S
from gatebridge.serve.idle import Idle
from gatebridge.serve.log_file import LogFile
from gatebridge.serve.notify import find_notify
from gatebridge.serve.outside import FILES_LOOK_S, Outside
from gatebridge.serve.route_commands import RouteCommands
from gatebridge.serve.scoreboard import WORKERS_MAX
from gatebridge.serve.successor import Successor
from gatebridge.serve.turns import Turns
from gatebridge.serve.worker_log import DEBUG, ERROR, INFO, LEVELS, WARNING, WorkerLog

if TYPE_CHECKING:
    from types import FrameType

    from gatebridge.serve.crew import Crew, Failure
    from gatebridge.serve.hooks import Hooks
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.reexec import Heritage
    from gatebridge.settings import Configuration

BOOT_FAILED: Final = 3  # exit status: no worker of the first generation could boot
LOAD_FAILED: Final = 4  # the application cannot be loaded
_INTERRUPTED = 130  # exit status, as a shell says it
GONE_S: Final = 5.0  # for killed workers to be gone, before we go without them
AGAIN_S: Final = 30.0  # between two tries to replace a lost socket file
_FAULT_S = 0.5  # a pause after a fault of ours, which may come again at once


class Supervisor:
    """One daemon. The listeners are its own, also when it raises ConfigError.

    listeners  of each pool, open
    report     told when workers serve, or why they never will
    heritage   what the program before this one left
    """

    def __init__(
        self,
        configuration: Configuration,
        listeners: dict[str, list[Listener]],
        hooks: Hooks,
        report: Report | None = None,
        heritage: Heritage | None = None,
    ) -> None:
        settings = configuration.settings
        self.started = monotonic()
        self.stopping = False
        self._configuration = configuration
        texts = [listener.text for some in listeners.values() for listener in some]
        self.name = daemon_name(settings.name or "".join(texts[:1]))
        self._listeners = listeners
        self._report = report or Report()
        self._heritage = heritage
        try:
            self._log_file = LogFile(settings.error_logfile)
        except ConfigError:
            binds.close_unshared([one for some in listeners.values() for one in some], ())
            raise
        log = WorkerLog(self._log_file, LEVELS[settings.log_level])
        self.house = House(Turns(), log, hooks, privileges.start_folder())
        self.house.said["front"] = FrontLog(log).heard
        self._notify = find_notify(os.environ, os.getpid())
        self.generations = Generations(self.house, self._notify)
        self.outside = Outside(self.house, self._notify, self.ask_for_stacks)
        self._successor = Successor(self.house, self.generations, self.outside)
        self._follow = Follow(self.house, self._files_changed)
        self.house.files = self._follow.follow
        self._explain: ExplainCommands | None = None
        self._hung = hung.Hung(log, self.ask_for_stacks)
        self._idle = Idle(self.started)
        self._signals: list[int] = []
        self._status = 0
        self._last_word = ""
        self._end = inf  # when we go, whoever is left
        self._known: Configuration | None = None  # what was last seen to serve
        self._lost_until = -inf

    def run(self) -> int:
        """Serve until a signal or a failure ends it. Returns the exit status. raises ConfigError"""
        try:
            if self._heritage is not None and self._heritage.trial:
                return 0
            self._begin(self._heritage)
            while not self._over():
                self._turn()
        finally:
            self._finish()
        if self._last_word:
            print(self._last_word, file=sys.stderr)
        return self._status

    def _begin(self, heritage: Heritage | None) -> None:
        self._catch_signals()
        if not spawn.adopt_orphans():
            self.house.log.line(WARNING, "processes that workers leave behind will not be reaped")
        if heritage is not None:
            self.generations.adopt(heritage, self._configuration)
            heritage.close()
        self.generations.begin(self._configuration, self._listeners)
        self.outside.open(self._configuration, self.name, heritage)
        if self.outside.control is not None:
            Commands(self, self.outside.control)
            RouteCommands(self, self.outside.control)
            self._explain = ExplainCommands(self, self.outside.control)
        self.house.turns.at("files", self.started + FILES_LOOK_S, self._look_for_files)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def _catch_signals(self) -> None:
        wake, waker = os.pipe()
        for fd in (wake, waker):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self.house.turns.watch(wake, lambda: _drain(wake))
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _over(self) -> bool:
        if not self.stopping:
            return False
        if monotonic() >= self._end:
            self.house.log.line(ERROR, "some workers do not end; going without them")
            return True
        return self.generations.over

    # -- a turn

    def _turn(self) -> None:
        until = min(self.generations.look, self.outside.look, self._end)
        try:
            self.house.turns.take(until)
            while self._signals:
                SIGNALS[self._signals.pop(0)][0](self)
            now = monotonic()
            self.generations.tick(now)
            self.outside.tick(now)
            self._consider()
        except Exception as error:  # a fault of ours: the workers serve on
            self.house.log.fault("supervisor", error)
            sleep(_FAULT_S)

    def _consider(self) -> None:
        """What the turn has led to."""
        failure = self.generations.hopeless
        if failure is not None and not self.stopping:
            self._give_up(failure)
        live = self.generations.live
        if live is not None and live.configuration is not self._known:
            self._serves(live.configuration)
        if not self.stopping:
            self._successor.consider()

    def _serves(self, configuration: Configuration) -> None:
        if self._known is None:
            for listener in self.generations.listeners:
                self.house.log.listening(listener.text, listener.bind.protocol)
            self._report.ready()
        else:
            self.house.log.level = LEVELS[configuration.settings.log_level]
            self.house.level = ""
            self.outside.configure(configuration)
        self._known = configuration
        self.house.routes.settle(configuration)
        self._follow.configure(configuration)
        if self._hung.wanted(self.generations.crews()):
            self.house.turns.at("hung", monotonic() + hung.LOOK_S, self._look_for_hung)
        if self.outside.wants_slow:
            self.house.turns.at("slow", monotonic(), self._look_for_slow)
        if configuration.settings.idle_exit:
            self.house.turns.at("idle", monotonic(), self._look_if_idle)

    def _give_up(self, failure: Failure) -> None:
        self._status = LOAD_FAILED if failure.load else BOOT_FAILED
        text = f"start.failed: {failure.error}"
        self.house.log.line(ERROR, text)
        whole = f"gatebridge: {text}\n{failure.traceback}".rstrip()
        self._report.failed(self._status, whole)
        self._last_word = whole  # when all else is told
        if self._configuration.settings.error_logfile == "-":  # where the traceback stands
            self._last_word = f"gatebridge: {failure.error}"
        self.stop(quick=True)

    def _look_for_slow(self, now: float) -> None:
        views = [view for some in self.generations.views(now).values() for view in some]
        again = now + self.outside.look_for_slow(now, views)
        if self.outside.wants_slow and not self.stopping:
            self.house.turns.at("slow", again, self._look_for_slow)

    def _look_if_idle(self, now: float) -> None:
        limit = (self._known or self._configuration).settings.idle_exit
        if self.stopping or not limit:
            return
        idle = self._idle.look(now, self.generations.views(now), self.generations.listeners)
        if idle >= limit and self.generations.coming is None:
            self.house.log.line(INFO, f"nobody has asked for {idle:.0f} s (idle_exit)")
            self.stop(quick=False)
            return
        self.house.turns.at("idle", now + min(IDLE_LOOK_S, limit), self._look_if_idle)

    def _look_for_hung(self, now: float) -> None:
        crews = list(self.generations.crews())
        self._hung.look(now, crews, self.generations.views(now))
        if self._hung.wanted(crews):
            self.house.turns.at("hung", now + hung.LOOK_S, self._look_for_hung)

    def _look_for_files(self, now: float) -> None:
        """A socket's file that somebody removed is made again, for new workers."""
        if self.stopping:
            return
        self.house.turns.at("files", now + FILES_LOOK_S, self._look_for_files)
        self.outside.renew()
        lost = [one.text for one in self.generations.listeners if one.lost]
        if lost and self.generations.coming is None and now >= self._lost_until:
            self._lost_until = now + AGAIN_S
            self.generations.reload(f"the file of {', '.join(lost)} is gone", read=False)

    def ask_for_stacks(self, pid: int) -> None:
        """raises  OSError when that worker is not there, or would die of the signal"""
        member = self.generations.member(pid)
        if member is None or member.ready_at == inf or not member.signal(signal.SIGUSR1):
            raise ProcessLookupError(f"no worker {pid}")

    # -- what signals and commands ask for

    def terminate(self) -> None:
        self.stop(quick=self.stopping)

    def interrupt(self) -> None:
        self._status = self._status or _INTERRUPTED
        self.stop(quick=True)

    def stop(self, quick: bool) -> None:
        now = monotonic()
        if not self.stopping:
            self.house.log.line(INFO, "stopping" if quick else "stopping: requests under way end")
            self._notify.stopping(limit_s=QUICK_S if quick else self._grace_s() + KILL_S)
        self.stopping = True
        if quick:
            self._end = min(self._end, now + QUICK_S + GONE_S)
            self.generations.quit(now)
        else:
            self._end = min(self._end, now + self._grace_s() + KILL_S + GONE_S)
            self.reap()  # before somebody who has ended is thought to take what is queued
            self.generations.stop(now)

    def _grace_s(self) -> float:
        crews = list(self.generations.crews())
        return max([crew.pool.settings.graceful_timeout for crew in crews], default=0.0)

    def hang_up(self) -> None:
        if not self.stopping:
            self.generations.reload("SIGHUP")

    def _files_changed(self, why: str) -> None:
        if not self.stopping:
            self.generations.reload(why)

    def reopen_logs(self) -> None:
        self._log_file.reopen()
        self.outside.reopen()
        for crew in self.generations.crews():
            crew.tell({"do": "reopen"}, self.house.hooks.reopen(crew.pool))

    def log_level(self, level: str) -> None:
        self.house.log.level = LEVELS[level]
        self.house.level = level
        for crew in self.generations.crews():
            crew.tell({"do": "level", "level": level})

    def more(self) -> None:
        if self.generations.serving():
            self.scale(lambda before: before + 1)

    def fewer(self) -> None:
        if self.generations.serving():
            self.scale(lambda before: before - 1)

    def scale(self, change: Callable[[int], int], pool: str = "") -> Crew:
        """Another number of workers, of the first pool or the one that is named.

        raises  UseError("pool.which")
        """
        for crew in self.generations.serving():
            if pool in ("", crew.pool.name):
                crew.plan.most = max(1, min(change(crew.plan.most), WORKERS_MAX))
                crew.plan.paused = False
                crew.dirty = True
                self.house.log.line(INFO, f"pool {crew.pool.name}: {crew.plan.most} workers")
                return crew
        raise UseError("pool.which", f"no pool {pool!r} serves now")

    def window_changed(self) -> None:
        """Of a terminal it means that its window has another size."""
        if not _has_terminal():
            self.drain()

    def drain(self) -> int:
        """Send the workers away; HUP, TTIN and scale bring some back. How many were told."""
        count = 0
        for crew in self.generations.serving():
            crew.plan.paused = crew.dirty = True
            count += len(crew.members)
        self.house.log.line(INFO, f"{count} workers drain, none is started")
        return count

    def reap(self) -> None:
        now = monotonic()
        for death in spawn.reap():
            known = self._successor.ended(death, self.stopping)
            if not (known or self.generations.ended(death, now)):
                self.house.log.line(DEBUG, f"a process left behind, {death.pid}, ended: {death}")

    def re_execute(self) -> None:
        self._successor.wanted = not self.stopping

    def _finish(self) -> None:
        """Nothing of ours stays behind."""
        signal.set_wakeup_fd(-1)
        self._follow.close()
        if self._explain is not None:
            self._explain.close()
        self.outside.close()
        mine = [listener for some in self._listeners.values() for listener in some]
        if self._heritage is not None and self._heritage.trial:
            binds.close_unshared(mine, self._heritage.listeners)
            for listener in self._heritage.listeners:
                listener.leave_file()  # the other program listens there
                listener.close()
            return
        for listener in mine:
            listener.close()
        self.house.log.line(INFO, "stopped")


SIGNALS: Final[dict[int, tuple[Callable[[Supervisor], object], str]]] = {
    signal.SIGTERM: (Supervisor.terminate, "graceful stop; a second one is quick"),
    signal.SIGQUIT: (Supervisor.terminate, "graceful stop; a second one is quick"),
    signal.SIGINT: (Supervisor.interrupt, "quick stop, exit status 130"),
    signal.SIGHUP: (Supervisor.hang_up, "reload, the new generation first"),
    signal.SIGUSR1: (Supervisor.reopen_logs, "reopen logs"),
    signal.SIGUSR2: (Supervisor.re_execute, "re-execute with the same sockets"),
    signal.SIGTTIN: (Supervisor.more, "one worker more"),
    signal.SIGTTOU: (Supervisor.fewer, "one worker fewer"),
    signal.SIGWINCH: (Supervisor.window_changed, "drain workers; only without a terminal"),
    signal.SIGCHLD: (Supervisor.reap, "reap"),
}


def _drain(fd: int) -> None:
    try:
        os.read(fd, 4096)
    except BlockingIOError:
        pass


def _has_terminal() -> bool:
    """Whether a terminal controls this process."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
