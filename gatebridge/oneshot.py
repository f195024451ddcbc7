"""CGI: one request from the environment and standard input, answered on standard output.

Every module imported here costs each request; see the cold set in tests/test_imports.py.
"""

import sys
from io import BytesIO

from gatebridge.engine.wsgi import FileWrapper, run
from gatebridge.environ.build import Builder, set_length
from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head, cgi_block
from gatebridge.wire.request import RESPONDER, Pairs, Request
from gatebridge.wire.scan import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gatebridge.engine.body import Body
    from gatebridge.engine.seams import Application

# With -S nobody has imported `os` yet, and it costs a tenth of Python's start; an application
# that needs it will import it.
# The C half of `signal` is loaded in any case.
if TYPE_CHECKING or "posix" not in sys.builtin_module_names:
    import os
    from signal import SIG_IGN, SIGTERM, signal
else:
    import posix as os
    from _signal import SIG_IGN, SIGTERM, signal

_FILE_CHUNK = 1 << 18  # bytes
_SPOOL_MEMORY = 1 << 20  # bytes
_SPOOL_FLOOR = 16 << 20  # bytes
_COROUTINE = 0x80  # inspect.CO_COROUTINE
LIMIT_BODY = 1 << 30  # bytes
_LIMIT_DRAIN = 16 << 20  # bytes of a refused body that are taken, so that the refusal arrives
_TYPED = ("content-type", "location")


