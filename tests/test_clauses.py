"""Every clause has a test that bears its id: from clause to test and back."""

import ast
import re
from functools import cache
from pathlib import Path

from tests.clauses import IDS, NOT_HERE

TESTS = Path(__file__).resolve().parent
ID = re.compile(r"(?<![A-Za-z0-9])(?:[FSUW]\d{3}|C\d{2})[a-z]?(?![A-Za-z0-9])")
RANGE = re.compile(r"(?<![A-Za-z0-9])([FSUW])(\d{3})-\1?(\d{3})(?![A-Za-z0-9])")


def named(tree: ast.Module) -> set[str]:
    """The ids in names of test functions and in texts outside of docstrings: ids of rows."""
    found: set[str] = set()
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found |= ids_of(node.name.replace("_", " "))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in docs:
                found |= ids_of(node.value.replace("_", " "))
    return found


def ids_of(text: str) -> set[str]:
    found = set(ID.findall(text))
    for letter, first, last in RANGE.findall(text):
        found |= {f"{letter}{number:03}" for number in range(int(first), int(last) + 1)}
    return found


@cache
def covered() -> set[str]:
    found: set[str] = set()
    for path in TESTS.rglob("*.py"):
        if path.name not in ("clauses.py", "test_clauses.py"):
            found |= named(ast.parse(path.read_bytes()))
    return found


def test_every_clause_is_covered_or_its_absence_explained() -> None:
    found = covered()
    assert [id for id in IDS if id not in found and id not in NOT_HERE] == []


def test_what_is_said_to_be_absent_is() -> None:
    """A row that gets its test leaves the table."""
    assert [id for id in NOT_HERE if id in covered()] == []
    assert [id for id in NOT_HERE if id not in IDS] == []
    assert all(NOT_HERE.values())


def test_no_test_names_a_clause_that_does_not_exist() -> None:
    assert sorted(id for id in covered() if id not in IDS) == []


def test_each_id_is_listed_once() -> None:
    assert len(IDS) == len(set(IDS))
