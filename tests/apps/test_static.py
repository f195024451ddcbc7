"""Files: what is answered to whom, and that there is no way out of the folder."""

import os
import socket
from collections.abc import Iterable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps.file_type import charset, content_type, is_text
from gatebridge.apps.static import Static
from gatebridge.engine.wsgi import FileWrapper
from tests.engine.recorder import Recorder, ask

OLD = 1_700_000_000  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
DATA = bytes(range(256)) * 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    found = Path(os.path.realpath(tmp_path)) / "files"
    found.mkdir()
    put(found, "index.html", b"<p>start")
    put(found, "data.bin", DATA)
    put(found, "sub/index.html", b"<p>sub")
    put(found, "empty/other.txt", b"text")
    put(found, "nothing.txt", b"")
    put(found, "caf\xe9 #1?.txt", b"named")
    put(found, ".env", b"SECRET")
    put(found, "sub/.git/config", b"SECRET")
    put(found.parent, "outside.txt", b"SECRET")
    put(found.parent, "files-other/x.txt", b"SECRET")
    return found


def put(root: Path, name: str, data: bytes, changed: float = OLD) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (changed, changed))
    return path


def get(root: Path, path: str, method: str = "GET", **variables: str) -> Recorder:
    front = variables.pop("front", "")

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.update(variables, SCRIPT_NAME=front, PATH_INFO=path)
        return Static(str(root))(environ, start_response)

    return ask(app, method)


def field(answer: Recorder, name: str) -> str | None:
    """One header; None without, an error with two."""
    found = [value for key, value in answer.head.headers if key == name]
    assert len(found) < 2
    return found[0] if found else None


def test_a_file_whole(root: Path) -> None:
    answer = get(root, "/data.bin")
    assert answer.status == "200 OK"
    assert answer.names == ["file", "end"]  # by descriptor, not through memory
    assert answer.body == DATA
    assert field(answer, "Content-Length") == str(len(DATA))
    assert field(answer, "Last-Modified") == DATE
    assert field(answer, "Accept-Ranges") == "bytes"
    assert field(answer, "X-Content-Type-Options") == "nosniff"
    assert field(answer, "ETag").startswith('"')


FILES = [
    ("/", b"<p>start"),
    ("/index.html", b"<p>start"),
    ("/sub/", b"<p>sub"),
    ("/empty/other.txt", b"text"),
    ("/nothing.txt", b""),
    ("/caf\xc3\xa9 #1?.txt", b"named"),
]


@pytest.mark.parametrize(("path", "body"), FILES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_C11_found(root: Path, path: str, body: bytes, method: str) -> None:
    answer = get(root, path, method)
    assert answer.status == "200 OK"
    assert answer.body == (b"" if method == "HEAD" else body)
    assert field(answer, "Content-Length") == str(len(body))
    assert answer.whole


NOT_FOUND = [
    "/none", "/none/", "/data.bin/", "/data.bin/x", "/empty/", "/.env", "/sub/.git/config",
    "/sub/.git/", "/..", "/../outside.txt", "/sub/../../outside.txt", "/sub/../index.html",
    "/./index.html", "//index.html", "/sub//index.html", "//etc/passwd", "index.html",
    "/../files-other/x.txt", "/%2e%2e/outside.txt", "/..%2foutside.txt", "/..\\outside.txt",
    "/index.html\0", "/index.html\0.txt", "/\0", "/\xff", "/" + "x" * 300, "/" + "sub/" * 1000,
    "/" + "x/" * 30_000, "/out.txt", "/other/x.txt", "/out-folder/", "/hidden.txt", "/loop",
    "/absolute", "/pipe", "/socket", "/up/outside.txt",
]  # fmt: skip


@pytest.mark.parametrize("path", NOT_FOUND, ids=[repr(path[:24]) for path in NOT_FOUND])
def test_T12_no_way_out(root: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "out.txt").symlink_to("../outside.txt")
    (root / "other").symlink_to("../files-other")
    (root / "out-folder").symlink_to("..")
    (root / "up").symlink_to("..")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "hidden.txt").symlink_to(".env")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        answer = get(root, path)
    assert answer.status == "404 Not Found"
    assert b"SECRET" not in answer.body
    assert str(root) not in answer.body.decode()
    # nor does a slash tell that a folder is there
    assert get(root, "/out-folder").status == get(root, "/sub/.git").status == "404 Not Found"


def test_links_within_the_folder_are_followed(root: Path) -> None:
    (root / "again.txt").symlink_to("empty/other.txt")
    (root / "folder").symlink_to("sub")
    assert get(root, "/again.txt").body == b"text"
    assert get(root, "/folder/").body == b"<p>sub"


def test_a_link_swapped_in_after_the_look_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = str(root / "data.bin")
    monkeypatch.setattr(Static, "_find", lambda self, names: real)
    (root / "data.bin").unlink()
    (root / "data.bin").symlink_to("../outside.txt")
    assert get(root, "/data.bin").status == "404 Not Found"


