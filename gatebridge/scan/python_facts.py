"""Facts, imports and applications in the syntax tree of a Python file.

The tree is walked with a stack of our own: a deeply nested file must not end this program.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from gatebridge.scan.facts import Fact
from gatebridge.scan.gateways import is_server, lacking, of_a_star, of_bottle, redirected
from gatebridge.scan.python_calls import (
    ASGI,
    CALLS,
    FAMILIES,
    METHODS,
    NO_WSGI,
    OLD_METHODS,
    OLD_NAMES,
    OPENERS,
    QUIET,
    SERVERS,
    TARGETS,
    WEB_VERBS,
)

APPLICATION_NAMES = ("application", "app")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, slots=True)
class Import:
    """name: the first part of a dotted one. is_optional: an ImportError of it is caught."""

    name: str
    line: int
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """application: (line, how it is defined), or None. old_names: (line, name)."""

    facts: list[Fact] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    applications: list[tuple[int, str]] = field(default_factory=list)
    old_names: list[tuple[int, str]] = field(default_factory=list)


def look(tree: ast.Module) -> Found:
    """Everything this module knows how to see, in no order."""
    look = _Look(tree)
    look.walk(tree)
    return look.found


class _Look:
    def __init__(self, tree: ast.Module) -> None:
        self.found = Found()
        self._names: dict[str, str] = {}  # a name in the file -> the dotted name it stands for
        self._modules: set[str] = set()  # names that stand for modules
        self._own: set[str] = set()  # functions, classes and variables of the file
        self._at_import = False
        for node in ast.walk(tree):
            self._learn(node)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for base in filter(is_server, map(self._dotted, node.bases)):
                    self._names[node.name] = base
        self._called = _called_at_import(tree)

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                self._names[alias.asname or first] = alias.name if alias.asname else first
                self._modules.add(alias.asname or first)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                dotted = f"{node.module or ''}.{alias.name}"
                name = alias.asname or alias.name
                if not is_server(self._names.get(name, "")):  # else it is what stands in for flup
                    self._names[name] = dotted
            if of_a_star(node):
                self._names["WSGIServer"] = of_a_star(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self._own.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self._own.add(node.id)

    def walk(self, tree: ast.Module) -> None:
        """(node, does it run at the import, is an ImportError caught around it)"""
        waiting: list[tuple[ast.AST, bool, bool]] = [(tree, True, False)]
        while waiting:
            node, at_import, caught = waiting.pop()
            self._at_import = at_import
            self._see(node, caught)
            if isinstance(node, _FUNCTIONS):
                at_import = at_import and getattr(node, "name", "") in self._called
            guard = isinstance(node, ast.If) and _guard(node.test)
            for name, value in ast.iter_fields(node):
                children = value if isinstance(value, list) else [value]
                runs = at_import and not (guard == "main" and name == "body")
                safe = caught or (guard == "version") or (name != "finalbody" and _catches(node))
                waiting += [(c, runs, safe) for c in children if isinstance(c, ast.AST)]

    def _see(self, node: ast.AST, caught: bool) -> None:
        if isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self._import(node, caught)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Delete)):
            self._change(node)
        elif isinstance(node, ast.FunctionDef):
            self._definition(node)
        elif isinstance(node, ast.Name):
            if node.id in OLD_NAMES and node.id not in self._own | self._names.keys():
                self.found.old_names.append((node.lineno, node.id))
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Raise) and node.exc is not None:
            if self._dotted(node.exc).removesuffix("()") == "SystemExit":
                self._add("sys_exit", node.lineno, "SystemExit")

    def _add(self, code: str, line: int, text: str) -> None:
        self.found.facts.append(Fact(code, line, text, self._at_import))

    # --- what is called

    def _call(self, node: ast.Call) -> None:
        name = self._dotted(node.func)
        code = CALLS.get(name, "")
        if not code and name not in QUIET:
            code = next((c for start, c in FAMILIES if name.startswith(start)), "")
        if name in OPENERS and _writes(node):
            code = "writes_files"
        elif name in ("eval", "exec", "execfile") and node.args and _is_constant(node.args[0]):
            code = ""
        elif name in ("os.write", "os.read", "os.fdopen", "open") and _is_low(node):
            code = "descriptors"
        elif code == "starts_programs" and any(
            word.arg == "shell" and getattr(word.value, "value", None) for word in node.keywords
        ):
            code = "shell"
        elif name.startswith(("requests.", "httpx.")) and name.split(".")[1] in WEB_VERBS:
            code = "proxy"
        elif not code and isinstance(node.func, ast.Attribute):
            code = METHODS.get(node.func.attr, "")
        if name == "bottle.run":
            name = of_bottle(node) or name
        if self._serves(name):
            code = "serves"
        if code:
            self._add(code, node.lineno, name or getattr(node.func, "attr", "?"))

    def _serves(self, name: str) -> bool:
        own = name.removesuffix(".run") in APPLICATION_NAMES and name.endswith(".run")
        return name in SERVERS or own

    def _dotted(self, node: ast.AST) -> str:
        """ "os.path.join" of what a name stands for, "f().run" of a call's result, or ""."""
        parts: list[str] = []
        while True:
            if isinstance(node, ast.Attribute):
                parts.append(f".{node.attr}")
                node = node.value
            elif isinstance(node, ast.Call):
                parts.append("()")
                node = node.func
            else:
                break
        if not isinstance(node, ast.Name):
            return ""
        first = self._names.get(node.id)
        if first is None:
            own = node.id in self._own and node.id not in APPLICATION_NAMES
            first = f"<own>{node.id}" if own else node.id
        return first + "".join(reversed(parts))

    # --- what is imported

    def _import(self, node: ast.Import | ast.ImportFrom, caught: bool) -> None:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [node.module or ""] if not node.level else []
            bound = {alias.asname or alias.name for alias in node.names}
            for name in APPLICATION_NAMES:
                if name in bound and self._at_import:
                    said = f"{name} comes from {node.module or '.'}"
                    self.found.applications.append((node.lineno, said))
        line = redirected(node)
        if line:
            self._add("gateway", node.lineno, line)
        for gone in lacking(names):
            self._add("lacking", node.lineno, gone)
        for dotted in names:
            first = dotted.partition(".")[0]
            if first:
                self.found.imports.append(Import(first, node.lineno, caught))
            if first == "multiprocessing" and dotted == "multiprocessing.dummy":
                self._add("threads", node.lineno, dotted)

    # --- what is changed

    def _change(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Delete) -> None:
        several = isinstance(node, (ast.Assign, ast.Delete))
        for target in node.targets if several else [node.target]:  # type: ignore[union-attr]
            inner = target.value if isinstance(target, ast.Subscript) else target
            if isinstance(inner, ast.Attribute):
                self._change_attribute(inner)
            elif isinstance(inner, ast.Name):
                self._change_name(node, inner, isinstance(target, ast.Subscript))

    def _change_attribute(self, target: ast.Attribute) -> None:
        name = self._dotted(target)
        for known, code in TARGETS.items():
            if name == known or name.startswith(f"{known}."):
                self._add(code, target.lineno, name)
                return
        root: ast.AST = target
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in self._modules:
            self._add("patches", target.lineno, name)

    def _change_name(self, node: ast.AST, target: ast.Name, is_item: bool) -> None:
        code = TARGETS.get(self._names.get(target.id, ""), "")
        if code and is_item:  # from os import environ; environ["X"] = ...
            self._add(code, target.lineno, self._names[target.id])
        value = getattr(node, "value", None)
        if target.id in APPLICATION_NAMES and self._at_import and isinstance(value, ast.Call):
            maker = self._dotted(value.func)
            if (
                maker
                and maker.rpartition(".")[2] not in ASGI
                and maker not in NO_WSGI
                and not is_item
            ):
                maker = maker.removeprefix("<own>")
                self.found.applications.append((target.lineno, f"{target.id} = {maker}(…)"))

    def _definition(self, node: ast.FunctionDef) -> None:
        named = [argument.arg for argument in node.args.args]
        if node.name in APPLICATION_NAMES and node.col_offset == 0 and len(named) == 2:
            said = f"def {node.name}({', '.join(named)})"
            self.found.applications.append((node.lineno, said))

    def _attribute(self, node: ast.Attribute) -> None:
        if node.attr in OLD_METHODS and node.attr not in self._own:
            self.found.old_names.append((node.lineno, f".{node.attr}"))
        elif node.attr in ("__stdout__", "__stdin__", "__stderr__"):
            self._add("descriptors", node.lineno, f"sys.{node.attr}")


