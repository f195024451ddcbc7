"""The worker's side of a host: its process, its channel, and a script that runs in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, TypedDict

import gatebridge
from gatebridge.apps.host import packet
from gatebridge.apps.host.source import Key, first_line, key_of, refusal
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatebridge.apps.host.packet import Said
    from gatebridge.apps.options import ScriptOptions
    from gatebridge.apps.running import Call

START_S = 30.0  # a host imports what it was told, and a script begins, in that time
_END_S = 5.0  # a host that is not needed any more ends
_KNOWN_MOST = 4096  # scripts
_FIRST_LINE = 256

# The import path of the script is taken before ours is put in front, and without the "" of -c.
_COMMAND = (
    "import sys; path = [p for p in sys.path if p]; sys.path.insert(0, sys.argv[1]); "
    "from gatebridge.apps.host.boot import main; main(path)"
)
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(gatebridge.__file__)))


class Words(TypedDict):
    """What a host is told as it starts.

    preload  modules to import
    folder   of the first script, where they may lie
    learns   it says what scripts import besides
    idle_s   it ends after so long without a request
    """

    preload: list[str]
    folder: str
    learns: bool
    idle_s: float


class Host:
    """A process that runs scripts.

    asked      modules that it was to import
    ready      it has imported what it should, and takes requests
    importing  the module it was last busy with
    refused    (module, reason): it has ended because of that import; None otherwise
    failed     (module, reason) of imports that failed
    learned    modules that its scripts import and it has not
    """

    def __init__(self, kind: str, words: Words, options: ScriptOptions) -> None:
        """raises OSError"""
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in options.env if name in os.environ}
        environment.setdefault("PATH", options.path)
        try:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _COMMAND,
                    _ROOT,
                    kind,
                    str(theirs.fileno()),
                    json.dumps(words),
                ],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.settimeout(START_S)  # for sending
        self._channel = ours
        self._lines = packet.Lines(ours)
        self._sending = threading.Lock()
        self._closed = False
        self._begun = monotonic()
        self.asked = words["preload"]
        self.ready = False
        self.importing = ""
        self.refused: tuple[str, str] | None = None
        self.failed: list[tuple[str, str]] = []
        self.learned: list[str] = []

    def listen(self, timeout_s: float) -> bool:
        """Read what it says, waiting until it is ready. Whether it lives.

        raises  AppError("script.host")
        """
        while True:
            said = self._lines.next(0.0 if self.ready else timeout_s)
            if said is None:
                late = not self.ready and monotonic() - self._begun > START_S
                return not (self._lines.ended or late)
            if "ready" in said:
                self.ready = True
                self.failed = [(str(name), str(why)) for name, why in said["failed"]]
            self.importing = str(said.get("begin", self.importing))
            if "refused" in said:
                self.refused = (str(said["refused"]), str(said.get("reason", "")))
            self.learned += [str(name) for name in said.get("learned", ())]

    def ask(self, call: Call, pipes: Pipes, is_stale_right: bool) -> Answer:
        """Have it run a script.

        raises  OSError: it is gone, and the script has not begun
        """
        report, theirs = socket.socketpair()
        request: Said = {
            "path": call.path,
            "arguments": list(call.arguments),
            "environment": call.environment,
            "folder": call.folder,
            "limits": dict(call.limits),
            "stale": is_stale_right,
        }
        fds = {"report": theirs.fileno(), **pipes.theirs}
        if call.fd >= 0:
            fds["script"] = call.fd
        try:
            with self._sending:
                if self._closed:
                    raise BrokenPipeError("the host is not needed any more")
                packet.send_request(self._channel, request, fds)
        except BaseException:
            report.close()
            raise
        finally:
            theirs.close()
        return Answer(report)

    def close(self) -> None:
        """Take no more requests. What runs in a zygote runs on; it ends when nothing does."""
        with self._sending:
            self._closed = True
            self._channel.close()

    def is_over(self) -> bool:
        """Whether the process has ended; it has been reaped then."""
        return self.process.poll() is not None

    def end(self) -> None:
        """Close it, and kill it when it does not end by itself."""
        self.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def abandon(self) -> None:
        """This is a fork of the process whose child it is."""
        self._channel.close()
        self.process.returncode = 0  # not ours to wait for

    def kill(self) -> None:
        """At once, with what scripts have started in its group."""
        self.close()
        if self.process.returncode is None:  # not reaped: its group has no other's number
            kill_group(self.process.pid, signal.SIGKILL)
        self.process.wait()


def kill_group(pid: int, number: int) -> None:
    """No error when it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


