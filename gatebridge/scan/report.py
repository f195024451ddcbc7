"""A whole folder: programs, modules beside them, what was left out; as data and as lines."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatebridge.scan import access, program, python_two
from gatebridge.scan.facts import EFFECTS
from gatebridge.scan.inventory import walk
from gatebridge.scan.mode import NAMES
from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.scan.facts import Fact
    from gatebridge.scan.inventory import Inventory
    from gatebridge.scan.program import Imported, Program

FORMAT = 1


@dataclass(slots=True)
class Report:
    """others: how many files are neither programs nor modules. stopped: why it is not all."""

    folder: str
    programs: list[Program] = field(default_factory=list)
    modules: list[Program] = field(default_factory=list)
    folders: list[tuple[str, tuple[str, str]]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    others: int = 0
    stopped: str = ""

    @property
    def problem_count(self) -> int:
        return len(self.folders) + sum(len(item.problems) for item in self.programs)

    def counts(self) -> dict[str, int]:
        """Programs by mode, the best mode first."""
        found = dict.fromkeys(NAMES, 0)
        for item in self.programs:
            found[item.mode.name] += 1
        return found


def scan(folder: str, watch: Callable[[int, int], None] = lambda done, of: None) -> Report:
    """Read a folder. watch(done, of) is called now and then. raises OSError: not this folder"""
    program.forget()
    inventory = walk(folder)
    report = Report(folder, left_out=inventory.left_out, stopped=inventory.stopped)
    statuses = dict(inventory.folders)
    report.folders += [
        (path, problem)
        for path, status in inventory.folders
        for problem in access.of_folder(status)
    ]
    for done, entry in enumerate(inventory.entries):
        watch(done, len(inventory.entries))
        status = statuses[os.path.dirname(entry.path) or "."]
        found = program.examine(entry, status, folder)
        if found is None:
            report.others += 1
        else:
            (report.modules if found.kind == "module" else report.programs).append(found)
    watch(len(inventory.entries), len(inventory.entries))
    _move_modules(report, inventory)
    return report


def _move_modules(report: Report, inventory: Inventory) -> None:
    """A file with a first line, but not executable, is a module if a neighbour imports it."""
    imported = {
        os.path.join(os.path.dirname(item.path), f"{name.name}.py")
        for item in report.programs + report.modules
        for name in item.imports
        if name.state.word == "local"
    }
    executable = {e.path for e in inventory.entries if access.is_executable(e.status)}
    moved = [p for p in report.programs if p.path in imported and p.path not in executable]
    if moved:
        paths = {item.path for item in moved}
        report.programs = [item for item in report.programs if item.path not in paths]
        report.modules += moved


def shown(text: str) -> str:
    """A name from a file system or a file, made safe for one line anywhere."""
    return escape(text.encode("utf-8", "backslashreplace").decode())


# --- as data


def as_data(report: Report) -> dict[str, Any]:
    """As --json prints it; docs/scan.md describes it."""
    return {
        "format": FORMAT,
        "folder": shown(os.path.abspath(report.folder)),
        "python": platform.python_version(),
        "python_2_read_by": "fissix" if python_two.is_there() else "patterns",
        "modes": report.counts(),
        "problems": report.problem_count,
        "stopped": report.stopped,
        "programs": [_of_program(item) for item in report.programs],
        "modules": [_of_program(item) for item in report.modules],
        "folders": [_of_problem(path, problem) for path, problem in report.folders],
        "left_out": [{"path": shown(path), "why": why} for path, why in report.left_out],
        "others": report.others,
    }


def _of_program(item: Program) -> dict[str, Any]:
    who, source = item.interpreter, item.source
    python = None
    if source is not None:
        python = {"version": source.python, "why": shown(source.why), "line": source.line,
                  "read_by": source.read_by, "encoding": source.encoding}  # fmt: skip
    return {
        "path": shown(item.path),
        "size": item.size,
        "language": item.language,
        "interpreter": {"name": shown(who.name), "path": shown(who.path), "version": who.version},
        "python": python,
        "line_ends": item.line_ends,
        "mode": item.mode.name,
        "modes": list(item.mode.can),
        "reason": {"text": shown(item.mode.reason), "line": item.mode.line,
                   "file": shown(item.mode.file or item.path)},
        "imports": [_of_import(name) for name in item.imports],
        "facts": [_of_fact(fact, item) for fact in item.facts],
        "problems": [_of_problem(item.path, problem) for problem in item.problems],
    }  # fmt: skip


def _of_import(item: Imported) -> dict[str, Any]:
    return {
        "name": shown(item.name),
        "line": item.line,
        "optional": item.is_optional,
        "state": item.state.word,
        "removed_in": item.state.version,
        "advice": item.state.advice,
    }


def _of_fact(fact: Fact, item: Program) -> dict[str, Any]:
    return {
        "code": fact.code,
        "weight": EFFECTS[fact.code][0],
        "text": shown(fact.text),
        "line": fact.line,
        "file": shown(fact.file or item.path),
        "at_import": fact.at_import,
    }


def _of_problem(path: str, problem: tuple[str, str]) -> dict[str, str]:
    return {"path": shown(path), "code": problem[0], "text": shown(problem[1])}


# --- as lines


def lines(report: Report) -> list[str]:
    """For pipes and logs: PATH: language, mode: reason (line), and what there is to say below."""
    found = []
    for item in report.programs:
        found.append(f"{shown(item.path)}: {what(item)}; {item.mode.name}: {why(item)}")
        found += [f"  problem: {shown(text)}" for _, text in item.problems]
        found += [f"  {line}" for line in remarks(item)]
    found += [f"{shown(path)}: problem: {text}" for path, (_, text) in report.folders]
    found += [f"{shown(path)}: left out: {reason}" for path, reason in report.left_out]
    return [*found, *summary(report)]


def what(item: Program) -> str:
    """ "Python 2 (/usr/bin/python2.7)", "Perl", "compiled (x86_64)"."""
    name = item.language or "unknown"
    if item.source is not None:
        name = f"Python {item.source.python or '?'}"
    who = item.interpreter
    about = shown(who.path or who.name)
    if who.version and who.version not in about:
        about = f"{about} {who.version}".strip()
    return f"{name} ({about})" if about else name


def why(item: Program) -> str:
    """The mode's reason with its place."""
    mode = item.mode
    place = f"line {mode.line}" if mode.line else ""
    if mode.file:
        place = f"{mode.file}:{mode.line}"
    return shown(f"{mode.reason} ({place})" if place else mode.reason)


