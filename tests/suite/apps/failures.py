"""Failures before and after output, and heads that must not leave."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from tests.suite.apps.registry import (
    SECRET,
    TEXT,
    Counted,
    Environ,
    Start,
    broken,
    legal,
    note,
)


@legal
def raise_at_once(environ: Environ, start_response: Start) -> Iterable[bytes]:
    raise ValueError(SECRET)


@legal
def raise_after_start(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("X-Never", "seen")])
    raise ValueError(SECRET)


@legal
def raise_at_first_block(environ: Environ, start_response: Start) -> Iterable[bytes]:
    def blocks() -> Iterator[bytes]:
        raise ValueError(SECRET)
        yield b""

    start_response("200 OK", [TEXT, ("X-Never", "seen")])
    return Counted(environ, blocks())


@legal
def raise_halfway(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """2,000,000 bytes promised, 1,000,000 sent in pieces, then an exception."""

    def blocks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 100_000
        raise ValueError(SECRET)

    start_response("200 OK", [TEXT, ("Content-Length", "2000000")])
    return Counted(environ, blocks())


@legal
def raise_halfway_no_length(environ: Environ, start_response: Start) -> Iterable[bytes]:
    def blocks() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 100_000
        raise ValueError(SECRET)

    start_response("200 OK", [TEXT])
    return Counted(environ, blocks())


@legal
def raise_early(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """7 of 100 bytes, then an exception: the case of the table of endings."""
    start_response("200 OK", [TEXT, ("Content-Length", "100")])
    yield b"7 bytes"
    raise ValueError(SECRET)


@broken
def ends_short(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """2,000,000 bytes promised, 1,000,000 sent, then a normal end."""
    start_response("200 OK", [TEXT, ("Content-Length", "2000000")])
    return Counted(environ, (b"x" * 100_000 for _ in range(10)))


@broken
def ends_long(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("Content-Length", "5")])
    return Counted(environ, iter([b"hel", b"lo world", b" and more"]))


@broken
def written_long(environ: Environ, start_response: Start) -> Iterable[bytes]:
    write = start_response("200 OK", [TEXT, ("Content-Length", "5")])
    write(b"hello world")
    return []


@legal
def exc_info_in_time(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The error page replaces a head that was not sent yet."""
    start_response("200 OK", [TEXT, ("X-Never", "seen")])
    try:
        raise ValueError(SECRET)
    except ValueError:
        start_response("503 Service Unavailable", [TEXT, ("X-Page", "ours")], sys.exc_info())
    return [b"own error page\n"]


@legal
def exc_info_too_late(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """start_response must raise the exception again, because output is out."""
    start_response("200 OK", [TEXT, ("Content-Length", "2000000")])
    yield b"x" * 1_000_000
    try:
        raise ValueError(SECRET)
    except ValueError:
        try:
            start_response("500 Oops", [TEXT], sys.exc_info())
        except ValueError:
            note(environ, "raised again")
            raise
    note(environ, "accepted")
    yield b"never sent"


@broken
def start_twice(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    start_response("200 OK", [TEXT])
    return [b"never sent\n"]


@broken
def start_never(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return [b"no head\n"]


@broken
def start_never_empty(environ: Environ, start_response: Start) -> Iterable[bytes]:
    return []


@broken
def returns_none(environ: Environ, start_response: Start) -> Any:
    start_response("200 OK", [TEXT])


@broken
def returns_number(environ: Environ, start_response: Start) -> Any:
    start_response("200 OK", [TEXT])
    return 7


@broken
def str_block(environ: Environ, start_response: Start) -> Any:
    start_response("200 OK", [TEXT])
    return ["text"]


@legal
def exits(environ: Environ, start_response: Start) -> Iterable[bytes]:
    raise SystemExit(3)


@broken
def close_raises(environ: Environ, start_response: Start) -> Iterable[bytes]:
    class Closes(Counted):
        def close(self) -> None:
            super().close()
            raise ValueError(SECRET)

    start_response("200 OK", [TEXT, ("Content-Length", "3")])
    return Closes(environ, [b"ok\n"])


BAD_HEADS: dict[str, tuple[Any, Any]] = {
    "status-word": ("OK", []),
    "status-two-digits": ("20 OK", []),
    "status-four-digits": ("2000 OK", []),
    "status-not-ascii-digits": ("\u0662\u0660\u0660 OK", []),
    "status-bytes": (b"200 OK", []),
    "status-int": (200, []),
    "status-line-break": ("200 OK\r\nX-Evil: 1", []),
    "name-int": ("200 OK", [(7, "x")]),
    "name-bytes": ("200 OK", [(b"X-A", "x")]),
    "name-empty": ("200 OK", [("", "x")]),
    "name-space": ("200 OK", [("X A", "x")]),
    "name-colon": ("200 OK", [("X:A", "x")]),
    "name-line-break": ("200 OK", [("X-A\r\nX-Evil", "1")]),
    "value-int": ("200 OK", [("X-A", 7)]),
    "value-none": ("200 OK", [("X-A", None)]),
    "value-bytes": ("200 OK", [("X-A", b"x")]),
    "value-beyond-latin-1": ("200 OK", [("X-A", "\u2603")]),
    "value-crlf": ("200 OK", [("X-A", "1\r\nX-Evil: 1")]),
    "value-lf": ("200 OK", [("X-A", "1\nX-Evil: 1")]),
    "value-cr": ("200 OK", [("X-A", "1\rX-Evil: 1")]),
    "value-nul": ("200 OK", [("X-A", "1\0")]),
    "value-escape": ("200 OK", [("X-A", "1\x1b[0m")]),
    "value-delete": ("200 OK", [("X-A", "1\x7f")]),
    "header-triple": ("200 OK", [("X-A", "1", "2")]),
    "header-str": ("200 OK", ["XA"]),
    "headers-not-a-list": ("200 OK", 7),
    "length-word": ("200 OK", [("Content-Length", "seven")]),
    "length-negative": ("200 OK", [("Content-Length", "-1")]),
    "length-twice": ("200 OK", [("Content-Length", "1"), ("Content-Length", "2")]),
}


@broken
def bad_head(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """One row of BAD_HEADS, named by the header Suite-Arg."""
    status, headers = BAD_HEADS[environ["HTTP_SUITE_ARG"]]
    start_response(status, [TEXT, *headers] if isinstance(headers, list) else headers)
    return [b"never sent\n"]
