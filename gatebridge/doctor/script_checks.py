"""A CGI program in a cgi-bin: would the web server's kernel run it, and what did it last say?"""

from __future__ import annotations

import os
import shlex
import stat
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.access import described
from gatebridge.doctor.check import WARNING, Checks, Finding
from gatebridge.doctor.error_log import tail, trace
from gatebridge.scan import access
from gatebridge.scan.interpreter import binary_kind, find
from gatebridge.scan.inventory import Entry, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.facts import Facts

_HEAD: Final = 64 << 10
_FAILS: Final = ("script.log",)

check = Checks("application")


def _there(facts: Facts) -> Iterator[Entry]:
    """Those that are regular files. raises PermissionError"""
    for path in facts.meant.scripts:
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(status.st_mode):
            link = os.path.realpath(path) if os.path.islink(path) else ""
            yield Entry(path, path, status, link)


@check("script.missing", "Is there a program at the path?", _FAILS)
def missing(facts: Facts) -> Finding | None:
    for path in facts.meant.scripts:
        if not os.path.isfile(path):
            folder = os.path.dirname(os.path.abspath(path))
            seen = f"{os.path.abspath(path)} is no file"
            mend = f"put it there, or mend the path: ls {shlex.quote(folder)}"
            return Finding(f"there is no program {path}", seen, mend)
    return None


@check("script.execute", "Has the program its execute bit?", _FAILS)
def execute(facts: Facts) -> Finding | None:
    for entry in _there(facts):
        if not access.is_executable(entry.status):
            mend = f"chmod +x {shlex.quote(entry.path)}"
            return Finding(f"{entry.path} is not executable", described(entry.path), mend)
    return None


@check("script.line_ends", "Are the program's line ends those of Unix?", _FAILS)
def line_ends(facts: Facts) -> Finding | None:
    for entry in _there(facts):
        line = read(entry, _HEAD).partition(b"\n")[0]
        if line.startswith(b"#!") and line.endswith(b"\r"):
            return Finding(
                f"{entry.path} was saved with Windows line ends, so the kernel looks for an "
                "interpreter whose name ends with CR",
                repr(line.decode("ascii", "replace")),
                f"sed -i 's/\\r$//' {shlex.quote(entry.path)}",
            )
    return None


@check("script.interpreter", "Is the program's interpreter there?", _FAILS)
def interpreter(facts: Facts) -> Finding | None:
    for entry in _there(facts):
        data = read(entry, _HEAD)
        line = data.partition(b"\n")[0]
        _, problem = find(data).problem
        if problem and not line.endswith(b"\r"):
            return Finding(
                f"{entry.path}: {problem}",
                binary_kind(data) or repr(line[:100].decode("ascii", "replace")),
                "mend its first line, as in #!/usr/bin/python3, or install the interpreter",
            )
    return None


@check("script.owner", "Would suexec run the program?")
def owner(facts: Facts) -> Finding | None:
    for entry in _there(facts):
        beside = os.path.dirname(os.path.abspath(entry.path))
        folder = os.stat(beside)
        problems = access.of_program(entry, folder, beside)
        if not folder.st_mode & stat.S_ISVTX:
            problems += access.of_folder(folder)
        if problems:
            _, problem = problems[0]
            return Finding(
                f"suexec, or gatebridge as a host of programs, refuses {entry.path}: {problem}",
                described(entry.path),
                f"chown and chmod, as it says; then ls -ld {shlex.quote(beside)} and the file",
                WARNING,
            )
    return None


# -- a shim, as `gatebridge shim check` looks at it

_OF_SHIMS: Final = {
    "state": "script.state", "last start": "script.start", "daemon": "script.start",
    "daemon's Python": "script.python", "one-shot": "script.python",
}  # fmt: skip


def _of_shims(facts: Facts, id: str) -> Iterator[tuple[str, str]]:
    """(path, problem) of shims alone."""
    for path, finding in facts.shims:
        if finding.wrong and _OF_SHIMS.get(finding.about) == id:
            yield path, finding.text


@check("script.state", "May the shim keep its daemon's socket in its state folder?", _FAILS)
def state(facts: Facts) -> Finding | None:
    for path, problem in _of_shims(facts, "script.state"):
        return Finding(
            f"{path} cannot trust the folder of its daemon's socket, so every request is slow",
            problem,
            "remove the folder, which the next request makes anew; gatebridge shim new with "
            "--state-dir chooses another one",
        )
    return None


@check("script.start", "Did the shim's daemon start?", _FAILS)
def start(facts: Facts) -> Finding | None:
    for path, problem in _of_shims(facts, "script.start"):
        mend = "mend what it names; the file NAME.log in the state folder says more"
        return Finding(f"the daemon of {path} does not serve", problem, mend)
    return None


@check("script.python", "Is the Python there that the shim was written for?", _FAILS)
def python(facts: Facts) -> Finding | None:
    for path, problem in _of_shims(facts, "script.python"):
        mend = f"gatebridge shim new APP {shlex.quote(path)} --force writes it for today's Python"
        return Finding(f"{path} cannot run gatebridge", problem, mend)
    return None


@check("script.log", 'What is behind "Premature end of script headers"?')
def log(facts: Facts) -> Finding | None:
    path = facts.meant.error_log
    if not path:
        return None
    lines = tail(path)
    names = [os.path.basename(script) for script in facts.meant.scripts]
    traced = trace(lines, names)
    if traced is None:
        return None
    return Finding(traced.cause, f"{path}:\n" + "\n".join(traced.lines), traced.mend)


CHECKS: Final = tuple(check)
