"""lighttpd asks the application, in the FastCGI Authorizer role, before it serves a file."""

import pytest

from tests.fronts.lighttpd import AUTHORIZER
from tests.suite.modes import wait_until
from tests.suite.stage import Stage
from tests.suite.wires import Req


@pytest.mark.parametrize("path", ["/static.txt", "/static.txt?x=1"])
def test_F073a_authorizer_lets_in(stage: Stage, path: str) -> None:
    resp = stage.front(AUTHORIZER).send(Req(target=path, headers=(("Let-In", "yes"),)))
    assert (resp.status, resp.body) == (200, b"a static file\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_F073a_authorizer_refuses(stage: Stage, method: str) -> None:
    resp = stage.front(AUTHORIZER).send(Req(method, "/static.txt"))
    assert resp.status == 403
    assert resp.body == (b"not let in\n" if method == "GET" else b"")


def test_F073a_a_file_that_is_not_there_is_the_servers_404(stage: Stage) -> None:
    resp = stage.front(AUTHORIZER).send(Req(target="/no", headers=(("Let-In", "yes"),)))
    assert resp.status == 404


def test_F073_authorizer_sees_the_request_headers(stage: Stage) -> None:
    """Another header than the one it looks for does not let in; nothing is logged as an error."""
    mode = stage.front(AUTHORIZER)
    assert mode.send(Req(target="/static.txt", headers=(("Let-In", "no"),))).status == 403
    assert not wait_until(lambda: "Traceback" in mode.log(), 0.1)
