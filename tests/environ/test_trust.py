"""Forwarded headers: nothing from strangers, the last hop from peers that were named."""

import subprocess
import sys

import pytest

from gatebridge.environ.build import Builder
from gatebridge.environ.changes import build_noting
from gatebridge.environ.trust import Trust
from gatebridge.errors import ConfigError
from tests.environ.making import GET, SOFTWARE, get, request

ALL = ("for", "proto", "host", "port", "prefix")
FORWARDED = {
    "HTTP_X_FORWARDED_FOR": "203.0.113.9",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "evil.example",
    "HTTP_X_FORWARDED_PORT": "444",
    "HTTP_X_FORWARDED_PREFIX": "/evil",
    "HTTP_FORWARDED": "for=203.0.113.9;proto=https",
    "HTTP_X_REAL_IP": "203.0.113.9",
    "HTTP_CLIENT_IP": "203.0.113.9",
    "HTTP_X_CLIENT_IP": "203.0.113.9",
    "HTTP_X_REMOTE_USER": "root",
}
SENT = {"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1000", "HTTP_HOST": "h:80"}


@pytest.mark.parametrize("trusted", [(), ("198.51.100.0/24",), ("unix",)])
@pytest.mark.parametrize("front", sorted(SOFTWARE))
def test_T6_W064_nothing_from_strangers(front: str, trusted: tuple[str, ...]) -> None:
    builder = Builder(trusted=trusted, forwarded=ALL)
    plain, _ = builder.build(get(front, **SENT))
    built, _ = builder.build(get(front, **SENT, **FORWARDED))
    assert {name: value for name, value in built.items() if name not in FORWARDED} == {
        **plain,
        "gatebridge.params": built["gatebridge.params"],
    }
    assert built["REMOTE_ADDR"] == "192.0.2.1"
    assert built["wsgi.url_scheme"] == "http"
    for name in FORWARDED:
        assert built[name] == FORWARDED[name]  # the application may look for itself


@pytest.mark.parametrize(
    ("peers", "address", "believed"),
    [
        (("192.0.2.1",), "192.0.2.1", True),
        (("192.0.2.1",), "192.0.2.2", False),
        (("192.0.2.0/24",), "192.0.2.255", True),
        (("192.0.2.7/24",), "192.0.2.1", True),
        (("192.0.2.0/24",), "192.0.3.0", False),
        (("2001:db8::/32",), "2001:db8::1", True),
        (("2001:db8::/32",), "[2001:db8::1]", True),
        (("192.0.2.0/24",), "::ffff:192.0.2.1", True),
        (("192.0.2.0/24",), "2001:db8::1", False),
        (("10.0.0.0/8", "unix"), "", True),
        (("unix",), "unix:", True),
        (("unix",), "127.0.0.1", False),
        (("127.0.0.1",), "", False),
        (("127.0.0.1",), "unix:", False),
        (("*",), "192.0.2.1", True),
        (("*",), "", True),
        (("*",), "no address", True),
        (("0.0.0.0/0",), "no address", False),
        (("0.0.0.0/0",), "192.0.2.1 ", False),
    ],
)
def test_T6_peers(peers: tuple[str, ...], address: str, believed: bool) -> None:
    trust = Trust(peers, ("for",))
    assert trust.believes(address) is believed
    assert trust.believes(address) is believed  # from memory


def test_verdicts_are_remembered_in_bounds() -> None:
    trust = Trust(("192.0.2.0/24",), ("for",))
    for at in range(3000):
        trust.believes(f"198.51.{at // 256}.{at % 256}")
    trust.believes("x" * 100_000)
    assert len(trust._verdicts) <= 1024
    assert all(len(address) <= 64 for address in trust._verdicts)


