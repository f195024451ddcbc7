"""--daemon: the command returns when the daemon is ready, and says why where it is not.

Nothing may be open yet: what the daemon opens is its own, and the starter just ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_DIED = 1  # exit status of the starter when the daemon ends without a word
_LOOK_MS = 200  # between two looks for a Ctrl-C
_INTERRUPTED = 130
_MOST_FDS = 1 << 16  # looked at where there is no /proc


class Report:
    """What the daemon tells its starter, once. fd: -1 in the foreground, where nobody waits."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    def ready(self) -> None:
        """The starter exits with 0."""
        self._tell(0, "")

    def failed(self, status: int, text: str) -> None:
        """The starter prints ``text`` and exits with ``status``."""
        self._tell(status, text)

    def _tell(self, status: int, text: str) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            with open(fd, "w", encoding="ascii") as pipe:  # JSON escapes the rest
                pipe.write(json.dumps([status, text]) + "\n")
        except OSError:  # the starter was killed; its terminal may be gone
            pass


def go_background(keep: Collection[int] = ()) -> Report:
    """Go on as a daemon: no terminal, its own session, all three streams to /dev/null.

    Only the daemon returns; in the starter SystemExit ends the command when Report was heard.

    keep    descriptors that were passed to us: fd:// binds. Others above 2 are closed, so that
            nobody who waits for the end of a pipe waits for the daemon's. Those that this
            process has made itself stay.
    raises  ConfigError("daemon.failed")
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # else both processes write it
    _fill()
    read, write = os.pipe()
    # Ctrl-C is for the daemon as well; it waits until the starter listens.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        first = os.fork()
    except OSError as error:
        os.close(read)
        os.close(write)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise ConfigError("daemon.failed", f"--daemon: fork: {error.strerror}") from error
    if first:
        os.close(write)
        raise SystemExit(_wait(read, first, mask))
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(read)
        _leave_session()
        _detach(keep)
        os.write(write, b"%d\n" % os.getpid())
    except BaseException as error:
        Report(write).failed(_DIED, f"gatebridge: daemon.failed: {error}")
        os._exit(_DIED)
    return Report(write)


def _fill() -> None:
    """Open what is closed of 0 to 2, or our own descriptors get these numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(fd)


def _leave_session() -> None:
    """Second fork: who does not lead a session can never get a terminal by opening one."""
    os.setsid()
    if os.fork():
        os._exit(0)


def _detach(keep: Collection[int]) -> None:
    for fd in _passed_down():
        if fd not in keep:
            os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        if fd not in keep:
            os.dup2(null, fd)
    os.close(null)


def _passed_down() -> list[int]:
    """Descriptors above 2 that whoever started us left open: ours are not inheritable."""
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # no /proc
        found = list(range(3, min(os.sysconf("SC_OPEN_MAX"), _MOST_FDS)))
    return [fd for fd in found if fd > 2 and _is_inheritable(fd)]


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:  # not open
        return False


def _wait(pipe: int, first: int, mask: Iterable[int]) -> int:
    """The starter's exit status: what the daemon says, or the lack of it."""
    daemon = 0
    status, text = _DIED, "gatebridge: daemon.died: it ended before it was ready; see its log"
    come = bytearray()
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        while (line := _next_line(pipe, come)).endswith(b"\n"):  # else killed in the middle of it
            said = json.loads(line)
            if isinstance(said, list):
                status, text = said
                break
            daemon = said
    except KeyboardInterrupt:
        daemon = daemon or json.loads(_next_line(pipe, come) or b"0")
        if isinstance(daemon, int) and daemon:
            with suppress(ProcessLookupError):
                os.kill(daemon, signal.SIGTERM)
        return _INTERRUPTED
    os.waitpid(first, 0)
    if text:
        print(text, file=sys.stderr)
    return int(status)


def _next_line(pipe: int, come: bytearray) -> bytes:
    """A line with its end, of what had come and what comes; the rest where the pipe ends.

    A signal that arrives just before a read is seen after it, so no read waits for long.
    """
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while b"\n" not in come:
        if poll.poll(_LOOK_MS):
            piece = os.read(pipe, 4096)
            if not piece:
                break
            come += piece
    line, end, rest = come.partition(b"\n")
    come[:] = rest
    return bytes(line + end)
