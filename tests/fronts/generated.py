"""Sites whose text comes from the builders of gatebridge.fronts: what ``gatebridge conf`` says.

Their names end in "-made-…", and before that they are named as other sites are, because what a
server does differently (tests/suite/differences.py) it does with these texts, too.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.fronts import caddy, haproxy, nginx
from gatebridge.fronts.place import Place
from tests.fronts.servers import program
from tests.fronts.sites import Ground, Site
from tests.serve.whole import socket_of
from tests.suite.differences import runs
from tests.suite.rows import BEHIND_FRONTS, validated
from tests.suite.rows_environ import ENVIRON

ROWS = BEHIND_FRONTS + validated(ENVIRON)
ODD = "a b\"c$d#'é"
ODD_MOUNT = "/a b$(c).h\xf6"
SOCKETS: dict[str, Callable[[Ground], tuple[str, ...]]] = {
    "fastcgi": lambda g: (f"unix:{g.sockets.fcgi}",),
    "fastcgi-tcp": lambda g: (f"fcgi://{g.sockets.fcgi_tcp}",),
    "fastcgi-both": lambda g: (f"unix:{g.sockets.fcgi}", f"fcgi://{g.sockets.fcgi_tcp}"),
    "scgi": lambda g: (f"scgi+unix:{g.sockets.scgi}",),
    "scgi-tcp": lambda g: (f"scgi://{g.sockets.scgi_tcp}",),
    "uwsgi": lambda g: (f"uwsgi+unix:{g.sockets.uwsgi}",),
    "uwsgi-tcp": lambda g: (f"uwsgi://{g.sockets.uwsgi_tcp}",),
    "http": lambda g: (f"http+unix:{g.sockets.http}",),
    "http-tcp": lambda g: (f"http://{g.sockets.http_tcp}",),
}


def place(g: Ground, sockets: str, mount: str = "", **more: Any) -> Place:
    """The place of a daemon of the suite, named after the port so that many fit in one file."""
    return Place(
        **{
            "binds": tuple(parse_bind(text) for text in SOCKETS[sockets](g)),
            "mount": mount,
            "listen": f"127.0.0.1:{g.port}",
            "server_name": "_",
            "upload": 64 << 20,
            "name": f"made{g.port}",
            **more,
        }
    )


def made(
    build: Callable[[Place, str], str],
    name: str,
    mount: str = "",
    daemon: str = "auto",
    form: str = "",
    **more: Any,
) -> Site:
    """name: FRONT-SOCKETS-made-…, of which the sockets say how the daemon is reached."""
    sockets = name.partition("-made-")[0].partition("-")[2]
    return Site(name, lambda g: build(place(g, sockets, mount, **more), form), mount, daemon)


def filled(g: Ground, sockets: str, mount: str, **more: Any) -> Place:
    """A place with everything in it: files in a folder with an odd name, a small upload."""
    folder = g.folder / ODD
    folder.mkdir(exist_ok=True)
    (folder / "one.txt").write_text("one\n")
    (folder / "secret.txt").write_text("sent\n")
    static = (("/files", str(folder)),)
    return place(
        g, sockets, mount, **{"static": static, "send_files": str(folder), "upload": 65_536} | more
    )


def certificate(g: Ground) -> tuple[str, str]:
    """A certificate for localhost, and its key in the file that HAProxy looks for."""
    path = g.folder / "localhost.pem"
    if not path.exists():
        words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30"
        names = ["-subj", "/CN=localhost", "-keyout", f"{path}.key", "-out", str(path)]
        program("openssl", package="openssl")
        subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    return str(path), f"{path}.key"


def extra(
    build: Callable[[Place, str], str], name: str, mount: str, daemon: str, **more: Any
) -> Site:
    sockets = name.partition("-extra-")[0].partition("-")[2]
    return Site(name, lambda g: build(filled(g, sockets, mount, **more), ""), mount, daemon)


def secure(build: Callable[[Place, str], str], name: str, daemon: str) -> Site:
    """With TLS in front, for localhost."""
    sockets = name.partition("-tls")[0].partition("-")[2]

    def text(g: Ground) -> str:
        more = {"tls": certificate(g), "server_name": "localhost"}
        return build(place(g, sockets, "", **more), "")

    return Site(name, text, "", daemon)


def checked(build: Callable[[Place, str], str], name: str) -> Site:
    """Two back ends that are asked for their health, of which one is nobody."""
    sockets = name.partition("-un")[0].partition("-checked")[0].partition("-")[2]

    def text(g: Ground) -> str:
        there = SOCKETS[sockets](g)
        nobody = there[0].partition("unix:")[0] + f"unix:{g.folder}/nobody"
        binds = tuple(parse_bind(text) for text in (*there, nobody))
        return build(place(g, sockets, "", binds=binds, health="/ping"), "")

    return Site(name, text, "", "pinged")


def checked_tcp(build: Callable[[Place, str], str], name: str) -> Site:
    """As checked, by TCP: nobody is a port that nothing has."""

    def text(g: Ground) -> str:
        binds = tuple(parse_bind(f"http://{at}") for at in (g.sockets.http_tcp, "127.0.0.1:9"))
        return build(place(g, "http", "", binds=binds, health="/ping"), "")

    return Site(name, text, "", "pinged")


def raw(build: Callable[[Place, str], str], name: str) -> Site:
    """Its back end is the test itself, which reads what the server really sends."""
    scheme = name.partition("-raw")[0].partition("-")[2].replace("fastcgi", "fcgi")

    def text(g: Ground) -> str:
        binds = (parse_bind(f"{scheme}+unix:{g.folder}/{scheme}.raw"),)
        return build(place(g, "fastcgi", "", binds=binds), "")

    return Site(name, text, "", "root")


def twins(build: Callable[[Place, str], str], name: str) -> Site:
    """Two back ends that a test starts, both alive, and static files but for HAProxy."""
    front, protocol, _ = name.split("-")
    scheme = "" if protocol == "fastcgi" else f"{protocol}+"

    def text(g: Ground) -> str:
        sockets = [socket_of(folder, protocol) for folder in twin_folders(g)]
        binds = tuple(parse_bind(f"{scheme}unix:{path}") for path in sockets)
        if front == "haproxy":
            return build(place(g, "fastcgi", binds=binds), "")
        return build(filled(g, "fastcgi", "", binds=binds, send_files=""), "")

    return Site(name, text, "", "root")


def twin_folders(g: Ground) -> tuple[Path, Path]:
    return g.folder / f"{g.port}a", g.folder / f"{g.port}b"


def location(g: Ground, mount: str) -> str:
    part = nginx.config(place(g, "fastcgi", mount), "location")
    return f"server {{\nlisten 127.0.0.1:{g.port};\n{part}}}\n"


def handle(g: Ground) -> str:
    part = caddy.config(place(g, "fastcgi", "/app"), "handle")
    return f"http://:{g.port} {{\nbind 127.0.0.1\n{part}}}\n"


def backend(g: Ground) -> str:
    front = f"frontend f{g.port}\n bind 127.0.0.1:{g.port}\n default_backend made{g.port}\n"
    return front + haproxy.config(place(g, "fastcgi", "/app"), "backend")


NGINX = (
    made(nginx.config, "nginx-fastcgi-made-root"),
    made(nginx.config, "nginx-fastcgi-made-root-told", daemon="root"),
    made(nginx.config, "nginx-fastcgi-made-app", "/app"),
    made(nginx.config, "nginx-fastcgi-made-app-told", "/app", "app"),
    made(nginx.config, "nginx-fastcgi-made-app-unbuffered", "/app", buffering=False),
    made(nginx.config, "nginx-fastcgi-tcp-made-app", "/app"),
    made(nginx.config, "nginx-fastcgi-both-made-root"),
    Site("nginx-fastcgi-made-location", lambda g: location(g, "")),
    Site("nginx-fastcgi-made-location-app", lambda g: location(g, "/app"), "/app"),
    made(nginx.config, "nginx-scgi-made-root"),
    made(nginx.config, "nginx-scgi-tcp-made-app-unbuffered", "/app", buffering=False),
    made(nginx.config, "nginx-uwsgi-made-app-unbuffered", "/app", buffering=False),
    made(nginx.config, "nginx-uwsgi-tcp-made-root"),
    made(nginx.config, "nginx-http-made-root", daemon="proxied-root"),
    made(nginx.config, "nginx-http-tcp-made-app", "/app", "proxied-app"),
)
CADDY = (
    made(caddy.config, "caddy-fastcgi-made-root"),
    made(caddy.config, "caddy-fastcgi-made-app", "/app"),
    made(caddy.config, "caddy-fastcgi-tcp-made-app", "/app", "app"),
    made(caddy.config, "caddy-fastcgi-both-made-root-streamed", buffering=False),
    made(caddy.config, "caddy-http-made-root", daemon="proxied-root"),
    made(caddy.config, "caddy-http-tcp-made-app-streamed", "/app", "proxied-app", buffering=False),
    Site("caddy-fastcgi-made-handle", handle, "/app"),
)
HAPROXY = (
    made(haproxy.config, "haproxy-fastcgi-made-root", daemon="root"),
    made(haproxy.config, "haproxy-fastcgi-made-root-untold"),
    made(haproxy.config, "haproxy-fastcgi-made-app", "/app", "app"),
    made(haproxy.config, "haproxy-fastcgi-tcp-made-app-streamed", "/app", "app", buffering=False),
    made(haproxy.config, "haproxy-fastcgi-both-made-root", daemon="root"),
    made(haproxy.config, "haproxy-http-made-root", daemon="proxied-root"),
    made(haproxy.config, "haproxy-http-tcp-made-app", "/app", "proxied-app"),
    Site("haproxy-fastcgi-made-backend", backend, "/app", "app"),
)

NGINX_EXTRA = (
    raw(nginx.config, "nginx-fastcgi-raw"),
    raw(nginx.config, "nginx-scgi-raw"),
    raw(nginx.config, "nginx-uwsgi-raw"),
    raw(nginx.config, "nginx-http-raw"),
    made(nginx.config, "nginx-fastcgi-made-odd", ODD_MOUNT),
    extra(nginx.config, "nginx-fastcgi-extra-app", "/app", "app"),
    extra(nginx.config, "nginx-scgi-extra-app", "/app", "app"),
    extra(nginx.config, "nginx-uwsgi-extra-app", "/app", "app"),
    extra(nginx.config, "nginx-http-extra-app", "/app", "proxied-app"),
    secure(nginx.config, "nginx-fastcgi-tls", "root"),
    secure(nginx.config, "nginx-http-tls", "proxied-root"),
    twins(nginx.config, "nginx-fastcgi-twins"),
    twins(nginx.config, "nginx-scgi-twins"),
    twins(nginx.config, "nginx-uwsgi-twins"),
    twins(nginx.config, "nginx-http-twins"),
)
CADDY_EXTRA = (
    raw(caddy.config, "caddy-fastcgi-raw"),
    raw(caddy.config, "caddy-http-raw"),
    made(caddy.config, "caddy-fastcgi-made-odd", ODD_MOUNT),
    extra(caddy.config, "caddy-fastcgi-extra-app", "/app", "app"),
    extra(caddy.config, "caddy-http-extra-app", "/app", "proxied-app"),
    secure(caddy.config, "caddy-fastcgi-tls", "root"),
    secure(caddy.config, "caddy-http-tls", "proxied-root"),
    checked_tcp(caddy.config, "caddy-http-tcp-checked"),
    twins(caddy.config, "caddy-fastcgi-twins"),
    twins(caddy.config, "caddy-http-twins"),
)
CADDY_UNCHECKED = (
    checked(caddy.config, "caddy-fastcgi-unchecked"),
    checked(caddy.config, "caddy-http-unchecked"),
)
NONE: dict[str, Any] = {"static": (), "send_files": ""}  # HAProxy sends no files
HAPROXY_EXTRA = (
    raw(haproxy.config, "haproxy-fastcgi-raw"),
    raw(haproxy.config, "haproxy-http-raw"),
    made(haproxy.config, "haproxy-fastcgi-made-odd", ODD_MOUNT),
    extra(haproxy.config, "haproxy-fastcgi-extra-app", "/app", "app", **NONE),
    extra(haproxy.config, "haproxy-http-extra-app", "/app", "proxied-app", **NONE),
    secure(haproxy.config, "haproxy-fastcgi-tls", "root"),
    secure(haproxy.config, "haproxy-http-tls", "proxied-root"),
    checked(haproxy.config, "haproxy-fastcgi-checked"),
    checked(haproxy.config, "haproxy-http-checked"),
    twins(haproxy.config, "haproxy-fastcgi-twins"),
    twins(haproxy.config, "haproxy-http-twins"),
)


def cases(sites: Sequence[Site]) -> list[Any]:
    """(site, row) for every row that can be sent there."""
    return [
        pytest.param(site, row, id=f"{site.name}--{row.id}")
        for site in sites
        for row in ROWS
        if runs(row, site.name, site.mount, chunked=True)
    ]
