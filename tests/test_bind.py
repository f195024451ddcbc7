"""How a socket is named on the command line."""

import pytest

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError

GOOD = [
    ("unix:/run/x.sock", "fastcgi", "unix", "/run/x.sock", {}),
    ("unix:///run/x.sock", "fastcgi", "unix", "/run/x.sock", {}),
    ("unix:x.sock", "fastcgi", "unix", "x.sock", {}),
    ("/run/x.sock", "fastcgi", "unix", "/run/x.sock", {}),
    ("./x.sock", "fastcgi", "unix", "./x.sock", {}),
    ("/run/a:b.sock", "fastcgi", "unix", "/run/a:b.sock", {}),
    ("unix:@name", "fastcgi", "abstract", "name", {}),
    ("scgi+unix:@name", "scgi", "abstract", "name", {}),
    ("fcgi+unix:/x", "fastcgi", "unix", "/x", {}),
    ("fastcgi://h:1", "fastcgi", "tcp", ("h", 1), {}),
    ("scgi+unix:/x", "scgi", "unix", "/x", {}),
    ("uwsgi+unix:/x", "uwsgi", "unix", "/x", {}),
    ("http+unix:/x?mode=0600&group=www", "http", "unix", "/x", {"mode": "0600", "group": "www"}),
    ("unix:/x?owner=a&backlog=9&allow=", "fastcgi", "unix", "/x",
     {"owner": "a", "backlog": "9", "allow": ""}),
    ("fcgi://127.0.0.1:9000", "fastcgi", "tcp", ("127.0.0.1", 9000), {}),
    ("fcgi://localhost:0/", "fastcgi", "tcp", ("localhost", 0), {}),
    ("scgi://[::1]:4000", "scgi", "tcp", ("::1", 4000), {}),
    ("uwsgi://h:65535?allow=10.0.0.0/8", "uwsgi", "tcp", ("h", 65_535), {"allow": "10.0.0.0/8"}),
    ("http://h:80", "http", "tcp", ("h", 80), {}),
    ("127.0.0.1:9000", "fastcgi", "tcp", ("127.0.0.1", 9000), {}),
    ("[::1]:9000", "fastcgi", "tcp", ("::1", 9000), {}),
    ("fd://0", "fastcgi", "fd", ("", 0), {}),
    ("scgi+fd://3", "scgi", "fd", ("", 3), {}),
    ("systemd:web", "fastcgi", "systemd", "web", {}),
    ("systemd://gate.socket", "fastcgi", "systemd", "gate.socket", {}),
    ("http+systemd:web?allow=10.0.0.1", "http", "systemd", "web", {"allow": "10.0.0.1"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "protocol", "family", "place", "options"), GOOD)
def test_forms(
    text: str, protocol: str, family: str, place: str | tuple[str, int], options: dict[str, str]
) -> None:
    bind = parse_bind(text)
    assert (bind.protocol, bind.family, bind.options) == (protocol, family, options)
    assert place == ((bind.host, bind.port) if family in ("tcp", "fd") else bind.path)
    assert bind.text == text
    assert text in repr(bind)


BAD = [
    ("", "bind.malformed"),
    ("unix:", "bind.malformed"),
    ("unix:@", "bind.malformed"),
    ("unix:/a\0b", "bind.malformed"),
    ("ftp://h:1", "bind.protocol"),
    ("ajp+unix:/x", "bind.protocol"),
    ("fcgi://h", "bind.malformed"),
    ("fcgi://:80", "bind.malformed"),
    ("fcgi://h:80/path", "bind.port"),
    ("fcgi://h/path:80", "bind.malformed"),
    ("fcgi://::1:80", "bind.malformed"),
    ("fcgi://h:", "bind.port"),
    ("fcgi://h:+80", "bind.port"),
    ("fcgi://h:8_0", "bind.port"),
    ("fcgi://h:65536", "bind.port"),
    ("fd://x", "bind.port"),
    ("systemd:", "bind.malformed"),
    ("systemd://", "bind.malformed"),
    ("systemd:a:b", "bind.malformed"),
    ("systemd:caf\xe9", "bind.malformed"),
    ("systemd:a\nb", "bind.malformed"),
    ("ajp+systemd:web", "bind.protocol"),
    ("unix:/x?mood=0600", "bind.option"),
    ("unix:/x?mode", "bind.option"),
    ("unix:/x?mode=1&mode=2", "bind.option"),
]


@pytest.mark.parametrize(("text", "code"), BAD)
def test_refused(text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bind(text)
    assert caught.value.code == code