@pytest.mark.parametrize(
    ("sent", "name", "value"),
    [
        ({"HTTP_X_FORWARDED_FOR": "198.51.100.7"}, "REMOTE_ADDR", "198.51.100.7"),
        ({"HTTP_X_FORWARDED_FOR": "6.6.6.6, 198.51.100.7"}, "REMOTE_ADDR", "198.51.100.7"),
        ({"HTTP_X_FORWARDED_FOR": "6.6.6.6,198.51.100.7 "}, "REMOTE_ADDR", "198.51.100.7"),
        ({"HTTP_X_FORWARDED_FOR": "198.51.100.7:4711"}, "REMOTE_ADDR", "198.51.100.7"),
        ({"HTTP_X_FORWARDED_FOR": '"[2001:db8::1]:4711"'}, "REMOTE_ADDR", "2001:db8::1"),
        ({"HTTP_X_FORWARDED_FOR": "[2001:db8::1]"}, "REMOTE_ADDR", "2001:db8::1"),
        ({"HTTP_X_FORWARDED_FOR": "2001:db8::1"}, "REMOTE_ADDR", "2001:db8::1"),
        ({"HTTP_X_FORWARDED_FOR": "unknown"}, "REMOTE_ADDR", "192.0.2.1"),
        ({"HTTP_X_FORWARDED_FOR": "6.6.6.6,"}, "REMOTE_ADDR", "192.0.2.1"),
        ({"HTTP_X_FORWARDED_FOR": ""}, "REMOTE_ADDR", "192.0.2.1"),
        ({"HTTP_X_FORWARDED_FOR": "1.2.3.4\n"}, "REMOTE_ADDR", "1.2.3.4"),
        ({"HTTP_X_FORWARDED_FOR": "1.2.3.4'--"}, "REMOTE_ADDR", "192.0.2.1"),
        ({"HTTP_X_FORWARDED_FOR": "198.51.100.7"}, "REMOTE_PORT", None),
        ({"HTTP_X_FORWARDED_FOR": "unknown"}, "REMOTE_PORT", "1000"),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, "wsgi.url_scheme", "https"),
        ({"HTTP_X_FORWARDED_PROTO": "https"}, "HTTPS", "on"),
        ({"HTTP_X_FORWARDED_PROTO": "http, HTTPS"}, "wsgi.url_scheme", "https"),
        ({"HTTP_X_FORWARDED_PROTO": "https,http"}, "wsgi.url_scheme", "http"),
        ({"HTTP_X_FORWARDED_PROTO": "http", "HTTPS": "on"}, "wsgi.url_scheme", "http"),
        ({"HTTP_X_FORWARDED_PROTO": "wss"}, "wsgi.url_scheme", "https"),
        ({"HTTP_X_FORWARDED_PROTO": "gopher"}, "wsgi.url_scheme", "http"),
        ({"HTTP_X_FORWARDED_HOST": "a, www.example.test"}, "HTTP_HOST", "www.example.test"),
        ({"HTTP_X_FORWARDED_HOST": "www.example.test"}, "SERVER_NAME", "www.example.test"),
        ({"HTTP_X_FORWARDED_HOST": "w:8443"}, "SERVER_NAME", "w"),
        ({"HTTP_X_FORWARDED_HOST": "w:8443"}, "SERVER_PORT", "8443"),
        ({"HTTP_X_FORWARDED_HOST": "w/../x"}, "HTTP_HOST", "h:80"),
        ({"HTTP_X_FORWARDED_HOST": "w\r\nx"}, "HTTP_HOST", "h:80"),
        ({"HTTP_X_FORWARDED_PORT": "8443"}, "SERVER_PORT", "8443"),
        ({"HTTP_X_FORWARDED_PORT": "8443"}, "HTTP_HOST", "h:8443"),
        ({"HTTP_X_FORWARDED_PORT": "80"}, "HTTP_HOST", "h"),
        ({"HTTP_X_FORWARDED_PORT": "443", "HTTP_X_FORWARDED_PROTO": "https"}, "HTTP_HOST", "h"),
        ({"HTTP_X_FORWARDED_PORT": "x"}, "SERVER_PORT", "80"),
        ({"HTTP_X_FORWARDED_PORT": "\xb2"}, "SERVER_PORT", "80"),
        ({"HTTP_X_FORWARDED_PORT": "123456"}, "SERVER_PORT", "80"),
        ({"HTTP_X_FORWARDED_PREFIX": "/pre"}, "SCRIPT_NAME", "/pre/app"),
        ({"HTTP_X_FORWARDED_PREFIX": "/pre/"}, "SCRIPT_NAME", "/pre/app"),
        ({"HTTP_X_FORWARDED_PREFIX": "/"}, "SCRIPT_NAME", "/app"),
        ({"HTTP_X_FORWARDED_PREFIX": "pre"}, "SCRIPT_NAME", "/app"),
        ({"HTTP_X_FORWARDED_PREFIX": "//evil.example"}, "SCRIPT_NAME", "/app"),
        ({"HTTP_X_FORWARDED_PREFIX": "/pre"}, "PATH_INFO", "/x"),
    ],
)
def test_T6_last_hop_of_a_named_peer(sent: dict[str, str], name: str, value: str | None) -> None:
    path = {"REQUEST_URI": "/app/x", "SCRIPT_NAME": "/app", "PATH_INFO": "/x"}
    builder = Builder(trusted=("192.0.2.1",), forwarded=ALL)
    built, _ = builder.build(get("nginx", **SENT, **path, **sent))
    assert built.get(name) == value


