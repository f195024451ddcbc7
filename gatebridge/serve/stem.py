"""The stem of a pool: imports the application once, then forks workers that share its memory.

A worker is forked twice, so that it becomes the supervisor's own child: reaped by it, ended with
it, and alive when the stem goes.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import sysconfig
import threading
import traceback
from _thread import get_ident  # of a thread, also where gevent has changed what threading has
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.serve import channel, spawn

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from gatebridge.serve.channel import Message

    Work = Callable[[object, int, list[int]], int]

LOAD_FAILED = 4  # exit status of a worker or stem whose application cannot be loaded
_TEXT_MAX = 8_000  # characters of an error or a traceback; JSON takes six bytes for some


class Stem:
    """The child's side.

    sock        its channel
    supervisor  pid of it
    load        imports the applications
    work        a worker's life: the applications, its slot, the descriptors it was sent
    keep        descriptors that every worker needs beside those
    adopt       takes the descriptors of logs that were opened anew
    follow      tell which files the application consists of
    """

    def __init__(
        self,
        sock: socket.socket,
        supervisor: int,
        load: Callable[[], object],
        work: Work,
        keep: tuple[int, ...],
        adopt: Callable[[list[int]], None],
        follow: bool = False,
    ) -> None:
        self._adopt = adopt
        self._sock = sock
        self._supervisor = supervisor
        self._load = load
        self._work = work
        self._keep = keep
        self._follow = follow

    def run(self) -> int:
        """Import, then fork for as long as somebody asks. Returns the exit status."""
        try:
            with StartedThreads() as started:
                applications = self._load()
            started.refuse()
        except BaseException as error:  # whatever a module does when it is run
            self._tell_files(error)
            channel.send(self._sock, failure(error))
            return LOAD_FAILED
        self._tell_files(None)
        gc.collect()
        gc.freeze()  # a collection in a worker writes to no page of ours
        channel.send(self._sock, {"say": "ready"})
        while True:
            try:
                message, fds = channel.receive_fds(self._sock)
            except EOFError:  # the supervisor is gone, or wants no more workers
                return 0
            slot = message.get("slot")
            if message.get("do") == "quit":
                return 0
            if message.get("do") == "reopen":
                self._adopt(fds)
                continue
            if message.get("do") == "fork" and isinstance(slot, int):
                self._fork(applications, slot, fds)
            for fd in fds:
                os.close(fd)

    def _tell_files(self, error: BaseException | None) -> None:
        if self._follow:
            from gatebridge.serve.loaded_files import loaded_files  # only development needs it

            channel.send(self._sock, {"say": "files", "files": loaded_files(error)})

    def _fork(self, applications: object, slot: int, fds: list[int]) -> None:
        between = _plain_fork()
        if between < 0:
            self._refused(slot, OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno())))
        elif between:
            os.waitpid(between, 0)
        else:
            self._between(applications, slot, fds)

    def _between(self, applications: object, slot: int, fds: list[int]) -> None:
        """In the process that forks the worker and ends, which makes it the supervisor's."""
        own = os.getpid()
        try:
            worker = os.fork()
        except OSError as error:
            self._refused(slot, error)
            os._exit(0)
        if worker:
            channel.send(self._sock, {"say": "forked", "slot": slot, "pid": worker})
            os._exit(0)
        status = 1
        try:
            spawn.await_adoption(own, self._supervisor)
            spawn.die_with(self._supervisor)
            spawn.close_others((*self._keep, *fds))
            status = self._work(applications, slot, fds)
        except SystemExit as error:
            status = spawn.exit_status(error)
        except BaseException:
            traceback.print_exc()
        finally:
            spawn.leave(status)

    def _refused(self, slot: int, error: OSError) -> None:
        channel.send(self._sock, {"say": "unforked", "slot": slot, "error": str(error)})


def _plain_fork() -> int:
    """fork() without Python's hooks: those are for the worker, and run when it is forked."""
    libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL keeps the interpreter's lock
    return int(libc.fork())


def failure(error: BaseException) -> Message:
    """What a child says about why it cannot start."""
    if isinstance(error, GatebridgeError):
        first, _, rest = str(error).partition("\n")  # an import's error may carry its traceback
        cause = error.__cause__
    else:
        first, rest, cause = f"{type(error).__name__}: {error}", "", error
    if not rest and cause is not None:
        rest = "".join(traceback.format_exception(cause))
    return {"say": "failed", "error": first[:_TEXT_MAX], "traceback": rest[-_TEXT_MAX:]}


class StartedThreads:
    """Notes who starts threads while it is entered."""

    def __init__(self) -> None:
        self._places: dict[int | None, str] = {}
        self._before = threading.Thread.start

    def __enter__(self) -> StartedThreads:
        before, places = self._before, self._places

        def start(thread: threading.Thread) -> None:
            before(thread)
            places[thread.ident] = f"started at {_place(sys._getframe(1))}"

        threading.Thread.start = start  # type: ignore[method-assign,assignment]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        threading.Thread.start = self._before  # type: ignore[method-assign]

    def refuse(self) -> None:
        """raises  ConfigError("preload.threads") if any of them still runs"""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        others = [
            f"{names.get(ident, 'a thread without a name')!r} "
            + self._places.get(ident, f"now at {_place(frame)}")
            for ident, frame in sorted(sys._current_frames().items())
            if ident != get_ident()
        ]
        if others:
            why = "the import started threads, which no fork takes along"
            hint = "start them in a worker, at the first request, or leave out --preload"
            raise ConfigError("preload.threads", f"{why}: {', '.join(others)}; {hint}")


def _place(frame: FrameType) -> str:
    """Where the application's own code is in a stack: FILE:LINE (MODULE)."""
    library = sysconfig.get_path("stdlib") + os.sep
    at: FrameType | None = frame
    while at is not None:
        file = at.f_code.co_filename
        inside = file.startswith(library) and "-packages" not in file[len(library) :]
        if not inside and not file.startswith("<frozen"):
            frame = at
            break
        at = at.f_back
    module = frame.f_globals.get("__name__", "?")
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({module})"
