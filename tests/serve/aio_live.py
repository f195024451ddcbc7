"""A daemon of the ASGI application of aio_app.py, and requests to it over every protocol."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serve.gated import answer
from tests.serve.service import Service
from tests.suite import wires
from tests.suite.modes import wait_until

APP = Path(__file__).with_name("aio_app.py").read_text()
PROTOCOLS = ("fastcgi", "scgi", "uwsgi", "http")
DEADLINE_S = 20.0


class Aio(Service):
    """The daemon, with a Unix socket for each protocol: s, s.scgi, s.uwsgi, s.http."""

    def __init__(self, folder: Path, *words: str, entry: str = "shop:app", **more) -> None:
        binds = ["unix:s"]
        binds += [f"{name}+unix:s.{name}" for name in PROTOCOLS[1:]]
        words = (entry, *[word for bind in binds for word in ("--bind", bind)], *words)
        more.setdefault("app", APP)
        super().__init__(folder, *words, **more)

    def path(self, protocol: str) -> str:
        return str(self.folder / ("s" if protocol == "fastcgi" else f"s.{protocol}"))

    def open(self, protocol: str) -> socket.socket:
        return wires.connect(self.path(protocol))

    def data(self, protocol: str, target: str, body: bytes | None = None, id: int = 1) -> bytes:
        """The bytes of one request; of FastCGI ones the connection is kept."""
        request = wires.Req("POST" if body is not None else "GET", target, (), body)
        if protocol == "http":
            return wires.http_bytes(request, "", "localhost")
        pairs = wires.variables(request, "")
        if protocol == "fastcgi":
            return wires.fastcgi_bytes(pairs, body or b"", True, id)
        encode = wires.scgi_bytes if protocol == "scgi" else wires.uwsgi_bytes
        return encode(pairs, body or b"")

    def ask_over(self, protocol: str, target: str, body: bytes | None = None) -> wires.Resp:
        request = wires.Req("POST" if body is not None else "GET", target, (), body)
        with self.open(protocol) as sock:
            if protocol == "http":
                return wires.http_exchange(sock, request, "", "localhost", None, to_end=False)
            if protocol == "fastcgi":
                sock.sendall(self.data(protocol, target, body))
                return answer(sock)
            return wires.closing_exchange(sock, request, self.data(protocol, target, body), None)

    def notes(self) -> list[str]:
        return json.loads(self.ask("/notes"))

    def noted(self, line: str) -> None:
        assert wait_until(lambda: line in self.notes(), DEADLINE_S), f"{line}: {self.notes()}"

    def running(self) -> list[str]:
        return [one["line"] for one in self.pool()["workers_list"][0]["running"]]

    def go(self, name: str) -> None:
        assert self.ask(f"/go/{name}") == "gone on"


@contextmanager
def aio(folder: Path, *words: str, **more) -> Iterator[Aio]:
    live = Aio(folder, *words, **more)
    try:
        yield live
    finally:
        live.stop()
    assert "gatebridge.fault" not in live.log(), live.log()
