"""A daemon of the application of websocket_app.py, and clients: the package ``websockets``."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from tests.serve.aio_live import APP as OTHER
from tests.serve.aio_live import DEADLINE_S, Aio, aio

APP = Path(__file__).with_name("websocket_app.py").read_text()
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@contextmanager
def sockets(folder: Path, *words: str, **more) -> Iterator[Aio]:
    (folder / "other.py").write_text(OTHER)
    with aio(folder, *words, **{"app": APP, **more}) as live:
        yield live


def client(live: Aio, target: str, **more) -> ClientConnection:
    """A WebSocket over the HTTP bind."""
    sock = live.open("http")
    return connected(sock, target, **more)


def connected(sock: socket.socket, target: str, **more) -> ClientConnection:
    more = {"compression": None, "max_size": None, "ping_interval": None, **more}
    sock.settimeout(DEADLINE_S)
    try:
        return connect(f"ws://localhost{target}", sock=sock, close_timeout=DEADLINE_S, **more)
    except BaseException:
        sock.close()
        raise


def opening(target: str, **change: str | None) -> bytes:
    """A client's request by hand. change: headers, "_" for "-", None for none"""
    headers = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
    }
    headers |= {name.replace("_", "-"): value for name, value in change.items()}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    return f"GET {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


def frame(opcode: int, data: bytes, end: bool = True) -> bytes:
    """A client's frame; its mask changes nothing."""
    size = len(data)
    head = bytes([opcode | (0x80 if end else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + data


def until(sock: socket.socket, end: bytes) -> bytes:
    """What comes up to and with these bytes."""
    got = b""
    while not got.endswith(end):
        piece = sock.recv(1)
        assert piece, got
        got += piece
    return got


def rest(sock: socket.socket) -> bytes:
    """What comes up to the end."""
    got = b""
    while piece := sock.recv(65_536):
        got += piece
    return got
