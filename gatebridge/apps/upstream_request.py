"""A request's environ as what goes to a back end: the head of an HTTP request, FastCGI variables.

What a proxy adds is written anew from what the environ says, which knows whom the operator
believes; the client's own X-Forwarded-For and its kin never pass.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatebridge.apps.upstream_path import SAFE, check_path, php_file, raw_target
from gatebridge.errors import PeerError
from gatebridge.wire.scan import has_controls

if TYPE_CHECKING:
    from gatebridge.apps.upstream_options import Place

_NAME = re.compile(r"HTTP_[A-Z0-9][A-Z0-9_]*")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9._-]+")  # RFC 7239 section 4: others are quoted
# Of one connection (RFC 9110 section 7.6.1), or answered before us: 100 Continue
_OF_CONNECTION = frozenset(
    """HTTP_CONNECTION HTTP_EXPECT HTTP_HTTP2_SETTINGS HTTP_KEEP_ALIVE HTTP_PROXY
    HTTP_PROXY_AUTHORIZATION HTTP_PROXY_CONNECTION HTTP_TE HTTP_TRAILER HTTP_TRANSFER_ENCODING
    HTTP_UPGRADE""".split()
)
_SAID_ELSEWHERE = frozenset(("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_HOST"))
# What back ends take for the word of a proxy, beside X-Forwarded-*
_CLAIMS = frozenset(
    """HTTP_CF_CONNECTING_IP HTTP_CLIENT_IP HTTP_DAPHNE_ROOT_PATH HTTP_FORWARDED
    HTTP_FRONT_END_HTTPS HTTP_PATH_INFO HTTP_SCRIPT_NAME HTTP_TRUE_CLIENT_IP HTTP_X_CLIENT_IP
    HTTP_X_CLUSTER_CLIENT_IP HTTP_X_ORIGINAL_URL HTTP_X_REAL_IP HTTP_X_REWRITE_URL HTTP_X_SCHEME
    HTTP_X_SCRIPT_NAME HTTP_X_URL_SCHEME""".split()
)
# PHP settings that a variable can make; and what is set below
_NEVER = frozenset(
    """GATEWAY_INTERFACE HTTPS PATH_TRANSLATED PHP_ADMIN_VALUE PHP_VALUE SCRIPT_FILENAME
    HTTP_CONTENT_LENGTH HTTP_CONTENT_TYPE HTTP_PROXY HTTP_TRANSFER_ENCODING""".split()
)


def http_head(environ: dict[str, Any], place: Place, length: int) -> bytes:
    """The head of the request, ended by its empty line.

    length  bytes of body; -1 unknown: chunked
    raises  PeerError("upstream.path"), PeerError("params.malformed"), PeerError("http.method")
    """
    if environ["REQUEST_METHOD"] == "CONNECT":  # its answer would open a tunnel
        raise PeerError("http.method", "CONNECT: this is no proxy")
    target = raw_target(environ, place.options.strip, place.path)
    lines = [f"{environ['REQUEST_METHOD']} {target} HTTP/1.1", f"Host: {_host(environ)}"]
    kind = environ.get("CONTENT_TYPE")
    if kind:
        lines.append(f"Content-Type: {kind}")
    if length < 0:
        lines.append("Transfer-Encoding: chunked")
    elif length or "CONTENT_LENGTH" in environ or environ["REQUEST_METHOD"] in ("POST", "PUT"):
        lines.append(f"Content-Length: {length}")
    for name, value in _fields(environ):
        lines.append(f"{name}: {value}")
    lines += [f"{name}: {value}" for name, value in forwarded(environ, place.options.strip)]
    if place.options.keep == 0:
        lines.append("Connection: close")
    return _encoded(lines)


def _encoded(lines: list[str]) -> bytes:
    for line in lines:
        if has_controls(line):
            name = line.partition(":")[0]
            raise PeerError("params.malformed", f"a control character in {name[:64]!r}")
    try:
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    except UnicodeEncodeError:  # a middleware's own
        raise PeerError("params.malformed", "a header is not latin-1") from None


def _fields(environ: dict[str, Any]) -> list[tuple[str, str]]:
    """The client's own header fields, without those that end here."""
    named = _listed(str(environ.get("HTTP_CONNECTION", "")))
    return [
        (_written(name), str(value).strip(" \t"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
        and name not in _OF_CONNECTION
        and name not in _SAID_ELSEWHERE
        and name not in named
        and not is_claim(name)
        and _NAME.fullmatch(name)
    ]


def _listed(connection: str) -> frozenset[str]:
    """The fields that Connection names: they are of this connection, too."""
    if not connection:
        return frozenset()
    names = [name.strip(" \t") for name in connection.split(",")]
    return frozenset(["HTTP_" + name.upper().replace("-", "_") for name in names])


def is_claim(name: str) -> bool:
    """Could a back end take it for the word of a proxy?"""
    return name in _CLAIMS or name.startswith("HTTP_X_FORWARDED_")


_names: dict[str, str] = {}


def _written(name: str) -> str:
    """HTTP_ACCEPT_LANGUAGE as Accept-Language."""
    found = _names.get(name)
    if found is None:
        found = "-".join([part.capitalize() for part in name[5:].split("_")])
        if len(_names) < 512:
            _names[name] = found
    return found


def _host(environ: dict[str, Any]) -> str:
    host = str(environ.get("HTTP_HOST") or "")
    if host:
        return host
    name, port = str(environ.get("SERVER_NAME", "localhost")), str(environ.get("SERVER_PORT", ""))
    usual = "443" if environ.get("wsgi.url_scheme") == "https" else "80"
    return name if port in ("", usual) else f"{name}:{port}"


def forwarded(environ: dict[str, Any], strip: bool) -> list[tuple[str, str]]:
    """Who asks, by which scheme, for which host, and below which mount."""
    host = _host(environ)
    scheme = str(environ.get("wsgi.url_scheme", "http"))
    address = str(environ.get("REMOTE_ADDR", "")).strip("[]")
    out = []
    if _ADDRESS.fullmatch(address):
        out.append(("X-Forwarded-For", address))
        node = f'"[{address}]"' if ":" in address else address
    else:
        node = "unknown"  # RFC 7239 section 6.2: a Unix socket's
    out += [("X-Forwarded-Proto", scheme), ("X-Forwarded-Host", host)]
    mount = str(environ.get("SCRIPT_NAME", "")) if strip else ""
    if mount:
        out.append(("X-Forwarded-Prefix", quote(mount.encode("latin-1"), safe=SAFE)))
    if not _PLAIN_HOST.fullmatch(host):
        host = '"' + host.replace("\\", "\\\\").replace('"', '\\"') + '"'
    out.append(("Forwarded", f"for={node};proto={scheme};host={host}"))
    return out


def fastcgi_variables(environ: dict[str, Any], place: Place, length: int) -> list[tuple[str, str]]:
    """FastCGI says by variables what HTTP needs X-Forwarded-* for, so it gets none of these.

    raises  PeerError("upstream.path"), PeerError("params.malformed")
    """
    check_path(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}")
    vars = {
        name: value
        for name, value in environ.items()
        if type(value) is str and "." not in name and name not in _NEVER and not is_claim(name)
    }
    vars["GATEWAY_INTERFACE"] = "CGI/1.1"
    if environ.get("wsgi.url_scheme") == "https":
        vars["HTTPS"] = "on"
    if length:
        vars["CONTENT_LENGTH"] = str(length)
    vars.setdefault("QUERY_STRING", "")
    if place.options.root:
        _name_file(vars, place)
    for name, value in vars.items():
        if not name or "\0" in value or not (name + value).isascii() and max(name + value) > "\xff":
            raise PeerError("params.malformed", f"{name[:32]!r} cannot be passed on")
    return list(vars.items())


def _name_file(vars: dict[str, str], place: Place) -> None:
    """SCRIPT_FILENAME and what belongs to it, for PHP-FPM."""
    root = place.options.root
    file, rest = php_file(vars.get("PATH_INFO", ""), root, place.options.index)
    vars["DOCUMENT_ROOT"] = root
    vars["SCRIPT_FILENAME"] = root.encode("utf-8", "surrogateescape").decode("latin-1") + file
    vars["SCRIPT_NAME"] = vars.get("SCRIPT_NAME", "") + file
    vars["PATH_INFO"] = rest
    vars["REDIRECT_STATUS"] = "200"  # PHP built with force-cgi-redirect wants it
    if not rest:
        del vars["PATH_INFO"]
