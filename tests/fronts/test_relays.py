"""Relays behind nginx with fcgiwrap, and what only a real web server shows of them.

Apache's mod_cgid and lighttpd's mod_cgi run the rows of the suite in test_rows.py and
test_streaming.py: their sites apache-cgi-relay and lighttpd-cgi-relay.
"""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.control_client import call
from tests.fronts import apache, lighttpd, nginx, servers
from tests.fronts.sites import Ground, Site, Sockets
from tests.fronts.test_spawned import Behind, run
from tests.suite import wires
from tests.suite.differences import runs, wanted
from tests.suite.modes import Mode, check, wait_until
from tests.suite.rows import ANSWERS, BODIES, FAILURES, UPLOADS
from tests.suite.rows_environ import ENVIRON
from tests.suite.stage import FrontMode, Stage
from tests.suite.want import Row, json_of
from tests.suite.wires import Req

SITES = [
    site
    for site in (*apache.SITES, *lighttpd.SITES)
    if site.name in ("apache-cgi-relay", "lighttpd-cgi-relay")
]
ROWS = ANSWERS + BODIES + UPLOADS + ENVIRON + FAILURES
CASES = [
    pytest.param(row, id=f"fcgiwrap--{row.id}")
    for row in ROWS
    if runs(row, "fcgiwrap", "", chunked=False)
]


@pytest.fixture(scope="module")
def wrapped(stage: Stage) -> Iterator[Behind]:
    """fcgiwrap, which runs the relay for each request."""
    address = str(stage.folder / "wrap-relay.sock")
    argv = [servers.program("fcgiwrap", package="fcgiwrap"), "-f", "-c", "8"]
    process = run(stage, "fcgiwrap-relay", [*argv, "-s", f"unix:{address}"], address)
    script = str(stage.scripts() / "relay.cgi")
    log = stage.folder / "fcgiwrap-relay.log"
    yield Behind("fcgiwrap", stage.folder, address, log, (("SCRIPT_FILENAME", script),))
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def behind_nginx(stage: Stage, wrapped: Behind) -> Iterator[FrontMode]:
    script = stage.scripts() / "relay.cgi"

    def text(g: Ground) -> str:
        lines = (
            f"fastcgi_param SCRIPT_FILENAME {script}; fastcgi_param SCRIPT_NAME /app; "
            "fastcgi_buffering off; fastcgi_request_buffering off;"
        )
        rules = nginx.SPLIT_APP + nginx.PATH_INFO + lines
        return nginx.fastcgi(g, "/app", rules, f"unix:{wrapped.address}")

    folder = stage.folder / "nginx-relay"
    folder.mkdir()
    site = Site("nginx-fcgiwrap-relay", text, "/app", "")
    ground = Ground(servers.free_port(), Sockets(*[""] * 6), folder, stage.www, stage.scripts())
    server = servers.start(lambda: nginx.start([(site, ground)]))
    yield FrontMode(site, ground, server, stage)
    server.stop()


@pytest.mark.parametrize("row", CASES)
def test_fcgiwrap(wrapped: Mode, row: Row) -> None:
    check(wrapped, row, wanted(row, "fcgiwrap"))


def told(mode: Mode) -> dict:
    resp = mode.send(Req(target="/x", headers=(("Suite-App", "environ"),)))
    found = json_of(resp.body)
    assert isinstance(found, dict), resp
    return found


def test_nginx(behind_nginx: FrontMode) -> None:
    found = told(behind_nginx)
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/app", "/x")
    assert found["gatebridge.protocol"] == "fastcgi"


@pytest.mark.parametrize("site", SITES, ids=repr)
def test_it_is_the_daemon_that_answers(stage: Stage, site: Site) -> None:
    found = told(stage.front(site))
    assert found["gatebridge.protocol"] == "fastcgi"
    assert found["GATEBRIDGE_RELAY"] == "1"


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@pytest.mark.parametrize("site", SITES, ids=repr)
def test_requests_at_once_while_the_daemon_is_killed(stage: Stage, site: Site) -> None:
    """Whoever asks next starts another one, and all are answered.

    Next is after its workers have followed it, which the kernel sees to a moment later: one of
    them may still take a request with it, and a request that was sent is not sent again.
    """
    mode = stage.front(site)
    assert told(mode)["GATEBRIDGE_RELAY"] == "1"
    for path in stage.state.glob("gatebridge-*/*.ctl"):
        os.kill(call(str(path), "status")["pid"], 9)
    sockets = list(stage.state.glob("gatebridge-*/*.sock"))
    assert sockets
    assert wait_until(lambda: not any(listens(path) for path in sockets))
    found = []

    def ask() -> None:
        resp = wires.http_exchange(
            wires.connect(("127.0.0.1", int(mode.port))),
            Req(target="/x", headers=(("Suite-App", "environ"),)),
            mode.mount, f"127.0.0.1:{mode.port}", None,
        )  # fmt: skip
        found.append((resp.status, resp.cut))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [(200, False)] * 20
