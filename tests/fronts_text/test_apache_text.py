"""What gatebridge.fronts.apache and .lighttpd write, where no server is needed to see it."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.front_check import check
from gatebridge.fronts import apache, apache_text, iis, lighttpd
from gatebridge.fronts.place import Place
from gatebridge.fronts.registry import SERVERS
from tests.fronts import servers

Build = Callable[[Place, str], str]
SOCKET = (parse_bind("unix:/run/shop/shop.sock"),)
TWO = (parse_bind("http://127.0.0.1:8001"), parse_bind("http://127.0.0.1:8002"))
SHIM = "/usr/lib/cgi-bin/shop.cgi"
ODD = "/srv/a \"b\" 'c' $d ${e} #f \\g [h] *i é"


def place(**more: object) -> Place:
    return Place(**{"binds": SOCKET, "name": "shop", **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "form", "more", "code"),
    [
        (apache.config, "none", {}, "conf.form"),
        (apache.config, "pass", {"binds": (parse_bind("unix:@shop"),)}, "conf.unsupported"),
        (apache.config, "pass", {"binds": (parse_bind("unix:/a#b"),)}, "conf.unsupported"),
        (apache.config, "pass", {"mount": "/a*"}, "conf.unsupported"),
        (apache.config, "pass", {"static": (("/a[b]", "/srv"),)}, "conf.unsupported"),
        (apache.config, "handler", {"binds": TWO}, "conf.unsupported"),
        (apache.config, "cgi", {}, "conf.shim"),
        (apache.config, "fcgid", {"shim": "relative.fcgi"}, "conf.shim"),
        (apache.config, "fcgid", {"shim": "/srv/a b.fcgi"}, "conf.unsupported"),
        (apache.config, "htaccess", {}, "conf.shim"),
        (lighttpd.config, "none", {}, "conf.form"),
        (lighttpd.config, "server", {"binds": (parse_bind("unix:@shop"),)}, "conf.unsupported"),
        (lighttpd.config, "server", {"binds": TWO, "send_files": "/srv"}, "conf.unsupported"),
        (lighttpd.config, "server", {"send_files": "/srv/a\\"}, "conf.quote"),
        (lighttpd.config, "cgi", {}, "conf.shim"),
        (iis.config, "none", {}, "conf.form"),
        (iis.config, "proxy", {}, "conf.protocol"),
        (iis.config, "proxy", {"binds": (parse_bind("http+unix:/x"),)}, "conf.unsupported"),
        (iis.config, "proxy", {"binds": TWO, "static": (("/s", "/srv"),)}, "conf.unsupported"),
        (iis.config, "cgi", {"shim": SHIM}, "conf.shim"),
    ],
)
def test_what_cannot_be_is_refused(build: Build, form: str, more: object, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(place(**more), form)  # type: ignore[arg-type]
    assert caught.value.code == code


FULL = {
    "mount": "/app",
    "static": (("/static", ODD), ("/app/media", "/srv/media")),
    "upload": 0,
    "buffering": False,
    "server_name": "shop.example.org *.shop.example.org",
    "listen": "127.0.0.1:8443",
}
FORMS = [
    ("apache", "pass", {}),
    ("apache", "pass", {"binds": TWO, "health": "/ping"}),
    ("apache", "handler", {}),
    ("apache", "handler", {"binds": (*SOCKET, parse_bind("fcgi://[::1]:9")), "health": "/ping"}),
    ("apache", "fcgid", {"shim": "/usr/lib/cgi-bin/${HOME}[1].fcgi"}),
    ("apache", "cgi", {"shim": f"{ODD}/shop.cgi"}),
    ("apache", "htaccess", {"shim": SHIM}),
    ("lighttpd", "server", {}),
    ("lighttpd", "server", {"binds": TWO, "health": "/ping"}),
    ("lighttpd", "server", {"send_files": '/srv/a "b" $c #d'}),
    ("lighttpd", "cgi", {"shim": f"{ODD}/shop.cgi"}),
]


@pytest.mark.parametrize(("server", "form", "more"), FORMS)
def test_the_server_accepts_it(server: str, form: str, more: dict[str, object]) -> None:
    known = SERVERS[server]
    servers.program(*known.programs, package=known.package)
    made = known.build(place(**{**FULL, **more}), form)
    accepted, words = check(known, form, made, "shop")
    assert accepted, words


@pytest.mark.parametrize("server", ["apache", "lighttpd"])
def test_the_server_refuses_what_is_none(server: str) -> None:
    known = SERVERS[server]
    servers.program(*known.programs, package=known.package)
    form = next(iter(known.forms))
    accepted, _ = check(known, form, known.build(place(), form) + "nothing\n", "shop")
    assert not accepted


def test_a_module_that_is_missing_is_named(tmp_path: Path) -> None:
    """In a sentence, where Apache itself would say "Invalid command"."""
    program = servers.program("apache2", "httpd", package="apache2")
    whole = apache.whole(apache.config(place(listen="8099"), "pass"), "pass", str(tmp_path))
    whole = re.sub("LoadModule proxy_fcgi_module .*", "", whole)
    (tmp_path / "file").write_text(whole)
    done = subprocess.run(
        [program, "-t", "-d", str(tmp_path), "-f", str(tmp_path / "file")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "a2enmod proxy_fcgi" in done.stderr


@pytest.mark.parametrize("server", ["apache", "lighttpd"])
def test_a_certificate_is_named_and_its_module_too(server: str) -> None:
    made = SERVERS[server].build(place(tls=("/etc/ssl/a b.pem", "/etc/ssl/key.pem")), "")
    assert '"/etc/ssl/a b.pem"' in made
    assert "mod_ssl" in made or "mod_openssl" in made
    assert ":443" in made


def test_every_name_and_one() -> None:
    assert "ServerAlias *" in apache.config(place(server_name="_"))
    names = apache.config(place(server_name="a.example b.example"))
    assert "ServerName a.example\n" in names
    assert "ServerAlias b.example\n" in names
    assert "HTTP" not in lighttpd.config(place(server_name="_"))


def test_files_that_the_application_names() -> None:
    made = apache.config(place(send_files="/srv/a b"))
    assert 'XSendFilePath "/srv/a b"' in made
    assert "a2enmod xsendfile" in made


def test_patterns_are_exactly_the_text() -> None:
    text = "/a.b (c)+é"
    pattern = apache_text.regex_of(text).encode()
    assert re.fullmatch(pattern, text.encode())
    assert not re.fullmatch(pattern, text.replace(".", "x").encode())


@pytest.mark.parametrize(("server", "form", "more"), FORMS)
def test_every_setting_has_its_reason(server: str, form: str, more: dict[str, object]) -> None:
    """What sets something stands at most five lines below a comment that says why."""
    made = SERVERS[server].build(place(**{**FULL, **more}), form)
    lines = [line.strip() for line in made.splitlines()]
    said = 0
    for at, line in enumerate(lines):
        if SETS.match(line):
            said += 1
            assert any(each.startswith("#") for each in lines[max(0, at - 5) : at]), line
    assert said


SETS = re.compile(
    r"Limit|CGIPassAuth|CGIDScript|Fcgid|Redirect|Allow\w+Slashes|ProxyPass |ProxySet|Balancer"
    r"|SetHandler fcgid|Rewrite(Rule|Cond)|server.(max|stream)|alias.url|cgi.|\"(read|fix|check)-"
)
