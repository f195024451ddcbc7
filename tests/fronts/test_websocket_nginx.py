"""WebSockets through a real nginx, over the three protocols that carry them."""

import socket
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.fronts.nginx import params
from tests.fronts.servers import Server, free_port, program, start
from tests.serve.aio_live import DEADLINE_S
from tests.serve.websocket_live import connected, sockets

CARRY = ("uwsgi", "scgi", "http")
NGINX = """
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; scgi_temp_path t4;
  uwsgi_temp_path t5;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{port};
    location /fastcgi/ {{ {fastcgi} fastcgi_pass unix:{folder}/s; }}
    location /scgi/ {{ {scgi} scgi_pass unix:{folder}/s.scgi; }}
    location /uwsgi/ {{ {uwsgi} uwsgi_pass unix:{folder}/s.uwsgi; }}
    location /http/ {{
      proxy_pass http://unix:{folder}/s.http:;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """(daemon, port of nginx): /PROTOCOL/... is the application below that mount."""
    nginx = program("nginx", package="nginx")
    folder = tmp_path_factory.mktemp("nginx")
    mounts = [w for name in ("fastcgi", *CARRY) for w in ("--mount", f"/{name}=shop:app")]

    def run() -> Server:
        port = free_port()
        texts = {name: params(name) for name in ("fastcgi", "scgi", "uwsgi")}
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, **texts))
        argv = [nginx, "-p", str(folder), "-e", "error.log", "-c", str(folder / "nginx.conf")]
        return Server("nginx", folder, argv, [port], [folder / "error.log"])

    with sockets(folder, *mounts, "--disconnect-timeout", "1") as live:
        server = start(run)
        try:
            yield live, server.ports[0]
        finally:
            server.stop()


def client(port: int, target: str, **more):
    return connected(socket.create_connection(("127.0.0.1", port)), target, **more)


@pytest.mark.parametrize("protocol", CARRY)
def test_messages_come_back(behind, protocol):
    _, port = behind
    with client(port, f"/{protocol}/echo/a") as ws:
        for message in ("hello", b"\0\xff" * 500_000, "\u2603", b""):
            ws.send(message)
            assert ws.recv(DEADLINE_S) == message


@pytest.mark.parametrize("protocol", CARRY)
def test_both_ends_close(behind, protocol):
    live, port = behind
    with client(port, f"/{protocol}/echo/{protocol}-end") as ws:
        ws.close(4002, "bye")
        assert (ws.close_code, ws.protocol.close_rcvd is not None) == (4002, True)
    live.noted(f"echo {protocol}-end 4002 bye")
    with client(port, f"/{protocol}/close/4001") as ws:
        with pytest.raises(ConnectionClosed, match="4001"):
            ws.recv(DEADLINE_S)


@pytest.mark.parametrize("protocol", CARRY)
def test_the_scope_says_what_was_asked(behind, protocol):
    _, port = behind
    with client(port, f"/{protocol}/scope/%20?q=1", subprotocols=["a", "b"]) as ws:
        told = eval(ws.recv(DEADLINE_S))
        assert ws.subprotocol == "b"
        assert ws.response.headers["x-said"] == "yes"
    assert told["type"] == "'websocket'"
    assert told["scheme"] == "'ws'"
    assert told["root_path"] == repr(f"/{protocol}")
    assert told["path"] == repr(f"/{protocol}/scope/ ")
    assert told["query_string"] == "b'q=1'"
    assert told["subprotocols"] == "['a', 'b']"
    assert "method" not in told


@pytest.mark.parametrize("protocol", CARRY)
def test_a_refusal_reaches_the_client(behind, protocol):
    _, port = behind
    for target, status in (("deny", 403), ("denial", 418)):
        with pytest.raises(InvalidStatus) as found:
            client(port, f"/{protocol}/{target}")
        assert found.value.response.status_code == status
    assert found.value.response.body == b"not now"
    assert found.value.response.headers["x-why"] == "busy"


@pytest.mark.parametrize("protocol", CARRY)
def test_a_client_that_vanishes_is_noticed(behind, protocol):
    live, port = behind
    with client(port, f"/{protocol}/echo/{protocol}-lost") as ws:
        ws.send("here")
        ws.recv(DEADLINE_S)
        ws.socket.shutdown(socket.SHUT_RDWR)
        live.noted(f"echo {protocol}-lost 1006 ")


@pytest.mark.parametrize("protocol", CARRY)
def test_a_failure_is_1011(behind, protocol):
    _, port = behind
    with client(port, f"/{protocol}/half") as ws:
        assert ws.recv(DEADLINE_S) == "half"
        with pytest.raises(ConnectionClosed, match="1011"):
            ws.recv(DEADLINE_S)


def test_fastcgi_is_refused_with_the_reason(behind):
    live, port = behind
    with pytest.raises(InvalidStatus) as found:
        client(port, "/fastcgi/echo/a")
    assert found.value.response.status_code == 501
    live.until_log("websocket.carried incident")
    assert "FastCGI has no upgrade: let nginx use uwsgi, SCGI or HTTP" in live.log()


def test_two_hundred_are_open_at_once(behind):
    _, port = behind
    with ExitStack() as stack:
        targets = [f"/{CARRY[at % 3]}/echo/many" for at in range(200)]
        opened = [stack.enter_context(client(port, target)) for target in targets]
        for at, ws in enumerate(opened):
            ws.send(str(at))
        assert [ws.recv(DEADLINE_S) for ws in opened] == [str(at) for at in range(200)]
