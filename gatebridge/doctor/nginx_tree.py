"""nginx's configuration as directives in their blocks, with the files that it includes."""

from __future__ import annotations

import fnmatch
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.machine import Machine

_TOKEN: Final = re.compile(
    r"""\s+|\#[^\n]*|(?P<mark>[;{}])|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'"""
    r"""|(?P<word>(?:\$\{|[^\s;{}"'\\]|\\.)(?:\$\{[^}]*\}|[^\s;{\\]|\\.)*)""",
    re.S,
)
DEPTH_MOST: Final = 10  # files that include each other; one that includes itself ends there
_MARKS: Final = (";", "{", "}")


@dataclass(slots=True)
class Directive:
    """name and words; block: what is in its braces."""

    name: str
    words: list[str]
    where: str
    block: list[Directive] = field(default_factory=list)


def read_tree(machine: Machine, path: str) -> list[Directive]:
    """Directives of a file. What is included stands where it is; files that are missing hold none.

    Relative includes begin at the folder of the file that is read first, as nginx has it.
    """
    return _Reader(machine, os.path.dirname(os.path.abspath(path))).file(path)


class _Reader:
    def __init__(self, machine: Machine, folder: str) -> None:
        self._machine = machine
        self._folder = folder
        self._open: list[str] = []

    def file(self, path: str) -> list[Directive]:
        if path in self._open or len(self._open) >= DEPTH_MOST:
            return []
        self._open.append(path)
        try:
            return self._block(_tokens(self._machine.read(path)), path)
        finally:
            self._open.pop()

    def _block(self, tokens: Iterator[tuple[str, bool, int]], path: str) -> list[Directive]:
        found: list[Directive] = []
        words: list[str] = []
        at = 1
        for word, is_mark, line in tokens:
            if not is_mark:
                at = at if words else line
                words.append(word)
                continue
            if word == "}":
                return found
            if not words:
                continue
            one = Directive(words[0], words[1:], f"{path}:{at}")
            words = []
            if word == "{":
                one.block = self._block(tokens, path)
            if one.name == "include" and one.words:
                found += self._included(one.words[0])
            else:
                found.append(one)
        return found

    def _included(self, pattern: str) -> list[Directive]:
        pattern = os.path.join(self._folder, pattern)
        return [one for path in files_like(self._machine, pattern) for one in self.file(path)]


def files_like(machine: Machine, pattern: str) -> list[str]:
    """The paths that a pattern stands for, in order; only its last part and folders' names vary."""
    folder, name = os.path.split(pattern)
    if not any(mark in pattern for mark in "*?["):
        return [pattern]
    folders = files_like(machine, folder) if any(mark in folder for mark in "*?[") else [folder]
    return [
        os.path.join(one, each)
        for one in folders
        for each in machine.names(one)
        if fnmatch.fnmatchcase(each, name) and (name.startswith(".") or not each.startswith("."))
    ]


def _tokens(text: str) -> Iterator[tuple[str, bool, int]]:
    """(word, whether it is one of ; { }, line)."""
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "mark":
            yield match.group(), True, line
        elif kind in ("double", "single"):
            yield re.sub(r"\\([\"'\\])", r"\1", match.group(kind)), False, line
        elif kind == "word":
            yield match.group(), False, line
        line += match.group().count("\n")
