"""nginx's suwsgi://: the uwsgi protocol through TLS, to a daemon on another machine."""

import hashlib
import json
import os
import re

import pytest

from tests.fronts.nginx import params
from tests.fronts.servers import Server, free_port, program, start
from tests.fronts.test_asgi_nginx import ask
from tests.serve.service import service

APP = """
import hashlib, json

NAMES = ["SCRIPT_NAME", "PATH_INFO", "REMOTE_ADDR", "HTTP_HOST", "wsgi.url_scheme"]

def application(environ, start_response):
    told = {name: environ[name] for name in NAMES}
    told["protocol"] = environ["gatebridge.protocol"]
    told["body"] = hashlib.sha256(environ["wsgi.input"].read()).hexdigest()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
"""
NGINX = """
daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 64m;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; scgi_temp_path t4;
  uwsgi_temp_path t5;
  server {{
    listen 127.0.0.1:{port};
    location /app/ {{ {uwsgi} uwsgi_pass suwsgi://127.0.0.1:{behind}; }}
  }}
}}
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Of an nginx before the daemon."""
    nginx = program("nginx", package="nginx")
    folder = tmp_path_factory.mktemp("suwsgi")
    bind = "uwsgi://127.0.0.1:0?tls=adhoc"
    words = ("shop:application", "--bind", bind, "--mount", "/app")
    with service(folder, *words, app=APP) as live:
        live.until(lambda: re.search(r"listening on uwsgi://127\.0\.0\.1:\d+", live.log()))
        behind = re.findall(r"uwsgi://127\.0\.0\.1:(\d+)", live.log())[0]

        def run() -> Server:
            port = free_port()
            text = NGINX.format(port=port, behind=behind, uwsgi=params("uwsgi"))
            (folder / "nginx.conf").write_text(text)
            argv = [nginx, "-p", str(folder), "-e", "error.log", "-c", str(folder / "nginx.conf")]
            return Server("nginx", folder, argv, [port], [folder / "error.log"])

        server = start(run)
        try:
            yield server.ports[0]
        finally:
            server.stop()


def test_paths_and_the_client_are_right(port):
    found = json.loads(ask(port, "/app/a%20b").body)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/app", "/a b")
    assert (found["REMOTE_ADDR"], found["HTTP_HOST"]) == ("127.0.0.1", "localhost")
    assert found["protocol"] == "uwsgi"


def test_the_scheme_is_the_client_s_not_ours(port):
    """TLS lies between nginx and us; the browser came by http."""
    assert json.loads(ask(port, "/app/").body)["wsgi.url_scheme"] == "http"


def test_a_body_comes_whole(port):
    body = os.urandom(3_000_000)
    found = json.loads(ask(port, "/app/", body).body)
    assert found["body"] == hashlib.sha256(body).hexdigest()
