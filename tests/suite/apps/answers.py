"""Plain answers: heads that must arrive as they are, and the authorizer role."""

import threading
from collections.abc import Iterable

from tests.suite.apps.registry import (
    PIECE,
    SECRET,
    TEXT,
    Counted,
    Environ,
    Start,
    as_json,
    broken,
    legal,
    text,
)


@legal
def hello(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return text(start_response, b"hello\n")


@legal
def environ(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Every str variable, the types of the others, and the order-keeping facts a row may ask."""
    seen = {k: v for k, v in environ.items() if isinstance(v, str)}
    seen["suite.types"] = {k: type(v).__name__ for k, v in environ.items()}
    seen["suite.flags"] = {
        k: bool(environ[f"wsgi.{k}"]) for k in ("multithread", "multiprocess", "run_once")
    }
    seen["suite.version"] = list(environ["wsgi.version"])
    return as_json(start_response, seen)


@legal
def no_length(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    return [b"hello\n"]


@legal
def no_body(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("Content-Length", "0")])
    return []


@legal
def odd_status(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return text(start_response, b"short and stout\n", "418 I'm a teapot")


@legal
def not_found(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return text(start_response, b"nothing here\n", "404 Not Found")


@legal
def cookies(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response(
        "200 OK",
        [
            TEXT,
            ("Set-Cookie", "a=1; Path=/"),
            ("X-Between", "1"),
            ("Set-Cookie", "b=2; Path=/"),
            ("Set-Cookie", "a=3; Path=/x"),
            ("Content-Length", "3"),
        ],
    )
    return [b"ok\n"]


@legal
def headers(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Values that a gateway may be tempted to touch."""
    start_response(
        "200 OK",
        [
            TEXT,
            ("X-Latin", "caf\xe9 \xff"),
            ("X-Inner", "a  b"),
            ("X-Colon", "a: b"),
            ("X-Twice", "1"),
            ("X-Twice", "2"),
            ("X-Long", "v" * 3000),
            ("Content-Length", "3"),
        ],
    )
    return [b"ok\n"]


@legal
def one_header(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The line that Suite-Arg says: "X-Accel-Redirect: /x"."""
    name, _, value = environ["HTTP_SUITE_ARG"].partition(": ")
    start_response("200 OK", [TEXT, (name, value), ("X-Kept", "1")])
    return [b"not the file\n"]


@legal
def status_204(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("204 No Content", [("X-Answer", "204")])
    return []


@legal
def status_304(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"abc"')])
    return Counted(environ, [])


@broken
def body_on_204(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("204 No Content", [("X-Answer", "204")])
    return Counted(environ, [b"must not be sent"])


@broken
def body_on_304(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("304 Not Modified", [("ETag", '"abc"')])
    return Counted(environ, [b"must not be sent"])


@legal
def redirect_absolute(environ: Environ, start_response: Start) -> Iterable[bytes]:
    body = b"over there\n"
    start_response(
        "302 Found",
        [TEXT, ("Location", "http://other.example.test/x?y=1"), ("Content-Length", "11")],
    )
    return [body]


@legal
def redirect_relative(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("302 Found", [TEXT, ("Location", "/elsewhere?y=1"), ("Content-Length", "11")])
    return [b"over there\n"]


@legal
def authorizer(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Lets in who asks with ``Let-In: yes`` and hands a variable to what comes after."""
    if environ.get("HTTP_LET_IN") == "yes":
        start_response("200 OK", [TEXT, ("Variable-SUITE_USER", "ada"), ("Content-Length", "0")])
        return []
    return text(start_response, b"not let in\n", "403 Forbidden")


_inside = threading.Condition()
_came: dict[str, int] = {}  # the name of a meeting -> how many requests have come to it


def meet(environ: Environ) -> bool:
    """Wait for as many requests as Suite-Arg says ("name 12"). False: they never came."""
    name, _, wanted = environ["HTTP_SUITE_ARG"].partition(" ")
    with _inside:
        _came[name] = _came.get(name, 0) + 1
        _inside.notify_all()
        return _inside.wait_for(lambda: _came[name] >= int(wanted), 10)


def connections(path: str) -> int:
    """Accepted connections of a Unix socket, as the kernel lists them."""
    with open("/proc/net/unix") as table:
        lines = [line.split() for line in table]
    return sum(line[-1] == path and line[5] == "03" for line in lines)  # 03: connected


@legal
def rendezvous(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answers only when all are inside; tells the connections of the socket Suite-Gate."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    together = meet(environ)
    found = connections(environ["HTTP_SUITE_GATE"])
    told = {"together": together, "connections": found, "body": body.decode("latin-1")}
    return as_json(start_response, told)


@legal
def meet_and_fail(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Fails half-way, while the others are inside."""
    start_response("200 OK", [TEXT, ("Content-Length", "2000000")])
    yield b"x" * 1_000_000
    meet(environ)
    raise ValueError(SECRET)


@legal
def meet_and_stream(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """3 MB, most of them after the others came."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    yield PIECE
    meet(environ)
    for _ in range(47):
        yield PIECE
