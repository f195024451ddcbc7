"""gatebridge conf: what is printed, tested, written and refused."""

import os
import stat
from pathlib import Path

import pytest

from tests.cli.run import run, said
from tests.fronts.servers import program

BIND = ("--bind", "unix:/run/shop.sock")


def test_alone_it_lists_servers_and_forms(tmp_path: Path) -> None:
    done = run(tmp_path, "conf")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["nginx", "server"] in lines
    assert ["haproxy", "backend"] in lines


@pytest.mark.parametrize("words", [("conf", "ngnix"), ("conf", "nginx", "frontend")])
def test_an_unknown_name_is_told_what_there_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert "there are " in said(done)


def test_options_of_serve_are_what_is_written(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("conf", "nginx", "--bind", "scgi://0.0.0.0:9000?allow=10.0.0.1", "--mount", "/shop"),
        *("--limit-body", "64MiB", "--timeout", "90s", "--queue-timeout", "10s", "--name", "store"),
    )
    assert done.returncode == 0, done.stderr
    for line in (
        "upstream store {",
        "server 127.0.0.1:9000;",
        "client_max_body_size 64m;",
        "scgi_read_timeout 105s;",
        '"(?s)^(?<gatebridge_mount>/shop)(?<gatebridge_path>/.*)?\\\\z"',
    ):
        assert line in done.stdout


def test_own_options_are_what_is_written(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        *("conf", "nginx", *BIND, "--server-name", "a.example b.example", "--keep", "7"),
        *("--listen", "[::1]:8443", "--tls", "/etc/a.pem,/etc/a.key", "--static", "/s=files"),
        *("--send-files", "/srv/sent", "--no-buffering"),
    )
    assert done.returncode == 0, done.stderr
    for line in (
        "server_name a.example b.example;",
        "keepalive 7;",
        "listen [::1]:8443 ssl;",
        'ssl_certificate "/etc/a.pem";',
        f'alias "{tmp_path}/files/";',
        'alias "/srv/sent/";',
        "fastcgi_buffering off;",
    ):
        assert line in done.stdout


FILE = """
app = "shop:app"
[server]
bind = ["http://127.0.0.1:8000", "fcgi://127.0.0.1:9000", "unix:shop.sock"]
mount = "/shop"
[status]
ping_path = "/ping"
"""


def test_a_file_says_the_same_as_for_serve(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(FILE)
    done = run(tmp_path, "conf", "haproxy", "-c", "g.toml")
    assert done.returncode == 0, done.stderr
    assert f"unix@{tmp_path}/shop.sock proto fcgi" in done.stdout
    assert "option httpchk GET /ping" in done.stdout
    assert "9000" not in done.stdout
    other = run(tmp_path, "conf", "haproxy", "-c", "g.toml", "--protocol", "http").stdout
    assert "127.0.0.1:8000 pool-max-conn" in other
    done = run(tmp_path, "conf", "nginx", "-c", "g.toml", "--protocol", "uwsgi")
    assert done.returncode == 2
    assert "conf.protocol" in said(done)


def test_of_several_pools_one_is_named(tmp_path: Path) -> None:
    pools = '[pool.{0}]\napp = "{0}:app"\nbind = ["unix:/run/{0}.sock"]\n'
    (tmp_path / "g.toml").write_text(pools.format("shop") + pools.format("blog"))
    done = run(tmp_path, "conf", "nginx", "-c", "g.toml")
    assert done.returncode == 2
    assert "--pool takes one of shop, blog" in said(done)
    done = run(tmp_path, "conf", "nginx", "-c", "g.toml", "--pool", "blog")
    assert "unix:/run/blog.sock" in done.stdout
    assert "shop" not in done.stdout


def test_what_nobody_can_reach_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "conf", "nginx", "--bind", "systemd:shop")
    assert done.returncode == 2
    assert "conf.bind" in said(done)


