"""The demo application, ``gatebridge.apps.demo:app``: how a request came here, made visible.

/        the page (any other path shows it too, so that paths can be tried out)
/chain   the way of the request on one line
/upload  answers a file of a form with its name, size and SHA-256
/hello   13 bytes
/stream  ten lines, a little apart
/error   raises, so that one sees what a visitor and what the log gets
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gatebridge.apps import demo_page
from gatebridge.apps.multipart import Parts, boundary_of
from gatebridge.errors import PeerError

PAUSE_S = 0.3  # between two lines of /stream

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

_HTML = "text/html; charset=utf-8"
_TEXT = "text/plain; charset=utf-8"
_POLICY = (  # the page needs its own style and its own form, and nothing else
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    answer = _ROUTES.get(environ.get("PATH_INFO", ""), page)
    return answer(environ, start_response)


def page(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return _send(start_response, "200 OK", _HTML, demo_page.render(environ))


def hello(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return _send(start_response, "200 OK", _TEXT, "Hello, world!")


def chain(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    text = demo_page.printable(demo_page.chain_text(environ))
    return _send(start_response, "200 OK", _TEXT, text + "\n")


def stream(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", _TEXT), ("Cache-Control", "no-store")])
    return _lines()


def _lines() -> Iterator[bytes]:
    for number in range(1, 11):
        yield b"line %d of 10\n" % number
        time.sleep(PAUSE_S)


def error(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise RuntimeError("the demo's /error path raises this on purpose")


def icon(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return _send(start_response, "404 Not Found", _TEXT, "no icon\n")


def upload(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    if environ["REQUEST_METHOD"] != "POST":
        text = "send a form with a file by POST: curl -F file=@README.md URL\n"
        return _send(start_response, "405 Method Not Allowed", _TEXT, text, ("Allow", "POST"))
    try:
        name, size, digest = _receive(environ)
    except PeerError as problem:
        return _send(start_response, "400 Bad Request", _TEXT, f"{problem}\n")
    if "text/html" not in environ.get("HTTP_ACCEPT", ""):
        text = f"name: {demo_page.printable(name)}\nsize: {size}\nsha256: {digest}\n"
        return _send(start_response, "200 OK", _TEXT, text)
    text = demo_page.render_upload(environ, name, size, digest)
    return _send(start_response, "200 OK", _HTML, text)


def _receive(environ: Environ) -> tuple[str, int, str]:
    """Name, size and SHA-256 of the first file of the form, which is never held whole."""
    boundary = boundary_of(environ.get("CONTENT_TYPE", ""))
    parts = Parts(environ["wsgi.input"].read, boundary)
    while (said := parts.next_part()) is not None:
        if "filename" not in said:
            continue
        size, digest = 0, hashlib.sha256()
        for piece in parts.pieces():
            size += len(piece)
            digest.update(piece)
        return said["filename"], size, digest.hexdigest()
    raise PeerError("multipart.no_file", "the form has no file")


def _send(
    start_response: StartResponse, status: str, kind: str, text: str, *more: tuple[str, str]
) -> list[bytes]:
    data = text.encode("utf-8")
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(data))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *more,
    ]
    if kind == _HTML:
        headers.append(("Content-Security-Policy", _POLICY))
    start_response(status, headers)
    return [data]


_ROUTES = {
    "/chain": chain,
    "/hello": hello,
    "/stream": stream,
    "/error": error,
    "/upload": upload,
    "/favicon.ico": icon,
}
