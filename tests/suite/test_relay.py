"""The rows of the suite through the Python relay and the daemon that it starts."""

import pytest

from tests.suite.differences import runs, wanted
from tests.suite.modes import check
from tests.suite.rows import DIRECT, EVERYWHERE, validated
from tests.suite.rows_environ import ENVIRON
from tests.suite.stage import Stage
from tests.suite.streaming import check_streamed
from tests.suite.want import Row

UPLOADING = tuple(row for row in EVERYWHERE + validated(EVERYWHERE) if row.req.body)
CASES = [
    pytest.param(name, row, id=f"{name}--{row.id}")
    for name, rows in (("cgi-relay", DIRECT + ENVIRON), ("cgi-relay-socket", UPLOADING))
    for row in rows
    if runs(row, name, "", chunked=False)
]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_row(stage: Stage, name: str, row: Row) -> None:
    check(stage.oneshot(name), row, wanted(row, name))


@pytest.mark.parametrize("name", ["cgi-relay", "cgi-relay-socket"])
def test_W035_streamed(stage: Stage, name: str) -> None:
    check_streamed(stage.oneshot(name), "gated")
