"""wsgi.file_wrapper: from the current position, whatever kind of file it is, and close()."""

import gzip
import io
import os
import tempfile
from pathlib import Path

import pytest

from gatebridge.engine.wsgi import FileWrapper
from tests.engine.recorder import TEXT, Recorder, ask, giving, sized

DATA = bytes(range(256)) * 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.write_bytes(DATA)
    return found


def temporary(path: Path) -> object:
    file = tempfile.NamedTemporaryFile()
    file.write(DATA)
    file.flush()
    return file


def spooled(path: Path) -> object:
    file = tempfile.SpooledTemporaryFile(max_size=1 << 20)
    file.write(DATA)
    return file


# The same bytes as files of many kinds.
OPEN = {
    "buffered": lambda path: path.open("rb"),
    "raw": lambda path: path.open("rb", buffering=0),
    "read and write": lambda path: path.open("r+b"),
    "temporary": temporary,
    "spooled": spooled,
    "memory": lambda path: io.BytesIO(DATA),
    "buffered over memory": lambda path: io.BufferedReader(io.BytesIO(DATA)),
}
KINDS = list(OPEN)


def send(file: object, headers=(TEXT,), method: str = "GET", block: int = 8192) -> Recorder:
    def app(environ, start_response):
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file, block)

    return ask(app, method)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0, 1, 70_000, len(DATA), len(DATA) + 5])
def test_W059_from_the_current_position(path: Path, kind: str, offset: int) -> None:
    file = OPEN[kind](path)
    file.seek(offset)
    out = send(file)
    assert (bytes(out.body), out.whole) == (DATA[offset:], True)
    assert out.head.length in (-1, len(DATA[offset:]))
    assert file.closed


@pytest.mark.parametrize("kind", KINDS)
def test_W059_after_reading_a_line(path: Path, kind: str) -> None:
    """A buffered reader stands elsewhere than its descriptor."""
    file = OPEN[kind](path)
    file.seek(0)
    first = file.read(11)
    assert first + bytes(send(file).body) == DATA


@pytest.mark.parametrize("kind", KINDS)
def test_W060_closed_once_also_for_HEAD(path: Path, kind: str) -> None:
    file = OPEN[kind](path)
    out = send(file, method="HEAD")
    assert (bytes(out.body), out.whole, file.closed) == (b"", True, True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0, 1, 10_000, len(DATA)])
def test_W059_a_length_shorter_than_the_file(path: Path, kind: str, length: int) -> None:
    file = OPEN[kind](path)
    file.seek(0)
    out = send(file, sized(length))
    assert (bytes(out.body), out.whole) == (DATA[:length], True)


@pytest.mark.parametrize("kind", KINDS)
def test_W059_a_length_longer_than_the_file_is_no_clean_end(path: Path, kind: str) -> None:
    file = OPEN[kind](path)
    file.seek(0)
    out = send(file, sized(len(DATA) + 1))
    assert (bytes(out.body), out.was_cut, file.closed) == (DATA, True, True)
    assert "body.too_short" in out.log


class Changing(Recorder):
    """An Out before which the file gets another size."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__()
        self.path, self.size = path, size

    def file(self, head, fd, offset, count):
        os.truncate(self.path, self.size)
        return super().file(head, fd, offset, count)


def test_W059_a_growing_file_ends_where_it_ended(path: Path) -> None:
    app = giving(FileWrapper(path.open("rb")))
    out = ask(app, out=Changing(path, 2 * len(DATA)))
    assert (bytes(out.body), out.head.length, out.whole) == (DATA, len(DATA), True)


def test_W059_a_shrinking_file_is_no_clean_end(path: Path) -> None:
    app = giving(FileWrapper(path.open("rb")))
    out = ask(app, out=Changing(path, 100))
    assert (bytes(out.body), out.was_cut) == (DATA[:100], True)


def test_W059_unwritten_bytes_of_the_same_object_are_sent(tmp_path: Path) -> None:
    with (tmp_path / "new").open("w+b") as file:
        file.write(b"still in its buffer")
        file.seek(0)
        assert bytes(send(file).body) == b"still in its buffer"


def test_W059_a_compressed_file_is_read_through_its_reader(path: Path) -> None:
    """Its fileno() is that of the compressed bytes."""
    packed = path.with_suffix(".gz")
    packed.write_bytes(gzip.compress(DATA))
    assert bytes(send(gzip.open(packed)).body) == DATA


class Reading:
    """A file-like object of the application's own: other bytes than the file that it holds."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")

    def read(self, size: int = -1) -> bytes:
        return bytes(byte ^ 0xFF for byte in self.file.read(size))

    def close(self) -> None:
        self.file.close()


def test_W059_an_object_with_a_file_inside_is_asked_itself(path: Path) -> None:
    """What decrypts, limits or logs must not be passed by; only tempfile's wrapper may."""
    assert bytes(send(Reading(path)).body) == bytes(byte ^ 0xFF for byte in DATA)


class Limited(io.BufferedReader):
    """A subclass that shows less than there is."""

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, 100 - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def test_W059_a_subclass_with_a_read_of_its_own_is_asked_itself(path: Path) -> None:
    assert bytes(send(Limited(io.FileIO(path))).body) == DATA[:100]


class Bare:
    """read() and nothing else."""

    def __init__(self, data: bytes) -> None:
        self.rest = data
        self.sizes: list[int] = []

    def read(self, size: int) -> bytes:
        self.sizes.append(size)
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


def test_W060_an_object_with_read_alone() -> None:
    file = Bare(DATA)
    assert bytes(send(file, block=1000).body) == DATA
    assert set(file.sizes) == {1000}


def test_W060_a_pipe_has_no_position() -> None:
    read, write = os.pipe()
    os.write(write, b"through a pipe")
    os.close(write)
    assert bytes(send(open(read, "rb")).body) == b"through a pipe"


def test_W060_close_is_the_files_and_absent_where_it_has_none(path: Path) -> None:
    with path.open("rb") as file:
        assert FileWrapper(file).close == file.close
    assert not hasattr(FileWrapper(Bare(b"")), "close")


def test_W060_a_closed_file_is_an_error_not_an_empty_answer(path: Path) -> None:
    file = path.open("rb")
    file.close()
    assert send(file).status.startswith("500")


def test_W050_a_text_file_is_an_error(path: Path) -> None:
    path.write_text("text")
    assert send(path.open("r")).status.startswith("500")


def test_W060_it_iterates_for_a_middleware(path: Path) -> None:
    """Wrapped once more it is any iterable of blocks."""

    def app(environ, start_response):
        start_response("200 OK", [TEXT])
        return (block.upper() for block in environ["wsgi.file_wrapper"](file, 1000))

    with path.open("rb") as file:
        assert bytes(ask(app).body) == DATA.upper()


@pytest.mark.parametrize("leaves_after", [0, 10])
def test_W038_closed_when_the_peer_leaves(path: Path, leaves_after: int) -> None:
    file = path.open("rb")
    out = ask(giving(FileWrapper(file)), out=Recorder(leaves_after))
    assert (file.closed, out.incidents) == (True, [])


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_W041_no_body(path: Path, status: str) -> None:
    file = path.open("rb")
    out = ask(giving(FileWrapper(file), status))
    assert (bytes(out.body), out.whole, file.closed) == (b"", True, True)
