"""A warmed interpreter that forks once for each request, and looks after its forks."""

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

from gatebridge.apps.host import packet, program
from gatebridge.apps.host.learn import learn
from gatebridge.apps.host.source import Sources

if TYPE_CHECKING:
    from gatebridge.apps.host.packet import Said
    from gatebridge.apps.host.preload import Ahead
    from gatebridge.apps.host.source import Source

_PR_SET_PDEATHSIG = 1


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
        self._null = os.open(os.devnull, os.O_RDWR)
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._reports: dict[int, socket.socket] = {}  # by the pid of the fork
        self._living: set[int] = set()  # forks that have not ended

    def serve(self) -> None:
        """Until the channel is closed and every fork has ended."""
        bell, rings = socket.socketpair()
        bell.setblocking(False)
        rings.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(rings.fileno(), warn_on_full_buffer=False)
        gc.collect()
        gc.freeze()
        open_ = True
        while open_ or self._reports:
            watch = select.poll()
            watch.register(bell, select.POLLIN)
            if open_:
                watch.register(self._channel, select.POLLIN)
            for report in self._reports.values():
                watch.register(report, select.POLLIN)
            ready = {fd for fd, _ in watch.poll()}
            self._hear(ready)
            if bell.fileno() in ready:
                bell.recv(4096)
                self._ended()
            if open_ and self._channel.fileno() in ready:
                open_ = self._next()

    def _hear(self, ready: set[int]) -> None:
        """Signals for forks, and the end of those that nobody waits for."""
        for pid, report in list(self._reports.items()):
            if report.fileno() not in ready:
                continue
            try:
                numbers = report.recv(64)
            except OSError:
                numbers = b""
            for number in numbers or (signal.SIGKILL,):
                _kill_group(pid, number)
            if not numbers:
                report.close()
                del self._reports[pid]
                self._living.discard(pid)
                os.waitpid(pid, 0)  # it has ended, or has just been killed

    def _ended(self) -> None:
        """Tell the status of each fork that is over. It is reaped later: its group has a name."""
        for pid in list(self._living):
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                self._living.discard(pid)
                status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
                packet.say(self._reports[pid], {"status": status})

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
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = -1
        try:
            pid = os.fork()
            if not pid:
                self._child(parent, request, source, fds, report)
        finally:
            if pid:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._reports[pid] = report
        self._living.add(pid)

    def _child(
        self, parent: int, request: Said, source: Source, fds: dict[str, int], report: socket.socket
    ) -> NoReturn:
        """The whole life of a fork. Never back into the loop of its parent."""
        try:
            self._prepare(parent, request, fds, source.unbuffered)
        except BaseException as error:
            packet.say(report, {"error": f"{request['path']}: {type(error).__name__}: {error}"})
            os._exit(1)
        status = 1
        try:
            packet.say(report, {"pid": os.getpid()})
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            modules = set(sys.modules)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            status, mark = program.run(source, request["path"])
            status = program.end(request["path"], status, mark, modules, self._kept)
        finally:
            os._exit(status)

    def _prepare(self, parent: int, request: Said, fds: dict[str, int], unbuffered: bool) -> None:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self._libc is not None:  # the zygote must not end and leave us
            kill = int(signal.SIGKILL)
            self._libc.prctl(_PR_SET_PDEATHSIG, *[ctypes.c_ulong(n) for n in (kill, 0, 0, 0)])
        if os.getppid() != parent:
            os._exit(1)
        _reseed()
        self._ahead.leave(os.path.dirname(request["path"]))
        program.enter(request)
        self._streams.connect(fds, self._null, unbuffered)
        program.limit(request["limits"], 0, True)


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
