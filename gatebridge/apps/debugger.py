"""What a developer sees of an exception: Werkzeug's debugger where it is, else a plain page."""

from __future__ import annotations

import sys
import traceback
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatebridge.engine.seams import Application

_FORWARDED: Final = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_VIA")
_HINT = "pip install werkzeug gives a debugger with a console in every frame."


def with_debugger(app: Application, evalex: bool = True, hostname: str = "") -> Application:
    """The application with its exceptions shown.

    evalex    Werkzeug's debugger may run code, for whoever knows its PIN
    hostname  a name that a browser may call us by, beside localhost and 127.0.0.1
    """
    try:
        from werkzeug import debug  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return TracePage(app, hostname)
    debugged = debug.DebuggedApplication(cast("Any", app), evalex=evalex)
    if hostname:
        debugged.trusted_hosts.append(hostname)
    return cast("Application", debugged)


class TracePage:
    """The traceback as text, for a browser on this machine; others get the plain 500.

    Nothing can be run from it. Who comes through a proxy, or by another name than this machine's
    (DNS rebinding), is not on this machine.
    """

    __slots__ = ("_app", "_hosts")

    def __init__(self, app: Application, hostname: str = "") -> None:
        self._app = app
        self._hosts = {"localhost", "127.0.0.1", "::1", hostname.lower() or "localhost"}

    def __call__(self, environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        if not self._is_local(environ):
            return self._app(environ, start_response)
        return self._traced(environ, start_response)

    def _is_local(self, environ: dict[str, object]) -> bool:
        if any(environ.get(name) for name in _FORWARDED):
            return False
        host = str(environ.get("HTTP_HOST", "")).lower()
        name = host.partition("]")[0].strip("[") if host.startswith("[") else host.split(":")[0]
        if name not in self._hosts and not name.endswith(".localhost"):
            return False
        try:
            return ip_address(str(environ.get("REMOTE_ADDR", ""))).is_loopback
        except ValueError:
            return False

    def _traced(self, environ: dict[str, object], start_response: Any) -> Iterator[bytes]:
        result: Iterable[bytes] = ()
        try:
            try:
                result = self._app(environ, start_response)
                yield from result
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            errors: Any = environ["wsgi.errors"]
            errors.write(text)
            page = f"{type(error).__name__}\n\n{text}\n{_HINT}\n".encode(
                "utf-8", "backslashreplace"
            )
            headers = [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Content-Length", str(len(page))),
                ("X-Content-Type-Options", "nosniff"),
                ("Cache-Control", "no-store"),
            ]
            # raises the error again where the head is out: the client sees the cut
            start_response("500 Internal Server Error", headers, sys.exc_info())
            yield page