def remarks(item: Program) -> list[str]:
    """Imports that are missing or will be, then facts, one line for each kind."""
    found = []
    for name in item.imports:
        word, version = name.state.word, name.state.version
        if word in ("missing", "removed") or version:
            gone = f", gone in Python {version}" if version else ""
            optional = ", but it can do without" if name.is_optional else ""
            advice = f": {name.state.advice}" if name.state.advice else ""
            word = "imports" if word in ("stdlib", "found") else word
            found.append(shown(f"{word} {name.name}{gone}{optional}{advice} (line {name.line})"))
    places: dict[str, list[str]] = {}
    for fact in item.facts:
        at = f"{fact.file}:{fact.line}" if fact.file else str(fact.line)
        text = f"{fact.text} {at}" if fact.line else fact.text
        if fact.code == "gateway":
            text = f"{fact.text} (line {at})"
        places.setdefault(fact.code, []).append(text)
    found += [f"{EFFECTS[code][1]}: {shown(', '.join(at))}" for code, at in places.items()]
    return found


def summary(report: Report) -> list[str]:
    """The last lines: how many of each, and whether it is all."""
    counts = ", ".join(f"{count} {name}" for name, count in report.counts().items() if count)
    head = _several(len(report.programs), "program") + (f": {counts}" if counts else "")
    modules = _several(len(report.modules), "Python module")
    rest = f"{modules} beside them, {_several(report.others, 'other file')}"
    found = [f"{head}; {rest}; {_several(report.problem_count, 'problem')}"]
    old = any(item.source and item.source.read_by == "patterns" for item in report.programs)
    if old and not python_two.is_there():
        found.append('Python 2 was read by patterns, which see less than a parser:'
                     ' pip install "gatebridge[migrate]"')  # fmt: skip
    return [*found, *([report.stopped] if report.stopped else [])]


def _several(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
