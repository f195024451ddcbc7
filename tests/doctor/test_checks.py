"""The list of checks, the order of what they find, and its text."""

import ast
import os
import re
from pathlib import Path

import pytest

from gatebridge.doctor.check import BROKEN, LINKS, WARNING, Check, Finding
from gatebridge.doctor.checks import CHECKS
from gatebridge.doctor.facts import Facts, Meant
from gatebridge.doctor.report import Report, examine, lines
from gatebridge.errors import PeerError

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "<!-- checks: written by tests/doctor/test_checks.py from gatebridge/doctor -->\n"
END = "<!-- end of checks -->\n"


def table() -> str:
    rows = [f"| `{check.id}` | {check.link} | {check.question} |\n" for check in CHECKS]
    return "| id | link | question |\n| --- | --- | --- |\n" + "".join(rows)


def test_the_documentation_has_every_check() -> None:
    """GATEBRIDGE_WRITE_DOCS=1 writes it anew."""
    path = ROOT / "docs" / "doctor.md"
    text = path.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    wanted = f"{head}{BEGIN}{table()}{END}{rest.partition(END)[2]}"
    if os.environ.get("GATEBRIDGE_WRITE_DOCS") == "1":
        path.write_text(wanted, "utf-8")
    assert path.read_text("utf-8") == wanted, "GATEBRIDGE_WRITE_DOCS=1 writes it anew"


def test_every_check_has_its_own_id_and_a_known_link() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    assert {check.link for check in CHECKS} <= set(LINKS)
    assert all(check.question.endswith("?") for check in CHECKS)


def test_what_a_check_explains_is_a_check() -> None:
    known = {check.id for check in CHECKS}
    for check in CHECKS:
        assert set(check.explains) <= known - {check.id}, check.id


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_check_has_a_broken_set_up(check: Check) -> None:
    """A test of this folder names it."""
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and node.value == check.id:
                return
    pytest.fail(f"no test makes {check.id}")


def said(id: str, link: str, severity: str = BROKEN, explains: tuple[str, ...] = ()) -> Check:
    return Check(
        id, link, "?", lambda facts: Finding(f"{id} is so", "seen", "do", severity), explains
    )


def found(*checks: Check) -> Report:
    return examine(Facts(Meant()), checks)


def order(*checks: Check) -> list[str]:
    return [one.check.id for one in found(*checks).found]


def test_the_first_broken_link_comes_first() -> None:
    rows = [said("e", "application"), said("b", "front server"), said("c", "socket"),
            said("a", "browser"), said("d", "worker"), said("c2", "socket")]  # fmt: skip
    assert order(*rows) == ["a", "b", "c", "c2", "d", "e"]


def test_what_is_broken_comes_before_warnings() -> None:
    assert order(said("a", "browser", WARNING), said("b", "worker")) == ["b", "a"]


def test_a_cause_comes_before_its_consequence() -> None:
    rows = [said("a", "socket"), said("b", "application", explains=("a",))]
    assert order(*rows) == ["b", "a"]
    assert list(lines(found(*rows)))[5] == "  follows from b"


def test_a_warning_explains_nothing() -> None:
    rows = [said("a", "socket"), said("b", "worker", WARNING, explains=("a",))]
    assert order(*rows) == ["a", "b"]


def test_a_chain_of_causes_begins_with_the_first() -> None:
    rows = [said("a", "socket"), said("b", "worker", explains=("a",)),
            said("c", "application", explains=("a", "b"))]  # fmt: skip
    assert order(*rows)[0] == "c"


@pytest.mark.parametrize("error", [OSError(13, "denied"), PeerError("connect.refused", "nobody")])
def test_a_check_that_cannot_tell_keeps_no_other_from_it(error: Exception) -> None:
    def fails(facts: Facts) -> Finding | None:
        raise error

    report = found(Check("a", "socket", "?", fails), said("b", "worker"))
    assert [id for id, _ in report.undecided] == ["a"]
    assert [one.check.id for one in report.found] == ["b"]
    assert list(lines(report))[-1] == f"could not tell: a: {error}"


def test_text_of_others_cannot_steer_a_terminal() -> None:
    finding = Finding("a\x1b[2J", "line\r\n\x1b]0;x\x07", "m\x9b")
    text = "\n".join(lines(found(Check("a", "socket", "?", lambda facts: finding))))
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) is None
