"""What each protocol can carry: every cell of the table in docs/websocket.md, tried."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests import cgi
from tests.serve.aio_live import DEADLINE_S, Aio
from tests.serve.websocket_live import KEY, opening, rest, sockets, until
from tests.suite import wires

PAGE = Path(__file__).resolve().parents[2] / "docs" / "websocket.md"
NAMES = {"CGI": "cgi", "FastCGI": "fastcgi", "SCGI": "scgi", "uwsgi": "uwsgi", "HTTP/1.1": "http"}
ASKS = {
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": KEY,
}
PROGRAM = """
import os
os.chdir({folder!r})
sys.path.insert(0, {folder!r})
from other import app as served
async def app(scope, receive, send):
    await served({{**scope, "root_path": "/cgi-bin/app.cgi"}}, receive, send)
"""
WAITS = """
async def app(scope, receive, send):
    await receive()
    head = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"first ", "more_body": True})
    sys.stderr.write((await receive())["type"])
"""


class Stand:
    """The daemon, and programs of the same application."""

    def __init__(self, live: Aio) -> None:
        self.live = live
        self.program = cgi.script(live.folder, PROGRAM.format(folder=str(live.folder)))
        self.waits = cgi.script(live.folder, WAITS, "waits.py")

    def run(self, path: str, **more: str) -> cgi.Done:
        uri = f"/cgi-bin/app.cgi{path}"
        return cgi.ask(self.program, PATH_INFO=path, REQUEST_URI=uri, **more)

    def all(self, name: str, path: str, *headers: tuple[str, str]) -> bytes:
        """The bytes of an answer, of FastCGI those of its stream."""
        if name == "cgi":
            return self.run(path).out
        if name == "http":
            head = "".join(f"{key}: {value}\r\n" for key, value in headers)
            with self.live.open("http") as sock:
                sock.settimeout(DEADLINE_S)
                text = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n"
                sock.sendall(text.encode())
                return rest(sock)
        found = self.live.ask_over(name, path)
        assert (found.status, found.cut) == (200, False)
        return repr(found.headers).encode() + found.body


def pieces(stand: Stand, name: str) -> str:
    if name == "cgi":
        return "yes" if disconnect(stand, name) else "no"  # it reads the first piece
    live = stand.live
    with live.open(name) as sock:
        sock.settimeout(DEADLINE_S)
        sock.sendall(live.data(name, f"/stream/carried-{name}"))
        got = b""
        for word in (b"first ", b"last"):
            while word not in got:
                piece = sock.recv(65_536)
                assert piece, got
                got += piece
            live.go(f"carried-{name}")
    return "yes"


def cut(stand: Stand, name: str) -> str:
    if name == "cgi":
        done = stand.run("/half")
        assert done.body == b"half"
        return "by the exit status" if done.code else "no"
    if stand.live.ask_over(name, "/half").cut:
        return "yes"
    host, port = re.search(rf"listening on {name}://([0-9.]+):(\d+)", stand.live.log()).groups()
    sock = socket.create_connection((host, int(port)), DEADLINE_S)
    request = wires.Req("GET", "/half", (), None)
    data = stand.live.data(name, "/half")
    return "by TCP" if wires.closing_exchange(sock, request, data, None).cut else "no"


def disconnect(stand: Stand, name: str) -> str:
    if name == "cgi":
        process = subprocess.Popen(
            stand.waits, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=cgi.environment(),
        )  # fmt: skip
        with process:
            seen = b""
            while not seen.endswith(b"first "):
                piece = os.read(process.stdout.fileno(), 1024)
                assert piece, seen
                seen += piece
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=DEADLINE_S)
        assert b"http.disconnect" in errors
        return "on TERM"
    live = stand.live
    with live.open(name) as sock:
        sock.sendall(live.data(name, f"/gone/carried-{name}"))
        live.noted(f"gone carried-{name} in")
    live.noted(f"gone carried-{name} http.disconnect")
    return "yes"


def hints(stand: Stand, name: str) -> str:
    got = stand.all(name, "/hints")
    assert got.endswith(b"hinted")
    return "yes" if got.startswith(b"HTTP/1.1 103 ") and b"</a.css>" in got else "dropped"


def trailers(stand: Stand, name: str) -> str:
    assert b"x-sum" not in stand.all(name, "/trailers").lower()
    got = stand.all(name, "/trailers", ("TE", "trailers"))
    assert b"body" in got
    return "to `TE: trailers`" if b"\r\nx-sum: 7\r\n" in got else "dropped"


def pathsend(stand: Stand, name: str) -> str:
    data = os.urandom(300_000)
    (stand.live.folder / "sent").write_bytes(data)
    return "yes" if stand.all(name, "/file/sent").endswith(data) else "no"


def websocket(stand: Stand, name: str) -> str:
    if name == "cgi":
        return stand.run("/echo/a", **ASKS).status[:3]
    with stand.live.open(name) as sock:
        sock.settimeout(DEADLINE_S)
        if name == "http":
            sock.sendall(opening("/echo/a"))
        else:
            pairs = wires.variables(wires.Req("GET", "/echo/a", (), None), "") + [*ASKS.items()]
            encode = {"scgi": wires.scgi_bytes, "uwsgi": wires.uwsgi_bytes}.get(name)
            sock.sendall(encode(pairs, b"") if encode else wires.fastcgi_bytes(pairs, b"", False))
        status = re.search(rb"(?:HTTP/1.1|Status:) (\d+)", until(sock, b"\r\n\r\n"))[1].decode()
        if status == "101":
            sock.sendall(b"\x81\x82\0\0\0\0hi")
            assert until(sock, b"hi") == b"\x81\x02hi"
            return "yes"
        return status


ROWS = {
    "an answer in pieces, each sent at once": pieces,
    "an answer that fails half-way is seen to be cut": cut,
    "`http.disconnect` when the client leaves": disconnect,
    "`http.response.early_hint`": hints,
    "`http.response.trailers`": trailers,
    "`http.response.pathsend`": pathsend,
    "WebSocket": websocket,
}


def table() -> list[list[str]]:
    part = PAGE.read_text("utf-8").partition("## What each protocol can carry\n")[2]
    lines = part.partition("\n##")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]


HEAD, _, *LINES = table()
CELLS = [(line[0], HEAD[at], line[at + 1]) for line in LINES for at in range(len(HEAD))]


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    folder = tmp_path_factory.mktemp("carried")
    tcp = [word for name in ("scgi", "uwsgi") for word in ("--bind", f"{name}://127.0.0.1:0")]
    with sockets(folder, *tcp) as live:
        yield Stand(live)


def test_the_table_has_every_row_and_column():
    assert {line[0] for line in LINES} == set(ROWS)
    assert HEAD == list(NAMES)


@pytest.mark.parametrize(("row", "column", "cell"), CELLS)
def test_cell(stand, row, column, cell):
    assert ROWS[row](stand, NAMES[column]) == cell
