"""WebSockets through each front server, as ``gatebridge conf`` writes its configuration."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from gatebridge.fronts import apache as apache_text
from gatebridge.fronts import caddy as caddy_text
from gatebridge.fronts import haproxy as haproxy_text
from gatebridge.fronts import nginx as nginx_text
from tests.fronts import caddy, generated_apache, haproxy, nginx
from tests.fronts.generated import made
from tests.fronts.servers import free_port, start
from tests.fronts.sites import Ground, Site, Sockets
from tests.serve.aio_live import DEADLINE_S
from tests.serve.websocket_live import connected, sockets
from tests.suite import wires


def upgrading(place, form: str) -> str:
    """Apache needs one word more, which docs/websocket.md says."""
    text = apache_text.config(place, form)
    assert text.count("ProxySet ") == 1
    return text.replace("ProxySet ", "ProxySet upgrade=websocket ")


SITES: tuple[tuple[Callable, Site], ...] = (
    (nginx.start, made(nginx_text.config, "nginx-http-made-root")),
    (nginx.start, made(nginx_text.config, "nginx-http-made-app", "/app")),
    (nginx.start, made(nginx_text.config, "nginx-uwsgi-made-app", "/app")),
    (nginx.start, made(nginx_text.config, "nginx-scgi-made-root")),
    (caddy.start, made(caddy_text.config, "caddy-http-made-root")),
    (haproxy.start, made(haproxy_text.config, "haproxy-http-made-root")),
    (generated_apache.start, made(upgrading, "apache-http-made-root")),
)


def asked(port: int, path: str, upgrade: str) -> str:
    """What the application sees of a request with another Upgrade."""
    more = (("Upgrade", upgrade), ("Connection", "Upgrade, HTTP2-Settings"))
    request = wires.Req("GET", path, more, None)
    sock = wires.connect(("127.0.0.1", port))
    found = wires.http_exchange(sock, request, "", "localhost", None, to_end=False)
    assert found.status == 200
    return json.loads(found.body)["headers"]


@pytest.mark.parametrize(("begin", "site"), SITES, ids=[site.name for _, site in SITES])
def test_messages_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable, site: Site
) -> None:
    monkeypatch.setattr(caddy, "MORE_SITES", [site])  # it stands for itself
    folder = tmp_path / "front"
    folder.mkdir()
    (folder / "www").mkdir()
    mount = ("--mount", site.mount or "/")
    with sockets(tmp_path, *mount) as live:
        names = ("fastcgi", "scgi", "uwsgi")
        for name in (*names, "http"):
            Path(live.path(name)).chmod(0o666)
        where = Sockets(*map(live.path, names), "", "", "", live.path("http"))

        def run():
            ground = Ground(free_port(), where, folder, folder / "www", folder)
            return begin([(site, ground)])

        server = start(run)
        try:
            sock = socket.create_connection(("127.0.0.1", server.ports[0]))
            with connected(sock, f"{site.mount}/echo/a") as ws:
                for message in ("hello", b"x" * 300_000):
                    ws.send(message)
                    assert ws.recv(DEADLINE_S) == message
            if site.name.startswith("nginx-http"):
                seen = asked(server.ports[0], f"{site.mount}/scope", "h2c")
                assert "b'upgrade'" not in seen
                assert "b'connection'" not in seen
        finally:
            server.stop()
