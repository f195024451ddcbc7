"""Sites for Apache whose text comes from gatebridge.fronts.apache, and an instance for them.

The instance has the modules that Debian's has, and grants nothing: what a site needs, its own
text must say.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gatebridge.bind import parse_bind
from gatebridge.fronts import apache as builder
from gatebridge.fronts.place import Place
from tests.fronts import servers
from tests.fronts.apache import MODULES, common, run
from tests.fronts.generated import ODD, checked, extra, made, place, secure, twins
from tests.fronts.servers import Server
from tests.fronts.sites import Ground, Site
from tests.suite.stage import Stage

DEBIAN = (
    *("authn_core", "authn_file", "authz_host", "authz_user", "auth_basic", "access_compat"),
    *("autoindex", "dir", "negotiation", "setenvif", "status", "filter", "reqtimeout"),
    *("headers", "slotmem_shm", "proxy_http", "proxy_balancer", "lbmethod_byrequests"),
    *("watchdog", "proxy_hcheck", "socache_shmcb", "ssl"),
)


def shimmed(g: Ground, mount: str, shim: str, **more: Any) -> Place:
    return Place(
        (),
        mount,
        **{
            "listen": f"127.0.0.1:{g.port}",
            "upload": 64 << 20,
            "name": f"made{g.port}",
            "shim": shim,
            **more,
        },
    )


def started(name: str, mount: str, form: str, shim: str, **more: Any) -> Site:
    """A site whose shim Apache starts."""

    def text(g: Ground) -> str:
        return builder.config(shimmed(g, mount, f"{g.cgi_bin}/{shim}", **more), form)

    return Site(name, text, mount, "")


def hosted(name: str, mount: str, shim: str) -> Site:
    """Shared hosting: a document root, a cgi-bin that the host set up, and our .htaccess."""

    def text(g: Ground) -> str:
        root = g.folder / f"site-{g.port}"
        root.mkdir()
        own = builder.config(shimmed(g, mount, f"/home/me/cgi-bin/{shim}"), "htaccess")
        (root / ".htaccess").write_text(own)
        return (
            f"Listen 127.0.0.1:{g.port}\n<VirtualHost 127.0.0.1:{g.port}>\n"
            f'DocumentRoot "{root}"\nScriptAlias /cgi-bin/ "{g.cgi_bin}/"\n'
            f'<Directory "{root}">\nRequire all granted\nAllowOverride FileInfo\n</Directory>\n'
            f'<Directory "{g.cgi_bin}">\nRequire all granted\n</Directory>\n</VirtualHost>\n'
        )

    return Site(name, text, mount, "")


def linked(g: Ground) -> str:
    """The daemon's folder of sockets by a name that has to be quoted everywhere."""
    link = g.folder / f"{ODD.replace('#', '')}%41{g.port}"  # Apache takes all but # ? |
    link.symlink_to(g.sockets.fcgi.rpartition("/")[0])
    return f"unix:{link}/{g.sockets.fcgi.rpartition('/')[2]}"


def odd_socket(name: str, build: Callable[[Place, str], str], form: str) -> Site:
    def text(g: Ground) -> str:
        return build(place(g, "fastcgi", "/app", binds=(parse_bind(linked(g)),)), form)

    return Site(name, text, "/app", "auto")


ODDER = f"[{ODD}] ${{HOME}}\\x "


def odd_shim(
    name: str, build: Callable[[Place, str], str], file: str, form: str, odd: str = ODDER
) -> Site:
    """A shim in a folder with a name that has to be quoted."""

    def text(g: Ground) -> str:
        folder = g.folder / f"{odd}{g.port}"
        folder.mkdir()
        (folder / file).symlink_to(g.cgi_bin / file)
        more = {"static": (("/files", str(files_of(g))),), "upload": 65_536}
        return build(shimmed(g, "/app", f"{folder}/{file}", **more), form)

    return Site(name, text, "/app", "")


def files_of(g: Ground) -> Path:
    folder = g.folder / ODD
    folder.mkdir(exist_ok=True)
    (folder / "one.txt").write_text("one\n")
    return folder


APACHE = (
    made(builder.config, "apache-fastcgi-made-pass-root"),
    made(builder.config, "apache-fastcgi-made-pass-app", "/app"),
    made(builder.config, "apache-fastcgi-made-pass-told", "/app", "app"),
    made(builder.config, "apache-fastcgi-made-pass-flushed", "/app", buffering=False, keep=0),
    made(builder.config, "apache-fastcgi-made-pass-kept-flushed", buffering=False),
    made(builder.config, "apache-fastcgi-tcp-made-pass-app", "/app"),
    made(builder.config, "apache-fastcgi-both-made-pass-root"),
    made(builder.config, "apache-fastcgi-both-made-pass-app", "/app", health="/ping"),
    made(builder.config, "apache-fastcgi-made-handler-root", "", form="handler"),
    made(builder.config, "apache-fastcgi-made-handler-app", "/app", form="handler"),
    made(
        builder.config,
        "apache-fastcgi-made-handler-app-flushed",
        "/app",
        form="handler",
        buffering=False,
    ),
    made(builder.config, "apache-fastcgi-both-made-handler-app", "/app", form="handler"),
    made(builder.config, "apache-scgi-made-pass-root", daemon="root"),
    made(builder.config, "apache-scgi-tcp-made-pass-app", "/app", "app"),
    made(builder.config, "apache-scgi-made-handler-app", "/app", "app", "handler"),
    made(builder.config, "apache-uwsgi-made-pass-root", daemon="root"),
    made(builder.config, "apache-uwsgi-made-pass-app", "/app", "app"),
    made(builder.config, "apache-uwsgi-tcp-made-pass-app", "/app", "app"),
    made(builder.config, "apache-http-made-pass-root", daemon="proxied-root"),
    made(builder.config, "apache-http-tcp-made-pass-app", "/app", "proxied-app"),
    started("apache-fcgid-made-root", "", "fcgid", "app.fcgi"),
    started("apache-fcgid-made-app", "/app", "fcgid", "app.fcgi", buffering=False),
    started("apache-cgi-made-root", "", "cgi", "relay.cgi"),
    started("apache-cgi-made-app", "/app", "cgi", "relay.cgi"),
    started("apache-cgi-made-app-oneshot", "/app", "cgi", "app.cgi"),
    hosted("apache-cgi-made-htaccess-root", "", "relay.cgi"),
    hosted("apache-cgi-made-htaccess-app", "/app", "app-mounted.cgi"),
)


