"""Apache httpd: one private instance, one virtual host on its own port per configuration."""

from collections.abc import Sequence
from pathlib import Path

from tests.fronts.servers import Server, absent, program, unprivileged
from tests.fronts.sites import Ground, Site

MODULE_FOLDERS = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
    "/usr/local/libexec/apache24",
)
MODULES = (
    "mpm_event",
    "authz_core",
    "unixd",
    "mime",
    "alias",
    "rewrite",
    "actions",
    "env",
    "proxy",
    "proxy_fcgi",
    "proxy_scgi",
    "proxy_uwsgi",
    "cgid",
    "fcgid",
)


def modules(names: Sequence[str] = MODULES) -> str:
    """LoadModule lines for what is there as a file; some builds have the basic ones inside."""
    folder = next((Path(p) for p in MODULE_FOLDERS if Path(p).is_dir()), None)
    if folder is None:
        absent("apache2 modules", "apache2")
    lines = [
        f"LoadModule {name}_module {folder}/mod_{name}.so"
        for name in names
        if (Path(str(folder)) / f"mod_{name}.so").exists()
    ]
    if not any("fcgid_module" in line for line in lines):
        absent("mod_fcgid", "libapache2-mod-fcgid")
    return "\n".join(lines)


def passed(g: Ground, path: str, target: str, more: str = "") -> str:
    return f'ProxyPass "{path}" "{target}" {more}'


def handled(g: Ground, path: str) -> str:
    handler = f"proxy:unix:{g.sockets.fcgi}|fcgi://localhost/"
    return f'<Location "{path}">\nSetHandler "{handler}"\n</Location>'


def htaccess(g: Ground) -> str:
    """A document root whose .htaccess sends everything to the shim, as on shared hosting."""
    root = g.folder / f"site-{g.port}"
    root.mkdir()
    (root / ".htaccess").write_text(
        "RewriteEngine On\n"
        "RewriteCond %{REQUEST_URI} !^/cgi-bin/\n"
        "RewriteRule ^(.*)$ /cgi-bin/app.cgi/$1 [QSA,L]\n"
    )
    return f'DocumentRoot "{root}"\nScriptAlias /cgi-bin/ "{g.cgi_bin}/"'


SITES = (
    Site(
        "apache-fastcgi-pass-root",
        lambda g: passed(g, "/", f"unix:{g.sockets.fcgi}|fcgi://localhost/"),
        daemon="root",
    ),
    Site(
        "apache-fastcgi-pass-app",
        lambda g: passed(g, "/app", f"unix:{g.sockets.fcgi}|fcgi://localhost/srv/app"),
        "/app",
        "app",
    ),
    Site(
        "apache-fastcgi-pass-tcp",
        lambda g: passed(g, "/app", f"fcgi://{g.sockets.fcgi_tcp}"),
        "/app",
        "app",
    ),
    Site(
        "apache-fastcgi-pass-kept",
        lambda g: (
            f'<Proxy "fcgi://{g.sockets.fcgi_tcp}" enablereuse=on max=4>\n</Proxy>\n'
            + passed(g, "/app", f"fcgi://{g.sockets.fcgi_tcp}", "enablereuse=on")
        ),
        "/app",
        "app",
    ),
    Site(
        "apache-fastcgi-pass-flushed",
        lambda g: passed(g, "/app", f"unix:{g.sockets.fcgi}|fcgi://flushed/", "flushpackets=on"),
        "/app",
        "app",
    ),
    Site("apache-fastcgi-handler-root", lambda g: handled(g, "/"), daemon="root"),
    Site("apache-fastcgi-handler-app", lambda g: handled(g, "/app"), "/app"),
    Site(
        "apache-fastcgi-handler-nodecode",
        lambda g: "AllowEncodedSlashes NoDecode\n" + handled(g, "/app"),
        "/app",
    ),
    Site(
        "apache-fcgid-wrapper-app",
        lambda g: (
            f'<Location "/app">\nSetHandler fcgid-script\n'
            f'FcgidWrapper "{g.cgi_bin}/app.fcgi" virtual\n</Location>'
        ),
        "/app",
        "",
    ),
    Site(
        "apache-fcgid-file",
        lambda g: f'Alias /app "{g.cgi_bin}/app.fcgi"\nAddHandler fcgid-script .fcgi',
        "/app",
        "",
    ),
    Site(
        "apache-cgi-scriptalias",
        lambda g: f'ScriptAlias /cgi-bin/ "{g.cgi_bin}/"',
        "/cgi-bin/app.cgi",
        "",
    ),
    Site("apache-cgi-htaccess", htaccess, "", ""),
    Site(
        "apache-cgi-relay",
        lambda g: f'ScriptAlias /cgi-bin/ "{g.cgi_bin}/"',
        "/cgi-bin/relay.cgi",
        "",
    ),
    Site(
        "apache-scgi-app",
        lambda g: passed(g, "/app", f"scgi://{g.sockets.scgi_tcp}"),
        "/app",
        "app",
    ),
    Site(
        "apache-scgi-root-unix",
        lambda g: passed(g, "/", f"unix:{g.sockets.scgi}|scgi://localhost/"),
        daemon="root",
    ),
    Site(
        "apache-uwsgi-app",
        lambda g: passed(g, "/app", f"unix:{g.sockets.uwsgi}|uwsgi://suite/"),
        "/app",
        "app",
    ),
)