class Answer:
    """What a host says of one script.

    sock  readable once the script has ended
    """

    __slots__ = ("_lines", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._lines = packet.Lines(sock)

    @property
    def ended(self) -> bool:
        return self._lines.ended

    def next(self, timeout_s: float) -> Said | None:
        """Its next word; {} for what is none; None: not yet, or never."""
        try:
            return self._lines.next(timeout_s)
        except AppError:
            return {}


class Pipes:
    """The standard streams of a script.

    ours    descriptors of this end, non-blocking: "stdin" is written, the others are read
    theirs  the other ends
    """

    __slots__ = ("ours", "theirs")

    def __init__(self, has_body: bool) -> None:
        """raises OSError, with nothing left open"""
        self.ours: dict[str, int] = {}
        self.theirs: dict[str, int] = {}
        try:
            for name in ("stdin", "stdout", "stderr") if has_body else ("stdout", "stderr"):
                read, write = os.pipe()
                ours, theirs = (write, read) if name == "stdin" else (read, write)
                self.ours[name] = ours
                self.theirs[name] = theirs
                os.set_blocking(ours, False)
        except BaseException:
            self.close()
            raise

    def close_theirs(self) -> None:
        while self.theirs:
            os.close(self.theirs.popitem()[1])

    def close(self) -> None:
        self.close_theirs()
        while self.ours:
            os.close(self.ours.popitem()[1])


class Hosted:
    """A script that runs in a host: what is common to both kinds (see running.Running)."""

    def __init__(self, pid: int, pipes: Pipes, answer: Answer, done: Callable[[], None]) -> None:
        """done: called once, at close()"""
        self.stdin = pipes.ours.get("stdin", -1)
        self.stdout = pipes.ours["stdout"]
        self.stderr = pipes.ours["stderr"]
        self.ended = answer.sock.fileno()
        self.pid = pid
        self._pipes = pipes
        self._answer = answer
        self._status: int | None = None
        self._done = done
        self._is_closed = False
        self._lock = threading.RLock()  # the calls come from several threads

    def close_stdin(self) -> None:
        self.stdin = -1
        stdin = self._pipes.ours.pop("stdin", -1)
        if stdin >= 0:
            os.close(stdin)

    def status(self) -> int | None:
        with self._lock:
            if self._status is None and not self._is_closed:
                said = self._answer.next(0.0)
                if said is not None or self._answer.ended:
                    self._status = self._judge(said or {})
            return self._status

    def kill(self, number: int) -> None:
        with self._lock:
            if not self._is_closed:
                self._send(number)

    def _send(self, number: int) -> None:
        """A signal, to the script and what it has started."""
        raise NotImplementedError

    def _judge(self, said: Said) -> int | None:
        """The exit status from its host's last word; {}: it has ended without one."""
        raise NotImplementedError

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._answer.sock.close()
        self._pipes.close()
        self._done()


class Scripts:
    """What is known of scripts' files: whether their interpreter may be ours."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, tuple[Key, str]] = {}

    def check(self, call: Call) -> Key:
        """What tells a file from a later one.

        raises  AppError("script.not_found"), AppError("script.interpreter")
        """
        try:
            key = key_of(os.stat(call.path if call.fd < 0 else call.fd))
            known = self._known.get(call.path)
            if known is None or known[0] != key:
                known = (key, refusal(first_line(_beginning(call))))
                if len(self._known) >= _KNOWN_MOST:
                    self._known.clear()
                self._known[call.path] = known
        except OSError as error:
            raise AppError("script.not_found", f"{call.path}: {error.strerror}") from error
        if known[1]:
            raise AppError("script.interpreter", f"{call.path}: {known[1]}{call.path}")
        return key


def _beginning(call: Call) -> bytes:
    if call.fd >= 0:
        return os.pread(call.fd, _FIRST_LINE, 0)
    with open(call.path, "rb") as file:
        return file.read(_FIRST_LINE)


class Slots:
    """How many scripts of a launcher run at once."""

    __slots__ = ("_most", "_slots", "_wait_s")

    def __init__(self, options: ScriptOptions) -> None:
        self._most = options.children
        self._wait_s = options.timeout or None
        self._slots = threading.BoundedSemaphore(options.children)

    def take(self, path: str) -> None:
        """Wait for one. raises AppError("script.busy")"""
        if not self._slots.acquire(timeout=self._wait_s):
            raise AppError(
                "script.busy", f"{path}: all {self._most} children are busy; see children="
            )

    def give(self) -> None:
        self._slots.release()


def say_on_stderr(text: str) -> None:
    """A worker's standard error is its log."""
    print(text, file=sys.stderr, flush=True)


def names_of(failed: Sequence[tuple[str, str]]) -> set[str]:
    return {name for name, _ in failed}
