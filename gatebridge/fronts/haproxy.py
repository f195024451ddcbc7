"""HAProxy: configuration text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts.lines import because, indented, text, whole_seconds
from gatebridge.fronts.place import address, only, unsupported

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.fronts.place import Place

_ANY = ("_", "*", "localhost")  # server names that are not looked at


def config(place: Place, form: str = "") -> str:
    """A frontend with its backend, or with form "backend" that alone.

    raises  ConfigError("conf.…")
    """
    only(place, "HAProxy", ("fastcgi", "http"))
    if place.static or place.send_files:
        what = "send files" if place.static else "send the file that an answer names"
        instead = "gatebridge serves a folder itself: --mount /static=static:/FOLDER"
        raise unsupported("HAProxy", what, instead)
    head = f"# {place.name} behind HAProxy."
    lines = [head, "", *([] if form == "backend" else [*_frontend(place), ""]), *_backend(place)]
    if place.protocol == "fastcgi":
        lines += ["", *_application(place)]
    return text(lines)


def whole(part: str, form: str, folder: str) -> str:
    """A configuration that stands alone, for haproxy -c."""
    if form != "backend":
        return part
    (name,) = re.findall(r"^backend (\S+)$", part, re.M)
    front = ["frontend web", "    mode http", "    bind :8080", "    timeout client 60s"]
    return text([*front, f"    default_backend {name}", part])


def quoted(value: str) -> str:
    """A word of HAProxy's configuration, which quotes as a shell does."""
    if re.fullmatch(r"[A-Za-z0-9_./:@=,+-]+", value):
        return value
    return "'" + value.replace("'", "'\\''") + "'"


def _frontend(place: Place) -> list[str]:
    lines = [
        "mode http",
        f"bind {_bind(place)}",
        "timeout client 60s",
    ]
    rules = []
    names = [name for name in place.server_name.split() if name not in _ANY]
    if names:
        rules.append(f"{{ req.hdr(host),field(1,:),lower -m str {' '.join(map(quoted, names))} }}")
    if place.mount:
        mount = quoted(place.mount)
        where = f"path,url_dec -m reg {quoted(f'^{re.escape(place.mount)}(/|$)')}"
        lines.append(f"# path_beg {mount} would take /apple, too")
        rules.append(f"{{ {where} }}")
    if rules:
        lines.append(f"use_backend {place.name} if {' '.join(rules)}")
    else:
        lines.append(f"default_backend {place.name}")
    return [f"frontend {place.name}_web", *indented(lines)]


def _bind(place: Place) -> str:
    door = place.door
    listen = f"{door.host.strip('[]') if door.host else ''}:{door.port}"
    if not door.tls:
        return listen
    if not place.tls:
        raise ConfigError("conf.tls", "HAProxy needs --tls CERTIFICATE,KEY to listen with ssl")
    certificate, key = place.tls
    if key not in (certificate, f"{certificate}.key"):
        made = f"cat {quoted(certificate)} {quoted(key)} > /etc/haproxy/{place.name}.pem"
        why = "HAProxy reads both from one file, or the key from CERTIFICATE.key"
        raise ConfigError("conf.tls", f"{why}; {made}, and --tls with that name twice")
    return f"{listen} ssl crt {quoted(certificate)} alpn h2,http/1.1"


def _backend(place: Place) -> list[str]:
    lines = [
        "mode http",
        "timeout connect 5s",
        *because(
            "longer than the daemon waits, so that its answer comes before HAProxy gives up",
            f"timeout server {whole_seconds(place.timeout)}s",
        ),
        *because(
            "a Proxy header would become HTTP_PROXY, which HTTP clients obey (CVE-2016-5385)",
            "http-request del-header Proxy",
        ),
        *because(
            "X_Real_Ip and X-Real-Ip are one variable: names with an underscore are dropped",
            "http-request del-header _ -m sub",
        ),
    ]
    if place.protocol == "fastcgi":
        lines.append(f"use-fcgi-app {place.name}_app")
    else:
        lines += because(
            "who asks, and how; needs --forwarded-allow-ips with HAProxy's address at the daemon",
            "http-request set-header X-Forwarded-For %[src]",
            "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
            "http-request set-header X-Forwarded-Proto http if !{ ssl_fc }",
        )
    if place.upload:
        reason = "as the daemon's limit_body, said before the body is sent"
        rule = f"{{ req.hdr_val(content-length) gt {place.upload} }}"
        lines += because(reason, f"http-request deny deny_status 413 if {rule}")
    if not place.buffering:
        lines += because("small pieces are not collected", "option http-no-delay")
    return [f"backend {place.name}", *indented([*lines, *_servers(place)])]


def _servers(place: Place) -> list[str]:
    lines = []
    if len(place.binds) > 1:
        lines += because("fewest requests under way first", "balance leastconn")
    checked = ""
    if place.health:
        lines += because(
            "asked every 2 s: a daemon that hangs gets no requests either (by HTTP and TCP",
            "# from another machine: --status-allow at the daemon must name this one)",
            f"option httpchk GET {quoted(place.health)}",
            "http-check send hdr Host localhost",
            "http-check expect status 200",
        )
        checked = " check inter 2s"
    elif len(place.binds) > 1:
        lines.append("# a daemon that takes no connection gets no requests; --health sees more")
        checked = " check inter 2s"
    if place.keep:
        lines += because("connections that stay open, and may be used by others", "http-reuse safe")
    for number, bind in enumerate(place.binds, 1):
        words = f"server {place.name}{number} {_target(bind)}"
        words += " proto fcgi" if place.protocol == "fastcgi" else ""
        words += f" pool-max-conn {place.keep}" + checked
        lines.append(words)
    return lines


def _target(bind: Bind) -> str:
    if bind.family == "tcp":
        return address(bind)
    if bind.family == "abstract":  # abns@ fills the name with NULs, which makes it another one
        instead = "write unix:/run/NAME.sock"
        raise unsupported("HAProxy", f"reach the abstract socket {bind.text!r}", instead)
    return quoted(f"unix@{bind.path}")


def _application(place: Place) -> list[str]:
    path_info = f"^({re.escape(place.mount)})(/.*)?$" if place.mount else "^()(/.*)$"
    lines = [
        *because("must be said; nothing reads it", "docroot /var/empty"),
        *because(
            "what SCRIPT_NAME and PATH_INFO are; without it all is SCRIPT_NAME",
            f"path-info {quoted(path_info)}",
        ),
        *because(
            "HAProxy keeps it away from applications unless told",
            "pass-header Authorization",
        ),
        *because(
            "the daemon keeps the connection",
            "option keep-conn" if place.keep else "no option keep-conn",
        ),
    ]
    return [f"fcgi-app {place.name}_app", *indented(lines)]
