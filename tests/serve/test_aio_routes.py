"""The limits of a route hold for ASGI applications, whoever polls."""

import pytest

from tests.serve.aio_live import APP, Aio
from tests.serve.gated import answer
from tests.suite import wires

FILE = """
[server]
bind = ["unix:s", "http+unix:s.http"]
[[app]]
mount = "/"
target = "shop:app"
[[route]]
match = "~ ^/hold/"
target = "shop:whole"
timeout = 1
[[route]]
match = "~ ^/background/"
target = "shop:whole"
concurrency = 1
[[route]]
match = "~ ^/echo"
target = "shop:whole"
limit_body = 1000
"""
OLD = '[[app]]\nmount = "/old"\ntarget = "shop:old"\n'


class Routed(Aio):
    def __init__(self, folder, file) -> None:
        folder.joinpath("gatebridge.toml").write_text(file)
        super(Aio, self).__init__(folder, "-c", "gatebridge.toml", app=APP)


@pytest.fixture(scope="module", params=["", OLD], ids=["asgi", "mixed"])
def live(request, tmp_path_factory):
    live = Routed(tmp_path_factory.mktemp("routes"), FILE + request.param)
    try:
        yield live
    finally:
        live.stop()


def test_a_route_has_its_own_time(live):
    assert live.get("/hold/too-long").status == 504


def test_a_route_has_so_many_requests_at_once(live):
    with live.open("fastcgi") as one:
        one.sendall(live.data("fastcgi", "/background/route"))
        assert answer(one).body == b"answered"  # but its task goes on, and so it counts
        assert live.get("/background/other").status == 503
        live.go("route")
        live.until(lambda: live.get("/background/route").status == 200)


def test_a_route_has_its_own_largest_body(live):
    assert live.ask_over("fastcgi", "/echo", b"x" * 1000).status == 200
    assert live.ask_over("fastcgi", "/echo", b"x" * 1001).status == 413


def test_that_holds_where_nobody_says_the_length(live):
    request = wires.Req("POST", "/echo", (), b"x" * 5000, chunked=True)
    with live.open("http") as sock:
        assert wires.http_exchange(sock, request, "", "localhost").status == 413
