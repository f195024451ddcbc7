"""WebSockets over the HTTP bind: opening, messages, both ends, limits."""

import pytest
from websockets.exceptions import ConnectionClosed

from tests.serve.websocket_live import (
    client,
    sockets,
)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("websocket")
    options = ("--access-logfile", "access.log", "--access-logformat", "%m %U %s %B")
    with sockets(folder, *options, "--disconnect-timeout", "1") as live:
        yield live


def ended(socket):
    """How it ended, for the client: (code, reason)."""
    with pytest.raises(ConnectionClosed) as found:
        socket.recv(20)
    got = found.value.rcvd
    return (got.code, got.reason) if got is not None else (1006, "")


@pytest.mark.parametrize(
    "message", ["", "hello", "\u2603" * 70_000, b"", b"\0\xff", b"x" * 3_000_000],
    ids=["empty", "text", "long", "no-bytes", "bytes", "3MB"],
)  # fmt: skip
def test_a_message_comes_back(live, message):
    with client(live, "/echo/a") as socket:
        socket.send(message)
        assert socket.recv(20) == message


def test_a_message_in_pieces_is_one(live):
    with client(live, "/echo/pieces") as socket:
        socket.send(["sn\u00f6", "\u2603", "", "wm\u00e4n"])
        assert socket.recv(20) == "sn\u00f6\u2603wm\u00e4n"
