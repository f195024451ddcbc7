"""gatebridge shim: write the file that stands in a cgi-bin."""

from __future__ import annotations

import os

import click

from gatebridge.errors import UseError
from gatebridge.shim import one_shot, write


@click.group("shim")
def command() -> None:
    """Write the few lines that answer for an application in a cgi-bin."""


@command.command("new")
@click.argument("app", metavar="APP")
@click.argument("file", metavar="FILE")
@click.option("--oneshot", is_flag=True, help="Start, answer one request, exit: plain CGI.")
@click.option("--mount", metavar="PATH", help="Path the front server puts the shim at.")
@click.option("--folder", metavar="DIR", default=".", help="Where APP is imported from.")
@click.option("--force", is_flag=True, help="Write over an existing FILE.")
def new(app: str, file: str, oneshot: bool, mount: str | None, folder: str, force: bool) -> None:
    """Write FILE, a CGI script that answers with APP (module:name)."""
    if not oneshot:
        raise UseError("shim.kind", "this version writes one-shot shims: add --oneshot")
    write(file, one_shot(app, folder, mount), force)
    click.echo(f"wrote {os.path.abspath(file)}")
    click.echo("Put it where the web server runs CGI scripts, readable for the server's user.")
