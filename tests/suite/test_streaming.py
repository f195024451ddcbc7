"""Pieces that arrive one by one and clients that leave, without a front server."""

from pathlib import Path

import pytest

from tests.suite.inprocess import InProcess
from tests.suite.stage import Stage
from tests.suite.streaming import check_leaving, check_streamed
from tests.suite.test_direct import PLACES

DIRECT = [pytest.param(*place, id="-".join(filter(None, place))) for place in PLACES]
APPS = ("gated", "gated_write", "gated!")


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(("protocol", "kind", "mount"), DIRECT)
def test_W035_direct(stage: Stage, protocol: str, kind: str, mount: str, app: str) -> None:
    check_streamed(stage.direct(protocol, kind, mount), app)


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("name", ["cgi-command", "cgi-shim"])
def test_W035_oneshot(stage: Stage, name: str, app: str) -> None:
    check_streamed(stage.oneshot(name), app)


@pytest.mark.parametrize("app", APPS)
def test_W035_inprocess(tmp_path: Path, app: str) -> None:
    check_streamed(InProcess(tmp_path), app)


@pytest.mark.parametrize(("protocol", "kind", "mount"), DIRECT)
def test_W038_client_leaves(stage: Stage, protocol: str, kind: str, mount: str) -> None:
    check_leaving(stage.direct(protocol, kind, mount))
