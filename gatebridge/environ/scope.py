"""A WSGI environ, put right by build.py, into the scope of an ASGI request.

ASGI 3, "HTTP & WebSocket ASGI Message Format", connection scope. The environ knows what the
server said and what was corrected; the raw pairs know which header came more than once.
"""

from urllib.parse import quote

from gatebridge.environ.paths import path_of, same
from gatebridge.wire.request import Request
from gatebridge.wire.scan import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SPEC_VERSION = "2.4"  # the first in which send() raises OSError once the client has left
_VERSIONS = {
    "HTTP/1.1": "1.1",
    "HTTP/1.0": "1.0",
    "HTTP/2.0": "2",
    "HTTP/2": "2",
    "HTTP/3.0": "3",
    "HTTP/3": "3",
}
_SAFE = "/:@!$&'()*+,;=~"  # RFC 3986 section 3.3, beside what quote() leaves anyway
_REMEMBERED = 512  # names of variables
_LONGEST = 64  # characters of one that is remembered

_names: dict[str, bytes] = {}  # variable -> header, b"" for what is none


def http_scope(
    request: Request, environ: dict[str, object], version: str, strip: bool
) -> "dict[str, Any]":
    """The scope of one HTTP request, but for ``state`` and ``extensions``.

    environ  as Builder.build() made it out of the request's variables
    version  of ASGI: "3.0", or "2.0" for a double callable
    strip    root_path is no part of path (the servers' habit before 2024; Sanic needs it)
    """
    env: dict[str, str] = environ  # type: ignore[assignment]  # what is read here is text
    script = env["SCRIPT_NAME"]
    info = env["PATH_INFO"]
    path = script + info
    raw = raw_path(env, path)
    if strip and script:
        raw = _below(raw, script, info)
        path = info or "/"
    return {
        "type": "http",
        "asgi": {"version": version, "spec_version": SPEC_VERSION},
        "http_version": _VERSIONS.get(env["SERVER_PROTOCOL"], "1.1"),
        "method": env["REQUEST_METHOD"].upper(),
        "scheme": environ["wsgi.url_scheme"],
        "path": path if path.isascii() else _text(path),
        "raw_path": raw,
        "query_string": env["QUERY_STRING"].encode("latin-1"),
        "root_path": script if script.isascii() else _text(script),
        "headers": _all_headers(env, request) if request.repeated else _headers(env),
        "client": _client(env),
        "server": (env["SERVER_NAME"], _port(env["SERVER_PORT"])),
        "gatebridge.environ": environ,
    }


def websocket_scope(
    request: Request, environ: dict[str, object], version: str, strip: bool
) -> "dict[str, Any]":
    """The same for the opening of a WebSocket, but for ``subprotocols``."""
    scope = http_scope(request, environ, version, strip)
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    del scope["method"]
    return scope


def _text(path: str) -> str:
    """Latin-1 bytes of a path as the UTF-8 that they most likely are."""
    return path.encode("latin-1").decode("utf-8", "replace")


def raw_path(env: dict[str, str], path: str) -> bytes:
    """The path as the client wrote it, where that names the same thing; else path, quoted.

    A server that rewrote the URL, or cut the mount off, tells the old one in REQUEST_URI. Dot
    segments that it resolved do not come back: it let in what the resolved path names.
    path    decoded, latin-1
    """
    uri = env.get("REQUEST_URI", "")
    raw = uri.partition("?")[0]
    if raw == path and "%" not in raw and raw.isascii():
        return raw.encode("ascii")
    if raw[:1] != "/":
        start = raw.find("/", raw.find("://") + 3) if "://" in raw else -1
        raw = raw[start:] if start >= 0 else ""
    if raw and raw.isascii():
        decoded = path_of(raw)
        if decoded == path or (decoded and "/." not in decoded and same(decoded, path)):
            return raw.encode("ascii")
    return quote(path.encode("latin-1"), safe=_SAFE).encode("ascii")


def _below(raw: bytes, script: str, info: str) -> bytes:
    """What of a raw path lies below the mount, which has as many segments as script."""
    rest = raw.split(b"/", script.count("/") + 1)
    if len(rest) == script.count("/") + 2:
        below = b"/" + rest[-1]
        if decode(below.decode("ascii")) == info:
            return below
    return quote((info or "/").encode("latin-1"), safe=_SAFE).encode("ascii")


def _name(variable: str) -> bytes:
    """The header behind a variable, in lower case, b"" where there is none; remembered."""
    if variable in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        name = variable.replace("_", "-").lower().encode("ascii")
    elif variable[:5] == "HTTP_":
        name = variable[5:].replace("_", "-").lower().encode("latin-1")
    else:
        name = b""
    if len(variable) <= _LONGEST:
        if len(_names) >= _REMEMBERED:
            _names.clear()
        _names[variable] = name
    return name


def _headers(env: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Where every name came once: the environ's, in its order."""
    headers: list[tuple[bytes, bytes]] = []
    for key in env:
        name = _names.get(key)
        if name is None:
            name = _name(key)
        if name:
            headers.append((name, env[key].encode("latin-1")))
    return headers


def _all_headers(env: dict[str, str], request: Request) -> list[tuple[bytes, bytes]]:
    """Each value on its own where a header came more than once and nobody changed it since."""
    values: dict[str, list[str]] = {}
    for key, value in request.pairs.all():
        if key[:5] == "HTTP_":
            values.setdefault(key, []).append(value)
    headers: list[tuple[bytes, bytes]] = []
    for key in env:
        name = _name(key)
        if not name:
            continue
        came = values.get(key, [])
        joint = "; " if key == "HTTP_COOKIE" else ", "
        if len(came) < 2 or joint.join(came) != env[key]:
            came = [env[key]]
        headers += [(name, value.encode("latin-1")) for value in came]
    return headers


def _client(env: dict[str, str]) -> tuple[str, int] | None:
    """Who asks; None behind a Unix socket that nobody told more about."""
    address = env.get("REMOTE_ADDR", "")
    if not address or address[:5] == "unix:":
        return None
    return address, _port(env.get("REMOTE_PORT", ""))


def _port(text: str) -> int:
    """0 where there is none, or nonsense."""
    if text.isdigit() and text.isascii() and len(text) < 6:
        return int(text)
    return 0
