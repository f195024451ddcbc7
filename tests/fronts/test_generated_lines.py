"""What the lines of a generated configuration are for, each seen to do it."""

import http.client
import json
import socket
import ssl
import threading
from urllib.parse import quote

import pytest

from tests.fronts.generated import (
    CADDY,
    CADDY_EXTRA,
    CADDY_UNCHECKED,
    HAPROXY,
    HAPROXY_EXTRA,
    NGINX,
    NGINX_EXTRA,
)
from tests.fronts.lines_seen import both_are_asked
from tests.fronts.sites import Site
from tests.suite.modes import wait_until
from tests.suite.stage import FrontMode, Stage
from tests.suite.streaming import check_leaving, check_streamed
from tests.suite.wires import Req, Resp

EXTRA = (*NGINX_EXTRA, *CADDY_EXTRA, *HAPROXY_EXTRA)
FULL = [site for site in EXTRA if "-extra-" in site.name]
WITH_FILES = [site for site in FULL if site.front != "haproxy"]
RAW = [site for site in EXTRA if site.name.endswith("-raw")]
SECURE = [site for site in EXTRA if site.name.endswith("-tls")]
CHECKED = [site for site in EXTRA if site.name.endswith("-checked")]


def anywhere(stage: Stage, site: Site, target: str, *headers: tuple[str, str]) -> Resp:
    """A request beside the mount."""
    mode = stage.front(site)
    root = FrontMode(Site(site.name, site.text, "", site.daemon), mode.ground, mode.server, stage)
    return root.send(Req("GET", target, headers))


def environ(stage: Stage, site: Site, *headers: tuple[str, str]) -> dict[str, object]:
    answer = stage.front(site).send(Req("GET", "/x", (("Suite-App", "environ"), *headers)))
    assert answer.status == 200, answer
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("site", [site for site in EXTRA if site.name.endswith("-odd")], ids=repr)
def test_a_mount_with_odd_characters(stage: Stage, site: Site) -> None:
    path = quote(site.mount)
    for rest, info in (("/a%20b", "/a b"), ("/%0Ax", "/\nx"), ("/", "/")):
        answer = anywhere(stage, site, path + rest, ("Suite-App", "environ"))
        if rest.startswith("/%0A") and site.front == "haproxy":
            assert answer.status == 500, "HAProxy refuses a line end in a path itself"
            continue
        assert answer.status == 200, answer
        found = json.loads(answer.body)
        mount = site.mount.encode().decode("latin-1")
        assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == (mount, info)


@pytest.mark.parametrize("site", FULL, ids=repr)
def test_authorization_arrives(stage: Stage, site: Site) -> None:
    assert environ(stage, site, ("Authorization", "Bearer abc"))["HTTP_AUTHORIZATION"] == (
        "Bearer abc"
    )


