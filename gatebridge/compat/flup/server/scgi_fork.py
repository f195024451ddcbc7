"""flup.server.scgi_fork: SCGI, requests in child processes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gatebridge.compat.gateway import NoDefault, SCGIGateway, children

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.engine.seams import Application

__all__ = ["WSGIServer"]


class WSGIServer(SCGIGateway):
    """As flup.server.scgi's, but for these:

    timeout  seconds for a request; None for no end
    kw       minSpare, maxSpare, maxChildren, maxRequests of a child, sockTimeout
    """

    def __init__(
        self,
        application: Application,
        scriptName: object = NoDefault,
        environ: Mapping[str, object] | None = None,
        bindAddress: object = ("localhost", 4000),
        umask: int | None = None,
        allowedServers: list[str] | tuple[str, ...] | None = None,
        loggingLevel: int = logging.INFO,
        debug: bool = False,
        timeout: float | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(
            application, scriptName, environ, (False, True), bindAddress, umask, allowedServers,
            loggingLevel, debug,
        )  # fmt: skip
        self._timeout_s = timeout or 0.0
        for name in ("multithreaded", "multiprocess", "jobClass", "jobArgs"):
            kw.pop(name, None)
        children(self, **kw)
