"""docs/errors.md: every code that gatebridge can say and no other, each with cause and step."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.engine.pages import refusal_page
from gatebridge.errors import PeerError
from gatebridge.next_steps import STEPS
from tests import relays

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "gatebridge").rglob("*.py"))
ERRORS = {"AppError", "ConfigError", "GatebridgeError", "PeerError", "UseError"}
SAYING = {"failure": 0, "then": 0}  # functions that take a code: control answers, log lines

# Where the code is no literal: who passes it on, and where its literals are. A call of that
# function has the code at that place; "" is an assignment to `code`; a prefix comes before it.
PASSED_ON = {
    "gatebridge/serve/pid_file.py": ("_refuse", 0, "pid."),
    "gatebridge/wire/answer.py": ("_fault", 0, ""),
    "gatebridge/wire/fastcgi.py": ("_break", 0, ""),
    "gatebridge/wire/fastcgi_client.py": ("_break", 0, ""),
    "gatebridge/wire/http.py": ("", 0, ""),
}
# Modules that pass on what another process said: its code is a literal there
REPEATED = {
    "gatebridge/cli/asking.py",
    "gatebridge/serve/trial.py",
    "gatebridge/shim.py",
}
# Where lines of the log are put together, and what begins a text there and is no code
LOGGING = {"apps", "assemble.py", "autostart.py", "daemon.py", "next_steps.py", "serve"}
NO_CODES = {"wsgi.errors"}
LINE = re.compile(r"([a-z_]+\.[a-z_]+)[ :]")
SAID_IN_C = re.compile(r'(?:one_shot\(|say\(|fail\("[^"]+", )"([a-z]+)"|relay\.([a-z]+):')
ROW = re.compile(r"\| `([a-z0-9_]+\.[a-z0-9_]+)` \| (.+) \|")


def literals(node: ast.expr) -> list[str]:
    """The texts that an expression can be; none where it is not known."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return literals(node.body) + literals(node.orelse)
    return []


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def begins(node: ast.expr) -> str:
    """How a text begins, whatever is filled in behind."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    if isinstance(node, ast.BinOp):
        return begins(node.left)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def texts_of_lines(tree: ast.AST) -> Iterator[str]:
    """Codes that a text begins with: of log lines, wherever these are put together."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in documents:
            found = LINE.match(begins(node))
            if found and found[1] not in NO_CODES:
                yield found[1]


def said_in(path: Path) -> Iterator[tuple[str, int]]:
    """(code, line) of all that a module can say."""
    name = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text("utf-8"))
    passer, place, prefix = PASSED_ON.get(name, (None, 0, ""))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = name_of(node)
            if called in ERRORS and node.args:
                codes = literals(node.args[0])
                repeats = getattr(node.args[0], "attr", "") == "code"  # of another error
                if not (codes or repeats or name in PASSED_ON or name in REPEATED):
                    UNSEEN.append(f"{name}:{node.lineno}")
                yield from ((code, node.lineno) for code in codes)
            elif called == passer:
                yield from ((prefix + code, node.lineno) for code in literals(node.args[place]))
            elif called in SAYING and node.args:
                codes = literals(node.args[SAYING[called]])
                yield from ((code, node.lineno) for code in codes if "." in code)
        elif isinstance(node, ast.Dict):  # an answer on the control socket
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None and literals(key) == ["code"]:
                    yield from ((code, node.lineno) for code in literals(value))
        elif isinstance(node, ast.Assign) and passer == "":
            if any(isinstance(target, ast.Name) and target.id == "code" for target in node.targets):
                yield from ((code, node.lineno) for code in literals(node.value))
    if path.relative_to(ROOT / "gatebridge").parts[0] in LOGGING:
        yield from ((code, 0) for code in texts_of_lines(tree))


def said_by_relays() -> Iterator[tuple[str, str]]:
    """(code, file): a relay of Python says bytes, b"CODE: …", the other one what it is in C."""
    folder = ROOT / "gatebridge"
    for path in (folder / f"relay{part}.py" for part in ("", "_fail", "_duplex", "_start")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else ""
            found = re.match(rb"([a-z]+): ", text) if isinstance(text, bytes) else None
            if found and found[1] != b"gatebridge":
                yield f"relay.{found[1].decode()}", path.name
    text = (folder / "relay.c").read_text("utf-8")
    for found in SAID_IN_C.finditer(text):
        yield f"relay.{found[1] or found[2]}", "relay.c"


UNSEEN: list[str] = []
SAID: dict[str, str] = {}
for _path in SOURCES:
    for _code, _line in said_in(_path):
        SAID.setdefault(_code, f"{_path.relative_to(ROOT)}:{_line}")
SAID.update(said_by_relays())


def rows() -> list[list[str]]:
    """The cells of every row of the document, the code first."""
    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    return [[row[1], *row[2].split(" | ")] for row in map(ROW.fullmatch, text.splitlines()) if row]


def test_every_code_can_be_seen():
    assert not UNSEEN, "make the code a literal, or say in PASSED_ON where its literals are"


def test_every_code_is_in_the_document():
    known = {row[0] for row in rows()}
    missing = {code: where for code, where in SAID.items() if code not in known}
    assert not missing, "write them into docs/errors.md, with cause and next step"


def test_every_code_of_the_document_can_be_said():
    assert {row[0] for row in rows()} - SAID.keys() == set()


def test_both_relays_say_the_same():
    found = {"relay.c": set(), "relay.py": set()}
    for code, where in said_by_relays():
        found["relay.c" if where == "relay.c" else "relay.py"].add(code)
    assert found["relay.c"] == found["relay.py"]


@pytest.mark.parametrize("name", relays.NEXT)
def test_a_relay_says_the_next_step_of_the_document(name):
    assert [row[-1] for row in rows() if row[0] == f"relay.{name}"] == [relays.NEXT[name]]


def test_every_code_is_there_once():
    codes = [row[0] for row in rows()]
    assert len(codes) == len(set(codes)), [code for code in codes if codes.count(code) > 1]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_has_cause_and_next_step(row):
    assert len(row) in (3, 4), "code, perhaps the answer, cause, next step"
    assert all(cell.strip() == cell and cell for cell in row)
    assert len(row[-2].split()) > 1, "a cause in words"
    assert row[0] not in STEPS or row[-1] == STEPS[row[0]], "as the log says it"


def test_what_is_said_in_the_log_has_a_code_that_is_said():
    assert STEPS.keys() - SAID.keys() == set()


REQUESTS = "## Requests that are refused"


def answers() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    section = text.partition(REQUESTS)[2].partition("\n## ")[0]
    found = [ROW.fullmatch(line) for line in section.splitlines()]
    return [(row[1], row[2].split(" | ")[0]) for row in found if row]


@pytest.mark.parametrize(("code", "answer"), answers(), ids=[row[0] for row in answers()])
def test_the_status_is_the_one_that_is_sent(code, answer):
    assert code in STEPS
    if answer != "none" and not code.startswith(("http.", "request.", "route.redirects")):
        head, _ = refusal_page(PeerError(code), "0badcafe", False)
        assert answer.startswith(head.status[:3])


def test_every_refusal_of_a_peer_has_a_next_step():
    """Whatever the wire, the body or the queue can raise ends up in the log."""
    serving = ("wire", "engine", "routing", "environ", "serve")
    for path in SOURCES:
        name = path.relative_to(ROOT / "gatebridge")
        if name.parts[0] not in serving or name.name in ("fastcgi_client.py", "answer.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and name_of(node) == "PeerError" and node.args:
                for code in literals(node.args[0]):
                    assert code in STEPS, f"{path}:{node.lineno}: give {code} a next step"
