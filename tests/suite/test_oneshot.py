"""The rows of the suite through one-shot CGI: a process for each request.

Each start costs a tenth of a second, so the command gets the plain applications and the shim the
validated ones, and those that break the rules.
"""

import pytest

from tests.suite.apps import LEGAL
from tests.suite.differences import runs, wanted
from tests.suite.modes import check
from tests.suite.rows import DIRECT, EVERYWHERE, validated
from tests.suite.stage import Stage
from tests.suite.want import Row

UPLOADING = tuple(row for row in EVERYWHERE + validated(EVERYWHERE) if row.req.body)
SHIM = validated(EVERYWHERE) + tuple(row for row in EVERYWHERE if row.app not in LEGAL)

CASES = [
    pytest.param(name, row, id=f"{name}--{row.id}")
    for name, rows in (("cgi-command", DIRECT), ("cgi-shim", SHIM), ("cgi-socket", UPLOADING))
    for row in rows
    if runs(row, name, "", chunked=False)
]


@pytest.mark.parametrize(("name", "row"), CASES)
def test_row(stage: Stage, name: str, row: Row) -> None:
    check(stage.oneshot(name), row, wanted(row, name))
