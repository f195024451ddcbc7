"""wsgi.file_wrapper by the server in front: X-Accel-Redirect (nginx, Caddy), X-Sendfile.

The daemon then sends a head that names the file, and the server the file itself. Only what comes
out the same is handed over: a whole file below one folder, found where its descriptor says it is,
and a head of which the server loses nothing. All else the daemon sends as ever.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

from gatebridge.errors import ConfigError
from gatebridge.wire.cgi_head import Head, make_head

if TYPE_CHECKING:
    from typing import Final

URL: Final = "/gatebridge-send/"  # what `gatebridge conf` makes, where nobody names another one
_RULE = re.compile(r"(?P<server>[a-z]+)(?::(?P<url>[^=]*))?=(?P<folder>.*)", re.S)

# SERVER_SOFTWARE begins so. Another known one, as of `gatebridge request`, knows no such header.
_SOFTWARE = {"nginx": "nginx", "apache": "Apache", "lighttpd": "lighttpd", "caddy": "Caddy"}
_OTHERS = (*_SOFTWARE.values(), "HAProxy", "Microsoft-IIS", "gatebridge", "h2o/")

# What follows an X-Accel-Redirect. nginx takes over the first ones by itself and drops the rest;
# `gatebridge conf` has lines that bring the others back, and tells Caddy of all of them.
TAKEN_OVER: Final = ("Content-Type", "Content-Disposition", "Set-Cookie", "Cache-Control",
                     "Expires")  # fmt: skip
BROUGHT_BACK: Final = (
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Origin",
    "Content-Language",
    "Content-Security-Policy",
    "Cross-Origin-Embedder-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Link",
    "Permissions-Policy",
    "Referrer-Policy",
    "Vary",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-Robots-Tag",
)
_PASSED = frozenset([name.lower() for name in (*TAKEN_OVER, *BROUGHT_BACK)])
_REPLACED = frozenset(("accept-ranges", "content-length", "etag", "last-modified"))  # the file's
_NEVER = frozenset(("content-encoding", "content-range", "x-accel-redirect", "x-sendfile"))


class SendFile:
    """One ``--send-file``: who sends, below which URL (nginx, Caddy), from which folder."""

    __slots__ = ("_accel", "_others", "_root", "folder", "server", "url")

    def __init__(self, server: str, url: str, folder: str) -> None:
        self.server = server
        self.url = url
        self.folder = folder
        self._accel = server in ("nginx", "caddy")
        self._others = tuple([name for name in _OTHERS if name != _SOFTWARE[server]])
        self._root = os.path.join(os.path.realpath(folder), "")

    def head(self, head: Head, fd: int, offset: int, count: int, front: str) -> Head | None:
        """The head with which the server sends the file; None where the daemon has to.

        count  bytes from ``offset`` on that are the answer
        front  SERVER_SOFTWARE of the request; "" where it is not said, or where nobody is in front
        """
        if head.status[:3] != "200" or offset or front.startswith(self._others):
            return None
        if not self._keeps([name.lower() for name, _ in head.headers]):
            return None
        path = self._below(fd, count)
        value = self._written(path) if path else ""
        return self._naming(head, value) if value else None

    def _keeps(self, names: list[str]) -> bool:
        """Whether the server passes on headers of these names, in lower case."""
        once = set(names)
        if once & _NEVER or (self._accel and not once <= _PASSED | _REPLACED):
            return False
        several = len(names) > len(once) and self.server == "nginx"  # before 1.23: the first one
        return not several or all(names.count(name) == 1 for name in once - {"set-cookie"})

    def _below(self, fd: int, count: int) -> bytes:
        """The file's path below the folder; b"" if it is elsewhere, or not there as a whole.

        The server is told a path below the folder as it was said, so this is looked at: a link
        in it may lead elsewhere by now.
        """
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")
            if not path.startswith(self._root):
                return b""
            path = path.removeprefix(self._root)
            found, there = os.fstat(fd), os.lstat(f"{self.folder}/{path}")
        except OSError:  # no /proc, or it was deleted or renamed
            return b""
        if not stat.S_ISREG(there.st_mode) or found.st_size != count:
            return b""
        if (found.st_dev, found.st_ino) != (there.st_dev, there.st_ino):
            return b""
        return os.fsencode(path)

    def _written(self, path: bytes) -> str:
        """The header's value, as this server reads it; "" for a name that it cannot be told.

        nginx and lighttpd decode it, Apache and Caddy (2.6) do not. A blank at a header's end is
        not part of it.
        """
        whole = os.fsencode(self.url if self._accel else f"{self.folder}/") + path
        if self.server == "nginx":
            return quote_from_bytes(whole)
        if min(whole) < 0x20 or 0x7F in whole:
            return ""
        if self.server == "lighttpd":
            return quote_from_bytes(whole) if _is_utf8(whole) else ""
        if whole.endswith(b" ") or (self.server == "caddy" and set(whole) & set(b"?{}")):
            return ""
        return whole.decode("latin-1")

    def _naming(self, head: Head, value: str) -> Head:
        name = "X-Accel-Redirect" if self._accel else "X-Sendfile"
        dropped = _REPLACED if self._accel else frozenset(("content-length",))
        kept = [pair for pair in head.headers if pair[0].lower() not in dropped]
        made = make_head(head.status, kept)
        more = [(name, value), ("Content-Length", "0")]
        block = "".join([f"{key}: {text}\r\n" for key, text in more]).encode("latin-1")
        return Head(made.status, made.headers + more, made.block + block, 0, made.dropped)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def parse(text: str) -> SendFile | None:
    """``SERVER=/FOLDER`` or ``SERVER:/URL/=/FOLDER``; None for "". raises ConfigError

    ConfigError("send_file.malformed") with a sentence.
    """
    if not text:
        return None
    found = _RULE.fullmatch(text)
    if not found or found["server"] not in _SOFTWARE:
        known = ", ".join(_SOFTWARE)
        raise _malformed(f"{text!r}: write SERVER=/FOLDER, with one of {known}")
    server, url, folder = found["server"], found["url"], found["folder"].rstrip("/")
    if not folder.startswith("/"):
        raise _malformed(f"{text!r}: the folder is absolute, and not the whole file system")
    if url is not None and server not in ("nginx", "caddy"):
        raise _malformed(f"{text!r}: {server} takes paths of files, so leave the URL out")
    if url is not None and not re.fullmatch(r"/([A-Za-z0-9._~-]+/)+", url):
        raise _malformed(f"{text!r}: a URL as in /gatebridge-send/, with a slash at both ends")
    return SendFile(server, url or URL, folder)


def _malformed(why: str) -> ConfigError:
    return ConfigError("send_file.malformed", why)
