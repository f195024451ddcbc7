"""Caddy: text of a Caddyfile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts.lines import because, braces, text, whole_seconds
from gatebridge.fronts.place import address, only
from gatebridge.serve.send_file import BROUGHT_BACK, TAKEN_OVER

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.fronts.place import Place

_ANY = ("_", "*", "localhost")  # server names that are not looked at, but for TLS


def config(place: Place, form: str = "") -> str:
    """A site, or with form "handle" what goes into one of yours. raises ConfigError("conf.…")"""
    only(place, "Caddy", ("fastcgi", "http"))
    if form == "handle":
        head = f"# {place.name}: for a site of yours, before what handles everything."
        return text([head, *_handles(place)])
    inside = []
    if place.door.host:
        inside += ["bind " + place.door.host.strip("[]"), ""]
    if place.tls:
        inside += ["tls " + " ".join(map(quoted, place.tls)), ""]
    head = f"# {place.name} behind Caddy: a site for a Caddyfile."
    return text([head, *braces(_addresses(place), [*inside, *_handles(place)], "\t")])


def whole(part: str, form: str, folder: str) -> str:
    """A Caddyfile that stands alone, for caddy validate."""
    site = part if form != "handle" else "http://:8080 {\n" + part + "}\n"
    return "{\n\tadmin off\n\tskip_install_trust\n}\n" + site


def quoted(value: str) -> str:
    """A word of a Caddyfile. raises ConfigError("conf.quote") for what none can hold"""
    if "{" in value or "}" in value:
        raise ConfigError("conf.quote", f"{value!r}: Caddy reads braces as a variable; rename it")
    if not any(mark in value for mark in ' "#`\\') and value:
        return value
    if "`" not in value:
        return f"`{value}`"
    if "\\" in value:
        why = "a Caddyfile cannot hold a backquote and a backslash in one word; rename it"
        raise ConfigError("conf.quote", f"{value!r}: {why}")
    return '"' + value.replace('"', '\\"') + '"'


def _addresses(place: Place) -> str:
    door = place.door
    scheme = "https" if door.tls else "http"
    usual = 443 if door.tls else 80
    port = "" if door.port == usual else f":{door.port}"
    found = []
    for name in place.server_name.split():
        if name in _ANY[:2] or (name in _ANY and not door.tls):
            found.append(f"{scheme}://{port or f':{usual}'}")
        else:
            found.append(f"{scheme}://{name}{port}")
    return ", ".join(found)


def _handles(place: Place) -> list[str]:
    lines: list[str] = []
    for prefix, folder in place.static:
        inside = [f"root * {quoted(folder)}", "file_server"]
        reason = "files that the application is not asked for"
        head = f"handle_path {quoted(_literal(prefix) + '/*')}"
        lines += [*because(reason, *braces(head, inside, "\t")), ""]
    if not place.mount:
        return [*lines, *braces("handle", _application(place), "\t")]
    mount = _literal(place.mount)
    lines += because(
        "/app* would take /apple, too",
        f"@{place.name} path {quoted(mount)} {quoted(mount + '/*')}",
    )
    return [*lines, *braces(f"handle @{place.name}", _application(place), "\t")]


def _literal(path: str) -> str:
    """A path in a matcher, which reads * as anything."""
    if "*" in path:
        raise ConfigError("conf.quote", f"{path!r}: Caddy reads * as anything; rename it")
    return path


def _application(place: Place) -> list[str]:
    lines = because(
        "a Proxy header would become HTTP_PROXY, which HTTP clients obey (CVE-2016-5385)",
        "request_header -Proxy",
    )
    lines += because(
        "X_Real_Ip and X-Real-Ip are one variable: names with an underscore are dropped",
        "request_header -*_*",
    )
    if place.upload:
        limit = [f"max_size {place.upload}"]
        lines += because("as the daemon's limit_body", *braces("request_body", limit, "\t"))
    targets = " ".join(_target(bind) for bind in place.binds)
    return [*lines, *braces(f"reverse_proxy {targets}", _proxy(place), "\t")]


def _target(bind: Bind) -> str:
    if bind.family == "tcp":
        return address(bind)
    return quoted("unix/" + ("@" if bind.family == "abstract" else "") + bind.path)


def _proxy(place: Place) -> list[str]:
    lines = _fastcgi(place) if place.protocol == "fastcgi" else _http(place)
    if len(place.binds) > 1:
        lines += because(
            "fewest requests under way first; one that fails is left alone for 5 s, and what could",
            "# not be handed to it goes to another, looked for during 2 s",
            "lb_policy least_conn",
            "fail_duration 5s",
            "lb_try_duration 2s",
        )
    if place.health:
        lines += _health(place)
    if not place.buffering:
        lines += because("each piece of an answer goes out when it comes", "flush_interval -1")
    if place.send_files:
        lines += _sent(place)
    return lines


def _health(place: Place) -> list[str]:
    if place.protocol == "fastcgi":
        return ["# no health_uri: Caddy 2.6 breaks when it asks for one by FastCGI"]
    if sum(bind.family != "tcp" for bind in place.binds) > 1:
        return [
            '# no health_uri: Caddy 2.6 calls every Unix socket "localhost" when it asks, and',
            "# takes the answer of one for that of all",
        ]
    return because(
        "asked every 5 s; a daemon that does not answer gets no requests (by TCP from",
        "# another machine: --status-allow at the daemon must name this one)",
        f"health_uri {quoted(place.health)}",
        "health_interval 5s",
    )


def _fastcgi(place: Place) -> list[str]:
    inside = []
    if place.mount:
        inside += because("what comes before PATH_INFO", f"split {quoted(place.mount)}")
    inside.append("dial_timeout 5s")
    if place.buffering:
        wait = whole_seconds(place.timeout)
        reason = "longer than the daemon waits; it is for the whole answer"
        inside += because(reason, f"read_timeout {wait}s", f"write_timeout {wait}s")
    else:
        inside.append("# no read_timeout: it is for the whole answer, and would end a stream")
    return braces("transport fastcgi", inside, "\t")


def _http(place: Place) -> list[str]:
    reason = "longer than the daemon waits"
    inside = because(reason, f"response_header_timeout {whole_seconds(place.timeout)}s")
    reason = "connections that stay open"
    inside += because(reason, "keepalive 60s", f"keepalive_idle_conns {place.keep}")
    head = because(
        "who asks is in X-Forwarded-For and -Proto; needs --forwarded-allow-ips at the daemon",
    )
    return [*head, *braces("transport http", inside, "\t")]


def _sent(place: Place) -> list[str]:
    reason = f"files that the application names: X-Accel-Redirect: {place.send_url}PATH"
    names = (*TAKEN_OVER, *BROUGHT_BACK)
    kept = [f"include {' '.join(names[at : at + 5])}" for at in range(0, len(names), 5)]
    inside = [
        f"root * {quoted(place.send_files)}",
        *braces("copy_response_headers", kept, "\t"),
        "rewrite * {rp.header.X-Accel-Redirect}",
        f"uri strip_prefix {place.send_url[:-1]}",
        "method * GET",
        "# a URL of the application may end in /; it is no folder's",
        *braces("file_server", ["disable_canonical_uris"], "\t"),
    ]
    return because(
        reason,
        "@send header X-Accel-Redirect *",
        *braces("handle_response @send", inside, "\t"),
    )
