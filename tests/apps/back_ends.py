"""Real servers on Unix sockets, each with an application that tells what it was asked.

Both applications, the one of WSGI and the one of ASGI, know the same paths: /show tells the
request, /echo gives its body back, /stream gives a piece and waits for /release, /cut breaks off
after five bytes of a hundred, /lots is long.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.suite.modes import environment, wait_until

LOTS = 4 << 20

WSGI = """
import json, threading
from werkzeug.middleware.proxy_fix import ProxyFix

GO = threading.Event()

def stream():
    yield b"first"
    GO.wait(60)
    yield b"second"

def cut():
    yield b"hello"
    raise RuntimeError("half-way")

def inner(environ, start_response):
    path = environ["PATH_INFO"]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    headers = [("Content-Type", "application/json"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    if path == "/show":
        told = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["SCRIPT_NAME"] + path,
            "mount": environ["SCRIPT_NAME"],
            "query": environ["QUERY_STRING"],
            "scheme": environ["wsgi.url_scheme"],
            "host": environ["HTTP_HOST"],
            "client": environ.get("REMOTE_ADDR"),
            "language": environ.get("HTTP_ACCEPT_LANGUAGE"),
        }
        start_response("200 OK", headers)
        return [json.dumps(told).encode()]
    if path == "/echo":
        start_response("201 Made", [])
        body = environ["wsgi.input"]
        return iter(lambda: body.read(65536), b"")
    if path == "/stream":
        start_response("200 OK", [])
        return stream()
    if path == "/release":
        GO.set()
    if path == "/cut":
        start_response("200 OK", [("Content-Length", "100")])
        return cut()
    if path == "/lots":
        start_response("200 OK", [("Content-Length", str(LOTS))])
        return [b"x" * LOTS]
    start_response("204 No Content" if path == "/release" else "404 Not Found", [])
    return []

application = ProxyFix(inner, x_for=1, x_proto=1, x_host=1, x_prefix=1)
plain = inner
"""

ASGI = """
import asyncio, json

GO = asyncio.Event()

async def inner(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("HTTP only")
    root = scope.get("root_path", "")
    path = scope["path"].removeprefix(root)
    headers = {name: value.decode() for name, value in scope["headers"]}

    async def start(status, *fields):
        await send({"type": "http.response.start", "status": status, "headers": list(fields)})

    async def body(data=b"", more=False):
        await send({"type": "http.response.body", "body": data, "more_body": more})

    if path == "/show":
        told = {
            "method": scope["method"],
            "path": root + path,
            "mount": root,
            "query": scope["query_string"].decode(),
            "scheme": scope["scheme"],
            "host": headers[b"host"],
            "client": (scope["client"] or [None])[0],
            "language": headers.get(b"accept-language"),
        }
        await start(200, (b"content-type", b"application/json"), (b"set-cookie", b"a=1"),
                    (b"set-cookie", b"b=2"))
        await body(json.dumps(told).encode())
    elif path == "/echo":
        await start(201)
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await body(message.get("body", b""), more)
    elif path == "/stream":
        await start(200)
        await body(b"first", True)
        await asyncio.wait_for(GO.wait(), 60)
        await body(b"second")
    elif path == "/release":
        GO.set()
        await start(204)
        await body()
    elif path == "/cut":
        await start(200, (b"content-length", b"100"))
        await body(b"hello", True)
        raise RuntimeError("half-way")
    elif path == "/lots":
        await start(200, (b"content-length", str(LOTS).encode()))
        await body(b"x" * LOTS)
    else:
        await start(404)
        await body()

application = inner
try:
    from hypercorn.middleware import ProxyFixMiddleware
    fixed = ProxyFixMiddleware(inner, mode="legacy", trusted_hops=1)
except ImportError:
    pass
"""

PHP = """
$path = $_SERVER['PATH_INFO'] ?? '';
if ($path === '/echo') {
    http_response_code(201);
    copy('php://input', 'php://output');
} elseif ($path === '/stream') {
    @ob_end_flush();
    echo 'first';
    flush();
    while (!file_exists(__DIR__ . '/go')) { usleep(5000); clearstatcache(); }
    echo 'second';
} elseif ($path === '/release') {
    touch(__DIR__ . '/go');
    http_response_code(204);
} elseif ($path === '/cut') {
    header('Content-Length: 100');
    echo 'hello';
} elseif ($path === '/lots') {
    header('Content-Length: ' . LOTS);
    echo str_repeat('x', LOTS);
} else {
    header('Content-Type: application/json');
    header('Set-Cookie: a=1', false);
    header('Set-Cookie: b=2', false);
    echo json_encode([
        'method' => $_SERVER['REQUEST_METHOD'],
        'path' => $_SERVER['SCRIPT_NAME'] . $path,
        'mount' => dirname($_SERVER['SCRIPT_NAME']),
        'query' => $_SERVER['QUERY_STRING'],
        'scheme' => empty($_SERVER['HTTPS']) ? 'http' : 'https',
        'host' => $_SERVER['HTTP_HOST'],
        'client' => $_SERVER['REMOTE_ADDR'],
        'language' => $_SERVER['HTTP_ACCEPT_LANGUAGE'] ?? null,
        'file' => $_SERVER['SCRIPT_FILENAME'],
        'uri' => $_SERVER['REQUEST_URI'],
    ]);
}
"""

FPM = """[global]
error_log = {folder}/fpm.log
daemonize = no
[www]
listen = {folder}/php
pm = static
pm.max_children = 4
catch_workers_output = yes
"""


def write(folder: Path) -> None:
    (folder / "behind_wsgi.py").write_text(f"LOTS = {LOTS}\n{WSGI}")
    (folder / "behind_asgi.py").write_text(f"LOTS = {LOTS}\n{ASGI}")
    (folder / "www").mkdir()
    (folder / "www" / "app.php").write_text(f"<?php const LOTS = {LOTS};\n{PHP}")
    (folder / "www" / "index.php").write_text("<?php echo 'index ', $_SERVER['REQUEST_URI'];")
    (folder / "www" / "broken.php").write_text("<?php error_log('a failure of PHP'); exit(1);")
    (folder / "fpm.conf").write_text(FPM.format(folder=folder))


def php_fpm() -> str:
    """The server's command; "" where it is not installed."""
    for name in ("php-fpm", *[f"php-fpm8.{minor}" for minor in range(9, 0, -1)]):
        found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        if found:
            return found
    return ""


def command(name: str, folder: Path) -> list[str]:
    """How it is started, on the socket of its name."""
    python = [sys.executable, "-m"]
    sock = str(folder / name)
    if name == "php":
        fpm = php_fpm()
        if not fpm:
            if os.environ.get("GATEBRIDGE_REQUIRE_FRONTS") == "1":
                pytest.fail("php-fpm is not installed")
            pytest.skip("php-fpm is not installed")
        root = ["-R"] if os.geteuid() == 0 else []
        return [fpm, "-F", "-n", *root, "-y", str(folder / "fpm.conf")]
    wsgi, asgi = "behind_wsgi:application", "behind_asgi:application"
    return python + {
        "gunicorn": ["gunicorn", "-b", f"unix:{sock}", "--threads", "4", wsgi],
        "uvicorn": ["uvicorn", "--uds", sock, "--root-path", "/uvicorn", "--forwarded-allow-ips",
                    "*", asgi],
        "hypercorn": ["hypercorn", "-b", f"unix:{sock}", "--root-path", "/hypercorn",
                      "behind_asgi:fixed"],
        "daphne": ["daphne", "-u", sock, "--proxy-headers", "--root-path", "/daphne", asgi],
        "gatebridge": ["gatebridge", "serve", "behind_wsgi:plain", "--bind", f"unix:{sock}",
                       "--threads", "4"],
    }[name]  # fmt: skip


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def running(argv: list[str], folder: Path, path: Path, log: str) -> Iterator[subprocess.Popen]:
    """A process that listens there. It is ended by TERM."""
    with (folder / log).open("wb") as out:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        came = wait_until(lambda: listens(path) or process.poll() is not None, 60)
        assert came, (folder / log).read_text()
        assert process.poll() is None, (folder / log).read_text()
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
