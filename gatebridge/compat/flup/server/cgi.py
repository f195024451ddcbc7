"""flup.server.cgi: one CGI request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatebridge.compat.guard import Guard
from gatebridge.compat.one_request import answer
from gatebridge.errors import UseError

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application

__all__ = ["WSGIServer"]


class WSGIServer:
    """Answers the request in the environment and standard input."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def run(self) -> None:
        """Returns when it is answered. raises UseError where no web server has started us"""
        if "REQUEST_METHOD" not in os.environ:
            raise UseError("flup.no_request", "a web server starts this file; open its URL")
        answer(Guard(self.application, {}, (False, True), None))
