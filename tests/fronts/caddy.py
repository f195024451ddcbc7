"""Caddy: one private instance, one site address per configuration."""

from collections.abc import Sequence

from tests.fronts.generated import CADDY, CADDY_EXTRA, CADDY_UNCHECKED
from tests.fronts.servers import Server, program
from tests.fronts.sites import Ground, Site


def fastcgi(g: Ground, inside: str = "", more: str = "") -> str:
    return (
        f"reverse_proxy unix/{g.sockets.fcgi} {{\n transport fastcgi {{\n"
        f"  root {g.www}\n  {inside}\n }}\n {more}\n}}"
    )


def mounted(handle: str, proxy: str) -> str:
    return f"{handle} /app* {{\n{proxy}\n}}"


SITES = (
    Site("caddy-fastcgi-root", lambda g: fastcgi(g)),
    Site(
        "caddy-fastcgi-tcp",
        lambda g: fastcgi(g).replace(f"unix/{g.sockets.fcgi}", g.sockets.fcgi_tcp),
    ),
    Site(
        "caddy-fastcgi-split-app",
        lambda g: mounted("handle", fastcgi(g, "split /app")),
        "/app",
    ),
    Site(
        "caddy-fastcgi-env-app",
        lambda g: mounted(
            "handle_path",
            fastcgi(g, "env SCRIPT_NAME /app\n  env PATH_INFO {http.request.uri.path}"),
        ),
        "/app",
    ),
    Site("caddy-fastcgi-streamed", lambda g: fastcgi(g, "", "flush_interval -1")),
)

MORE_SITES = (*CADDY, *CADDY_EXTRA, *CADDY_UNCHECKED)


def start(grounds: Sequence[tuple[Site, Ground]]) -> Server:
    folder = grounds[0][1].folder
    text = (
        f"{{\n admin off\n auto_https off\n"
        f" log {{\n  output file {folder}/caddy-error.log\n  level INFO\n }}\n}}\n"
    )
    for site, ground in grounds:
        if site in MORE_SITES:
            text += site.text(ground)
            continue
        inside = site.text(ground).replace("\n", "\n\t")
        text += f"http://:{ground.port} {{\n\tbind 127.0.0.1\n\t{inside}\n}}\n"
    (folder / "Caddyfile").write_text(text)
    return Server(
        "caddy",
        folder,
        [
            program("caddy", package="caddy"),
            "run",
            *("--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"),
        ],
        [ground.port for _, ground in grounds],
        [folder / "caddy-error.log"],
    )
