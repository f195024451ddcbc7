"""Pieces that arrive one by one and clients that leave, behind front servers."""

import pytest

from tests.fronts.sites import Site
from tests.fronts.test_rows import SITES
from tests.suite.stage import Stage
from tests.suite.streaming import check_leaving, check_streamed

# Front servers that collect an answer before they pass it on, each for its own reason.
COLLECTS: dict[str, str] = {}

NEVER_TELLS: dict[str, str] = {}


@pytest.mark.parametrize("site", [s for s in SITES if s.name not in COLLECTS], ids=repr)
def test_W035_streamed(stage: Stage, site: Site) -> None:
    check_streamed(stage.front(site), "gated")


@pytest.mark.parametrize("site", [s for s in SITES if s.name not in NEVER_TELLS], ids=repr)
def test_W038_client_leaves(stage: Stage, site: Site) -> None:
    check_leaving(stage.front(site))
