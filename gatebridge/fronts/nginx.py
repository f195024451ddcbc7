"""nginx: configuration text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts.lines import because, braces, indented, shortest_size, text, whole_seconds
from gatebridge.fronts.place import address, unsupported
from gatebridge.serve.send_file import BROUGHT_BACK

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.fronts.place import Place

DIRECTIVES = {"fastcgi": "fastcgi", "scgi": "scgi", "uwsgi": "uwsgi", "http": "proxy"}
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_KINDS = (
    ("text/html", "html htm"),
    ("text/css", "css"),
    ("text/plain", "txt"),
    ("text/javascript", "js mjs"),
    ("application/json", "json map"),
    ("application/pdf", "pdf"),
    ("image/gif", "gif"),
    ("image/jpeg", "jpeg jpg"),
    ("image/png", "png"),
    ("image/svg+xml", "svg"),
    ("image/webp", "webp"),
    ("image/x-icon", "ico"),
    ("font/woff2", "woff2"),
)
_DOLLAR = "${gatebridge_dollar}"  # nginx has no way to escape one, but this holds one

# What the protocols ask of a server, and what nginx knows. CONTENT_LENGTH and CONTENT_TYPE come
# empty without a body; SCGI's CONTENT_LENGTH is written by nginx itself. REMOTE_USER is left out:
# nginx takes it from Basic credentials that nobody checked.
_PARAMS = (
    ("REQUEST_METHOD", "$request_method"),
    ("REQUEST_URI", "$request_uri"),
    ("QUERY_STRING", "$query_string"),
    ("CONTENT_TYPE", "$content_type"),
    ("CONTENT_LENGTH", "$content_length"),
    ("SERVER_PROTOCOL", "$server_protocol"),
    ("SERVER_SOFTWARE", "nginx/$nginx_version"),
    ("SERVER_NAME", "$server_name"),
    ("SERVER_ADDR", "$server_addr"),
    ("SERVER_PORT", "$server_port"),
    ("REMOTE_ADDR", "$remote_addr"),
    ("REMOTE_PORT", "$remote_port"),
    ("REQUEST_SCHEME", "$scheme"),
    ("HTTPS", "$https if_not_empty"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
)


def config(place: Place, form: str = "") -> str:
    """A server block with its upstream, or with form "location" what goes into one of yours.

    form "alone" is a whole configuration: every path in it is below the folder of nginx -p.

    raises  ConfigError("conf.…")
    """
    if form == "location":
        return text(_location_form(place))
    if form == "alone":
        return text(_alone(place))
    lines = [
        f"# {place.name} behind nginx: for the http block, as files in /etc/nginx/conf.d are.",
        *_dollar(place),
        *_upstream(place),
        "",
        *braces("server", _server(place)),
    ]
    return text(lines)


def whole(part: str, form: str, folder: str) -> str:
    """A configuration that stands alone and writes to ``folder`` only, for nginx -t."""
    if form == "alone":
        return part
    inside = part if form != "location" else "server {\nlisten 127.0.0.1:8080;\n" + part + "}\n"
    return f"""\
pid {quoted(f"{folder}/nginx.pid")};
error_log stderr;
events {{ worker_connections 64; }}
http {{
{text(_temporary(folder))}    access_log off;
{inside}}}
"""


def _alone(place: Place) -> list[str]:
    """One that needs no root: it writes to its own folder only."""
    server = braces("server", _server(place))
    inside = [f"{name}_temp_path {name};" for name in _TEMPORARY]
    inside += ["access_log access.log;", *_types(place), "", *_dollar(place), *_upstream(place)]
    return [
        f"# {place.name} behind an nginx of your own: its files are beside this one.",
        "# nginx -p FOLDER -c nginx.conf -e error.log starts it, the same with -s quit ends it.",
        "pid nginx.pid;",
        "error_log error.log;",
        *braces("events", ["worker_connections 512;"]),
        *braces("http", [*inside, "", *server]),
    ]


def _types(place: Place) -> list[str]:
    """What the system's mime.types would say of files that nginx sends itself."""
    if not place.static and not place.send_files:
        return []
    return braces("types", [f"{kind} {ends};" for kind, ends in _KINDS])


def private(folder: str, port: int, socket: str) -> str:
    """A whole configuration for an nginx of one's own: one process, one site, no system files.

    folder  an existing one; everything nginx writes goes there
    port    on 127.0.0.1
    socket  path of the FastCGI daemon's Unix socket

    One process, because a master started by root would run its worker as a user who cannot open
    the socket.
    """
    params = text(indented(_params("fastcgi", '""', "$document_uri"), " " * 12))
    return f"""\
daemon off;
master_process off;
pid {quoted(f"{folder}/nginx.pid")};
error_log {quoted(f"{folder}/nginx.log")};
events {{ worker_connections 256; }}
http {{
{text(_temporary(folder))}    access_log off;
    client_max_body_size 0;
    upstream gatebridge {{
        server {quoted(f"unix:{socket}")};
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port};
        server_name localhost;
        location / {{
            fastcgi_pass gatebridge;
            fastcgi_keep_conn on;
{params}        }}
    }}
}}
"""


