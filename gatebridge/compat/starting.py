"""What CGIHandler().run() becomes: FastCGI where descriptor 0 listens, else one CGI request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatebridge.compat.gateway import ROLES, FastCGIGateway, threads
from gatebridge.compat.guard import Guard
from gatebridge.compat.one_request import answer
from gatebridge.dispatch import cgi_is_forced, is_listener

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application


def run_application(application: Application) -> None:
    """Returns when the CGI request is answered, or FastCGI ends."""
    is_cgi = cgi_is_forced() or not is_listener(0)
    if is_cgi and "REQUEST_METHOD" in os.environ:
        answer(Guard(application, {}, (False, True), None))
        return
    server = FastCGIGateway(
        application, None, (True, False), None, None, False, False, ROLES, False
    )
    server._threads = threads(True)
    server.run()
