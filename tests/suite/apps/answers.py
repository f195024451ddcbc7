"""Plain answers: heads that must arrive as they are, and the authorizer role."""

import threading
from collections.abc import Iterable

from tests.suite.apps.registry import (
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
_count = {"inside": 0, "most": 0}


@legal
def rendezvous(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Answers only when as many requests are inside as Suite-Arg says; counts connections.

    Suite-Gate is the Unix socket whose accepted connections /proc/net/unix is asked for.
    """
    wanted = int(environ["HTTP_SUITE_ARG"])
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    with _inside:
        _count["inside"] += 1
        _count["most"] = max(_count["most"], _count["inside"])
        _inside.notify_all()
        together = _inside.wait_for(lambda: _count["most"] >= wanted, 10)
        _count["inside"] -= 1
    with open("/proc/net/unix") as table:
        lines = [line.split() for line in table]
    path = environ["HTTP_SUITE_GATE"]
    connections = sum(line[-1] == path and line[5] == "03" for line in lines)  # 03: connected
    return as_json(
        start_response,
        {"together": together, "connections": connections, "body": body.decode("latin-1")},
    )
