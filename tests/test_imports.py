"""The house: which module may import which, and how long things may get.

A module imports what has a lower rank, or what lies in its own folder. Cold modules are what one
CGI request imports, so they import next to nothing. Pure modules do no I/O.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A folder stands for every module in it that is not named itself.
RANKS = {
    "gatebridge": 0,
    "gatebridge.errors": 0,
    "gatebridge.next_steps": 1,
    "gatebridge.settings": 0,
    "gatebridge.units": 0,
    "gatebridge.wire": 1,
    "gatebridge.environ": 2,
    "gatebridge.bind": 2,
    "gatebridge.meta": 2,
    "gatebridge.engine": 3,
    "gatebridge.connect": 3,
    "gatebridge.apps.host": 3,
    "gatebridge.apps": 4,
    "gatebridge.client": 4,
    "gatebridge.client_http": 4,
    "gatebridge.control_client": 5,
    "gatebridge.routing": 5,
    "gatebridge.serve": 6,
    "gatebridge.fronts": 7,
    "gatebridge.config": 7,
    "gatebridge.scan": 7,
    "gatebridge.aio": 8,
    "gatebridge.assemble": 8,
    "gatebridge.front_check": 8,
    "gatebridge.front_install": 8,
    "gatebridge.front_places": 8,
    "gatebridge.loading": 8,
    "gatebridge.daemon": 9,
    "gatebridge.oneshot": 9,
    "gatebridge.oneshot_async": 9,
    "gatebridge.dev": 10,
    "gatebridge.serving": 10,
    "gatebridge.serving_several": 10,
    "gatebridge.dispatch": 9,
    "gatebridge.relay": 9,
    "gatebridge.relay_baked": 0,
    "gatebridge.relay_build": 8,
    "gatebridge.relay_duplex": 9,
    "gatebridge.relay_fail": 9,
    "gatebridge.relay_place": 0,
    "gatebridge.relay_start": 9,
    "gatebridge.relay_text": 9,
    "gatebridge.shim": 8,
    "gatebridge.shim_check": 9,
    "gatebridge.doctor": 10,
    "gatebridge.compat": 10,
    "gatebridge.compat.flup": 11,
    "gatebridge.compat.wsgiref": 11,
    "gatebridge.cli": 11,
    "gatebridge.autostart": 12,
    "gatebridge.__main__": 12,
}

COLD = {  # of every CGI request
    "gatebridge",
    "gatebridge.errors",
    "gatebridge.wire",
    "gatebridge.wire.scan",
    "gatebridge.wire.request",
    "gatebridge.wire.cgi_head",
    "gatebridge.environ",
    "gatebridge.environ.build",
    "gatebridge.environ.front",
    "gatebridge.environ.variables",
    "gatebridge.engine",
    "gatebridge.engine.wsgi",
    "gatebridge.oneshot",
}
COLD_SOME = {  # of requests with a body, with a path that needs a row, or with an error
    "gatebridge.environ.border",
    "gatebridge.environ.case",
    "gatebridge.environ.paths",
    "gatebridge.environ.profile",
    "gatebridge.environ.quirks",
    "gatebridge.environ.repairs",
    "gatebridge.environ.trust",
    "gatebridge.engine.body",
    "gatebridge.engine.pages",
}
COLD_MAY = {"_signal", "io", "os", "posix", "signal", "sys"}  # os, signal: on Windows only

PURE = ("gatebridge.wire", "gatebridge.environ", "gatebridge.fronts")
IMPURE = {"logging", "os", "select", "selectors", "socket", "subprocess", "threading", "time"}

# What only some may import: (name, who, why)
ONLY = (
    ("click", ("gatebridge.cli",), "the rest is a library"),
    ("rich", ("gatebridge.cli",), "the rest is a library"),
    ("h11", ("gatebridge.wire.http", "gatebridge.wire.http_head"), "HTTP is spoken there"),
    ("wsproto", ("gatebridge.wire.websocket",), "WebSocket frames are read there"),
    ("tomllib", ("gatebridge.config",), "one place reads files of options"),
    ("subprocess", ("gatebridge.apps", "gatebridge.serve", "gatebridge.shim",
                    "gatebridge.front_check", "gatebridge.relay_build", "gatebridge.shim_check"),
     "programs are started in few places; shims ask another interpreter for its paths"),
)  # fmt: skip
FORK = ("gatebridge.apps", "gatebridge.compat.prefork", "gatebridge.relay_start",
        "gatebridge.serve")  # fmt: skip

MAX_FUNCTION = 40  # lines
MAX_FILE = 400
LONGER = {  # "path" or "path:function" -> why it may be
    "gatebridge/serve/site.py:__init__": "Every field of a site is said once, in one place.",
    "gatebridge/settings.py": "Every option is said once, in one list; two would need a rule "
    "where to look.",
    "gatebridge/wire/fastcgi.py": "The fast path repeats the rules of the slow one, so they stay "
    "side by side.",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    module_of(path): ast.parse(path.read_text("utf-8"), str(path))
    for path in sorted((ROOT / "gatebridge").rglob("*.py"))
}
PATHS = {module_of(path): path for path in sorted((ROOT / "gatebridge").rglob("*.py"))}


def rank(module: str) -> int | None:
    """Its own row in RANKS, or that of the nearest folder below gatebridge itself."""
    while module not in RANKS and module.count(".") > 1:
        module = module.rpartition(".")[0]
    return RANKS.get(module)


def folder(module: str) -> str:
    if module in PATHS and PATHS[module].name == "__init__.py":
        return module
    return module.rpartition(".")[0]


def within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


class Import:
    """One import. when: "start", "call" (inside a function) or "types" (never at run time)."""

    def __init__(self, name: str, when: str, line: int) -> None:
        self.name = name
        self.when = when
        self.line = line


def imports(module: str) -> list[Import]:
    return list(_imports(TREES[module], "start"))


def _imports(node: ast.AST, when: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, when, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Import(name, when, child.lineno) for name in _names(child))
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, "types" if when == "types" else "call")
        elif isinstance(child, ast.If) and isinstance(child.test, ast.Name):
            typing_only = child.test.id == "TYPE_CHECKING"
            for part in child.body:
                block = ast.Module([part], [])
                yield from _imports(block, "types" if typing_only else when)
            yield from _imports(ast.Module(child.orelse, []), when)
        else:
            yield from _imports(child, when)


def _names(node: ast.ImportFrom) -> list[str]:
    """What a ``from`` imports: the module, or the modules of a package of ours."""
    source = "." * node.level + (node.module or "")
    ours = [f"{source}.{alias.name}" for alias in node.names]
    return [name if name in TREES else source for name in ours]


@pytest.mark.parametrize("module", TREES)
def test_every_module_has_a_rank(module):
    assert rank(module) is not None, (
        f"{module} is new: give it a row in RANKS of {Path(__file__).name}, above everything it "
        "imports and below everything that will import it (or put it into a folder that has one)"
    )


@pytest.mark.parametrize("module", TREES)
def test_imports_go_down_or_stay_in_the_folder(module):
    for found in imports(module):
        assert not found.name.startswith("."), f"{module}:{found.line}: write absolute imports"
        if found.name not in TREES or found.name in ("gatebridge", module):
            continue
        lower = rank(found.name) < rank(module)
        neighbours = folder(found.name) == folder(module) and rank(found.name) == rank(module)
        assert lower or neighbours, (
            f"{module} (rank {rank(module)}) line {found.line} imports "
            f"{found.name} (rank {rank(found.name)})"
        )


def test_imports_make_no_cycle():
    edges = {
        module: {found.name for found in imports(module) if found.when == "start"} & TREES.keys()
        for module in TREES
    }
    for package in TREES:  # importing a module imports the packages it lies in
        edges[package] -= {package}
    done: set[str] = set()
    while left := edges.keys() - done:
        free = {module for module in left if edges[module] <= done}
        assert free, f"these import each other: {sorted(left)}"
        done |= free


@pytest.mark.parametrize("module", [name for name in TREES if within(name, PURE)])
def test_pure_modules_do_no_io(module):
    used = {found.name.partition(".")[0] for found in imports(module) if found.when != "types"}
    assert used & IMPURE == set()


@pytest.mark.parametrize(("name", "who", "why"), ONLY, ids=[row[0] for row in ONLY])
def test_some_things_are_imported_in_few_places(name, who, why):
    for module in TREES:
        if any(found.name.partition(".")[0] == name for found in imports(module)):
            assert within(module, who), f"{module} imports {name}: {why}"


def test_fork_is_called_in_few_places():
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in ("fork", "forkpty", "posix_spawn"):
                assert within(module, FORK), f"{module}:{node.lineno}"


def test_wire_knows_only_wire_and_errors():
    for module in TREES:
        ours = {found.name for found in imports(module) if found.name in TREES}
        if within(module, ("gatebridge.wire",)):
            assert all(within(name, ("gatebridge.wire", "gatebridge.errors")) for name in ours)


@pytest.mark.parametrize("module", sorted(COLD | COLD_SOME))
def test_cold_modules_import_next_to_nothing(module):
    may = COLD | COLD_MAY | (COLD_SOME if module in COLD_SOME else set())
    for found in imports(module):
        if found.when == "start":
            assert found.name in may, f"{module}:{found.line} imports {found.name}"


def test_packages_hold_nothing_that_costs():
    for module, path in PATHS.items():
        if path.name == "__init__.py" and module in COLD:
            kinds = {type(node) for node in TREES[module].body}
            assert kinds <= {ast.Expr, ast.Assign}, f"{module} does more than say what it is"


RUN = """
import sys
sys.path[:0] = [sys.argv[1]]
before = set(sys.modules)
import gatebridge.oneshot
after = set(sys.modules)
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
gatebridge.oneshot.answer(app)
sys.stderr.write(" ".join(after - before) + "\\n" + " ".join(set(sys.modules) - after))
"""


def test_one_cgi_request_imports_the_cold_set_and_nothing_else():
    """Compared with a bare interpreter, at the import and when Apache asks for an answer."""
    asked = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "",
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/cgi-bin/app.cgi/a%20b",
        "SCRIPT_FILENAME": "/srv/cgi-bin/app.cgi",
        "SCRIPT_NAME": "/cgi-bin/app.cgi",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "Apache/2.4.62 (Debian)",
    }
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-s", "-c", RUN, str(ROOT)],
        env=asked,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.endswith("ok")
    at_import, at_request = done.stderr.split("\n")
    assert "gatebridge.oneshot" in at_import.split()
    assert set(at_import.split()) <= COLD
    assert not at_request.split()


def functions() -> Iterator[tuple[str, int]]:
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                path = PATHS[module].relative_to(ROOT).as_posix()
                yield f"{path}:{node.name}", node.end_lineno - node.lineno + 1


def test_functions_are_short():
    long = {name: size for name, size in functions() if size > MAX_FUNCTION}
    assert long.keys() <= LONGER.keys(), f"split them, or say in LONGER why not: {long}"


def test_files_are_short():
    sizes = {path: path.read_text("utf-8").count("\n") for path in PATHS.values()}
    long = {p.relative_to(ROOT).as_posix(): size for p, size in sizes.items() if size > MAX_FILE}
    assert long.keys() <= LONGER.keys(), f"split them, or say in LONGER why not: {long}"


def test_what_may_be_longer_is():
    sizes = dict(functions())
    for path in PATHS.values():
        sizes[path.relative_to(ROOT).as_posix()] = path.read_text("utf-8").count("\n")
    for name, why in LONGER.items():
        assert sizes.get(name, 0) > (MAX_FUNCTION if ":" in name else MAX_FILE), name
        assert len(why.split()) > 4, f"{name}: a sentence"
