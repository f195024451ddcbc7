"""flup.server.fcgi: FastCGI, requests in threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatebridge.compat.gateway import ROLES, FastCGIGateway, threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.engine.seams import Application

__all__ = ["WSGIServer"]


class WSGIServer(FastCGIGateway):
    """environ: put into every request's. bindAddress: None for descriptor 0, else CGI.

    umask        of a path's file; None for the process's
    multiplexed  several requests at once on a connection
    roles        1 responder, 2 authorizer, 3 filter; others get FCGI_UNKNOWN_ROLE
    kw           minSpare, maxSpare, maxThreads
    """

    def __init__(
        self,
        application: Application,
        environ: Mapping[str, object] | None = None,
        multithreaded: bool = True,
        multiprocess: bool = False,
        bindAddress: object = None,
        umask: int | None = None,
        multiplexed: bool = False,
        debug: bool = False,
        roles: tuple[int, ...] = ROLES,
        forceCGI: bool = False,
        **kw: Any,
    ) -> None:
        flags = (bool(multithreaded), bool(multiprocess))
        super().__init__(
            application, environ, flags, bindAddress, umask, debug, multiplexed, roles, forceCGI
        )
        for name in ("jobClass", "jobArgs"):
            kw.pop(name, None)
        self._threads = threads(flags[0], **kw)
