"""The rows of the suite through the daemon's own sockets, with the suite's own clients."""

import pytest

from tests.suite.differences import runs, wanted
from tests.suite.modes import check
from tests.suite.rows import DIRECT, validated
from tests.suite.stage import Stage
from tests.suite.want import Row, Want
from tests.suite.wires import Req

PLACES = (
    ("fastcgi", "unix", ""),
    ("fastcgi", "tcp", "/app"),
    ("scgi", "unix", "/app"),
    ("scgi", "tcp", ""),
    ("uwsgi", "unix", ""),
    ("uwsgi", "tcp", "/app"),
    ("http", "tcp", ""),
    ("http", "unix", ""),
)

CASES = [
    pytest.param(protocol, kind, mount, row, id=f"{protocol}-{kind}--{row.id}")
    for protocol, kind, mount in PLACES
    for row in DIRECT + validated(DIRECT)
    if runs(row, f"{protocol}-{kind}", mount, chunked=protocol == "http")
]


@pytest.mark.parametrize(("protocol", "kind", "mount", "row"), CASES)
def test_row(stage: Stage, protocol: str, kind: str, mount: str, row: Row) -> None:
    check(stage.direct(protocol, kind, mount), row, wanted(row, f"{protocol}-{kind}"))


def test_check_refuses_a_wrong_answer(stage: Stage) -> None:
    """The judge itself: a row with a wrong expectation must fail."""
    wrong = Row("wrong", "hello", Req(), Want(200, b"hallo\n"))
    with pytest.raises(AssertionError, match="body is not"):
        check(stage.direct("http", "tcp"), wrong)
