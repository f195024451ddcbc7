"""The application as a flup server calls it: its environ, its flags, its error pages."""

from __future__ import annotations

import io
import sys
import traceback
from html import escape
from typing import TYPE_CHECKING, Any

from gatebridge.engine.wsgi import FileWrapper
from gatebridge.serve.overdue import RequestTimeout
from gatebridge.wire.parse_head import parse_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatebridge.engine.seams import Application

_PASSED_ON = (GeneratorExit, RequestTimeout)  # no failures of the application
_PAGE_MOST = 1 << 20  # bytes of the head that an error() may write


class ErrorOutput(io.BytesIO):
    """stdout of a request that failed: a CGI response is written to it. Text is latin-1."""

    def write(self, data: Any) -> int:
        return super().write(data.encode("latin-1") if isinstance(data, str) else data)


class FailedRequest:
    """What error() is given: the request whose application failed before its head was out.

    params   its environ, also as environ; stdin and stderr are the application's
    stdout   takes the answer: header lines, an empty line, a body
    """

    def __init__(self, server: object, environ: dict[str, object]) -> None:
        self.server = server
        self.params = self.environ = environ
        self.stdin = environ["wsgi.input"]
        self.stderr = environ["wsgi.errors"]
        self.stdout = ErrorOutput()


class Guard:
    """server.application with what the server's constructor was told.

    added     put into every environ
    flags     (wsgi.multithread, wsgi.multiprocess)
    error     writes the answer of a failed request; None for the engine's own page
    relocate  puts SCRIPT_NAME and PATH_INFO right afterwards
    """

    def __init__(
        self,
        app: Application,
        added: Mapping[str, object],
        flags: tuple[bool, bool],
        error: Callable[[dict[str, object]], bytes] | None,
        relocate: Callable[[dict[str, object]], None] | None = None,
    ) -> None:
        self._app = app
        self._added = {name: added[name] for name in added if not name.startswith("wsgi.")}
        self._flags = flags
        self._error = error
        self._relocate = relocate

    def __call__(self, environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        environ["wsgi.multithread"], environ["wsgi.multiprocess"] = self._flags
        if self._added:
            self._add(environ)
        if self._relocate is not None:
            self._relocate(environ)
        if self._error is None:
            return self._app(environ, start_response)
        return self._guarded(environ, start_response, self._error)

    def _add(self, environ: dict[str, object]) -> None:
        """As if the server had sent these, too: SCRIPT_NAME moves the border, HTTPS the scheme."""
        added = self._added
        path, info = str(environ["SCRIPT_NAME"]), str(environ["PATH_INFO"])
        environ.update(added)
        script = added.get("SCRIPT_NAME")
        if isinstance(script, str) and not info and "PATH_INFO" not in added:
            below = path[len(script) :] if path.startswith(script) else ""
            environ["PATH_INFO"] = below
        if "HTTPS" in added:
            secure = str(added["HTTPS"]).lower() in ("on", "1")
            environ["wsgi.url_scheme"] = "https" if secure else "http"

    def _guarded(
        self,
        environ: dict[str, object],
        start_response: Any,
        error: Callable[[dict[str, object]], bytes],
    ) -> Iterable[bytes]:
        call = _Call(environ, start_response, error)
        try:
            result = self._app(environ, call.start_response)
        except _PASSED_ON:
            raise
        except BaseException:
            if call.sent:
                raise
            return [call.page()]
        if isinstance(result, list | tuple | FileWrapper):  # nothing of the application's runs then
            return result
        return _Pieces(call, result)


class _Call:
    """One call, and whether anything of its answer is out."""

    def __init__(
        self,
        environ: dict[str, object],
        start_response: Any,
        error: Callable[[dict[str, object]], bytes],
    ) -> None:
        self._environ = environ
        self._start_response = start_response
        self._error = error
        self.sent = False

    def start_response(self, status: Any, headers: Any, exc_info: Any = None) -> Any:
        write = self._start_response(status, headers, exc_info)

        def noted(data: bytes) -> None:
            self.sent = self.sent or bool(data)
            write(data)

        return noted

    def page(self) -> bytes:
        """Called while the failure is handled: error()'s answer in the application's place."""
        info = sys.exc_info()
        errors: Any = self._environ["wsgi.errors"]
        errors.write(traceback.format_exc())
        data = self._error(self._environ)
        parsed = parse_head(data, _PAGE_MOST)
        if parsed is None:
            raise RuntimeError("error() wrote no empty line behind its headers") from info[1]
        head, end = parsed
        self._start_response(head.status, head.headers, info)
        return data[end:]


class _Pieces:
    """An application's iterable; what it raises before its first byte becomes error()'s page."""

    def __init__(self, call: _Call, result: Iterable[bytes]) -> None:
        self._call = call
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        call = self._call
        try:
            for piece in self._result:
                call.sent = call.sent or bool(piece)
                yield piece
        except _PASSED_ON:
            raise
        except BaseException:
            if call.sent:
                raise
            yield call.page()

    def close(self) -> None:
        close = getattr(self._result, "close", None)
        if close is not None:
            close()


def trace_page(is_debug: bool) -> bytes:
    """The base error(): a CGI response. is_debug: with the traceback of the exception at hand."""
    said = f"<pre>{escape(traceback.format_exc())}</pre>" if is_debug else ""
    text = (
        "<!doctype html><title>Internal Server Error</title><h1>Internal Server Error</h1>"
        f"<p>The application failed. The server's log tells more.</p>{said}\n"
    )
    body = text.encode("utf-8", "backslashreplace")
    head = "Status: 500 Internal Server Error\r\nContent-Type: text/html; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
