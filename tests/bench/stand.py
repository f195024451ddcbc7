"""A private nginx before each contender, all with 2 workers of 4 threads, and the load on it."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gatebridge import control_client
from gatebridge.errors import GatebridgeError
from tests.fronts.nginx import params
from tests.fronts.servers import SEARCH, free_port

ROOT = Path(__file__).resolve().parents[2]
WORKERS, THREADS = 2, 4
APP = "tests.bench.app:app"

PHP = """<?php
header('Content-Type: text/plain');
if (isset($_GET['ms'])) { usleep(1000 * (int) $_GET['ms']); }
echo 'Hello, world!';
"""

FPM = """[global]
error_log = {folder}/fpm.log
daemonize = no
[www]
user = {user}
group = {group}
listen = {folder}/php.sock
listen.backlog = 4096
pm = static
pm.max_children = {children}
"""


def program(*names: str) -> str:
    """Beside the interpreter, or on PATH; "" where it is not installed."""
    search = os.pathsep.join([str(Path(sys.executable).parent), SEARCH])
    return next(filter(None, (shutil.which(name, path=search) for name in names)), "")


@dataclass
class Contender:
    """command: without it nothing is started; location: nginx's, with its upstream before it."""

    name: str
    command: list[str]
    location: str
    upstream: str = ""
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


class Stand:
    """nginx and contenders in a temporary folder; use as a context manager.

    retry  whether nginx asks again, as it does by default, when an upstream fails it
    """

    def __init__(self, *names: str, retry: bool = False) -> None:
        self._again = "" if retry else "fastcgi_next_upstream off;"
        self._folder = tempfile.TemporaryDirectory(prefix="gb-bench-")
        self.folder = Path(self._folder.name)
        known = {"gatebridge": ours, "gunicorn": gunicorn, "uwsgi": uwsgi, "php-fpm": php_fpm}
        made = [known[name](self.folder) for name in names]
        self.contenders = {one.name: one for one in made if one is not None}
        for name in names:
            if name not in self.contenders:
                print(f"daemon: {name} is not installed")
        self._nginx: subprocess.Popen[bytes] | None = None
        self._ready = 0

    def __enter__(self) -> "Stand":
        quiet = {"stdin": subprocess.DEVNULL, "cwd": ROOT}
        variables = {**os.environ, "PYTHONPATH": str(ROOT)}
        with (self.folder / "out").open("wb") as out:
            for one in self.contenders.values():
                one.process = subprocess.Popen(
                    one.command, stdout=out, stderr=out, env=variables, **quiet
                )
            conf = self.folder / "nginx.conf"
            conf.write_text(self._conf())
            self._nginx = subprocess.Popen(
                [program("nginx"), "-p", str(self.folder), "-c", str(conf)],
                stdout=out,
                stderr=out,
                **quiet,
            )
        for one in self.contenders.values():
            wait_for(lambda one=one: fetch(one.url("/hello"))[0] == 200, one.name)
        self._ready = (self.folder / "nginx.log").stat().st_size  # before, nobody was there
        return self

    def __exit__(self, *error: object) -> None:
        processes = [self._nginx, *[one.process for one in self.contenders.values()]]
        for process in processes:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT if process is not self._nginx else 15)
        for process in processes:
            if process is not None:
                process.wait()
        self._folder.cleanup()

    def _conf(self) -> str:
        temporary = " ".join(
            f"{name}_temp_path {self.folder}/{name};"
            for name in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        )
        servers = "\n".join(
            f"{one.upstream} server {{ listen 127.0.0.1:{one.port} backlog=4096;"
            f" keepalive_requests 10000000;\n location / {{ {one.location} }} }}"
            for one in self.contenders.values()
        )
        return (
            f"daemon off; worker_processes 1; pid {self.folder}/nginx.pid;\n"
            f"{'user root;' if os.geteuid() == 0 else ''}\n"
            f"error_log {self.folder}/nginx.log error;\n"
            "events { worker_connections 4096; }\n"
            f"http {{ access_log off; {temporary} {self._again}\n{servers}\n}}\n"
        )

    def reasons(self) -> str:
        """What nginx says about failures, counted; "" for nothing."""
        text = (self.folder / "nginx.log").read_text()[self._ready :]
        found = Counter(re.findall(r"\*\d+ (.*?)(?: while |, client)", text))
        return "; ".join(f"{count} x {what}" for what, count in found.most_common(3))

    # -- ours

    def status(self) -> dict:
        return control_client.call(str(self.folder / "ctl"), "status", 10.0)

    def ctl(self, command: str) -> dict:
        return control_client.call(str(self.folder / "ctl"), command, 60.0)

    def workers(self) -> list[dict]:
        listed = self.status()["pools"]["main"]["workers_list"]
        return [one for one in listed if one["state"] == "ready"]

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.folder / "ours.sock"))
        return sock


