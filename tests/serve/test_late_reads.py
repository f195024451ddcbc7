"""What an application may do to a request after its answer, and what that must not do to others."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.wire.records import begin_request, encode_pairs, record
from tests.suite.modes import Daemon, wait_until

DEADLINE_S = 20.0

APPLICATION = """
import os, threading, time

def late(stream):
    try:
        data = stream.read()
    except OSError as error:
        data = type(error).__name__.encode()
    with open("late.txt", "ab") as file:
        file.write(data + b"\\n")

def application(environ, start_response):
    path = environ["PATH_INFO"]
    body = b"fast"
    if path == "/late":
        stream = environ["wsgi.input"]
        threading.Timer(0.5, late, [stream]).start()
    elif path == "/fork":
        if os.fork() == 0:
            body = b"from the child"
        else:
            os.wait()
            body = b"from the parent"
    elif path == "/body":
        body = environ["wsgi.input"].read()
    elif path == "/big":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"x" * 65536 for _ in range(2000))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""


def request(path: str, length: int = 0, id: int = 1) -> bytes:
    pairs = [("REQUEST_METHOD", "POST" if length else "GET"), ("REQUEST_URI", path)]
    pairs += [("SCRIPT_NAME", ""), ("PATH_INFO", path), ("CONTENT_LENGTH", str(length or ""))]
    data = begin_request(id, 1, 1) + record(4, id, encode_pairs(pairs)) + record(4, id, b"")
    return data if length else data + record(5, id, b"")


class Peer:
    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(path)
        self._file = self.sock.makefile("rb")

    def answer(self) -> bytes:
        out = b""
        while True:
            head = self._file.read(8)
            data = self._file.read(head[4] << 8 | head[5])
            self._file.read(head[6])
            if head[1] == 6:
                out += data
            elif head[1] == 3:
                return out.partition(b"\r\n\r\n")[2]

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self.sock.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, str, Path]]:
    folder = tmp_path_factory.mktemp("late")
    (folder / "late_app.py").write_text(APPLICATION)
    path = str(folder / "s")
    daemon = Daemon(
        folder, "fcgi", [f"unix:{path}"], "--threads", "8", entry="late_app:application"
    )
    try:
        yield daemon, path, folder
    finally:
        daemon.stop()


def late_lines(folder: Path) -> list[str]:
    file = folder / "late.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_a_body_is_not_read_out_of_the_next_request(live) -> None:
    _, path, folder = live
    before = len(late_lines(folder))
    with Peer(path) as peer:
        peer.sock.sendall(request("/late", 1000))
        assert peer.answer() == b"fast"
        peer.sock.sendall(record(5, 1, b"") + request("/body", 3000) + record(5, 1, b"b" * 1000))
        assert wait_until(lambda: len(late_lines(folder)) > before)
        peer.sock.sendall(record(5, 1, b"b" * 2000) + record(5, 1, b""))
        assert peer.answer() == b"b" * 3000
    assert late_lines(folder)[-1] == "ConnectionResetError"


def test_a_late_read_ends_when_the_peer_has_left(live) -> None:
    _, path, folder = live
    before = len(late_lines(folder))
    with Peer(path) as peer:
        peer.sock.sendall(request("/late", 1000))
        assert peer.answer() == b"fast"
    assert wait_until(lambda: len(late_lines(folder)) > before)
    assert late_lines(folder)[-1] == "ConnectionResetError"


def test_the_child_of_a_fork_answers_nobody(live) -> None:
    _, path, _ = live
    with Peer(path) as peer:
        for _ in range(3):
            peer.sock.sendall(request("/fork"))
            assert peer.answer() == b"from the parent"


def test_a_slow_reader_that_goes_on_asking_stops_nobody(live) -> None:
    _, path, _ = live
    with Peer(path) as slow, Peer(path) as other:
        other.sock.sendall(request("/"))
        assert other.answer() == b"fast"
        slow.sock.sendall(request("/"))
        assert slow.answer() == b"fast"  # known to the poller from here on
        slow.sock.sendall(request("/big"))
        assert slow.sock.recv(8, socket.MSG_PEEK)
        for _ in range(3):
            slow.sock.sendall(record(9, 0, encode_pairs([("FCGI_MPXS_CONNS", "")])))
            other.sock.sendall(request("/"))
            assert other.answer() == b"fast"


def test_slow_bodies_on_one_connection_leave_threads_to_others(live) -> None:
    _, path, _ = live
    with Peer(path) as slow, Peer(path) as other:
        slow.sock.sendall(b"".join([request("/body", 10, id) for id in range(1, 13)]))
        for _ in range(3):
            other.sock.sendall(request("/"))
            assert other.answer() == b"fast"
        for id in range(1, 13):
            slow.sock.sendall(record(5, id, b"0123456789") + record(5, id, b""))
        for _ in range(12):
            assert slow.answer().endswith(b"0123456789")
