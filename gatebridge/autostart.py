"""The daemon behind a relay: started by a request that found none, ended when nobody asks.

It gets the lock as an open descriptor and keeps it until it serves or has failed, so that nobody
starts a second one meanwhile. Its socket appears under its name when a worker is ready: whoever
can connect is served.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge.bind import parse_bind
from gatebridge.cli.main import exit_status
from gatebridge.cli.shim import read_words
from gatebridge.config import resolve
from gatebridge.daemon import Daemon
from gatebridge.errors import ConfigError, GatebridgeError, UseError
from gatebridge.relay_place import Place, check_folder, state_folder
from gatebridge.serve import binds
from gatebridge.serve.background import Report
from gatebridge.serve.listen import adopt_listener, somaxconn
from gatebridge.serve.notify import Passed
from gatebridge.serve.socket_file import bind_file, inode
from gatebridge.serve.supervisor import SIGNALS, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatebridge.serve.listener import Listener
    from gatebridge.settings import Configuration

IDLE_EXIT = "5m"
_YOUNG_S = 60.0  # a daemon that was killed younger than this may not be able to live here
_DEATHS = 3  # of young daemons, one after the other, are enough
_BACKLOG = 4096
_FAILED = 1  # exit status


class Started(Report):
    """Tells the relays, once: with the socket, or with a file that says why there is none.

    lock     descriptor of the lock
    deaths   daemons before this one that were killed young
    give_up  ends a daemon that nobody can reach; said before it can be ready
    status   exit status of such a daemon; 0 where it can be reached
    """

    __slots__ = ("_lock", "_place", "deaths", "give_up", "status")

    give_up: Callable[[], None]

    def __init__(self, place: Place, lock: int) -> None:
        super().__init__()
        self._place = place
        self._lock = lock
        self.deaths = 0
        self.status = 0

    def ready(self) -> None:
        try:
            self._place.write("ready", str(self.deaths))
            self._place.remove("failed")
            os.rename(self._place.path("new"), self._place.path("sock"))
        except OSError as error:  # with the lock and without a socket nobody would be served
            self.status = _FAILED
            why = f"{error.strerror}: {error.filename}; the state folder was changed meanwhile"
            self.failed(_FAILED, f"start.place: {why}")
            self.give_up()
        self._unlock()

    def failed(self, status: int, text: str) -> None:
        if self._lock < 0:  # it has served, or has said why not
            return
        with suppress(OSError):  # a full disk; that nobody serves is seen all the same
            self._place.write("failed", text.removeprefix("gatebridge: ") + "\n")
        self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, -1
        if lock >= 0:
            with suppress(OSError):
                os.close(lock)


class Vanishing(Supervisor):
    """Its socket goes before it does: who has connected is answered, and who comes starts another.

    leave  removes the socket; said before run(). Called more than once.
    """

    leave: Callable[[], None]

    def stop(self, quick: bool) -> None:
        self.leave()
        super().stop(quick)


@dataclass(frozen=True, slots=True)
class Told:
    """What the relay says to its starter; words: APP and options of serve."""

    place: Place
    lock: int
    app_folder: str
    words: tuple[str, ...]


def parse(args: Sequence[str]) -> Told:
    """Our own command line, written by ``shim new``. raises UseError("autostart.usage")"""
    border = list(args).index("--") if "--" in args else len(args)
    before, after = args[:border], args[border + 1 :]
    given = dict(zip(before[::2], before[1::2], strict=False))
    names = ["--lock-fd", "--base", "--name", "--folder"]
    if sorted(given) != sorted(names) or len(before) != 2 * len(names) or not after:
        usage = " ".join(f"{name} {name[2:].upper()}" for name in names)
        raise UseError("autostart.usage", f"python -m gatebridge.autostart {usage} -- APP ...")
    lock, base, name, folder = (given[name] for name in names)
    if not lock.isdecimal() or not name.isalnum():
        raise UseError("autostart.usage", f"--lock-fd {lock} --name {name}")
    return Told(Place(state_folder(base), name), int(lock), folder, tuple(after))


def serve(told: Told, report: Started) -> int:
    """Be the daemon until it is stopped or idle. Returns the exit status. raises GatebridgeError"""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    place = told.place
    why = check_folder(place.folder)
    if why:
        raise ConfigError("start.folder", f"{place.folder}: {why}")
    report.deaths = _deaths(place)
    enter(told.app_folder)
    bind = parse_bind(f"unix:{place.path('sock')}?mode=0600&peer=same")
    asked = read_words([told.words[0], "--bind", bind.text, *_options(place), *told.words[1:]])
    configuration = resolve(asked)
    hooks = Daemon(asked, configuration, Passed({}), {})
    place.remove("sock")  # of a daemon that was killed: we have the lock, and nobody listens
    with _listening(place) as sock:
        there = adopt_listener(bind, sock.fileno(), ())
    listeners = binds.listen(configuration, [there], hooks.bind_all)
    return _run(place, configuration, listeners, hooks, report)


def _run(
    place: Place,
    configuration: Configuration,
    listeners: dict[str, list[Listener]],
    hooks: Daemon,
    report: Started,
) -> int:
    daemon = Vanishing(configuration, listeners, hooks, report)
    daemon.leave = Leaving(place).leave
    report.give_up = lambda: daemon.stop(quick=True)
    try:
        return daemon.run() or report.status
    finally:
        daemon.leave()


class Leaving:
    """Removes our socket's files, once: what is there later is a successor's, who boots already.

    Until then our socket is open, so that no other file can have its number.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._mine = inode(place.path("new"))

    def leave(self) -> None:
        mine, self._mine = self._mine, None
        if mine is None:
            return
        if inode(self._place.path("new")) == mine:
            self._place.remove("new")
        elif inode(self._place.path("sock")) == mine:
            for ending in ("sock", "ready", "ctl"):
                self._place.remove(ending)


