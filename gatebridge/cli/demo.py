"""``gatebridge demo``: the daemon with the demo application, behind an nginx of its own."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_INET, AF_UNIX, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from typing import IO, TYPE_CHECKING

import click

from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.fronts import nginx
from gatebridge.serve.children import Children

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

APP = "gatebridge.apps.demo:app"
_SYSTEM = "/usr/sbin:/usr/local/sbin:/sbin"  # Debian keeps servers out of an ordinary user's path
_PORTS = range(8080, 8280)
_TIMEOUT_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop(Exception):
    """Ctrl-C, TERM or HUP."""


@click.command("demo", short_help="Show the whole chain in a browser.")
@click.option("--front", type=click.Choice(["auto", "nginx", "none"]), default="auto",
              help="What stands before the daemon; auto: nginx where it is installed.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65_535), default=0, metavar="N",
              help="Port on 127.0.0.1; 0, the default, takes a free one from 8080 on.")  # fmt: skip
@click.option("--once", is_flag=True, help="Ask once, print what came back, and end.")
def command(front: str, port: int, once: bool) -> None:
    """Start the daemon with a demo application, and nginx before it where it is installed.

    nginx runs as you, in a temporary folder, with a configuration written for it. Ctrl-C ends all.
    """
    server = find_nginx(front)
    try:
        with signals(), folder() as home, Children() as children:
            start_all(children, home, server, port or free_port(), once)
    except Stop:
        click.echo("stopped")


def find_nginx(front: str) -> str:
    """The nginx to start; "" for none. raises ConfigError("demo.no_nginx")"""
    if front == "none":
        return ""
    path = shutil.which("nginx") or shutil.which("nginx", path=_SYSTEM) or ""
    if front == "nginx" and not path:
        raise ConfigError("demo.no_nginx", "there is no nginx here; --front none does without")
    return path


def start_all(children: Children, home: Path, server: str, port: int, once: bool) -> None:
    """Start, wait, tell, and stay until something ends."""
    with open(home / "output.log", "w+b") as log:
        output = log if once else None  # who stays wants to see what the daemon says
        try:
            if server:
                start_behind_nginx(children, home, server, port, output)
            else:
                start_daemon(children, f"http://127.0.0.1:{port}", output)
            children.wait_until(lambda: answers(port), f"http://127.0.0.1:{port}")
        except GatebridgeError:
            for name in ("output.log", "nginx.log"):
                if (home / name).exists():
                    click.echo((home / name).read_text("utf-8", "replace"), nl=False, err=True)
            raise
        tell(port)
        if not once:
            click.echo("Ctrl-C ends it.")
            raise GatebridgeError("child.ended", children.wait())


def start_behind_nginx(
    children: Children, home: Path, server: str, port: int, output: IO[bytes] | None
) -> None:
    path = str(home / "demo.sock")
    start_daemon(children, f"unix:{path}", output)
    children.wait_until(lambda: listens(path), f"unix:{path}")
    config = home / "nginx.conf"
    config.write_text(nginx.private(str(home), port, path), "utf-8")
    argv = [server, "-p", str(home), "-c", str(config)]
    with open(home / "output.log", "ab") as quiet:  # it complains there about system files
        children.start("nginx", argv, quiet)


def start_daemon(children: Children, bind: str, output: IO[bytes] | None) -> None:
    argv = [sys.executable, "-m", "gatebridge", "serve", APP, "--bind", bind]
    children.start("gatebridge serve", argv, output)


def tell(port: int) -> None:
    """Print where it is, and the chain as the application itself saw it."""
    url = f"http://127.0.0.1:{port}/"
    status, page = fetch(port, "/")
    if status != 200:
        raise GatebridgeError("demo.failed", f"{url} answered {status}")
    _, line = fetch(port, "/chain")
    click.echo(f"page    {url}  ({len(page):,} bytes)")
    click.echo(f"try     curl {url}chain")
    click.echo(f"        curl -F file=@/etc/hosts {url}upload")
    for at, step in enumerate(line.decode("utf-8").strip().split(" -> ")):
        click.echo(f"{'     ->' if at else 'chain  '} {step}")


def fetch(port: int, path: str) -> tuple[int, bytes]:
    """One GET: (status, body)."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"User-Agent": "gatebridge-demo"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return fetch(port, "/hello")[0] == 200
    except (OSError, HTTPException):
        return False


def listens(path: str) -> bool:
    with socket(AF_UNIX, SOCK_STREAM) as probe:
        return probe.connect_ex(path) == 0


def free_port() -> int:
    """One that nobody listens on, below those that outgoing connections take."""
    for port in _PORTS:
        with socket(AF_INET, SOCK_STREAM) as probe:
            probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ConfigError("bind.in_use", f"no free port from {_PORTS[0]} to {_PORTS[-1]}; --port N")


@contextmanager
def folder() -> Iterator[Path]:
    """A folder of our own (mode 0700), gone afterwards."""
    path = tempfile.mkdtemp(prefix="gatebridge-demo-")
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def signals() -> Iterator[None]:
    """Turn the signals that end a program into Stop, once: cleaning up is not interrupted."""

    def stop(number: int, frame: FrameType | None) -> None:
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise Stop

    before = [(number, signal.signal(number, stop)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
