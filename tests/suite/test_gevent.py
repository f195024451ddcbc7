"""The rows of the suite through a daemon whose workers are of class gevent."""

import pytest

from tests.suite.differences import runs, wanted
from tests.suite.modes import check
from tests.suite.rows import DIRECT, validated
from tests.suite.stage import Stage
from tests.suite.want import Row

PLACES = (
    ("fastcgi", "unix", ""),
    ("scgi", "tcp", "/app"),
    ("uwsgi", "unix", ""),
    ("http", "tcp", ""),
)

CASES = [
    pytest.param(protocol, kind, mount, row, id=f"{protocol}-{kind}--{row.id}")
    for protocol, kind, mount in PLACES
    for row in DIRECT + (validated(DIRECT) if protocol == "fastcgi" else ())
    if runs(row, f"{protocol}-{kind}", mount, chunked=protocol == "http")
]


@pytest.mark.parametrize(("protocol", "kind", "mount", "row"), CASES)
def test_row(stage: Stage, protocol: str, kind: str, mount: str, row: Row) -> None:
    mode = stage.direct(protocol, kind, mount, "gevent")
    check(mode, row, wanted(row, f"{protocol}-{kind}"))
