"""HAProxy: one private instance, a frontend, a backend and an fcgi-app per configuration."""

from collections.abc import Sequence

from tests.fronts.generated import HAPROXY, HAPROXY_EXTRA
from tests.fronts.servers import Server, program
from tests.fronts.sites import Ground, Site

PATH_INFO = "path-info ^(/app)(/.*)?$"


def proxy(g: Ground, server: str, *app: str, backend: tuple[str, ...] = ()) -> str:
    n = g.port
    lines = [
        f"frontend f{n}",
        f" bind 127.0.0.1:{n}",
        f" default_backend b{n}",
        f"backend b{n}",
        f" use-fcgi-app a{n}",
        *(f" {line}" for line in backend),
        f" server s{n} {server} proto fcgi",
        f"fcgi-app a{n}",
        f" docroot {g.www}",
        " pass-header Authorization",
        *(f" {line}" for line in app),
        "",
    ]
    return "\n".join(lines)


SITES = (
    Site(
        "haproxy-fastcgi-root",
        lambda g: proxy(g, f"unix@{g.sockets.fcgi}", "no option keep-conn"),
        daemon="root",
    ),
    Site(
        "haproxy-fastcgi-tcp",
        lambda g: proxy(g, g.sockets.fcgi_tcp, PATH_INFO, "no option keep-conn"),
        "/app",
        "app",
    ),
    Site(
        "haproxy-fastcgi-kept",
        lambda g: proxy(g, f"unix@{g.sockets.fcgi}", PATH_INFO, "option keep-conn"),
        "/app",
    ),
    Site(
        "haproxy-fastcgi-mpxs",
        lambda g: proxy(
            g,
            f"unix@{g.sockets.fcgi}",
            PATH_INFO,
            "option keep-conn",
            "option get-values",
            "option mpxs-conns",
            backend=("http-reuse always",),
        ),
        "/app",
        "mpxs",
    ),
)

MORE_SITES = (*HAPROXY, *HAPROXY_EXTRA)


def start(grounds: Sequence[tuple[Site, Ground]]) -> Server:
    folder = grounds[0][1].folder
    text = """
global
 maxconn 200
 nbthread 1
 tune.bufsize 32768
defaults
 mode http
 timeout connect 5s
 timeout client 60s
 timeout server 60s
"""
    text += "\n".join(site.text(ground) for site, ground in grounds)
    (folder / "haproxy.cfg").write_text(text)
    return Server(
        "haproxy",
        folder,
        [program("haproxy", package="haproxy"), "-db", "-f", str(folder / "haproxy.cfg")],
        [ground.port for _, ground in grounds],
    )
