"""gatebridge serve: the daemon, in the foreground."""

from __future__ import annotations

import sys

import click

from gatebridge.assemble import serve_target, with_defaults
from gatebridge.cli.options import with_settings
from gatebridge.settings import Settings


@click.command("serve")
@click.argument("app", metavar="APP")
@with_settings
def command(app: str, **given: object) -> None:
    """Serve APP to a web server.

    APP is module:callable, module:factory() or a Python file, as in shop.wsgi:application.
    """
    given["bind"] = given["bind"] or None
    sys.exit(serve_target(app, with_defaults(Settings(), **given)))
