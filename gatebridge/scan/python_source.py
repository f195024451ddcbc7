"""A Python file: which Python it is for, what it does, what it imports."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from dataclasses import dataclass

from gatebridge.scan import python_patterns, python_two
from gatebridge.scan.facts import Fact, some
from gatebridge.scan.modules import OF_PYTHON_2
from gatebridge.scan.python_facts import Found, Import, look

MOST = 1 << 20  # bytes of a file that is parsed
_MOST_IMPORTS = 200
_WANTS = re.compile(r"python-?(\d)")


@dataclass(frozen=True, slots=True)
class Source:
    """What a Python file says of itself.

    python        "2", "3", or "" when it is neither
    why, line     the evidence, and where it is; line 0: in the first line, or in no line
    read_by       "Python's parser", "fissix", or "patterns", which see less
    encoding      "utf-8", "latin-1" …, as the file says; "" where it says one that does not exist
    application   (line, how it is defined) of a WSGI application at the top level, or None
    """

    python: str
    why: str
    line: int
    read_by: str
    encoding: str
    facts: tuple[Fact, ...] = ()
    imports: tuple[Import, ...] = ()
    application: tuple[int, str] | None = None


def read(data: bytes, interpreter: str = "") -> Source:
    """Read a Python file of at most MOST bytes.

    interpreter  the name in its first line: "python", "python2.7", ""
    """
    encoding, no_encoding = _encoding(data)
    wanted = _WANTS.match(interpreter)
    wants = wanted[1] if wanted else ""
    try:
        tree = parse(data)
    except SyntaxError as error:
        return _not_of_python_3(data, encoding, wants, _Complaint(error.lineno, error.msg))
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        said = "nests too deeply" if not isinstance(error, ValueError) else str(error)
        return _not_of_python_3(data, encoding, wants, _Complaint(0, said))
    found = look(tree)
    python, why, line = _which(found, wants, no_encoding)
    return _source(found, python, why, line, "Python's parser", encoding)


def parse(data: bytes | str) -> ast.Module:
    """Without Python's warnings about what it parses. raises SyntaxError, RecursionError, …"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(data)


@dataclass(frozen=True, slots=True)
class _Complaint:
    """Of Python 3's parser."""

    line: int | None
    text: str


def _not_of_python_3(data: bytes, encoding: str, wants: str, complaint: _Complaint) -> Source:
    text = decode(data, encoding)
    sign = python_patterns.sign(text)
    translated = python_two.translate(text)
    if translated is not None:
        try:
            found = look(parse(translated))
        except (SyntaxError, RecursionError, MemoryError, ValueError):
            translated = None
    if translated is None:
        found = python_patterns.look(text)
    read_by = "patterns" if translated is None else "fissix"
    line, said = complaint.line or 0, complaint.text
    if sign is not None:
        line, said = sign
    elif translated is not None:
        said = f"not of Python 3 ({said}), and fissix can read it"
    elif wants != "2":
        return _source(found, "", f"no Python can read it: {said}", line, read_by, encoding)
    python = "2" if wants != "3" or sign is not None or translated is not None else ""
    return _source(found, python, said, line, read_by, encoding)


def _which(found: Found, wants: str, no_encoding: str) -> tuple[str, str, int]:
    """(2 or 3, why, line) of what Python 3's parser can read."""
    old = [(item.line, f"imports {item.name}") for item in found.imports
           if item.name in OF_PYTHON_2 and not item.is_optional]  # fmt: skip
    old += [(line, f"uses {name}") for line, name in found.old_names]
    if wants == "2":
        return "2", "its first line names it", 1
    if old and wants != "3":
        line, said = min(old)
        return "2", said, line
    if no_encoding and wants != "3":
        return "2", no_encoding, 1
    if wants == "3":
        return "3", "its first line names it", 1
    return "3", "Python 3 can read it, and it uses nothing that only Python 2 has", 0


def _source(found: Found, python: str, why: str, line: int, read_by: str, encoding: str) -> Source:
    facts = list(found.facts)
    if python == "3":
        facts += [Fact("python_2", line, name) for line, name in found.old_names]
    imports: dict[tuple[str, bool], Import] = {}
    for item in sorted(found.imports, key=lambda item: item.line):
        imports.setdefault((item.name, item.is_optional), item)
    kept = tuple(list(imports.values())[:_MOST_IMPORTS])
    application = min(found.applications, default=None)
    return Source(python, why, line, read_by, encoding, some(facts), kept, application)


def _encoding(data: bytes) -> tuple[str, str]:
    """(its name, a complaint or "") by PEP 263."""
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0].removesuffix("-sig"), ""
    except SyntaxError as error:
        if "unknown encoding" in str(error):
            return "", str(error)
        return "latin-1", "is not UTF-8 and names no encoding"


def decode(data: bytes, encoding: str = "utf-8") -> str:
    """As lines that end with LF; what cannot be decoded is read as latin-1."""
    try:
        text = data.decode(encoding or "latin-1")
    except (LookupError, ValueError):
        text = data.decode("latin-1")
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else f"{text}\n"
