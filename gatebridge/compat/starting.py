"""What CGIHandler().run() becomes: FastCGI where descriptor 0 listens, else one CGI request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.compat.gateway import ROLES, FastCGIGateway, threads

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application


def run_application(application: Application) -> None:
    """Returns when FastCGI ends; a CGI request ends the process, unless its script goes on."""
    server = FastCGIGateway(
        application, None, (True, False), None, None, False, False, ROLES, False
    )
    server._threads = threads(True)
    server.run()
