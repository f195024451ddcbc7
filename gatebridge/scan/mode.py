"""The modes a program can run in, the best of them, and why not a better one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge.scan.facts import EFFECTS, Fact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatebridge.scan.interpreter import Interpreter
    from gatebridge.scan.program import Imported
    from gatebridge.scan.python_source import Source

NAMES = ("wsgi", "inproc", "warm", "exec", "none")
PHRASES = {
    "wsgi": "ready for WSGI",
    "inproc": "in a shared interpreter, one request at a time",
    "warm": "in a fork of a warmed interpreter",
    "exec": "as a program of its own for each request",
    "none": "cannot run as it is",
}


@dataclass(frozen=True, slots=True)
class Mode:
    """name: the best of NAMES. can: every mode it can run in, the best first.

    file  below the scanned folder, where the reason does not lie in the program itself
    """

    name: str
    reason: str
    line: int = 0
    file: str = ""
    can: tuple[str, ...] = ()


def choose(
    language: str,
    who: Interpreter,
    source: Source | None,
    imports: Sequence[Imported],
    facts: Sequence[Fact],
    size: int,
) -> Mode:
    """The best mode. source: of a Python program that was read, else None."""
    can_exec = ("exec",) if not who.problem[0] else ()
    if language != "Python":
        if not can_exec:
            return Mode("none", who.problem[1])
        said = f"a program in {language}" if language else "names no language that is known here"
        said = "a compiled program" if language == "compiled" else said
        return Mode("exec", said, 0, "", can_exec)
    reason = _only_exec(who, source, imports, size)
    if reason is not None:
        text, line = reason
        if not can_exec:
            return Mode("none", f"{text}; and {who.problem[1]}", line)
        return Mode("exec", text, line, "", can_exec)
    return _hosted(source, facts, can_exec)


def _only_exec(
    who: Interpreter, source: Source | None, imports: Sequence[Imported], size: int
) -> tuple[str, int] | None:
    """Why gatebridge's own interpreter cannot run it: (reason, line), or None."""
    if source is None:
        return f"{size / 1048576:.1f} MiB: not read, it may be at most 1 MiB", 0
    if source.python == "2":
        return f"Python 2: {source.why}", source.line
    if source.python != "3":
        return source.why, source.line
    for item in imports:
        if item.is_optional or item.state.word not in ("missing", "removed"):
            continue
        ours = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
        what = f"is not part of {ours} any more" if item.state.word == "removed" else \
            f"is not installed for gatebridge's {ours}"  # fmt: skip
        advice = f": {item.state.advice}" if item.state.advice else ""
        return f"{item.name} {what}{advice}", item.line
    return None


def _hosted(source: Source | None, facts: Sequence[Fact], can_exec: tuple[str, ...]) -> Mode:
    keeps = _first(fact for fact in facts if EFFECTS[fact.code][0] == "warm")
    can = ("warm", *can_exec) if keeps else ("inproc", "warm", *can_exec)
    application = source.application if source else None
    serves = _first(fact for fact in facts if fact.code == "serves" and not fact.file)
    if application and not (serves and serves.at_import):
        line, said = application
        return Mode("wsgi", said, line, "", ("wsgi", *can))
    if serves and serves.at_import and serves.text.startswith(("flup.", "flipflop.")):
        said = f"serves FastCGI or SCGI by {serves.text}: start it by gatebridge run-script"
        return Mode("exec", said, serves.line, "", can_exec)
    if keeps:
        said = f"{EFFECTS[keeps.code][1]}: {keeps.text}"
        return Mode("warm", said, keeps.line, keeps.file, can)
    if application and serves:
        said = f"has a WSGI application (line {application[0]}), but serves it when it is loaded:"
        said = f'{said} put {serves.text} under if __name__ == "__main__"'
        return Mode("inproc", said, serves.line, "", can)
    restored = _first(fact for fact in facts if EFFECTS[fact.code][0] == "restored")
    said = "nothing in it outlives its request"
    if restored:
        said = f"what it changes is set back, as in {restored.text}"
    line, file = (restored.line, restored.file) if restored else (0, "")
    return Mode("inproc", said, line, file, can)


def _first(facts: Iterable[Fact]) -> Fact | None:
    return next(iter(facts), None)
