"""IIS 10: web.config, and what applicationHost.config needs beside it, from its documentation.

IIS's FastCGI module speaks only to processes that it starts itself, over a Windows pipe. So a
daemon is reached by HTTP (URL Rewrite 2.1 and Application Request Routing 3), and a shim runs as
CGI.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from gatebridge.errors import ConfigError
from gatebridge.fronts.lines import text
from gatebridge.fronts.place import address, only, unsupported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatebridge.fronts.place import Place

_MOST = 0xFFFF_FFFF  # maxAllowedContentLength is a uint
_WINDOWS = re.compile(r"(?:^|/)([A-Za-z]:[\\/][^\"]+)$")
_NO_PORT = {"includePortInXForwardedFor": "false"}
_ANY = ("_", "localhost")
_VARIABLES = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_PROXY")


def config(place: Place, form: str = "") -> str:
    """One XML file.

    form    "proxy" (the one without a name) and "proxy-host", "cgi" and "cgi-host"
    raises  ConfigError("conf.…")
    """
    build = _FORMS.get(form or "proxy")
    if not build:
        raise ConfigError("conf.form", f"IIS has no form {form!r}; it has {', '.join(_FORMS)}")
    if place.static or place.send_files:
        instead = "put the files into the site's own folder, where IIS finds them"
        raise unsupported("IIS", "be given folders of files in a web.config", instead)
    return text(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            *element("configuration", {}, build(place)),
        ]
    )


def element(name: str, attributes: dict[str, str], inside: Sequence[str] = ()) -> list[str]:
    """An XML element, its content indented."""
    words = "".join(f" {key}={_value(value)}" for key, value in attributes.items())
    if not inside:
        return [f"<{name}{words} />"]
    return [f"<{name}{words}>", *(f"  {line}" for line in inside), f"</{name}>"]


def comment(words: str) -> str:
    """One reason; XML wants no two hyphens in it."""
    return f"<!-- {words.replace('--', '- -')} -->"


def _value(value: str) -> str:
    return '"' + escape(value, {'"': "&quot;"}) + '"'


# --- a daemon by HTTP ------------------------------------------------------------------------


def _check_http(place: Place) -> None:
    only(place, "IIS", ("http",))
    if any(bind.family != "tcp" for bind in place.binds):
        raise unsupported("IIS", "reach a Unix socket", "bind to http://HOST:PORT")


def _farm(place: Place) -> bool:
    return len(place.binds) > 1 or bool(place.health)


def _proxy(place: Place) -> list[str]:
    _check_http(place)
    rules = element(
        "rules",
        {"useOriginalURLEncoding": "false"},
        element("rule", {"name": place.name, "stopProcessing": "true"}, _rule(place)),
    )
    words = element("add", {"key": "on", "value": "https"})
    schemes = element("rewriteMap", {"name": "gatebridge", "defaultValue": "http"}, words)
    inside = [
        comment("false: the URL is not encoded once more on its way (URL Rewrite 2.1)"),
        *rules,
        *element("rewriteMaps", {}, schemes),
    ]
    head = comment(f"{place.name} behind IIS: web.config; the form proxy-host goes with it")
    server = [*element("rewrite", {}, inside), *_limits(place)]
    return [head, *element("system.webServer", {}, server)]


def _rule(place: Place) -> list[str]:
    target = place.name if _farm(place) else address(place.binds[0])
    mount = re.escape(place.mount[1:])
    border = [comment("a path ends at a slash: /apple is not below /app")] if mount else []
    variables = [
        comment("what the client says of itself goes; a Proxy header is never HTTP_PROXY"),
        *element("set", {"name": _VARIABLES[0], "value": "{REMOTE_ADDR}"}),
        *element("set", {"name": _VARIABLES[1], "value": "{gatebridge:{HTTPS}}"}),
        *element("set", {"name": _VARIABLES[2], "value": ""}),
    ]
    action = {
        "type": "Rewrite",
        "url": f"http://{target}{{UNENCODED_URL}}",
        "appendQueryString": "false",
    }
    return [
        *border,
        *element("match", {"url": f"^{mount}(/.*)?$" if mount else ".*"}),
        *_hosts(place),
        *element("serverVariables", {}, variables),
        comment("UNENCODED_URL: the path and query as the client wrote them, mount and all"),
        *element("action", action),
    ]


def _hosts(place: Place) -> list[str]:
    names = place.server_name.split()
    if any(name in _ANY for name in names):
        return []
    one = "|".join(re.escape(name).replace(r"\*", "[^.]+") for name in names)
    add = element("add", {"input": "{HTTP_HOST}", "pattern": f"^({one})(:[0-9]+)?$"})
    return element("conditions", {}, add)


def _limits(place: Place) -> list[str]:
    most = {"maxAllowedContentLength": str(min(place.upload or _MOST, _MOST))}
    inside = [
        comment("bytes of a request body, as limit_body behind; IIS alone would stop at 30 MB"),
        *element("requestLimits", most),
    ]
    double = [
        comment("a path with a percent sign or a plus sign in it is not refused with 404.11"),
        *element("requestFiltering", {"allowDoubleEscaping": "true"}, inside),
    ]
    return [
        *element("security", {}, double),
        comment("errors of the application keep their own pages"),
        *element("httpErrors", {"existingResponse": "PassThrough"}),
    ]


def _proxy_host(place: Place) -> list[str]:
    _check_http(place)
    allowed = [line for name in _VARIABLES for line in element("add", {"name": name})]
    server = [
        comment("variables that a rule may set"),
        *element("rewrite", {}, element("allowedServerVariables", {}, allowed)),
        comment("the proxy itself, off until told; timeout a little longer than the daemon's"),
        comment("an address in X-Forwarded-For comes without its port"),
        *element("proxy", {"enabled": "true", **_proxy_settings(place), **_NO_PORT}),
    ]
    farms = _farms(place) if _farm(place) else []
    head = comment(f"{place.name} behind IIS: for applicationHost.config, into what is there")
    return [head, *element("system.webServer", {}, server), *farms]


def _proxy_settings(place: Place) -> dict[str, str]:
    """Of <proxy>, and of a farm's <protocol>: the Host kept, the stream or not, the time."""
    return {
        "preserveHostHeader": "true",
        "reverseRewriteHostInResponseHeaders": "false",
        "timeout": _span(place.timeout),
        **({} if place.buffering else {"responseBufferLimit": "0"}),
    }


