"""gatebridge top: the status, live."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gatebridge.cli.asking import with_daemon
from gatebridge.cli.screen import plain, tables
from gatebridge.cli.seconds import seconds
from gatebridge.errors import GatebridgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from gatebridge.cli.asking import Daemon
    from gatebridge.cli.screen import Status

_KEYS = "q ends, any other key looks again"


@click.command("top", short_help="Watch what the daemon does.")
@click.option("--once", is_flag=True, help="Print it once and end.")
@click.option("--interval", default=1.0, show_default=True, metavar="SECONDS",
              type=seconds(0.1), help="Between two looks.")  # fmt: skip
@with_daemon()
def command(daemon: Daemon, once: bool, interval: float) -> None:
    """Watch pools, workers and the requests under way; q or Ctrl-C ends it.

    Where the output is no terminal it prints once, in plain lines.
    """
    from rich.console import Console

    status = daemon.ask("status")
    if not sys.stdout.isatty():
        click.echo(plain(status), nl=False)
    elif once or not sys.stdin.isatty():
        Console().print(tables(status))
    else:
        try:
            _watch(Console(), daemon, status, interval)
        except KeyboardInterrupt:
            pass


class Rates:
    """Requests a second of each pool, between two looks."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._at = 0.0

    def since_last(self, status: Status, now: float) -> dict[str, float]:
        pools = status.get("pools") or {}
        counts = {name: int(pool.get("requests", 0)) for name, pool in pools.items()}
        seconds = max(now - self._at, 0.001)
        rates = {
            name: max(0, count - self._counts[name]) / seconds
            for name, count in counts.items()
            if name in self._counts
        }
        self._counts, self._at = counts, now
        return rates


def _watch(console: Console, daemon: Daemon, status: Status, interval_s: float) -> None:
    from rich.live import Live

    rates = Rates()
    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        view = _view(status, rates)
        while True:
            live.update(view, refresh=True)
            if _is_enough(interval_s):
                return
            try:
                view = _view(daemon.ask("status"), rates)
            except GatebridgeError as error:
                view = _gone(error)


def _view(status: Status, rates: Rates) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    known = rates.since_last(status, time.monotonic())
    return Group(tables(status, known), Text(_KEYS, style="dim"))


def _gone(error: GatebridgeError) -> RenderableType:
    """It may come back: a restart, or a reload of the machine's service."""
    from rich.console import Group
    from rich.text import Text

    return Group(Text(str(error), style="red"), Text(_KEYS, style="dim"))


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come at once and are not shown."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_enough(timeout_s: float) -> bool:
    """Wait for a key at most so long; is it q, or will there be no more?"""
    fd = sys.stdin.fileno()
    if not select.select([fd], [], [], timeout_s)[0]:
        return False
    keys = os.read(fd, 64)
    return not keys or b"q" in keys.lower()
