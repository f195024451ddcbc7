"""What the daemon itself answers to a request of `gatebridge doctor --url`, application untouched.

Only the one request gets it that carries the token of an order which came over the control
socket, so no client can ask for it.
"""

from __future__ import annotations

import json
import os
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from gatebridge.engine.seams import Application

SIGN: Final = "X-Gatebridge-Probe"  # of the answer: which one it is
COOKIE_BYTES: Final = 4096  # name and value: the most that browsers keep (RFC 6265, 6.1)
FIRST: Final = b"data: first\n\n"
TOLD: Final = b"data: told\n\n"
ALONE: Final = b"data: alone\n\n"
_WAIT_S: Final = 2.0  # for the first piece to be seen
_LOOK_S: Final = 0.01
_CHUNK: Final = 65_536


def _answer_length(environ: dict[str, object], start_response: Any) -> list[bytes]:
    """How many bytes of body came."""
    stream: Any = environ["wsgi.input"]
    count = 0
    while data := stream.read(_CHUNK):
        count += len(data)
    return _answer(start_response, "length", json.dumps({"length": count}).encode())


def _answer_cookie(environ: dict[str, object], start_response: Any) -> list[bytes]:
    name = "gatebridge_probe="
    cookie = name + "c" * (COOKIE_BYTES - len(name) + 1)  # the sign between them does not count
    more = ("Set-Cookie", f"{cookie}; Max-Age=0; HttpOnly")
    return _answer(start_response, "cookie", b"{}", more)


def _answer(
    start_response: Any, kind: str, body: bytes, *more: tuple[str, str], type: str = ""
) -> list[bytes]:
    length = [("Content-Length", str(len(body)))] if body else []
    head = [("Content-Type", type or "application/json"), ("Cache-Control", "no-store")]
    start_response("200 OK", [*head, *length, (SIGN, kind), *more])
    return [body]


class _Stream:
    """A piece, and a second one when somebody says that the first is there, or after _WAIT_S.

    fd, at  where a byte is written to say so; closed at the end
    """

    def __init__(self, fd: int, at: int) -> None:
        self._fd = fd
        self._at = at

    def __call__(self, environ: dict[str, object], start_response: Any) -> _Stream:
        _answer(start_response, "stream", b"", type="text/event-stream")
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield FIRST
        until = monotonic() + _WAIT_S
        while not self._is_told():
            if monotonic() > until:
                yield ALONE
                return
            sleep(_LOOK_S)
        yield TOLD

    def _is_told(self) -> bool:
        return os.pread(self._fd, 1, self._at) == b"\1"

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close  # of one that was never asked: its request was refused


def _new_stream(fd: int, at: int) -> Application:
    return _Stream(os.dup(fd), at)


ANSWERS: Final[dict[str, Callable[[int, int], Application]]] = {
    "length": lambda fd, at: _answer_length,
    "cookie": lambda fd, at: _answer_cookie,
    "stream": _new_stream,
}
"""Each makes its application. fd, at: of the order's file, where a byte lets a stream go on."""
