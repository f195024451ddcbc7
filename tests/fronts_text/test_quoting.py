"""Odd names in every place of a configuration: the server reads them as they were meant."""

from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.front_check import check
from gatebridge.fronts import caddy, haproxy, nginx
from gatebridge.fronts.place import Place
from gatebridge.fronts.registry import SERVERS
from tests.fronts.servers import program

ODD = [
    "a b",
    'a"b',
    "a'b",
    "a$b",
    "a#b",
    "a;b",
    "a\\b",
    "a%b",
    "h\xf6flich",
    "a(b)[c]+*?.^|",
    "a,b=c",
]
BRACES = "a{b}c"


def place(name: str, **more: Any) -> Place:
    given = {
        "binds": (parse_bind("unix:/run/{}/x.sock".format(name.replace("?", ""))),),
        "mount": f"/{name}",
        "static": ((f"/s/{name}", f"/srv/{name}"),),
        "send_files": f"/srv/{name}/sent",
    }
    return Place(**{**given, **more})


def accepted(server: str, made: Place, form: str = "") -> None:
    one = SERVERS[server]
    program(*one.programs, package=one.package)
    form = form or next(iter(one.forms))
    fine, words = check(one, form, one.build(made, form), made.name)
    assert fine, f"{words}\n{one.build(made, form)}"


@pytest.mark.parametrize("name", [*ODD, BRACES, "a`b"])
def test_nginx(name: str) -> None:
    accepted("nginx", place(name))


@pytest.mark.parametrize("name", [name for name in ODD if "$" not in name])
def test_nginx_location(name: str) -> None:
    accepted("nginx", place(name), "location")


@pytest.mark.parametrize("form", ["", "handle"])
@pytest.mark.parametrize("name", [name for name in ODD if "*" not in name] + ["a`b", 'a`"b'])
def test_caddy(name: str, form: str) -> None:
    accepted("caddy", place(name), form)


@pytest.mark.parametrize("form", ["", "backend"])
@pytest.mark.parametrize("name", [*ODD, BRACES, "a`b"])
def test_haproxy(name: str, form: str) -> None:
    accepted("haproxy", place(name, static=(), send_files=""), form)


@pytest.mark.parametrize(
    ("build", "form", "given", "code"),
    [
        (nginx.config, "location", {"static": (("/s", "/srv/a$b"),)}, "conf.quote"),
        (nginx.config, "location", {"binds": (parse_bind("unix:/run/$x"),)}, "conf.quote"),
        (nginx.config, "", {"tls": ("/c$", "/k")}, "conf.quote"),
        (nginx.config, "", {"listen": "443 ssl"}, "conf.tls"),
        (nginx.config, "", {"binds": (parse_bind("unix:@x"),)}, "conf.unsupported"),
        (caddy.config, "", {"static": (("/s", "/srv/{env.HOME}"),)}, "conf.quote"),
        (caddy.config, "", {"static": (("/s", "/srv/{$HOME}"),)}, "conf.quote"),
        (caddy.config, "", {"static": (("/s", "/srv/`\\"),)}, "conf.quote"),
        (caddy.config, "", {"mount": "/a*"}, "conf.quote"),
        (caddy.config, "", {"binds": (parse_bind("scgi://127.0.0.1:1"),)}, "conf.protocol"),
        (haproxy.config, "", {"binds": (parse_bind("uwsgi://127.0.0.1:1"),)}, "conf.protocol"),
        (haproxy.config, "", {"static": ()}, "conf.unsupported"),
        (haproxy.config, "", {"send_files": ""}, "conf.unsupported"),
        (haproxy.config, "", {"static": (), "send_files": "", "tls": ("/c", "/k")}, "conf.tls"),
        (haproxy.config, "", {"static": (), "send_files": "", "listen": "443 ssl"}, "conf.tls"),
    ],
)
def test_what_a_server_cannot_be_told(
    build: Any, form: str, given: dict[str, Any], code: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(place("app", **given), form)
    assert caught.value.code == code


def test_several_back_ends_need_an_upstream() -> None:
    binds = (parse_bind("unix:/run/a"), parse_bind("unix:/run/b"))
    with pytest.raises(ConfigError, match="upstream"):
        nginx.config(place("app", binds=binds), "location")
    assert nginx.config(place("app", binds=binds)).count('server "unix:') == 2
