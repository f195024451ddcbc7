"""gatebridge ping: is it there?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatebridge.cli.asking import with_daemon
from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from gatebridge.cli.asking import Daemon

NOT_READY = 1


@click.command("ping", short_help="Ask whether the daemon is there and ready.")
@with_daemon()
def command(daemon: Daemon) -> None:
    """Say in one line whether the daemon is there and ready.

    The supervisor answers, also when every worker is stuck.

    Exit codes: 0 ready, 1 no worker is ready, 7 no daemon answers.
    """
    answer = daemon.ask("ping")
    name = f" {escape(str(answer['name']))}" if answer.get("name") else ""
    here = f"gatebridge{name} pid {answer.get('pid', '?')}"
    ready = answer.get("ready")
    if ready is None:  # an older daemon
        click.echo(f"{here} is there")
        return
    workers, generation = answer.get("workers", "?"), answer.get("generation", "?")
    click.echo(f"{here}: {ready} of {workers} workers ready, generation {generation}")
    if not answer.get("healthy", ready):  # a pool on demand may have none, and be well
        click.get_current_context().exit(NOT_READY)