def test_a_path_longer_than_any_is_not_looked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Static, "_find", lambda self, names: pytest.fail("looked"))
    assert get(root, "/" + "sub/" * 1024).status == "404 Not Found"


SLASHES = [
    ("", "/sub", "", "/sub/"),
    ("/files", "/sub", "a=1&b=%20", "/files/sub/?a=1&b=%20"),
    ("/files", "", "", "/files/"),
    ("//evil.example", "/sub", "", "/evil.example/sub/"),
    ("/a b", "/sub", "x\r\nSet-Cookie: y", "/a%20b/sub/?x%0D%0ASet-Cookie:%20y"),
]


@pytest.mark.parametrize(("front", "path", "query", "location"), SLASHES)
def test_a_folders_page_is_below_it(
    root: Path, front: str, path: str, query: str, location: str
) -> None:
    answer = get(root, path, front=front, QUERY_STRING=query)
    assert answer.status == "301 Moved Permanently"
    assert field(answer, "Location") == location


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_other_methods(root: Path, method: str) -> None:
    answer = get(root, "/data.bin", method)
    assert answer.status == "405 Method Not Allowed"
    assert field(answer, "Allow") == "GET, HEAD"


# -- validators (RFC 9110 section 13)

KNOWN = [
    ("same tag", {"HTTP_IF_NONE_MATCH": "{tag}"}, 304),
    ("weak form of it", {"HTTP_IF_NONE_MATCH": "W/{tag}"}, 304),
    ("among others", {"HTTP_IF_NONE_MATCH": '"a", {tag} , W/"b"'}, 304),
    ("any", {"HTTP_IF_NONE_MATCH": " * "}, 304),
    ("another tag", {"HTTP_IF_NONE_MATCH": '"a"'}, 200),
    ("tag without quotes", {"HTTP_IF_NONE_MATCH": "a"}, 200),
    ("same date", {"HTTP_IF_MODIFIED_SINCE": DATE}, 304),
    ("later date", {"HTTP_IF_MODIFIED_SINCE": formatdate(OLD + 1, usegmt=True)}, 304),
    ("earlier date", {"HTTP_IF_MODIFIED_SINCE": formatdate(OLD - 1, usegmt=True)}, 200),
    ("no date", {"HTTP_IF_MODIFIED_SINCE": "yesterday"}, 200),
    ("date of no calendar", {"HTTP_IF_MODIFIED_SINCE": "Tue, 99 Nov 2023 22:13:20 GMT"}, 200),
    ("a tag goes before a date",
     {"HTTP_IF_NONE_MATCH": '"a"', "HTTP_IF_MODIFIED_SINCE": DATE}, 200),
]  # fmt: skip


@pytest.mark.parametrize(("name", "asked", "status"), KNOWN, ids=[row[0] for row in KNOWN])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has(
    root: Path, name: str, asked: dict[str, str], status: int, method: str
) -> None:
    tag = field(get(root, "/data.bin"), "ETag")
    said = {key: value.replace("{tag}", tag) for key, value in asked.items()}
    answer = get(root, "/data.bin", method, **said)
    assert answer.status.startswith(str(status))
    assert field(answer, "ETag") == tag
    if status == 304:
        assert answer.body == b""
        assert field(answer, "Content-Length") is None


def test_a_file_that_may_still_change_has_a_weak_tag(root: Path) -> None:
    path = put(root, "new.txt", b"new", 4_000_000_000)  # its clock is ahead
    os.utime(path)
    answer = get(root, "/new.txt")
    tag = field(answer, "ETag")
    assert tag.startswith("W/")
    assert get(root, "/new.txt", HTTP_IF_NONE_MATCH=tag).status == "304 Not Modified"
    asked = {"HTTP_RANGE": "bytes=0-0", "HTTP_IF_RANGE": tag}
    assert get(root, "/new.txt", **asked).status == "200 OK"


def test_another_content_has_another_tag(root: Path) -> None:
    tags = {field(get(root, "/data.bin"), "ETag")}
    put(root, "data.bin", DATA + b"x")
    tags.add(field(get(root, "/data.bin"), "ETag"))
    put(root, "data.bin", DATA + b"y", OLD + 1)
    tags.add(field(get(root, "/data.bin"), "ETag"))
    assert len(tags) == 3


# -- one range (RFC 9110 section 14)

END = len(DATA) - 1
RANGES = [
    ("bytes=0-0", 0, 0),
    ("bytes=0-", 0, END),
    ("bytes=10-20", 10, 20),
    ("bytes=255000-", 255_000, END),
    ("bytes=255000-99999999999", 255_000, END),
    ("bytes=-1", END, END),
    ("bytes=-99999999", 0, END),
    ("BYTES=5-5", 5, 5),
    ("bytes=0-200000", 0, 200_000),
]


