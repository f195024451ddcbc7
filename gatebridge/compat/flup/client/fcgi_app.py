"""flup.client.fcgi_app: a FastCGI server as a WSGI application."""

from __future__ import annotations

from gatebridge.compat.asking import Asking

__all__ = ["FCGIApp"]


class FCGIApp(Asking):
    """connect: a path, or (host, port); or host and port.

    command        as in flup not implemented
    filterEnviron  send CGI's variables alone; False for all in capitals
    raises         UseError("flup.address"), NotImplementedError
    """

    def __init__(
        self,
        command: object = None,
        connect: object = None,
        host: str | None = None,
        port: int | None = None,
        filterEnviron: bool = True,
    ) -> None:
        if command is not None:
            raise NotImplementedError("start the program by spawn-fcgi, and say connect=PATH")
        super().__init__(connect, host, port, filterEnviron)
