"""Something tried in a child process: whatever it does there, we hear how it ended."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from time import monotonic
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError, GatebridgeError

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1 << 20  # bytes that it may say
_MOST_TEXT = 100_000  # characters of one text, each of which may need six bytes
_CHUNK = 65_536


def run_apart(work: Callable[[], None], timeout_s: float) -> None:
    """Run ``work`` in a child that ends with it. This process must have one thread.

    Its standard output goes to standard error, since ours is for the outcome.

    raises  what it raised, as ConfigError; ConfigError("trial.timeout"), ConfigError("trial.died")
    """
    sys.stdout.flush()
    sys.stderr.flush()
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _child(work, theirs)
    os.close(theirs)
    try:
        line = _read_line(ours, monotonic() + timeout_s)
    except TimeoutError:
        raise ConfigError("trial.timeout", f"not done after {timeout_s:g} s") from None
    finally:
        os.close(ours)
        status = _end(pid)
    if not line:
        raise ConfigError("trial.died", _death(status))
    code, detail = json.loads(line)
    if code:
        raise ConfigError(str(code), str(detail))


def _child(work: Callable[[], None], fd: int) -> None:
    """Never returns: whoever called us must not go on twice."""
    outcome = ("", "")
    try:
        os.dup2(2, 1)
        work()
    except GatebridgeError as error:
        outcome = (error.code, error.detail)
    except BaseException as error:  # an application may raise anything, SystemExit too
        text = "".join(traceback.format_exception(error)).rstrip()
        outcome = ("trial.failed", f"{error!r}\n{text}")
    finally:
        line = json.dumps([text[:_MOST_TEXT] for text in outcome]) + "\n"
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(fd, line.encode("ascii"))
        finally:
            os._exit(0)


def _read_line(fd: int, deadline: float) -> bytes:
    """What it says; b"" if it ends without. Its own children may hold the pipe open."""
    data = b""
    while b"\n" not in data and len(data) < _MOST:
        left = deadline - monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(fd, _CHUNK)
        if not piece:
            return b""
        data += piece
    return data.partition(b"\n")[0]


def _end(pid: int) -> int:
    """Kill it if it is still there: threads of an application may keep it. Its wait status."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if found == 0:
        os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    return status


def _death(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"ended by signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"
