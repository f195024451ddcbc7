"""Python 2 read without a parser: patterns over a text whose strings and comments are blanked."""

from __future__ import annotations

import re

from gatebridge.scan.facts import Fact
from gatebridge.scan.python_calls import CALLS, FAMILIES, OLD_METHODS, OLD_NAMES, OPENERS, QUIET
from gatebridge.scan.python_facts import APPLICATION_NAMES, Found, Import

_QUOTED = re.compile(
    r"(\"\"\"|''')(?:[^\\]|\\.)*?(?:\1|\Z)|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|\#[^\n]*",
    re.S,
)
_SIGNS = (  # over blanked text
    (re.compile(r"^[ \t]*print[ \t]+[^\s=.,)\[(:]|^[ \t]*print[ \t]*>>", re.M), "print statement"),
    (re.compile(r"[:;][ \t]*print[ \t]+['\"\w]"), "print statement"),
    (re.compile(r"^[ \t]*print[ \t]*$", re.M), "print statement"),
    (re.compile(r"^[ \t]*except[ \t]+[\w.()\[\], \t]+?,[ \t]*\w+[ \t]*:", re.M), "except E, name"),
    (re.compile(r"^[ \t]*raise[ \t]+[\w.]+[ \t]*,", re.M), "raise E, value"),
    (re.compile(r"^[ \t]*exec[ \t]+['\"\w]", re.M), "exec statement"),
    (re.compile(r"<>"), "<> operator"),
    (re.compile(r"`"), "backquotes"),
    (re.compile(r"(?<![\w.])0[0-7]+(?![\w.])"), "octal number with a bare 0"),
    (re.compile(r"(?<![\w.])\d+[lL]\b"), "long number"),
    (re.compile(r"\b[uU][rR]['\"]"), "ur string"),
)
_LONG_LINE = 2000
_ZERO = re.compile(r"0+")
_IMPORT = re.compile(r"^([ \t]*)(?:import[ \t]+([\w., \t]+)|from[ \t]+([\w.]+)[ \t]+import\b)",
                     re.M)  # fmt: skip
_TRY = re.compile(r"^[ \t]*(?:try|except[^\n:]*)[ \t]*:[ \t]*\n[ \t]*\Z", re.M)
_CALL = re.compile(r"(?<![\w.])([A-Za-z_][\w.]*)[ \t]*\(")
_CHANGE = re.compile(r"(?<![\w.])os\.environ[ \t]*\[[^\]\n]*\][ \t]*=(?!=)")
_MODE = re.compile(r"\([^\n]*?,[ \t]*['\"]([rwaxbtU+]{1,3})['\"]")
_APPLICATION = re.compile(r"^(?:def (application|app)[ \t]*\(\w+, *\w+\)|(application|app)[ \t]*="
                          r"[ \t]*[\w.]+\()", re.M)  # fmt: skip


def sign(text: str) -> tuple[int, str] | None:
    """(line, what) of the first thing that only Python 2 has in its syntax."""
    blank = blanked(shortened(text))
    found = []
    for pattern, what in _SIGNS:
        for match in pattern.finditer(blank):
            if not _ZERO.fullmatch(match[0]):
                start = match.start() + len(match[0]) - len(match[0].lstrip())
                found.append((blank.count("\n", 0, start) + 1, what))
                break
    return min(found, default=None)


def look(text: str) -> Found:
    """What python_facts.look() finds, less exactly: whatever is not indented is at the import."""
    text = shortened(text)
    blank = blanked(text)
    lines = _Lines(blank)
    found = Found()
    for match in _IMPORT.finditer(blank):
        line = lines.at(match.end(1))
        before = blank[max(0, match.start() - 200) : match.end(1)]
        is_optional = bool(match[1]) and _TRY.search(before) is not None
        for name in (match[2] or match[3]).split(","):
            first = name.split()[0].partition(".")[0] if name.split() else ""
            if first:
                found.imports.append(Import(first, line, is_optional))
    for match in _CALL.finditer(blank):
        _call(found, lines, match, text)
    for match in _CHANGE.finditer(blank):
        found.facts.append(lines.fact("environ", match.start(), "os.environ"))
    for match in _APPLICATION.finditer(blank):
        name = match[1] or match[2]
        found.applications.append((lines.at(match.start()), f"{name} is defined"))
    return found


def shortened(text: str) -> str:
    """With the ends of very long lines cut off: a pattern's time must stay bounded."""
    if len(text) < _LONG_LINE:
        return text
    return "\n".join(line[:_LONG_LINE] for line in text.split("\n"))


def blanked(text: str) -> str:
    """Strings (not their quotes) and comments as blanks, so that every place stays the same."""
    return _QUOTED.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    quoted = match[0]
    if quoted.startswith("#"):
        return " " * len(quoted)
    inner = "".join("\n" if character == "\n" else " " for character in quoted[1:-1])
    return f"{quoted[0]}{inner}{quoted[-1] if len(quoted) > 1 else ''}"


class _Lines:
    """Lines of places, asked for in rising order mostly."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._line = 1

    def at(self, place: int) -> int:
        if place < self._place:
            self._place, self._line = 0, 1
        self._line += self._text.count("\n", self._place, place)
        self._place = place
        return self._line

    def fact(self, code: str, place: int, text: str) -> Fact:
        start = self._text.rfind("\n", 0, place) + 1
        return Fact(code, self.at(place), text, not self._text[start : start + 1].isspace())


def _call(found: Found, lines: _Lines, match: re.Match[str], text: str) -> None:
    name = match[1]
    code = CALLS.get(name, "")
    if not code and name not in QUIET:
        code = next((known for start, known in FAMILIES if name.startswith(start)), "")
    if name in OPENERS:
        end = text.find("\n", match.start())
        mode = _MODE.match(text[match.end() - 1 : end if end >= 0 else len(text)])
        code = "writes_files" if mode and set(mode[1]) & set("wax+") else ""
    if name in OLD_NAMES:
        found.old_names.append((lines.at(match.start()), name))
    last = name.rpartition(".")[2]
    if last in OLD_METHODS:
        found.old_names.append((lines.at(match.start()), f".{last}"))
    if name.endswith(".run") and name.partition(".")[0] in APPLICATION_NAMES:
        code = "serves"
    before = lines._text[max(0, match.start() - 6) : match.start()].split()
    if code and before[-1:] not in (["def"], ["class"]):
        found.facts.append(lines.fact(code, match.start(), name))
