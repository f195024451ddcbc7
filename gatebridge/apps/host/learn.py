"""Which modules a script imports, read from its text: those may be imported before it runs.

Modules of the script's own folder are never among them. They are what people change, and their
code may well look at the request as it is imported; what they import themselves counts.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MODULES_MOST = 500
_OWN_MOST = 100  # files of its own that are read for what they import
_SIZE_MOST = 1 << 20
_ENDINGS = (".py", "/__init__.py", *importlib.machinery.EXTENSION_SUFFIXES)


def learn(tree: ast.Module, folder: str, path: Sequence[str]) -> list[str]:
    """Modules that running a script imports, in its order.

    tree    of the script
    folder  where it lies
    path    the import path without it
    """
    found: dict[str, None] = {}
    trees, read = [tree], set[str]()
    while trees and len(found) < _MODULES_MOST:
        for name in _imports(trees.pop(0)):
            top = name.partition(".")[0]
            files = _own(folder, top)
            if not files:
                if _is_found(top, path):
                    found[name] = None
                continue
            for file in files:
                if file not in read and len(read) < _OWN_MOST:
                    read.add(file)
                    trees += _parse(file)
    return list(found)[:_MODULES_MOST]


def _imports(node: ast.AST) -> Iterator[str]:
    """Absolute imports that happen when the code runs, not when a function of it is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if not child.level and child.module and child.module != "__future__":
                yield child.module
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.expr):
            yield from _imports(child)


def _own(folder: str, name: str) -> list[str]:
    """Files of the folder that the name may mean, those of a package's other modules too."""
    base = os.path.join(folder, name)
    if os.path.isdir(base):
        with os.scandir(base) as entries:
            inner = sorted(entry.path for entry in entries if entry.name.endswith(".py"))
        return inner or [base]
    return [base + ending for ending in _ENDINGS if os.path.isfile(base + ending)]


def _parse(file: str) -> list[ast.Module]:
    try:
        if not file.endswith(".py") or os.path.getsize(file) > _SIZE_MOST:
            return []
        with open(file, "rb") as opened:
            return [ast.parse(opened.read(), file)]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _is_found(name: str, path: Sequence[str]) -> bool:
    if name in sys.modules or name in sys.stdlib_module_names:
        return True
    try:
        return importlib.machinery.PathFinder.find_spec(name, list(path)) is not None
    except (ImportError, ValueError):
        return False
