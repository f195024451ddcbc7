"""Mercurial's own hgweb.fcgi, as Debian's package has it, unchanged but for the repository's path.

The real hg client clones and pushes through each host. The interpreter is the one that has
Mercurial; gatebridge is given to it by PYTHONPATH.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import h11
import pytest

from tests.fronts import apache, lighttpd
from tests.fronts.servers import Server, absent, free_port, program, start
from tests.fronts.sites import Ground, Sockets
from tests.suite.modes import ROOT, wait_until

EXAMPLE = Path("/usr/share/doc/mercurial-common/examples/hgweb.fcgi")
PATH_LINE = 'config = b"/path/to/repo/or/config"'
MOUNT = "/hg"
SOCKETS = Sockets(*[""] * 6)


def hg(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [program("hg", package="mercurial"), "-y", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "HGRCPATH": "", "HGUSER": "t"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def interpreter() -> str:
    """The Python of the hg command: its first line names it."""
    first = Path(program("hg", package="mercurial")).read_bytes().split(b"\n", 1)[0].decode()
    return shlex.split(first.removeprefix("#!"))[0]


class Ware:
    """A repository, its hgweb.fcgi, and commands that run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.repository = folder / "repository"
        hg(folder, "init", str(self.repository))
        (self.repository / "a.txt").write_text("first\n")
        hg(self.repository, "commit", "-A", "-m", "first")
        with (self.repository / ".hg" / "hgrc").open("a") as file:
            file.write("[web]\nallow-push = *\npush_ssl = false\n[trusted]\nusers = *\n")
        if not EXAMPLE.exists():
            absent("hgweb.fcgi", "mercurial")
        text = EXAMPLE.read_text()
        assert PATH_LINE in text
        self.script = folder / "hgweb.fcgi"
        self.script.write_text(text.replace(PATH_LINE, f'config = b"{self.repository}"'))
        self.script.chmod(0o755)
        # what an installed gatebridge would be for this interpreter
        places = [ROOT, *{Path(module.__file__).parents[1] for module in (click, h11)}]
        self.command = folder / "gatebridge"
        self.command.write_text(
            f"#!/bin/sh\nHGRCPATH= PYTHONPATH={':'.join(map(str, places))}\n"
            "export HGRCPATH PYTHONPATH\n"
            f'exec {interpreter()} -m gatebridge "$@"\n'
        )
        self.command.chmod(0o755)

    def argv(self, *options: str) -> list[str]:
        return [str(self.command), "run-script", *options, str(self.script)]

    def ground(self, name: str) -> Ground:
        place = self.folder / name
        place.mkdir()
        www = place / "www"
        www.mkdir()
        return Ground(free_port(), SOCKETS, place, www, self.folder)

    def own(self, path: Path) -> Path:
        """Readable and writable by the user that Apache becomes."""
        subprocess.run(["chmod", "-R", "a+rwX", str(path)], check=True)
        return path


Host = Callable[[Ware], Iterator[int]]


def mod_fcgid(ware: Ware) -> Iterator[int]:
    """FcgidWrapper takes the command with its words."""
    ware.own(ware.repository)
    words = shlex.join(ware.argv())
    yield from _apache(
        ware,
        "fcgid",
        f'<Location "{MOUNT}">\nSetHandler fcgid-script\n'
        f'FcgidWrapper "{words}" virtual\nOptions +ExecCGI\n</Location>',
    )


def cgi(ware: Ware) -> Iterator[int]:
    """Apache's mod_cgid runs a file: two lines that name the command and the script."""
    ware.own(ware.repository)
    wrapper = ware.folder / "hg.cgi"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(ware.argv())} "$@"\n')
    wrapper.chmod(0o755)
    yield from _apache(ware, "cgi", f'ScriptAlias {MOUNT} "{wrapper}"')


def _apache(ware: Ware, name: str, lines: str) -> Iterator[int]:
    def make() -> Server:
        ground = ware.ground(f"{name}-{len(list(ware.folder.iterdir()))}")
        text = f"""{apache.common(ground, apache.MODULES)}
<Directory />
 Require all granted
</Directory>
Listen 127.0.0.1:{ground.port}
{lines}
"""
        return apache.run(ground.folder, text, [ground.port])

    yield from _served(make)


