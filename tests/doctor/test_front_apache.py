"""Apache's configurations: what doctor reads in them is what a real Apache does with requests."""

import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.doctor.url_probe import Url
from gatebridge.fronts import apache
from gatebridge.fronts.place import Place
from tests.doctor.apache_stand import run
from tests.doctor.front_stand import judged, serving
from tests.doctor.set_up import Fake, doctor, first, ids
from tests.serve.service import Service


@pytest.fixture(scope="module")
def live() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        (Path(name) / "apache").mkdir()
        (Path(name) / "apache").chmod(0o777)  # another user writes there
        with serving(Path(name)) as running:
            yield running


UNIX = "unix:{s}|fcgi://localhost"
SET = (
    'ProxyFCGISetEnvIf "true" PATH_INFO "%{reqenv:SCRIPT_NAME}%{reqenv:PATH_INFO}"\n'
    'ProxyFCGISetEnvIf "true" SCRIPT_NAME ""\n'
)
AUTH = "CGIPassAuth On\n"


def section(path: str, inside: str) -> str:
    return f'<Location "{path}">\n{inside}</Location>\n'


RULE = f'RewriteEngine On\nRewriteRule "^/(.*)$" "{UNIX}/$1" [P,L]\n'
LIMIT = "LimitRequestBody 100000\n"
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
    "rule": ("fcgi", RULE + section("/", AUTH), {}),
    "rule at /app": (
        "fcgi",
        RULE.replace("^/(.*)", "^/app/(.*)").replace("/$1", "/app/$1") + section("/app", AUTH),
        {"mount": "/app"},
    ),
    "a limit that is kept to": (
        "uwsgi",
        LIMIT + 'ProxyPass "/" "unix:{s}|uwsgi://localhost/"\n',
        {"limit_body": 100_000},
    ),
    "a limit by a condition": (
        "fcgi",
        LIMIT
        + PASSED
        + section(
            "/", AUTH + SET + '<If "%{req:Content-Length} -gt 100000">\nRedirect 413\n</If>\n'
        ),
        {"limit_body": 100_000},
    ),
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
    "credentials for a rule": (
        "front.authorization", RULE, {}, "browser.authorization",
    ),
    "rules that are off": (
        "front.rewrite", RULE.replace("RewriteEngine On\n", "") + section("/", AUTH), {},
        "browser.not_reached",
    ),
    "a limit that is none": (
        "front.body_limit", LIMIT + PASSED + section("/", AUTH + SET), {"limit_body": 200_000}, "",
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


@pytest.mark.parametrize(
    ("kind", "option"),
    [("fcgi", ""), ("fcgi", "flushpackets=on"), ("fcgi", "flushpackets=auto"),
     ("scgi", ""), ("uwsgi", ""), ("http", "")],
)  # fmt: skip
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


@pytest.mark.parametrize(("kind", "status", "expected"), [
    ("fcgi", 200, "front.body_limit"), ("http", 200, "front.body_limit"),
    ("scgi", 413, "front.upload"), ("uwsgi", 413, "front.upload"),
])  # fmt: skip
def test_who_keeps_to_limit_request_body(
    live: Service, kind: str, status: int, expected: str
) -> None:
    """mod_proxy_fcgi and mod_proxy_http hand a larger body on."""
    target = f"unix:{live.folder}/s.{kind}|{kind}://localhost/"
    text = host(f'{LIMIT}ProxyPass "/" "{target}"\n' + section("/", AUTH))
    server = run(live, text)
    try:
        connection = HTTPConnection("127.0.0.1", server.ports[0], timeout=30)
        connection.request("POST", "/", b"x" * 150_000)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        report = judged(live, text, kind, mount="/", limit_body=200_000)
    finally:
        server.stop()
    assert (answer.status, ids(report)) == (status, [expected])


@pytest.mark.parametrize("form", [
    PASSED, section("/", f'SetHandler "proxy:{UNIX}"\n'),
    section("/", f'SetHandler "proxy:{UNIX}/srv/www"\n'),
    f"<Proxy balancer://b>\nBalancerMember {UNIX}\n</Proxy>\nProxyPass / balancer://b/\n",
])  # fmt: skip
def test_a_proxy_s_prefix_in_script_filename(live: Service, form: str) -> None:
    text = form.replace("{s}", f"{live.folder}/s.fcgi") + section("/", AUTH + SET)
    text = host("DocumentRoot /srv/www\n" + text)
    (live.folder / "uses.py").write_text('HERE = "SCRIPT_FILENAME"\n')
    try:
        report = judged(live, text)
        generic = judged(live, "ProxyFCGIBackendType GENERIC\n" + text)
    finally:
        (live.folder / "uses.py").unlink()
    assert ids(report) == ["front.script_filename"]
    cause = report.found[0].finding.cause
    assert cause.endswith("twice" if form.endswith('/srv/www"\n</Location>\n') else "prefix")
    assert "front.script_filename" not in ids(generic)
    assert ids(judged(live, text)) == []  # nobody reads it


def test_what_its_log_says_of_long_heads(live: Service) -> None:
    text = PASSED.replace("{s}", f"{live.folder}/s.fcgi") + section("/", AUTH + SET)
    log = live.folder / "heads.log"
    text = host(f'ErrorLog "{log}"\nLogLevel debug\n' + text)
    log.touch(mode=0o666)
    log.chmod(0o666)
    for more, expected in (("", []), ("LimitRequestFieldSize 2000\n", ["front.header_log"])):
        server = run(live, more + text)
        try:
            Url(f"http://127.0.0.1:{server.ports[0]}", live.control).ask(("Cookie", "c" * 5000))
        finally:
            server.stop()
        machine = Fake(live.folder / "machine")
        assert ids(doctor(machine, scripts=("/bin/true",), error_log=str(log))) == expected


def test_streams_that_are_collected(live: Service) -> None:
    text = PASSED.replace("{s}", f"{live.folder}/s.fcgi") + section("/", AUTH + SET)
    (live.folder / "events.py").write_text('KIND = "text/event-stream"\n')
    try:
        assert first(judged(live, text)) == "front.buffering"
        assert ids(judged(live, text.replace('/"\n<', '/" flushpackets=on\n<'))) == []
    finally:
        (live.folder / "events.py").unlink()
