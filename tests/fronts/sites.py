"""What a configuration of a front server is made of."""

from collections.abc import Callable
from pathlib import Path


class Sockets:
    """Where one daemon listens: Unix paths and (host:port) texts."""

    def __init__(
        self,
        fcgi: str,
        scgi: str,
        uwsgi: str,
        fcgi_tcp: str,
        scgi_tcp: str,
        uwsgi_tcp: str,
        http: str = "",
        http_tcp: str = "",
    ) -> None:
        self.fcgi = fcgi
        self.scgi = scgi
        self.uwsgi = uwsgi
        self.fcgi_tcp = fcgi_tcp
        self.scgi_tcp = scgi_tcp
        self.uwsgi_tcp = uwsgi_tcp
        self.http = http
        self.http_tcp = http_tcp


class Ground:
    """What a configuration may refer to: its port, its daemon's sockets, folders, scripts.

    folder   the server's own: logs, sockets, temporary files
    www      a document root with a few files
    cgi_bin  app.cgi and app.fcgi
    """

    def __init__(self, port: int, sockets: Sockets, folder: Path, www: Path, cgi_bin: Path) -> None:
        self.port = port
        self.sockets = sockets
        self.folder = folder
        self.www = www
        self.cgi_bin = cgi_bin


class Site:
    """One configuration to test, named front-mode-circumstance.

    text    Ground -> this site's part of the server's configuration
    mount   where the application sits in the client's URLs
    daemon  which daemon is behind it: "auto" (no --mount), "root" (--mount /), "app"
            (--mount /app), "" (the server starts scripts itself)
    """

    def __init__(
        self, name: str, text: Callable[[Ground], str], mount: str = "", daemon: str = "auto"
    ) -> None:
        self.name = name
        self.text = text
        self.mount = mount
        self.daemon = daemon

    @property
    def front(self) -> str:
        return self.name.partition("-")[0]

    def __repr__(self) -> str:
        return self.name
