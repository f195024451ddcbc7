"""lighttpd 1.4: a daemon by FastCGI, SCGI, uwsgi or HTTP, or a shim started for each request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts.apache_text import regex_of
from gatebridge.fronts.lines import because, braces, text
from gatebridge.fronts.place import only, unsupported

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.fronts.place import Place

_MODULES = {"fastcgi": "fastcgi", "scgi": "scgi", "uwsgi": "scgi", "http": "proxy"}
_ANY = ("_", "localhost")  # server names that are not looked at


def config(place: Place, form: str = "") -> str:
    """Lines for a file in conf-available.

    form    "server" (the one without a name): a daemon; "cgi": a shim
    raises  ConfigError("conf.…")
    """
    form = form or "server"
    if form not in ("server", "cgi"):
        raise ConfigError("conf.form", f"lighttpd has no form {form!r}; it has server, cgi")
    if form == "server":
        only(place, "lighttpd", tuple(_MODULES))
    door = place.door
    inside = [*_tls(place), *_named(place, [*_limits(place), *_static(place), *_part(place, form)])]
    if door.port != 80 or door.host:
        inside = braces(f'$SERVER["socket"] == {quoted(f"{door.host}:{door.port}")}', inside)
    modules = ", ".join(quoted(f"mod_{name}") for name in _needed(place, form))
    return text(
        [
            f"# {place.name} behind lighttpd 1.4: a file for /etc/lighttpd/conf-available.",
            "# lighttpd drops a Proxy header by itself. Names with an underscore it passes: what",
            "# came by two names gatebridge does not believe.",
            f"server.modules += ({modules})",
            *inside,
        ]
    )


def whole(part: str, form: str, folder: str) -> str:
    """A configuration that stands alone, for lighttpd -tt."""
    return text(
        [
            f"server.document-root = {quoted(folder)}",
            'server.bind = "127.0.0.1"',
            "server.port = 8099",
            part.rstrip("\n"),
        ]
    )


def quoted(value: str) -> str:
    """A string of lighttpd's, where a backslash means itself. raises ConfigError("conf.quote")"""
    if value.endswith("\\"):
        why = "lighttpd has no way to end a word with a backslash; rename it"
        raise ConfigError("conf.quote", f"{value!r}: {why}")
    return '"' + value.replace('"', '\\"') + '"'


def _needed(place: Place, form: str) -> list[str]:
    names = ["cgi", "alias"] if form == "cgi" else [_MODULES[place.protocol]]
    if form != "cgi" and place.protocol == "http":
        names.append("setenv")
    if place.static and "alias" not in names:
        names.append("alias")
    return [*names, "openssl"] if place.door.tls else names


def _tls(place: Place) -> list[str]:
    if not place.door.tls:
        return []
    lines = ['ssl.engine = "enable"']
    if place.tls:
        lines += [f"ssl.pemfile = {quoted(place.tls[0])}", f"ssl.privkey = {quoted(place.tls[1])}"]
    return because("TLS ends here; the application sees HTTPS=on", *lines)


def _named(place: Place, inside: list[str]) -> list[str]:
    names = place.server_name.split()
    if any(name in _ANY for name in names):
        return inside
    one = "|".join(regex_of(name).replace("\\x2a", "[^.]+") for name in names)
    return braces(f'$HTTP["host"] =~ "^({one})(:[0-9]+)?$"', inside)


def _limits(place: Place) -> list[str]:
    lines = because(
        "KiB of a request body, as limit_body behind; 0 is no limit",
        f"server.max-request-size = {math.ceil(place.upload / 1024)}",
    )
    if not place.buffering:
        lines += because(
            "each piece of an answer goes to the client when it comes",
            "server.stream-response-body = 2",
        )
        lines += because(
            "and each piece of a request body to the application; 411 without a length",
            "server.stream-request-body = 2",
        )
    return lines


def _static(place: Place) -> list[str]:
    lines: list[str] = []
    for prefix, folder in place.static:
        pair = f"{quoted(prefix + '/')} => {quoted(folder + '/')}"
        lines += because("files that the application is not asked for", f"alias.url += ({pair})")
    return lines