@pytest.mark.parametrize(("asked", "first", "last"), RANGES)
def test_a_range(root: Path, asked: str, first: int, last: int) -> None:
    answer = get(root, "/data.bin", HTTP_RANGE=asked)
    assert answer.status == "206 Partial Content"
    assert answer.body == DATA[first : last + 1]
    assert field(answer, "Content-Range") == f"bytes {first}-{last}/{len(DATA)}"
    assert field(answer, "Content-Length") == str(last - first + 1)
    assert answer.notes == []


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", "bytes=-0", "bytes=999999999-"])
def test_a_range_beyond_the_file(root: Path, asked: str) -> None:
    answer = get(root, "/data.bin", HTTP_RANGE=asked)
    assert answer.status == "416 Range Not Satisfiable"
    assert field(answer, "Content-Range") == f"bytes */{len(DATA)}"
    assert answer.body == b""


@pytest.mark.parametrize("asked", ["bytes=0-0", "bytes=-1"])
def test_no_range_of_an_empty_file(root: Path, asked: str) -> None:
    assert get(root, "/nothing.txt", HTTP_RANGE=asked).status.startswith("416")


IGNORED = ["bytes=0-1,5-6", "bytes=20-10", "bytes=-", "bytes=", "lines=0-1", "bytes 0-1",
           "bytes=a-b", "bytes=0x1-2", "bytes=+1-2", "bytes=٣-٤",
           "bytes=" + "9" * 30 + "-"]  # fmt: skip


@pytest.mark.parametrize("asked", IGNORED)
def test_other_ranges_are_ignored(root: Path, asked: str) -> None:
    answer = get(root, "/data.bin", HTTP_RANGE=asked)
    assert answer.status == "200 OK"
    assert len(answer.body) == len(DATA)


def test_HEAD_has_no_range(root: Path) -> None:
    answer = get(root, "/data.bin", "HEAD", HTTP_RANGE="bytes=0-0")
    assert answer.status == "200 OK"
    assert field(answer, "Content-Length") == str(len(DATA))


IF_RANGE = [("{tag}", 206), (DATE, 206), ("W/{tag}", 200), ('"other"', 200),
            (formatdate(OLD + 1, usegmt=True), 200), ("nonsense", 200)]  # fmt: skip


@pytest.mark.parametrize(("value", "status"), IF_RANGE)
def test_if_range(root: Path, value: str, status: int) -> None:
    tag = field(get(root, "/data.bin"), "ETag")
    said = {"HTTP_RANGE": "bytes=0-0", "HTTP_IF_RANGE": value.replace("{tag}", tag)}
    assert get(root, "/data.bin", **said).status.startswith(str(status))


def test_a_server_without_a_file_wrapper(root: Path) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        del environ["wsgi.file_wrapper"]
        environ["PATH_INFO"] = "/data.bin"
        return Static(str(root))(environ, start_response)

    assert ask(app).body == DATA


def test_a_server_that_does_not_mind_the_length(root: Path) -> None:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/data.bin",
        "HTTP_RANGE": "bytes=7-9",
        "wsgi.file_wrapper": FileWrapper,
    }
    body: Any = Static(str(root))(environ, lambda status, headers: None)
    assert b"".join(body) == DATA[7:10]
    body.close()


# -- types

TYPES = [
    ("a.html", "text/html; charset=utf-8"),
    ("a.HTML", "text/html; charset=utf-8"),
    ("a.css", "text/css; charset=utf-8"),
    ("a.js", "text/javascript; charset=utf-8"),
    ("a.mjs", "text/javascript; charset=utf-8"),
    ("a.txt", "text/plain; charset=utf-8"),
    ("a.svg", "image/svg+xml; charset=utf-8"),
    ("a.json", "application/json"),
    ("a.png", "image/png"),
    ("a.woff2", "font/woff2"),
    ("a.wasm", "application/wasm"),
    ("a.tar.gz", "application/gzip"),
    ("a.svgz", "application/gzip"),
    ("a", "application/octet-stream"),
    ("a.unknown-ending", "application/octet-stream"),
    ("data:text,html", "application/octet-stream"),
    ("a.html?x", "application/octet-stream"),
]


@pytest.mark.parametrize(("name", "kind"), TYPES)
def test_types(name: str, kind: str) -> None:
    found = content_type(name)
    assert (found + charset(b"") if is_text(found) else found) == kind


TEXTS = [
    ("a.html", "caf\xe9".encode(), "text/html; charset=utf-8"),
    ("a.html", b"caf\xe9 of 1998", "text/html"),  # its <meta> tells
    ("a.txt", b"x" * 65_535 + "\xe9".encode(), "text/plain; charset=utf-8"),  # cut in two
    ("a.png", b"\x89PNG", "image/png"),
]


@pytest.mark.parametrize(("name", "data", "kind"), TEXTS)
def test_text_is_said_to_be_utf_8_where_it_is(
    root: Path, name: str, data: bytes, kind: str
) -> None:
    put(root, name, data)
    assert field(get(root, f"/{name}"), "Content-Type") == kind
