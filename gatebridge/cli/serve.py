"""gatebridge serve: the daemon."""

from __future__ import annotations

import signal
import sys
from typing import Any

import click

from gatebridge.cli.main import exit_status
from gatebridge.cli.options import APP_HELP, read_asked, with_configuration
from gatebridge.daemon import serve
from gatebridge.serve.supervisor import SIGNALS


@click.command("serve", epilog=APP_HELP)
@with_configuration
def command(app: str, config: str, **given: Any) -> None:
    """Serve APP, or what a file names, to a web server."""
    status = serve(read_asked(app, config, given), exit_status)
    for number in SIGNALS:  # all is done; the interpreter's end must not be interrupted
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)
