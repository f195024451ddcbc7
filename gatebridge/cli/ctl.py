"""gatebridge ctl: tell the daemon to do something."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import click

from gatebridge.cli.asking import with_daemon
from gatebridge.errors import GatebridgeError
from gatebridge.serve.escape import escape
from gatebridge.settings import Settings

if TYPE_CHECKING:
    from gatebridge.cli.asking import Daemon

_RELOAD_S = 120.0
_STOP_S = 60.0
_LOOK_S = 0.1  # between two looks whether it has ended

_FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


@click.group("ctl", short_help="Tell the daemon to reload, stop, scale and more.")
def command() -> None:
    """Tell a running daemon to do something.

    Exit codes: 0 done, 1 it could not, 7 no daemon answers.
    """


@command.command("reload")
@with_daemon(_RELOAD_S)
def reload(daemon: Daemon) -> None:
    """Read the configuration and the application anew, and wait until the new workers are ready.

    If they do not get ready, the old ones go on, and this says why.
    """
    try:
        answer = daemon.ask("reload")
    except GatebridgeError as error:
        if error.code != "connect.silent":
            raise
        late = f"it is not done after {daemon.timeout_s:g} s and goes on: see gatebridge status"
        raise GatebridgeError("reload.late", late) from error
    click.echo(f"reloaded: generation {answer.get('generation', '?')}")


@command.command("stop")
@click.option("--now", is_flag=True, help="Do not wait for requests under way.")
@with_daemon(_STOP_S)
def stop(daemon: Daemon, now: bool) -> None:
    """Finish the requests under way, then end; returns when it has ended."""
    daemon.ask("stop", quick=now)
    deadline = time.monotonic() + daemon.timeout_s
    while _is_there(daemon):
        if time.monotonic() > deadline:
            raise GatebridgeError(
                "stop.late", f"it has not ended in {daemon.timeout_s:g} s; --now ends it at once"
            )
        time.sleep(_LOOK_S)
    click.echo("stopped")


def _is_there(daemon: Daemon) -> bool:
    try:
        daemon.ask("ping")
    except GatebridgeError as error:
        return not error.code.startswith("connect.")
    return True


@command.command("drain")
@with_daemon()
def drain(daemon: Daemon) -> None:
    """Let the workers finish and end; the supervisor and its sockets stay."""
    daemon.ask("drain")
    click.echo("draining")


@command.command("scale")
@click.argument("workers", metavar="N", type=click.IntRange(min=1))
@click.option("--pool", default="", metavar="NAME", help="Where there are several pools.")
@with_daemon()
def scale(daemon: Daemon, workers: int, pool: str) -> None:
    """Have N workers from now on, until a reload."""
    answer = daemon.ask("scale", workers=workers, pool=pool)
    name = escape(str(answer.get("pool", pool)))
    click.echo(f"{f'pool {name}: ' if name else ''}{answer.get('workers', workers)} workers")


@command.command("reopen-logs")
@with_daemon()
def reopen_logs(daemon: Daemon) -> None:
    """Open the log files again, as after a rotation."""
    daemon.ask("reopen-logs")
    click.echo("logs reopened")


@command.command("stacks")
@with_daemon()
def stacks(daemon: Daemon) -> None:
    """Show where all threads of all workers are now, the innermost call last."""
    answer = daemon.ask("stacks")
    for worker in answer.get("workers") or []:
        name = f"{worker.get('pool')}/{worker.get('index')} pid {worker.get('pid')}"
        click.echo(escape(f"worker {name} {worker.get('state')}"))
        if not worker.get("answered"):
            click.echo("  (it did not answer the signal)")
        for thread in worker.get("threads") or []:
            click.echo(f"  {_thread(thread)}")
            for text in thread.get("calls") or []:
                click.echo(f"    {escape(str(text))}")
    if not answer.get("whole", True):
        click.echo("(further threads are left out)")


def _thread(thread: dict[str, Any]) -> str:
    name = f" {thread['name']}" if thread.get("name") else ""
    line = ""
    if thread.get("line"):
        line = f": {thread['line']} for {float(thread.get('age_s') or 0):.1f} s"
    id = f" (id {thread['id']})" if thread.get("id") else ""
    return escape(f"thread {int(thread.get('ident', 0)):#x}{name}{line}{id}")


@command.command("log-level")
@click.argument("level", type=click.Choice(_FIELDS["log_level"].metadata["choices"]))
@with_daemon()
def log_level(daemon: Daemon, level: str) -> None:
    """Write lines of this level and above from now on, until a reload."""
    daemon.ask("log-level", level=level)
    click.echo(f"log level {level}")
