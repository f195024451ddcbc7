"""nginx's configurations: a broken one is named first, and doctor is silent about a sound one."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.bind import parse_bind
from gatebridge.fronts import nginx
from gatebridge.fronts.place import Place
from tests.doctor.front_stand import accepted, judged, serving
from tests.doctor.set_up import Fake, configured, doctor, first, ids, own_name
from tests.fronts.servers import program
from tests.serve.service import Service

STOCK = (
    "fastcgi_param QUERY_STRING $query_string; fastcgi_param REQUEST_METHOD $request_method;"
    " fastcgi_param REQUEST_URI $request_uri; fastcgi_param SERVER_PROTOCOL $server_protocol;"
    " fastcgi_param SERVER_SOFTWARE nginx/$nginx_version; fastcgi_param REQUEST_SCHEME $scheme;"
    " fastcgi_param SCRIPT_NAME $fastcgi_script_name;"
)
SPLIT = (
    "fastcgi_split_path_info ^(/app)(/.*)?$; fastcgi_param PATH_INFO $fastcgi_path_info;" + STOCK
)
LARGE = "client_max_body_size 1g;"


@pytest.fixture(scope="module")
def live() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        with serving(Path(name)) as running:
            yield running


def site(location: str, inside: str, before: str = "", listen: str = "127.0.0.1:1") -> str:
    return (
        f"{before}\nserver {{\n  listen {listen};\n  {LARGE}\n"
        f"  location {location} {{\n    {inside}\n  }}\n}}\n"
    )


def whole(text: str, folder: Path) -> str:
    return nginx.whole(text, "", str(folder))


def nginx_takes(text: str, folder: Path) -> None:
    """nginx itself takes it."""
    path = folder / "tested.conf"
    path.write_text(whole(text, folder))
    accepted([program("nginx", package="nginx"), "-t", "-q", "-c", str(path), "-p", str(folder)])


PASS = "fastcgi_pass unix:{s};"
SOUND: dict[str, tuple[str, dict[str, Any]]] = {
    "stock at the root": (site("/", PASS + STOCK), {"mount": "/"}),
    "stock, its path put right by gatebridge": (site("/", PASS + STOCK), {}),
    "stock at /app": (site("/app", PASS + STOCK), {"mount": "/app"}),
    "split": (site("/app", PASS + SPLIT), {}),
    "kept": (
        site("/", f"fastcgi_pass up; fastcgi_keep_conn on; {STOCK}",
             "upstream up { server unix:{s}; keepalive 4; }"),
        {"mount": "/"},
    ),
    "kept for the sake of the answer's end": (
        site("/", PASS + "fastcgi_keep_conn on;" + STOCK), {"mount": "/"},
    ),
    "files first": (
        site("@app", PASS + STOCK).replace(LARGE, LARGE + " location / { try_files $uri @app; }"),
        {"mount": "/"},
    ),
    "a longer time": (site("/", PASS + "fastcgi_read_timeout 2m5s;" + STOCK),
                      {"mount": "/", "timeout": 120.0}),
}  # fmt: skip
BROKEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "another socket": ("front.elsewhere", site("/", "fastcgi_pass unix:/run/php.sock;"), {}),
    "another protocol": ("front.protocol", site("/", "uwsgi_pass unix:{s};"), {}),
    "no path": ("front.path_info", site("/app", PASS + "fastcgi_param REQUEST_METHOD GET;"), {}),
    "encoded twice": (
        "front.path_info",
        site("/", PASS + "fastcgi_param SCRIPT_NAME ''; fastcgi_param PATH_INFO $request_uri;"),
        {},
    ),
    "mount unsaid": ("front.mount", site("/app", PASS + STOCK), {}),
    "another mount": ("front.mount", site("/app", PASS + STOCK), {"mount": "/"}),
    "made for PHP": (
        "front.try_files", site("/", "try_files $uri =404;" + PASS + STOCK), {"mount": "/"},
    ),
    "small uploads": (
        "front.upload", site("/", PASS + STOCK).replace(LARGE, ""), {"mount": "/"},
    ),
    "larger uploads": (
        "front.upload_behind", site("/", PASS + STOCK), {"mount": "/", "limit_body": 1 << 20},
    ),
    "impatience": ("front.timeout", site("/", PASS + STOCK), {"mount": "/", "timeout": 120.0}),
    "credentials": (
        "front.authorization",
        site("/", PASS + STOCK + 'fastcgi_param HTTP_AUTHORIZATION "";'),
        {"mount": "/"},
    ),
    "small head": (
        "front.header_buffer",
        site("/", PASS + "fastcgi_buffer_size 1k; fastcgi_buffers 8 1k;"
             " fastcgi_busy_buffers_size 2k;" + STOCK),
        {"mount": "/"},
    ),
    "small request head": (
        "front.header_buffer",
        site("/", PASS + STOCK).replace(LARGE, LARGE + "large_client_header_buffers 2 1k;"),
        {"mount": "/"},
    ),
    "asked to be kept": (
        "front.keep_conn",
        site("/", "fastcgi_pass up; fastcgi_keep_conn on;" + STOCK,
             "upstream up { server unix:{s}; }"),
        {"mount": "/"},
    ),
    "kept in vain": (
        "front.keep_conn",
        site("/", "fastcgi_pass up;" + STOCK, "upstream up { server unix:{s}; keepalive 4; }"),
        {"mount": "/"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_configuration(live: Service, name: str) -> None:
    text, flags = SOUND[name]
    text = text.replace("{s}", f"{live.folder}/s.fcgi")
    nginx_takes(text, live.folder)
    report = judged(live, text, **flags)
    assert (ids(report), report.undecided) == ([], [])


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration(live: Service, name: str) -> None:
    id, text, flags = BROKEN[name]
    text = text.replace("{s}", f"{live.folder}/s.fcgi")
    nginx_takes(text, live.folder)
    assert first(judged(live, text, **flags)) == id


@pytest.mark.parametrize("kind", ["fcgi", "scgi", "uwsgi", "http"])
@pytest.mark.parametrize("mount", ["", "/app"])
@pytest.mark.parametrize("form", ["", "location"])
def test_what_conf_writes_is_sound(live: Service, kind: str, mount: str, form: str) -> None:
    bind = parse_bind(f"{kind}+unix:{live.folder}/s.{kind}")
    text = nginx.config(Place((bind,), mount, listen="127.0.0.1:1"), form)
    report = judged(live, text, kind, mount=mount or "/")
    assert (ids(report), report.undecided) == ([], [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/srv/www$document_root$fastcgi_script_name", ["front.script_filename"]),
        ("$document_root$fastcgi_script_name", []),
    ],
)
def test_a_file_s_name_that_is_none(live: Service, name: str, expected: list[str]) -> None:
    text = site("/", f"{PASS}{STOCK} root /srv/www; fastcgi_param SCRIPT_FILENAME {name};")
    text = text.replace("{s}", f"{live.folder}/s.fcgi")
    nginx_takes(text, live.folder)
    assert ids(judged(live, text, mount="/")) == []  # nobody reads it
    (live.folder / "uses.py").write_text('HERE = "SCRIPT_FILENAME"\n')
    try:
        assert ids(judged(live, text, mount="/")) == expected
    finally:
        (live.folder / "uses.py").unlink()


def test_tls_that_nobody_is_told_of(live: Service) -> None:
    text = site("/", PASS + STOCK.replace("fastcgi_param REQUEST_SCHEME $scheme;", ""),
                listen="127.0.0.1:1 ssl")  # fmt: skip
    text = text.replace("{s}", f"{live.folder}/s.fcgi")
    assert first(judged(live, text, mount="/")) == "front.scheme"
    told = text.replace("REQUEST_METHOD", "HTTPS $https; fastcgi_param REQUEST_METHOD")
    assert ids(judged(live, told, mount="/")) == []


def test_streams_that_are_collected(live: Service) -> None:
    text = site("/", PASS + STOCK).replace("{s}", f"{live.folder}/s.fcgi")
    (live.folder / "events.py").write_text('KIND = "text/event-stream"\n')
    try:
        assert first(judged(live, text, mount="/")) == "front.buffering"
        at_once = text.replace("fastcgi_pass", "fastcgi_buffering off; fastcgi_pass")
        assert ids(judged(live, at_once, mount="/")) == []
    finally:
        (live.folder / "events.py").unlink()


def test_included_files_belong_to_it(live: Service) -> None:
    text = site("/", PASS + STOCK).replace("{s}", f"{live.folder}/s.fcgi").replace(LARGE, "")
    (live.folder / "sites").mkdir()
    (live.folder / "sites" / "one.conf").write_text(text)
    report = judged(live, "http { client_max_body_size 2g; include sites/*.conf; }", mount="/")
    assert ids(report) == ["front.upload_behind"]
    assert f"{live.folder}/sites/one.conf:6: " in report.found[0].finding.evidence


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ("nginx", "include {f};"),
        ("apache", 'Include "{f}"'),
        ("lighttpd", 'include "{f}"'),
        ("caddy", "import {f}"),
    ],
)
def test_a_file_that_includes_itself(live: Service, server: str, text: str) -> None:
    file = live.folder / "self.conf"
    file.write_text(text.replace("{f}", str(file)))
    report = doctor(Fake(live.folder), front_config=(f"{server}:{file}",))
    assert "front.file" not in ids(report)


def test_a_file_that_is_not_there(live: Service) -> None:
    missing = (f"{live.folder}/absent.conf",)
    assert first(doctor(Fake(live.folder), front_config=missing)) == "front.file"
    (live.folder / "empty.conf").write_text("nothing\n")
    empty = (f"{live.folder}/empty.conf",)
    assert first(doctor(Fake(live.folder), front_config=empty)) == "front.file"
    named = (f"nginx:{live.folder}/empty.conf",)
    assert "front.file" not in ids(doctor(Fake(live.folder), front_config=named))


def test_the_system_s_own_configuration(live: Service, tmp_path: Path) -> None:
    machine = Fake(tmp_path)
    text = site("/", PASS + STOCK).replace("{s}", f"{live.folder}/s.fcgi").replace(LARGE, "")
    machine.write("/etc/nginx/nginx.conf", "http { include conf.d/*.conf; }")
    machine.write("/etc/nginx/conf.d/x.conf", text)
    flags = {"bind": [f"unix:{live.folder}/s.fcgi"], "mount": "/", "chdir": str(live.folder)}
    flags["control_socket"] = live.control
    meant = configured("shop:application", **flags)
    assert ids(doctor(machine, **meant, front_user=own_name())) == ["front.upload"]


def test_a_server_that_leads_elsewhere_is_nobody_who_connects(
    live: Service, tmp_path: Path
) -> None:
    machine = Fake(tmp_path)
    machine.process_is(7, "nginx", 65534)
    flags = {"bind": [f"unix:{live.folder}/private"], "control_socket": live.control}
    meant = configured("shop:application", chdir=str(live.folder), **flags)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{live.folder}/private")
        (live.folder / "private").chmod(0o600)
        sock.listen()
        here = f"server {{ location / {{ fastcgi_pass unix:{live.folder}/private; }} }}"
        machine.write("/etc/nginx/nginx.conf", here)
        assert "socket.permission" in ids(doctor(machine, **meant))
        machine.write("/etc/nginx/nginx.conf", "http { server { listen 80; } }")
        assert "socket.permission" not in ids(doctor(machine, **meant))
