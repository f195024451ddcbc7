"""An interpreter that runs scripts one after the other, and is the same again after each."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import fcntl
import gc
import os
import select
import signal
import socket
import stat
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from gatebridge.apps.host import packet, program
from gatebridge.apps.host.preload import numbers, threads
from gatebridge.apps.host.source import Sources
from gatebridge.apps.host.state import State

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Mapping

    from gatebridge.apps.host.packet import Said
    from gatebridge.apps.host.preload import Ahead

_F_SETSIG = 10  # of Linux, and the module fcntl has no name for it


class Runner:
    """channel: to the daemon's worker; idle_s: it ends when it has had no request for so long."""

    def __init__(self, channel: socket.socket, ahead: Ahead, idle_s: float) -> None:
        self._channel = channel
        self._ahead = ahead
        self._idle_s = idle_s
        self._sources = Sources()
        self._streams = program.Streams()
        self._null = os.open(os.devnull, os.O_RDWR)
        self._pid = os.getpid()
        self._inode = os.fstat(channel.fileno()).st_ino
        self._forked = False
        self._report: socket.socket | None = None
        self._exits = _Exits()
        self._known: set[int] = set()

    def serve(self) -> None:
        """Until the channel is closed, nothing has come for long, or a script has spoilt it."""
        os.register_at_fork(before=self._fork_begins, after_in_child=self._fork_is_here)
        os.dup2(self._null, 0)
        self._exits.replace()
        state = State()
        self._known = set(numbers())
        gc.collect()
        gc.freeze()
        watch = select.poll()
        watch.register(self._channel, select.POLLIN)
        while watch.poll(self._idle_s * 1000):
            try:
                request, fds = packet.receive_request(self._channel)
            except EOFError:
                return
            self._report = socket.socket(fileno=fds.pop("report"))
            if not self._one(request, fds, state):
                return

    def _one(self, request: Said, fds: dict[str, int], state: State) -> bool:
        """A request. Whether there may be another."""
        report = self._report
        if report is None or (not request["stale"] and self._ahead.files.are_stale()):
            self._answer({"stale": True}, fds)
            return False
        path = request["path"]
        modules = state.begin()
        try:
            source = self._sources.get(path, fds.get("script", -1))
            self._ahead.leave(os.path.dirname(path))
            program.enter(request)
            program.limit(request["limits"], int(time.process_time()), False)
        except (OSError, ValueError) as error:
            self._answer({"error": f"{path}: {error}"}, fds)
            return not state.restore()
        packet.say(report, {"pid": 0})
        self._streams.connect(fds, self._null, source.unbuffered)
        for fd in fds.values():
            os.close(fd)
        self._exits.folder = os.path.dirname(path)
        self._watch_worker(True)
        with warnings.catch_warnings():
            status, mark = contextvars.Context().run(program.run, source, path)
        return self._over(path, status, mark, modules, state)

    def _over(
        self,
        path: str,
        status: int,
        mark: weakref.ref[object],
        modules: set[str],
        state: State,
    ) -> bool:
        """After a script. Whether there may be another."""
        reason = self._trace()
        if reason or os.getpid() != self._pid:
            self._leave(path, status, mark, reason)
        self._exits.run()

        def news() -> list[str]:
            return list(sys.modules.keys() - modules)

        status = program.flush(status)
        program.forget(path, mark, news, self._ahead.kept)
        status = program.flush(status)
        for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
            _close_quietly(stream)  # whoever still has it must not write into the next answer
        reason = state.restore() or self._trace() or self._open()
        if self._ahead.files.note():
            gc.freeze()
        self._watch_worker(False)
        self._answer({"status": status, "demote": reason}, {})
        for place in range(3):
            os.dup2(self._null, place)
        return not reason

    def _leave(self, path: str, status: int, mark: weakref.ref[object], reason: str) -> None:
        """End as any program does: this process cannot be used again, or is a script's fork."""
        self._exits.give_back()
        status = program.end(path, status, mark, list, self._ahead.kept)
        if os.getpid() == self._pid:
            self._answer({"status": status, "demote": reason}, {})
        os._exit(status)

    def _answer(self, said: Said, fds: Mapping[str, int]) -> None:
        report, self._report = self._report, None
        for fd in fds.values():
            os.close(fd)
        if report is not None:
            packet.say(report, said)
            with contextlib.suppress(OSError):  # a script has closed it
                report.close()

    def _trace(self) -> str:
        """What a script has done or left that another must not meet."""
        if self._forked:
            return "it forks (os.fork)"
        if not self._is_connected():
            return "it closes descriptors that are not its own"
        if threads() > 1 or threading.active_count() > 1:
            return "it leaves a thread running"
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            while pid:
                pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ""
        return "it leaves a child process running"

    def _open(self) -> str:
        """Descriptors that are left when all of a script's objects are gone."""
        report = self._report.fileno() if self._report is not None else -1
        for fd in numbers():
            if fd in self._known or fd == report:
                continue
            try:
                mode = os.fstat(fd).st_mode
            except OSError:  # the one that listed them
                continue
            kind = "a socket" if stat.S_ISSOCK(mode) else "a descriptor"
            return f"it leaves {kind} open ({fd})"
        return ""

    def _is_connected(self) -> bool:
        """Whether a script has left us our own descriptors."""
        try:
            return os.fstat(self._channel.fileno()).st_ino == self._inode
        except OSError:
            return False

    def _watch_worker(self, on: bool) -> None:
        """While a script runs, the end of the daemon's worker ends this group of processes."""
        if sys.platform != "linux":
            return
        fd = self._channel.fileno()
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if not on:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_ASYNC)
            return
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_ASYNC)
        watch = select.poll()
        watch.register(fd, select.POLLIN)
        if watch.poll(0):  # it ended just before
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def _fork_begins(self) -> None:
        self._forked = True

    def _fork_is_here(self) -> None:
        self._channel.close()
        if self._report is not None:
            self._report.close()
            self._report = None


class _Exits:
    """What scripts register with atexit, apart from what the library's modules do.

    folder  of the script that runs: what its modules register is its own
    """

    def __init__(self) -> None:
        self.folder = "/"
        self._functions: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
        self._register = atexit.register
        self._unregister = atexit.unregister

    def replace(self) -> None:
        """From now on atexit is ours."""
        setattr(atexit, "register", self.register)  # noqa: B010 - a type checker forbids it
        setattr(atexit, "unregister", self.unregister)  # noqa: B010

    def register(self, func: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals
        file = str(caller.get("__file__") or "")
        if caller.get("__name__") == "__main__" or file.startswith(self.folder + "/"):
            self._functions.append((func, args, kwargs))
            return func
        return self._register(func, *args, **kwargs)

    def unregister(self, func: Callable[..., Any]) -> None:
        self._functions = [entry for entry in self._functions if entry[0] != func]
        self._unregister(func)

    def give_back(self) -> None:
        """To atexit itself, as the process ends."""
        for func, args, kwargs in self._functions:
            self._register(func, *args, **kwargs)

    def run(self) -> None:
        """The last one first; those that it registers meanwhile, too."""
        while self._functions:
            func, args, kwargs = self._functions.pop()
            try:
                func(*args, **kwargs)
            except BaseException:  # whatever a script's function raises
                sys.excepthook(*sys.exc_info())


def _close_quietly(stream: Any) -> None:
    try:
        stream.close()
    except (AttributeError, OSError, ValueError):  # None, or nobody reads what is left
        return
