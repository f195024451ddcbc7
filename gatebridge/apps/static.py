"""The files of a folder, for GET and HEAD (RFC 9110): nothing hidden, no listing, no way out."""

from __future__ import annotations

import os
import re
from email.utils import formatdate, parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gatebridge.apps.file_type import charset, content_type, is_text
from gatebridge.apps.inventory import is_below
from gatebridge.apps.permission import open_below
from gatebridge.apps.refusal import refuse, say
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_INDEX: Final = "index.html"
_LONGEST: Final = 4096  # bytes; no path is longer, and a long one costs
_BLOCK: Final = 65_536
_SETTLED_S: Final = 2.0  # a younger file may change again without another time stamp
_SAFE: Final = "/!$&'()*+,;=:@~"  # RFC 3986 section 3.3: pchar
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[^"]*")')

Environ = dict[str, object]


class Static:
    """root: absolute, without links."""

    __slots__ = ("_root",)

    def __init__(self, root: str) -> None:
        self._root = root
        content_type(_INDEX)  # reads the system's list of types, before the first request

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            allow = [("Allow", "GET, HEAD")]
            line = "A file can be read: GET and HEAD."
            return refuse(environ, start_response, "405 Method Not Allowed", line, allow)
        path = str(environ.get("PATH_INFO", ""))
        names = _names(path)
        if names is None:
            return _not_found(environ, start_response)
        real = self._find(names)
        if real is None:
            return _not_found(environ, start_response)
        if os.path.isdir(real):
            if not path.endswith("/"):
                return _to_slash(environ, start_response)
            names.append(_INDEX)
            real = self._find(names)
        elif path.endswith("/"):
            real = None
        if real is None:
            return _not_found(environ, start_response)
        try:
            fd = open_below(real)
        except AppError as error:
            if error.code not in ("permission.gone", "permission.link", "permission.kind"):
                say(environ, f"{error.code} {error.detail}")
            return _not_found(environ, start_response)
        try:
            answer = _Answer(environ, fd, content_type(names[-1]))
        except BaseException:
            os.close(fd)
            raise
        return answer.begin(start_response)

    def has(self, path: str) -> bool:
        """Whether a file, not a folder's page, is at a path (PEP 3333's latin-1)."""
        names = None if path.endswith("/") else _names(path)
        real = self._find(names) if names is not None else None
        return real is not None and os.path.isfile(real)

    def _find(self, names: list[str]) -> str | None:
        """Where they lie, without links; None: nowhere, outside, or in something hidden."""
        try:
            real = os.path.realpath(os.path.join(self._root, *names), strict=True)
        except (OSError, ValueError):
            return None
        if real == self._root:
            return real
        if not is_below(real, self._root):
            return None
        return None if "/." in real[len(self._root.rstrip("/")) :] else real


def _names(path: str) -> list[str] | None:
    """The segments of a path; None where one is empty, hidden, or leads up."""
    if not path.startswith("/"):
        return [] if not path else None
    if "\0" in path or len(path) > _LONGEST:
        return None
    # PEP 3333 has a path's bytes as latin-1
    parts = os.fsdecode(path.encode("latin-1")).removesuffix("/").split("/")[1:]
    return None if any(not name or name.startswith(".") for name in parts) else parts


def _not_found(environ: Environ, start_response: Any) -> Iterable[bytes]:
    return refuse(environ, start_response, "404 Not Found", "No file is at this path.")