def bin_path(ware: Ware) -> Iterator[int]:
    """lighttpd starts it itself, the listening socket as descriptor 0."""

    def make() -> Server:
        ground = ware.ground(f"lighttpd-{len(list(ware.folder.iterdir()))}")
        text = lighttpd.common(ground, ground.port) + (
            'server.modules += ("mod_fastcgi")\n'
            f'fastcgi.server = ("{MOUNT}" => (("socket" => "{ground.folder}/s", '
            f'"bin-path" => "{shlex.join(ware.argv())}", "max-procs" => 1, '
            '"check-local" => "disable")))\n'
        )
        return lighttpd.run(ground.folder, text, [ground.port])

    yield from _served(make)


def spawn_fcgi(ware: Ware) -> Iterator[int]:
    """spawn-fcgi starts it, nginx asks."""
    path = ware.folder / "spawned"
    argv = [program("spawn-fcgi", package="spawn-fcgi"), "-n", "-s", str(path), "--"]
    yield from _behind_nginx(ware, path, [*argv, *ware.argv()])


def bind(ware: Ware) -> Iterator[int]:
    """--bind, nginx asks: what a service of systemd's has."""
    path = ware.folder / "bound"
    yield from _behind_nginx(ware, path, ware.argv("--bind", f"unix:{path}?mode=0660"))


def _behind_nginx(ware: Ware, path: Path, argv: list[str]) -> Iterator[int]:
    with (ware.folder / "script.log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ware.folder
        )
    try:
        assert wait_until(path.exists), (ware.folder / "script.log").read_text()
        yield from _served(lambda: _nginx(ware, path))
    finally:
        process.terminate()
        assert process.wait(20) == 0


def _nginx(ware: Ware, path: Path) -> Server:
    ground = ware.ground(f"nginx-{len(list(ware.folder.iterdir()))}")
    folder = ground.folder
    text = f"""
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
{"user root;" if os.geteuid() == 0 else ""}
events {{}}
http {{
 access_log off; client_max_body_size 64m;
 client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
 fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/c;
 server {{ listen 127.0.0.1:{ground.port};
  location {MOUNT} {{ include /etc/nginx/fastcgi_params; fastcgi_split_path_info ^({MOUNT})(.*)$;
   fastcgi_param SCRIPT_NAME {MOUNT}; fastcgi_param PATH_INFO $fastcgi_path_info;
   fastcgi_pass unix:{path}; }} }}
}}
"""
    (folder / "nginx.conf").write_text(text)
    argv = [program("nginx", package="nginx"), "-c", str(folder / "nginx.conf"), "-e",
            str(folder / "error.log")]  # fmt: skip
    return Server("nginx", folder, argv, [ground.port], [folder / "error.log"])


def _served(make: Callable[[], Server]) -> Iterator[int]:
    server = start(make)
    try:
        yield server.ports[0]
    except BaseException:
        print(server.log()[-3000:])
        raise
    finally:
        server.stop()


HOSTS: list[Host] = [mod_fcgid, bin_path, spawn_fcgi, bind, cgi]


@pytest.fixture(params=HOSTS, ids=lambda host: host.__name__)
def hosted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Ware, str]]:
    folder = tmp_path_factory.mktemp("hg")
    for above in (folder.parent, folder.parent.parent):
        above.chmod(0o755)
    ware = Ware(folder)
    for port in request.param(ware):
        yield ware, f"http://127.0.0.1:{port}{MOUNT}"


def test_clone_and_push(hosted: tuple[Ware, str]) -> None:
    ware, url = hosted
    clone = ware.folder / "clone"
    hg(ware.folder, "clone", url, str(clone))
    assert (clone / "a.txt").read_text() == "first\n"
    (clone / "b ü.txt").write_text("second\n")
    (clone / "large").write_bytes(os.urandom(1 << 20))
    hg(clone, "commit", "-A", "-m", "second")
    hg(clone, "push")
    told = hg(ware.repository, "log", "-T", "{desc} {node}\n")  # a node is a hash of all of it
    assert told.startswith("second ")
    assert told == hg(clone, "log", "-T", "{desc} {node}\n")
