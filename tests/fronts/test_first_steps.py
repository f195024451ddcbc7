"""From nothing to a page, by following what is printed: each command is one that was printed.

nginx is the newcomer's own; Apache is the host's, with a cgi-bin in the newcomer's folder.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.run import ROOT
from tests.fronts import apache, servers
from tests.fronts.sites import Ground, Sockets
from tests.relay_stand import stop_daemons
from tests.suite.modes import wait_until

COMMAND = re.compile(r"(?:  |then  )(?=\S)(.*)")


class Newcomer:
    """Somebody with a shell in a folder. words: PATH finds ``gatebridge``, as after pip install."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        (programs / "gatebridge").write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from gatebridge.cli.main import main\nmain()\n"
        )
        (programs / "gatebridge").chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        self.environ = {"PATH": path, "HOME": str(self.home)}
        self.typed: list[str] = []

    def type(self, line: str) -> list[str]:
        """Run a line to its end; the lines that it printed."""
        self.typed.append(line)
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=self.home, env=self.environ, capture_output=True,
            stdin=subprocess.DEVNULL, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout.splitlines()

    def start(self, line: str) -> "subprocess.Popen[bytes]":
        """Run a line that stays, in the shell's own place."""
        self.typed.append(line)
        words = ["/bin/sh", "-c", f"exec {line}"]
        return subprocess.Popen(words, cwd=self.home, env=self.environ, stdin=subprocess.DEVNULL)


def printed(lines: list[str], above: str = "") -> list[str]:
    """The commands among the lines; with ``above`` only those below that one."""
    at = next(i for i, line in enumerate(lines) if line.startswith(above)) + 1 if above else 0
    found = []
    for line in lines[at:]:
        match = COMMAND.fullmatch(line)
        if match:
            found.append(match[1])
        elif above:
            break
    return found


def page(lines: list[str]) -> str:
    (url,) = [line.removeprefix("page  ") for line in lines if line.startswith("page  ")]
    return url


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def answers(url: str) -> bool:
    try:
        fetched(url)
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


def test_nginx_in_four_commands(newcomer: Newcomer) -> None:
    servers.program("nginx", package="nginx")
    lines = newcomer.type("gatebridge")
    (first,) = printed(lines, "behind an nginx of your own")
    lines = newcomer.type(first)
    second, third = printed(lines)
    (pid_file,) = [Path(f"{shlex.split(second)[2]}/nginx.pid")]
    newcomer.type(second)
    daemon = newcomer.start(third)
    try:
        wait_until(lambda: daemon.poll() is not None or answers(page(lines)))
        assert "gatebridge" in fetched(page(lines))
        assert fetched(page(lines) + "hello") == "Hello, world!"
        assert len(newcomer.typed) <= 4
        assert {path.name for path in newcomer.home.iterdir()} == {"gatebridge-nginx"}
    finally:
        daemon.terminate()
        daemon.wait(30)
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        wait_until(lambda: not pid_file.exists())


def test_the_nginx_of_the_machine_in_as_many(newcomer: Newcomer) -> None:
    """Its commands are root's; what they say and in which order is looked at."""
    (newcomer.home / "shop.py").write_text("def app(environ, start_response): ...\n")
    (first,) = printed(newcomer.type("gatebridge"), "behind the nginx of this machine")
    assert first.startswith("gatebridge conf nginx --app shop:app --bind 'unix:/run/shop.sock?")
    lines = newcomer.type(f"{first} --root root")
    reload, serve = printed(lines)
    assert reload == "nginx -t && systemctl reload nginx"
    assert shlex.split(serve)[1:] == ["serve", "shop:app", "--bind", shlex.split(first)[6]]
    assert page(lines) == "http://localhost/"
    assert len(newcomer.typed) + 2 <= 4


@pytest.fixture
def host(newcomer: Newcomer, tmp_path: Path) -> Iterator[str]:
    """The host's Apache; HOST:PORT."""
    cgi_bin = newcomer.home / "cgi-bin"
    cgi_bin.mkdir()
    folder = tmp_path / "apache"
    folder.mkdir()
    port = servers.free_port()
    ground = Ground(port, Sockets(*[""] * 6), folder, newcomer.home, cgi_bin)

    def make() -> servers.Server:
        text = f"""{apache.common(ground, apache.MODULES)}
Listen 127.0.0.1:{port}
ScriptAlias /cgi-bin/ "{cgi_bin}/"
<Directory "{cgi_bin}">
    Require all granted
</Directory>
"""
        return apache.run(folder, text, [port])

    server = servers.start(make)
    yield f"127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def state() -> Iterator[Path]:
    """Instead of /tmp, so that no daemon is left there; a socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="gatebridge-test-") as name:
        Path(name).chmod(0o1777)
        yield Path(name)
        stop_daemons(Path(name))


def test_apache_in_two_commands(newcomer: Newcomer, host: str, state: Path) -> None:
    (first,) = printed(newcomer.type("gatebridge"), "in a cgi-bin")
    lines = newcomer.type(f"{first} --state-dir {state}")
    assert printed(lines) == []
    url = page(lines).replace("YOUR.HOST", host)
    assert fetched(url + "hello") == "Hello, world!"
    assert "gatebridge" in fetched(url)
    assert len(newcomer.typed) <= 3
