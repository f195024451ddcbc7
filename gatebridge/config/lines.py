"""Where every key of a TOML text stands: tomllib reads the values and tells no lines.

The text is one that tomllib took, so nothing is checked here; what matters is to skip strings,
comments and nested values exactly as TOML 1.0 writes them.
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]  # keys, and for arrays the number of the element

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\n]|#[^\n]*)*")  # between the elements of an array
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")  # a number, a boolean, a date: without quotes
_STRINGS = (  # the longer quotes first
    re.compile(r'"""(?:[^\\]|\\.)*?"{3,5}', re.S),
    re.compile(r"'''.*?'{3,5}", re.S),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, table and array element: ("pool", "shop", "bind", 0).

    A table that only the headers below it make, as ``a`` in ``[a.b]``, has the first one's line.
    """
    return _Scanner(text.replace("\r\n", "\n")).document()


class _Scanner:
    __slots__ = ("_arrays", "_at", "_found", "_line", "_line_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._line_at = 0  # up to where the lines are counted
        self._found: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}  # arrays of tables -> elements so far

    def document(self) -> dict[Path, int]:
        table: Path = ()
        while True:
            self._skip(_GAP)
            if self._at >= len(self._text):
                return self._found
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        """[table] or [[array of tables]]: the path that the keys below it start with."""
        is_array = self._text.startswith("[[", self._at)
        line = self._current_line()
        self._at += 2 if is_array else 1
        keys = self._key()
        self._at = self._text.index("]", self._at) + (2 if is_array else 1)
        path: Path = ()
        for at, key in enumerate(keys):
            path += (key,)
            self._found.setdefault(path, line)
            last = at == len(keys) - 1
            if last and is_array:
                self._arrays[path] = self._arrays.get(path, 0) + 1
            if path in self._arrays:
                path += (self._arrays[path] - 1,)
                self._found.setdefault(path, line)
        return path

    def _pair(self, table: Path) -> None:
        line = self._current_line()
        path = table
        for key in self._key():
            path += (key,)
            self._found.setdefault(path, line)
        self._at = self._text.index("=", self._at) + 1
        self._value(path)

    def _key(self) -> list[str]:
        """A dotted key, quoted or bare; tomllib itself reads the quoted parts."""
        parts = []
        while True:
            self._skip(_SPACE)
            start = self._at
            bare = _BARE.match(self._text, start)
            if bare:
                self._at = bare.end()
                parts.append(bare.group())
            else:
                self._string()
                parts.append(next(iter(tomllib.loads(f"{self._text[start : self._at]} = 0"))))
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        first = self._text[self._at]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif first in "\"'":
            self._string()
        else:
            self._skip(_SCALAR)

    def _array(self, path: Path) -> None:
        self._at += 1
        element = 0
        while True:
            self._skip(_GAP)
            if self._text[self._at] == "]":
                break
            self._found[(*path, element)] = self._current_line()
            self._value((*path, element))
            element += 1
            self._skip(_GAP)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while True:
            self._skip(_GAP)  # TOML 1.1 allows lines and a last comma here, too
            if self._text[self._at] == "}":
                break
            self._pair(path)
            self._skip(_GAP)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1

    def _string(self) -> None:
        for pattern in _STRINGS:
            found = pattern.match(self._text, self._at)
            if found:
                self._at = found.end()
                return
        raise ValueError(f"no string at {self._at}: tomllib read this text in another way")

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()

    def _current_line(self) -> int:
        self._line += self._text.count("\n", self._line_at, self._at)
        self._line_at = self._at
        return self._line