def start(grounds: Sequence[tuple[Site, Ground]]) -> Server:
    ground = grounds[0][1]
    text = f"""{common(ground, MODULES)}
<Directory />
 Require all granted
 AllowOverride All
 Options +ExecCGI +FollowSymLinks
</Directory>
<Location "/">
 CGIPassAuth On
</Location>
"""
    for site, place in grounds:
        text += (
            f"Listen 127.0.0.1:{place.port}\n<VirtualHost 127.0.0.1:{place.port}>\n"
            f"ServerName www.example.test\n{site.text(place)}\n"
            "</VirtualHost>\n"
        )
    return run(ground.folder, text, [place.port for _, place in grounds])


def common(ground: Ground, names: Sequence[str]) -> str:
    """What an instance of one's own needs, whatever it serves."""
    folder = ground.folder
    return f"""
ServerRoot "{folder}"
{modules(names)}
PidFile "{folder}/apache.pid"
ErrorLog "{folder}/apache-error.log"
LogLevel warn proxy_fcgi:info cgid:info
ScriptSock "{folder}/cgisock"
FcgidIPCDir "{folder}/fcgid"
FcgidProcessTableFile "{folder}/fcgid_shm"
FcgidMaxRequestLen 67108864
FcgidMinProcessesPerClass 0
FcgidMaxProcessesPerClass 4
FcgidSpawnScoreUpLimit 1000
FcgidErrorScanInterval 1
FcgidZombieScanInterval 1
FcgidOutputBufferSize 0
Mutex "file:{folder}" default
KeepAliveTimeout 1
Timeout 15
StartServers 1
ThreadsPerChild 16
MinSpareThreads 1
MaxSpareThreads 32
MaxRequestWorkers 32
ServerName www.example.test
ServerAdmin webmaster@example.test
DocumentRoot "{ground.www}"
TypesConfig /dev/null
"""


def run(folder: Path, text: str, ports: Sequence[int]) -> Server:
    folder.chmod(0o777)  # the unprivileged user writes its logs and sockets here
    (folder / "apache.conf").write_text(text)
    argv = [
        program("apache2", "httpd", package="apache2"),
        *("-d", str(folder), "-f", str(folder / "apache.conf"), "-DFOREGROUND"),
    ]
    return Server("apache", folder, unprivileged(argv), ports, [folder / "apache-error.log"])
