"""Apache httpd 2.4: a virtual host for each of four ways to an application, and a .htaccess."""

from __future__ import annotations

import math
import posixpath
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts import apache_proxy as proxy
from gatebridge.fronts.apache_text import (
    block,
    escaped_glob,
    quoted,
    regex_of,
    with_defines,
)
from gatebridge.fronts.place import unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatebridge.fronts.place import Place

_NO_LIMIT = 1 << 40  # FcgidMaxRequestLen has no word for "none"
_ABOUT = {
    "pass": "ProxyPass hands every request below the mount to the daemon.",
    "handler": "SetHandler hands every request below the mount to the daemon.",
    "fcgid": "mod_fcgid starts and ends the processes of a .fcgi shim itself.",
    "cgi": "the shim is started for each request, and passes it on to a daemon.",
}


def config(place: Place, form: str = "") -> str:
    """The text for one application.

    form    "pass" (the one without a name), "handler", "fcgid", "cgi" or "htaccess"
    raises  ConfigError("conf.…")
    """
    form = form or "pass"
    if form == "htaccess":
        return _htaccess(place)
    if form not in _FORMS:
        raise ConfigError("conf.form", f"Apache has no form {form!r}; it has {', '.join(_FORMS)}")
    _check_mount(place)
    modules, lines = _FORMS[form](place)
    modules = [*modules, "alias", *_more_modules(place)]
    door = place.door
    head = [
        f"# {place.name} behind Apache httpd 2.4.26 or newer: {_ABOUT[form]}",
        f"# On Debian: a2enmod {' '.join(modules)}",
        *(line for name in modules for line in _needed(name)),
    ]
    if door.port in (80, 443):
        head += [f"# ports.conf listens at {door.port} already, once its module is there."]
    else:
        head += [
            "# Where another file listens at this port already, take this line out.",
            f"Listen {door.address}{' https' if door.tls else ''}",
        ]
    body = [*_names(place), *_tls(place), *_limits(place), *_proxy_header(place)]
    body += [*_static(place, form), *_send_files(place), *lines]
    host = f"{door.host or '*'}:{door.port}"
    return with_defines("\n".join([*head, *block(f"VirtualHost {host}", body)]) + "\n")


def whole(text: str, form: str, folder: str) -> str:
    """A configuration around it that stands alone, for ``apache2 -t``, with the modules there."""
    loads: list[str] = []
    for name in _LOADED:
        for where in _MODULE_FOLDERS:
            file = f"{where}/mod_{name}.so"
            load = block(f"IfModule !{name}_module", [f"LoadModule {name}_module {file}"])
            loads += block(f"IfFile {file}", load)
    head = ["ServerName localhost", f"PidFile {quoted(folder + '/pid')}", *loads]
    head += [f"ErrorLog {quoted(folder + '/error.log')}", f"DocumentRoot {quoted(folder)}"]
    if form == "htaccess":
        head += block(f"Directory {quoted(folder)}", text.splitlines())
        text = ""
    elif "Listen " not in text:
        head += ["Listen 127.0.0.1:8099"]
    return "\n".join(head) + f"\n{text}"


_MODULE_FOLDERS = (
    *("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules"),
    "/usr/local/libexec/apache24",
)
_LOADED = (
    *("mpm_event", "authz_core", "alias", "rewrite", "headers", "setenvif", "mime", "dir"),
    *("proxy", "proxy_fcgi", "proxy_scgi", "proxy_uwsgi", "proxy_http", "slotmem_shm"),
    *("proxy_balancer", "lbmethod_byrequests", "watchdog", "proxy_hcheck", "cgid", "fcgid"),
    *("socache_shmcb", "ssl", "xsendfile"),
)


def _check_mount(place: Place) -> None:
    for prefix in (place.mount, *(prefix for prefix, _ in place.static)):
        if set(prefix) & set("*?[]{}"):
            why = "choose a path without * ? [ ] { }"
            raise unsupported("Apache", f"have {prefix!r} as the path of a Location", why)


def _more_modules(place: Place) -> list[str]:
    """Those that every form needs for what was asked."""
    more = ["ssl"] if place.door.tls else []
    return [*more, *(["xsendfile"] if place.send_files else [])]


