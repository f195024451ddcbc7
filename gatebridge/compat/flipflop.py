"""flipflop: flup's FastCGI server without its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.compat.gateway import ROLES, FastCGIGateway, threads

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application

__all__ = ["WSGIServer"]


class WSGIServer(FastCGIGateway):
    """Descriptor 0, else CGI. What is put into ``environ`` goes into every request's."""

    def __init__(self, application: Application) -> None:
        super().__init__(application, None, (True, False), None, None, False, False, ROLES, False)
        self._threads = threads(True)
