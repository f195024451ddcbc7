"""gatebridge status: what the daemon does now."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from gatebridge.cli.asking import with_daemon
from gatebridge.cli.screen import plain, tables

if TYPE_CHECKING:
    from gatebridge.cli.asking import Daemon


@click.command("status", short_help="Show what the daemon does now.")
@click.option("--json", "as_json", is_flag=True, help="As the daemon says it, for programs.")
@with_daemon()
def command(daemon: Daemon, as_json: bool) -> None:
    """Show pools, workers and the requests under way of a running daemon.

    Tables on a terminal, plain lines elsewhere.
    """
    status = daemon.ask("status")
    if as_json:
        click.echo(json.dumps(status, indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(tables(status))
    else:
        click.echo(plain(status), nl=False)
