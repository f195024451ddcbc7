"""USR2: the supervisor becomes a new program, same process id, same sockets, same workers.

A trial run of the new program comes first, with copies of everything: it reads the configuration,
takes the sockets over and exits. What it cannot do the real one could not either, and the old
supervisor goes on as if nothing had been asked. The workers stay children of this process and
serve until the new program's own are ready.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.serve.binds import web_server_addrs
from gatebridge.serve.listen import adopt_listener
from gatebridge.serve.member import NO_SLOT, Member
from gatebridge.serve.pool import DRAINING, READY

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import NoReturn

    from gatebridge.serve.listener import Listener, Network

VARIABLE = "GATEBRIDGE_REEXEC"
_FORMAT = 1
_CANNOT = 127  # exit status of a trial that could not begin


@dataclass(slots=True)
class Estate:
    """What one program leaves to the next.

    listeners   bind and descriptor of each
    control     the control socket's descriptor and path
    workers     pool, pid and descriptors of each
    inboxes     descriptors by pool: workers of both programs pass connections there
    generation  the number of the last one
    folder      where the program begins, by the name it was entered with
    """

    generation: int
    folder: str
    listeners: list[tuple[str, int]]
    control: tuple[int, str]
    workers: list[dict[str, Any]]
    inboxes: dict[str, list[int]]

    def fds(self) -> list[int]:
        found = [fd for _, fd in self.listeners]
        found += [fd for fds in self.inboxes.values() for fd in fds]
        for worker in self.workers:
            found += [worker["channel"], worker["dump"], worker["output"]]
        return [fd for fd in (*found, self.control[0]) if fd >= 0]

    def environment(self, pid: int, trial: bool) -> dict[str, str]:
        text = json.dumps(
            {
                "format": _FORMAT,
                "pid": pid,
                "trial": trial,
                "generation": self.generation,
                "listeners": self.listeners,
                "control": self.control,
                "workers": self.workers,
                "inboxes": self.inboxes,
            }
        )
        return {VARIABLE: text}


@dataclass(slots=True)
class Heritage:
    """The same, taken over. trial: look at it, and exit.

    workers  by pool; they serve, and know nothing of the change
    inboxes  by pool; whoever takes one over takes it out
    """

    trial: bool
    generation: int
    listeners: list[Listener]
    control: socket.socket | None = None
    control_path: str = ""
    workers: dict[str, list[Member]] = field(default_factory=dict)
    inboxes: dict[str, list[int]] = field(default_factory=dict)

    def close(self) -> None:
        """What nobody has taken over."""
        for fds in self.inboxes.values():
            for fd in fds:
                os.close(fd)
        self.inboxes.clear()


def leave(worker: Member, pool: str) -> dict[str, Any]:
    """A worker's entry in an estate."""
    now = monotonic()
    return {
        "pool": pool,
        "pid": worker.pid,
        "generation": worker.generation,
        "drains_s": worker.deadline - now if worker.state == DRAINING else None,
        "channel": worker.sock.fileno(),
        "dump": worker.dump,
        "output": worker.output,
    }


def try_out(estate: Estate, environ: dict[str, str]) -> int:
    """Start the trial run; its pid. raises OSError"""
    pid = os.fork()
    if pid:
        return pid
    try:
        _become(estate, environ, trial=True)
    except BaseException:
        os._exit(_CANNOT)


def execute(estate: Estate, environ: dict[str, str]) -> NoReturn:
    """Become the new program. raises OSError, with everything as it was

    Signals wait from here until the new program has handlers for them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _become(estate, environ, trial=False)
    except BaseException:
        for fd in estate.fds():
            os.set_inheritable(fd, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise


def _become(estate: Estate, environ: dict[str, str], trial: bool) -> NoReturn:
    for fd in estate.fds():
        os.set_inheritable(fd, True)
    try:
        os.chdir(estate.folder)  # a release that has been switched is found where the link leads
    except OSError:  # it is gone: the program starts where we are
        pass
    environ = {**environ, **estate.environment(os.getpid(), trial)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


def inherit(environ: MutableMapping[str, str] = os.environ) -> Heritage | None:
    """What another program left to this one; None where none did. Before anything is opened.

    raises  ConfigError("reexec.…")
    """
    text = environ.pop(VARIABLE, "")
    if not text:
        return None
    try:
        left = json.loads(text)
        if left["pid"] != os.getpid():  # a child of some program that did not remove it
            return None
        if left["format"] != _FORMAT:
            raise ConfigError("reexec.format", "the running version hands over in another format")
        return _take(left)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("reexec.malformed", f"{VARIABLE}: {error!r}") from error


def _take(left: dict[str, Any]) -> Heritage:
    addresses = web_server_addrs()
    listeners = [_listener(str(text), int(fd), addresses) for text, fd in left["listeners"]]
    found = Heritage(bool(left["trial"]), int(left["generation"]), listeners)
    control, found.control_path = left["control"]
    if control >= 0:
        found.control = _socket(control)
    for name, fds in left["inboxes"].items():
        found.inboxes[name] = [_pipe(fd) for fd in fds]
    for key, worker in enumerate(left["workers"]):
        member = Member(
            -1 - key, NO_SLOT, worker["generation"], _socket(worker["channel"]),
            _pipe(worker["dump"]), _pipe(worker["output"]),
        )  # fmt: skip
        member.pid = worker["pid"]
        member.become(READY, 0.0)
        if worker["drains_s"] is not None:  # it has been told
            member.wanted = False
            member.become(DRAINING, monotonic())
            member.deadline = member.since + worker["drains_s"]
        found.workers.setdefault(worker["pool"], []).append(member)
    return found


def _listener(text: str, fd: int, addresses: tuple[Network, ...]) -> Listener:
    listener = adopt_listener(parse_bind(text), fd, addresses)
    os.close(fd)
    return listener


def _socket(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


def _pipe(fd: int) -> int:
    if fd >= 0:
        os.set_inheritable(fd, False)
    return fd
