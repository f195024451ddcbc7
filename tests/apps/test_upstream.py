"""A back end and its connection: both ways at once, kept, closed, silent, dead, cut."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.apps import upstream_pool
from gatebridge.apps.target import load_target
from gatebridge.engine.wsgi import run
from gatebridge.errors import PeerError
from tests.apps.hosted import ask, environ
from tests.apps.test_script_flow import Live, quiet, uploaded
from tests.engine.recorder import Recorder
from tests.peers import closes, echo, listening, says, says_and_waits, silent
from tests.suite.modes import wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MB = 1 << 20


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    threads = threading.active_count()
    fds = len(os.listdir("/proc/self/fd"))
    yield
    assert wait_until(lambda: threading.active_count() <= threads), threading.enumerate()
    assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= fds)


@pytest.fixture
def to() -> Iterator[Callable[[str], Any]]:
    made = []

    def load(target: str) -> Any:
        made.append(load_target(target, "/"))
        return made[-1]

    yield load
    for app in made:
        app.close()


class Heads:
    """A handler that answers each head with the next of the answers; b"" closes.

    seen  what came, by connection
    """

    def __init__(self, *answers: bytes) -> None:
        self.answers = iter(answers)
        self.seen: list[list[bytes]] = []

    def __call__(self, connection: socket.socket) -> None:
        mine: list[bytes] = []
        self.seen.append(mine)
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65_536)
                if not piece:
                    return
                data += piece
            head, _, data = data.partition(b"\r\n\r\n")
            mine.append(head)
            answer = next(self.answers, OK)
            if not answer:
                return
            connection.sendall(answer)


def read_body(connection: socket.socket) -> bytes:
    """The head, then the body by its length; what was sent of it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(body)
    while left and (piece := connection.recv(65_536)):
        body += piece
        left -= len(piece)
    return body


# -- an answer


def test_whole_answers_are_one_piece(to: Callable) -> None:
    with listening(says(OK)) as place:
        out = ask(to(f"http://{place}"))
    assert (out.names, out.status, bytes(out.body)) == (["answer"], "200 OK", b"ok")


@pytest.mark.parametrize("protocol", ["http", "fcgi"])
def test_over_a_unix_socket(to: Callable, tmp_path: Path, protocol: str) -> None:
    handler = says(OK) if protocol == "http" else echo("fcgi")
    with listening(handler, tmp_path / "s") as place:
        out = ask(to(f"{protocol}+unix:{place}"), environ("POST", b"body"))
    assert out.status[:1] == "2"
    assert b"ok" in out.body or b'"body"' in out.body


# Seen in Vibora 0.0.6's source: no Date, no Server, names in its own spelling, a Connection field
# in every answer, streams in chunks without trailers.
VIBORA = [
    (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 5\r\n\r\nhello",
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "5")],
    ),
    (
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        [("Content-Type", "text/plain; charset=utf-8")],
    ),
]


@pytest.mark.parametrize(("answer", "headers"), VIBORA, ids=["whole", "stream"])
def test_viboras_shape(to: Callable, answer: bytes, headers: list[tuple[str, str]]) -> None:
    stub = Heads(answer, answer)
    with listening(stub) as place:
        app = to(f"http://{place}")
        for _ in range(2):
            out = ask(app)
            assert bytes(out.body) == b"hello"
            assert [one for one in out.head.headers if one in headers] == headers
            assert not [name for name, _ in out.head.headers if name.lower() == "connection"]
        app.close()
    assert [len(one) for one in stub.seen] == [2]  # requests on one kept connection


def test_pieces_arrive_as_they_are_sent(to: Callable) -> None:
    seen = threading.Semaphore(0)

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"):
            connection.sendall(piece)
            seen.acquire(timeout=30)  # the next one is not sent before this one was seen

    with listening(handler) as place:
        body = to(f"http://{place}")(environ(), quiet)
        for piece in (b"one", b"two"):
            assert next(body) == piece
            seen.release()
        assert next(body, b"") == b""
        seen.release()
        body.close()


