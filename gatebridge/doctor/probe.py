"""Who answers at a bind, found out without a request that an application would see."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatebridge.connect import connect
from gatebridge.errors import GatebridgeError
from gatebridge.wire.fastcgi_client import FastCGIClient

if TYPE_CHECKING:
    from gatebridge.bind import Bind

CONNECT_S: Final = 0.5
ANSWER_S: Final = 0.3  # silence that long is an answer, too: SCGI and uwsgi wait for the rest
_GET_VALUES_RESULT: Final = b"\x01\x0a"
_CREDENTIALS: Final = struct.Struct("iII")


@dataclass(frozen=True, slots=True)
class Reached:
    """error: why there is no connection, else None. pid: who called listen(), 0 for unknown."""

    error: GatebridgeError | None
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back.

    speaks  "fastcgi", "http" or "tls"; "" for nothing that tells
    data    the first bytes
    kept    False for FastCGI that closes the connection after its first answer
    """

    speaks: str = ""
    data: bytes = b""
    kept: bool = True


def reach(bind: Bind) -> Reached:
    """Connect, and say nothing."""
    try:
        with connect(bind, CONNECT_S) as sock:
            return Reached(None, listener_of(sock) if bind.family in ("unix", "abstract") else 0)
    except GatebridgeError as error:
        return Reached(error)


def listen_to(bind: Bind) -> Heard:
    """Ask FCGI_GET_VALUES, which no application sees and every other protocol refuses.

    raises  ConfigError("connect.…"), PeerError("connect.…")
    """
    question = b"".join(FastCGIClient().get_values(["FCGI_MPXS_CONNS"]))
    with connect(bind, CONNECT_S) as sock:
        data = _ask(sock, question)
        if data is None:
            data = _ask(sock, b"\r\n\r\n")  # HTTP waits for its lines' ends
        speaks = _speaks(data or b"")
        kept = speaks != "fastcgi" or _ask(sock, question) != b""
    return Heard(speaks, (data or b"")[:64], kept)


def _ask(sock: socket.socket, question: bytes) -> bytes | None:
    """What it answers. None: nothing yet; b"": it has closed the connection."""
    try:
        sock.settimeout(ANSWER_S)
        sock.sendall(question)
        return sock.recv(4096)
    except TimeoutError:
        return None
    except OSError:
        return b""


def _speaks(data: bytes) -> str:
    if data.startswith(_GET_VALUES_RESULT) or data[:2] in (b"\x01\x0b", b"\x01\x03"):
        return "fastcgi"
    if data.startswith(b"HTTP/"):
        return "http"
    return "tls" if data.startswith((b"\x15\x03", b"\x16\x03")) else ""


def listener_of(sock: socket.socket) -> int:
    """Who called listen(); 0 where the system does not say, or it lives in another container."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0
    pid: int = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, 12))[0]
    return pid
