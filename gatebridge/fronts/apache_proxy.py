"""Apache's mod_proxy and its kin: where the daemon is, and how a request is handed to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gatebridge.fronts.apache_text import block, encoded_url, expression_of, quoted, regex_of
from gatebridge.fronts.place import address, only, unsupported

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.fronts.place import Place

_SCHEMES = {"fastcgi": "fcgi", "scgi": "scgi", "uwsgi": "uwsgi", "http": "http"}
_BALANCED = ("proxy_balancer", "lbmethod_byrequests", "slotmem_shm")


def workers(place: Place) -> tuple[list[str], list[str]]:
    """The modules needed, and the <Proxy> sections that say how to speak to each back end."""
    only(place, "Apache", tuple(_SCHEMES))
    modules = ["proxy", f"proxy_{_SCHEMES[place.protocol]}"]
    if place.protocol == "http":
        modules += ["headers"]
    if len(place.binds) == 1:
        lines = [*_reasons(place, "0"), f"ProxySet {' '.join(_settings(place, '0'))}"]
        return modules, block(f"Proxy {quoted(_url(place, 0))}", lines)
    members = []
    checked = bool(place.health) and all(bind.family == "tcp" for bind in place.binds)
    for at in range(len(place.binds)):
        words = [*_settings(place, "5"), *(_check(place) if checked else [])]
        members += [f"BalancerMember {quoted(_url(place, at))} {' '.join(words)}"]
    modules += _BALANCED
    lines = _reasons(place, "5")
    if checked:
        modules += ["watchdog", "proxy_hcheck"]
        lines += ["# A back end that fails its check gets no request until it passes it again."]
        if place.protocol == "http":
            lines += [f"# {place.health}: from another machine --status-allow must name Apache's."]
    elif place.health:
        lines += ["# No health check: mod_proxy_hcheck finds every Unix socket dead."]
    return modules, block(f"Proxy {quoted(_balancer(place))}", [*lines, *members])


def _reasons(place: Place, retry: str) -> list[str]:
    lines = [
        "# timeout: seconds, a little longer than the daemon itself gives a request.",
        f"# retry: {retry} s after a failed connection it asks again; else 503 for a minute.",
    ]
    if place.protocol == "fastcgi" and place.keep:
        lines += ["# enablereuse: connections stay open, which saves one for each request."]
    if not place.buffering:
        lines += ["# flushpackets: what the application sends is passed on at once."]
    return lines


def _settings(place: Place, retry: str) -> list[str]:
    words = [f"timeout={math.ceil(place.timeout)}", f"retry={retry}"]
    if place.protocol == "fastcgi" and place.keep:
        words += ["enablereuse=on"]
    if not place.buffering:
        words += ["flushpackets=on"]
    return words


def _check(place: Place) -> list[str]:
    """FastCGI and its kin are asked for a connection only: hcheck speaks HTTP and AJP."""
    if place.protocol == "http":
        return ["hcmethod=GET", f"hcuri={encoded_url(place.health)}", "hcinterval=5"]
    return ["hcmethod=TCP", "hcinterval=5"]


def _url(place: Place, at: int) -> str:
    """Of one back end. A Unix socket needs a name after its path, and one of its own."""
    bind: Bind = place.binds[at]
    scheme = _SCHEMES[place.protocol]
    if bind.family == "abstract":
        instead = "write unix:/run/NAME.sock"
        raise unsupported("Apache", f"reach the abstract socket {bind.text!r}", instead)
    if bind.family == "tcp":
        return f"{scheme}://{address(bind)}"
    name = place.name if len(place.binds) == 1 else f"{place.name}-{at + 1}"
    if set(bind.path) & set("#?|"):
        instead = "choose a path without # ? |"
        raise unsupported("Apache", f"reach a socket called {bind.path!r}", instead)
    return f"unix:{bind.path}|{scheme}://{name}"


def _balancer(place: Place) -> str:
    return f"balancer://{place.name}"


def _target(place: Place) -> str:
    return _url(place, 0) if len(place.binds) == 1 else _balancer(place)


def passed(place: Place) -> list[str]:
    """ProxyPass and what belongs to it."""
    lines: list[str] = []
    raw = ""
    if place.protocol == "http":
        raw = " nocanon"
        lines += [
            "# The application sees the client's Host, and is told of TLS and of its address; what",
            "# the client says of that itself goes. Needs --forwarded-allow-ips at the daemon.",
            "ProxyPreserveHost On",
            "RequestHeader unset X-Forwarded-For early",
            'RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"',
            "# nocanon: the path goes on as it was written.",
        ]
    path = place.mount or "/"
    target = _target(place) + encoded_url(place.mount or "/")
    return [*lines, f"ProxyPass {quoted(path)} {quoted(target)}{raw}"]


def handled(place: Place) -> list[str]:
    """SetHandler, to stand in a <Location>."""
    return [f"SetHandler {quoted(f'proxy:{_target(place)}/')}"]


def parted(place: Place) -> list[str]:
    """SCRIPT_NAME and PATH_INFO, which Apache parts by files of the document root or not at all.

    Only FastCGI's can be set; the other protocols leave it to the daemon's own mount.
    """
    if place.protocol != "fastcgi":
        if place.protocol == "http" or not place.mount:
            return []
        return [f"# The daemon parts the path itself: gatebridge serve --mount {place.mount}"]
    lines = [
        "# PATH_INFO is the whole path first, then what follows the mount; SCRIPT_NAME the mount.",
        'ProxyFCGISetEnvIf "true" PATH_INFO "%{reqenv:SCRIPT_NAME}%{reqenv:PATH_INFO}"',
    ]
    if place.mount:
        test = f"reqenv('PATH_INFO') =~ m#(?s)^{regex_of(place.mount)}(/.*)?$#"
        lines += [f'ProxyFCGISetEnvIf {quoted(test)} PATH_INFO "$1"']
    return [*lines, f'ProxyFCGISetEnvIf "true" SCRIPT_NAME {quoted(expression_of(place.mount))}']
