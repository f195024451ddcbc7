"""What a worker tells its operator: one event a line, its code first."""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.next_steps import failure_line, note_line, refusal_line
from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from gatebridge.errors import GatebridgeError
    from gatebridge.serve.log_file import LogFile

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}
_NAMES = {level: name for name, level in LEVELS.items()}


class WorkerLog:
    """The error log of one process.

    level     the least severe that is written
    failures  of applications so far
    """

    __slots__ = ("_file", "failures", "level")

    def __init__(self, file: LogFile, level: int) -> None:
        self._file = file
        self.level = level
        self.failures = 0
        if file.told is None:
            file.told = self.lost_lines

    def line(self, level: int, text: str) -> None:
        if level >= self.level:
            self._file.write(f"{_stamp()} [{os.getpid()}] {_NAMES[level]} {escape(text)}")

    def set_level(self, name: str) -> None:
        """From now on. raises ConfigError("log.level")"""
        if name not in LEVELS:
            raise ConfigError("log.level", f"{name!r} is none of {', '.join(LEVELS)}")
        self.level = LEVELS[name]
        self.line(INFO, f"log.level is {name} now")

    def lost_lines(self, path: str, count: int) -> None:
        """A log, this one perhaps, can be written again; what it could not take is gone."""
        self.line(ERROR, f"log.lost {count} lines of {'standard error' if path == '-' else path}")

    def listening(self, text: str, protocol: str) -> None:
        self.line(INFO, f"listening on {text} ({protocol})")

    def note(self, error: GatebridgeError, where: str) -> None:
        """Something was refused or put right; the request's line or the peer says for whom."""
        self.line(WARNING, note_line(where, error))

    def refused(self, incident: str, where: str, error: GatebridgeError) -> None:
        """A request got a page of ours in an answer's place."""
        self.line(WARNING, refusal_line(incident, where, error))

    def failed(self, incident: str, where: str, error: BaseException) -> None:
        """An application's failure, its traceback under the incident's id."""
        self.failures += 1
        self.line(ERROR, failure_line(incident, where, error))
        for text in self.traceback(error).splitlines():
            self.line(ERROR, f"app.failed {incident} {text}")

    def traceback(self, error: BaseException) -> str:
        return "".join(traceback.format_exception(error))

    def application(self, text: str) -> None:
        """What an application wrote to wsgi.errors."""
        for line in text.splitlines():
            self.line(WARNING, f"app.says {line}")

    def printed(self, worker: str, text: str) -> None:
        """What a worker wrote to its standard output or error."""
        self.line(WARNING, f"app.prints {worker} {text}")

    def fault(self, where: str, error: BaseException) -> None:
        """A fault of gatebridge itself."""
        self.line(ERROR, f"gatebridge.fault ({where}): please report this: {_said(error)}")
        for text in self.traceback(error).splitlines():
            self.line(ERROR, f"gatebridge.fault {text}")

    def refused_peer(self, peer: object, bind: str) -> None:
        self.line(WARNING, f"peer.refused {peer!r} is not allowed on {bind}")

    def expired(self, peer: object, bind: str) -> None:
        self.line(INFO, f"peer.silent no whole request in time on {bind} from {peer or 'unix'}")

    def accept_paused(self, bind: str, error: OSError) -> None:
        hint = "raise the file limit (LimitNOFILE=, ulimit -n)"
        self.line(ERROR, f"accept.paused on {bind}: {error}; {hint}")

    def reopen(self) -> None:
        self._file.reopen()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _stamp() -> str:
    now = time.time()
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    return f"{text}.{int(now * 1000) % 1000:03d}"


def explain(error: BaseException) -> None:
    """Print why a command cannot go on."""
    print(f"gatebridge: {error}", file=sys.stderr)
