"""CGI programs as a WSGI application (RFC 3875, PEP 3333), however they are run."""

from __future__ import annotations

import atexit
import os
import threading
from io import BytesIO
from signal import SIGKILL, SIGTERM
from time import monotonic
from typing import TYPE_CHECKING, Any

from gatebridge.apps.endings import Endings
from gatebridge.apps.running import Call
from gatebridge.apps.script_body import body_length, feed_of
from gatebridge.apps.script_environ import arguments, variables
from gatebridge.apps.script_failure import failure
from gatebridge.apps.script_head import ScriptHead, read_head, redirected
from gatebridge.apps.script_output import MOST_UNWANTED, Output, note_status
from gatebridge.apps.script_talk import ErrorStream, Talk
from gatebridge.apps.start_errors import start_error
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatebridge.apps.options import ScriptOptions
    from gatebridge.apps.running import Launcher, Running

_CLOSE_S = 1.0  # at most, after TERM and after KILL when the application is closed
_LOOK_S = 0.01


class Script:
    """One program; each request starts it once.

    path             absolute, links resolved
    local_redirects  it calls environ["gatebridge.redispatch"] where there is one
    """

    local_redirects = True

    def __init__(self, path: str, launcher: Launcher, options: ScriptOptions) -> None:
        self.path = path
        self._folder = os.path.dirname(path)
        self._launcher = launcher
        self._options = options
        self._is_nph = os.path.basename(path).startswith("nph-")
        self._lock = threading.Lock()
        self._running: set[Running] = set()
        self._endings = Endings()
        self._closed = False
        self._pid = 0  # of the process that will call close() at its end

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """raises  PeerError("params.malformed"), PeerError("length.…"), whatever the body raises,
        ConnectionError; AppError("permission.…") of a launcher. Every other failure is answered.
        """
        errors = ErrorStream(environ["wsgi.errors"])
        try:
            talk = self._start(environ, errors)
        except AppError as error:
            if error.code.startswith("permission."):
                raise
            return failure(error, self.path, environ, start_response, errors)
        try:
            head, rest = self._read_head(talk)
            if not head.redirect:
                start_response(head.status, head.headers)
                is_bodiless = head.is_bodiless or environ.get("REQUEST_METHOD") == "HEAD"
                return Output(talk, rest, head.length, is_bodiless, self)
            talk.drain(MOST_UNWANTED, talk.linger)
            note_status(talk, self.path)
        except AppError as error:
            self.end(talk)
            return failure(error, self.path, environ, start_response, errors)
        except BaseException:
            self.end(talk)
            raise
        self.end(talk)
        return _redirect(environ, start_response, head.redirect)

    def _start(self, environ: dict[str, Any], errors: ErrorStream) -> Talk:
        options = self._options
        length = body_length(environ)
        call = Call(
            self.path,
            arguments(environ) if options.arguments else (),
            variables(environ, self.path, options),
            self._folder,
            length != 0,
            dict(options.limits),
        )
        if self._closed:
            raise AppError("script.closed", "gatebridge is about to end")
        if self._pid != os.getpid():
            self._pid = os.getpid()
            atexit.register(self.close)
        running = self._launcher.start(call)
        try:
            with self._lock:
                self._running.add(running)
            feed = feed_of(environ, length, running)
            gone = environ.get("gatebridge.gone") or _is_never
            return Talk(running, feed, errors, gone, options)
        except BaseException as error:
            self._leave(running)
            if isinstance(error, OSError):  # of dup(), before anything is read
                raise start_error(error, self.path, self._folder) from None
            raise

    def _read_head(self, talk: Talk) -> tuple[ScriptHead, bytes]:
        """raises  AppError("script.no_output"), AppError("head.…"), Talk.read()'s"""
        data = b""
        while True:
            piece = talk.read()
            if not piece:
                raise _no_head(talk, data)
            data += piece
            found = read_head(data, self._options.head, self._is_nph)
            if found is not None:
                return found

    def end(self, talk: Talk) -> None:
        """The answer is over, one way or another. Never waits for the program."""
        try:
            self._leave(talk.running)
        finally:
            talk.stop()

    def _leave(self, running: Running) -> None:
        """TERM to it and its group, KILL after the grace; a thread sees to it."""
        try:
            running.kill(SIGTERM)
        finally:
            self._endings.add(_Leaving(running, self._options.grace))
            with self._lock:
                self._running.discard(running)

    def close(self) -> None:
        """The worker's end, if need be at its exit: nothing that was started here stays."""
        if self._pid not in (0, os.getpid()):  # a child of the application's, at its exit
            return
        self._closed = True
        atexit.unregister(self.close)
        with self._lock:
            left = list(self._running)
        pause = threading.Event()
        for number in (SIGTERM, SIGKILL):
            for running in left:
                running.kill(number)
            until = monotonic() + (
                min(self._options.grace, _CLOSE_S) if number == SIGTERM else _CLOSE_S
            )
            while monotonic() < until and any(running.status() is None for running in left):
                pause.wait(_LOOK_S)
        self._endings.close()
        self._launcher.close()


class _Leaving:
    """The step of a program that was sent TERM; see Endings."""

    __slots__ = ("_running", "_until")

    def __init__(self, running: Running, grace: float) -> None:
        self._running = running
        self._until = monotonic() + grace

    def __call__(self, hurry: bool) -> bool:
        if self._running.status() is None:
            if hurry or monotonic() > self._until:
                self._running.kill(SIGKILL)
            return False
        self._running.close()
        return True


def _is_never() -> bool:
    return False


def _no_head(talk: Talk, data: bytes) -> AppError:
    how = f"exit status {talk.status}" if talk.status is not None else "it still runs"
    if talk.status is not None and talk.status < 0:
        how = f"ended by signal {-talk.status}"
    if not data:
        return AppError("script.no_output", f"it wrote no answer at all ({how})")
    why = f"its output ended within the head, no empty line after {data[-80:]!r} ({how})"
    return AppError("head.malformed", why)


def _redirect(environ: dict[str, Any], start_response: Any, place: str) -> Iterable[bytes]:
    """Section 6.2.2: the answer is what a GET of the other path would give."""
    redispatch = environ.get("gatebridge.redispatch")
    if redispatch is None:
        start_response("302 Found", [("Location", place), ("Content-Length", "0")])
        return [b""]
    fresh = redirected(environ, place)
    fresh["wsgi.input"] = BytesIO()
    answer: Iterable[bytes] = redispatch(fresh, start_response)
    return answer
