"""NAME=VALUE lines, given singly or in a file that systemd's EnvironmentFile= would read alike.

Comments begin with # or ; and a backslash joins a line with the next. Blanks around a value go,
unless quoted. Between "..." a backslash keeps its meaning before " \\ ` $ alone, between '...'
nothing has one. What systemd leaves out with a word in its log is an error here.
"""

from __future__ import annotations

import re

from gatebridge.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANK = " \t\r"
_ESCAPED = '"\\`$'  # what a backslash between double quotes unescapes


def parse_pair(text: str) -> tuple[str, str]:
    """One NAME=VALUE of the command line, as it stands. raises ConfigError("env.malformed")"""
    name, equals, value = text.partition("=")
    why = _fault(name, equals, value)
    if why:
        raise ConfigError("env.malformed", f"--env {text!r}: {why}")
    return name, value


def read_env_file(path: str) -> list[tuple[str, str]]:
    """The pairs of a file, in its order. raises ConfigError("env_file.…")"""
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            text = file.read()
    except OSError as error:
        why = f"cannot read {path}: {error.strerror}; --env-file takes a file of NAME=VALUE lines"
        raise ConfigError("env_file.unreadable", why) from error
    return parse_env_file(text, path)


def parse_env_file(text: str, path: str) -> list[tuple[str, str]]:
    """The same for its text. raises ConfigError("env_file.malformed") with path:line"""
    return _Reader(text, path).pairs()


def _fault(name: str, equals: str, value: str) -> str:
    """What is wrong with a pair, and what to write instead; "" for nothing."""
    if not equals:
        return "write NAME=VALUE"
    if name.startswith("export "):
        return "leave out 'export'; no shell reads this"
    if not _NAME.fullmatch(name):
        return f"{name!r} is no name: letters, digits and _, no digit first"
    if "\0" in value:
        return "a value holds no NUL"
    return ""


class _Reader:
    """One pass over the text; each method begins at ``_at`` and leaves it behind what it read."""

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path
        self._at = 0

    def pairs(self) -> list[tuple[str, str]]:
        found = []
        while self._skip(_BLANK + "\n"):
            if self._text[self._at] in "#;":
                self._until("\n")
            else:
                found.append(self._pair())
        return found

    def _skip(self, characters: str) -> bool:
        """Pass over them; tell whether anything follows."""
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1
        return self._at < len(self._text)

    def _until(self, end: str) -> str:
        """What stands before ``end``, or before the end of the text."""
        begin = self._at
        found = self._text.find(end, begin)
        self._at = found if found >= 0 else len(self._text)
        return self._text[begin : self._at]

    def _pair(self) -> tuple[str, str]:
        begin = self._at
        line = self._until("\n")
        name, equals, _ = line.partition("=")
        name = name.rstrip(_BLANK)
        self._at = begin + line.find("=") + 1
        value = self._value() if equals else ""
        why = _fault(name, equals, value)
        if why:
            raise self._malformed(begin, why)
        return name, value

    def _value(self) -> str:
        """Quoted parts, if the value begins with one, and plain text to the end of the line."""
        value = ""
        while self._skip(_BLANK) and self._text[self._at] in "\"'":
            value += self._quoted(self._text[self._at])
        return value + self._plain()

    def _quoted(self, quote: str) -> str:
        begin = self._at
        self._at += 1
        value = ""
        while self._at < len(self._text):
            one = self._text[self._at]
            self._at += 1
            if one == quote:
                return value
            value += self._escape() if one == "\\" and quote == '"' else one
        raise self._malformed(begin, f"no {quote} closes the one that this value begins with")

    def _escape(self) -> str:
        """What a backslash between double quotes stands for."""
        one = self._text[self._at : self._at + 1]
        self._at += 1
        if one == "\n":
            return ""
        return one if one in _ESCAPED else "\\" + one

    def _plain(self) -> str:
        value = ""
        kept = 0  # characters that no trimming may take: up to the last escaped one
        while self._at < len(self._text) and self._text[self._at] != "\n":
            one = self._text[self._at]
            self._at += 1
            if one != "\\":
                value += one
                continue
            escaped = self._text[self._at : self._at + 1]
            self._at += 1
            if escaped != "\n":
                value += escaped
                kept = len(value)
        return value[:kept] + value[kept:].rstrip(_BLANK)

    def _malformed(self, at: int, why: str) -> ConfigError:
        line = self._text.count("\n", 0, at) + 1
        return ConfigError("env_file.malformed", f"{self._path}:{line}: {why}")
