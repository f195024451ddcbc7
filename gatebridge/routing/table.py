"""Several applications below one another's paths, as one WSGI application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatebridge.engine.seams import Application
    from gatebridge.routing.rule import Rule


class Switches(Protocol):
    """Which side of each migrating route answers now; others may change it at any moment."""

    def is_new(self, index: int) -> bool:
        """May be called by any thread, at each request."""


class Counters(Protocol):
    """How many requests each limited route has under way."""

    def enter(self, place: int, most: int) -> bool:
        """Count one more; False: there are ``most`` already, and nothing was counted."""

    def leave(self, place: int) -> None:
        """One that had entered is over."""


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table.

    application  who answers, or the legacy side of a route that migrates
    new          the new side; None: the route does not migrate
    switch       of a migrating route: its index into Switches
    timeout      seconds; 0: as everywhere
    limit_body   bytes; -1: as everywhere
    concurrency  requests at once; 0: any number
    place        of a route with concurrency: its index into Counters
    """

    rule: Rule
    application: Application
    new: Application | None = None
    switch: int = -1
    timeout: float = 0.0
    limit_body: int = -1
    concurrency: int = 0
    place: int = -1


_TEXT = b"Not Found\n\nNo application is mounted at this path.\n"
_HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(_TEXT)))]


def route(applications: Sequence[tuple[str, Application]]) -> Application:
    """One application made of pairs (mount, application); a mount "" or "/" takes the rest."""
    if len(applications) == 1 and not applications[0][0].rstrip("/"):
        return applications[0][1]
    return Table(applications)


class Table:
    """Gives a request to the application with the longest mount that PATH_INFO begins with.

    A mount ends at a path's border: /admin has /admin and /admin/x, and not /administrator. It
    moves from PATH_INFO to SCRIPT_NAME (PEP 3333), so the application makes links that lead back.
    """

    __slots__ = ("_mounts",)

    def __init__(self, applications: Sequence[tuple[str, Application]]) -> None:
        found = [(_as_environ(mount), application) for mount, application in applications]
        self._mounts = sorted(found, key=lambda pair: len(pair[0]), reverse=True)

    def __call__(self, environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        for mount, application in self._mounts:
            if not mount:
                return application(environ, start_response)
            if path.startswith(mount) and path[len(mount) : len(mount) + 1] in ("", "/"):
                environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}{mount}"
                environ["PATH_INFO"] = path[len(mount) :]
                return application(environ, start_response)
        start_response("404 Not Found", list(_HEADERS))
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [_TEXT]


def _as_environ(mount: str) -> str:
    """PEP 3333 has a path's bytes as latin-1."""
    return mount.rstrip("/").encode("utf-8", "surrogateescape").decode("latin-1")