@pytest.mark.parametrize("protocol", ["http", "fcgi"])
@pytest.mark.parametrize("is_live", [False, True])
def test_an_upload(to: Callable, protocol: str, is_live: bool) -> None:
    sent = bytes(range(256)) * 4096
    asked = uploaded(MB, [sent[:5000], sent[5000:]], Live) if is_live else environ("POST", sent)
    got: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        if protocol == "fcgi":
            echo("fcgi")(connection)
            return
        got.append(read_body(connection))
        connection.sendall(OK)

    with listening(handler) as place:
        out = ask(to(f"{protocol}://{place}"), asked)
    assert out.status in ("200 OK", "201 Created"), out.log
    assert got == [sent] if protocol == "http" else len(out.body) > MB


@pytest.mark.parametrize("in_memory", [True, False])
def test_both_ways_at_once(to: Callable, in_memory: bool) -> None:
    """More than all buffers together: neither side waits for the other's end."""
    piece = bytes(range(256)) * 4096

    def handler(connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65_536)
        left = 30 * MB
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        data = data.partition(b"\r\n\r\n")[2]
        while left:
            connection.sendall(data)
            left -= len(data)
            data = connection.recv(65_536) if left else b""

    with listening(handler) as place:
        asked = environ("POST", piece * 30) if in_memory else uploaded(30 * MB, [piece] * 30)
        out = ask(to(f"http://{place}"), asked)
    assert bytes(out.body) == piece * 30
    assert in_memory or asked["wsgi.input"].largest <= 8192


def test_nobody_reads_so_nothing_more_is_taken(to: Callable) -> None:
    """The back end's send waits where the client is slow."""
    sent = [0]
    stuck = threading.Event()

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.settimeout(0.5)
        try:
            while True:
                sent[0] += connection.send(b"x" * 65_536)
        except TimeoutError:
            stuck.set()
        connection.settimeout(30)
        connection.recv(1)

    with listening(handler) as place:
        body = to(f"http://{place}")(environ(), quiet)
        assert stuck.wait(30)
        assert sent[0] < 32 * MB  # what two sockets hold
        body.close()


def test_an_early_answer_to_a_large_upload(to: Callable) -> None:
    late = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x" * 10
        late.wait(30)

    answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!"
    with listening(says(answer)) as place:
        out = ask(to(f"http://{place}"), uploaded(20, pieces()))
        late.set()
    assert (out.status, bytes(out.body)) == ("413 Content Too Large", b"no!")


def test_a_connection_with_half_a_request_is_not_kept(to: Callable) -> None:
    late = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x" * 10
        late.wait(30)

    stub = Heads()
    with listening(stub) as place:
        app = to(f"http://{place}?idle=1m")
        assert ask(app, uploaded(20, pieces())).status == "200 OK"
        assert ask(app).status == "200 OK"
        late.set()
        app.close()
    assert [len(one) for one in stub.seen] == [1, 1]