@pytest.mark.parametrize("site", RAW, ids=repr)
def test_what_the_server_sends(stage: Stage, site: Site) -> None:
    """No Proxy header: the daemon takes it away, too, so its applications cannot tell."""
    mode = stage.front(site)
    (protocol,) = site.name.split("-")[1:-1]
    path = mode.ground.folder / f"{protocol.replace('fastcgi', 'fcgi')}.raw"
    path.unlink(missing_ok=True)
    headers = (("Proxy", "http://evil.example.test/"), ("X-Last", "seen"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        listener.settimeout(20)
        sender = threading.Thread(target=mode.send, args=(Req(headers=headers),))
        sender.start()
        data = b""
        while b"seen" not in data:  # a server that asks again gets the next connection
            connection = listener.accept()[0]
            with connection:
                connection.settimeout(20)
                while b"seen" not in data and (piece := connection.recv(65_536)):
                    data += piece
    sender.join()
    assert b"evil" not in data
    if protocol == "fastcgi" and site.front != "caddy":
        assert data[10] == 1, "FCGI_KEEP_CONN"


@pytest.mark.parametrize("site", FULL, ids=repr)
@pytest.mark.parametrize("name", ["X_Real_Ip", "X_Real-Ip", "_X", "X_"])
def test_names_with_an_underscore_do_not(stage: Stage, site: Site, name: str) -> None:
    found = environ(stage, site, (name, "false"))
    assert "false" not in [value for key, value in found.items() if key.startswith("HTTP_")]


@pytest.mark.parametrize("site", FULL, ids=repr)
def test_the_client_does_not_say_who_it_is(stage: Stage, site: Site) -> None:
    claims = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https")]
    found = environ(stage, site, *claims)
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize("site", FULL, ids=repr)
def test_a_longer_name_is_not_below_the_mount(stage: Stage, site: Site) -> None:
    before = len(stage.front(site).ledger.read_text())
    answer = anywhere(stage, site, "/apple", ("Suite-App", "closing"))
    assert b"counted" not in answer.body
    assert len(stage.front(site).ledger.read_text()) == before


@pytest.mark.parametrize("site", FULL, ids=repr)
def test_an_upload_above_the_limit_is_refused(stage: Stage, site: Site) -> None:
    mode = stage.front(site)
    kind = ("Content-Type", "application/octet-stream")
    headers = (("Suite-App", "upload"), kind)
    assert mode.send(Req("POST", "/", headers, b"x" * 65_536)).status == 200
    if site.front == "caddy" and mode.send(Req("POST", "/", headers, b"x" * 65_537)).status >= 400:
        return  # it ends the body there, and the answer is 400, 502 or its own 413
    assert mode.send(Req("POST", "/", headers, b"x" * 65_537)).status == 413


@pytest.mark.parametrize("site", WITH_FILES, ids=repr)
def test_static_files_come_from_the_server_itself(stage: Stage, site: Site) -> None:
    answer = anywhere(stage, site, "/files/one.txt")
    assert (answer.status, answer.body) == (200, b"one\n")
    for target in ("/files/../localhost.pem", "/files/%2e%2e/localhost.pem", "/filesone.txt"):
        assert anywhere(stage, site, target).body != b"one\n"


@pytest.mark.parametrize("site", WITH_FILES, ids=repr)
def test_a_file_that_the_application_names(stage: Stage, site: Site) -> None:
    line = "X-Accel-Redirect: /gatebridge-send/secret.txt"
    headers = (("Suite-App", "one_header"), ("Suite-Arg", line))
    answer = stage.front(site).send(Req("GET", "/", headers))
    assert (answer.status, answer.body) == (200, b"sent\n")
    assert answer.all("X-Accel-Redirect") == []


@pytest.mark.parametrize("site", WITH_FILES, ids=repr)
def test_and_no_client_can_name_one(stage: Stage, site: Site) -> None:
    assert b"sent" not in anywhere(stage, site, "/gatebridge-send/secret.txt").body


@pytest.mark.parametrize("site", SECURE, ids=repr)
def test_the_application_knows_of_tls(stage: Stage, site: Site) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    port = int(stage.front(site).port)
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    try:
        connection.request("GET", "/x", headers={"Suite-App": "environ"})
        found = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert found["wsgi.url_scheme"] == "https"
    assert found["HTTPS"] == "on"


@pytest.mark.parametrize("site", CHECKED, ids=repr)
def test_a_back_end_that_is_not_well_gets_no_requests(stage: Stage, site: Site) -> None:
    mode = stage.front(site)
    hello = Req(headers=(("Suite-App", "hello"),))

    def told() -> bool:
        log = mode.server.log()
        name = f"made{mode.port}"
        return f"{name}2 is DOWN" in log or "dial tcp 127.0.0.1:9" in log

    assert wait_until(told), mode.server.log()[-2000:]
    assert f"made{mode.port}1 is DOWN" not in mode.server.log()
    for _ in range(6):
        assert mode.send(hello).body == b"hello\n"


@pytest.mark.parametrize("site", CADDY_UNCHECKED, ids=repr)
def test_what_cannot_be_handed_over_goes_to_another(stage: Stage, site: Site) -> None:
    """The back end that is nobody is asked once in 5 s, and no client sees it.

    By FastCGI Caddy does so for a GET only: it cannot tell that a POST was not sent at all.
    """
    mode = stage.front(site)
    method, body = ("GET", b"") if "fastcgi" in site.name else ("POST", b"body")
    for _ in range(12):
        request = Req(method, headers=(("Suite-App", "hello"),), body=body)
        assert mode.send(request).body == b"hello\n"


TWINS = [site for site in EXTRA if site.name.endswith("-twins")]


@pytest.mark.parametrize("site", TWINS, ids=repr)
def test_two_back_ends_are_both_asked(stage: Stage, site: Site) -> None:
    both_are_asked(stage.front(site))


UNBUFFERED = [
    site for site in (*NGINX, *CADDY, *HAPROXY) if site.name.endswith(("-unbuffered", "-streamed"))
]


@pytest.mark.parametrize("site", UNBUFFERED, ids=repr)
def test_streams_are_passed_at_once(stage: Stage, site: Site) -> None:
    check_streamed(stage.front(site), "gated")
    check_leaving(stage.front(site))
