"""HAProxy, lighttpd, Caddy: what doctor reads of them is what they do with requests."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.fronts import caddy, haproxy, lighttpd
from gatebridge.fronts.place import Place
from tests.doctor.front_stand import judged, serving
from tests.doctor.set_up import first, ids
from tests.fronts.servers import Server, free_port, program, start
from tests.serve.service import Service


@pytest.fixture(scope="module")
def live() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        with serving(Path(name)) as running:
            yield running


def haproxy_argv(file: Path) -> list[str]:
    return [program("haproxy", package="haproxy"), "-db", "-f", str(file)]


def lighttpd_argv(file: Path) -> list[str]:
    return [program("lighttpd", package="lighttpd"), "-D", "-f", str(file)]


def caddy_argv(file: Path) -> list[str]:
    words = ("run", "--adapter", "caddyfile", "--config", str(file))
    return [program("caddy", package="caddy"), *words]


ARGV: dict[str, Callable[[Path], list[str]]] = {
    "haproxy": haproxy_argv,
    "lighttpd": lighttpd_argv,
    "caddy": caddy_argv,
}


def run(live: Service, server: str, text: str) -> Server:
    """The server with a text in which PORT is where it listens."""

    def make() -> Server:
        port = free_port()
        file = live.folder / f"{server}.run"
        file.write_text(text.replace("PORT", str(port)))
        return Server(server, live.folder, ARGV[server](file), [port])

    return start(make)


HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:PORT
  default_backend b
backend b
  use-fcgi-app a
  server s unix@{s} proto fcgi
fcgi-app a
  docroot /var/empty
  pass-header Authorization
  path-info ^()(/.*)$
"""
LIGHTTPD = """
server.document-root = "{folder}"
server.bind = "127.0.0.1"
server.port = PORT
server.errorlog = "{folder}/lighttpd.log"
server.upload-dirs = ("{folder}")
server.modules += ("mod_fastcgi", "mod_scgi")
fastcgi.server = ("/" => (("socket" => "{s}", "check-local" => "disable",
  "fix-root-scriptname" => "enable")))
"""
CADDY = """
{
  admin off
  auto_https off
}
http://:PORT {
  bind 127.0.0.1
  reverse_proxy unix/{s} {
    transport fastcgi {
    }
  }
}
"""
FIX = '"fix-root-scriptname" => "enable"'
TIME = {"timeout": 120.0}
Row = tuple[str, str, dict[str, Any]]
SOUND: dict[str, Row] = {
    "haproxy at the root": ("haproxy", HAPROXY, {}),
    "haproxy at /app": ("haproxy", HAPROXY.replace("^()", "^(/app)"), {}),
    "haproxy without path-info, the mount at the daemon": (
        "haproxy", HAPROXY.replace("path-info", "# path-info"), {"mount": "/"},
    ),
    "haproxy, a longer time": ("haproxy", HAPROXY.replace("server 60s", "server 3m"), TIME),
    "lighttpd at the root": ("lighttpd", LIGHTTPD, {}),
    "lighttpd at /app": ("lighttpd", LIGHTTPD.replace('("/"', '("/app"').replace(FIX, ""), {}),
    "caddy at the root": ("caddy", CADDY, {}),
    "caddy at /app": (
        "caddy",
        CADDY.replace("reverse_proxy", "@app path /app /app/*\n  reverse_proxy @app")
        .replace("fastcgi {", "fastcgi {\n    split /app"),
        {},
    ),
    "caddy, with the mount at the daemon": (
        "caddy", CADDY.replace("reverse_proxy", "reverse_proxy /app*"), {"mount": "/app"},
    ),
    "lighttpd, with the mount at the daemon": (
        "lighttpd", LIGHTTPD.replace(FIX, ""), {"mount": "/"},
    ),
}  # fmt: skip
BROKEN: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "haproxy, another socket": (
        "front.elsewhere", "haproxy", HAPROXY.replace("{s}", "/run/php.sock"), {}, "",
    ),
    "haproxy, another protocol": (
        "front.protocol", "haproxy",
        HAPROXY.replace(" proto fcgi", "").replace("use-fcgi-app", "# use-fcgi-app"), {}, "",
    ),
    "haproxy, credentials": (
        "front.authorization", "haproxy", HAPROXY.replace("pass-header", "# pass-header"), {},
        "browser.authorization",
    ),
    "haproxy, impatience": ("front.timeout", "haproxy", HAPROXY, TIME, ""),
    "haproxy, another mount": (
        "front.mount", "haproxy", HAPROXY.replace("^()", "^(/app)"), {"mount": "/"}, "",
    ),
    "caddy, another socket": (
        "front.elsewhere", "caddy", CADDY.replace("{s}", "/run/php.sock"), {}, "",
    ),
    "caddy, another protocol": (
        "front.protocol", "caddy", CADDY.replace("transport fastcgi", "transport http"), {}, "",
    ),
    "caddy, made for PHP": (
        "front.try_files", "caddy",
        CADDY.replace("reverse_proxy", "php_fastcgi").replace("transport fastcgi {\n    }", ""),
        {}, "browser.not_reached",
    ),
    "caddy, credentials": (
        "front.authorization", "caddy",
        CADDY.replace("transport", "header_up -Authorization\n    transport"), {},
        "browser.authorization",
    ),
    "caddy, small uploads": (
        "front.upload", "caddy",
        CADDY.replace("reverse_proxy", "request_body {\n max_size 1MB\n }\n  reverse_proxy"), {},
        "",
    ),
    "caddy, impatience": (
        "front.timeout", "caddy", CADDY.replace("fastcgi {", "fastcgi {\n read_timeout 30s"), TIME,
        "",
    ),
    "caddy, the mount twice": (
        "front.mount", "caddy", CADDY.replace("reverse_proxy", "reverse_proxy /app*"), {}, "",
    ),
    "lighttpd, another socket": (
        "front.elsewhere", "lighttpd", LIGHTTPD.replace("{s}", "/run/php.sock"), {}, "",
    ),
    "lighttpd, another protocol": (
        "front.protocol", "lighttpd", LIGHTTPD.replace("fastcgi.server", "scgi.server"), {}, "",
    ),
    "lighttpd, files first": (
        "front.try_files", "lighttpd", LIGHTTPD.replace('"check-local" => "disable",', ""), {},
        "browser.not_reached",
    ),
    "lighttpd, another mount": (
        "front.mount", "lighttpd", LIGHTTPD.replace('("/"', '("/app"'), {"mount": "/"}, "",
    ),
    "lighttpd, small uploads": (
        "front.upload", "lighttpd", LIGHTTPD + "server.max-request-size = 512\n", {}, "",
    ),
    "lighttpd, impatience": (
        "front.timeout", "lighttpd", LIGHTTPD.replace(FIX, FIX + ', "read-timeout" => 30'), TIME,
        "",
    ),
}  # fmt: skip
NO_SIGNS = ("browser.proxy", "browser.chunked")  # they are of the server, not of its configuration


