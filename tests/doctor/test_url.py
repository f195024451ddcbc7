"""Probes through a real front server: what is lost on the way is named, and nothing of a sound one.

nginx stands for all of them; what other servers do differently is in tests of their texts.
"""

import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.doctor.report import Report
from gatebridge.doctor.url_probe import Url
from gatebridge.errors import UseError
from gatebridge.fronts import nginx
from gatebridge.fronts.place import Place
from tests.doctor.front_stand import judged, serving
from tests.doctor.set_up import Fake, configured, doctor, first, ids, own_name
from tests.fronts.generated import certificate
from tests.fronts.servers import Server, free_port, program, start
from tests.serve.service import Service


@pytest.fixture(scope="module")
def live() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/var/tmp") as name:
        with serving(Path(name)) as running:
            yield running


@contextmanager
def front(live: Service, text: str) -> Iterator[int]:
    """nginx with it; {port} is where it listens."""
    folder = live.folder

    def make() -> Server:
        port = free_port()
        path = folder / "nginx.conf"
        ours = text.replace("{port}", str(port)).replace("{s}", f"{folder}/s.fcgi")
        path.write_text("daemon off; master_process off;\n" + nginx.whole(ours, "", str(folder)))
        argv = [program("nginx", package="nginx"), "-c", str(path), "-p", str(folder)]
        return Server("nginx", folder, argv, [port])

    server = start(make)
    try:
        yield server.ports[0]
    finally:
        server.stop()


def asked(live: Service, url: str, **more: Any) -> Report:
    flags = {"bind": [f"unix:{live.folder}/s.fcgi"], "chdir": str(live.folder)}
    meant = configured("shop:application", control_socket=live.control, **flags)
    machine = Fake(live.folder / "machine")
    return doctor(machine, **meant, url=url, front_user=own_name(), **more)


def made(live: Service, mount: str = "", **more: Any) -> str:
    bind = parse_bind(f"unix:{live.folder}/s.fcgi")
    return nginx.config(Place((bind,), mount, listen="127.0.0.1:65000", **more), "").replace(
        "65000", "{port}"
    )


@pytest.mark.parametrize("mount", ["", "/app"])
def test_a_sound_server(live: Service, mount: str) -> None:
    with front(live, made(live, mount)) as port:
        report = asked(live, f"http://localhost:{port}{mount}/")
    assert (ids(report), report.undecided) == ([], [])


@pytest.mark.parametrize(
    ("id", "old", "new"),
    [
        ("browser.path", "PATH_INFO         $document_uri", "PATH_INFO /x$document_uri"),
        ("browser.scheme", "HTTPS             $https if_not_empty", "HTTPS on"),
        ("browser.authorization", "HTTP_PROXY ",
         'HTTP_AUTHORIZATION ""; fastcgi_param HTTP_PROXY '),
        ("browser.proxy", 'fastcgi_param HTTP_PROXY        "" if_not_empty;', ""),
        ("browser.repeated", "HTTP_PROXY ",
         "HTTP_X_GATEBRIDGE_DOCTOR one; fastcgi_param HTTP_PROXY "),
        ("browser.split", 'SCRIPT_NAME       ""', 'SCRIPT_NAME /gatebridge-doctor'),
        ("browser.answer_head", "fastcgi_buffer_size 16k;", ""),
        ("browser.cookie", "server_name ", "large_client_header_buffers 4 4k; server_name "),
        ("browser.chunked", "fastcgi_pass ", "if ($http_transfer_encoding) { return 411; }"
         " fastcgi_pass "),
        ("browser.not_reached", "location / {", "location / { if ($uri) { return 404; }"),
        ("browser.not_reached", "s.fcgi", "s.absent"),
    ],
)  # fmt: skip
def test_what_is_lost_on_the_way(live: Service, id: str, old: str, new: str) -> None:
    text = made(live)
    assert old in text
    if id in ("browser.path", "browser.split"):  # gatebridge goes by REQUEST_URI, if there is one
        text = text.replace("fastcgi_param REQUEST_URI       $request_uri;", "")
    if id == "browser.split":
        text = text.replace("location / {", "location ~ ^/gatebridge-doctor(?<rest>/.*)$ {")
        text = text.replace("PATH_INFO         $document_uri", "PATH_INFO $rest")
    with front(live, text.replace(old, new)) as port:
        report = asked(live, f"http://localhost:{port}")
    assert first(report) == id
    assert len(report.found) == 1


