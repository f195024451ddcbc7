"""One request from nobody, before a worker serves: --warmup."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import TYPE_CHECKING

from gatebridge.engine.wsgi import run
from gatebridge.errors import AppError

if TYPE_CHECKING:
    from gatebridge.engine.seams import Application
    from gatebridge.errors import PeerError
    from gatebridge.wire.cgi_head import Head


class Probe:
    """An ``Out`` that keeps the status and what went wrong."""

    gone = False

    def __init__(self) -> None:
        self.status = ""
        self.error: BaseException | None = None

    def answer(self, head: Head, body: bytes) -> None:
        self.status = head.status

    def start(self, head: Head, data: bytes) -> None:
        self.status = head.status

    def write(self, data: bytes) -> None:
        pass

    def file(self, head: Head, fd: int, offset: int, count: int) -> int:
        self.status = head.status
        return count

    def end(self) -> None:
        pass

    def cut(self, error: BaseException) -> None:
        self.error = error

    def failed(self, incident: str, error: BaseException) -> None:
        self.error = error

    def refused(self, incident: str, error: PeerError) -> None:
        self.error = error

    def note(self, error: AppError) -> None:
        pass


def warm_up(app: Application, target: str) -> None:
    """Let the application answer a GET. raises AppError("warmup.failed"), with its cause"""
    probe = Probe()
    run(app, environ_of(target), probe)
    judge(probe, target)


def judge(probe: Probe, target: str) -> None:
    """raises AppError("warmup.failed")"""
    if probe.error is not None:
        why = f"{type(probe.error).__name__}: {probe.error}"
        raise AppError("warmup.failed", f"GET {target}: {why}") from probe.error
    if not "100" <= probe.status[:3] < "500":
        raise AppError("warmup.failed", f"GET {target} was answered {probe.status}")


def environ_of(target: str) -> dict[str, object]:
    """A GET of our own. target: a path, perhaps with a query"""
    path, _, query = target.partition("?")
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": "gatebridge-warmup",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REMOTE_ADDR": "127.0.0.1",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": target,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "gatebridge",
        "wsgi.errors": sys.stderr,
        "wsgi.input": BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.multiprocess": True,
        "wsgi.multithread": False,
        "wsgi.run_once": False,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
    }
