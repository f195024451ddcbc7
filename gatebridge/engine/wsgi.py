"""The response half of PEP 3333: call an application, deliver what it answers.

The caller gives an ``Out``; everything about sockets, records and logs is behind it.
"""

from io import BufferedRandom, BufferedReader, FileIO

from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head, make_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from gatebridge.engine.seams import Application, ExcInfo, Out


class FileWrapper:
    """wsgi.file_wrapper: an iterable over a file, sent by descriptor where there is one."""

    __slots__ = ("_block", "close", "filelike")

    def __init__(self, filelike: "Any", block_size: int = 8192) -> None:
        self.filelike = filelike
        self._block = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> "Iterator[bytes]":
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self._block)
        if not data:
            raise StopIteration
        return data


def _plain_file(filelike: "Any") -> "FileIO | BufferedReader | BufferedRandom | None":
    """The open file itself. What only delegates fileno(), as gzip does, holds other bytes, and
    so may anything with a read() of its own: only the very types that open() makes will do.
    """
    file = filelike
    if type(filelike).__module__ == "tempfile":  # its wrapper reads through
        file = getattr(filelike, "file", None)
    kind = type(file)
    if kind is BufferedReader or kind is BufferedRandom:
        return file if type(file.raw) is FileIO else None
    return file if kind is FileIO else None


class Call:
    """One call of an application: start_response(), write(), and what has been sent so far."""

    __slots__ = ("_bodiless", "_head", "_is_head", "_left", "_out", "_sent", "_whole")

    def __init__(self, out: "Out", is_head: bool) -> None:
        self._out = out
        self._is_head = is_head  # the request's method is HEAD
        self._head: Head | None = None
        self._bodiless = is_head  # HEAD, 204 or 304
        self._left = -1  # bytes of the promised Content-Length still to come, -1 unknown
        self._sent = False  # the head is out
        self._whole = False  # the end is out too

    def start_response(
        self,
        status: "Any",
        headers: "Any",
        exc_info: "ExcInfo | None" = None,
    ) -> "Callable[[bytes], None]":
        # Any: the compiled build would refuse what has another type, without our words
        if exc_info is not None:
            try:
                if self._sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # PEP 3333: no circular reference through the traceback
        elif self._head is not None:
            raise AppError("start_response.twice", "a second call needs exc_info")
        head = make_head(status, headers)
        if head.dropped:
            self._out.note(AppError("header.forbidden", ", ".join(head.dropped)))
        self._head = head
        self._bodiless = self._is_head or status[:3] == "204" or status[:3] == "304"
        self._left = head.length
        return self.write

    def write(self, data: "Any") -> None:
        """PEP 3333's write(): sent before it returns."""
        head = self._head
        if head is None:
            raise AppError("start_response.missing", "output before start_response()")
        if type(data) is not bytes and not isinstance(data, bytes):
            raise AppError("body.type", f"a block must be bytes, not {type(data).__name__}")
        if not data or self._whole:
            if data and not self._bodiless:
                self._note_surplus(len(data))
            return
        if self._bodiless:
            self._out.answer(head, b"")
            self._whole = self._sent = True
            return
        if self._left >= 0:
            if len(data) > self._left:
                self._note_surplus(len(data) - self._left)
                data = data[: self._left]
            self._left -= len(data)
        if not self._sent:
            if self._left == 0:
                self._out.answer(head, data)
                self._whole = True
            else:
                self._out.start(head, data)
            self._sent = True
        elif data:
            self._out.write(data)

    def _note_surplus(self, count: int) -> None:
        detail = f"{count} bytes more than the promised Content-Length were left out"
        self._out.note(AppError("body.too_long", detail))

    def deliver(self, result: "Iterable[bytes]") -> None:
        """Send what the application returned, then the end."""
        head = self._head
        if head is not None and not self._sent:
            if isinstance(result, (list, tuple)):
                self._deliver_list(head, result)
                return
            if isinstance(result, FileWrapper) and self._deliver_file(head, result):
                return
        for block in result:
            self.write(block)
            if self._whole and self._bodiless:  # HEAD: nobody will see the rest
                break
        self._finish()

    def _deliver_list(self, head: Head, blocks: "list[Any] | tuple[Any, ...]") -> None:
        for block in blocks:
            if type(block) is not bytes and not isinstance(block, bytes):
                raise AppError("body.type", f"a block must be bytes, not {type(block).__name__}")
        body = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        size = len(body)
        if self._bodiless:
            if head.length < 0 and size and head.status[:3] not in ("204", "304"):
                head = head.with_length(size)
            body = b""
        elif head.length < 0:
            head = head.with_length(size)
        elif size > head.length:
            self._note_surplus(size - head.length)
            body = body[: head.length]
        elif size < head.length:
            raise AppError("body.too_short", f"{size} bytes of a Content-Length of {head.length}")
        self._out.answer(head, body)
        self._sent = self._whole = True

    def _deliver_file(self, head: Head, wrapper: FileWrapper) -> bool:
        """Send an open file from where it stands. False: it is none, so iterate over it."""
        file = _plain_file(wrapper.filelike)
        if file is None or self._bodiless:
            return False
        try:
            fd = file.fileno()
            offset = file.tell()
            size = file.seek(0, 2)
            file.seek(offset)
        except (OSError, ValueError):  # a pipe, or closed
            return False
        if size < offset:
            return False
        count = size - offset
        if head.length < 0:
            head = head.with_length(count)
        elif count > head.length:
            count = head.length
        self._sent = True
        self._left = head.length - self._out.file(head, fd, offset, count)
        self._finish()
        return True

    def _finish(self) -> None:
        head = self._head
        if head is None:
            raise AppError("start_response.missing", "the application never called it")
        if self._whole:
            return
        if not self._sent:
            if self._left > 0 and not self._bodiless:
                raise AppError("body.too_short", f"0 bytes of a Content-Length of {head.length}")
            self._out.answer(head, b"")
            self._sent = self._whole = True
        elif self._left > 0:
            raise AppError(
                "body.too_short", f"{self._left} bytes of the Content-Length are missing"
            )
        else:
            self._out.end()
            self._whole = True

    def fail(self, error: BaseException) -> None:
        """Answer 500 where the head is not out yet, else let the client see the cut."""
        out = self._out
        if out.gone:
            return
        # Imported here: a one-shot CGI request that succeeds does without them.
        from gatebridge.engine.pages import failure_page, new_incident, refusal_page

        incident = new_incident()
        if isinstance(error, PeerError) and not self._sent:
            self._sent = self._whole = True
            out.refused(incident, error)
            out.answer(*refusal_page(error, incident, self._is_head))
            return
        out.failed(incident, error)
        if self._whole:
            return
        if self._sent:
            out.cut(error)
            return
        self._sent = self._whole = True
        out.answer(*failure_page(incident, self._is_head))


def run(app: "Application", environ: dict[str, object], out: "Out") -> None:
    """Call a WSGI application once and deliver its answer.

    Returns when the answer is out and close() has been called; raises nothing of the
    application's (SystemExit neither): that is answered and reported to ``out``.
    """
    call = Call(out, environ["REQUEST_METHOD"] == "HEAD")
    result: Iterable[bytes] | None = None
    try:
        try:
            result = app(environ, call.start_response)
            call.deliver(result)
        finally:
            if result is not None and hasattr(result, "close"):
                result.close()
    except BaseException as error:  # SystemExit, KeyboardInterrupt of the application's: PEP 3333
        try:
            call.fail(error)
        except ConnectionError:  # left while we told it: `out` knows
            pass