def seen_by(live: Service, server: str, text: str, asks: bool, flags: dict[str, Any]) -> Any:
    text = text.replace("{s}", f"{live.folder}/s.fcgi").replace("{folder}", str(live.folder))
    running = run(live, server, text)
    try:
        url = f"http://localhost:{running.ports[0]}" if asks else ""
        url += "/app" if url and "/app" in text else ""
        return judged(live, text, url=url, **flags)
    finally:
        running.stop()


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_configuration(live: Service, name: str) -> None:
    server, text, flags = SOUND[name]
    report = seen_by(live, server, text, not flags, flags)
    assert ([id for id in ids(report) if id not in NO_SIGNS], report.undecided) == ([], [])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration(live: Service, name: str) -> None:
    id, server, text, flags, seen = BROKEN[name]
    report = seen_by(live, server, text, bool(seen), flags)
    found = ids(report)
    assert [one for one in found if not one.startswith("browser.")] == [id]
    assert not seen or seen in found
    if report.is_broken:
        assert first(report) == id


@pytest.mark.parametrize("mount", ["", "/app"])
@pytest.mark.parametrize(
    ("server", "kind"),
    [
        (haproxy, "fcgi"),
        (haproxy, "http"),
        (lighttpd, "fcgi"),
        (lighttpd, "scgi"),
        (caddy, "fcgi"),
        (caddy, "http"),
    ],
)
def test_what_conf_writes_is_sound(live: Service, server: Any, kind: str, mount: str) -> None:
    bind = parse_bind(f"{kind}+unix:{live.folder}/s.{kind}")
    text = server.config(Place((bind,), mount, listen="127.0.0.1:1"), "")
    report = judged(live, text, kind, mount=mount or "/")
    assert (ids(report), report.undecided) == ([], [])


def test_tls_that_nobody_is_told_of(live: Service) -> None:
    text = HAPROXY.replace("{s}", f"{live.folder}/s.http").replace(" proto fcgi", "")
    text = text.replace(":PORT", ":443 ssl crt /x.pem").replace("use-fcgi-app", "# use-fcgi-app")
    assert ids(judged(live, text, "http")) == ["front.scheme"]
    told = "http-request set-header X-Forwarded-Proto https\n  default_backend"
    assert ids(judged(live, text.replace("default_backend", told), "http")) == []


@pytest.mark.parametrize(
    ("server", "more", "late"),
    [
        ("lighttpd", "", ["browser.stream", "front.buffering"]),
        ("lighttpd", "server.stream-response-body = 1\n", []),
        ("lighttpd", "server.stream-response-body = 2\n", []),
        ("haproxy", "", []),
        ("caddy", "", []),
    ],
)
def test_what_it_collects_is_what_arrives_late(
    live: Service, server: str, more: str, late: list[str]
) -> None:
    text = {"lighttpd": LIGHTTPD, "haproxy": HAPROXY, "caddy": CADDY}[server] + more
    text = text.replace("{s}", f"{live.folder}/s.fcgi").replace("{folder}", str(live.folder))
    running = run(live, server, text)
    try:
        url = f"http://localhost:{running.ports[0]}"
        report = judged(live, text, url=url, streams=True, mount="/")
    finally:
        running.stop()
    assert report.undecided == []
    assert [one for one in ids(report) if one.endswith(("stream", "buffering"))] == late


def test_streams_that_lighttpd_collects(live: Service) -> None:
    text = LIGHTTPD.replace("{s}", f"{live.folder}/s.fcgi")
    (live.folder / "events.py").write_text('KIND = "text/event-stream"\n')
    try:
        assert first(judged(live, text)) == "front.buffering"
        assert ids(judged(live, text + "server.stream-response-body = 1\n")) == []
    finally:
        (live.folder / "events.py").unlink()