def _called_at_import(tree: ast.Module) -> set[str]:
    """Functions of the file that its top level calls, as main() in its last line."""
    names = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.add(node.func.id)
        if isinstance(node, ast.If) and _guard(node.test) == "main":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return names


def _guard(test: ast.expr) -> str:
    """ "main": __name__ == "__main__"; "version": of Python's version, or for type checkers."""
    if isinstance(test, ast.Compare):
        sides = [test.left, *test.comparators]
        names = {getattr(side, "id", getattr(side, "value", None)) for side in sides
                 if isinstance(side, (ast.Name, ast.Constant))}  # fmt: skip
        if {"__name__", "__main__"} <= names:
            return "main"
    for node in ast.walk(test):
        if getattr(node, "attr", getattr(node, "id", "")) in ("version_info", "TYPE_CHECKING",
                                                              "PY2", "PY3"):  # fmt: skip
            return "version"
    return ""


def _catches(node: ast.AST) -> bool:
    if not isinstance(node, ast.Try):
        return False
    names = set()
    for handler in node.handlers:
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        names |= {getattr(kind, "id", "") if kind else "Exception" for kind in kinds}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _writes(node: ast.Call) -> bool:
    """Does open() say so? os.open() by its flags."""
    given = node.args[1:2] + [word.value for word in node.keywords if word.arg == "mode"]
    for item in given:
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            return bool(set(item.value) & set("wax+"))
        flags = {getattr(part, "attr", "") for part in ast.walk(item)}
        return bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT"})
    return False


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)


def _is_low(node: ast.Call) -> bool:
    """Is its first argument descriptor 0, 1 or 2?"""
    first = node.args[0] if node.args else None
    return isinstance(first, ast.Constant) and first.value in (0, 1, 2) and first.value is not True
