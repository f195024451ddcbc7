"""The registry of the suite's applications and what they share.

What cannot be seen from outside (close() calls, what an application was told) goes to the ledger:
a file of lines "token event", the token being the request header Suite-Token.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

Environ = dict[str, Any]
Start = Callable[..., Any]
App = Callable[[Environ, Start], Iterable[bytes]]

TEXT = ("Content-Type", "text/plain")
PIECE = bytes(range(256)) * 256  # 64 KiB
SECRET = "the-reason-no-client-may-see"

ledger_path = ""  # the generated entry module sets it

APPS: dict[str, App] = {}
LEGAL: set[str] = set()


def legal(app: App) -> App:
    """Register an application that keeps PEP 3333, plain and validated."""
    APPS[app.__name__] = app
    APPS[app.__name__ + "!"] = validator(app)
    LEGAL.add(app.__name__)
    return app


def broken(app: App) -> App:
    """Register an application that breaks PEP 3333 on purpose."""
    APPS[app.__name__] = app
    return app


def note(environ: Environ, event: str) -> None:
    """Append one line to the ledger; one write, so lines of several processes do not mix."""
    if ledger_path:
        fd = os.open(ledger_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(fd, f"{environ.get('HTTP_SUITE_TOKEN', '-')} {event}\n".encode())
        os.close(fd)


def wait_for(path: str, deadline_s: float = 10.0) -> bool:
    """Wait until a file exists: how a row holds an application back until the client has read."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if os.path.exists(path):
            return True
        time.sleep(0.005)
    return False


def text(start_response: Start, body: bytes, status: str = "200 OK") -> list[bytes]:
    start_response(status, [TEXT, ("Content-Length", str(len(body)))])
    return [body]


def as_json(start_response: Start, value: object) -> list[bytes]:
    body = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


class Counted:
    """An iterable that notes every call of close()."""

    def __init__(self, environ: Environ, pieces: Iterable[bytes]) -> None:
        self.environ = environ
        self.pieces = iter(pieces)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self.pieces)

    def close(self) -> None:
        note(self.environ, "closed")