def _listening(place: Place) -> socket.socket:
    """A socket that nobody can find yet. raises ConfigError("bind.failed")"""
    place.remove("new")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bind_file(sock, place.path("new"), 0o600)
        sock.listen(min(_BACKLOG, somaxconn()))
    except OSError as error:
        sock.close()
        raise ConfigError("bind.failed", f"{place.path('new')}: {error.strerror}") from error
    return sock


def _options(place: Place) -> list[str]:
    """What an operator would write; what was said to ``shim new`` comes after it."""
    return [
        *("--name", place.name, "--control-socket", place.path("ctl")),
        *("--error-logfile", place.path("log"), "--capture-output"),
        *("--workers", "1", "--threads", "8", "--reload", "--idle-exit", IDLE_EXIT),
    ]


def _deaths(place: Place) -> int:
    """How many daemons in a row were killed young. raises ConfigError("start.killed")

    Who leaves by itself removes NAME.ready.
    """
    text, age_s = place.read("ready")
    deaths = int(text) + 1 if text.isdecimal() and age_s < _YOUNG_S else 0
    if deaths >= _DEATHS:
        place.remove("ready")
        why = f"{deaths} daemons in a row were killed within {_YOUNG_S:g} s of their start"
        raise ConfigError("start.killed", f"{why}; no daemon can live here, it seems")
    return deaths


def enter(folder: str) -> None:
    """raises ConfigError("chdir.failed")"""
    try:
        os.chdir(folder)
    except OSError as error:
        raise ConfigError("chdir.failed", f"{folder}: {error.strerror}") from error
    os.environ["PWD"] = folder


def main() -> None:
    told = parse(sys.argv[1:])
    report = Started(told.place, told.lock)
    try:
        os.set_inheritable(told.lock, False)
        status = serve(told, report)
    except GatebridgeError as error:
        report.failed(_FAILED, str(error))
        print(f"gatebridge: {error}", file=sys.stderr)
        status = exit_status(error)
    except BaseException as error:
        report.failed(_FAILED, f"start.failed: {error!r}")
        raise
    sys.exit(status)


if __name__ == "__main__":
    main()
