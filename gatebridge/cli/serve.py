"""gatebridge serve: the daemon."""

from __future__ import annotations

import sys
from typing import Any

import click

from gatebridge.cli.main import exit_status
from gatebridge.cli.options import APP_HELP, read_asked, with_configuration
from gatebridge.daemon import serve


@click.command("serve", epilog=APP_HELP)
@with_configuration
def command(app: str, config: str, **given: Any) -> None:
    """Serve APP, or what a file names, to a web server."""
    sys.exit(serve(read_asked(app, config, given), exit_status))