NONE: dict[str, Any] = {"send_files": ""}  # mod_xsendfile is seldom there
EXTRA = (
    extra(builder.config, "apache-fastcgi-extra-app", "/app", "app", **NONE),
    extra(builder.config, "apache-fastcgi-both-extra-app", "/app", "app", **NONE),
    extra(builder.config, "apache-scgi-extra-app", "/app", "app", **NONE),
    extra(builder.config, "apache-uwsgi-extra-app", "/app", "app", **NONE),
    extra(builder.config, "apache-http-extra-app", "/app", "proxied-app", **NONE),
    odd_shim("apache-cgi-extra-app", builder.config, "relay.cgi", "cgi"),
    odd_shim("apache-fcgid-extra-app", builder.config, "app.fcgi", "fcgid", "[x]${HOME}#*é"),
)
ODD_SOCKETS = (
    odd_socket("apache-fastcgi-odd-pass", builder.config, "pass"),
    odd_socket("apache-fastcgi-odd-handler", builder.config, "handler"),
)
SECURE = (
    secure(builder.config, "apache-fastcgi-tls", "root"),
    secure(builder.config, "apache-http-tls", "proxied-root"),
)


def checked_tcp(protocol: str) -> Site:
    """Two back ends with a health check, of which one is nobody: a port that nothing has."""

    def text(g: Ground) -> str:
        there, scheme = {
            "fastcgi": (g.sockets.fcgi_tcp, "fcgi"),
            "http": (g.sockets.http_tcp, "http"),
        }[protocol]
        binds = tuple(parse_bind(f"{scheme}://{at}") for at in (there, "127.0.0.1:9"))
        return builder.config(place(g, protocol, binds=binds, health="/ping"))

    return Site(f"apache-{protocol}-tcp-checked", text, "", "pinged")


UNCHECKED = (
    checked(builder.config, "apache-fastcgi-checked"),
    checked(builder.config, "apache-http-checked"),
)
CHECKED = (checked_tcp("fastcgi"), checked_tcp("http"))


def kept(number: int, form: str, keep: int, several: bool = False) -> Site:
    """Behind a daemon of the test's own, whose connections it counts: see kept_path()."""

    def text(g: Ground) -> str:
        binds = (parse_bind(f"unix:{kept_path(g.folder.parent, number)}"),) * (1 + several)
        return builder.config(place(g, "fastcgi", binds=binds, keep=keep), form)

    balanced = "balanced-" if several else ""
    return Site(f"apache-fastcgi-{balanced}keep{keep}-{form}", text)


def kept_path(folder: Path, number: int) -> str:
    return f"{folder}/kept{number}.sock"


KEPT = (
    kept(0, "pass", 32),
    kept(1, "handler", 32),
    kept(2, "pass", 32, several=True),
    kept(3, "handler", 32, several=True),
    kept(4, "pass", 0),
)
TWINS = (
    twins(builder.config, "apache-fastcgi-twins"),
    twins(builder.config, "apache-scgi-twins"),
    twins(builder.config, "apache-uwsgi-twins"),
    twins(builder.config, "apache-http-twins"),
)
ALL = (*TWINS, *KEPT, *APACHE, *EXTRA, *ODD_SOCKETS, *SECURE, *UNCHECKED, *CHECKED)


def start(grounds: Sequence[tuple[Site, Ground]]) -> Server:
    ground = grounds[0][1]
    text = common(ground, (*MODULES, *DEBIAN))
    text += "<Directory />\n Require all denied\n</Directory>\n"
    text += f'<Directory "{ground.www}">\n Require all granted\n</Directory>\n'  # as /var/www
    for site, each in grounds:
        text += site.text(each)
    return run(ground.folder, text, [each.port for _, each in grounds])


def grounds_of(stage: Stage, sites: Sequence[Site], folder: Path) -> list[tuple[Site, Ground]]:
    """Ports, daemons and files for the sites of a server whose own folder this is."""
    ports: set[int] = set()
    while len(ports) < len(sites):
        ports.add(servers.free_port())
    return [
        (site, Ground(port, stage.sockets(site.daemon), folder, stage.www, stage.scripts()))
        for site, port in zip(sites, ports, strict=True)
    ]