def _needed(module: str) -> list[str]:
    """Refuse to start without it, in words, where Apache would only say "Invalid command"."""
    why = f"gatebridge: mod_{module} is not loaded; a2enmod {module}, then restart"
    if module == "cgid":  # mod_cgi does the same for the prefork MPM
        inside = block("IfModule !cgi_module", [f"Error {quoted(why)}"])
        return block("IfModule !cgid_module", inside)
    return block(f"IfModule !{module}_module", [f"Error {quoted(why)}"])


def _names(place: Place) -> list[str]:
    if place.server_name == "_":
        return ["# Every name that no other virtual host has.", "ServerAlias *"]
    first, *more = place.server_name.split()
    aliases = [f"ServerAlias {' '.join(more)}"] if more else []
    return [f"ServerName {first}", *aliases]


def _tls(place: Place) -> list[str]:
    if not place.door.tls:
        return []
    lines = ["# TLS ends here; mod_ssl tells the application by HTTPS=on.", "SSLEngine On"]
    if place.tls:
        lines += [f"SSLCertificateFile {quoted(place.tls[0])}"]
        lines += [f"SSLCertificateKeyFile {quoted(place.tls[1])}"]
    return lines


def _limits(place: Place) -> list[str]:
    slashes = "NoDecode" if place.protocol == "http" else "On"
    return [
        "# Bytes of a request body, as limit_body behind; 0 is no limit.",
        f"LimitRequestBody {place.upload}",
        "# A %2F in a path reaches the application; Apache's own default is 404.",
        f"AllowEncodedSlashes {slashes}",
    ]


def _proxy_header(place: Place) -> list[str]:
    line = "RequestHeader unset Proxy early"
    if place.protocol == "http":
        return ["# A client's Proxy header must not become HTTP_PROXY (httpoxy).", line]
    return ["# Apache itself makes no HTTP_PROXY of a Proxy header, and drops names with _."]


def _static(place: Place, form: str) -> list[str]:
    lines: list[str] = []
    for prefix, folder in place.static:
        lines += [
            f"# Files below {prefix} are sent by Apache: no listing, no scripts, no .htaccess.",
            f"Alias {quoted(prefix)} {quoted(folder)}",
            *block(
                f"Directory {quoted(escaped_glob(folder))}",
                ["Options None", "AllowOverride None", "Require all granted"],
            ),
        ]
        if form == "pass":
            lines += ["# Before the application's own line, because the first that fits wins."]
            lines += [f'ProxyPass {quoted(prefix)} "!"']
    return lines


def _send_files(place: Place) -> list[str]:
    if not place.send_files:
        return []
    return [
        "# The application answers with X-Sendfile: PATH; only files below this folder are sent.",
        "XSendFile On",
        f"XSendFilePath {quoted(place.send_files)}",
    ]


# --- the forms: each gives the modules it needs and its lines of the virtual host ----------


def _pass(place: Place) -> tuple[list[str], list[str]]:
    modules, lines = proxy.workers(place)
    lines += proxy.passed(place)
    return modules, [*lines, *_location(place, proxy.parted(place))]


def _handler(place: Place) -> tuple[list[str], list[str]]:
    if place.protocol == "http":
        raise unsupported("Apache", "keep an encoded path by SetHandler", "use the form pass")
    modules, lines = proxy.workers(place)
    inside = [
        "# Nothing in the document root decides who may ask, nor redirects, nor lists files.",
        "Require all granted",
        *block("IfModule dir_module", ["DirectorySlash Off", "DirectoryIndex disabled"]),
        *proxy.handled(place),
        *proxy.parted(place),
    ]
    lines += _location(place, inside)
    for prefix, _ in place.static:
        lines += block(f"Location {quoted(prefix)}", ["SetHandler None"])
    return modules, lines