def test_one_shot_cgi_reads_all_of_it(to: Callable) -> None:
    """The process does so at its end, and not two threads at once."""
    left = [b"x" * 1000] * 3000
    begun = threading.Event()  # the answer

    def pieces() -> Iterator[bytes]:
        yield left.pop()
        begun.wait(30)
        while left:
            yield left.pop()

    def start(status: str, headers: Any, exc_info: Any = None) -> None:
        begun.set()

    asked = uploaded(3_000_000, pieces())
    asked["wsgi.run_once"] = True
    with listening(says(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")) as place:
        list(to(f"http://{place}")(asked, start))
        assert left == []


@pytest.mark.parametrize("protocol", ["http", "fcgi"])
def test_a_body_of_unknown_length(to: Callable, protocol: str) -> None:
    asked = uploaded(0, [b"a" * 2000, b"b" * 3 * MB])
    del asked["CONTENT_LENGTH"]
    seen = bytearray()

    def handler(connection: socket.socket) -> None:
        if protocol == "fcgi":
            echo("fcgi")(connection)
            return
        while not seen.endswith(b"\r\n0\r\n\r\n"):
            seen.extend(connection.recv(65_536))
        connection.sendall(OK)

    with listening(handler) as place:
        out = ask(to(f"{protocol}://{place}"), asked)
    assert out.status in ("200 OK", "201 Created"), out.log
    if protocol == "http":
        assert b"Transfer-Encoding: chunked\r\n" in seen
        assert seen.count(b"b") >= 3 * MB
    else:
        assert f'["CONTENT_LENGTH", "{2000 + 3 * MB}"]'.encode() in out.body


def test_a_body_in_memory_that_is_short(to: Callable) -> None:
    stub = Heads()
    with listening(stub) as place:
        out = ask(to(f"http://{place}"), environ("POST", b"x") | {"CONTENT_LENGTH": "2"})
    assert [code for _, code in out.refusals] == ["body.short"]
    assert stub.seen == []


def test_a_body_that_breaks_off(to: Callable) -> None:
    """The back end never takes half a body for a whole one, and the client hears why."""
    got: list[bytes] = []
    done = threading.Event()

    def handler(connection: socket.socket) -> None:
        got.append(read_body(connection))
        done.set()

    with listening(handler) as place:
        out = ask(to(f"http://{place}"), uploaded(20, [b"x" * 10]))
        assert done.wait(30)
    assert got == [b"x" * 10]
    assert [code for _, code in out.refusals] == ["body.short"]


# -- a back end that fails


def test_nobody_listens(to: Callable, tmp_path: Path) -> None:
    with listening(silent) as place:
        pass
    for target, why in (
        (f"http://{place}", "connect.refused"),
        (f"http+unix:{tmp_path}/none", "connect.no_socket"),
        (f"fcgi+unix:{tmp_path}/none", "connect.no_socket"),
    ):
        out = ask(to(target))
        assert out.status == "502 Bad Gateway"
        assert "upstream.connect" in out.log
        assert why in out.log
        assert f"({target}, GET /cgi-bin/program); next: start the back end" in out.log
        assert target.encode() not in out.body  # the client learns no address


FAILURES = [
    (closes, "502 Bad Gateway", "upstream.closed"),
    (says(b"HTTP/1.1 200 OK\r\n"), "502 Bad Gateway", "upstream.cut"),
    (says(b"\x15\x03\x01\0\2\2\x46"), "502 Bad Gateway", "upstream.malformed"),
    (silent, "504 Gateway Timeout", "upstream.timeout"),
    (says_and_waits(b"HTTP/1.1 200 OK\r\n"), "504 Gateway Timeout", "upstream.timeout"),
]


@pytest.mark.parametrize(("handler", "status", "code"), FAILURES)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_no_answer(to: Callable, handler: Any, status: str, code: str, method: str) -> None:
    with listening(handler) as place:
        app = to(f"http://{place}?timeout=50ms")
        out = ask(app, environ(method, b"x" if method == "POST" else b""))
    assert out.status == status
    assert code in out.log
    assert bool(out.body) == (method != "HEAD")


CUT = [
    (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), "upstream.cut"),
    (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), "upstream.cut"),
    (
        says_and_waits(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
        "upstream.timeout",
    ),
]


@pytest.mark.parametrize(("handler", "code"), CUT)
def test_half_an_answer_is_cut(to: Callable, handler: Any, code: str) -> None:
    with listening(handler) as place:
        out = ask(to(f"http://{place}?timeout=50ms"))
    assert (out.status, bytes(out.body)) == ("200 OK", b"hello")
    assert out.was_cut
    assert not out.whole
    assert code in out.log


def test_a_queue_that_stays_full(to: Callable, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(tmp_path / "s"))
        full.listen(0)
        first.connect(str(tmp_path / "s"))
        out = ask(to(f"http+unix:{tmp_path}/s?connect=100ms"))
    assert out.status == "504 Gateway Timeout"
    assert "upstream.connect_timeout" in out.log


def test_an_overloaded_one_is_503(to: Callable) -> None:
    with listening(says(b"\1\3\0\1\0\x08\0\0\0\0\0\0\2\0\0\0")) as place:
        out = ask(to(f"fcgi://{place}"))
    assert out.status == "503 Service Unavailable"
    assert ("Retry-After", "1") in out.head.headers


def test_an_error_stream_without_end_fills_no_log(to: Callable) -> None:
    """Nor does it keep the answer back."""
    noise = b"\1\7\0\1\xff\xf8\0\0" + b"n" * 65_528
    answer = b"\1\6\0\1\0\x08\0\0A: b\r\n\r\n\1\3\0\1\0\x08\0\0" + bytes(8)
    with listening(says(noise * 64 + answer)) as place:
        out = ask(to(f"fcgi://{place}"))
    assert out.status == "200 OK"
    assert 1 << 20 <= out.log.count("n" * 100) * 100 < 3 << 19
    assert out.log.count("the rest is left out") == 1


def test_the_client_leaves(to: Callable) -> None:
    """Its connection ends, so that the back end can see it."""
    left = threading.Event()

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.recv(1)
        left.set()

    asked = environ()
    asked["gatebridge.gone"] = lambda: True
    out = Recorder()
    out.gone = True
    with listening(handler) as place:
        run(to(f"http://{place}"), asked, out)
        assert left.wait(30)
    assert out.events == []


class Chatter:
    """A connection on which there is always one more record for nobody."""

    received = 0
    is_closed = False

    def send(self, data: bytes) -> int:
        return len(data)

    def recv(self, most: int) -> bytes:
        self.received += 1
        return b"\1\6\0\2\0\1\0\0x" if self.received < 1000 else b""

    def shutdown(self, how: int) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


def test_the_client_leaves_while_it_chatters(to: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for even where the back end never pauses."""
    sock = Chatter()
    monkeypatch.setattr(upstream_pool.Pool, "open", lambda pool: sock)
    asked = environ() | {"gatebridge.gone": lambda: True}
    out = Recorder()
    out.gone = True
    run(to("fcgi://127.0.0.1:9"), asked, out)
    assert sock.is_closed
    assert sock.received == 1


def test_the_client_leaves_in_the_middle(to: Callable) -> None:
    left = threading.Event()

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nhello")
        connection.recv(1)
        left.set()

    with listening(handler) as place:
        body = to(f"http://{place}")(environ(), quiet)
        assert next(body) == b"hello"
        body.close()
        assert left.wait(30)


def test_the_client_leaves_with_half_a_body(to: Callable) -> None:
    """The thread that waits for the rest of it holds nothing open."""
    left, late = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        yield b"x" * 10
        late.wait(30)

    def handler(connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass
        left.set()

    asked = uploaded(20, pieces(), Live) | {"gatebridge.gone": lambda: True}
    out = Recorder()
    out.gone = True
    with listening(handler) as place:
        run(to(f"http://{place}"), asked, out)
        assert left.wait(20)
        late.set()


def test_a_path_that_leads_out_reaches_nobody(to: Callable) -> None:
    stub = Heads()
    with listening(stub) as place:
        app = to(f"http://{place}/base")
        with pytest.raises(PeerError):
            app(environ(PATH_INFO="/../x"), quiet)
    assert stub.seen == []


def test_connect_reaches_nobody(to: Callable) -> None:
    """A back end that takes it would open a tunnel. The HTTP bind refuses it, too."""
    stub = Heads()
    with listening(stub) as place, pytest.raises(PeerError) as refused:
        to(f"http://{place}")(environ("CONNECT"), quiet)
    assert (refused.value.code, stub.seen) == ("http.method", [])


# -- kept connections


def test_connections_are_kept(to: Callable) -> None:
    stub = Heads()
    with listening(stub) as place:
        app = to(f"http://{place}?idle=1m")
        for _ in range(5):
            assert ask(app).status == "200 OK"
        app.close()
    assert [len(one) for one in stub.seen] == [5]


def test_idle_ones_are_as_many_as_keep_says(to: Callable) -> None:
    go = threading.Event()
    count = [0]
    ended = threading.Semaphore(0)

    def handler(connection: socket.socket) -> None:
        count[0] += 1
        while connection.recv(65_536):
            connection.sendall(OK[:-1])
            go.wait(30)
            connection.sendall(b"k")
        ended.release()

    with listening(handler) as place:
        app = to(f"http://{place}?idle=1m&keep=1")
        both = [app(environ(), quiet), app(environ(), quiet)]
        assert [next(one) for one in both] == [b"o", b"o"]
        go.set()
        assert [next(one) for one in both] == [b"k", b"k"]
        for one in both:
            one.close()
        assert ended.acquire(timeout=20)  # one of them
        assert not ended.acquire(blocking=False)
        app.close()
        assert ended.acquire(timeout=20)
    assert count == [2]


def test_none_is_kept_once_it_is_closed(to: Callable) -> None:
    go, ended = threading.Event(), threading.Event()

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(OK[:-1])
        go.wait(30)
        connection.sendall(b"k")
        connection.recv(1)
        ended.set()

    with listening(handler) as place:
        app = to(f"http://{place}?idle=1m")
        body = app(environ(), quiet)
        assert next(body) == b"o"
        app.close()
        go.set()
        assert next(body) == b"k"
        body.close()
        assert ended.wait(20)


@pytest.mark.parametrize("is_live", [False, True])
def test_what_was_never_sent_is_sent_once_more(
    to: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_live: bool
) -> None:
    """Closed between the look and the request: even a POST, as none of it left."""
    monkeypatch.setattr(upstream_pool, "_has_news", lambda sock: False)
    closed = threading.Event()
    bodies: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        bodies.append(read_body(connection))
        connection.sendall(OK)
        connection.close()
        closed.set()

    with listening(handler, tmp_path / "s") as place:
        app = to(f"http+unix:{place}?idle=1m")
        for _ in range(2):
            asked = uploaded(4, [b"bo", b"dy"], Live) if is_live else environ("POST", b"body")
            assert ask(app, asked).status == "200 OK"
            assert closed.wait(20)
            closed.clear()
        app.close()
    assert bodies == [b"body", b"body"]


NOT_KEPT = [
    ("keep=0", OK),
    ("", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
    ("", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("", OK + b"surplus"),
]


@pytest.mark.parametrize(("option", "answer"), NOT_KEPT)
def test_or_are_not(to: Callable, option: str, answer: bytes) -> None:
    stub = Heads(answer, answer)
    with listening(stub) as place:
        app = to(f"http://{place}?idle=1m&{option}".rstrip("&"))
        for _ in range(2):
            assert bytes(ask(app).body) == b"ok"
        app.close()
    assert [len(one) for one in stub.seen] == [1, 1]


def test_an_idle_one_grows_old(to: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Heads()
    now = [100.0]
    monkeypatch.setattr(upstream_pool, "monotonic", lambda: now[0])
    with listening(stub) as place:
        app = to(f"http://{place}?idle=2s")
        for later in (0, 1, 3):
            now[0] += later
            ask(app)
        app.close()
    assert [len(one) for one in stub.seen] == [2, 1]


@pytest.mark.parametrize("keep", [0, 4])
def test_fastcgi_keeps_where_it_is_told_to(to: Callable, keep: int) -> None:
    """An idle connection holds a process of PHP-FPM, so it is the operator who says so."""
    flags: list[int] = []
    answer = b"\1\6\0\1\0\x08\0\0A: b\r\n\r\n\1\3\0\1\0\x08\0\0" + bytes(8)

    def handler(connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            flags.append(data[10])
            connection.sendall(answer)
            if not data[10]:
                return

    with listening(handler) as place:
        app = to(f"fcgi://{place}?idle=1m&keep={keep}")
        for _ in range(3):
            assert ask(app).status == "200 OK"
        app.close()
    assert flags == [1 if keep else 0] * 3


def test_one_that_was_closed_meanwhile_is_not_used(to: Callable) -> None:
    """Even a POST does not meet it: it is looked at before."""
    closed = threading.Event()
    count = [0]

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(OK)
        count[0] += 1
        connection.shutdown(socket.SHUT_RDWR)
        connection.close()
        closed.set()

    with listening(handler) as place:
        app = to(f"http://{place}?idle=1m")
        for _ in range(2):
            assert ask(app, environ("POST", b"x")).status == "200 OK"
            assert closed.wait(30)
            closed.clear()
        app.close()
    assert count == [2]


AGAIN = [  # a kept connection is closed when the second request arrives
    ("GET", b"", True),
    ("HEAD", b"", True),
    ("DELETE", b"", True),
    ("POST", b"", False),
    ("PATCH", b"", False),
    ("PUT", b"x", False),
    ("POST", b"x", False),
]


@pytest.mark.parametrize(("method", "body", "again"), AGAIN)
def test_what_is_sent_once_more(to: Callable, method: str, body: bytes, again: bool) -> None:
    stub = Heads(OK, b"")
    with listening(stub) as place:
        app = to(f"http://{place}?idle=1m")
        ask(app)
        out = ask(app, environ(method, body))
        app.close()
    assert out.status == ("200 OK" if again else "502 Bad Gateway")
    assert [len(one) for one in stub.seen] == ([2, 1] if again else [2])
    assert ("upstream.closed" in out.log) != again


def test_nothing_is_sent_thrice(to: Callable) -> None:
    stub = Heads(OK, b"", b"", b"")
    with listening(stub) as place:
        app = to(f"http://{place}?idle=1m")
        ask(app)
        assert ask(app).status == "502 Bad Gateway"
        app.close()
    assert [len(one) for one in stub.seen] == [2, 1]


def test_what_began_to_be_answered_is_not_sent_again(to: Callable) -> None:
    count = [0]

    def handler(connection: socket.socket) -> None:
        for answer in (OK, b"HTTP/1.1 2"):
            count[0] += len(connection.recv(65_536)) > 0
            connection.sendall(answer)

    with listening(handler) as place:
        app = to(f"http://{place}?idle=1m")
        ask(app)
        out = ask(app)
        app.close()
    assert "upstream.cut" in out.log
    assert count == [2]


INTERIM = [
    ("http", OK, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    ("fcgi", b"\1\6\0\1\0\x08\0\0A: b\r\n\r\n\1\3\0\1\0\x08\0\0" + bytes(8),
     b"\1\3\0\1\0\x08\0\0" + bytes(8)),
]  # fmt: skip


@pytest.mark.parametrize(("scheme", "answer", "interim"), INTERIM)
def test_nor_is_what_ended_without_one(
    to: Callable, scheme: str, answer: bytes, interim: bytes
) -> None:
    """A 103, or the end of a FastCGI request, is more than a connection that was closed."""
    count = [0]

    def handler(connection: socket.socket) -> None:
        for data in (answer, interim):
            count[0] += len(connection.recv(65_536)) > 0
            connection.sendall(data)

    with listening(handler) as place:
        app = to(f"{scheme}://{place}?idle=1m&keep=1")
        ask(app)
        out = ask(app)
        app.close()
    assert (out.status, count) == ("502 Bad Gateway", [2])


def test_a_fresh_connection_that_closes_is_not_tried_again(to: Callable) -> None:
    stub = Heads(b"")
    with listening(stub) as place:
        assert ask(to(f"http://{place}")).status == "502 Bad Gateway"
    assert len(stub.seen) == 1


def test_a_forked_worker_has_its_own(to: Callable) -> None:
    """Two processes on one connection would read each other's answers."""
    stub = Heads()
    with listening(stub) as place:
        app = to(f"http://{place}?idle=1m")
        ask(app)
        pid = os.fork()
        if not pid:
            try:
                os._exit(ask(app).status != "200 OK")
            finally:
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        ask(app)
        app.close()
    assert sorted(len(one) for one in stub.seen) == [1, 2]


def test_many_threads(to: Callable) -> None:
    stub = Heads()
    bad: list[str] = []
    with listening(stub) as place:
        app = to(f"http://{place}?keep=2&idle=1m")

        def work() -> None:
            for _ in range(50):
                out = ask(app)
                if bytes(out.body) != b"ok":
                    bad.append(out.log)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        app.close()
    assert bad == []
    assert sum(len(one) for one in stub.seen) == 200
