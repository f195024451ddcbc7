"""The address of a back end: read, or refused with a sentence."""

from pathlib import Path

import pytest

from gatebridge.apps.target import load_target
from gatebridge.apps.upstream import Upstream
from gatebridge.apps.upstream_options import UpstreamOptions, is_upstream, parse_place
from gatebridge.doctor.sessions import find_sessions
from gatebridge.errors import ConfigError

PLACES = [  # target, its protocol, where, the path before all others
    ("http://127.0.0.1:8001", "http", "127.0.0.1:8001", ""),
    ("http://127.0.0.1:8001/", "http", "127.0.0.1:8001", ""),
    ("http://app.internal", "http", "app.internal:80", ""),
    ("http://[::1]", "http", "::1:80", ""),
    ("http://[::1]:81/a/b%20c/", "http", "::1:81", "/a/b%20c"),
    ("http+unix:/run/app.sock", "http", "/run/app.sock", ""),
    ("http+unix:app.sock", "http", "/srv/app.sock", ""),
    ("http+unix:@app", "http", "app", ""),
    ("fcgi://127.0.0.1:9000", "fastcgi", "127.0.0.1:9000", ""),
    ("fastcgi://127.0.0.1:9000/", "fastcgi", "127.0.0.1:9000", ""),
    ("fcgi+unix:/run/php/fpm.sock", "fastcgi", "/run/php/fpm.sock", ""),
]


@pytest.mark.parametrize(("target", "protocol", "where", "path"), PLACES)
def test_places(target: str, protocol: str, where: str, path: str) -> None:
    assert is_upstream(target)
    place = parse_place(target, "/srv")
    bind = place.bind
    assert bind.protocol == protocol
    assert (f"{bind.host}:{bind.port}" if bind.family == "tcp" else bind.path) == where
    assert place.path == path
    app = load_target(target, "/srv")  # the back end need not be there
    assert type(app) is Upstream
    app.close()


@pytest.mark.parametrize(
    "target", ["http:app", "fcgi:app", "shop.wsgi:app", "cgi:/x", "cgi://x", "http.py"]
)
def test_modules_are_no_places(target: str) -> None:
    assert not is_upstream(target)


def test_no_module_of_an_address_is_read(tmp_path: Path) -> None:
    (tmp_path / "http.py").write_text("sessions = {}\n\ndef app(e, s):\n    sessions['a'] = e\n")
    assert find_sessions("http:app", [str(tmp_path)])
    assert not find_sessions("http://127.0.0.1:1", [str(tmp_path)])


OPTIONS = [
    ("http://h:1", UpstreamOptions()),
    ("http://h:1?timeout=5m&connect=500ms", UpstreamOptions(timeout=300.0, connect=0.5)),
    ("http://h:1?timeout=0", UpstreamOptions(timeout=0.0)),
    ("http://h:1/x?keep=0&idle=30s", UpstreamOptions(keep=0, idle=30.0)),
    ("http+unix:/s?head=1MiB&mount=keep", UpstreamOptions(head=1 << 20, strip=False)),
    ("http+unix:/s?mount=strip", UpstreamOptions()),
    ("fcgi+unix:/s?root=/w/&index=app.php", UpstreamOptions(root="/w", index="app.php")),
    ("fcgi://h:1?root=/&keep=4", UpstreamOptions(root="/", keep=4)),
]


@pytest.mark.parametrize(("target", "options"), OPTIONS)
def test_options(target: str, options: UpstreamOptions) -> None:
    assert parse_place(target, "/").options == options


BAD = [
    ("https://h:443", "target.malformed", "does TLS"),
    ("scgi://h:1", "target.malformed", "http://HOST:PORT"),
    ("uwsgi+unix:/s", "target.malformed", "fcgi+unix:/path"),
    ("http+unix:", "target.malformed", "names no socket"),
    ("http://", "bind.malformed", "host:port"),
    ("http://h:x", "bind.port", "'x'"),
    ("http://h:70000", "bind.port", "70000"),
    ("http://::1:80", "bind.malformed", "[brackets]"),
    ("http://user:word@h:1", "target.malformed", "without a name and a password"),
    ("http://h:1/a/../b", "target.malformed", "no path of a URL"),
    ("http://h:1/a b", "target.malformed", "no path of a URL"),
    ("http://h:1/a\r\nX: y", "target.malformed", "no path of a URL"),
    ("fcgi://h:1/app", "target.malformed", "root= says where files are"),
    ("fcgi://h", "bind.malformed", "host:port"),
    ("http://h:1?timeuot=3", "target.option", "did you mean 'timeout'"),
    ("http://h:1?colour=red", "target.option", "there are timeout,"),
    ("http://h:1?timeout", "target.option", "timeout=VALUE"),
    ("http://h:1?keep=1&keep=2", "target.option", "once"),
    ("http://h:1?keep=-1", "target.option", "no number"),
    ("http://h:1?keep=9999", "target.option", "not between 0 and 1024"),
    ("http://h:1?connect=0", "target.option", "500ms"),
    ("http://h:1?mount=cut", "target.option", "neither strip nor keep"),
    ("http://h:1?root=/srv", "target.option", "'root' is no option"),
    ("fcgi://h:1?mount=keep", "target.option", "'mount' is no option"),
    ("fcgi://h:1?root=www", "target.option", "no absolute folder"),
    ("fcgi://h:1?index=a.php", "target.option", "root="),
    ("fcgi://h:1?root=/w&index=a/b.php", "target.option", "no name of a file"),
]


@pytest.mark.parametrize(("target", "code", "text"), BAD, ids=[row[0] for row in BAD])
def test_refused(target: str, code: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_target(target, "/")
    assert refused.value.code == code
    assert text in refused.value.detail
