"""The command line: a group that imports a command when it is called."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from typing import TYPE_CHECKING

import click

import gatebridge.cli
from gatebridge import __version__
from gatebridge.errors import ConfigError, GatebridgeError, PeerError, UseError

if TYPE_CHECKING:
    from collections.abc import Sequence

USAGE, NO_BOOT, NO_APP, NO_BIND, NO_DAEMON = 2, 3, 4, 5, 7
_CANNOT_BIND = ("bind.failed", "bind.in_use", "bind.fd", "bind.owner", "bind.group", "bind.systemd")
_HELPERS = ("asking", "first_steps", "main", "options", "screen", "seconds")  # no commands
_EXIT = {"app": NO_APP, "connect": NO_DAEMON}  # by the code's first part


def exit_status(error: GatebridgeError) -> int:
    """The exit status that cli documentation promises for an error."""
    if error.code in _CANNOT_BIND:
        return NO_BIND
    if isinstance(error, UseError):
        return USAGE
    if isinstance(error, (ConfigError, PeerError)):
        default = USAGE if isinstance(error, ConfigError) else 1
        return _EXIT.get(error.code.partition(".")[0], default)
    return 1


class Commands(click.Group):
    """Names come from the files beside this one, each of which has a ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        found = pkgutil.iter_modules(gatebridge.cli.__path__)
        names = [module.name for module in found if module.name not in _HELPERS]
        return sorted(name.replace("_", "-") for name in names)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        module = f"gatebridge.cli.{name.replace('-', '_')}"
        command: click.Command = importlib.import_module(module).command
        return command


@click.command(cls=Commands, invoke_without_command=True)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, option, asked: _version(ctx) if asked else None,
    help="Show the version and which build it is, and exit.",
)
@click.pass_context
def group(ctx: click.Context) -> None:
    """The gateway between web servers that speak CGI, FastCGI, SCGI or uwsgi, and Python.

    Without a command: the first steps to a page.
    """
    if ctx.invoked_subcommand is None:
        from gatebridge.cli.first_steps import text

        click.echo(text(os.getcwd()), nl=False)


def _version(ctx: click.Context) -> None:
    from gatebridge.wire import records

    build = "pure Python" if str(records.__file__).endswith(".py") else "compiled by mypyc"
    click.echo(f"gatebridge {__version__} ({build}, Python {sys.version.partition(' ')[0]})")
    ctx.exit()


def _is_somewhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; every expected failure is one sentence and an exit status."""
    try:
        try:
            group.main(args=list(args) if args is not None else None, prog_name="gatebridge")
        except FileNotFoundError as error:
            if _is_somewhere():
                raise
            why = "the folder that this was started in is gone; cd to one that is there"
            raise UseError("cli.folder", why) from error
    except GatebridgeError as error:
        click.echo(f"gatebridge: {error}", err=True)
        sys.exit(exit_status(error))
