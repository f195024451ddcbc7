"""gatebridge.toml, read: what it says about every option, application and pool, and where."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from gatebridge.config.lines import Path, key_lines
from gatebridge.config.routes import read_app, read_route
from gatebridge.config.said import AppSaid, Document, Part, Place, Problem, Said, did_you_mean
from gatebridge.config.values import NAME, OPTIONS, Wrong, from_toml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatebridge.settings import App

    Read = Callable[[dict[str, Any]], App]

TABLES: dict[str, list[str]] = {}
for _name, _field in OPTIONS.items():
    TABLES.setdefault(_field.metadata["table"], []).append(_name)

_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def read_document(path: str, problems: list[Problem]) -> Document:
    """Read the file; everything wrong with it is added to ``problems``."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        problems.append(Problem(Place(path), f"cannot be read: {reason}"))
        return Document(Part(Place(path)))
    try:
        data = tomllib.loads(text)
        lines = key_lines(text)
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
        reason = _LINE.sub("", str(error)).strip().replace(" (at end of document)", " at the end")
        problems.append(Problem(Place(f"{path}:{line}", line=line), f"no TOML: {reason}"))
        return Document(Part(Place(path)))
    except RecursionError:
        problems.append(Problem(Place(path), "is nested too deeply"))
        return Document(Part(Place(path)))
    return _Reader(path, lines, problems).document(data)


class _Reader:
    """Walks over what tomllib read. at: the keys that lead to a value, as in key_lines()."""

    __slots__ = ("_lines", "_path", "_problems")

    def __init__(self, path: str, lines: dict[Path, int], problems: list[Problem]) -> None:
        self._path = path
        self._lines = lines
        self._problems = problems

    def document(self, data: dict[str, Any]) -> Document:
        document = Document(Part(Place(self._path)))
        for key, value in data.items():
            if key == "app":
                document.common.apps = self._apps((key,), value)
            elif key == "route":
                document.common.routes = self._routes((key,), value)
            elif key == "pool":
                document.pools = dict(self._pools((key,), value))
            elif key in TABLES:
                self._table((key,), value, key, document.common)
            elif key in OPTIONS:
                self._wrong((key,), f"belongs into [{OPTIONS[key].metadata['table']}]")
            else:
                self._unknown((key,), [*TABLES, "app", "route", "pool"])
        return document

    def _pools(self, at: Path, value: object) -> Iterator[tuple[str, Part]]:
        for name, inner in self._inside(at, value, "[pool.NAME]").items():
            here = (*at, name)
            if not NAME.fullmatch(name):
                reason = f"{name!r}: up to 32 letters, digits, dots, - and _ make a pool's name"
                self._wrong(here, reason)
            elif isinstance(inner, dict):
                yield name, self._pool(here, inner)
            else:
                self._wrong(here, "is a pool's name, and no table: write [pool.NAME]")

    def _pool(self, at: Path, table: dict[str, Any]) -> Part:
        """Options stand in it directly or in the tables that the whole file has, too."""
        part = Part(self._place(at))
        for key, value in table.items():
            here = (*at, key)
            if key == "app":
                part.apps = self._apps(here, value)
            elif key == "route":
                part.routes = self._routes(here, value)
            elif key in TABLES and (key not in OPTIONS or isinstance(value, dict)):
                self._table(here, value, key, part)
            elif key not in OPTIONS:
                self._unknown(here, [*OPTIONS, *TABLES, "app", "route"])
            else:
                self._option(here, key, value, part)
        return part

    def _table(self, at: Path, table: object, name: str, part: Part) -> None:
        for key, value in self._inside(at, table, f"[{_dotted(at)}]").items():
            if key in TABLES[name]:
                self._option((*at, key), key, value, part)
            elif key in OPTIONS:
                there = _dotted((*at[:-1], OPTIONS[key].metadata["table"]))
                self._wrong((*at, key), f"belongs into [{there}]")
            else:
                self._unknown((*at, key), [*TABLES[name], *OPTIONS])

    def _option(self, at: Path, name: str, value: object, part: Part) -> None:
        about = OPTIONS[name].metadata
        if about["daemon"] and at[0] == "pool":
            self._wrong(at, f"is the whole daemon's, no pool's: it belongs into [{about['table']}]")
            return
        if name in part.layer:
            self._wrong(at, f"is said twice: {part.layer[name].place} says it, too")
            return
        place = self._place(at)
        try:
            part.layer[name] = Said(from_toml(name, value), place)
        except Wrong as error:
            part.layer[name] = Said(OPTIONS[name].default, place, sound=False)
            for below, reason in error.reasons:
                self._wrong((*at, *below), reason)

    def _apps(self, at: Path, value: object) -> list[AppSaid]:
        """app = "module:name", or [[app]] tables with mount and target."""
        if isinstance(value, str):
            return self._one(at, {"target": value}, read_app)
        otherwise = f'write {_dotted(at)} = "module:name", or [[{_dotted(at)}]] tables'
        return self._tables(at, value, read_app, otherwise)

    def _routes(self, at: Path, value: object) -> list[AppSaid]:
        otherwise = f"is a list of tables: write [[{_dotted(at)}]] above each"
        return self._tables(at, value, read_route, otherwise)

    def _tables(self, at: Path, value: object, read: Read, otherwise: str) -> list[AppSaid]:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self._wrong(at, otherwise)
            return []
        return [one for n, item in enumerate(value) for one in self._one((*at, n), item, read)]

    def _one(self, at: Path, table: dict[str, Any], read: Read) -> list[AppSaid]:
        """What one table says, or none if something is wrong with it."""
        try:
            return [AppSaid(read(table), self._place(at))]
        except Wrong as error:
            for below, reason in error.reasons:
                self._wrong((*at, *below), reason)
            return []

    def _inside(self, at: Path, value: object, header: str) -> dict[str, Any]:
        """What a table holds; nothing for what is none."""
        if isinstance(value, dict):
            return value
        self._wrong(at, f"is a table: write {header} above its keys")
        return {}

    def _unknown(self, at: Path, known: list[str]) -> None:
        self._wrong(at, f"is unknown{did_you_mean(str(at[-1]), known)}")

    def _wrong(self, at: Path, reason: str) -> None:
        self._problems.append(Problem(self._place(at), reason))

    def _place(self, at: Path) -> Place:
        line = next(
            (self._lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self._lines), 1
        )
        return Place(f"{self._path}:{line}", _dotted(at), line)


def _dotted(at: Path) -> str:
    """A path as a person writes it: pool.shop.bind[0]."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
