"""wsgi.input and wsgi.errors."""

import hashlib
from collections.abc import Iterable

from tests.suite.apps.registry import (
    TEXT,
    Environ,
    Start,
    as_json,
    broken,
    legal,
    text,
)


@legal
def upload(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Length and hash of the body, read in pieces, and what the environ says of it."""
    digest, length = hashlib.sha256(), 0
    while piece := environ["wsgi.input"].read(50_000):
        digest.update(piece)
        length += len(piece)
    known = environ.get("CONTENT_LENGTH", "")
    return as_json(
        start_response,
        {
            "length": length,
            "sha256": digest.hexdigest(),
            "CONTENT_LENGTH": known,
            "agrees": known in ("", str(length)),
            "CONTENT_TYPE": environ.get("CONTENT_TYPE"),
            "after": environ["wsgi.input"].read(10).decode(),
        },
    )


@legal
def everything(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The text variables and the body, never asking for more than CONTENT_LENGTH if it is known.

    (flup's SCGI input has no end of its own.)
    """
    known = environ.get("CONTENT_LENGTH", "")
    if known.isdigit():
        body = environ["wsgi.input"].read(int(known))
    else:
        body = b"".join(iter(lambda: environ["wsgi.input"].read(65536), b""))
    seen = {k: v for k, v in environ.items() if isinstance(v, str)}
    seen["suite.body type"] = type(body).__name__  # flup: text, when it is empty
    seen["suite.body"] = f"{len(body)} {hashlib.sha256(body or b'').hexdigest()}"
    return as_json(start_response, seen)


@legal
def mirror(environ: Environ, start_response: Start) -> Iterable[bytes]:
    body = b"".join(iter(lambda: environ["wsgi.input"].read(65536), b""))
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


@broken  # read() without a size is fine by PEP 3333, but the validator refuses it
def read_all(environ: Environ, start_response: Start) -> Iterable[bytes]:
    first = environ["wsgi.input"].read()
    return text(start_response, b"%d %d\n" % (len(first), len(environ["wsgi.input"].read())))


@legal
def lines(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Each way of reading lines, one after the other, from one body (see rows.LINES)."""
    stream = environ["wsgi.input"]
    seen: list[object] = [
        stream.readline().decode(),
        stream.readline(3).decode(),
        stream.readline(100).decode(),
        [line.decode() for line in stream.readlines(4)],
        [line.decode() for line in stream],
        stream.readline().decode(),
        [line.decode() for line in stream.readlines()],
    ]
    return as_json(start_response, seen)


@legal
def readlines(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return as_json(start_response, [x.decode() for x in environ["wsgi.input"].readlines()])


@legal
def unread(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return text(start_response, b"not read\n")


@legal
def read_some(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return text(start_response, environ["wsgi.input"].read(10) + b"\n")


@legal
def answer_then_read(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The head and a block are out before the body is read (F051)."""
    start_response("200 OK", [TEXT])
    yield b"early\n"
    length = 0
    while piece := environ["wsgi.input"].read(65536):
        length += len(piece)
    yield b"%d\n" % length


@legal
def errors_line(environ: Environ, start_response: Start) -> Iterable[bytes]:
    environ["wsgi.errors"].write(f"noted {environ.get('HTTP_SUITE_TOKEN')} \u2603 caf\xe9\n")
    environ["wsgi.errors"].writelines(["line a\n", "line b\n"])
    environ["wsgi.errors"].flush()
    return text(start_response, b"logged\n")


@legal
def errors_1m(environ: Environ, start_response: Start) -> Iterable[bytes]:
    line = "e" * 99 + "\n"
    for _ in range(10_486):
        environ["wsgi.errors"].write(line)
    return text(start_response, b"logged\n")
