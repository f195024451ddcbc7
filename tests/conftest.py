"""Fixtures of the suite and the fronts; the end of a run says which front servers were missing."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# so that what the tests share asserts under -O, too
shared = {path.stem for path in Path(__file__).parent.iterdir()} - {"conftest"}
pytest.register_assert_rewrite(*(f"tests.{name}" for name in shared))

from tests.fronts import servers  # noqa: E402
from tests.suite.stage import Stage  # noqa: E402


def pytest_configure() -> None:
    """Signals as at a terminal, also where the run is in the background of a script or by nohup:
    what is started here would ignore them as well."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """Daemons, shims and front servers, each started when first asked for."""
    built = Stage()
    try:
        yield built
    finally:
        built.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In one of several processes: what was missing there, for the one that says it."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["missing"] = servers.missing


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    servers.missing.update(getattr(node, "workeroutput", {}).get("missing", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not servers.missing:
        return
    terminalreporter.section("front servers not tested", yellow=True)
    for name, package in sorted(servers.missing.items()):
        terminalreporter.line(f"{name}: not installed (package {package})")
    terminalreporter.line("GATEBRIDGE_REQUIRE_FRONTS=1 makes each of them a failure.")
