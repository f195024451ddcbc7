"""Who runs a program: its first line, or the loader that a compiled one names."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass

PATH = "/usr/local/bin:/usr/bin:/bin"  # what a hosted script is given
_FIRST_LINE_MAX = 255  # bytes with "#!"; Linux cuts off or refuses what is longer
_VERSION = re.compile(r"(?:python|perl|ruby|php|lua|tclsh|node)(?:-cgi)?-?(\d+(?:\.\d+)*)\b")
_HOME_VERSION = re.compile(r"version(?:_info)?\s*=\s*(\d+\.\d+(?:\.\d+)?)")

_ELF = b"\x7fELF"
_MACHINES = {3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64",
             183: "aarch64", 243: "riscv"}  # fmt: skip
_KINDS = (
    (_ELF, "compiled"),
    (b"MZ", "Windows program"),
    (b"\xcf\xfa\xed\xfe", "macOS program"),
    (b"\xca\xfe\xba\xbe", "macOS program or Java class"),
    (b"PK\x03\x04", "zip file"),
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """Who runs a program.

    name      as the program names it: "/usr/bin/env python3", "" when it names nobody
    path      the file that is meant; "" when there is none
    version   read off names and files, "" when they do not tell; "x86_64" of compiled programs
    problem   (code, sentence) why the program cannot be run by it, or ("", "")
    """

    name: str = ""
    path: str = ""
    version: str = ""
    problem: tuple[str, str] = ("", "")

    @property
    def kind(self) -> str:
        """ "python2.7" of "/usr/bin/env -S python2.7 -u"."""
        return os.path.basename(_program(self.name.split())) if self.name else ""


def binary_kind(data: bytes) -> str:
    """What a file's first bytes say it is; "" for text."""
    for start, kind in _KINDS:
        if data.startswith(start):
            return kind
    return "binary" if b"\0" in data[:4096] and not data.startswith(b"#!") else ""


def find(data: bytes) -> Interpreter:
    """Who runs the program that begins with these bytes."""
    if data.startswith(_ELF):
        return _of_elf(data)
    if data.startswith(b"\xef\xbb\xbf#!"):
        said = "begins with a byte order mark, so the kernel does not see its first line: remove it"
        line = _first_line(data[3:])
        return Interpreter(line.rstrip("\r"), problem=("interpreter.bom", said))
    if not data.startswith(b"#!"):
        return Interpreter(problem=("interpreter.none", _no_first_line(data)))
    return _of_first_line(_first_line(data), data)


def _first_line(data: bytes) -> str:
    return os.fsdecode(data[2 : _FIRST_LINE_MAX * 4].partition(b"\n")[0]).strip(" \t")


def _no_first_line(data: bytes) -> str:
    kind = binary_kind(data)
    if kind:
        return f"a {kind}: nothing here can run it"
    return "names no interpreter: its first line must be as in #!/usr/bin/python3"


def _of_first_line(line: str, data: bytes) -> Interpreter:
    if not line.strip():
        return Interpreter(problem=("interpreter.none", "its first line, #!, names nobody"))
    if line.endswith("\r"):
        line = line.rstrip("\r")
        said = "its first line ends with CR LF, and the kernel takes the CR for a part of the name:"
        said = f"{said} change its line ends (sed -i 's/\\r$//' FILE)"
        return Interpreter(line, _place(line)[0], problem=("interpreter.crlf", said))
    if len(os.fsencode(line)) > _FIRST_LINE_MAX - 2 and data.find(b"\n") != -1:
        return Interpreter(
            line[:80], problem=("interpreter.too_long", "its first line is longer than 255 bytes")
        )
    path, problem = _place(line)
    return Interpreter(line, path, _version(path) if path else _named_version(line), problem)


