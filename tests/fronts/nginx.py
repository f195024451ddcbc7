"""nginx: one private instance, one server block on its own port for each configuration."""

import os
from collections.abc import Sequence
from pathlib import Path

from tests.fronts.generated import NGINX, NGINX_EXTRA
from tests.fronts.servers import Server, program
from tests.fronts.sites import Ground, Site

# nginx's own fastcgi_params, word for word; Debian's copy changes HTTP_HOST (the "stock" sites).
PARAMS = (
    ("QUERY_STRING", "$query_string"),
    ("REQUEST_METHOD", "$request_method"),
    ("CONTENT_TYPE", "$content_type"),
    ("CONTENT_LENGTH", "$content_length"),
    ("REQUEST_URI", "$request_uri"),
    ("DOCUMENT_URI", "$document_uri"),
    ("DOCUMENT_ROOT", "$document_root"),
    ("SERVER_PROTOCOL", "$server_protocol"),
    ("REQUEST_SCHEME", "$scheme"),
    ("HTTPS", "$https if_not_empty"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "nginx/$nginx_version"),
    ("REMOTE_ADDR", "$remote_addr"),
    ("REMOTE_PORT", "$remote_port"),
    ("SERVER_ADDR", "$server_addr"),
    ("SERVER_PORT", "$server_port"),
    ("SERVER_NAME", "$server_name"),
)
SPLIT_ROOT = "fastcgi_split_path_info ^()(/.*)$;"
SPLIT_APP = "fastcgi_split_path_info ^(/app)(/.*)?$;"
SCRIPT_NAME = "fastcgi_param SCRIPT_NAME $fastcgi_script_name;"
PATH_INFO = "fastcgi_param PATH_INFO $fastcgi_path_info;"
UNBUFFERED = "{0}_request_buffering off; {0}_buffering off;"
KEPT = "fastcgi_keep_conn on;"


def params(protocol: str) -> str:
    left_out = {"scgi": ("CONTENT_LENGTH", "GATEWAY_INTERFACE"), "uwsgi": ("GATEWAY_INTERFACE",)}
    return ("scgi_param SCGI 1; " if protocol == "scgi" else "") + " ".join(
        f"{protocol}_param {name} {value};"
        for name, value in PARAMS
        if name not in left_out.get(protocol, ())
    )


def server(g: Ground, location: str, inside: str, before: str = "") -> str:
    return (
        f"{before}\nserver {{ listen 127.0.0.1:{g.port}; server_name www.example.test;"
        f" root {g.www};\n location {location} {{ {inside} }}\n}}\n"
    )


def fastcgi(g: Ground, location: str, more: str, target: str = "") -> str:
    target = target or f"unix:{g.sockets.fcgi}"
    return server(g, location, f"{more} {params('fastcgi')} fastcgi_pass {target};")


def kept(g: Ground, location: str, more: str, target: str = "") -> str:
    """The same over connections that nginx keeps open."""
    target = target or f"unix:{g.sockets.fcgi}"
    name = f"kept_{g.port}"
    upstream = f"upstream {name} {{ server {target}; keepalive 4; }}"
    inside = f"{more} {params('fastcgi')} {KEPT} fastcgi_pass {name};"
    return server(g, location, inside, upstream)


def other(g: Ground, protocol: str, location: str, target: str, more: str = "") -> str:
    inside = f"{params(protocol)} {more} {protocol}_pass {target};"
    return server(g, location, inside)


def stock(g: Ground, protocol: str, location: str, target: str) -> str:
    """The parameter file that the distribution installs, included and nothing else."""
    path = Path("/etc/nginx") / f"{protocol}_params"
    include = f"include {path};" if path.exists() else params(protocol)
    if protocol == "fastcgi" and not path.exists():
        include += SCRIPT_NAME
    return server(g, location, f"{include} {protocol}_pass {target};")


