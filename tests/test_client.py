"""The client: every protocol over every kind of socket, and every way to fail by its code."""

import io
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatebridge.client import exchange, request
from gatebridge.errors import ConfigError, GatebridgeError, PeerError, UseError
from gatebridge.meta import Ask
from gatebridge.wire.events import AUTHORIZER, FILTER, RESPONDER, Body, End, ErrorText, Head
from gatebridge.wire.records import END_REQUEST, STDERR, STDOUT, end_request, record
from tests.peers import closes, echo, listening, says, says_and_waits, silent

PROTOCOLS = ("fcgi", "scgi", "uwsgi")


def failing(bind: str, ask: Ask | None = None, timeout_s: float = 20.0) -> GatebridgeError:
    with pytest.raises(GatebridgeError) as caught:
        list(exchange(bind, ask or Ask(), timeout_s))
    return caught.value


# -- it works


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_an_answer_in_every_protocol(protocol: str, family: str, tmp_path: Path) -> None:
    path = tmp_path / "s" if family == "unix" else None
    with listening(echo(protocol), path) as place:
        bind = f"{protocol}+unix:{place}" if path else f"{protocol}://{place}"
        answer = request(bind, "POST", "/a%20b?x=1", [("X-A", "\xe9")], b"body")
    assert (answer.status, answer.code) == ("201 Created", 201)
    assert answer.headers == [("Content-Type", "text/json"), ("X-A", "1"), ("X-A", "2")]
    assert answer.header("x-a") == "1"
    assert answer.header("X-B", "none") == "none"
    assert (answer.app_status, answer.protocol_status) == (0, 0)
    assert answer.errors == (b"logged\n" if protocol == "fcgi" else b"")
    told = json.loads(answer.body)
    assert told["body"] == "body"
    vars = dict(told["pairs"])
    assert vars["PATH_INFO"] == "/a b"
    assert vars["QUERY_STRING"] == "x=1"
    assert vars["CONTENT_LENGTH"] == "4"
    assert vars["HTTP_X_A"] == "\xe9"
    assert len(vars) == len(told["pairs"])


def test_an_abstract_socket() -> None:
    name = f"gatebridge-test-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        listener.bind("\0" + name)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                echo("fcgi")(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        assert request(f"unix:@{name}").code == 201
        thread.join()
    assert failing(f"unix:@{name}").code == "connect.refused"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_body_and_an_empty_body(protocol: str, tmp_path: Path) -> None:
    with listening(echo(protocol), tmp_path / "s") as place:
        bind = f"{protocol}+unix:{place}"
        without = dict(json.loads(request(bind).body)["pairs"])
        empty = dict(json.loads(request(bind, "POST", "/", body=b"").body)["pairs"])
    assert without.get("CONTENT_LENGTH") == (None if protocol == "fcgi" else "0")
    assert empty["CONTENT_LENGTH"] == "0"


@pytest.mark.parametrize(("keep", "role"), [(True, 1), (False, 1), (False, 2), (False, 3)])
def test_F005_F073_F074_flag_and_role_arrive(keep: bool, role: int, tmp_path: Path) -> None:
    assert (RESPONDER, AUTHORIZER, FILTER) == (1, 2, 3)
    with listening(echo("fcgi"), tmp_path / "s") as place:
        answer = request(place, body=b"ab", role=role, keep=keep)
    told = json.loads(answer.body)
    assert (told["keep"], told["role"]) == (keep, role)
    assert told["body"] == ("" if role == AUTHORIZER else "ab")


