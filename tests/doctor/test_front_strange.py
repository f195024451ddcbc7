"""Configurations that no server would take: doctor says so, at once."""

import os
from pathlib import Path

import pytest

from gatebridge.doctor.apache_text import read_apache
from gatebridge.doctor.front_files import read_named
from gatebridge.doctor.machine import MOST, Machine
from gatebridge.doctor.report import Report
from gatebridge.errors import ConfigError
from tests.doctor.set_up import Fake, doctor, first, ids

DIGITS = "9" * 5000  # Python reads no more than 4300
REFUSED = {
    "nginx.conf": "http " + "{ a " * 3000,
    "quotes.conf": 'http { a "' + "x{;\n" * 2000,
    "Caddyfile": "reverse_proxy {\n" * 3000,
    "lighttpd.conf": "fastcgi.server = " + "(" * 3000,
    "apache.conf": "<Location /a>\n" * 60 + "ProxyPass http://127.0.0.1:1\n",
    "web.config": "<configuration><system.webServer>" + " " * MOST,
}
NUMBERS = {
    "nginx.conf": "http { server { client_max_body_size N; location / { proxy_read_timeout Ns;"
    " proxy_pass http://127.0.0.1:1; } } }",
    "apache.conf": "LimitRequestBody N\nTimeout N\nLimitRequestFieldSize N\nFcgidIOTimeout N\n"
    "ProxyPass /a http://127.0.0.1:1 timeout=N\nScriptAlias /c/ /x/\n",
    "lighttpd.conf": 'server.max-request-size = N\nfastcgi.server = ("/" => (("host" => '
    '"127.0.0.1", "port" => 1, "read-timeout" => N)))\n',
    "haproxy.cfg": "backend a\n timeout server N\n server a 127.0.0.1:1\n",
    "Caddyfile": ":80 {\n request_body {\n max_size NMB\n }\n reverse_proxy 127.0.0.1:1\n}\n",
    "web.config": '<configuration><system.webServer><rule><action type="Rewrite" url='
    '"http://127.0.0.1:1{UNENCODED_URL}"/></rule><proxy timeout="N:00:00"/><security>'
    '<requestFiltering><requestLimits maxAllowedContentLength="N"/></requestFiltering></security>'
    "</system.webServer></configuration>",
}


def judged(tmp_path: Path, path: object) -> Report:
    return doctor(Fake(tmp_path), binds=("http://127.0.0.1:1",), front_config=(str(path),))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(REFUSED[name])
    assert first(judged(tmp_path, file)) == "front.file"


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_beyond_all(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(NUMBERS[name].replace("N", DIGITS))
    assert "front.elsewhere" not in ids(judged(tmp_path, file))


@pytest.mark.parametrize(
    ("main", "each"),
    [
        ("http { include *.conf; }", "include *.conf;"),
        ("LoadModule a b\nInclude *.conf", "Include *.conf"),
        (":80 {\nreverse_proxy a\nimport *.conf\n}", "import *.conf"),
        ('server.port = 1\ninclude "*.conf"', 'include "*.conf"'),
    ],
)
def test_files_that_all_include_each_other(tmp_path: Path, main: str, each: str) -> None:
    for at in range(12):
        (tmp_path / f"{at}.conf").write_text(f"{each}\n")
    file = tmp_path / "main"
    file.write_text(main)
    with pytest.raises(ConfigError, match="more than 5000 files"):
        read_named(str(file))


def test_the_system_s_own_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    machine = Fake(tmp_path)
    machine.write("/etc/nginx/nginx.conf", "http " + "{ a " * 3000)
    assert not {"front.file", "front.elsewhere"} & set(ids(doctor(machine, binds=("unix:/x",))))


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "/dev/zero"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    named = "/dev/zero" if kind == "/dev/zero" else str(path)
    assert first(judged(tmp_path, named)) == "front.file"
    assert Machine().read(named) == ""


def test_a_pattern_that_would_be_tried_for_ever(tmp_path: Path) -> None:
    file = tmp_path / ".htaccess"
    rule = f"RewriteRule ^(([a-z./]+)+)+Z$ /{'a' * 40}/x.cgi/$1 [L]\n"
    file.write_text("RewriteEngine On\n" + rule)
    assert len(read_apache(Machine(), str(file))) == 1


def test_a_host_s_lines_are_those_of_all_and_its_own(tmp_path: Path) -> None:
    file = tmp_path / "apache.conf"
    file.write_text(
        "Timeout 7\n"
        + "".join(
            f"<VirtualHost *:{port}>\nProxyTimeout {port}\nProxyPass / http://127.0.0.1:1/\n"
            "</VirtualHost>\n"
            for port in (81, 82)
        )
        + "<VirtualHost *:83>\nProxyPass / http://127.0.0.1:1/\n</VirtualHost>\n"
    )
    assert [one.timeout for one in read_apache(Machine(), str(file))] == [81.0, 82.0, 7.0]