def quoted(value: str) -> str:
    """A word of nginx's configuration, whatever characters it has. A $ stays one: see _path."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _temporary(folder: str) -> list[str]:
    return [f"    {name}_temp_path {quoted(f'{folder}/{name}')};" for name in _TEMPORARY]


def _path(folder: str, form: str = "") -> str:
    """A path where nginx looks for variables. raises ConfigError("conf.quote")"""
    if "$" in folder and form == "location":
        why = "nginx has no way to write a $ inside of a server block; rename it"
        raise ConfigError("conf.quote", f"{folder!r}: {why}")
    return quoted(folder).replace("$", _DOLLAR)


def _dollar(place: Place) -> list[str]:
    folders = [folder for _, folder in place.static] + [place.send_files]
    if not any("$" in folder for folder in folders):
        return []
    lines = because(
        "nginx has no way to quote a dollar sign, but this variable holds one",
        'geo $gatebridge_dollar { default "$"; }',
    )
    return [*lines, ""]


def _socket(bind: Bind) -> str:
    if bind.family == "abstract":
        instead = "write unix:/run/NAME.sock"
        raise unsupported("nginx", f"reach the abstract socket {bind.text!r}", instead)
    return quoted(f"unix:{bind.path}") if bind.family == "unix" else address(bind)


def _upstream(place: Place) -> list[str]:
    several = " max_fails=1 fail_timeout=5s" if len(place.binds) > 1 else ""
    inside = [f"server {_socket(bind)}{several};" for bind in place.binds]
    if several:
        reason = "one that cannot be reached is left alone for 5 s"
        inside = [
            *because("fewest requests under way first", "least_conn;"),
            f"# {reason}",
            *inside,
        ]
    if place.keep and place.protocol in ("fastcgi", "http"):
        reason = "connections that stay open: a new one for each request costs as much again"
        inside += because(reason, f"keepalive {place.keep};")
    return braces(f"upstream {place.name}", inside)


def _server(place: Place) -> list[str]:
    door = place.door
    if door.tls and not place.tls:
        raise ConfigError("conf.tls", "nginx needs --tls CERTIFICATE,KEY to listen with ssl")
    lines = [f"listen {door.address}{' ssl' if door.tls else ''};"]
    lines.append(f"server_name {place.server_name};")
    for name, file in zip(("ssl_certificate", "ssl_certificate_key"), place.tls, strict=False):
        if "$" in file:
            why = "nginx would read the file with a $ at each connection, as a user who may not"
            raise ConfigError("conf.quote", f"{file!r}: {why}; rename it")
        lines.append(f"{name} {quoted(file)};")
    lines += [
        "",
        *because(
            "X_Real_Ip and X-Real-Ip are one variable: names with an underscore are dropped",
            "underscores_in_headers off;",
        ),
        *_files(place, ""),
        "",
        *_upgrade(place),
        *_location(place, ""),
    ]
    return lines


def _upgrade(place: Place) -> list[str]:
    """Outside of the location, where an ``if`` changes nothing but variables."""
    if place.protocol != "http":
        return []
    inside = ["set $gatebridge_connection upgrade;", "set $gatebridge_upgrade websocket;"]
    lines = because(
        "a WebSocket's Upgrade is passed on, no other: h2c would hide requests from this server",
        'set $gatebridge_connection "";',
        'set $gatebridge_upgrade "";',
        *braces('if ($http_upgrade ~* "^websocket$")', inside),
    )
    return [*lines, ""]


def _location_form(place: Place) -> list[str]:
    if len(place.binds) > 1:
        instead = "several need an upstream outside of the server block: leave the form out"
        raise unsupported("nginx in the form location", "reach several back ends", instead)
    head = f"# {place.name}: for a server block of yours, before its other ~ locations."
    lines = [*_files(place, "location"), *_upgrade(place), *_location(place, "location")]
    return [head, *lines]


def _files(place: Place, form: str) -> list[str]:
    """What nginx sends by itself. ^~: no pattern, that of the application neither, goes before."""
    lines = []
    for prefix, folder in place.static:
        inside = [f"alias {_path(folder + '/', form)};"]
        reason = "files that the application is not asked for"
        lines += ["", *because(reason, *braces(f"location ^~ {quoted(prefix + '/')}", inside))]
    if place.send_files:
        reason = f"files that the application names: X-Accel-Redirect: {place.send_url}PATH"
        inside = ["internal;", f"alias {_path(place.send_files.rstrip('/') + '/', form)};"]
        inside += because(
            "of the application's headers nginx keeps few by itself; these are kept, too",
            *[
                f"add_header {name} $upstream_http_{name.lower().replace('-', '_')};"
                for name in BROUGHT_BACK
            ],
        )
        lines += ["", *because(reason, *braces(f"location ^~ {place.send_url}", inside))]
    return lines


def _location(place: Place, form: str) -> list[str]:
    head, script_name, path_info = "location /", '""', "$document_uri"
    lines = []
    if place.mount:  # a prefix would take /apple for /app, and (?s) takes a line end in a path
        inside = f"(?<gatebridge_mount>{re.escape(place.mount)})(?<gatebridge_path>/.*)?"
        head = f"location ~ {quoted(f'(?s)^{inside}' + chr(92) + 'z')}"
        script_name, path_info = "$gatebridge_mount", "$gatebridge_path"
        lines.append("# decoded, and parted at the mount; /apple is not below /app")
    kind = DIRECTIVES[place.protocol]
    inside_lines = [
        *_pass(place, form),
        *_limits(place, kind),
        *(
            _forwarded()
            if kind == "proxy"
            else ["", *_params(kind, script_name, path_info), *_proxy_header(kind)]
        ),
    ]
    return [*lines, *braces(head, inside_lines)]


def _pass(place: Place, form: str) -> list[str]:
    kind = DIRECTIVES[place.protocol]
    target = place.name
    if form == "location":
        bind = place.binds[0]
        target = address(bind)
        if bind.family == "unix":
            if "$" in bind.path or ":" in bind.path:
                why = "nginx cannot name it outside of an upstream: leave the form out"
                raise ConfigError("conf.quote", f"{bind.path!r}: {why}")
            target = f"unix:{_socket(bind)[6:-1]}"
    if kind == "proxy":
        target = f"http://{target}"
    lines = [f"{kind}_pass {quoted(target) if form else target};"]
    if kind == "fastcgi":
        reason = "the daemon keeps the connection; and nginx sees an answer that ends too early"
        lines += because(reason, "fastcgi_keep_conn on;")
    if kind == "proxy":
        reason = "what kept connections need, and WebSockets"
        lines += because(
            reason,
            "proxy_http_version 1.1;",
            "proxy_set_header Connection $gatebridge_connection;",
            "proxy_set_header Upgrade $gatebridge_upgrade;",
        )
    return lines


def _limits(place: Place, kind: str) -> list[str]:
    wait = whole_seconds(place.timeout)
    size = shortest_size(place.upload)
    lines = [
        *because(
            "as the daemon's limit_body; nginx alone would stop at 1 MiB",
            f"client_max_body_size {size};",
        ),
        *because(
            "longer than the daemon waits, so that its answer comes before nginx gives up",
            f"{kind}_read_timeout {wait}s;",
            f"{kind}_send_timeout {wait}s;",
        ),
        *because(
            "answers whose cookies and headers are long: 502 beyond",
            f"{kind}_buffer_size 16k;",
            f"{kind}_buffers 8 16k;",
        ),
    ]
    if not place.buffering:
        reason = "each piece of an answer goes to the client when it comes"
        lines += because(reason, f"{kind}_buffering off;")
        if kind in ("fastcgi", "proxy"):
            reason = "and each piece of a request body to the application"
            lines += because(reason, f"{kind}_request_buffering off;")
        else:
            lines.append(f"# request bodies are collected: {kind} must say their length first")
    return lines


def _params(kind: str, script_name: str, path_info: str) -> list[str]:
    pairs = [("SCRIPT_NAME", script_name), ("PATH_INFO", path_info), *_PARAMS]
    if kind == "scgi":
        pairs = [("SCGI", "1"), *[pair for pair in pairs if pair[0] != "CONTENT_LENGTH"]]
    return [f"{kind}_param {name:17} {value};" for name, value in pairs]


def _proxy_header(kind: str) -> list[str]:
    reason = "a Proxy header would become HTTP_PROXY, which HTTP clients obey (CVE-2016-5385)"
    return because(reason, f'{kind}_param HTTP_PROXY        "" if_not_empty;')


def _forwarded() -> list[str]:
    return [
        "proxy_set_header Host $http_host;",
        *because(
            "who asks, and how; needs --forwarded-allow-ips with nginx's address at the daemon",
            "proxy_set_header X-Forwarded-For $remote_addr;",
            "proxy_set_header X-Forwarded-Proto $scheme;",
        ),
        *because(
            "it would become HTTP_PROXY, which HTTP clients obey (CVE-2016-5385)",
            'proxy_set_header Proxy "";',
        ),
    ]