def test_params_go_out_as_they_are(tmp_path: Path) -> None:
    with listening(echo("fcgi"), tmp_path / "s") as place:
        answer = request(place, params=[("SCRIPT_NAME", "/app"), ("A", "1"), ("A", "2")])
    pairs = [tuple(pair) for pair in json.loads(answer.body)["pairs"]]
    assert pairs[-3:] == [("SCRIPT_NAME", "/app"), ("A", "1"), ("A", "2")]
    assert [pair for pair in pairs if pair[0] == "SCRIPT_NAME"] == [("SCRIPT_NAME", "/app")]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_S006_U005_a_large_body_from_a_file(protocol: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192
    with listening(echo(protocol), tmp_path / "s") as place:
        answer = request(f"{protocol}+unix:{place}", "POST", "/", body=io.BytesIO(data))
    assert json.loads(answer.body)["body"].encode("latin-1") == data


def test_both_sides_send_at_the_same_time(tmp_path: Path) -> None:
    """A peer that answers while it reads: whoever sends all before reading would wait for ever."""
    size = 8 << 20

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"Content-Length: %d\n\n" % size)
        left = size
        while left:
            connection.recv(65_536)
            connection.sendall(bytes(min(65_536, left)))
            left -= min(65_536, left)
        silent(connection)

    with listening(handler, tmp_path / "s") as place:
        events = exchange(f"scgi+unix:{place}", Ask("POST", body=bytes(size)))
        got = 0
        for event in events:
            if isinstance(event, Body):
                got += len(event.data)
                if got == size:
                    break
        events.close()
    assert got == size


def test_F051_an_answer_before_the_body_is_read(tmp_path: Path) -> None:
    """The peer reads nothing of 4 MB and closes: the answer counts, the broken pipe does not."""

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"Status: 413 Content Too Large\n\nno")

    with listening(handler, tmp_path / "s") as place:
        answer = request(f"scgi+unix:{place}", "POST", "/", body=bytes(4 << 20))
    assert (answer.code, answer.body) == (413, b"no")


def test_events_come_as_they_are_sent(tmp_path: Path) -> None:
    seen = threading.Event()

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(record(STDERR, 1, b"oops") + record(STDOUT, 1, b"A: b\n\nfirst"))
        seen.wait(20)
        connection.sendall(record(STDOUT, 1, b"second") + end_request(1, 7, 0))

    with listening(handler, tmp_path / "s") as place:
        events = exchange(place, Ask())
        assert next(events) == ErrorText(1, b"oops")
        assert next(events) == Head(1, "200 OK", [("A", "b")])
        assert next(events) == Body(1, b"first")
        seen.set()
        assert list(events) == [Body(1, b"second"), End(1, 7, 0)]


def test_a_refused_request_has_a_protocol_status(tmp_path: Path) -> None:
    with listening(says(end_request(1, 0, 3)), tmp_path / "s") as place:
        answer = request(place, role=99)
    assert (answer.status, answer.code, answer.protocol_status) == ("", 0, 3)


def test_HEAD_promises_a_length_and_sends_nothing(tmp_path: Path) -> None:
    with listening(says(b"Content-Length: 5\n\n"), tmp_path / "s") as place:
        assert request(f"scgi+unix:{place}", "HEAD").header("content-length") == "5"


# -- HTTP


HTTP = b"HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nok"


@contextmanager
def http_peer(answer: bytes, path: Path | None) -> Iterator[tuple[str, list[bytes]]]:
    """An HTTP peer: yields its bind and what it was sent."""
    sent: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            lines = b"".join(iter(file.readline, b"\r\n"))
            length = lines.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            sent.append(lines + b"|" + file.read(int(length or b"0")))
        connection.sendall(answer)

    with listening(handler, path) as place:
        yield (f"http+unix:{place}" if path else f"http://{place}"), sent


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_http_over_both_kinds(family: str, tmp_path: Path) -> None:
    with http_peer(HTTP, tmp_path / "s" if family == "unix" else None) as (bind, sent):
        answer = request(bind, "POST", "http://h:8080/a b?c", [("X-B", "1")], b"body")
    assert (answer.status, answer.body) == ("200 Fine", b"ok")
    assert answer.headers == [("Content-Length", "2"), ("X-A", "1"), ("X-A", "2")]
    lines = b"POST /a%20b?c HTTP/1.1\r\nHost: h:8080\r\nX-B: 1\r\nContent-Length: 4\r\n"
    assert sent == [lines + b"Connection: close\r\n|body"]


def test_http_headers_of_ones_own_win(tmp_path: Path) -> None:
    headers = [("Host", "own"), ("Connection", "keep-alive")]
    with http_peer(HTTP, tmp_path / "s") as (bind, sent):
        request(bind, "GET", "/", headers)
    assert sent == [b"GET / HTTP/1.1\r\nHost: own\r\nConnection: keep-alive\r\n|"]


