"""The rows of the suite behind every configuration of every front server."""

import importlib

import pytest

from tests.fronts.sites import Site
from tests.suite.differences import runs, wanted
from tests.suite.modes import check
from tests.suite.rows import BEHIND_FRONTS, validated
from tests.suite.rows_environ import ENVIRON
from tests.suite.stage import FRONTS, Stage
from tests.suite.want import Row

SITES: list[Site] = [
    site for front in FRONTS for site in importlib.import_module(f"tests.fronts.{front}").SITES
]
# wsgiref.validate judges the environ, which is what each front server makes different.
ROWS = BEHIND_FRONTS + validated(ENVIRON)

CASES = [
    pytest.param(site, row, id=f"{site.name}--{row.id}")
    for site in SITES
    for row in ROWS
    if runs(row, site.name, site.mount, chunked=True)
]


@pytest.mark.parametrize(("site", "row"), CASES)
def test_row(stage: Stage, site: Site, row: Row) -> None:
    check(stage.front(site), row, wanted(row, site.name))