def _farms(place: Place) -> list[str]:
    servers = [
        line
        for bind in place.binds
        for line in element(
            "server",
            {"address": bind.host, "enabled": "true"},
            element("applicationRequestRouting", {"httpPort": str(bind.port)}),
        )
    ]
    health = []
    if place.health:
        url = f"http://{place.name}{place.health}"
        health = [
            comment("asked every 5 s; a back end that does not answer gets no requests"),
            *element("healthCheck", {"url": url, "interval": "00:00:05"}),
        ]
    routing = [
        *element("protocol", _proxy_settings(place)),
        *health,
        *element("loadBalancing", {"algorithm": "LeastRequests"}),
    ]
    inside = [*servers, *element("applicationRequestRouting", {}, routing)]
    return element(
        "webFarms", {}, element("webFarm", {"name": place.name, "enabled": "true"}, inside)
    )


def _span(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


# --- a shim as CGI ---------------------------------------------------------------------------


def _command(place: Place) -> str:
    """What starts the shim: py.exe reads its first line. raises ConfigError("conf.shim")"""
    found = _WINDOWS.search(place.shim)  # behind the folder where somebody else asked for this
    if not found:
        how = r"write --shim C:\inetpub\myapp\app.cgi, made by gatebridge shim new … --oneshot"
        raise ConfigError(
            "conf.shim", f"this form starts a shim, and {place.shim!r} is none; {how}"
        )
    return f'C:\\Windows\\py.exe "{found[1]}"'


def _cgi(place: Place) -> list[str]:
    handler = element(
        "add",
        {
            "name": place.name,
            "path": "*",
            "verb": "*",
            "modules": "CgiModule",
            "scriptProcessor": _command(place),
            "resourceType": "Unspecified",
            "requireAccess": "Script",
        },
    )
    at = place.mount or "/"
    lines = [
        comment("every path, whether or not a file has its name"),
        *element("handlers", {}, handler),
        *_limits(place),
    ]
    head = [
        comment(f"{place.name} behind IIS: web.config of the application at {at}"),
        comment("the form cgi-host goes with it"),
        comment("IIS repeats SCRIPT_NAME in PATH_INFO; gatebridge tells them apart by the mount:"),
        comment(f"so make the shim with its options oneshot and mount {at}"),
    ]
    return [*head, *element("system.webServer", {}, lines)]


def _cgi_host(place: Place) -> list[str]:
    allowed = {"path": _command(place), "allowed": "true", "description": place.name}
    lines = [
        comment("a program that is not in this list is answered with 404.2"),
        *element("security", {}, element("isapiCgiRestriction", {}, element("add", allowed))),
        comment("a little longer than the application is given; IIS alone would take 15 minutes"),
        *element("cgi", {"timeout": _span(place.timeout), "createProcessAsUser": "true"}),
    ]
    head = comment(f"{place.name} behind IIS: for applicationHost.config, into what is there")
    return [head, *element("system.webServer", {}, lines)]


_FORMS: dict[str, Callable[[Place], list[str]]] = {
    "proxy": _proxy,
    "proxy-host": _proxy_host,
    "cgi": _cgi,
    "cgi-host": _cgi_host,
}
