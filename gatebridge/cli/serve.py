"""gatebridge serve: the daemon."""

from __future__ import annotations

import sys
from typing import Any

import click

from gatebridge.assemble import serve_target
from gatebridge.cli.options import APP_HELP, read_asked, with_configuration
from gatebridge.config import resolve


@click.command("serve", epilog=APP_HELP)
@with_configuration
def command(app: str, config: str, **given: Any) -> None:
    """Serve APP, or what a file names, to a web server."""
    configuration = resolve(read_asked(app, config, given))
    pool = configuration.pools[0]
    sys.exit(serve_target(pool.apps[0].target, pool.settings))
