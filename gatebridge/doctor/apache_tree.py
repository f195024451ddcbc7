"""Apache's configuration as directives, each with the sections around it, and what is included."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from heapq import merge
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.nginx_tree import DEPTH_MOST, files_like
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.machine import Machine

_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\S+)')
_SECTIONS_MOST: Final = 50  # around each other
_ROOTS: Final = {"/etc/httpd/conf": "/etc/httpd"}

Section = tuple[str, tuple[str, ...], str]  # name in lower case, words, where it begins


@dataclass(frozen=True, slots=True)
class Line:
    """name: in lower case; sections: around it, the outermost first."""

    name: str
    words: tuple[str, ...]
    where: str
    sections: tuple[Section, ...] = ()

    def within(self, name: str) -> Section | None:
        """The innermost section of a name."""
        return next((one for one in reversed(self.sections) if one[0] == name), None)


class Lines(list[Line]):
    """Directives, in order."""

    def near(self, line: Line) -> list[Line]:
        """Those that hold for a line's <VirtualHost>: its own and those of none."""
        host = line.within("virtualhost")
        if host not in self._near:
            own = self._hosts[host] if host is not None else []
            self._near[host] = [one for _, one in merge(self._hosts[None], own, key=itemgetter(0))]
        return self._near[host]

    def without(self, names: tuple[str, ...]) -> bool:
        """Whether modules are loaded, and none of these: one that is built in is not said."""
        return bool(self._loaded) and self._loaded.isdisjoint(names)

    @cached_property
    def _loaded(self) -> set[str]:
        return {one.words[0] for one in self if one.name == "loadmodule" and one.words}

    @cached_property
    def _hosts(self) -> defaultdict[Section | None, list[tuple[int, Line]]]:
        found: defaultdict[Section | None, list[tuple[int, Line]]] = defaultdict(list)
        for at, one in enumerate(self):
            found[one.within("virtualhost")].append((at, one))
        return found

    @cached_property
    def _near(self) -> dict[Section | None, list[Line]]:
        return {}


def read_lines(machine: Machine, path: str) -> Lines:
    """Every directive, in order. What stands in <IfModule !x> is left out, but for LoadModule:
    modules are there.

    raises  ConfigError("doctor.front_config")
    """
    folder = os.path.dirname(os.path.abspath(path))
    return Lines(_Reader(machine, _ROOTS.get(folder, folder)).file(path, ()))


def flags(line: Line) -> dict[str, str]:
    """Those of a RewriteRule, in lower case: [P,E=X:1] is {"p": "", "e": "X:1"}."""
    last = line.words[2] if len(line.words) > 2 else ""
    pairs = [one.strip().partition("=") for one in last.strip("[]").split(",")]
    return {name.lower(): value for name, _, value in pairs if name}


def literal(pattern: str) -> str | None:
    """The URL prefix of a pattern as ^/app(/.*)?$; None where it shows none."""
    found = re.match(r"\^(/(?:\\.|[\w/-])*)", pattern)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else None


def is_on(lines: list[Line], name: str, at: Line) -> bool:
    """Whether a switch is on for a line, said in its own sections or around them."""
    said = [one for one in lines if one.name == name and one.words
            and one.sections == at.sections[: len(one.sections)]]  # fmt: skip
    return bool(said) and max(said, key=lambda one: len(one.sections)).words[0].lower() == "on"


class _Reader:
    def __init__(self, machine: Machine, root: str) -> None:
        self._machine = machine
        self._root = root
        self._open: list[str] = []
        self._defined: dict[str, str] = {}

    def file(self, path: str, sections: tuple[Section, ...]) -> Iterator[Line]:
        if path in self._open or len(self._open) >= DEPTH_MOST:
            return
        self._open.append(path)
        for name, words, where in self._logical(path):
            if name.startswith("</"):
                sections = sections[:-1]
            elif name.startswith("<"):
                if len(sections) >= _SECTIONS_MOST:
                    why = f"{where}: sections in more than {_SECTIONS_MOST} others"
                    raise ConfigError("doctor.front_config", why)
                sections = (*sections, (name[1:].lower(), words, where))
            elif name.lower() == "loadmodule" or not any(
                kind == "ifmodule" and args[:1] and args[0].startswith("!")
                for kind, args, _ in sections
            ):
                yield from self._line(Line(name.lower(), words, where, sections))
        self._open.pop()

    def _line(self, one: Line) -> Iterator[Line]:
        if one.name in ("include", "includeoptional") and one.words:
            pattern = os.path.join(self._root, one.words[0])
            folder = pattern.rstrip("/")
            if self._machine.names(folder):
                pattern = f"{folder}/*"
            for path in files_like(self._machine, pattern):
                yield from self.file(path, one.sections)
            return
        if one.name == "serverroot" and one.words:
            self._root = one.words[0]
        if one.name == "define" and len(one.words) == 2:
            self._defined[one.words[0]] = one.words[1]
        yield one

    def _logical(self, path: str) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """(name, words, where) of each line, those joined that end with a backslash."""
        begun, at = "", 1
        for number, raw in enumerate(self._machine.read(path).splitlines(), 1):
            at = at if begun else number
            if raw.endswith("\\"):
                begun += raw[:-1]
                continue
            line, begun = (begun + raw).strip(), ""
            if not line or line.startswith("#"):
                continue
            if line.startswith("<"):
                line = line.rstrip(">").rstrip()
            words = [self._word(match) for match in _WORD.finditer(line)]
            yield words[0], tuple(words[1:]), f"{path}:{at}"

    def _word(self, match: re.Match[str]) -> str:
        quoted = match[1] if match[1] is not None else match[2]
        word = re.sub(r"\\([\"'\\])", r"\1", quoted) if quoted is not None else match[3]
        return re.sub(r"\$\{(\w+)\}", lambda m: self._defined.get(m[1], m[0]), word)