def _part(place: Place, form: str) -> list[str]:
    """What is the application's: below the mount, and not a static file's path."""
    lines = _cgi(place) if form == "cgi" else _server(place)
    if place.mount:
        reason = "lighttpd compares prefixes: without this /apple would be below /app"
        head = f'$HTTP["url"] =~ "^{regex_of(place.mount)}(/|$)"'
        lines = because(reason, *braces(head, lines))
    if place.static:
        prefixes = "|".join(regex_of(prefix) for prefix, _ in place.static)
        lines = braces(f'$HTTP["url"] !~ "^({prefixes})(/|$)"', lines)
    return lines


def _server(place: Place) -> list[str]:
    backends = [_backend(place, bind) for bind in place.binds]
    head = f"{_MODULES[place.protocol]}.server += ({quoted(place.mount or '/')} => ("
    lines = ['scgi.protocol = "uwsgi"'] if place.protocol == "uwsgi" else []
    if place.protocol == "http":
        lines += because(
            "the client is in X-Forwarded-For, and does not say so itself;",
            "# needs --forwarded-allow-ips with lighttpd's address at the daemon",
            'setenv.set-request-header += ("X-Forwarded-For" => "", "Proxy" => "")',
        )
    if len(place.binds) > 1:
        lines += ["# the one with the fewest requests; one that fails is left alone for 1 s"]
    elif place.health:
        lines += ["# lighttpd asks for no health: it tries a daemon that failed again after 1 s"]
    return [*lines, head, *(f"    {line}" for each in backends for line in each), "))"]


def _backend(place: Place, bind: Bind) -> list[str]:
    """One back end: an array of its options."""
    if bind.family == "abstract":
        instead = "write unix:/run/NAME.sock"
        raise unsupported("lighttpd", f"reach the abstract socket {bind.text!r}", instead)
    if bind.family == "unix":
        lines = [f'"socket" => {quoted(bind.path)},']
    else:
        lines = [f'"host" => {quoted(bind.host)},', f'"port" => {bind.port},']
    if place.protocol != "http":
        lines += because("no file need exist for a path", '"check-local" => "disable",')
    if place.protocol != "http" and not place.mount:
        reason = "SCRIPT_NAME empty and PATH_INFO the path; else parted after the first segment"
        lines += because(reason, '"fix-root-scriptname" => "enable",')
    if place.send_files and place.protocol != "http":
        lines += because("files that the application names: X-Sendfile: PATH", *_sent(place, ","))
    elif place.send_files:
        raise unsupported("lighttpd", "send files for a daemon that speaks HTTP", "use FastCGI")
    wait = math.ceil(place.timeout)
    reason = "seconds; longer than the daemon waits, so that its answer comes before"
    limits = ['"connect-timeout" => 5,', f'"write-timeout" => {wait},', f'"read-timeout" => {wait}']
    lines += because(reason, *limits)
    return ["(", *(f"    {line}" for line in lines), ")" if bind is place.binds[-1] else "),"]


def _sent(place: Place, end: str) -> list[str]:
    folder = f'"x-sendfile-docroot" => ({quoted(place.send_files)}){end}'
    return [f'"x-sendfile" => "enable"{end}', folder]


def _cgi(place: Place) -> list[str]:
    if not place.shim.startswith("/") or place.shim.endswith("/"):
        how = "gatebridge shim new APP /usr/lib/cgi-bin/app.cgi writes one; then --shim FILE"
        raise ConfigError(
            "conf.shim", f"this form starts a shim, and {place.shim!r} is none; {how}"
        )
    lines = because(
        "the shim stands at the mount, and what follows is PATH_INFO",
        f"alias.url += ({quoted(place.mount)} => {quoted(place.shim)})",
    )
    lines += because(
        "it is started itself: its first line names its Python", 'cgi.assign = ("" => "")'
    )
    wait = math.ceil(place.timeout)
    reason = "seconds; longer than the daemon waits"
    lines += because(reason, f'cgi.limits = ("write-timeout" => {wait}, "read-timeout" => {wait})')
    if place.send_files:
        lines += because(
            "files that the application names: X-Sendfile: PATH",
            'cgi.x-sendfile = "enable"',
            f"cgi.x-sendfile-docroot = ({quoted(place.send_files)})",
        )
    return lines
