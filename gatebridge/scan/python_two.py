"""Python 2 read by fissix (the extra "migrate"): lib2to3 for Pythons that have it no more."""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Protocol, cast

_FIXES = (
    "except", "exec", "ne", "numliterals", "print", "raise", "repr", "throw", "unicode",
)  # fmt: skip
_MOST = 300_000  # characters; fissix takes about a second for 100,000


class _Tool(Protocol):
    def refactor_string(self, data: str, name: str) -> object | None: ...


def is_there() -> bool:
    return _tool() is not None


def translate(text: str) -> str | None:
    """The same program in Python 3's syntax, line for line; its names stay those of Python 2.

    None when fissix is not installed or cannot read it, or when lines would move.
    """
    tool = _tool()
    if tool is None or len(text) > _MOST:
        return None
    try:
        tree = tool.refactor_string(text, "script")
    except Exception:  # whatever its tokenizer and its fixers make of text that is no Python
        return None
    made = "" if tree is None else str(tree)
    return made if made.count("\n") == text.count("\n") else None


@functools.cache
def _tool() -> _Tool | None:
    try:
        refactor = importlib.import_module("fissix.refactor")
    except ImportError:
        return None
    logging.getLogger("RefactoringTool").setLevel(logging.CRITICAL)
    logging.getLogger("fissix.refactor").setLevel(logging.CRITICAL)
    tool = refactor.RefactoringTool([f"fissix.fixes.fix_{name}" for name in _FIXES])
    tool.log_error = _raise
    return cast("_Tool", tool)


def _raise(message: str, *args: object, **kwargs: object) -> None:
    raise ValueError(message)