def _program(words: list[str]) -> str:
    """What env is asked to run, or the interpreter itself."""
    if not words or os.path.basename(words[0]) != "env":
        return words[0] if words else ""
    for word in words[1:]:
        word = word.removeprefix("-S")
        if word and not word.startswith("-") and "=" not in word:
            return word
    return words[0]


def _place(line: str) -> tuple[str, tuple[str, str]]:
    """(the interpreter's file or "", the problem with it)."""
    words = line.split()
    path = words[0]
    if not os.path.isabs(path):
        return "", ("interpreter.relative", f"names {path!r}, which is no absolute path")
    missing = _missing(path)
    if missing[0] or os.path.basename(path) != "env":
        return ("" if missing[0] else path), missing
    name = _program(words)
    if name == path:
        return path, ("interpreter.none", "names env alone")
    for folder in PATH.split(":"):
        found = os.path.join(folder, name)
        if _runs(found):
            return found, ("", "")
    return "", ("interpreter.missing", f"its interpreter {name!r} is nowhere in {PATH}")


def _missing(path: str) -> tuple[str, str]:
    if not os.path.exists(path):
        return "interpreter.missing", f"its interpreter {path} does not exist{_near(path)}"
    if not _runs(path):
        return "interpreter.not_executable", f"its interpreter {path} cannot be executed"
    return "", ""


def _runs(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _near(path: str) -> str:
    """ "; /usr/bin/python3 does" for /usr/bin/python and its like."""
    name = os.path.basename(path)
    for other in (f"{name}3", name.rstrip("0123456789."), name):
        for folder in PATH.split(":"):
            near = os.path.join(folder, other)
            if other and near != path and _runs(near):
                return f"; {near} does"
    return ""


def _named_version(line: str) -> str:
    found = _VERSION.fullmatch(os.path.basename(_program(line.split())))
    return found[1] if found else ""


def _version(path: str) -> str:
    """Without asking it: by a venv's pyvenv.cfg, or by the name that its links end at."""
    home = os.path.dirname(os.path.dirname(path))
    try:
        with open(os.path.join(home, "pyvenv.cfg"), encoding="utf-8", errors="replace") as file:
            found = _HOME_VERSION.search(file.read(4096))
            if found:
                return found[1]
    except OSError:
        pass
    names = [os.path.basename(os.path.realpath(path)), os.path.basename(path)]
    versions = [found[1] for name in names if (found := _VERSION.fullmatch(name))]
    return max(versions, key=len, default="")


def _of_elf(data: bytes) -> Interpreter:
    """The machine and the loader (PT_INTERP) of an ELF file's head."""
    try:
        wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
        machine = struct.unpack_from(f"{order}H", data, 18)[0]
        table = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", data, 32 if wide else 28)[0]
        size, count = struct.unpack_from(f"{order}HH", data, 54 if wide else 42)
        loader = _loader(data, order, wide, range(table, table + size * min(count, 64), size or 1))
    except (struct.error, IndexError, ValueError, OverflowError):
        return Interpreter(problem=("interpreter.none", "its head, of an ELF file, is cut"))
    version = _MACHINES.get(machine, f"machine {machine}")
    problem = _missing(loader) if loader else ("", "")
    ours = os.uname().machine
    if version != ours and {version, ours} != {"i386", "x86_64"} and ours in _MACHINES.values():
        problem = ("interpreter.machine", f"compiled for {version}; this machine is {ours}")
    return Interpreter(loader, "" if problem[0] else loader, version, problem)


def _loader(data: bytes, order: str, wide: bool, places: range) -> str:
    for at in places:
        kind = struct.unpack_from(f"{order}I", data, at)[0]
        if kind == 3:  # PT_INTERP
            start, size = struct.unpack_from(f"{order}QxxxxxxxxxxxxxxxxQ", data, at + 8) \
                if wide else struct.unpack_from(f"{order}IxxxxxxxxI", data, at + 4)  # fmt: skip
            return os.fsdecode(data[start : start + size].rstrip(b"\0"))
    return ""
