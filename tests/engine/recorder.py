"""One call of an application through the engine, and everything it did to its Out."""

import os
import traceback
from collections.abc import Callable, Iterable
from io import BytesIO, StringIO
from typing import Any

from gatebridge.engine.wsgi import FileWrapper, run
from gatebridge.errors import AppError, PeerError
from gatebridge.wire.cgi_head import Head

TEXT = ("Content-Type", "text/plain")
Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


class Recorder:
    """An Out that notes each call in order.

    leaves_after  bytes of body after which the peer has left
    """

    def __init__(self, leaves_after: int = -1) -> None:
        self.events: list[tuple[str, bytes]] = []
        self.heads: list[Head] = []
        self.body = bytearray()
        self.notes: list[str] = []  # codes
        self.incidents: list[str] = []
        self.refusals: list[tuple[str, str]] = []  # incident, code
        self.log = ""
        self.gone = False
        self.leaves_after = leaves_after

    def _take(self, name: str, data: bytes) -> None:
        if 0 <= self.leaves_after < len(self.body) + len(data):
            self.gone = True
            raise ConnectionResetError("the peer has left")
        self.events.append((name, bytes(data)))
        self.body += data

    def answer(self, head: Head, body: bytes) -> None:
        self.heads.append(head)
        self._take("answer", body)

    def start(self, head: Head, data: bytes) -> None:
        self.heads.append(head)
        self._take("start", data)

    def write(self, data: bytes) -> None:
        self._take("write", data)

    def file(self, head: Head, fd: int, offset: int, count: int) -> int:
        """As the real ones do: read the descriptor at its offset until count or its end."""
        self.heads.append(head)
        data = b""
        while len(data) < count:
            piece = os.pread(fd, min(count - len(data), 4096), offset + len(data))
            if not piece:
                break
            data += piece
        self._take("file", data)
        return len(data)

    def end(self) -> None:
        self.events.append(("end", b""))

    def cut(self, error: BaseException) -> None:
        self.events.append(("cut", b""))

    def failed(self, incident: str, error: BaseException) -> None:
        self.incidents.append(incident)
        self.log += "".join(traceback.format_exception(error))

    def refused(self, incident: str, error: PeerError) -> None:
        self.refusals.append((incident, error.code))

    def note(self, error: AppError) -> None:
        self.notes.append(error.code)

    # -- what the tests ask

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    @property
    def head(self) -> Head:
        (head,) = self.heads
        return head

    @property
    def status(self) -> str:
        return self.head.status

    @property
    def whole(self) -> bool:
        return self.names[-1:] in (["answer"], ["end"])

    @property
    def was_cut(self) -> bool:
        return "cut" in self.names


def environ_of(method: str = "GET", body: bytes = b"") -> Environ:
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "h",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }


def ask(app: App, method: str = "GET", out: Recorder | None = None) -> Recorder:
    """Run an application once."""
    recorder = out or Recorder()
    run(app, environ_of(method), recorder)
    return recorder


class Closable:
    """An iterable that counts close(); raises: what close() does."""

    def __init__(self, blocks: Iterable[Any], raises: BaseException | None = None) -> None:
        self.blocks = iter(blocks)
        self.closed = 0
        self.asked = 0
        self.raises = raises

    def __iter__(self) -> "Closable":
        return self

    def __next__(self) -> Any:
        self.asked += 1
        block = next(self.blocks)
        if isinstance(block, BaseException):
            raise block
        return block

    def close(self) -> None:
        self.closed += 1
        if self.raises is not None:
            raise self.raises


def giving(result: Any, status: str = "200 OK", headers: Any = (TEXT,)) -> App:
    """An application that starts so and returns that."""

    def app(environ: Environ, start_response: Any) -> Any:
        start_response(status, list(headers) if isinstance(headers, tuple) else headers)
        return result

    return app


def sized(count: int) -> tuple[tuple[str, str], ...]:
    return (TEXT, ("Content-Length", str(count)))
