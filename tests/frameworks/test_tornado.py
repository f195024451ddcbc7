"""Tornado beyond the table: clients that leave, what cannot be carried, failures half-way."""

import contextlib

import pytest

from tests.serve.whole import Whole, answer, request_bytes, whole
from tests.serve.whole import whole_daemon as daemon
from tests.suite import wires

APPLICATION = """
import asyncio, os
import tornado.web, tornado.websocket

def note(name):
    with open(name, "a") as file:
        file.write("x")

async def until(name):
    while not os.path.exists(name):
        await asyncio.sleep(0.005)

class Waits(tornado.web.RequestHandler):
    async def get(self, name):
        self.name = name
        note(name + ".in")
        await until(name + ".go")
        self.write("waited")
    def on_connection_close(self):
        note(self.name + ".left")

class Endless(tornado.web.RequestHandler):
    async def get(self, name):
        try:
            while True:
                self.write(b"x" * 1000)
                await self.flush()
                await asyncio.sleep(0.005)
        except Exception as error:
            note(name + ".ended")
            raise

@tornado.web.stream_request_body
class Streamed(tornado.web.RequestHandler):
    def prepare(self):
        self.count = self.pieces = 0
    async def data_received(self, chunk):
        if not self.pieces:
            note("piece.in")
            await until("piece.go")
        self.pieces += 1
        self.count += len(chunk)
    def put(self):
        self.write(str(self.count))
    post = put
    def on_connection_close(self):
        note("upload.left")

@tornado.web.stream_request_body
class Limited(tornado.web.RequestHandler):
    def prepare(self):
        self.count = 0
        self.request.connection.set_max_body_size(1000)
        self.request.connection.set_body_timeout(60)
    def data_received(self, chunk):
        self.count += len(chunk)
    def post(self):
        self.write(str(self.count))

class Answers(tornado.web.RequestHandler):
    def get(self, what):
        if what == "short":
            self.set_header("Content-Length", "10")
            self.write("123")
            self.flush()
            self.finish()
        elif what == "none":
            self.set_status(204)
        elif what == "twice":
            self.add_header("X-Twice", "a")
            self.add_header("X-Twice", "b")
            self.write("twice")

class Socket(tornado.websocket.WebSocketHandler):
    def open(self):
        note("opened")
    def on_message(self, message):
        self.write_message(message)

application = tornado.web.Application([
    (r"/waits/(.*)", Waits),
    (r"/endless/(.*)", Endless),
    (r"/streamed", Streamed),
    (r"/limited", Limited),
    (r"/answers/(.*)", Answers),
    (r"/socket", Socket),
])
"""
PROTOCOLS = ["", "scgi", "uwsgi", "http"]
BY_PROTOCOL = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda name: name or "fastcgi")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tornado")
    with daemon(folder, workers=1, app=APPLICATION, faults=True) as made:
        yield made


def noted(live: Whole, name: str) -> None:
    live.until((live.folder / name).exists, f"no {name}")


@BY_PROTOCOL
def test_client_that_leaves(live: Whole, protocol: str) -> None:
    sock = live.send(f"/waits/a{protocol}", protocol)
    noted(live, f"a{protocol}.in")
    sock.close()
    noted(live, f"a{protocol}.left")


def test_abort(live: Whole) -> None:
    with live.kept() as kept:
        kept.send("/waits/b")
        noted(live, "b.in")
        kept.raw(bytes((1, 2, 0, 1, 0, 0, 0, 0)))
        noted(live, "b.left")


def test_client_that_stays_is_not_said_to_leave(live: Whole) -> None:
    with contextlib.closing(live.send("/waits/c")) as sock:
        noted(live, "c.in")
        (live.folder / "c.go").touch()
        assert whole(answer(sock)) == "waited"
    assert whole(live.ask("/answers/twice")) == "twice"
    assert not (live.folder / "c.left").exists()


@BY_PROTOCOL
def test_client_that_leaves_a_stream(live: Whole, protocol: str) -> None:
    sock = live.send(f"/endless/d{protocol}", protocol)
    assert sock.recv(10)
    sock.close()
    noted(live, f"d{protocol}.ended")


def test_body_waits_for_the_handler(live: Whole) -> None:
    """@stream_request_body: the next piece comes when data_received() is through."""
    data = request_bytes("/streamed", "", b"b" * 200_000)
    with contextlib.closing(live.connect("")) as sock:
        sock.sendall(data[:1000])
        noted(live, "piece.in")
        (live.folder / "piece.go").touch()
        sock.sendall(data[1000:])
        assert whole(answer(sock)) == "200000"


def test_client_that_leaves_an_upload(live: Whole) -> None:
    (live.folder / "piece.go").touch()
    data = request_bytes("/streamed", "", b"b" * 200_000)
    sock = live.connect("")
    sock.sendall(data[:100_000])
    noted(live, "piece.in")
    sock.close()
    noted(live, "upload.left")


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
@BY_PROTOCOL
def test_handler_limits_its_body(live: Whole, protocol: str, size: int, status: int) -> None:
    with contextlib.closing(live.connect(protocol)) as sock:
        sock.sendall(request_bytes("/limited", protocol, b"b" * size))
        assert answer(sock, protocol).status == status


@BY_PROTOCOL
def test_answer_shorter_than_it_said_is_cut(live: Whole, protocol: str) -> None:
    resp = live.ask("/answers/short", protocol)
    assert (resp.status, resp.body) == (200, b"123")
    assert resp.cut, repr(resp)


def test_answers_without_a_body_and_with_repeated_headers(live: Whole) -> None:
    assert live.ask("/answers/none").status == 204
    twice = [value for name, value in live.ask("/answers/twice").headers if name == "X-Twice"]
    assert twice == ["a", "b"]
    assert live.ask("/nothing").status == 404


@BY_PROTOCOL
def test_websocket_is_answered_501(live: Whole, protocol: str) -> None:
    headers = (
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    )
    request = wires.Req("GET", "/socket", headers, None)
    if protocol == "http":
        data = wires.http_bytes(request, "", "localhost")
    else:
        pairs = wires.variables(request, "")
        make = {"": wires.fastcgi_bytes, "scgi": wires.scgi_bytes, "uwsgi": wires.uwsgi_bytes}
        data = make[protocol](pairs, b"")
    with contextlib.closing(live.connect(protocol)) as sock:
        sock.sendall(data)
        resp = answer(sock, protocol)
    assert resp.status == 501, repr(resp)
    assert b"WebSocket" in resp.body
    assert not (live.folder / "opened").exists()
