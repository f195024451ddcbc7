"""Which servers and forms ``gatebridge conf`` knows: the one table that lists the builders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatebridge.fronts import (
    apache,
    caddy,
    docker,
    haproxy,
    iis,
    kubernetes,
    lighttpd,
    logrotate,
    nginx,
    systemd,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatebridge.fronts.place import Place


@dataclass(frozen=True, slots=True)
class Form:
    """One shape of a server's configuration; one form is one file.

    about   a sentence for the list of forms
    sample  its name in conf/
    file    where Debian keeps it, "{name}" being the place's name; "" where it has no such place
            (a part of something else), so that --install refuses; "{home}": where the daemon starts
    after   commands for the operator once it is installed, in order; "{folder}": of the file,
            "{program}": the server's
    page    the URL of the application follows from what is written
    listen  where the server listens if nobody says it; "" for the usual port
    """

    about: str
    sample: str
    file: str = ""
    after: tuple[str, ...] = ()
    page: bool = False
    listen: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """What a builder makes, and how the server itself tests it.

    build     (place, form) -> text
    forms     name -> Form; the first is the one without a name
    programs  the server's program, by the names it goes under; () where none can test it
    check     arguments after it; "{file}" is what ``whole`` made, "{folder}" a private folder
    whole     (text, form, folder) -> a configuration that stands alone, for the test only;
              None: the text itself does
    suffix    of the file that is tested, for programs that look at it
    comment   what begins a comment, for the first line of an installed file
    package   that brings the program
    """

    build: Callable[[Place, str], str]
    forms: Mapping[str, Form]
    programs: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    whole: Callable[[str, str, str], str] | None = None
    suffix: str = ".conf"
    comment: str = "#"
    package: str = ""


_RELOAD_HAPROXY = (
    'in /etc/default/haproxy: EXTRAOPTS="-f /etc/haproxy/conf.d -S /run/haproxy-master.sock"',
    "systemctl restart haproxy; later systemctl reload haproxy",
)

_RELOAD_APACHE = (
    "a2enmod with the modules in the file's second or third line",
    "a2ensite {name}",
    "apachectl configtest && systemctl restart apache2",
)
_RELOAD_LIGHTTPD = (
    "lighttpd-enable-mod {name}",
    "lighttpd -tt -f /etc/lighttpd/lighttpd.conf && systemctl restart lighttpd",
)

SERVERS: dict[str, Server] = {
    "nginx": Server(
        nginx.config,
        {
            "server": Form(
                "a server block and its upstream, with connections that stay open",
                "nginx.conf",
                "/etc/nginx/conf.d/{name}.conf",
                ("nginx -t && systemctl reload nginx",),
                page=True,
            ),
            "alone": Form(
                "a whole nginx.conf, for an nginx of your own that needs no root",
                "nginx-alone.conf",
                "{home}/{name}-nginx/nginx.conf",
                ("{program} -p {folder} -c nginx.conf -e error.log",),
                page=True,
                listen="127.0.0.1:8080",
            ),
            "location": Form("a location for a server block of yours", "nginx-location.conf"),
        },
        ("nginx",),
        ("-t", "-p", "{folder}", "-c", "{file}"),
        nginx.whole,
        package="nginx",
    ),
    "apache": Server(
        apache.config,
        {
            "pass": Form(
                "a virtual host that passes everything on by ProxyPass",
                "apache.conf",
                "/etc/apache2/sites-available/{name}.conf",
                _RELOAD_APACHE,
            ),
            "handler": Form(
                "the same by SetHandler, where more sections are to apply",
                "apache-handler.conf",
                "/etc/apache2/sites-available/{name}.conf",
                _RELOAD_APACHE,
            ),
            "fcgid": Form(
                "mod_fcgid starts a .fcgi shim itself",
                "apache-fcgid.conf",
                "/etc/apache2/sites-available/{name}.conf",
                _RELOAD_APACHE,
            ),
            "cgi": Form(
                "a shim in a cgi-bin",
                "apache-cgi.conf",
                "/etc/apache2/sites-available/{name}.conf",
                _RELOAD_APACHE,
            ),
            "htaccess": Form("a shim and a .htaccess: shared hosting", "apache.htaccess"),
        },
        ("apache2", "httpd"),
        ("-t", "-d", "{folder}", "-f", "{file}"),
        apache.whole,
        package="apache2",
    ),
    "lighttpd": Server(
        lighttpd.config,
        {
            "server": Form(
                "a daemon, by the protocol that it speaks",
                "lighttpd.conf",
                "/etc/lighttpd/conf-available/90-{name}.conf",
                _RELOAD_LIGHTTPD,
            ),
            "cgi": Form(
                "a shim that is started for each request",
                "lighttpd-cgi.conf",
                "/etc/lighttpd/conf-available/90-{name}.conf",
                _RELOAD_LIGHTTPD,
            ),
        },
        ("lighttpd",),
        ("-tt", "-f", "{file}"),
        lighttpd.whole,
        package="lighttpd",
    ),
    "iis": Server(
        iis.config,
        {
            "proxy": Form("web.config: rewritten to a daemon by HTTP", "iis-web.config"),
            "proxy-host": Form(
                "what applicationHost.config needs beside it", "iis-applicationHost.config"
            ),
            "cgi": Form("web.config: a shim, started for each request", "iis-cgi-web.config"),
            "cgi-host": Form(
                "what applicationHost.config needs beside it", "iis-cgi-applicationHost.config"
            ),
        },
        suffix=".config",
        comment="<!--",
    ),
    "caddy": Server(
        caddy.config,
        {
            "site": Form(
                "a site of its own",
                "Caddyfile",
                "/etc/caddy/conf.d/{name}.caddy",
                ("in /etc/caddy/Caddyfile, once: import conf.d/*.caddy", "systemctl reload caddy"),
            ),
            "handle": Form("a handle for a site of yours", "Caddyfile-handle"),
        },
        ("caddy",),
        ("validate", "--config", "{file}", "--adapter", "caddyfile"),
        caddy.whole,
        package="caddy",
    ),
    "haproxy": Server(
        haproxy.config,
        {
            "frontend": Form(
                "a frontend and its backend",
                "haproxy.cfg",
                "/etc/haproxy/conf.d/{name}.cfg",
                _RELOAD_HAPROXY,
            ),
            "backend": Form(
                "a backend for a frontend of yours",
                "haproxy-backend.cfg",
                "/etc/haproxy/conf.d/{name}.cfg",
                _RELOAD_HAPROXY,
            ),
        },
        ("haproxy",),
        ("-c", "-f", "{file}"),
        haproxy.whole,
        ".cfg",
        package="haproxy",
    ),
    "systemd": Server(
        systemd.config,
        {
            "service": Form(
                "the service; it needs the form socket, too",
                "gatebridge.service",
                "/etc/systemd/system/{name}.service",
                ("systemctl daemon-reload", "systemctl enable --now {name}.socket {name}.service"),
            ),
            "socket": Form(
                "the socket of the service",
                "gatebridge.socket",
                "/etc/systemd/system/{name}.socket",
                ("systemctl daemon-reload",),
            ),
            "template": Form(
                "a service for each of many applications; it needs the form template-socket, too",
                "gatebridge@.service",
                "/etc/systemd/system/{name}@.service",
                ("systemctl daemon-reload", "systemctl enable --now {name}@NAME.socket"),
            ),
            "template-socket": Form(
                "a socket for each of them",
                "gatebridge@.socket",
                "/etc/systemd/system/{name}@.socket",
                ("systemctl daemon-reload",),
            ),
        },
        ("systemd-analyze",),
        ("verify", "--man=no", "{file}"),
        systemd.whole,
        ".service",
        package="systemd",
    ),
    "logrotate": Server(
        logrotate.config,
        {
            "systemd": Form(
                "for a daemon that systemd runs", "logrotate", "/etc/logrotate.d/{name}"
            ),
            "pid": Form("for a daemon with a pid file", "logrotate-pid", "/etc/logrotate.d/{name}"),
        },
        ("logrotate",),
        ("--debug", "--state", "{folder}/state", "{file}"),
        package="logrotate",
    ),
    "docker": Server(
        docker.config,
        {
            "dockerfile": Form("an image of the application", "Dockerfile"),
            "compose": Form("it and nginx before it", "compose.yaml"),
        },
    ),
    "kubernetes": Server(
        kubernetes.config,
        {
            "deployment": Form("pods behind a front server or an Ingress", "kubernetes.yaml"),
            "sidecar": Form("pods with nginx in each", "kubernetes-sidecar.yaml"),
        },
    ),
}