HTTP_BAD = [
    (b"", "protocol.silent"),
    (b"\x01\x06\0\x01\n", "protocol.garbage"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "answer.short"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok", "answer.cut"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2_0\r\n\r\nok", "length.malformed"),
    (b"HTTP/1.1 20", "answer.cut"),
    (b"HTTP/1.1 200 OK\r\n", "answer.cut"),
    (b"HTTP/1.1 200 OK\r\nX-A: ", "answer.cut"),
    (b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", "answer.cut"),
    (b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 101 + b"\r\n", "head.too_big"),
    (b"HTTP/1.1 200 OK\r\nX-A: " + b"1" * 65_536 + b"\r\n\r\n", "head.too_big"),
    (b"HTTP/2 200\r\n\r\n", "protocol.garbage"),
]


@pytest.mark.parametrize(("data", "code"), HTTP_BAD)
def test_http_answers_that_break_off(data: bytes, code: str, tmp_path: Path) -> None:
    with http_peer(data, tmp_path / "s") as (bind, _):
        assert failing(bind).code == code


def test_http_garbage_does_not_reach_the_terminal_as_it_is(tmp_path: Path) -> None:
    with http_peer(b"\x1b]0;title\x07\n", tmp_path / "s") as (bind, _):
        assert str(failing(bind)).isprintable()


def test_http_that_never_answers(tmp_path: Path) -> None:
    with listening(silent, tmp_path / "s") as place:
        assert failing(f"http+unix:{place}", timeout_s=0.1).code == "answer.timeout"


def test_http_wrong_use(tmp_path: Path) -> None:
    with listening(silent, tmp_path / "s") as place:
        bind = f"http+unix:{place}"
        assert failing(bind, Ask(params=[("A", "b")])).code == "params.http"
        assert failing(bind, Ask("GE T")).code == "method.malformed"
        assert failing(bind, Ask(headers=[("X-A", "1\r\nX-B: 2")])).code == "header.malformed"
        assert failing(bind, Ask(url="x")).code == "url.malformed"


# -- it fails to connect


def test_no_socket_there(tmp_path: Path) -> None:
    error = failing(f"unix:{tmp_path}/none")
    assert (type(error), error.code) == (ConfigError, "connect.no_socket")
    (tmp_path / "file").touch()
    assert failing(f"unix:{tmp_path}/file/below").code == "connect.no_socket"
    assert failing(f"http+unix:{tmp_path}/none").code == "connect.no_socket"


def test_something_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = failing(f"unix:{tmp_path}/file")
    assert (type(error), error.code) == (ConfigError, "connect.not_a_socket")
    assert failing(f"unix:{tmp_path}").detail == f"{tmp_path} is a folder, not a socket"


def test_permission(tmp_path: Path) -> None:
    root = os.geteuid() == 0
    with listening(closes, tmp_path / "s") as place:
        os.chmod(place, 0)
        if root:
            os.seteuid(65_534)  # root may connect to anything
        try:
            error = failing(f"unix:{place}")
        finally:
            if root:
                os.seteuid(0)
    assert (type(error), error.code) == (ConfigError, "connect.permission")


def test_nobody_listens(tmp_path: Path) -> None:
    with listening(closes, tmp_path / "s") as place:
        pass
    error = failing(f"unix:{place}")
    assert (type(error), error.code) == (PeerError, "connect.refused")
    with listening(closes) as place:
        pass
    assert failing(f"fcgi://{place}").code == "connect.refused"
    assert failing(f"http://{place}").code == "connect.refused"


def test_F111_the_queue_stays_full(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = []
        try:
            while True:
                waiting.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                waiting[-1].setblocking(False)
                waiting[-1].connect(path)
        except BlockingIOError:
            error = failing(path, timeout_s=0.05)
        finally:
            for sock in waiting:
                sock.close()
    assert (type(error), error.code) == (PeerError, "connect.busy")


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert failing("fcgi://host.invalid:1").code == "connect.unresolved"
    assert failing("fcgi://a..invalid:1").code == "connect.unresolved"
    assert failing(f"http://{'x' * 64}.invalid:1").code == "connect.unresolved"
    assert failing(f"unix:{tmp_path}/{'x' * 200}").code == "connect.failed"
    assert failing("fd://0").code == "bind.fd"
    assert failing("ajp://h:1").code == "bind.protocol"


# -- it connects, and then

FASTCGI = record(STDOUT, 1, b"Status: 200 OK\n\nok")

BROKEN = [
    ("fcgi", b"", "protocol.silent"),
    ("scgi", b"", "protocol.silent"),
    ("uwsgi", b"", "protocol.silent"),
    ("fcgi", b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol.http"),
    ("scgi", b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol.http"),
    ("fcgi", b"\x15\x03\x01\0\x02\x02\x46", "protocol.tls"),
    ("scgi", b"\x15\x03\x01\0\x02\x02\x46", "protocol.tls"),
    ("scgi", FASTCGI, "protocol.fastcgi"),
    ("uwsgi", FASTCGI + end_request(1, 0, 0), "protocol.fastcgi"),
    ("fcgi", b"Status: 200 OK\r\n\r\n", "protocol.garbage"),
    ("fcgi", b"220 smtp.example ESMTP\r\n", "protocol.garbage"),
    ("scgi", b"-ERR unknown command\r\n\r\n", "protocol.garbage"),
    ("uwsgi", b"\0\0\0\0\n\n", "protocol.garbage"),
    ("fcgi", b"\x01\x01\0\x01\0\x08\0\0\0\x01\0\0\0\0\0\0", "protocol.garbage"),
    ("fcgi", FASTCGI, "answer.cut"),
    ("fcgi", FASTCGI[:5], "answer.cut"),
    ("scgi", b"SSH-2.0-OpenSSH_9.2\r\n", "protocol.garbage"),
    ("uwsgi", b"<html>Hello</html>", "protocol.garbage"),
    ("scgi", b"Sta", "answer.cut"),
    ("scgi", b"Status: 200", "answer.cut"),
    ("scgi", b"Content-Length: 5\n\nabc", "answer.short"),
    ("uwsgi", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "answer.short"),
    ("fcgi", record(STDOUT, 1, b"Content-Length: 5\n\nabc") + end_request(1, 0, 0),
     "answer.short"),
    ("scgi", b"A: b\n folded\n\n", "head.malformed"),
    ("fcgi", record(STDOUT, 1, b"no head\n\n") + end_request(1, 0, 0), "head.malformed"),
    ("fcgi", record(STDOUT, 1, b"X" * 65_535) * 2, "head.too_big"),
    ("fcgi", record(END_REQUEST, 1, b"abc"), "record.end"),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "data", "code"), BROKEN)
def test_T16_broken_answers(protocol: str, data: bytes, code: str, tmp_path: Path) -> None:
    with listening(says(data), tmp_path / "s") as place:
        error = failing(f"{protocol}+unix:{place}")
    assert (type(error), error.code) == (PeerError, code)


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "http"])
def test_a_reset_counts_as_a_close(protocol: str) -> None:
    def handler(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))

    with listening(handler) as place:
        assert failing(f"{protocol}://{place}").code == "protocol.silent"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("data", [b"", b"\x01", b"Status: 200 OK\n\nbut no"])
def test_it_goes_silent(protocol: str, data: bytes, tmp_path: Path) -> None:
    with listening(says_and_waits(data), tmp_path / "s") as place:
        error = failing(f"{protocol}+unix:{place}", timeout_s=0.1)
    expected = "protocol.garbage" if (protocol, data[:1]) == ("fcgi", b"S") else "answer.timeout"
    assert (type(error), error.code) == (PeerError, expected)


def test_what_cannot_be_sent_is_found_before_connecting(tmp_path: Path) -> None:
    nowhere = f"unix:{tmp_path}/none"
    asks = [
        (nowhere, Ask("GE T"), "method.malformed"),
        (nowhere, Ask(url="x"), "url.malformed"),
        (nowhere, Ask(params=[("A", "\u20ac")]), "params.latin1"),
        (f"scgi+{nowhere}", Ask(url="/%00"), "params.malformed"),
        (f"uwsgi+{nowhere}", Ask(headers=[("A", "x" * 65_536)]), "params.too_big"),
    ]
    for bind, ask, code in asks:
        error = failing(bind, ask)
        assert (type(error), error.code) == (UseError, code)
