"""A script's local redirect (RFC 3875 section 6.2.2): the table is asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatebridge.apps.refusal import refuse
from gatebridge.environ.paths import normal, under
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatebridge.engine.seams import Application

MOST = 10  # as Apache's LimitInternalRecursion
_OF_A_LOOP = "gatebridge.asgi"  # an application that is called as engine.asgi says leaves this
_SAFE = "/:@!$&'()*+,;=~"  # RFC 3986 section 3.3: pchar, and the slash


class Redispatch:
    """environ["gatebridge.redispatch"]: call it as a WSGI application with the new request.

    The new environ's SCRIPT_NAME and PATH_INFO, joined, are the whole decoded path of the
    redirect, wherever they are parted. A path outside of the front's mount is the client's to ask
    for, so it gets a 302; so is one of an ASGI application, whose requests begin in an event loop.

    script_name, path_info  as they came from the front
    count                   local redirects that this request has behind it
    """

    __slots__ = ("_table", "count", "path_info", "script_name")

    def __init__(self, table: Application, script_name: str, path_info: str, count: int) -> None:
        self._table = table
        self.script_name = script_name
        self.path_info = path_info
        self.count = count

    def covers(self, path: str) -> bool:
        """Does a decoded path lie under the front's mount?"""
        return path.startswith("/") and under(_plain(path), self.script_name.rstrip("/"))

    def __call__(self, environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        """raises  AppError("route.redirects")"""
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        if not self.covers(path):
            return self._to_client(path, environ, start_response)
        if self.count >= MOST:
            raise AppError(
                "route.redirects",
                f"{MOST} local redirects after one another, the last to {path!r}: do they go in "
                "a circle?",
            )
        environ["gatebridge.redirects"] = self.count + 1
        environ["SCRIPT_NAME"] = self.script_name
        environ["PATH_INFO"] = _plain(path)[len(self.script_name.rstrip("/")) :]
        result = self._table(environ, start_response)
        if environ.pop(_OF_A_LOOP, None) is None:
            return result
        if hasattr(result, "close"):
            result.close()
        return self._to_client(path, environ, start_response)

    def _to_client(
        self, path: str, environ: dict[str, object], start_response: Any
    ) -> Iterable[bytes]:
        query = str(environ.get("QUERY_STRING", ""))
        place = quote(path, safe=_SAFE, encoding="latin-1") + (f"?{query}" if query else "")
        if place.startswith("//"):  # which would be another host
            place = f"/.{place}"
        line = "The document is at another path."
        return refuse(environ, start_response, "302 Found", line, [("Location", place)])


def _plain(path: str) -> str:
    """Without dot segments, so that nothing leads out of the mount unseen."""
    return normal(path) if "/." in path else path
