"""Sessions kept in a process's own memory, found in an application's sources without running it."""

from __future__ import annotations

import ast
import os
import re
from typing import TYPE_CHECKING, Final

from gatebridge.apps.target import is_hosted
from gatebridge.apps.upstream_options import is_upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from re import Pattern

_FILES: Final = 300  # looked at
_SIZE: Final = 256 << 10
_DEPTH: Final = 3
_SKIPPED: Final = ("node_modules", "site-packages", "tests", "venv", "env", "__pycache__")

_LIKELY: Final = re.compile(r"session|SimpleCache|LocMemCache", re.I)
_DJANGO: Final = re.compile(r"^SESSION_ENGINE\s*=.*backends\.cache['\"]", re.M)
_ROWS: Final = (
    (re.compile(r"session\.type['\"]?\]?\s*[:=]\s*['\"]memory['\"]"), "Beaker's memory sessions"),
    (re.compile(r"SESSION_TYPE['\"]?\]?\s*[:=]\s*['\"]simple['\"]"), "Flask-Session's simple"),
    (re.compile(r"storage_type['\"]\s*:\s*['\"]ram['\"]"), "CherryPy's ram sessions"),
)
_NAME: Final = re.compile(r"sessions?|logged_in(_users)?", re.I)
_MAKERS: Final = ("dict", "defaultdict", "OrderedDict")


def find_sessions(target: str, folders: Sequence[str]) -> str:
    """ "shop/login.py:4: sessions is a dict, filled while requests are answered"; "" for none.

    target   as in module:name; programs of a folder are processes of their own
    folders  where its module is looked for
    """
    return _found(target, folders, _look)


def find_in_sources(target: str, folders: Sequence[str], pattern: Pattern[str]) -> str:
    """ "shop/feed.py:4" where the pattern is first; "" for nowhere. Else as find_sessions()."""

    def look(path: str) -> str:
        text = _read(path)
        match = pattern.search(text)
        return f"{path}:{_line(text, match.end())}" if match else ""

    return _found(target, folders, look)


def _found(target: str, folders: Sequence[str], look: Callable[[str], str]) -> str:
    if is_hosted(target) or is_upstream(target) or target.startswith("static:"):
        return ""
    return next(filter(None, map(look, _sources(target, folders))), "")


def _sources(target: str, folders: Sequence[str]) -> Iterator[str]:
    """The module's own package or file, and what lies beside it in the same folder."""
    name = target.partition(":")[0]
    first = name.partition(".")[0] if not name.endswith(".py") else name
    for folder in folders:
        place = os.path.join(folder, first)
        if not any(os.path.exists(one) for one in (place, f"{place}.py")):
            continue
        count = 0
        for at, inner, names in os.walk(folder):
            depth = os.path.relpath(at, folder).count(os.sep)
            inner[:] = sorted(n for n in inner if n not in _SKIPPED and not n.startswith("."))
            if depth >= _DEPTH:
                inner.clear()
            for file in sorted(names):
                if file.endswith(".py"):
                    yield os.path.join(at, file)
                    count += 1
                    if count >= _FILES:
                        return
        return


def _read(path: str) -> str:
    try:
        if os.path.getsize(path) > _SIZE:
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _look(path: str) -> str:
    text = _read(path)
    if not _LIKELY.search(text):
        return ""
    for row, what in _ROWS:
        match = row.search(text)
        if match:
            return f"{path}:{_line(text, match.start())}: {what}"
    match = _DJANGO.search(text)
    if match and ("LocMemCache" in text or "CACHES" not in text):
        return f"{path}:{_line(text, match.start())}: Django's sessions in the local memory cache"
    return _filled_dict(path, text)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _filled_dict(path: str, text: str) -> str:
    """A dict of the module called sessions, or alike, to which a function adds."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ""
    made = {name: node.lineno for node in tree.body for name in _dicts(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for name in _filled(node):
            if name in made:
                why = "is a dict, filled while requests are answered"
                return f"{path}:{made[name]}: {name} {why}"
    return ""


def _dicts(node: ast.stmt) -> Iterator[str]:
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return
    value = node.value
    is_empty = isinstance(value, ast.Dict) and not value.keys
    is_made = (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in _MAKERS
    )
    if is_empty or is_made:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name) and _NAME.fullmatch(target.id):
                yield target.id


def _filled(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        targets = node.targets if isinstance(node, ast.Assign) else []
        for target in targets:
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
                yield target.value.id
