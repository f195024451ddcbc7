""" "Premature end of script headers" in a web server's error log, traced to what was said before.

Apache and lighttpd log what a program writes to its standard error as lines before it, mostly with
the same client; the kernel's refusal to start it is a line of the server's own.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_BEFORE: Final = 60  # lines before the complaint
_SHOWN: Final = 12
_TAIL: Final = 256 << 10  # bytes, from its end
_CUT: Final = 300  # bytes of a line

_COMPLAINT: Final = re.compile(
    r"(?:Premature end of script headers|End of script output before headers)"
    r"(?::\s*(?P<name>[^\s,]+))?"
    r"|malformed header from script '(?P<malformed>[^']+)'"
    r"|upstream prematurely closed FastCGI stdout while reading response header"
    r"|FastCGI process exited unexpectedly",
    re.I,
)
_EXECUTED: Final = re.compile(r"exec of '([^']+)' failed")
_CLIENT: Final = re.compile(r"\[client ([^\]]+)\]|client: ([0-9A-Fa-f.:]+)")

# (what a line says, cause, what mends it): the first row that any line before it matches
_CAUSES: Final = (
    (r"Exec format error", "the kernel cannot run the program: it has no #! line, or is no program",
     "#!/usr/bin/python3 as its first line, or what else runs it; no byte order mark before"),
    (r"\(2\)No such file or directory.*exec|exec of .*No such file|bad interpreter",
     "the interpreter that the program's first line names is not there, or the line ends with CR",
     "gatebridge doctor --script FILE tells which; sed -i 's/\\r$//' FILE, or mend the line"),
    (r"\(13\)Permission denied.*exec|exec of .*Permission denied|can't open.*Permission denied",
     "the web server may not execute the program", "chmod +x FILE, and x on each folder above it"),
    (r"suexec policy violation|uid mismatch|directory is writable by others|file is writable by",
     "suexec refuses the program", "suexec.log names the rule; so does gatebridge doctor --script"),
    (r"ModuleNotFoundError: .*|ImportError: .*", "the program imports what is not there",
     "install it for the Python of the program's first line"),
    (r"Can't locate \S+ in @INC", "the program needs a Perl module that is not there",
     "install the module that the line names"),
    (r"SyntaxError: .*|IndentationError: .*|TabError: .*|syntax error at .*",
     "the program is no valid source for its interpreter",
     "run it by hand; Python 2's sources need Python 2 or the steps of docs/migration.md"),
    (r"PermissionError: .*|FileNotFoundError: .*", "the program may not open a file, or it is gone",
     "grant it to the user that programs run as, or mend the path"),
    (r"MemoryError|Cannot allocate memory|RLimit", "the program has too little memory",
     "raise RLimitMEM, or the memory of its unit"),
    (r"malformed header from script|Bad header", "the program prints something before its headers",
     "print Content-Type and an empty line first; print nothing while importing"),
    (r"[Tt]ime-?out waiting for output|Script timed out", "the program says nothing for too long",
     "see what it waits for; Timeout or CGIScriptTimeout sets how long"),
    (r"[Ss]egmentation fault|signal \d+|core dumped", "the program was ended by a signal",
     "run it by hand with the same variables"),
    (r"\b\w*(?:Error|Exception|Exit)\b: .*", "the program failed before it had printed its headers",
     "mend what the last line of its traceback names"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Traced:
    """lines: of the log, the complaint last."""

    cause: str
    mend: str
    lines: tuple[str, ...]


def tail(path: str) -> list[str]:
    """The last lines of a log. raises OSError, also where it is a pipe, as in containers"""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file, so nothing can be read back", path)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        return file.read().decode("utf-8", "replace").splitlines()


def trace(lines: Sequence[str], names: Sequence[str] = ()) -> Traced | None:
    """The last complaint of a log. None where there is none.

    names  of programs; a complaint about another one is passed over. () for all
    """
    for at in range(len(lines) - 1, -1, -1):
        found = _COMPLAINT.search(lines[at])
        if found is None:
            continue
        name = found["name"] or found["malformed"] or ""
        if _is_meant(name, lines[at], names):
            return _traced(lines, at, name)
    return None


def _is_meant(name: str, line: str, names: Sequence[str]) -> bool:
    return not names or name in names or any(f"/{one}" in line for one in names)


def _traced(lines: Sequence[str], at: int, name: str) -> Traced:
    said = [*_said_before(lines, at, name), lines[at]]
    shown = tuple(line[:_CUT] for line in said[-_SHOWN:])
    who = f"{name}: " if name else ""
    paths = [hit[1] for line in said if (hit := _EXECUTED.search(line))]
    file = shlex.quote(paths[-1] if paths else name or "FILE")
    for pattern, cause, mend in _CAUSES:
        match = next((hit for line in reversed(said) if (hit := re.search(pattern, line))), None)
        if match is not None:
            words = f" ({match[0]})" if match[0].partition(":")[2] else ""
            return Traced(f"{who}{cause}{words}"[:_CUT], mend.replace("FILE", file), shown)
    return Traced(
        f"{who}the program ended without a word",
        f"run it by hand as the web server's user: env -i REQUEST_METHOD=GET {file}",
        shown,
    )


def _said_before(lines: Sequence[str], at: int, name: str) -> list[str]:
    """Lines of the same request, as far as they tell.

    Those that name no client belong to the next complaint after them; those of the client are
    taken back to its own complaint before.
    """
    client = _client(lines[at])
    found = []
    is_next = True
    for line in reversed(lines[max(0, at - _BEFORE) : at]):
        other = _client(line)
        complaint = _COMPLAINT.search(line)
        if complaint is not None and not (name and complaint["malformed"] == name):
            if other == client:
                break
            is_next = False
        elif _executes_another(line, name) or (client and other and other != client):
            continue
        elif other or is_next:
            found.append(line)
    return found[::-1]


def _executes_another(line: str, name: str) -> bool:
    executed = _EXECUTED.search(line)
    return bool(name and executed and os.path.basename(executed[1]) != name)


def _client(line: str) -> str:
    match = _CLIENT.search(line)
    return (match[1] or match[2]) if match else ""
