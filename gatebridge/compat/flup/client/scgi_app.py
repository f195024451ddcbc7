"""flup.client.scgi_app: an SCGI server as a WSGI application."""

from __future__ import annotations

from gatebridge.compat.asking import Asking

__all__ = ["SCGIApp"]


class SCGIApp(Asking):
    """connect: a path, or (host, port); or host and port.

    filterEnviron  send CGI's variables alone; False for all in capitals
    raises         UseError("flup.address")
    """

    protocol = "scgi"

    def __init__(
        self,
        connect: object = None,
        host: str | None = None,
        port: int | None = None,
        filterEnviron: bool = True,
    ) -> None:
        super().__init__(connect, host, port, filterEnviron)