def test_check_asks_the_server_itself(tmp_path: Path) -> None:
    program("nginx", package="nginx")
    done = run(tmp_path, "conf", "nginx", *BIND, "--check")
    assert done.returncode == 0, done.stderr
    assert "test is successful" in done.stderr
    assert done.stdout == run(tmp_path, "conf", "nginx", *BIND).stdout
    tls = ("--tls", f"{tmp_path}/none.pem,{tmp_path}/none.key")
    done = run(tmp_path, "conf", "nginx", *BIND, "--check", *tls, "-o", "out")
    assert done.returncode == 6
    assert "none.pem" in said(done)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("gatebridge-conf-*"))


def test_check_says_where_there_is_no_server(tmp_path: Path) -> None:
    """A form that nothing tests is the same on every machine."""
    from gatebridge.errors import ConfigError
    from gatebridge.front_check import find
    from gatebridge.fronts.registry import Server

    server = Server(lambda place, form: "", {}, ("no-such-server",), package="of-nobody")
    with pytest.raises(ConfigError, match="no-such-server.*of-nobody"):
        find(server)


def install(folder: Path, *more: str):
    return run(folder, "conf", "nginx", *BIND, "--install", "--root", str(folder / "root"), *more)


def test_install_writes_where_debian_keeps_it(tmp_path: Path) -> None:
    done = install(tmp_path)
    path = tmp_path / "root/etc/nginx/conf.d/shop.conf"
    assert done.returncode == 0, done.stderr
    first, then, daemon, page = done.stdout.splitlines()
    assert daemon.startswith("then ")
    assert daemon.endswith(" serve myapp:app --bind unix:/run/shop.sock")
    assert page == "page  http://localhost/"
    assert first == f"wrote {path}"
    assert "systemctl reload nginx" in then
    mark, _, text = path.read_text().partition("\n")
    assert mark.startswith("# written by gatebridge conf, sha256 ")
    assert text == run(tmp_path, "conf", "nginx", *BIND).stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["shop.conf"]


def test_install_replaces_what_it_wrote_itself(tmp_path: Path) -> None:
    install(tmp_path)
    path = tmp_path / "root/etc/nginx/conf.d/shop.conf"
    before = path.stat().st_ino
    assert install(tmp_path).stdout.startswith("unchanged ")
    assert path.stat().st_ino == before
    assert install(tmp_path, "--mount", "/shop").stdout.startswith("wrote ")
    assert "/shop" in path.read_text()


def test_install_leaves_an_edited_file_and_shows_the_difference(tmp_path: Path) -> None:
    install(tmp_path)
    path = tmp_path / "root/etc/nginx/conf.d/shop.conf"
    edited = path.read_text().replace("keepalive 32", "keepalive 99")
    path.write_text(edited)
    done = install(tmp_path)
    assert done.returncode == 2
    assert "conf.edited" in said(done)
    assert "-    keepalive 99;\n+    keepalive 32;" in done.stderr
    assert path.read_text() == edited


@pytest.mark.parametrize("kind", ["text", "bytes", "link", "folder"])
def test_install_leaves_what_is_not_its_own(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "root/etc/nginx/conf.d/shop.conf"
    path.parent.mkdir(parents=True)
    other = tmp_path / "other"
    other.write_text("mine\n")
    if kind == "link":
        path.symlink_to(other)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"mine\n" if kind == "text" else b"\xff\xfe\n")
    done = install(tmp_path)
    assert done.returncode == 2
    assert "conf.foreign" in said(done)
    assert path.is_symlink() == (kind == "link")
    assert other.read_text() == "mine\n"


def test_install_needs_a_place(tmp_path: Path) -> None:
    done = run(tmp_path, "conf", "nginx", "location", *BIND, "--install")
    assert done.returncode == 2
    assert "conf.no_place" in said(done)
    done = run(tmp_path, "conf", "nginx", *BIND, "--install", "-o", "x")
    assert done.returncode == 2


def test_output_is_written_whole(tmp_path: Path) -> None:
    done = run(tmp_path, "conf", "caddy", *BIND, "-o", "Caddyfile")
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "Caddyfile").read_text() == run(tmp_path, "conf", "caddy", *BIND).stdout
    done = run(tmp_path, "conf", "caddy", *BIND, "-o", "none/Caddyfile")
    assert done.returncode == 2
    assert "conf.write" in said(done)
