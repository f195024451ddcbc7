"""flup.server.fcgi_single: FastCGI, one request after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatebridge.compat.gateway import ROLES, FastCGIGateway

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.engine.seams import Application

__all__ = ["WSGIServer"]


class WSGIServer(FastCGIGateway):
    """As flup.server.fcgi's; what is said of threads in kw has no meaning here."""

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
        **kw: Any,
    ) -> None:
        super().__init__(
            application, environ, (False, False), bindAddress, umask, debug, multiplexed, roles,
            forceCGI,
        )  # fmt: skip