class Answer:
    """The Out of the engine: a CGI response (RFC 3875 section 6).

    fd        where it is written
    is_typed  refuse a body without a Content-Type

    A server may send TERM when it wants no more. lighttpd does so as soon as it has read
    Content-Length bytes, while the application still has to clean up; so TERM is ignored from
    the last of them on, and before that ends the application in a way that calls its close().
    """

    __slots__ = ("_fd", "_is_nph", "_is_typed", "_left", "cut_off", "gone", "line")

    def __init__(self, is_nph: bool, line: str, fd: int = 1, is_typed: bool = True) -> None:
        self._fd = fd
        self._is_typed = is_typed
        self._is_nph = is_nph
        self._left = -1  # bytes of the promised Content-Length to come, -1 unknown
        self.gone = False
        self.cut_off = False
        self.line = line
        _on_term(self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self.gone = True
        raise SystemExit(128 + number)

    def _head(self, head: Head, has_body: bool) -> bytes:
        if has_body and self._is_typed:
            _check_type(head)
        self._left = head.length
        if not self._is_nph:
            return cgi_block(head)
        status = f"HTTP/1.1 {head.status}\r\nConnection: close\r\n".encode("latin-1")
        return status + head.block + b"\r\n"

    def _write(self, head: bytes, body: bytes) -> None:
        if self._left >= 0:
            self._left -= len(body)
            if self._left <= 0:
                _on_term(SIG_IGN)
        view = memoryview(head + body if head else body)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.gone = True
            raise ConnectionResetError(f"the server has left: {error}") from None

    def answer(self, head: Head, body: bytes) -> None:
        block = self._head(head, len(body) > 0)
        _on_term(SIG_IGN)
        self._write(block, body)

    def start(self, head: Head, data: bytes) -> None:
        self._write(self._head(head, True), data)

    def write(self, data: bytes) -> None:
        self._write(b"", data)

    def file(self, head: Head, fd: int, offset: int, count: int) -> int:
        self._write(self._head(head, count > 0), b"")
        os.lseek(fd, offset, 0)
        left = count
        while left:
            data = os.read(fd, min(left, _FILE_CHUNK))
            if not data:
                break
            left -= len(data)
            self._write(b"", data)
        return count - left

    def end(self) -> None:
        pass  # CGI: the exit is the end

    def cut(self, error: BaseException) -> None:
        self.cut_off = True  # and a short body is all that a client can see

    def failed(self, incident: str, error: BaseException) -> None:
        import traceback

        from gatebridge.next_steps import failure_line

        _say(f"gatebridge: {failure_line(incident, self.line, error)}\n")
        text = "".join(traceback.format_exception(error))
        _say("".join(f"gatebridge: [{incident}] {line}\n" for line in text.splitlines()))

    def refused(self, incident: str, error: PeerError) -> None:
        from gatebridge.next_steps import refusal_line

        _say(f"gatebridge: {refusal_line(incident, self.line, error)}\n")

    def note(self, error: AppError) -> None:
        from gatebridge.next_steps import note_line

        _say(f"gatebridge: {note_line(self.line, error)}\n")


def _check_type(head: Head) -> None:
    if not any(name.lower() in _TYPED for name, _ in head.headers):
        raise AppError("header.content_type", "RFC 3875 6.3.1: a body needs a Content-Type")


def _on_term(handler: "Callable[[int, object], None] | int") -> None:
    try:
        signal(SIGTERM, handler)
    except ValueError:  # not in the main thread, as CherryPy runs flup's: TERM just ends it
        pass


class Stdin:
    """The Source of the engine: descriptor 0."""

    __slots__ = ()

    def pull(self, want: int) -> bytes:
        return os.read(0, want)

    def gather(self, want: int) -> bytes:
        from gatebridge.engine.body import gather_by_pulling

        return gather_by_pulling(self, want)


class Stderr:
    """wsgi.errors: any text, whatever encoding the locale would have."""

    __slots__ = ()

    def write(self, text: str) -> int:
        _say(text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        _say("".join(lines))

    def flush(self) -> None:
        pass


def _say(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:  # a server that closed our error stream does not want to know
        pass


def variables() -> dict[str, object]:
    """The process's environment as latin-1 text, as PEP 3333 wants the bytes of a request."""
    found: dict[str, object] = {}
    for name, value in os.environ.items():
        found[_latin1(name)] = _latin1(value)
    return found


def _latin1(text: str | bytes) -> str:
    """posix.environ holds bytes, os.environ what the locale made of them."""
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape")
    return text.decode("latin-1")


def _forget_proxy() -> None:
    """A Proxy header must not become the proxy of what the application starts (CVE-2016-5385)."""
    kept = "HTTP_PROXY" if "HTTP_PROXY" in os.environ else b"HTTP_PROXY"
    if os.environ.pop(kept, None) is None:  # type: ignore[arg-type]  # posix has bytes
        return
    os.unsetenv("HTTP_PROXY")
    if "os" in sys.modules:  # imported by the application's module, with a copy of its own
        sys.modules["os"].environ.pop("HTTP_PROXY", None)


def _no_pairs(block: bytes) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in variables().items()]


def _is_wsgi(app: "Any") -> bool:
    """Called with two arguments and no coroutine function, as nearly all are that come here.

    Nothing is imported to know it. False: apps.interface looks closer.
    """
    if getattr(app, "is_async_engine", False):
        return False
    call = app if hasattr(app, "__code__") else getattr(type(app), "__call__", None)  # noqa: B004
    code = getattr(call, "__code__", None)
    if code is None or code.co_flags & _COROUTINE:
        return False
    bound = call is not app or hasattr(app, "__self__")
    return bool(code.co_argcount == 2 + bound)


def _request(found: dict[str, object]) -> Request:
    """The one of this process; its body, if it has one, is standard input."""
    # RFC 3875 section 4.2: without CONTENT_LENGTH standard input is not read, it might be a
    # terminal. A chunked upload under Apache's mod_cgid is the exception: it goes to the end,
    # and a length of 0 beside that coding is a lie.
    length = found.get("CONTENT_LENGTH", "")
    coding = str(found.get("HTTP_TRANSFER_ENCODING", "")).lower()  # Apache passes any case on
    empty = length in ("", "0")
    unknown = empty and "chunked" in coding
    body = (b"", empty and not unknown, unknown)
    return Request(1, found, False, Pairs(b"", _no_pairs), RESPONDER, *body)


def answer(
    app: "Application | Any", mount: str | None = None, fd: int = 1, is_typed: bool = True
) -> int:
    """Answer the one request of this process. fd, is_typed: of Answer. Returns the exit status."""
    found = variables()
    _forget_proxy()
    line = f"{found.get('REQUEST_METHOD')} {found.get('REQUEST_URI', '')}"
    script = str(found.get("SCRIPT_NAME", "")).rpartition("/")[2]
    out = Answer(script.startswith("nph-"), line, fd, is_typed)
    request = _request(found)
    try:
        environ, length = Builder(mount, run_once=True).build(request)
        if length > LIMIT_BODY:
            raise PeerError("body.too_big", f"{length} > {LIMIT_BODY} bytes")
        environ["wsgi.errors"] = Stderr()
        environ["gatebridge.protocol"] = "cgi"
        environ["gatebridge.bind"] = "standard input and output"
        if not _is_wsgi(app):
            from gatebridge.oneshot_async import answer_async, async_engine

            engine = async_engine(app)
            if engine is not None:
                return answer_async(engine, request, environ, length, out)
        body = None if request.complete else _input(environ, length)
    except PeerError as error:
        return _refuse(out, error, found)
    environ["wsgi.input"] = body or BytesIO()
    environ["wsgi.file_wrapper"] = FileWrapper
    run(app, environ, out)
    if body is not None:
        drain(body, out)
    return 1 if out.cut_off else 0


def drain(body: "Body", out: Answer) -> None:
    """Take what the application left of the request.

    A server may still be sending: fcgiwrap answers 502 where nobody reads, and under mod_cgid
    standard input and output are one socket: leaving with unread bytes in it resets it,
    and with it what the server has not read of the answer (the one way to show a cut).
    """
    if not out.gone and not out.cut_off:
        body.drain()


def _refuse(out: Answer, error: PeerError, found: dict[str, object]) -> int:
    from gatebridge.engine.pages import new_incident, refusal_page

    incident = new_incident()
    out.refused(incident, error)
    out.answer(*refusal_page(error, incident, found["REQUEST_METHOD"] == "HEAD"))
    _drain_refused(str(found.get("CONTENT_LENGTH", "")))
    return 0


def _drain_refused(length: str) -> None:
    """Take a refused body, so that the refusal arrives; nothing where its length is unclear."""
    from gatebridge.engine.body import Body

    try:
        Body(Stdin(), b"", decimal(length, _LIMIT_DRAIN)).drain()
    except PeerError:
        pass  # absent, no number, or too much to take


def _input(environ: dict[str, object], length: int) -> "Body":
    from gatebridge.engine.body import Body  # most requests have none

    if length >= 0:
        return Body(Stdin(), b"", length)
    from gatebridge.engine.spill import Spill, spool

    spill = Spill(_SPOOL_MEMORY, None, _SPOOL_FLOOR)
    spooled = spool(Stdin(), b"", spill, LIMIT_BODY)
    set_length(environ, spooled.length)
    return Body(spooled, b"", spooled.length)


def main(app: "Application | Any", mount: str | None = None) -> None:
    """What a shim calls. Arguments are never looked at: a query may stand there (CVE-2012-1823)."""
    if "REQUEST_METHOD" not in variables():
        _say(
            "This file answers CGI requests and is started by a web server.\n"
            "Put it into its cgi-bin, make it executable, and open its URL in a browser.\n"
        )
        sys.exit(2)
    status = answer(app, mount, _own_output())
    sys.exit(status)


def _own_output() -> int:
    """A descriptor for the answer alone; what is printed goes to standard error from here on.

    In front of the answer it would be a head that no server reads, behind it a wrong length.
    """
    try:
        fd = os.dup(1)
    except OSError:  # it is closed
        return 1
    if fd < 3:  # standard input or error is closed: nothing of ours may take its place
        os.close(fd)
        return 1
    os.dup2(2, 1)
    return fd
