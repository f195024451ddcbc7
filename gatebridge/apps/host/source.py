"""Scripts, compiled once as long as their file is the same."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType

_KEPT = 1024  # scripts

Key = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Source:
    """A script's text, read.

    code        None: it does not compile, and whoever runs it will say why
    text        only then, and where the imports are asked for
    unbuffered  its first line asks for "python -u"
    tree        the syntax tree, the first time only
    """

    code: CodeType | None
    text: bytes
    unbuffered: bool
    tree: ast.Module | None


def key_of(status: os.stat_result) -> Key:
    """What differs when a file is another one, or another text."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


class Sources:
    """By path. The least recently compiled go first."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Key, Source]] = {}

    def get(self, path: str, fd: int) -> Source:
        """The script at a path.

        fd      the open file, or -1
        raises  OSError
        """
        key = key_of(os.stat(path if fd < 0 else fd))
        known = self._kept.get(path)
        if known is not None and known[0] == key:
            return known[1]
        source = _compile(_read(path, fd), path)
        self._kept.pop(path, None)
        if len(self._kept) >= _KEPT:
            del self._kept[next(iter(self._kept))]
        kept = Source(source.code, b"" if source.code else source.text, source.unbuffered, None)
        self._kept[path] = (key, kept)
        return source


def _read(path: str, fd: int) -> bytes:
    with open(path if fd < 0 else os.dup(fd), "rb") as file:
        file.seek(0)
        return file.read()


def _compile(text: bytes, path: str) -> Source:
    words = first_line(text).split()
    unbuffered = any(word.startswith(b"-") and b"u" in word for word in words[1:])
    try:
        tree = ast.parse(text, path)
        code = compile(tree, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Source(None, text, unbuffered, None)
    return Source(code, text, unbuffered, tree)


def first_line(text: bytes) -> bytes:
    """What follows "#!"; b"" without."""
    if not text.startswith(b"#!"):
        return b""
    return text[2:].partition(b"\n")[0].strip()


def refusal(line: bytes) -> str:
    """Why the interpreter that a script asks for is not ours; "" when it may be.

    line    what follows "#!"
    """
    words = line.decode("utf-8", "replace").split()
    names = [word.rpartition("/")[2] for word in words if not word.startswith("-")]
    if names[:1] == ["env"]:
        names = [name for name in names[1:] if "=" not in name]
    if not names:
        return ""
    name = names[0]
    if name.startswith(("python2", "jython", "pypy")):
        return f"its first line asks for {name}, and this mode has Python 3 alone: use cgi:"
    if not name.startswith("python"):
        return f"its first line asks for {name}, and this mode is for Python scripts: use cgi:"
    return ""
