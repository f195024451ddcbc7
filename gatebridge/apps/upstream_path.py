"""The path of a request as a back end gets it, and which PHP file it means."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from gatebridge.errors import PeerError

SAFE = "/!$&'()*+,;=:@~"  # RFC 3986 section 3.3: pchar
_SAFE_QUERY = SAFE + "?%[]"


def raw_target(environ: dict[str, Any], strip: bool, base: str) -> str:
    """A path with its query, percent-encoded, for a request line.

    As the client wrote it where that means the path which the front server decided on; where the
    server has changed it (a rewrite, slashes merged), that one counts, encoded anew.

    strip   without SCRIPT_NAME
    base    the back end's own path before it
    raises  PeerError("upstream.path")
    """
    script = str(environ.get("SCRIPT_NAME", ""))
    info = str(environ.get("PATH_INFO", ""))
    check_path(script + info)
    if environ.get("REQUEST_METHOD") == "OPTIONS" and info == "/*" and not script + base:
        return "*"  # RFC 9112 section 3.2.4
    wanted = info if strip else script + info
    path = _as_written(str(environ.get("REQUEST_URI", "")).partition("?")[0], script, info, strip)
    if path is None:
        path = quote(wanted.encode("latin-1"), safe=SAFE)
    if path[:1] not in ("", "/"):
        path = "/" + path
    path = base + path or "/"
    query = str(environ.get("QUERY_STRING", ""))
    if query and not (query.isascii() and query.isprintable() and " " not in query):
        query = quote(query.encode("latin-1"), safe=_SAFE_QUERY)
    return f"{path}?{query}" if query else path


def _as_written(url: str, script: str, info: str, strip: bool) -> str | None:
    """The client's own spelling; None where it means another path, or is not fit to be sent."""
    if not url.startswith("/") or not (url.isascii() and url.isprintable()) or " " in url:
        return None
    if "#" in url or _decoded(url) != script + info:
        return None
    if not strip or not script:
        return url
    end = 0
    for _ in script:  # the mount may be written with escapes
        end += 3 if url[end : end + 1] == "%" and len(_decoded(url[end : end + 3])) == 1 else 1
    return url[end:] if _decoded(url[:end]) == script else None


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("latin-1") if "%" in text else text


def check_path(path: str) -> None:
    """No path leads out of what the operator has named. raises PeerError("upstream.path")"""
    if "\0" in path:
        raise PeerError("upstream.path", "NUL in the path")
    if "/." not in path:
        return
    for part in path.split("/"):
        if part.partition(";")[0] in (".", ".."):  # some back ends cut ";x" off before they look
            raise PeerError("upstream.path", f"{part!r} in the path")


def php_file(path: str, root: str, index: str) -> tuple[str, str]:
    """(the file's path below the root, what follows it): as nginx's fastcgi_split_path_info does.

    path    below the mount, decoded
    root    where it is a folder here too, a folder of it may have an index file of its own
    """
    at = path.find(".php")
    while at >= 0:
        end = at + 4
        if path[end : end + 1] in ("", "/"):
            return path[:end], path[end:]
        at = path.find(".php", end)
    folder = path.rstrip("/").encode("latin-1")
    if folder and os.path.isfile(os.fsencode(root) + folder + b"/" + os.fsencode(index)):
        return path.rstrip("/") + "/" + index, ""
    return "/" + index, ""
