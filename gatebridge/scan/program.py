"""One program of a folder, read and judged."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge.scan import access, interpreter, modules, other_languages, python_source
from gatebridge.scan.facts import Fact, some
from gatebridge.scan.interpreter import Interpreter
from gatebridge.scan.inventory import Entry, read
from gatebridge.scan.mode import Mode, choose
from gatebridge.scan.python_source import Source

if TYPE_CHECKING:
    from gatebridge.scan.modules import State

SNIFF = 64 << 10
_MOST_MODULES = 50  # of one script's own, read with it
_SCRIPT_ENDINGS = (".cgi", ".fcgi", ".wsgi", ".py", ".pl", ".php", ".rb", ".sh")
_DATA_ENDINGS = (
    ".avif", ".bmp", ".conf", ".css", ".csv", ".dat", ".db", ".doc", ".eot", ".gif", ".gz", ".htm",
    ".html", ".ico", ".inc", ".ini", ".jpeg", ".jpg", ".json", ".log", ".md", ".mp4", ".pdf",
    ".png", ".pyc", ".rss", ".sqlite", ".sql", ".svg", ".tar", ".tgz", ".tmpl", ".toml", ".tpl",
    ".ttf", ".txt", ".webp", ".woff", ".woff2", ".xls", ".xml", ".yaml", ".yml", ".zip",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Imported:
    """A module that a Python program imports, where, and what there is of it."""

    name: str
    line: int
    is_optional: bool
    state: State


@dataclass(frozen=True, slots=True)
class Program:
    """What was found out about one file.

    kind      "program", "module" (of Python, beside programs), or "data" that is executable
    language  "Python", "Perl", "shell", "compiled" …, "" when nothing tells
    source    of Python programs that were read
    size      bytes
    line_ends "lf", "crlf", or "" for binary files
    """

    path: str
    kind: str
    size: int
    language: str
    interpreter: Interpreter
    line_ends: str
    source: Source | None
    imports: tuple[Imported, ...]
    facts: tuple[Fact, ...]
    mode: Mode
    problems: tuple[tuple[str, str], ...]


def examine(entry: Entry, folder: os.stat_result, root: str) -> Program | None:
    """Read a file. None: it is no program, and nobody would take it for one.

    folder  status of the folder it lies in
    root    the scanned folder
    """
    runs = access.is_executable(entry.status)
    name = os.path.basename(entry.path).lower()
    if not runs and not name.endswith((*_SCRIPT_ENDINGS, ".cgi")) and "." in name:
        return None
    problems = access.of_program(entry, folder, root)
    try:
        data = read(entry, SNIFF)
    except OSError as error:
        said = f"cannot be read: {error.strerror}; so nothing more is known about it"
        return _bare(entry, "program", [*problems, ("permission.unreadable", said)], said)
    who = interpreter.find(data)
    if name.endswith(_DATA_ENDINGS) and not who.name and not data.startswith(b"\x7fELF"):
        return _bare(entry, "data", [access.executable_data()], "is no program") if runs else None
    if not runs and not _is_script(data, name):
        return None
    return _program(entry, data, who, problems, root)


def _is_script(data: bytes, name: str) -> bool:
    """Is a file that is not executable meant to be a program, or a module of one?"""
    return data.startswith((b"#!", b"\xef\xbb\xbf#!")) or name.endswith(
        (".cgi", ".fcgi", ".wsgi", ".py")
    )


def _bare(entry: Entry, kind: str, problems: list[tuple[str, str]], why: str) -> Program:
    return Program(
        entry.path, kind, entry.status.st_size, "", Interpreter(), "", None, (), (),
        Mode("none", why), tuple(problems),
    )  # fmt: skip


def _program(
    entry: Entry, data: bytes, who: Interpreter, problems: list[tuple[str, str]], root: str
) -> Program:
    name = os.path.basename(entry.path).lower()
    compiled = interpreter.binary_kind(data)
    language = compiled or other_languages.language(who.kind, name)
    runs = access.is_executable(entry.status)
    is_module = language == "Python" and not runs and not who.name and name.endswith(".py")
    is_wsgi = name.endswith(".wsgi")
    if not is_module and not is_wsgi:
        problems += [] if runs else [access.not_executable()]
        problems += [who.problem] if who.problem[0] else []
    source: Source | None = None
    imports: tuple[Imported, ...] = ()
    facts: tuple[Fact, ...] = ()
    if language == "Python":
        source, imports, facts = _python(entry, who, "" if is_module else root)
    elif language and not compiled:
        facts = other_languages.look(_whole(entry, data), language, who.kind)
    if name.startswith("nph-"):
        facts = (Fact("nph", 0, os.path.basename(entry.path)), *facts)
    mode = choose(language, who, source, imports, facts, entry.status.st_size)
    ends = "" if compiled else "crlf" if b"\r\n" in data else "lf"
    kind = "module" if is_module and mode.name != "wsgi" else "program"
    return Program(
        entry.path, kind, entry.status.st_size, language, who, ends, source, imports, facts,
        mode, tuple(problems),
    )  # fmt: skip


def _whole(entry: Entry, data: bytes) -> bytes:
    if entry.status.st_size <= len(data):
        return data
    try:
        return read(entry, other_languages.MOST)
    except OSError:
        return data


# --- Python


_Read = tuple[Source | None, tuple[Imported, ...], tuple[Fact, ...]]


def _python(entry: Entry, who: Interpreter, root: str) -> _Read:
    """root: "" leaves out what the modules do that it imports."""
    if entry.status.st_size > python_source.MOST:
        return None, (), ()
    try:
        source = python_source.read(read(entry, python_source.MOST), who.kind)
    except OSError:
        return None, (), ()
    folder = os.path.dirname(entry.link or os.path.realpath(entry.file))
    places, version = _world(source, who)
    imports = tuple(
        Imported(item.name, item.line, item.is_optional,
                 modules.find(item.name, folder, places, version))
        for item in source.imports
    )  # fmt: skip
    local = [item.name for item in imports if item.state.word == "local"]
    facts = [
        fact
        for fact in source.facts
        if fact.code != "patches" or fact.text.partition(".")[0] not in local
    ]
    if root:
        facts += _facts_of_modules(local, folder, os.path.realpath(root))
    return source, imports, some(facts)


def _world(source: Source, who: Interpreter) -> tuple[tuple[str, ...], tuple[int, int]]:
    """(where modules are looked for, the Python's version).

    Python 3 by gatebridge's own interpreter, which runs it warm and inproc; Python 2 by that of
    its first line.
    """
    if source.python != "2":
        return _own_places(), (sys.version_info[0], sys.version_info[1])
    return modules.places_of(who.path, who.version) if who.path else (), (2, 7)


@functools.cache
def _own_places() -> tuple[str, ...]:
    return modules.own_places()


def _facts_of_modules(names: list[str], folder: str, root: str) -> list[Fact]:
    """What modules beside a script do, those that they import in turn included."""
    found: list[Fact] = []
    done: set[str] = set()
    waiting = list(names)
    while waiting and len(done) < _MOST_MODULES:
        file = modules.local_file(waiting.pop(0), folder)
        if not file or file in done:
            continue
        done.add(file)
        source = _module_source(file)
        if source is None:
            continue
        waiting += [item.name for item in source.imports]
        shown = os.path.relpath(file, root)
        found += [
            Fact(fact.code, fact.line, fact.text, fact.at_import, shown)
            for fact in source.facts
            if fact.code not in ("python_2", "sys_exit")
        ]
    return found


@functools.lru_cache(maxsize=512)
def _module_source(file: str) -> Source | None:
    try:
        status = os.stat(file)
        if status.st_size > python_source.MOST:
            return None
        return python_source.read(read(Entry("", file, status, ""), python_source.MOST))
    except OSError:
        return None


def forget() -> None:
    """Files may have changed since the last scan in this process."""
    modules.forget()
    _module_source.cache_clear()
    _own_places.cache_clear()
