"""A warmed interpreter that forks once for each request, and looks after its forks."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from gatebridge.apps.host import packet, program
from gatebridge.apps.host.learn import learn
from gatebridge.apps.host.source import Sources

if TYPE_CHECKING:
    from gatebridge.apps.host.packet import Said
    from gatebridge.apps.host.preload import Ahead
    from gatebridge.apps.host.source import Source

_LOOK_MS = 20  # between looks after processes for which the kernel has no descriptor
_GRACE_S = 2.0  # for what a script has left in its group, after TERM


class Zygote:
    """channel: to the daemon's worker; learns: tell it what scripts import."""

    def __init__(self, channel: socket.socket, ahead: Ahead, learns: bool) -> None:
        self._channel = channel
        self._ahead = ahead
        self._files = ahead.files
        self._kept = ahead.kept
        self._learns = learns
        self._told: set[str] = set()
        self._sources = Sources()
        self._streams = program.Streams()
        self._streams.prepare()
        self._null = os.open(os.devnull, os.O_RDWR)
        self._reports: dict[int, socket.socket] = {}  # by the pid of the fork
        self._ends: dict[int, int] = {}  # of forks that have not ended: a pidfd, or -1
        self._survived: dict[int, float] = {}  # groups whose leader has been reaped: kill them then
        self._modules = 0

    def serve(self) -> None:
        """Until the channel is closed and every fork has ended."""
        os.environ.clear()
        gc.collect()
        gc.freeze()
        self._modules = len(sys.modules)
        open_ = True
        while open_ or self._reports or self._survived:
            watch = select.poll()
            if open_:
                watch.register(self._channel, select.POLLIN)
            for report in self._reports.values():
                watch.register(report, select.POLLIN)
            for end in self._ends.values():
                if end >= 0:
                    watch.register(end, select.POLLIN)
            ready = {fd for fd, _ in watch.poll(self._wait_ms())}
            if self._survived:
                self._kill_survivors()
            for pid, end in list(self._ends.items()):
                if end < 0 or end in ready:
                    self._ended(pid)
            for pid, report in list(self._reports.items()):
                if report.fileno() in ready:
                    self._hear(pid, report)
            if open_ and self._channel.fileno() in ready:
                open_ = self._next()

    def _hear(self, pid: int, report: socket.socket) -> None:
        """Signals for a fork, or nobody waits for it any more."""
        try:
            numbers = report.recv(64)
        except OSError:
            numbers = b""
        for number in numbers:
            _kill_group(pid, number)
        if numbers:
            return
        has_ended = pid not in self._ends
        if not has_ended:
            _kill_group(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        report.close()
        del self._reports[pid]
        self._forget(pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, 0)  # somebody is left in its group, so that nobody else has its number
            self._survived[pid] = monotonic() + (_GRACE_S if has_ended else 0.0)

    def _wait_ms(self) -> float | None:
        if self._survived or -1 in self._ends.values():
            return _LOOK_MS
        return None

    def _kill_survivors(self) -> None:
        """What scripts have left behind, and what TERM has not ended."""
        for pid, when in list(self._survived.items()):
            try:
                os.killpg(pid, 0 if monotonic() < when else signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                del self._survived[pid]

    def _ended(self, pid: int) -> None:
        """Tell the status of a fork if it is over. It is reaped later: its group has a name."""
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
            packet.say(self._reports[pid], {"status": status})
            self._forget(pid)

    def _forget(self, pid: int) -> None:
        end = self._ends.pop(pid, -1)
        if end >= 0:
            os.close(end)

    def _next(self) -> bool:
        try:
            request, fds = packet.receive_request(self._channel)
        except EOFError:
            return False
        report = socket.socket(fileno=fds.pop("report"))
        if not request["stale"] and self._files.are_stale():
            packet.say(report, {"stale": True})
            report.close()
            _close(fds)
            return True
        try:
            source = self._sources.get(request["path"], fds.get("script", -1))
            self._fork(request, source, fds, report)
        except OSError as error:
            packet.say(report, {"error": f"{request['path']}: {error}"})
            report.close()
        else:
            self._teach(source, request["path"])
        finally:
            _close(fds)
        return True

    def _teach(self, source: Source, path: str) -> None:
        """Tell what a script imports that is not there, the first time it is seen."""
        if not self._learns or source.tree is None:
            return
        names = learn(source.tree, os.path.dirname(path), self._kept)
        new = [name for name in names if name not in sys.modules and name not in self._told]
        self._told.update(new)
        if new:
            packet.say(self._channel, {"learned": new})

    def _fork(
        self, request: Said, source: Source, fds: dict[str, int], report: socket.socket
    ) -> None:
        pid = os.fork()
        if not pid:
            self._child(request, source, fds, report)
        self._reports[pid] = report
        self._ends[pid] = _pidfd(pid)

    def _child(
        self, request: Said, source: Source, fds: dict[str, int], report: socket.socket
    ) -> NoReturn:
        """The whole life of a fork. Never back into the loop of its parent."""
        path = request["path"]
        try:
            os.setpgid(0, 0)
            _reseed()
            self._ahead.leave(os.path.dirname(path))
            program.enter(request)
            self._streams.connect(fds, self._null, source.unbuffered)
            program.limit(request["limits"], 0, True)
        except BaseException as error:
            packet.say(report, {"error": f"{path}: {type(error).__name__}: {error}"})
            os._exit(1)
        status = 1
        try:
            os.write(report.fileno(), b'{"pid": %d}\n' % os.getpid())
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            status, mark = program.run(source, path)
            status = program.end(path, status, mark, self._news, self._kept)
        finally:
            os._exit(status)

    def _news(self) -> list[str]:
        """Modules imported since the fork: the last ones. To look at all is to copy their pages."""
        count = len(sys.modules) + 1 - self._modules  # __main__ has been dropped
        return list(islice(reversed(sys.modules), max(0, count)))


def _pidfd(pid: int) -> int:
    """Readable when a child has ended; -1 where there is no such thing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1


def _reseed() -> None:
    """What a fork must not have in common with its siblings; random does so by itself."""
    modules = sys.modules
    if "ssl" in modules:
        modules["ssl"].RAND_add(os.urandom(32), 32.0)
    if "uuid" in modules:
        modules["uuid"]._last_timestamp = None  # type: ignore[attr-defined]
    if "numpy.random" in modules:
        modules["numpy.random"].seed()


def _kill_group(pid: int, number: int) -> None:
    for kill in (os.killpg, os.kill):  # it may not have its group yet
        try:
            kill(pid, number)
        except (OSError, ValueError):
            continue
        return


def _close(fds: dict[str, int]) -> None:
    for fd in fds.values():
        os.close(fd)