def ours(folder: Path) -> Contender:
    command = [
        *(sys.executable, "-m", "gatebridge", "serve", APP, "--mount", "/"),
        *("--bind", f"unix:{folder}/ours.sock?backlog=4096", "--log-level", "error"),
        *("--workers", str(WORKERS), "--threads", str(THREADS)),
        *("--control-socket", str(folder / "ctl"), "--max-queue", "4096"),
    ]
    upstream = f"upstream ours {{ server unix:{folder}/ours.sock; keepalive 200; }}"
    location = f"{params('fastcgi')} fastcgi_keep_conn on; fastcgi_pass ours;"
    return Contender("gatebridge", command, location, upstream)


def gunicorn(folder: Path) -> Contender | None:
    path = program("gunicorn")
    command = [
        *(path, "-k", "gthread", "-w", str(WORKERS), "--threads", str(THREADS), "-b"),
        *(f"unix:{folder}/gunicorn.sock", "--backlog", "4096", "--log-level", "error", APP),
    ]
    upstream = f"upstream gunicorn {{ server unix:{folder}/gunicorn.sock; keepalive 200; }}"
    location = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://gunicorn;'
    return Contender("gunicorn", command, location, upstream) if path else None


def uwsgi(folder: Path) -> Contender | None:
    path = program("uwsgi")
    command = [
        *(path, "--master", "--processes", str(WORKERS), "--threads", str(THREADS), "--listen"),
        *("4096", "--uwsgi-socket", f"{folder}/uwsgi.sock", "--pythonpath", str(ROOT)),
        *("--module", APP, "--disable-logging", "--die-on-term"),
    ]
    pairs = f"{params('uwsgi')} uwsgi_param PATH_INFO $document_uri;"
    location = f"{pairs} uwsgi_pass unix:{folder}/uwsgi.sock;"
    return Contender("uwsgi", command, location) if path else None


def php_fpm(folder: Path) -> Contender | None:
    path = program("php-fpm8.2", "php-fpm8.4", "php-fpm8.3", "php-fpm")
    (folder / "hello.php").write_text(PHP)
    user = os.environ.get("USER") or ("root" if os.geteuid() == 0 else "")
    text = FPM.format(folder=folder, user=user, group=user, children=WORKERS * THREADS)
    (folder / "fpm.conf").write_text(text)
    command = [path, "-F", "-y", str(folder / "fpm.conf"), *(["-R"] if os.geteuid() == 0 else [])]
    # No kept connections: each would hold a child, also between two requests.
    location = (
        f"{params('fastcgi')} fastcgi_param SCRIPT_FILENAME {folder}/hello.php;"
        f" fastcgi_pass unix:{folder}/php.sock;"
    )
    return Contender("php-fpm", command, location) if path else None


def fetch(url: str) -> tuple[int, bytes]:
    """One request, with nothing but a socket. 0 where nobody answers."""
    _, _, place = url.partition("://")
    host, _, path = place.partition("/")
    name, _, port = host.partition(":")
    try:
        with socket.create_connection((name, int(port)), 10) as sock:
            sock.sendall(f"GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            got = b""
            while data := sock.recv(65_536):
                got += data
    except OSError:
        return 0, b""
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def wait_for(true: Callable[[], object], what: str) -> float:
    """Seconds until it was so."""
    start = time.monotonic()
    while time.monotonic() < start + 60:
        with contextlib.suppress(OSError, KeyError, GatebridgeError):
            if true():
                return time.monotonic() - start
        time.sleep(0.005)
    raise AssertionError(f"{what}: not within a minute")


@dataclass
class Result:
    """Of one run of the load generator."""

    requests: int
    failed: int
    rate: float


def load(url: str, requests: int, clients: int) -> "subprocess.Popen[str]":
    """Apache's ab: so many requests on kept connections."""
    command = [program("ab"), "-q", "-k", "-r", "-n", str(requests), "-c", str(clients), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def result(process: "subprocess.Popen[str]") -> Result:
    """Failed: no answer, another length, or another status than 200."""
    text, _ = process.communicate()

    def number(name: str) -> float:
        found = re.search(rf"{name}:\s+([\d.]+)", text)
        return float(found[1]) if found else 0.0

    # A 502 of nginx has another length, so it is among the failed ones already.
    failed = max(number("Failed requests"), number("Non-2xx responses"))
    return Result(int(number("Complete requests")), int(failed), number("Requests per second"))


def latency_ms(url: str, clients: int, seconds: float) -> tuple[float, float, float]:
    """wrk: p50, p99 and the number of requests a second."""
    command = [program("wrk"), "-t1", f"-c{clients}", f"-d{seconds:.0f}s", "--latency", url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    found = {
        at: float(value) * units[unit]
        for at, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)", text)
    }
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    return found["50"], found["99"], float(rate[1]) if rate else 0.0


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def cpu_s(pid: int) -> float:
    """Of all threads; the kernel counts nanoseconds there."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
