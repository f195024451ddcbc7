"""flup.server.scgi: SCGI, requests in threads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gatebridge.compat.gateway import NoDefault, SCGIGateway, threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.engine.seams import Application

__all__ = ["WSGIServer"]


class WSGIServer(SCGIGateway):
    """scriptName: where the application is, "" for the root; by default as the server says.

    allowedServers  addresses of TCP peers that may connect; None for all
    loggingLevel    of the logging module; up to INFO each request gets a line
    kw              minSpare, maxSpare, maxThreads
    """

    def __init__(
        self,
        application: Application,
        scriptName: object = NoDefault,
        environ: Mapping[str, object] | None = None,
        multithreaded: bool = True,
        multiprocess: bool = False,
        bindAddress: object = ("localhost", 4000),
        umask: int | None = None,
        allowedServers: list[str] | tuple[str, ...] | None = None,
        loggingLevel: int = logging.INFO,
        debug: bool = False,
        **kw: Any,
    ) -> None:
        flags = (bool(multithreaded), bool(multiprocess))
        super().__init__(
            application, scriptName, environ, flags, bindAddress, umask, allowedServers,
            loggingLevel, debug,
        )  # fmt: skip
        for name in ("jobClass", "jobArgs"):
            kw.pop(name, None)
        self._threads = threads(flags[0], **kw)