def _to_slash(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """A folder's page is below it, so that its relative links are."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    # Two slashes at its beginning would name another host.
    place = "/" + quote(path.encode("latin-1"), safe=_SAFE).lstrip("/") + "/"
    query = quote(str(environ.get("QUERY_STRING", "")).encode("latin-1"), safe=_SAFE + "?%[]")
    location = [("Location", f"{place}?{query}" if query else place)]
    line = "The folder's address ends with a slash."
    return refuse(environ, start_response, "301 Moved Permanently", line, location)


class _Answer:
    """One file's answer. fd: open, ours to close."""

    __slots__ = ("_changed", "_environ", "_fd", "_headers", "_modified", "_size", "_tag")

    def __init__(self, environ: Environ, fd: int, kind: str) -> None:
        found = os.fstat(fd)
        self._environ = environ
        self._fd = fd
        self._size = found.st_size
        now = time()
        settled = 0 <= now - found.st_mtime > _SETTLED_S
        mark = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
        self._tag = mark if settled else f"W/{mark}"
        self._changed = int(min(found.st_mtime, now))  # RFC 9110 section 8.8.2.1
        self._modified = formatdate(self._changed, usegmt=True)
        self._headers = [
            ("Content-Type", kind + charset(os.pread(fd, _BLOCK, 0)) if is_text(kind) else kind),
            ("X-Content-Type-Options", "nosniff"),
        ]

    def begin(self, start_response: Any) -> Iterable[bytes]:
        """Send the head; the body, which closes the file."""
        try:
            status, first, count = self._choose()
            headers = [("ETag", self._tag), ("Last-Modified", self._modified)]
            if status[:3] == "304":
                start_response(status, headers)
                return self._without()
            headers += [("Accept-Ranges", "bytes"), ("Content-Length", str(count))]
            if status[:3] == "206":
                part = f"bytes {first}-{first + count - 1}/{self._size}"
                headers.append(("Content-Range", part))
            if status[:3] == "416":
                headers.append(("Content-Range", f"bytes */{self._size}"))
            start_response(status, headers + self._headers)
            if not count or self._environ["REQUEST_METHOD"] == "HEAD":
                return self._without()
        except BaseException:
            os.close(self._fd)
            raise
        return self._body(first, count)

    def _without(self) -> Iterable[bytes]:
        os.close(self._fd)
        return []

    def _body(self, first: int, count: int) -> Iterable[bytes]:
        file = os.fdopen(self._fd, "rb")
        file.seek(first)
        wrapper: Any = self._environ.get("wsgi.file_wrapper")
        if wrapper is None or first + count < self._size:  # not every server minds the length
            return _Part(file, count)
        found: Iterable[bytes] = wrapper(file, _BLOCK)
        return found

    def _choose(self) -> tuple[str, int, int]:
        """(status, first byte, number of bytes), RFC 9110 section 13.2.2"""
        if self._is_known():
            return "304 Not Modified", 0, 0
        field = str(self._environ.get("HTTP_RANGE", ""))
        is_get = self._environ["REQUEST_METHOD"] == "GET"
        if field and is_get and self._range_holds():
            part = _part(field, self._size)
            if part is not None:
                first, count = part
                if count > 0:
                    return "206 Partial Content", first, count
                return "416 Range Not Satisfiable", 0, 0
        return "200 OK", 0, self._size

    def _is_known(self) -> bool:
        tags = self._environ.get("HTTP_IF_NONE_MATCH")
        if tags is not None:
            own = self._tag.removeprefix("W/")
            return str(tags).strip() == "*" or own in _TAG.findall(str(tags))
        since = _date(str(self._environ.get("HTTP_IF_MODIFIED_SINCE", "")))
        return since is not None and self._changed <= since

    def _range_holds(self) -> bool:
        """If-Range: a strong comparison, so a weak tag and a young date do not hold."""
        field = self._environ.get("HTTP_IF_RANGE")
        if field is None:
            return True
        text = str(field).strip()
        if text.startswith(('"', "W/")):
            return text == self._tag and not text.startswith("W/")
        return _date(text) == self._changed and not self._tag.startswith("W/")


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError, TypeError):
        return None


def _part(field: str, size: int) -> tuple[int, int] | None:
    """(first, count) of one range; count 0: not within the file. None: not understood, ignored."""
    found = _RANGE.fullmatch(field)
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        count = min(int(found[2]), size)
        return size - count, count
    first = int(found[1])
    last = min(int(found[2]) if found[2] else size - 1, size - 1)
    if found[2] and int(found[2]) < first:
        return None
    return first, max(0, last - first + 1)


class _Part:
    """A part of a file, in blocks."""

    __slots__ = ("_file", "_left")

    def __init__(self, file: Any, count: int) -> None:
        self._file = file
        self._left = count

    def __iter__(self) -> Iterator[bytes]:
        while self._left > 0:
            data: bytes = self._file.read(min(_BLOCK, self._left))
            if not data:
                return
            self._left -= len(data)
            yield data

    def close(self) -> None:
        self._file.close()
