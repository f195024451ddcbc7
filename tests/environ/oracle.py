"""What an application ought to see, from the client's request and the mount alone.

Nothing here asks gatebridge, or what the front server made of the request: only the bytes the
client sent, where the configuration put the application, and what each server is documented to
do to every path.
"""

import posixpath
import re
from urllib.parse import quote, unquote_to_bytes

from tests.corpus.captures import Capture

# Slashes merged and dot segments removed, dot segments only, or nothing at all. Caddy cleans
# only what handle_path strips.
CLEANS = {"nginx": "both", "apache": "both", "lighttpd": "both", "h2o": "dots"}
CLEANS_CONFIG = {"caddy-fcgi-app-env": "both"}

# Requests that index.json describes in words; targets relative to the mount.
DESCRIBED = {
    "h2-post": ("POST", "/x?q=1", b"a=1&b=2"),
    "client-abort": ("GET", "/slow", b""),
    "post-chunked-streamed-120k": ("POST", "/x", None),
}
STREAMED = 120_000

# Without --mount nothing but the whole path can be known: no variable of these tells /app/x of
# an application at /app from /app/x of one at the root.
WHOLE = {
    "apache-fcgi-pass-app-tcp": "ProxyPass: SCRIPT_NAME is the whole path",
    "apache-fcgi-pass-app-uds": "ProxyPass: SCRIPT_NAME is the whole path",
    "apache-fcgi-pass-app-reuse": "ProxyPass: SCRIPT_NAME is the whole path",
    "apache-scgi-app": "ProxyPass: SCRIPT_NAME is the whole path",
    "apache-cgid-action": "Action: PATH_INFO is the whole path, SCRIPT_NAME a script elsewhere",
    "lighttpd-fcgi-authorizer": "an Authorizer gets neither SCRIPT_NAME nor PATH_INFO",
    "nginx-fcgi-app-plain": "stock fastcgi_params: SCRIPT_NAME is the whole path",
    "nginx-scgi-app": "stock scgi_params: no SCRIPT_NAME, no PATH_INFO",
    "nginx-uwsgi-app": "stock uwsgi_params: PATH_INFO is the whole path",
    "h2o-fcgi-app": "h2o: SCRIPT_NAME is empty at every mount",
}
# As WHOLE, but only where the URL ends at the mount.
WHOLE_BARE = {
    "haproxy-fcgi-app-pathinfo": "/app without PATH_INFO, as without path-info",
    "haproxy-fcgi-app-mpxs": "/app without PATH_INFO, as without path-info",
}
# The split after the first segment looks exactly like that of an application mounted there.
FIRST_SEGMENT = {
    "apache-fcgi-handler-root": "SetHandler on / splits after the first segment that is no file",
    "lighttpd-fcgi-root": "/ without fix-root-scriptname splits after the first segment",
}


class Asked:
    """One request as the client meant it.

    body    as index.json has it: post-70k is shortened there, post-gzip one byte too long
    length  of the body
    """

    __slots__ = ("body", "headers", "length", "method", "path", "query", "tls", "v6", "version")

    def __init__(self, capture: Capture) -> None:
        text = capture.request
        self.tls = text.startswith("TLS ") or capture.case == "h2-post"
        self.v6 = text.startswith("from ::1 ")
        self.headers: list[tuple[str, str]] = []
        if capture.case in DESCRIBED:
            self.method, target, body = DESCRIBED[capture.case]
            target = capture.mount + target
            if capture.case == "client-abort" and capture.config.endswith("-root"):
                target = "/slow"
            self.body = b"?" * STREAMED if body is None else body
            self.version = "HTTP/2.0" if capture.case == "h2-post" else "HTTP/1.1"
        else:
            head, _, rest = (
                text.removeprefix("TLS ").removeprefix("from ::1 ").partition("\r\n\r\n")
            )
            line, *fields = head.split("\r\n")
            self.method, target, self.version = line.split(" ")
            self.headers = [(f.partition(":")[0], f.partition(":")[2].strip()) for f in fields]
            self.body = rest.encode("latin-1")
            if self.header("Transfer-Encoding"):
                self.body = _dechunked(self.body)
        self.length = int(self.header("Content-Length") or len(self.body))
        target, _, self.query = target.partition("?")
        if capture.front == "lighttpd":  # url-normalize: raw bytes of a query arrive encoded
            self.query = quote(self.query.encode("latin-1"), safe="".join(map(chr, range(33, 127))))
        target = re.sub(r"^https?://[^/]*", "", target)
        self.path = _cleaned(capture, unquote_to_bytes(target.encode("latin-1")).decode("latin-1"))

    def header(self, name: str) -> str | None:
        found = [value for field, value in self.headers if field.lower() == name.lower()]
        return found[0] if found else None

    def host(self, capture: Capture) -> str | None:
        """HTTP_HOST. nginx's stock files send $host: no port, its own name where none came."""
        sent = self.header("Host")
        if capture.front == "nginx" and capture.config != "nginx-fcgi-app-conf":
            return (sent or "www.example.test").partition(":")[0]
        if capture.front == "h2o":
            return sent or "www.example.test"
        return sent

    def content_type(self, capture: Capture) -> str | None:
        """Caddy gives every method with a body a type, a form's where the client named none."""
        sent = self.header("Content-Type")
        if capture.front == "caddy" and self.method not in ("GET", "HEAD", "OPTIONS"):
            return sent or "application/x-www-form-urlencoded"
        return sent


def _cleaned(capture: Capture, path: str) -> str:
    how = CLEANS_CONFIG.get(capture.config, CLEANS.get(capture.front, ""))
    if how == "both":
        path = re.sub("/+", "/", path)
    if how and re.search(r"/\.\.?(/|$)", path):
        tail = "/" if path.endswith("/") else ""
        path = posixpath.normpath(path) + tail
    return path


def _dechunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            break
        out += body[:count]
        body = body[count + 2 :]
    return out


def expected_path(capture: Capture, asked: Asked) -> str:
    """The path from the root of the server, decoded once."""
    if capture.case == "options-star":
        return "/*"
    if capture.config == "apache-fcgi-generic-app" and capture.case == "get-encoded-slash":
        return "/app/a%2Fb/c"  # AllowEncodedSlashes NoDecode: the configuration asks for it
    if capture.config == "h2o-fcgi-root" and capture.case == "get-absolute-uri":
        return "/http://www.example.test/x"  # h2o 2.2.5 takes the whole URL for a path
    return asked.path


def expected_split(capture: Capture, path: str, mount_known: bool) -> tuple[str, str]:
    """SCRIPT_NAME and PATH_INFO."""
    mount = capture.mount
    if capture.case == "options-star":
        return "", path
    assert path.startswith(mount)
    if not mount_known:
        bare = path == mount and capture.config in WHOLE_BARE
        if capture.config in WHOLE or bare:
            return "", path
        if capture.config in FIRST_SEGMENT and path != "/":
            end = path.find("/", 1)
            return (path, "") if end < 0 else (path[:end], path[end:])
    return mount, path[len(mount) :]
