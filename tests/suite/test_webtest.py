"""The suite's own applications are right: webtest's lint drives each that keeps PEP 3333.

A row whose application raises must raise here; the others must answer what the row wants, so a
wrong expectation is found without any gateway in sight.
"""

from collections.abc import Iterator
from pathlib import Path
from wsgiref.util import FileWrapper

import pytest
from webtest import TestApp

from tests.suite import apps
from tests.suite.modes import check_answer, noted, write_entry
from tests.suite.rows import EVERYWHERE
from tests.suite.want import Row
from tests.suite.wires import Resp

RAISES = ("raise_at_once", "raise_after_start", "raise_at_first_block", "exits")
# webtest makes its own environ, takes a body for what the application says it is, and asks
# for no more than the rows of the gateway promise: those rows are the gateway's.
GATEWAYS = {
    "head": "leaving the body out is the gateway's work",
    "head-generator": "leaving the body out is the gateway's work",
    "head-closes": "leaving the body out is the gateway's work",
    "head-large": "leaving the body out is the gateway's work",
    "environ-method-unknown": "webtest knows no such method",
    "environ-method-propfind": "webtest knows no such method",
    "path-double-slash": "webtest reads //x as a host",
    "path-mount-alone": "no mount here",
    "path-mount-alone-query": "no mount here",
    "file-longer-than-said": "cutting the surplus is the gateway's work",
    "environ-proxy-dropped": "dropping it is the gateway's work",
    "environ-repeated-header": "joining is the gateway's work",
    "environ-repeated-cookie": "joining is the gateway's work",
    "chunked": "no wire, so no chunks",
    "chunked-70k": "no wire, so no chunks",
    "environ-request": "no peer, so no REMOTE_ADDR",
    "environ-forwarded-not-believed": "no peer, so no REMOTE_ADDR",
}
ROWS = [
    row
    for row in EVERYWHERE
    if row.app in apps.LEGAL and row.id not in GATEWAYS and not row.want.cut
]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Path]:
    before = apps.registry.ledger_path
    write_entry(tmp_path)
    apps.registry.ledger_path = str(tmp_path / "ledger")
    yield tmp_path
    apps.registry.ledger_path = before


class InMemory:
    """As much of a mode as the judges ask for."""

    name, mount, port = "webtest", "", "80"

    def __init__(self, folder: Path) -> None:
        self.ledger = folder / "ledger"


def drive(row: Row) -> Resp:
    client = TestApp(apps.application, extra_environ={"wsgi.file_wrapper": FileWrapper})
    headers = {**dict(row.req.headers), "Suite-App": row.app, "Suite-Token": "t"}
    answer = client.request(
        row.req.target,
        method=row.req.method,
        headers=headers,
        body=row.req.body if row.req.body is not None else b"",
        expect_errors=True,
    )
    code, _, reason = answer.status.partition(" ")
    return Resp(int(code), reason, list(answer.headerlist), answer.body)


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_application(ledger: Path, row: Row) -> None:
    mode = InMemory(ledger)
    if row.app in RAISES:
        with pytest.raises((ValueError, SystemExit)):
            drive(row)
        return
    check_answer(mode, row.want, drive(row))  # type: ignore[arg-type]
    if row.want.ledger is not None:
        assert noted(mode, "t") == row.want.ledger  # type: ignore[arg-type]
