"""flup.server.fcgi_fork: FastCGI, requests in child processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatebridge.compat.gateway import ROLES, FastCGIGateway, children

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.engine.seams import Application

__all__ = ["WSGIServer"]


class WSGIServer(FastCGIGateway):
    """As flup.server.fcgi's, but for these:

    timeout  seconds for a request; None for no end
    kw       minSpare, maxSpare, maxChildren, maxRequests of a child, sockTimeout
    """

    def __init__(
        self,
        application: Application,
        environ: Mapping[str, object] | None = None,
        bindAddress: object = None,
        umask: int | None = None,
        multiplexed: bool = False,
        debug: bool = False,
        roles: tuple[int, ...] = ROLES,
        forceCGI: bool = False,
        timeout: float | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(
            application, environ, (False, True), bindAddress, umask, debug, multiplexed, roles,
            forceCGI,
        )  # fmt: skip
        self._timeout_s = timeout or 0.0
        for name in ("multithreaded", "multiprocess", "jobClass", "jobArgs"):
            kw.pop(name, None)
        children(self, **kw)
