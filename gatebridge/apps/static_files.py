"""Files before an application, as run_simple(static_files=…): what is no file is for it."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from gatebridge.apps.static import Static
from gatebridge.errors import UseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatebridge.engine.seams import Application

    Place = str | tuple[str, str]


class StaticFiles:
    """places: path prefix -> folder, one file, or (package, folder in it); the first one counts.

    Pairs of both do as well, as they do for Werkzeug's SharedDataMiddleware.

    raises  UseError("static.package"), UseError("static.type")
    """

    __slots__ = ("_app", "_exports")

    def __init__(
        self, app: Application, places: Mapping[str, Place] | Iterable[tuple[str, Place]]
    ) -> None:
        self._app = app
        self._exports = [
            Export(prefix.encode().decode("latin-1"), _path(prefix, place))
            for prefix, place in dict(places).items()
        ]

    def __call__(self, environ: dict[str, object], start_response: Any) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            for export in self._exports:
                rest = export.rest(path)
                if rest and export.files.has(rest):
                    return export.files({**environ, "PATH_INFO": rest}, start_response)
        return self._app(environ, start_response)


class Export:
    """One place. prefix: PEP 3333's latin-1; place: a folder or a file, absolute."""

    __slots__ = ("_file", "_prefix", "files")

    def __init__(self, prefix: str, place: str) -> None:
        self._prefix = prefix
        self._file = ""
        if os.path.isfile(place):
            place, name = os.path.split(place)
            self._file = "/" + os.fsencode(name).decode("latin-1")
        self.files = Static(place)

    def rest(self, path: str) -> str:
        """The path of the file below its folder, with slash; "" for what is not here."""
        if self._file:
            return self._file if path == self._prefix else ""
        folder = self._prefix.rstrip("/")
        return path[len(folder) :] if path.startswith(folder + "/") else ""


def _path(prefix: str, place: Place) -> str:
    if isinstance(place, str):
        return os.path.realpath(place)
    if not isinstance(place, tuple) or len(place) != 2:
        why = f"{place!r} is neither a path nor (package, path)"
        raise UseError("static.type", f"{prefix}: {why}")
    package, inside = place
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders or not os.path.isdir(folders[0]):
        raise UseError("static.package", f"{prefix}: there is no package {package!r} in a folder")
    return os.path.realpath(os.path.join(folders[0], inside))
