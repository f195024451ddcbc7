"""The engine and the environ alone: no socket, no process, no protocol."""

import os
import traceback
from io import StringIO
from pathlib import Path

from gatebridge.engine.body import Body
from gatebridge.engine.wsgi import FileWrapper, run
from gatebridge.environ.build import Builder
from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head
from gatebridge.wire.events import Pairs, Request
from tests.suite import apps, wires
from tests.suite.modes import Mode
from tests.suite.wires import Req, Resp, Seen


class Feed:
    """The body in pieces of a size that is no round number."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def pull(self, want: int) -> bytes:
        piece, self.data = self.data[:10_007], self.data[10_007:]
        return piece

    def gather(self, want: int) -> bytes:
        piece, self.data = self.data[:want], self.data[want:]
        return piece


class Collected:
    """An Out that keeps what it is given."""

    gone = False

    def __init__(self, seen: Seen | None) -> None:
        self.head: Head | None = None
        self.body = bytearray()
        self.ended = False
        self.was_cut = False
        self.log: list[str] = []
        self.seen = seen

    def answer(self, head: Head, body: bytes) -> None:
        self.start(head, body)
        self.ended = True

    def start(self, head: Head, data: bytes) -> None:
        if self.head is not None:
            raise AssertionError("two heads")
        self.head = head
        self.write(data)

    def write(self, data: bytes) -> None:
        if self.head is None or self.ended or self.was_cut:
            raise AssertionError("a piece outside of an answer")
        self.body += data
        if self.seen:
            self.seen(bytes(self.body))

    def file(self, head: Head, fd: int, offset: int, count: int) -> int:
        data = os.pread(fd, count, offset)
        self.start(head, data)
        return len(data)

    def end(self) -> None:
        self.ended = True

    def cut(self, error: BaseException) -> None:
        self.was_cut = True

    def failed(self, incident: str, error: BaseException) -> None:
        self.log.append(incident)
        self.log += traceback.format_exception(error)

    def refused(self, incident: str, error: PeerError) -> None:
        self.log.append(f"{incident} {error}")

    def note(self, error: AppError) -> None:
        self.log.append(str(error))


class InProcess(Mode):
    """``builder`` and ``run`` called as the worker calls them."""

    def __init__(self, folder: Path, mount: str = "") -> None:
        super().__init__("inprocess", folder, mount)
        self.builder = Builder()
        self.said = ""

    def send(self, request: Req, seen: Seen | None = None) -> Resp:
        pairs = wires.variables(request, self.mount, self.port)
        body = wires.body_of(request)
        event = Request(1, dict(pairs), False, Pairs(b"", lambda _: pairs), complete=not body)
        environ, length = self.builder.build(event)
        errors, out = StringIO(), Collected(seen)
        environ["wsgi.input"] = Body(Feed(body), b"", length)
        environ["wsgi.errors"] = errors
        environ["wsgi.file_wrapper"] = FileWrapper
        run(apps.application, environ, out)
        self.said = errors.getvalue() + "\n".join(out.log)
        if out.head is None:
            raise AssertionError("no answer at all")
        short = 0 <= len(out.body) < out.head.length and request.method != "HEAD"
        cut = out.was_cut or not out.ended or (short and out.head.code not in (204, 304))
        _, reason = out.head.status.split(" ", 1)
        return Resp(out.head.code, reason, out.head.headers, bytes(out.body), cut)

    def log(self, since: int = 0) -> str:
        return self.said
