"""The Python relay: the rows of every relay, and what is its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import relay_edges, relays
from tests.relay_stand import Stand


@pytest.mark.parametrize("row", [*relays.ROWS, *relay_edges.ROWS], ids=relays.name)
def test_relay(row: Callable[[Stand], None], tmp_path: Path) -> None:
    with Stand("python", tmp_path) as stand:
        row(stand)
