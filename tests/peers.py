"""Peers for client tests: listeners whose handler gets each connection in a thread."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gatebridge.wire.cgi_head import make_head
from gatebridge.wire.events import Body, BodyEnd, Limits, Reply, Request
from gatebridge.wire.fastcgi import FastCGI
from gatebridge.wire.scgi import Scgi
from gatebridge.wire.uwsgi import Uwsgi

Handler = Callable[[socket.socket], None]

SIDES = {"fcgi": FastCGI, "scgi": Scgi, "uwsgi": Uwsgi}


@contextmanager
def listening(handler: Handler, path: Path | None = None) -> Iterator[str]:
    """A listener on a Unix socket at ``path``, or on a free TCP port: yields its place.

    The place fits a bind: ``unix:PLACE`` or ``scgi://PLACE``. Handlers end when the block does:
    their sockets are shut down.
    """
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen()
        place = str(path)
    threads: list[threading.Thread] = []
    connections: list[socket.socket] = []

    def run(connection: socket.socket) -> None:
        with connection:
            try:
                handler(connection)
            except OSError:
                pass  # the client has left, or the block has ended

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threads.append(threading.Thread(target=run, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield place
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed
        for thread in threads:
            thread.join()


def silent(connection: socket.socket) -> None:
    """Reads, and never says anything."""
    while connection.recv(65_536):
        pass


def closes(connection: socket.socket) -> None:
    """Waits for the first byte and closes."""
    connection.recv(65_536)


def says(data: bytes) -> Handler:
    """Waits for the first byte, sends data, closes."""

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(data)

    return handler


def says_and_waits(data: bytes) -> Handler:
    """Sends data at the first byte and stays."""

    def handler(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(data)
        silent(connection)

    return handler


def echo(side: str) -> Handler:
    """An application that answers with what it was sent: JSON of variables, body, role."""

    def handler(connection: socket.socket) -> None:
        protocol = SIDES[side](Limits())
        request = None
        body = b""
        ended = False
        while not (request and ended):
            data = connection.recv(65_536)
            if not data:
                return
            for event in protocol.receive(data):
                if isinstance(event, Request):
                    request, body, ended = event, body + event.body, event.complete
                elif isinstance(event, Body):
                    body += event.data
                elif isinstance(event, BodyEnd):
                    ended = request is None or request.role != 3 or event.stream == 8
                elif isinstance(event, Reply):
                    connection.sendall(event.data)
        told = {"pairs": request.pairs.all(), "body": body.decode("latin-1"), "role": request.role}
        if side == "fcgi":
            told["keep"] = protocol.keeps(request.id)
        head = make_head("201 Created", [("Content-Type", "text/json"), ("X-A", "1"), ("X-A", "2")])
        pieces = protocol.send_error(request.id, b"logged\n")
        pieces += protocol.send_head(request.id, head)
        pieces += protocol.send_body(request.id, json.dumps(told).encode())
        pieces += protocol.send_end(request.id, 0)
        connection.sendall(b"".join(pieces))

    return handler
