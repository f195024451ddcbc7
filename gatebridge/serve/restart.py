"""run_simple(use_reloader=True): a program started again whenever one of its files has changed.

The outer process holds the socket and starts the program anew, with the same arguments, for as
long as it ends with RESTART. The environment says so in Werkzeug's names, which others ask for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from select import POLLIN, poll
from typing import TYPE_CHECKING, Final

from gatebridge.serve.file_watch import FileWatch
from gatebridge.serve.loaded_files import loaded_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

RESTART: Final = 3  # exit status
INNER: Final = "WERKZEUG_RUN_MAIN"  # "true" in the program that is started again
SOCKET: Final = "WERKZEUG_SERVER_FD"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WHO = "program"


def is_inner() -> bool:
    """Whether this is the program that serves, and that will be started again."""
    return os.environ.get(INNER) == "true"


def start_again_and_again(fd: int, told: Callable[[], None]) -> int:
    """Run this program inside until it ends otherwise. Returns its exit status, 0 after a signal.

    fd    the listening socket, which it inherits
    told  called before each further start
    """
    stopped: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        if children and children[-1].poll() is None:
            children[-1].send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    environ = {**os.environ, INNER: "true", SOCKET: str(fd)}
    os.set_inheritable(fd, True)
    try:
        while True:
            argv = [sys.executable, *sys.orig_argv[1:]]
            children.append(subprocess.Popen(argv, env=environ, close_fds=False))
            if stopped:  # between two of them
                children[-1].send_signal(stopped[-1])
            status = children[-1].wait()
            if stopped:
                return 0
            if status != RESTART:
                return status if status >= 0 else 128 - status
            del children[:]
            told()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Files:
    """The files of this program.

    engine      "auto", "stat" or "watchfiles"
    extra       further files; of folders their Python files
    exclude     patterns (fnmatch) of paths that do not count
    raises      ConfigError("reload.engine")
    """

    __slots__ = ("_deaf", "_folders", "_known", "_watch")

    def __init__(self, engine: str, extra: Sequence[str], exclude: Sequence[str]) -> None:
        self._folders = [path for path in map(os.path.abspath, extra) if os.path.isdir(path)]
        files = [path for path in extra if not os.path.isdir(path)]
        self._watch = FileWatch(engine, files, exclude)
        self._known: list[str] = []
        self._deaf = False  # watchfiles has ended
        self.follow()

    def follow(self) -> None:
        """What has been imported by now."""
        found = sorted({*loaded_files(), *self._folders, *_main()})
        if found != self._known:
            self._known = found
            self._watch.follow(_WHO, found)

    def look(self) -> list[str]:
        """Which have changed by now."""
        return self.wait(0.0, -1)

    def wait(self, seconds: float, stop: int) -> list[str]:
        """Which have changed, looked at after so long, or as soon as watchfiles calls.

        stop  a descriptor that ends the waiting when it is readable; -1 for none
        """
        waiter = poll()
        if stop >= 0:
            waiter.register(stop, POLLIN)
        own = -1 if self._deaf else self._watch.fd
        if own >= 0:
            waiter.register(own, POLLIN)
        seen = [fd for fd, _ in waiter.poll(seconds * 1000)]
        if stop in seen:
            return []
        if own in seen and not self._watch.wake():
            self._deaf = True
        self.follow()
        return self._watch.look()

    def close(self) -> None:
        self._watch.close()


def _main() -> list[str]:
    """The script itself, which loaded_files() leaves out: a daemon's workers have none."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return [os.path.abspath(file)] if file and os.path.isfile(file) else []


class Watcher:
    """Looks at the files in a thread of its own while the program serves.

    changed     those that have; nothing is looked at any more then
    interval_s  between two looks
    end         ends the serving
    """

    def __init__(self, files: Files, interval_s: float, end: Callable[[], None]) -> None:
        self.changed: list[str] = []
        self._files = files
        self._interval_s = interval_s
        self._end = end
        self._over, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name="gatebridge-reload", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        stopped = poll()
        stopped.register(self._over, POLLIN)
        while not stopped.poll(0):
            self.changed = self._files.wait(self._interval_s, self._over)
            if self.changed:
                self._end()
                return

    def close(self) -> None:
        os.write(self._stop, b"!")
        self._thread.join()
        os.close(self._over)
        os.close(self._stop)
        self._files.close()
