"""What no server can be told is refused where a place is made, with a sentence."""

from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.fronts.place import Listen, Place, Start

UNIX = (parse_bind("unix:/run/x.sock"),)

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("conf.control", {"mount": "/a\nb"}),
    ("conf.control", {"static": (("/s", "/srv/a\0b"),)}),
    ("conf.control", {"static": (("/s", "/srv/\udcff"),)}),
    ("conf.control", {"tls": ("/c\r", "/k")}),
    ("conf.control", {"start": Start(argv=("a", "b\nc"))}),
    ("conf.control", {"binds": (parse_bind("unix:/run/x\ny"),)}),
    ("conf.control", {"shim": "/x\x7f"}),
    ("conf.protocols", {"binds": (*UNIX, parse_bind("scgi://127.0.0.1:1"))}),
    ("conf.bind", {"binds": (parse_bind("unix:x.sock"),)}),
    ("conf.bind", {"binds": (parse_bind("fd://0"),)}),
    ("conf.bind", {"binds": (parse_bind("systemd:x"),)}),
    ("conf.bind", {"binds": (parse_bind("fcgi://127.0.0.1:0"),)}),
    ("conf.mount", {"mount": "app"}),
    ("conf.mount", {"mount": "/app/"}),
    ("conf.mount", {"mount": "/"}),
    ("conf.static", {"static": (("s", "/srv"),)}),
    ("conf.static", {"static": (("/s/", "/srv"),)}),
    ("conf.static", {"static": (("/", "/srv"),)}),
    ("conf.static", {"static": (("/s", "srv"),)}),
    ("conf.health", {"health": "ping"}),
    ("conf.send_files", {"send_files": "files"}),
    ("conf.tls", {"tls": ("/c",)}),
    ("conf.tls", {"tls": ("/c", "k")}),
    ("conf.name", {"name": "my app"}),
    ("conf.name", {"name": "1"}),
    ("conf.name", {"name": "a; }"}),
    ("conf.server_name", {"server_name": "a;b"}),
    ("conf.server_name", {"server_name": "b\xfccher.example"}),
    ("conf.server_name", {"server_name": ""}),
    ("conf.listen", {"listen": "0"}),
    ("conf.listen", {"listen": "65536"}),
    ("conf.listen", {"listen": "80 quic"}),
    ("conf.listen", {"listen": "a;b:80"}),
]


@pytest.mark.parametrize(("code", "given"), REFUSED)
def test_refused(code: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Place(**{"binds": UNIX, **given})
    assert caught.value.code == code
    assert len(caught.value.detail.split()) > 3, "a sentence"


@pytest.mark.parametrize(
    ("listen", "tls", "wanted"),
    [
        ("", (), Listen("", 80, False)),
        ("", ("/c", "/k"), Listen("", 443, True)),
        ("443 ssl", (), Listen("", 443, True)),
        ("127.0.0.1:8080", (), Listen("127.0.0.1", 8080, False)),
        ("[::1]:8080 ssl", (), Listen("[::1]", 8080, True)),
        ("*:8080", (), Listen("", 8080, False)),
    ],
)
def test_where_the_front_server_listens(listen: str, tls: tuple[str, ...], wanted: Listen) -> None:
    assert Place(UNIX, listen=listen, tls=tls).door == wanted
