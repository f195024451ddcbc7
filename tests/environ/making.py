"""Requests for tests, without a protocol in front."""

from gatebridge.environ.build import Builder
from gatebridge.wire.events import RESPONDER, Pairs, Request

GET = {"REQUEST_METHOD": "GET", "SERVER_NAME": "h", "SERVER_PORT": "80", "QUERY_STRING": ""}
SOFTWARE = {
    "nginx": "nginx/1.22.1",
    "apache": "Apache/2.4.71 (Debian)",
    "lighttpd": "lighttpd/1.4.69",
    "caddy": "Caddy/2.6.2",
    "haproxy": "HAProxy 2.6.12",
    "h2o": "h2o/2.2.5",
    "iis": "Microsoft-IIS/10.0",
    "gatebridge": "gatebridge",
    "unknown": "thttpd/2.29",
}


def request(
    pairs: list[tuple[str, str]],
    role: int = RESPONDER,
    body: bytes = b"",
    complete: bool = True,
    doubtful: bool = False,
) -> Request:
    vars: dict[str, object] = dict(pairs)
    repeated = len(vars) != len(pairs)
    raw = Pairs(b"", lambda _block: pairs)
    return Request(1, vars, repeated, raw, role, body, complete, doubtful)


def get(front: str = "unknown", **vars: str) -> Request:
    """A GET with these variables more, from this server."""
    return request([*GET.items(), ("SERVER_SOFTWARE", SOFTWARE[front]), *vars.items()])


def environ(made: Request, mount: str | None = None) -> dict[str, object]:
    return Builder(mount=mount).build(made)[0]
