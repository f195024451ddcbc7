"""Ways to produce a body."""

import gzip
import io
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from tests.suite.apps.registry import (
    PIECE,
    TEXT,
    Counted,
    Environ,
    Start,
    legal,
    note,
    wait_for,
)

BLOCK_3M = PIECE * 48
PIECES_10M = 160


@legal
def generator(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    yield b"one\n"
    yield b"two\n"
    yield b"three\n"


@legal
def late_start(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """start_response is called when the first block is asked for, after an empty one."""

    def blocks() -> Iterator[bytes]:
        start_response("200 OK", [TEXT, ("X-Late", "1")])
        yield b""
        yield b"late\n"

    return Counted(environ, blocks())


@legal
def writer(environ: Environ, start_response: Start) -> Iterable[bytes]:
    write = start_response("200 OK", [TEXT])
    write(b"written\n")
    write(b"")
    write(b"twice\n")
    return [b"and returned\n"]


@legal
def empty_blocks(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    return [b"", b"a", b"", b"", b"b\n", b""]


@legal
def many_blocks(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """10,000 blocks of one byte (F124)."""
    start_response("200 OK", [TEXT])
    return (b"x" for _ in range(10_000))


@legal
def block_3m(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response(
        "200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", "3145728")]
    )
    return [BLOCK_3M]


@legal
def stream_10m(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return Counted(environ, (PIECE for _ in range(PIECES_10M)))


@legal
def gated(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """The second block comes only when the client has shown (by a file) that it has the first."""
    start_response("200 OK", [TEXT])
    yield b"first\n"
    yield b"second\n" if wait_for(environ["HTTP_SUITE_GATE"]) else b"nobody read the first\n"


@legal
def gated_write(environ: Environ, start_response: Start) -> Iterable[bytes]:
    write = start_response("200 OK", [TEXT])
    write(b"first\n")
    return [b"second\n" if wait_for(environ["HTTP_SUITE_GATE"]) else b"nobody read the first\n"]


def spooled(content: bytes) -> Any:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the gateway's close() is under test
    file.write(content)
    file.flush()
    return file


class NotedFile:
    """A real file whose close() is noted; fileno() is there, so sendfile may be used."""

    def __init__(self, environ: Environ, file: Any) -> None:
        self.environ = environ
        self.file = file
        self.read = file.read
        self.fileno = file.fileno
        self.seek = file.seek
        self.tell = file.tell

    def close(self) -> None:
        self.file.close()
        note(self.environ, "closed")


@legal
def file_whole(environ: Environ, start_response: Start) -> Iterable[bytes]:
    file = spooled(BLOCK_3M)
    file.seek(0)
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return environ["wsgi.file_wrapper"](NotedFile(environ, file), 65536)


@legal
def file_offset(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """From the current position, which is not the start, with a Content-Length."""
    file = spooled(b"skipped:" + b"sent\n" * 1000)
    file.seek(8)
    start_response("200 OK", [TEXT, ("Content-Length", "5000")])
    return environ["wsgi.file_wrapper"](NotedFile(environ, file))


@legal
def file_buffered_position(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """After a readline() the descriptor stands behind the file object's own position."""
    file = spooled(b"first line\n" + b"sent\n" * 1000)
    file.seek(0)
    file.readline()
    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](NotedFile(environ, file))


@legal
def file_memory(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """A file-like object without a descriptor."""
    file = io.BytesIO(b"skipped:" + b"from memory\n" * 500)
    file.seek(8)
    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](file)


class Unzipped(gzip.GzipFile):
    """Closes the compressed file as well, which GzipFile leaves to its opener."""

    def close(self) -> None:
        under = self.fileobj
        super().close()
        if under is not None:
            under.close()


@legal
def file_gzip(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Its fileno() is the compressed file's, its position the plain text's."""
    file = spooled(gzip.compress(b"plain text\n" * 1000))
    file.seek(0)
    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](Unzipped(fileobj=file))


@legal
def file_at_end(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](NotedFile(environ, spooled(b"nothing of this")))


@legal
def file_shorter_than_said(environ: Environ, start_response: Start) -> Iterable[bytes]:
    file = spooled(b"x" * 1_000_000)
    file.seek(0)
    start_response("200 OK", [TEXT, ("Content-Length", "2000000")])
    return environ["wsgi.file_wrapper"](NotedFile(environ, file))


@legal
def file_longer_than_said(environ: Environ, start_response: Start) -> Iterable[bytes]:
    file = spooled(b"0123456789")
    file.seek(0)
    start_response("200 OK", [TEXT, ("Content-Length", "4")])
    return environ["wsgi.file_wrapper"](NotedFile(environ, file))


@legal
def closing(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", [TEXT, ("Content-Length", "8")])
    return Counted(environ, [b"counted\n"])


@legal
def endless(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Streams until somebody stops it; bounded so that a gateway that never does fails the row."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])

    def blocks() -> Iterator[bytes]:
        for _ in range(8_000):
            yield PIECE
        note(environ, "ran to its end")

    return Counted(environ, blocks())
