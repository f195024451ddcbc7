"""The configurations in the documents, as they stand there, in real servers.

Only what differs from machine to machine is put in: sockets, the port, and the folder of a
cgi-bin. The application is the one of the README.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from tests.fronts import apache, caddy, haproxy, lighttpd, nginx, servers
from tests.fronts.sites import Ground, Site, Sockets

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text("utf-8")
FRONTS = {
    "nginx": nginx,
    "apache": apache,
    "lighttpd": lighttpd,
    "caddyfile": caddy,
    "haproxy": haproxy,
}
(APPLICATION,) = re.findall(r"```python\n(.*?)```", README, re.S)


def blocks(text, kinds):
    """(language, block, name for a test) of the code blocks in these languages."""
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", text, re.S):
        if kind in kinds:
            target = re.search(r"/run/\w+\.(\w+)|ScriptAlias", block)[0]
            yield pytest.param(kind, block, id=f"{kind}-{target.rpartition('/')[2]}")


@pytest.fixture(scope="module", name="home")
def make_home():
    """A folder with the README's application; its path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="gb-"))
    path.chmod(0o755)  # Apache comes as another user
    (path / "myapp.py").write_text(APPLICATION)
    yield path
    shutil.rmtree(path)


class Daemon:
    """`gatebridge serve` in the folder ``home``, which listens on ``binds`` sockets."""

    def __init__(self, home, *words, binds):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gatebridge", "serve", *words],
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(binds):
            line = self.process.stderr.readline()
            assert "listening on" in line, line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate(timeout=30)


def serving(home, mount, *binds):
    """The README's application as a document has it, with its sockets in ``home``."""
    words = ["myapp:app", "--mount", mount]
    for bind in binds:
        words += ["--bind", bind.replace("/run/", f"{home}/") + "?mode=0666"]
    return Daemon(home, *words, binds=len(binds))


@pytest.fixture(scope="module", name="daemon")
def run_daemon(home):
    (command,) = re.findall(r"^gatebridge serve .*--mount.*$", PROTOCOLS, re.M)
    binds = re.findall(r"--bind (\S+)", command)
    with serving(home, "/", *binds) as daemon:
        yield daemon


def start(kind, block, home, folder):
    """The front server with this configuration on a port of its own."""
    folder.chmod(0o755)
    for file in ("fastcgi_params", "scgi_params", "uwsgi_params"):
        names = file.partition("_")[0]
        stock = Path("/etc/nginx") / file
        text = stock.read_text() if stock.exists() else nginx.params(names).replace("; ", ";\n")
        (folder / file).write_text(text)

    def site_text(ground):
        text = block.replace("/run/", f"{home}/")
        text = re.sub(r"listen 8080", f"listen 127.0.0.1:{ground.port}", text)
        return re.sub(r"bind :8080", f"bind 127.0.0.1:{ground.port}", text)

    def make():
        ground = Ground(servers.free_port(), Sockets(*[""] * 6), folder, folder, folder)
        made = FRONTS[kind].start([(Site(f"{kind}-document", site_text), ground)])
        return made, ground.port

    for attempt in range(servers.TRIES):
        try:
            return make()
        except AssertionError as error:
            if attempt == servers.TRIES - 1 or "in use" not in str(error).lower():
                raise
    raise AssertionError("not reached")


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        return response.read().decode()


@pytest.mark.parametrize(("kind", "block"), list(blocks(PROTOCOLS, FRONTS)))
def test_configuration_of_protocols_md(kind, block, home, daemon, tmp_path):
    server, port = start(kind, block, home, tmp_path)
    try:
        assert get(port, "/a/b") == "Hello from /\n"
    finally:
        server.stop()


def test_daemon_of_the_readme(home, tmp_path):
    (command,) = re.findall(r"gatebridge (serve myapp.*www-data.*)$", README, re.M)
    assert "--mount / " in command
    block = re.findall(r"```nginx\n(.*?)```", README, re.S)[0]
    assert block in PROTOCOLS
    with serving(home, "/", "unix:/run/readme.sock"):
        server, port = start("nginx", block.replace("myapp.sock", "readme.sock"), home, tmp_path)
        try:
            assert get(port, "/x") == "Hello from /\n"
        finally:
            server.stop()


OLD = """#!/bin/sh
echo "Content-Type: text/plain"
echo
echo "Old words from $SCRIPT_NAME"
"""


def test_old_scripts_of_the_readme(home, tmp_path):
    """Its file, its routes and its nginx: an old script, the new one at its URL, and back."""
    cgi_bin = tmp_path / "cgi-bin"
    cgi_bin.mkdir(mode=0o755)
    for name in ("order.cgi", "other.cgi"):
        (cgi_bin / name).write_text(OLD)
        (cgi_bin / name).chmod(0o755)
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.S)
    text = text.replace("/srv/cgi-bin", str(cgi_bin)).replace("/run/", f"{home}/")
    file = tmp_path / "gatebridge.toml"
    file.write_text(text.replace("mode=0660&group=www-data", "mode=0666"))
    commands = re.findall(r"gatebridge (route .*)$", README, re.M)
    block = re.findall(r"```nginx\n(.*?)```", README, re.S)[1]
    control = ["--control-socket", f"{home}/ctl"]
    with Daemon(home, "-c", str(file), *control, binds=1):
        server, port = start("nginx", f"server {{ listen 8080;\n{block}}}\n", home, tmp_path)
        try:
            seen = [get(port, "/cgi-bin/order.cgi")]
            for words in commands:
                run = [sys.executable, "-m", "gatebridge", *shlex.split(words), *control]
                subprocess.run(run, cwd=home, check=True)
                seen.append(get(port, "/cgi-bin/order.cgi"))
            old, new = "Old words from /cgi-bin/order.cgi\n", "Hello from /cgi-bin/order.cgi/\n"
            assert seen == [old, new, old]
            assert get(port, "/cgi-bin/other.cgi") == "Old words from /cgi-bin/other.cgi\n"
        finally:
            server.stop()


def test_cgi_bin_of_the_readme(home, tmp_path):
    """The shim that the command writes, under the configuration for Apache."""
    (words,) = re.findall(r"gatebridge (shim new .*)$", README, re.M)
    cgi_bin = tmp_path / "cgi-bin"
    cgi_bin.mkdir()
    state = home / "state"
    state.mkdir()
    state.chmod(0o1777)  # as /tmp
    words = [*words.replace("/srv/cgi-bin", str(cgi_bin)).split(), "--state-dir", str(state)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, "-m", "gatebridge"]
    subprocess.run([*run, *words], cwd=home, env=environment, check=True)
    block = re.findall(r"```apache\n(.*?)```", README, re.S)[0]
    server, port = start("apache", block.replace("/srv/cgi-bin", str(cgi_bin)), home, tmp_path)
    try:
        assert get(port, "/cgi-bin/app.cgi/") == "Hello from /cgi-bin/app.cgi/\n"
    finally:
        server.stop()
        (control,) = state.glob("gatebridge-*/*.ctl")  # of the daemon that it has started
        stop = ["ctl", "stop", "--control-socket", str(control)]
        subprocess.run([*run, *stop], env=environment, check=True)
