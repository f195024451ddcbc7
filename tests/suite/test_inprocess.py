"""The rows of the suite through the environ and the engine alone, also under ``python -O``."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.suite import apps
from tests.suite.apps.failures import BAD_HEADS
from tests.suite.differences import runs, wanted
from tests.suite.inprocess import InProcess
from tests.suite.modes import ROOT, check, check_closed_once, write_entry
from tests.suite.rows import DIRECT, validated
from tests.suite.want import Row
from tests.suite.wires import Req

CASES = [
    pytest.param(mount, row, id=f"inprocess{mount.replace('/', '-')}--{row.id}")
    for mount in ("", "/app")
    for row in DIRECT + validated(DIRECT)
    if runs(row, "inprocess", mount, chunked=False)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("inprocess")
    write_entry(made)
    apps.registry.ledger_path = str(made / "ledger")
    yield made
    apps.registry.ledger_path = ""
    check_closed_once(made)


@pytest.mark.parametrize(("mount", "row"), CASES)
def test_row(folder: Path, mount: str, row: Row) -> None:
    check(InProcess(folder, mount), row, wanted(row, "inprocess"))


# Every C0 byte and DEL but the tab, which RFC 9110 section 5.5 allows in values and reasons.
CONTROLS = [byte for byte in range(0x20) if byte != 0x09] + [0x7F]


@pytest.mark.parametrize("place", ["status", "name", "value"])
@pytest.mark.parametrize("where", ["first", "inside", "last"])
def test_W051_no_control_byte_leaves(folder: Path, place: str, where: str) -> None:
    """Each of them in each place, as W051 to W055 ask."""
    for byte in CONTROLS:
        parts = {"status": "200 OK", "name": "X-A", "value": "v"}
        text = parts[place]
        at = {"first": 0, "inside": len(text) // 2, "last": len(text)}[where]
        parts[place] = text[:at] + chr(byte) + text[at:]
        BAD_HEADS["one-byte"] = (parts["status"], [(parts["name"], parts["value"])])
        headers = (("Suite-App", "bad_head"), ("Suite-Arg", "one-byte"))
        resp = InProcess(folder).send(Req(headers=headers))
        assert resp.status == 500, f"{byte:#x} {where} of the {place}: {resp!r}"
        assert resp.all("X-A") == [], f"{byte:#x} {where} of the {place}: {resp!r}"


def test_W066_every_row_holds_under_python_O(tmp_path: Path) -> None:
    """-O removes assert statements, so these rows are checked with ``if``."""
    done = subprocess.run(
        [sys.executable, "-O", "-m", "tests.suite.optimized", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout
