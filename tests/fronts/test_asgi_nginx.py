"""An ASGI application behind a real nginx: bodies, events as they are sent, clients that leave."""

import hashlib
import os
import socket

import pytest

from tests.fronts.nginx import params
from tests.fronts.servers import Server, free_port, program, start
from tests.serve.aio_live import PROTOCOLS, aio
from tests.suite import wires

NGINX = """
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 64m;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; scgi_temp_path t4;
  uwsgi_temp_path t5;
  upstream kept {{ server unix:{folder}/s; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    fastcgi_buffering off; scgi_buffering off; uwsgi_buffering off; proxy_buffering off;
    location /fastcgi/ {{ {fastcgi} fastcgi_keep_conn on; fastcgi_pass kept; }}
    location /scgi/ {{ {scgi} scgi_pass unix:{folder}/s.scgi; }}
    location /uwsgi/ {{ {uwsgi} uwsgi_pass unix:{folder}/s.uwsgi; }}
    proxy_http_version 1.1; proxy_set_header Connection "";
    location /http/ {{ proxy_pass http://unix:{folder}/s.http:; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """(daemon, port of nginx): /PROTOCOL/... is the application below that mount."""
    nginx = program("nginx", package="nginx")
    folder = tmp_path_factory.mktemp("nginx")
    mounts = [word for name in PROTOCOLS for word in ("--mount", f"/{name}=shop:app")]

    def run() -> Server:
        port = free_port()
        texts = {name: params(name) for name in PROTOCOLS[:3]}
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, **texts))
        argv = [nginx, "-p", str(folder), "-e", "error.log", "-c", str(folder / "nginx.conf")]
        return Server("nginx", folder, argv, [port], [folder / "error.log"])

    with aio(folder, *mounts, "--disconnect-timeout", "1") as live:
        server = start(run)
        try:
            yield live, server.ports[0]
        finally:
            server.stop()


def ask(port: int, target: str, body: bytes | None = None) -> wires.Resp:
    request = wires.Req("POST" if body is not None else "GET", target, (), body)
    sock = wires.connect(("127.0.0.1", port))
    return wires.http_exchange(sock, request, "", "localhost", None, to_end=False)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_body_comes_whole(behind, protocol):
    _, port = behind
    body = os.urandom(5_000_000)
    found = ask(port, f"/{protocol}/echo", body)
    assert found.body.decode() == f"5000000 {hashlib.sha256(body).hexdigest()}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_events_arrive_as_they_are_sent(behind, protocol):
    live, port = behind
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        sock.sendall(f"GET /{protocol}/stream/n-{protocol} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        got = b""
        while b"first" not in got:
            piece = sock.recv(65_536)
            assert piece, got
            got += piece
        live.go(f"n-{protocol}")
        while b"last" not in got:
            got += sock.recv(65_536)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_application_hears_of_a_client_that_leaves(behind, protocol):
    live, port = behind
    name = f"gone nginx-{protocol}"
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        request = f"GET /{protocol}/gone/nginx-{protocol} HTTP/1.1\r\nHost: a\r\n\r\n"
        sock.sendall(request.encode())
        live.noted(f"{name} in")
    live.noted(f"{name} http.disconnect")


@pytest.mark.parametrize("protocol", ["fastcgi", "http"])
def test_an_answer_that_fails_half_way_is_cut(behind, protocol):
    _, port = behind
    found = ask(port, f"/{protocol}/half")
    assert found.cut
    assert found.status in (200, 0)  # nginx sends no head where it hears of both at once


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_large_file_is_sent_whole(behind, protocol):
    live, port = behind
    data = os.urandom(4_000_000)
    (live.folder / "large").write_bytes(data)
    assert ask(port, f"/{protocol}/file/large").body == data