def test_T6_only_for_and_proto_unless_more_is_named() -> None:
    """A balancer that writes two headers passes the client's other ones on."""
    built, _ = Builder(trusted=("192.0.2.1",)).build(get("nginx", **SENT, **FORWARDED))
    assert built["REMOTE_ADDR"] == "203.0.113.9"
    assert built["wsgi.url_scheme"] == "https"
    assert built["HTTP_HOST"] == "h:80"
    assert built["SERVER_NAME"] == "h"
    assert built["SERVER_PORT"] == "80"
    assert built["SCRIPT_NAME"] == ""


@pytest.mark.parametrize(
    ("front", "address"),
    [
        ("nginx", "198.51.100.7"),  # drops underscores: both lines are the balancer's
        ("haproxy", "198.51.100.7"),
        ("apache", "198.51.100.7"),
        ("gatebridge", "198.51.100.7"),
        ("lighttpd", "192.0.2.1"),  # joins what really came twice, so one of them is posed
        ("h2o", "192.0.2.1"),
        ("unknown", "192.0.2.1"),
    ],
)
def test_T6_underscore_posing_as_dash(front: str, address: str) -> None:
    sent = [*GET.items(), *SENT.items(), ("SERVER_SOFTWARE", SOFTWARE[front])]
    sent += [("HTTP_X_FORWARDED_FOR", "6.6.6.6"), ("HTTP_X_FORWARDED_FOR", "198.51.100.7")]
    built, _ = Builder(trusted=("192.0.2.1",)).build(request(sent))
    assert built["REMOTE_ADDR"] == address


def test_prefix_and_mount_add_up() -> None:
    sent = {"SCRIPT_NAME": "/app/x", "REQUEST_URI": "/app/x", "HTTP_X_FORWARDED_PREFIX": "/pre"}
    builder = Builder(mount="/app", trusted=("*",), forwarded=("prefix",))
    built, _ = builder.build(get("nginx", **sent))
    assert (built["SCRIPT_NAME"], built["PATH_INFO"]) == ("/pre/app", "/x")


def test_explain_names_the_peer() -> None:
    builder = Builder(trusted=("192.0.2.1",))
    sent = {**SENT, "HTTP_X_FORWARDED_FOR": "198.51.100.7"}
    _, _, changes = build_noting(builder, get("nginx", **sent))
    assert ("forwarded", "REMOTE_ADDR") in {(change.row, change.name) for change in changes}


@pytest.mark.parametrize(
    ("trusted", "forwarded", "code"),
    [
        (("192.0.2.256",), ("for",), "trusted.malformed"),
        (("localhost",), ("for",), "trusted.malformed"),
        (("",), ("for",), "trusted.malformed"),
        (("192.0.2.1",), ("from",), "forwarded.unknown"),
    ],
)
def test_mistakes_of_the_operator(
    trusted: tuple[str, ...], forwarded: tuple[str, ...], code: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Builder(trusted=trusted, forwarded=forwarded)
    assert caught.value.code == code


def test_ipaddress_is_imported_for_named_peers_only() -> None:
    code = (
        "import sys; from gatebridge.environ.build import Builder; Builder(mount='/app');"
        "assert 'ipaddress' not in sys.modules; Builder(trusted=('192.0.2.1',));"
        "assert 'ipaddress' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