def test_streams_that_are_collected(live: Service) -> None:
    text = made(live).replace("fastcgi_keep_conn on;", "")
    at_once = text.replace("fastcgi_pass", "fastcgi_buffering off; fastcgi_pass")
    with front(live, text) as port:
        report = asked(live, f"http://localhost:{port}", streams=True)
        assert ids(report) == ["browser.stream"]
        assert "when both were sent; --streams" in report.found[0].finding.evidence
        assert "fastcgi_buffering off" in report.found[0].finding.mend
        assert ids(asked(live, f"http://localhost:{port}")) == []  # it is not said to stream
    for sound in (at_once, made(live)):
        with front(live, sound) as port:
            report = asked(live, f"http://localhost:{port}", streams=True)
        assert (ids(report), report.undecided) == ([], [])


@pytest.mark.parametrize("kind", ["fcgi", "scgi", "uwsgi", "http"])
def test_what_nginx_collects_is_what_arrives_late(live: Service, kind: str) -> None:
    """Kept connections of FastCGI and HTTP/1.1 collect nothing, and the file is read so."""
    bind = f"{kind}+unix:{live.folder}/s.{kind}"
    text = nginx.config(Place((parse_bind(bind),), "", listen="127.0.0.1:65000"), "")
    text = text.replace("65000", "{port}")
    with front(live, text) as port:
        url = f"http://localhost:{port}"
        report = judged(live, text, kind, url=url, streams=True, mount="/")
    late = [] if kind in ("fcgi", "http") else ["browser.stream", "front.buffering"]
    assert (ids(report), report.undecided) == (late, [])


def test_the_application_sees_nothing_of_it(live: Service) -> None:
    with front(live, made(live)) as port:
        (live.folder / "seen").unlink(missing_ok=True)
        report = asked(live, f"http://localhost:{port}", streams=True)
        assert (ids(report), report.undecided) == ([], [])
        assert not (live.folder / "seen").exists()
        with urllib.request.urlopen(f"http://localhost:{port}/x", timeout=30) as answer:
            assert answer.read() == b"ok"
        assert (live.folder / "seen").exists()


@pytest.mark.parametrize(
    ("old", "new", "cookie"),
    [
        ("fastcgi_buffer_size 16k;", "", 0),
        ("server_name ", "large_client_header_buffers 4 4k; server_name ", 6000),
        ("", "", 6000),
    ],
)
def test_what_its_log_says_of_long_heads(
    live: Service, tmp_path: Path, old: str, new: str, cookie: int
) -> None:
    log = tmp_path / "error.log"
    log.touch()
    text = (
        made(live).replace(old, new).replace("server_name ", f"error_log {log} info; server_name ")
    )
    with front(live, text) as port:
        url = Url(f"http://127.0.0.1:{port}", live.control)
        url.ask(("Cookie", "c" * cookie), answer="cookie")
    report = asked(live, "", error_log=str(log))
    assert ids(report) == (["front.header_log"] if old else [])
    if old:
        assert ("502" if cookie == 0 else "400") in report.found[0].finding.cause


def test_a_certificate_that_no_browser_takes(live: Service) -> None:
    class Ground:
        folder = live.folder

    text = made(live, tls=certificate(Ground()))  # type: ignore[arg-type]
    with front(live, text) as port:
        assert ids(asked(live, f"https://localhost:{port}/")) == ["browser.certificate"]
        silent = text.replace("HTTPS", "HTTPX").replace("REQUEST_SCHEME", "REQUEST_SCHEMA")
        with front(live, silent) as other:
            found = ids(asked(live, f"https://localhost:{other}/"))
    assert found == ["browser.scheme", "browser.certificate"]


def test_nobody_answers(live: Service) -> None:
    report = asked(live, f"http://127.0.0.1:{free_port()}/")
    assert ids(report) == ["browser.no_answer"]
    assert "refused" in report.found[0].finding.evidence


def test_the_cause_comes_before_what_a_browser_sees(live: Service) -> None:
    text = made(live).replace("s.fcgi", "s.absent")
    (live.folder / "front.conf").write_text(text)
    with front(live, text) as port:
        named = (f"{live.folder}/front.conf",)
        report = asked(live, f"http://localhost:{port}/", front_config=named)
    assert ids(report) == ["front.elsewhere", "browser.not_reached"]
    assert report.found[1].because == "front.elsewhere"


@pytest.mark.parametrize(
    "url", ["localhost:80", "http://[::1", "http://x:y", "http://", "file:///x"]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UseError, match="a URL as in"):
        Url(url, "")
