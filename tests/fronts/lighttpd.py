"""lighttpd: one private instance, one socket condition per configuration."""

from collections.abc import Sequence
from pathlib import Path

from tests.fronts.servers import Server, program
from tests.fronts.sites import Ground, Site


def backend(module: str, path: str, socket: str, *more: str) -> str:
    """The assignment of one back end of mod_fastcgi or mod_scgi to a path prefix."""
    host, colon, port = socket.rpartition(":")
    where = [f'"host" => "{host}"', f'"port" => {port}'] if colon else [f'"socket" => "{socket}"']
    inside = ", ".join([*where, '"check-local" => "disable"', *more])
    return f'{module}.server = ("{path}" => (({inside})))'


def spawned(g: Ground) -> str:
    """lighttpd starts app.fcgi itself, with the listener on descriptor 0."""
    return (
        'fastcgi.server = ("/app" => (('
        f'"socket" => "{g.folder}/spawned.sock", "bin-path" => "{g.cgi_bin}/app.fcgi",'
        ' "max-procs" => 1, "check-local" => "disable")))'
    )


def authorizer(g: Ground) -> str:
    """Static files guarded by the authorizer role."""
    return backend(
        "fastcgi",
        "/",
        f"{g.sockets.fcgi}",
        '"mode" => "authorizer"',
        f'"docroot" => "{g.www}"',
    )


FIX = '"fix-root-scriptname" => "enable"'
STREAM = "server.stream-request-body = 2\nserver.stream-response-body = 2\n"

SITES = (
    Site(
        "lighttpd-fastcgi-root",
        lambda g: backend("fastcgi", "/", g.sockets.fcgi),
        daemon="root",
    ),
    Site("lighttpd-fastcgi-root-fixed", lambda g: backend("fastcgi", "/", g.sockets.fcgi, FIX)),
    Site("lighttpd-fastcgi-app", lambda g: backend("fastcgi", "/app", g.sockets.fcgi), "/app"),
    Site(
        "lighttpd-fastcgi-tcp",
        lambda g: backend("fastcgi", "/app", g.sockets.fcgi_tcp),
        "/app",
    ),
    Site(
        "lighttpd-fastcgi-streamed",
        lambda g: STREAM + backend("fastcgi", "/app", g.sockets.fcgi),
        "/app",
    ),
    Site("lighttpd-fastcgi-spawned", spawned, "/app", ""),
    Site("lighttpd-scgi-root-fixed", lambda g: backend("scgi", "/", g.sockets.scgi, FIX)),
    Site("lighttpd-scgi-app", lambda g: backend("scgi", "/app", g.sockets.scgi_tcp), "/app"),
    Site(
        "lighttpd-uwsgi-app",
        lambda g: 'scgi.protocol = "uwsgi"\n' + backend("scgi", "/app", g.sockets.uwsgi),
        "/app",
    ),
    Site(
        "lighttpd-cgi-app",
        lambda g: (
            f'alias.url = ("/app" => "{g.cgi_bin}/app.cgi")\n'
            '$HTTP["url"] =~ "^/app(/|$|\\?)" { cgi.assign = ("" => "") }'
        ),
        "/app",
        "",
    ),
    Site(
        "lighttpd-cgi-relay",
        lambda g: (
            f'alias.url = ("/app" => "{g.cgi_bin}/relay.cgi")\n'
            '$HTTP["url"] =~ "^/app(/|$|\\?)" { cgi.assign = ("" => "") }'
        ),
        "/app",
        "",
    ),
)

AUTHORIZER = Site("lighttpd-fastcgi-authorizer", authorizer, "", "authorizer")
MORE_SITES = (AUTHORIZER,)  # not for the rows of the suite


def start(grounds: Sequence[tuple[Site, Ground]]) -> Server:
    text = common(grounds[0][1], grounds[0][1].port)
    text += 'server.modules += ("mod_alias", "mod_cgi", "mod_fastcgi", "mod_scgi")\n'
    for site, ground in grounds:
        body = site.text(ground).replace("\n", "\n ")
        text += f'$SERVER["socket"] == "127.0.0.1:{ground.port}" {{\n {body}\n}}\n'
    return run(grounds[0][1].folder, text, [ground.port for _, ground in grounds])


def common(ground: Ground, port: int) -> str:
    """What an instance of one's own needs, whatever it serves. port: that of its first socket."""
    folder = ground.folder
    return f"""
server.document-root = "{ground.www}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{folder}/lighttpd-error.log"
server.breakagelog = "{folder}/lighttpd-breakage.log"
server.upload-dirs = ("{folder}/up")
server.name = "www.example.test"
"""


def run(folder: Path, text: str, ports: Sequence[int]) -> Server:
    (folder / "up").mkdir()
    (folder / "lighttpd.conf").write_text(text)
    return Server(
        "lighttpd",
        folder,
        [
            program("lighttpd", package="lighttpd"),
            *("-D", "-f", str(folder / "lighttpd.conf")),
        ],
        ports,
        [folder / "lighttpd-error.log", folder / "lighttpd-breakage.log"],
    )
