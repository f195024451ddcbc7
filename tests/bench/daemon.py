"""A daemon to measure: its CPU time and memory as the kernel counts them."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gatebridge.wire.records import begin_request, encode_pairs, record
from tests.suite.modes import worker_of

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")

# What nginx sends with its stock parameters and a browser's headers.
PAIRS = [
    ("QUERY_STRING", ""),
    ("REQUEST_METHOD", "GET"),
    ("CONTENT_TYPE", ""),
    ("CONTENT_LENGTH", ""),
    ("SCRIPT_NAME", ""),
    ("PATH_INFO", "/hello"),
    ("REQUEST_URI", "/hello"),
    ("DOCUMENT_URI", "/hello"),
    ("DOCUMENT_ROOT", "/usr/share/nginx/html"),
    ("SERVER_PROTOCOL", "HTTP/1.1"),
    ("REQUEST_SCHEME", "http"),
    ("GATEWAY_INTERFACE", "CGI/1.1"),
    ("SERVER_SOFTWARE", "nginx/1.22.1"),
    ("REMOTE_ADDR", "127.0.0.1"),
    ("REMOTE_PORT", "50000"),
    ("SERVER_ADDR", "127.0.0.1"),
    ("SERVER_PORT", "8080"),
    ("SERVER_NAME", "localhost"),
    ("REDIRECT_STATUS", "200"),
    ("HTTP_HOST", "127.0.0.1:8080"),
    ("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("HTTP_ACCEPT", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("HTTP_ACCEPT_LANGUAGE", "en-US,en;q=0.5"),
    ("HTTP_ACCEPT_ENCODING", "gzip, deflate, br"),
    ("HTTP_COOKIE", "session=abcdef0123456789; theme=dark"),
]


def variables(path: str, query: str = "", length: int = 0) -> bytes:
    changed = dict(PAIRS, PATH_INFO=path, QUERY_STRING=query, REQUEST_URI=path, DOCUMENT_URI=path)
    if length:
        changed.update(REQUEST_METHOD="POST", CONTENT_LENGTH=str(length))
    return encode_pairs(list(changed.items()))


def request(path: str, query: str = "", keep: int = 1) -> bytes:
    """A whole GET."""
    head = begin_request(1, 1, keep) + record(4, 1, variables(path, query))
    return head + record(4, 1, b"") + record(5, 1, b"")


class Daemon:
    """gatebridge serve on a Unix socket of a temporary folder; use as a context manager."""

    def __init__(self, threads: int, target: str = "tests.bench.app:app", *more: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gb-bench-")
        self.path = f"{self._folder.name}/s"
        bind = f"unix:{self.path}?backlog=4096"
        command = [sys.executable, "-m", "gatebridge", "serve", target, "-b", bind, *more]
        command += ["--threads", str(threads), "--log-level", "error"]
        command += ["--limit-body", str(4 << 30)]
        self._process = subprocess.Popen(command, cwd=ROOT)

    def __enter__(self) -> "Daemon":
        while True:
            try:
                self.connect().close()
                return self
            except OSError:
                time.sleep(0.02)

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        self._folder.cleanup()

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            raise
        return sock

    def cpu_s(self) -> float:
        fields = (
            Path(f"/proc/{worker_of(self._process.pid)}/stat")
            .read_text()
            .rpartition(")")[2]
            .split()
        )
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory_kib(self, name: str = "VmRSS") -> int:
        status = Path(f"/proc/{worker_of(self._process.pid)}/status").read_text()
        return int(status.partition(name + ":")[2].split()[0])


class Answers:
    """Reads answers off one connection: bytes of STDOUT until END_REQUEST."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb", buffering=1 << 18)

    def one(self) -> int:
        size = 0
        while True:
            head = self._file.read(8)
            length = head[4] << 8 | head[5]
            self._file.read(length + head[6])
            if head[1] == 6:
                size += length
            elif head[1] == 3:
                return size
