"""Apache's configurations: what doctor reads in them is what a real Apache does with requests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.fronts import apache
from gatebridge.fronts.place import Place
from tests.doctor.front_stand import judged, serving
from tests.doctor.set_up import first, ids
from tests.fronts.apache import modules
from tests.fronts.servers import Server, free_port, program, start, unprivileged
from tests.serve.service import Service

NAMES = ("mpm_event", "authz_core", "unixd", "alias", "setenvif", "rewrite", "proxy", "proxy_fcgi",
         "proxy_scgi", "proxy_uwsgi", "proxy_http", "headers", "fcgid", "dir")  # fmt: skip


@pytest.fixture(scope="module")
def live() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        (Path(name) / "apache").mkdir()
        (Path(name) / "apache").chmod(0o777)  # another user writes there
        with serving(Path(name)) as running:
            yield running


def run(live: Service, text: str) -> Server:
    """A real Apache with it; PORT is where it listens."""
    folder = live.folder / "apache"

    def make() -> Server:
        port = free_port()
        (folder / "apache.conf").write_text(
            f'ServerRoot "{folder}"\n{modules(NAMES)}\nPidFile "{folder}/pid"\n'
            f'ErrorLog "{folder}/error.log"\nMutex "file:{folder}" default\nServerName x\n'
            f'FcgidIPCDir "{folder}/fcgid"\nFcgidProcessTableFile "{folder}/fcgid_shm"\n'
            f"Listen 127.0.0.1:{port}\n" + text.replace("PORT", str(port))
        )
        words = ("-d", str(folder), "-f", str(folder / "apache.conf"), "-DFOREGROUND")
        argv = [program("apache2", "httpd", package="apache2"), *words]
        return Server("apache", folder, unprivileged(argv), [port], [folder / "error.log"])

    return start(make)


UNIX = "unix:{s}|fcgi://localhost"
SET = (
    'ProxyFCGISetEnvIf "true" PATH_INFO "%{reqenv:SCRIPT_NAME}%{reqenv:PATH_INFO}"\n'
    'ProxyFCGISetEnvIf "true" SCRIPT_NAME ""\n'
)
AUTH = "CGIPassAuth On\n"


def section(path: str, inside: str) -> str:
    return f'<Location "{path}">\n{inside}</Location>\n'


PASSED = f'ProxyPass "/" "{UNIX}/"\n'
SOUND: dict[str, tuple[str, str, dict[str, Any]]] = {
    "pass": ("fcgi", PASSED + section("/", AUTH + SET), {}),
    "pass, with the mount at the daemon": ("fcgi", PASSED + section("/", AUTH), {"mount": "/"}),
    "handler at /app": ("fcgi", section("/app", f'SetHandler "proxy:{UNIX}/"\n' + AUTH), {}),
    "credentials by SetEnvIf": (
        "fcgi",
        'SetEnvIf Authorization "(.*)" HTTP_AUTHORIZATION=$1\n' + PASSED + section("/", SET),
        {},
    ),
    "uwsgi": ("uwsgi", 'ProxyPass "/" "unix:{s}|uwsgi://localhost/"\n', {}),
    "a longer time": (
        "fcgi",
        PASSED.replace('/"\n', '/" timeout=200\n') + section("/", AUTH + SET),
        {"timeout": 120.0},
    ),
}
BROKEN: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "another socket": ("front.elsewhere", PASSED.replace("{s}", "/run/php.sock"), {}, ""),
    "another protocol": ("front.protocol", PASSED.replace("fcgi:", "scgi:"), {}, ""),
    "credentials": (
        "front.authorization", PASSED + section("/", SET), {}, "browser.authorization",
    ),
    "credentials for another path": (
        "front.authorization", PASSED + section("/", SET) + section("/other", AUTH), {},
        "browser.authorization",
    ),
    "no slash": (
        "front.slash", f'ProxyPass "/" "{UNIX}"\n' + section("/", AUTH + SET), {},
        "browser.not_reached",
    ),
    "mount unsaid": (
        "front.mount", f'ProxyPass "/app" "{UNIX}/app"\n' + section("/", AUTH), {}, "",
    ),
    "another mount": (
        "front.mount", section("/app", f'SetHandler "proxy:{UNIX}/"\n' + AUTH), {"mount": "/"}, "",
    ),
    "impatience": (
        "front.timeout", "ProxyTimeout 30\n" + PASSED + section("/", AUTH + SET),
        {"timeout": 120.0}, "",
    ),
    "small request head": (
        "front.header_buffer", "LimitRequestFieldSize 2000\n" + PASSED + section("/", AUTH + SET),
        {}, "browser.cookie",
    ),
}  # fmt: skip


def host(text: str) -> str:
    return f"<VirtualHost *:PORT>\n{text}</VirtualHost>\n"


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_configuration(live: Service, name: str) -> None:
    kind, text, flags = SOUND[name]
    text = host(text.replace("{s}", f"{live.folder}/s.{kind}"))
    server = run(live, text)
    try:
        url = f"http://localhost:{server.ports[0]}" if not flags else ""
        url += "/app" if url and "/app" in text else ""
        report = judged(live, text, kind, url=url, **flags)
    finally:
        server.stop()
    assert ([one for one in ids(report) if one != "browser.chunked"], report.undecided) == ([], [])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration(live: Service, name: str) -> None:
    """What doctor reads is what comes of a request."""
    id, text, flags, seen = BROKEN[name]
    text = host(text.replace("{s}", f"{live.folder}/s.fcgi"))
    server = run(live, text)
    try:
        url = f"http://localhost:{server.ports[0]}" if seen else ""
        report = judged(live, text, url=url, **flags)
    finally:
        server.stop()
    found = ids(report)
    assert [one for one in found if not one.startswith("browser.")] == [id]
    assert not seen or seen in found
    if one_is_broken := [one for one in report.found if one.is_broken]:
        assert one_is_broken[0].check.id == first(report) == id


@pytest.mark.parametrize("mount", ["", "/app"])
@pytest.mark.parametrize(
    ("kind", "form"),
    [("fcgi", ""), ("scgi", ""), ("uwsgi", ""), ("http", ""), ("fcgi", "handler")],
)
def test_what_conf_writes_is_sound(live: Service, kind: str, mount: str, form: str) -> None:
    bind = parse_bind(f"{kind}+unix:{live.folder}/s.{kind}")
    text = apache.config(Place((bind,), mount, listen="127.0.0.1:1"), form)
    report = judged(live, text, kind, mount=mount or "/")
    assert (ids(report), report.undecided) == ([], [])


@pytest.mark.parametrize("kind", ["fcgi", "scgi", "uwsgi", "http"])
@pytest.mark.parametrize("option", ["", "flushpackets=on", "flushpackets=auto"])
def test_what_it_collects_is_what_arrives_late(live: Service, kind: str, option: str) -> None:
    target = f"unix:{live.folder}/s.{kind}|{kind}://localhost/"
    text = host(f'ProxyPass "/" "{target}" {option}\n' + section("/", AUTH))
    server = run(live, text)
    try:
        url = f"http://localhost:{server.ports[0]}"
        report = judged(live, text, kind, url=url, streams=True, mount="/")
    finally:
        server.stop()
    assert report.undecided == []
    late = ["browser.stream", "front.buffering"] if kind == "fcgi" and not option else []
    assert [one for one in ids(report) if one.endswith(("stream", "buffering"))] == late


def test_streams_that_are_collected(live: Service) -> None:
    text = PASSED.replace("{s}", f"{live.folder}/s.fcgi") + section("/", AUTH + SET)
    (live.folder / "events.py").write_text('KIND = "text/event-stream"\n')
    try:
        assert first(judged(live, text)) == "front.buffering"
        assert ids(judged(live, text.replace('/"\n<', '/" flushpackets=on\n<'))) == []
    finally:
        (live.folder / "events.py").unlink()
