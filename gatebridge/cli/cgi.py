"""gatebridge cgi: answer one CGI request; a shim does the same without this command's start."""

from __future__ import annotations

import os

import click

from gatebridge.apps.interface import INTERFACES, Interface
from gatebridge.apps.target import load_target
from gatebridge.oneshot import main


@click.command(
    "cgi", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("app", metavar="APP")
@click.option("--mount", metavar="PATH", help="Path the front server put the application at.")
@click.option(
    "--interface",
    type=click.Choice(INTERFACES),
    default="auto",
    help="What APP is called by; auto goes by how it looks.",
)
@click.argument("query", nargs=-1, type=click.UNPROCESSED)
def command(app: str, mount: str | None, interface: str, query: tuple[str, ...]) -> None:
    """Answer the CGI request in the environment and standard input with APP.

    Words after APP are ignored: a web server puts the words of an indexed query there.
    """
    main(load_target(app, os.getcwd(), None, Interface(interface)), mount)
