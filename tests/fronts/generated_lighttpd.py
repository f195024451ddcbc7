"""Sites for lighttpd whose text comes from gatebridge.fronts.lighttpd, and an instance for them."""

from collections.abc import Sequence

from gatebridge.fronts import lighttpd as builder
from tests.fronts.generated import checked, extra, made, secure, twins
from tests.fronts.generated_apache import odd_shim, odd_socket, shimmed
from tests.fronts.lighttpd import common, run
from tests.fronts.servers import Server
from tests.fronts.sites import Ground, Site


def started(name: str, mount: str, shim: str) -> Site:
    def text(g: Ground) -> str:
        return builder.config(shimmed(g, mount, f"{g.cgi_bin}/{shim}"), "cgi")

    return Site(name, text, mount, "")


LIGHTTPD = (
    made(builder.config, "lighttpd-fastcgi-made-root"),
    made(builder.config, "lighttpd-fastcgi-made-root-told", daemon="root"),
    made(builder.config, "lighttpd-fastcgi-made-app", "/app"),
    made(builder.config, "lighttpd-fastcgi-made-app-told", "/app", "app"),
    made(builder.config, "lighttpd-fastcgi-made-app-streamed", "/app", buffering=False),
    made(builder.config, "lighttpd-fastcgi-tcp-made-app", "/app"),
    made(builder.config, "lighttpd-fastcgi-both-made-root"),
    made(builder.config, "lighttpd-scgi-made-root"),
    made(builder.config, "lighttpd-scgi-tcp-made-app", "/app"),
    made(builder.config, "lighttpd-uwsgi-made-root"),
    made(builder.config, "lighttpd-uwsgi-tcp-made-app", "/app"),
    made(builder.config, "lighttpd-http-made-root", daemon="proxied-root"),
    made(builder.config, "lighttpd-http-tcp-made-app", "/app", "proxied-app"),
    started("lighttpd-cgi-made-app", "/app", "relay.cgi"),
    started("lighttpd-cgi-made-app-oneshot", "/app", "app.cgi"),
    started("lighttpd-cgi-made-root", "", "relay.cgi"),
)


EXTRA = (
    extra(builder.config, "lighttpd-fastcgi-extra-app", "/app", "app"),
    extra(builder.config, "lighttpd-scgi-extra-app", "/app", "app"),
    extra(builder.config, "lighttpd-uwsgi-extra-app", "/app", "app"),
    extra(builder.config, "lighttpd-http-extra-app", "/app", "proxied-app", send_files=""),
    odd_shim("lighttpd-cgi-extra-app", builder.config, "relay.cgi", "cgi"),
)
ODD_SOCKETS = (odd_socket("lighttpd-fastcgi-odd", builder.config, "server"),)
SECURE = (
    secure(builder.config, "lighttpd-fastcgi-tls", "root"),
    secure(builder.config, "lighttpd-http-tls", "proxied-root"),
)
CHECKED = (
    checked(builder.config, "lighttpd-fastcgi-checked"),
    checked(builder.config, "lighttpd-http-checked"),
)
TWINS = (
    twins(builder.config, "lighttpd-fastcgi-twins"),
    twins(builder.config, "lighttpd-scgi-twins"),
    twins(builder.config, "lighttpd-uwsgi-twins"),
    twins(builder.config, "lighttpd-http-twins"),
)
ALL = (*TWINS, *LIGHTTPD, *EXTRA, *ODD_SOCKETS, *SECURE, *CHECKED)


def start(grounds: Sequence[tuple[Site, Ground]], port: int) -> Server:
    text = common(grounds[0][1], port)
    for site, ground in grounds:
        text += site.text(ground)
    return run(grounds[0][1].folder, text, [port, *(ground.port for _, ground in grounds)])
