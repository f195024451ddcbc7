"""wsgiref.handlers, with a CGIHandler that also serves FastCGI, and is right about CGI."""

from __future__ import annotations

from typing import TYPE_CHECKING
from wsgiref import handlers as _handlers
from wsgiref.handlers import (
    BaseCGIHandler,
    BaseHandler,
    IISCGIHandler,
    SimpleHandler,
    read_environ,
)

from gatebridge.compat.starting import run_application

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application

__all__ = [
    "BaseCGIHandler",
    "BaseHandler",
    "CGIHandler",
    "IISCGIHandler",
    "SimpleHandler",
    "read_environ",
]


class CGIHandler(_handlers.CGIHandler):
    """run() answers whatever has started this process: FastCGI on descriptor 0, or CGI."""

    def run(self, application: Application) -> None:
        run_application(application)