SITES = (
    Site(
        "nginx-fastcgi-stock-root",
        lambda g: stock(g, "fastcgi", "/", f"unix:{g.sockets.fcgi}"),
        daemon="root",
    ),
    Site(
        "nginx-fastcgi-stock-app",
        lambda g: stock(g, "fastcgi", "/app", f"unix:{g.sockets.fcgi}"),
        "/app",
        "app",
    ),
    Site(
        "nginx-fastcgi-split-root",
        lambda g: fastcgi(g, "/", SPLIT_ROOT + SCRIPT_NAME + PATH_INFO),
    ),
    Site(
        "nginx-fastcgi-split-app",
        lambda g: fastcgi(g, "/app", SPLIT_APP + SCRIPT_NAME + PATH_INFO),
        "/app",
    ),
    Site(
        "nginx-fastcgi-tcp",
        lambda g: fastcgi(g, "/app", SPLIT_APP + SCRIPT_NAME + PATH_INFO, g.sockets.fcgi_tcp),
        "/app",
    ),
    Site(
        "nginx-fastcgi-unbuffered",
        lambda g: fastcgi(
            g, "/app", SPLIT_APP + SCRIPT_NAME + PATH_INFO + UNBUFFERED.format("fastcgi")
        ),
        "/app",
    ),
    Site(
        "nginx-fastcgi-kept",
        lambda g: kept(g, "/", SPLIT_ROOT + SCRIPT_NAME + PATH_INFO),
    ),
    Site(
        "nginx-fastcgi-kept-tcp",
        lambda g: kept(g, "/app", SPLIT_APP + SCRIPT_NAME + PATH_INFO, g.sockets.fcgi_tcp),
        "/app",
    ),
    Site(
        "nginx-fastcgi-kept-unbuffered",
        lambda g: kept(
            g, "/app", SPLIT_APP + SCRIPT_NAME + PATH_INFO + UNBUFFERED.format("fastcgi")
        ),
        "/app",
    ),
    Site(
        "nginx-scgi-stock-root",
        lambda g: stock(g, "scgi", "/", f"unix:{g.sockets.scgi}"),
        daemon="root",
    ),
    Site(
        "nginx-scgi-unbuffered-app",
        lambda g: other(
            g,
            "scgi",
            "/app",
            f"unix:{g.sockets.scgi}",
            "scgi_param SCRIPT_NAME /app;" + UNBUFFERED.format("scgi"),
        ),
        "/app",
    ),
    Site(
        "nginx-scgi-tcp-app",
        lambda g: other(g, "scgi", "/app", g.sockets.scgi_tcp),
        "/app",
        "app",
    ),
    Site(
        "nginx-uwsgi-stock-root",
        lambda g: stock(g, "uwsgi", "/", f"unix:{g.sockets.uwsgi}"),
        daemon="root",
    ),
    Site(
        "nginx-uwsgi-unbuffered-app",
        lambda g: other(
            g,
            "uwsgi",
            "/app",
            f"unix:{g.sockets.uwsgi}",
            "uwsgi_param SCRIPT_NAME /app; uwsgi_param PATH_INFO $document_uri;"
            + UNBUFFERED.format("uwsgi"),
        ),
        "/app",
    ),
    Site(
        "nginx-uwsgi-tcp-app",
        lambda g: other(
            g, "uwsgi", "/app", g.sockets.uwsgi_tcp, "uwsgi_param PATH_INFO $document_uri;"
        ),
        "/app",
        "app",
    ),
)

MORE_SITES = (*NGINX, *NGINX_EXTRA)


def start(grounds: Sequence[tuple[Site, Ground]]) -> Server:
    folder = grounds[0][1].folder
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
    )
    text = (
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid;\n"
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        f"error_log {folder}/nginx-error.log info;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; {temporary}\n"
        "client_max_body_size 64m; large_client_header_buffers 4 32k; merge_slashes on;\n"
        + "".join(site.text(ground) for site, ground in grounds)
        + "}\n"
    )
    (folder / "nginx.conf").write_text(text)
    return Server(
        "nginx",
        folder,
        [
            program("nginx", package="nginx"),
            *("-p", str(folder), "-c", str(folder / "nginx.conf")),
            *("-e", str(folder / "nginx-error.log")),
        ],
        [ground.port for _, ground in grounds],
        [folder / "nginx-error.log"],
    )
