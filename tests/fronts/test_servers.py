"""The harness itself: what happens on a machine where a front server is missing."""

from pathlib import Path

import pytest

from tests import conftest
from tests.fronts import servers


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found: dict[str, str] = {}
    monkeypatch.setattr(servers, "missing", found)
    return found


def test_a_missing_server_is_a_skip_with_its_name(
    missing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "REQUIRE", False)
    with pytest.raises(pytest.skip.Exception, match=r"no-such-server.*package of-nobody"):
        servers.program("no-such-server", package="of-nobody")
    assert missing == {"no-such-server": "of-nobody"}


def test_a_missing_server_is_a_failure_where_all_are_asked_for(
    missing: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "REQUIRE", True)
    with pytest.raises(pytest.fail.Exception, match="no-such-server"):
        servers.program("no-such-server", package="of-nobody")


class Reporter:
    """As much of pytest's terminal reporter as the summary writes to."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def section(self, title: str, **markup: bool) -> None:
        self.lines.append(title)

    def line(self, text: str) -> None:
        self.lines.append(text)


def test_the_end_of_a_run_names_them(missing: dict[str, str]) -> None:
    reporter = Reporter()
    conftest.pytest_terminal_summary(reporter)  # type: ignore[arg-type]
    assert reporter.lines == []
    missing["nginx"] = "nginx"
    conftest.pytest_terminal_summary(reporter)  # type: ignore[arg-type]
    assert "nginx: not installed (package nginx)" in reporter.lines


def test_a_server_that_does_not_start_shows_what_it_said(tmp_path: Path) -> None:

    argv = ["/bin/sh", "-c", "echo no such directive in line 7; exit 1"]
    with pytest.raises(AssertionError, match="no such directive in line 7"):
        servers.Server("broken", tmp_path, argv, [servers.free_port()])


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    ports = servers.free_ports(200)
    assert all(10_240 <= port < 32_000 for port in ports)
    assert len(set(ports)) == 200, "one port for two sites is one site too few"
