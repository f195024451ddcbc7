"""One request through nginx by each protocol: the application is told the same, but for a list."""

import pytest

from tests.fronts.generated import NGINX
from tests.suite.stage import Stage
from tests.suite.want import json_of
from tests.suite.wires import Req

SITES = {
    "root": ("fastcgi-made-root", "scgi-made-root", "uwsgi-tcp-made-root", "http-made-root"),
    "app": ("fastcgi-made-app", "scgi-tcp-made-app-unbuffered", "uwsgi-made-app-unbuffered",
            "http-tcp-made-app"),
}  # fmt: skip
OWN = {
    "gatebridge.protocol", "gatebridge.bind", "suite.types",
    "HTTP_HOST", "SERVER_PORT", "REMOTE_PORT",  # each site has a port of its own
    "SCGI",  # that protocol's own
}  # fmt: skip
OF_HTTP = {  # headers carry no CGI variables; the proxy adds its own
    "GATEWAY_INTERFACE", "HTTPS", "HTTP_CONNECTION", "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO", "REQUEST_SCHEME", "SERVER_ADDR", "SERVER_NAME", "SERVER_SOFTWARE",
}  # fmt: skip
REQUEST = Req(
    "POST",
    "/a%20b/%C3%A9?x=%20y&z",
    (
        ("Suite-App", "environ"),
        ("Content-Type", "text/plain"),
        ("Cookie", "a=1; b=2"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("Accept", "text/html"),
    ),
    b"a body",
)


@pytest.mark.parametrize("mount", SITES)
def test_nginx_says_the_same_by_every_protocol(stage: Stage, mount: str) -> None:
    by_name = {site.name: site for site in NGINX}
    found = [
        json_of(stage.front(by_name[f"nginx-{name}"]).send(REQUEST).body) for name in SITES[mount]
    ]
    for at, other in enumerate(found[1:]):
        names = {*found[0], *other} - OWN
        differ = {name for name in names if found[0].get(name) != other.get(name)}
        assert differ == (OF_HTTP if at == 2 else set()), ", ".join(sorted(differ))