def _fcgid(place: Place) -> tuple[list[str], list[str]]:
    if set(place.shim) & set(" \"'\\"):
        why = "choose one without spaces, quotes and backslashes"
        raise unsupported("mod_fcgid", f"start {place.shim!r}, which it cuts into words", why)
    seconds = math.ceil(place.timeout)
    lines = [
        "# Seconds without a byte from the application; a little longer than it gives itself.",
        f"FcgidIOTimeout {seconds}",
        f"FcgidBusyTimeout {seconds + 5}",
        "# mod_fcgid has a limit of its own, 128 KiB unless told.",
        f"FcgidMaxRequestLen {place.upload or _NO_LIMIT}",
    ]
    if not place.buffering:
        lines += ["# Streams reach the client at once; bodies of requests are still collected."]
        lines += ["FcgidOutputBufferSize 0"]
    handler = ["# Not one process for each request, as ScriptAlias alone would have it."]
    handler += ["SetHandler fcgid-script"]
    return ["fcgid"], [*lines, *_script(place, handler), *_location(place, [])]


def _cgi(place: Place) -> tuple[list[str], list[str]]:
    limit = [
        "# Seconds without a byte from the script; a little longer than the daemon takes.",
        f"CGIDScriptTimeout {math.ceil(place.timeout)}",
    ]
    lines = [*block("IfModule cgid_module", limit), *_script(place, [])]
    return ["cgid"], [*lines, *_location(place, [])]


def _script(place: Place, inside: list[str]) -> list[str]:
    """The shim at the mount, whatever follows the mount becoming PATH_INFO."""
    folder, name = _shim(place)
    end = "" if place.mount else "/"
    target = f"{place.shim}{end}"
    only = block(f"Files {quoted(escaped_glob(name))}", ["Require all granted", *inside])
    return [
        "# SCRIPT_NAME is the mount and PATH_INFO the rest, though no file of that name exists.",
        f"ScriptAlias {quoted(place.mount + end)} {quoted(target)}",
        *block(f"Directory {quoted(escaped_glob(folder))}", ["AllowOverride None", *only]),
    ]


def _shim(place: Place) -> tuple[str, str]:
    """Its folder and its name. raises ConfigError("conf.shim")"""
    if not place.shim.startswith("/") or place.shim.endswith("/"):
        how = "gatebridge shim new APP /usr/lib/cgi-bin/app.cgi writes one; then --shim FILE"
        raise ConfigError(
            "conf.shim", f"this form starts a shim, and {place.shim!r} is none; {how}"
        )
    return posixpath.split(place.shim)


def _location(place: Place, inside: list[str]) -> list[str]:
    lines = ["# Without it Apache keeps the Authorization header from CGI and its kin."]
    lines += ["CGIPassAuth On"]
    if place.upload:
        lines += ["# mod_proxy and mod_fcgid take a larger body in spite of LimitRequestBody."]
        test = f"%{{req:Content-Length}} -gt {place.upload}"
        lines += block(f"If {quoted(test)}", ["Redirect 413"])
    return block(f"Location {quoted(place.mount or '/')}", [*lines, *inside])


def _htaccess(place: Place) -> str:
    """A .htaccess for the document root, where nothing else may be configured."""
    _, name = _shim(place)
    script = f"/cgi-bin/{name}"
    lines = [
        f"# {place.name} on shared hosting: lines of the .htaccess in the site's own root folder.",
        f"# The shim {place.shim} is reached as {script}.",
        "RewriteEngine On",
        "# CGI programs are not given Authorization; under this name gatebridge finds it again.",
        "RewriteCond %{HTTP:Authorization} .",
        "RewriteRule ^ - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]",
        "# The shim itself is asked for by the last rule: once is enough.",
        "RewriteRule ^cgi-bin/ - [L]",
    ]
    for prefix, folder in place.static:
        lines += [
            f"# Files below {prefix} are Apache's; {folder} must be that folder of the site.",
            f'RewriteRule "^{regex_of(prefix[1:])}(/|$)" - [L]',
        ]
    lines += ["# Everything else, with its query; the mount stays in front of the path."]
    if place.mount:
        inside = regex_of(place.mount[1:])
        lines += [f'RewriteRule "^({inside}(/.*)?)$" "{script}/$1" [QSA,L]']
        lines += [f"# The shim must know the mount: gatebridge shim new … --mount {place.mount}"]
    else:
        lines += [f'RewriteRule "^(.*)$" "{script}/$1" [QSA,L]']
    return with_defines("\n".join(lines) + "\n")


_FORMS: dict[str, Callable[[Place], tuple[list[str], list[str]]]] = {
    "pass": _pass,
    "handler": _handler,
    "fcgid": _fcgid,
    "cgi": _cgi,
}
