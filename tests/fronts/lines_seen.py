"""What the lines of a generated configuration are for: one function for each, given a server."""

import http.client
import json
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.fronts.generated import twin_folders
from tests.fronts.sites import Site
from tests.serve.whole import whole_daemon
from tests.suite.modes import wait_until
from tests.suite.stage import FrontMode
from tests.suite.wires import Req, Resp

Seen = Callable[[FrontMode], None]
BYTES = ("Content-Type", "application/octet-stream")


def anywhere(mode: FrontMode, target: str, *headers: tuple[str, str]) -> Resp:
    """A request beside the mount."""
    site = Site(mode.site.name, mode.site.text, "", mode.site.daemon)
    return FrontMode(site, mode.ground, mode.server, mode.stage).send(Req("GET", target, headers))


def environ(mode: FrontMode, *headers: tuple[str, str]) -> dict[str, object]:
    answer = mode.send(Req("GET", "/x", (("Suite-App", "environ"), *headers)))
    assert answer.status == 200, f"{answer}\n{mode.server.log()[-2000:]}"
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found


def authorization_arrives(mode: FrontMode) -> None:
    found = environ(mode, ("Authorization", "Bearer abc"))
    assert found["HTTP_AUTHORIZATION"] == "Bearer abc"


def proxy_does_not(mode: FrontMode) -> None:
    assert "HTTP_PROXY" not in environ(mode, ("Proxy", "http://evil.example.test/"))


def the_client_does_not_say_who_it_is(mode: FrontMode) -> None:
    claims = (("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"))
    found = environ(mode, *claims)
    assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    if "-http-" in mode.site.name:  # where that header is believed
        assert found["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"


def a_longer_name_is_not_below_the_mount(mode: FrontMode) -> None:
    before = len(mode.ledger.read_text())
    assert anywhere(mode, "/apple", ("Suite-App", "closing")).status == 404
    assert len(mode.ledger.read_text()) == before


def an_upload_above_the_limit_is_refused(mode: FrontMode) -> None:
    headers = (("Suite-App", "upload"), BYTES)
    assert mode.send(Req("POST", "/", headers, b"x" * 65_536)).status == 200
    answer = mode.send(Req("POST", "/", headers, b"x" * 65_537))
    assert answer.status == 413, f"{answer}\n{mode.server.log()[-2000:]}"


def static_files_come_from_the_server_itself(mode: FrontMode) -> None:
    answer = anywhere(mode, "/files/one.txt")
    assert (answer.status, answer.body) == (200, b"one\n"), mode.server.log()[-2000:]
    for target in ("/files/../localhost.pem", "/files/%2e%2e/localhost.pem", "/filesone.txt"):
        assert anywhere(mode, target).status == 404


LINES: tuple[Seen, ...] = (
    authorization_arrives,
    proxy_does_not,
    the_client_does_not_say_who_it_is,
    a_longer_name_is_not_below_the_mount,
    an_upload_above_the_limit_is_refused,
    static_files_come_from_the_server_itself,
)


def a_named_file_is_sent(mode: FrontMode) -> None:
    path = mode.ground.folder / "a b\"c$d#'é" / "secret.txt"
    line = ("Suite-Arg", f"X-Sendfile: {path}".encode().decode("latin-1"))
    answer = mode.send(Req("GET", "/", (("Suite-App", "one_header"), line)))
    assert (answer.status, answer.body) == (200, b"sent\n"), mode.server.log()[-2000:]
    assert answer.all("X-Sendfile") == []


def tls_is_told(mode: FrontMode) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "localhost", int(mode.port), timeout=20, context=context
    )
    try:
        connection.request("GET", "/x", headers={"Suite-App": "environ"})
        found = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert found["wsgi.url_scheme"] == "https"
    assert found["HTTPS"] == "on"


def nobody_is_left_alone(mode: FrontMode) -> None:
    """Of two back ends one is not there: after the first failures every request is answered."""
    for _ in range(12):
        assert mode.send(Req(headers=(("Suite-App", "hello"),))).body == b"hello\n"


def both_are_asked(mode: FrontMode) -> None:
    """Of two back ends that are there; for a static file, or one that is missing, none is.

    What they would answer is their process id, whatever the path is.
    """

    def asked() -> set[int]:
        with ThreadPoolExecutor(12) as pool:
            told = list(pool.map(lambda _: mode.send(Req("GET", "/nap/0.2")), range(12)))
        return {int(answer.body) for answer in told if answer.status == 200}

    first, second = twin_folders(mode.ground)
    for folder in (first, second):
        folder.mkdir(exist_ok=True)
    with whole_daemon(first) as one, whole_daemon(second) as other:
        pids = [set(each.workers()) for each in (one, other)]
        reached = wait_until(lambda: all(map(asked().intersection, pids)))  # both are found well
        assert reached, mode.server.log()[-2000:]
        if mode.site.front != "haproxy":
            assert anywhere(mode, "/files/one.txt").body == b"one\n"
            assert anywhere(mode, "/files/none.txt").status == 404
