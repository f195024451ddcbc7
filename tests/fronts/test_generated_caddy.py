"""The rows of the suite behind what ``gatebridge conf caddy`` writes."""

import pytest

from tests.fronts.generated import CADDY, cases
from tests.fronts.sites import Site
from tests.suite.differences import wanted
from tests.suite.modes import check
from tests.suite.stage import Stage
from tests.suite.want import Row


@pytest.mark.parametrize(("site", "row"), cases(CADDY))
def test_row(stage: Stage, site: Site, row: Row) -> None:
    check(stage.front(site), row, wanted(row, site.name))
