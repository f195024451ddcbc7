"""Programs that Apache starts: cgi-bin, mod_fcgid, .htaccess. What doctor reads of them is what a
real Apache does."""

import http.client
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatebridge.doctor.report import Report
from gatebridge.fronts import apache
from gatebridge.fronts.place import Place
from tests.doctor.apache_stand import loaded, run
from tests.doctor.front_stand import serving
from tests.doctor.set_up import Fake, configured, doctor, first, ids, own_name
from tests.serve.service import Service

ROOT = Path(__file__).resolve().parents[2]
CGI = """#!/bin/sh
cat >/dev/null
printf 'Content-Type: text/plain\\n\\n%s' "${HTTP_AUTHORIZATION:-$REDIRECT_HTTP_AUTHORIZATION}"
"""
FCGI = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from gatebridge.dispatch import run

def application(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ.get("HTTP_AUTHORIZATION", "").encode()]

run(application)
"""
SECRET = "Basic YTpi"


@pytest.fixture(scope="module")
def live() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for one in ("apache", "doc", "doc/cgi-bin", "cgi"):
            (folder / one).mkdir()
        (folder / "apache").chmod(0o777)  # another user writes there
        for path, text in (("cgi/a.cgi", CGI), ("doc/b.cgi", CGI), ("doc/cgi-bin/c.cgi", CGI),
                           ("cgi/f.fcgi", FCGI), ("doc/g.fcgi", FCGI)):  # fmt: skip
            (folder / path).write_text(text)
            (folder / path).chmod(0o755)
        with serving(folder) as running:
            yield running


OPEN = "<Directory />\nRequire all granted\n</Directory>\n"
AUTH = "<Location />\nCGIPassAuth On\n</Location>\n"
ALIAS = 'ScriptAlias /cgi/ "{f}/cgi/"\n'
FCGID = 'FcgidMaxRequestLen 200000\n<Directory "{f}/cgi">\nOptions +ExecCGI\n' \
    "SetHandler fcgid-script\n</Directory>\n"  # fmt: skip
REACH = 'Alias /fcgi/ "{f}/cgi/"\n'
WRAPPER = '<Directory "{f}/cgi">\nOptions +ExecCGI\nSetHandler fcgid-script\n' \
    'FcgidWrapper "{f}/cgi/f.fcgi" virtual\n</Directory>\n'  # fmt: skip
SUFFIX = 'AddHandler cgi-script .cgi\nAlias /p/ "{f}/cgi/"\n'
FOLDER = '<Directory "{f}/cgi">\nOptions +ExecCGI\n</Directory>\n'
HEADER = "SetEnvIf Authorization (.*) HTTP_AUTHORIZATION=$1\n"
HANDLER = "Options +ExecCGI\nAddHandler cgi-script .cgi\n"
PASSED = "RewriteEngine On\nRewriteRule ^ - [E=HTTP_AUTHORIZATION:%{HTTP:Authorization}]\n"
RULE = "RewriteRule ^(.*)$ /b.cgi/$1 [QSA,L]\n"

Row = tuple[str, str, str, str, dict[str, Any]]  # configuration, .htaccess, program, path, flags
SMALL = {"limit_body": 200_000}
SOUND: dict[str, Row] = {
    "cgi-bin": (ALIAS + AUTH, "", "cgi/a.cgi", "/cgi/a.cgi/x", {}),
    "one program": ('ScriptAlias /app "{f}/cgi/a.cgi"\n' + AUTH, "", "cgi/a.cgi", "/app/x", {}),
    "mod_fcgid": (FCGID + REACH + AUTH, "", "cgi/f.fcgi", "/fcgi/f.fcgi/x", SMALL),
    "mod_fcgid, below a ScriptAlias": (
        ALIAS + AUTH + FCGID.replace("Options +ExecCGI\n", ""), "", "cgi/f.fcgi", "/cgi/f.fcgi",
        SMALL,
    ),
    "a wrapper": (
        WRAPPER + REACH + AUTH + "FcgidMaxRequestLen 200000\n", "", "cgi/f.fcgi", "/fcgi/x", SMALL,
    ),
    "ExecCGI for its folder": (SUFFIX + FOLDER + AUTH, "", "cgi/a.cgi", "/p/a.cgi", {}),
    "ExecCGI taken from those around": (
        SUFFIX + FOLDER + AUTH + '<Directory "{f}">\nOptions -ExecCGI\n</Directory>\n'
        + '<Directory "{f}/doc">\nOptions -ExecCGI\n</Directory>\n', "", "cgi/a.cgi", "/p/a.cgi",
        {},
    ),
    "ExecCGI for folders of a pattern": (
        SUFFIX + FOLDER.replace("/cgi", "/c*") + AUTH, "", "cgi/a.cgi", "/p/a.cgi", {},
    ),
    "a handler for a URL": (
        'Alias /p/ "{f}/cgi/"\n<Location /p/>\nOptions +ExecCGI\nSetHandler cgi-script\n'
        "</Location>\n" + AUTH, "", "cgi/a.cgi", "/p/a.cgi", {},
    ),
    "ScriptAliasMatch": (
        'ScriptAliasMatch ^/cgi/(.*) "{f}/cgi/$1"\n' + AUTH, "", "cgi/a.cgi", "/cgi/a.cgi/x", {},
    ),
    "a handler": ("", HANDLER + HEADER, "doc/b.cgi", "/b.cgi", {}),
    "a rule": (
        "", HANDLER + PASSED + "RewriteRule ^b\\.cgi - [L]\n" + RULE, "doc/b.cgi", "/x/y", {},
    ),
    "a rule that ends": (
        "", HANDLER + PASSED + RULE.replace("QSA,L", "END"), "doc/b.cgi", "/x/y", {},
    ),
    "files first": (
        "", HANDLER + PASSED + "RewriteCond %{REQUEST_FILENAME} !-f\n" + RULE, "doc/b.cgi", "/x/y",
        {},
    ),
}  # fmt: skip
BROKEN: dict[str, tuple[str, Row, int]] = {
    "nothing starts it": (
        "front.script", ("", "RewriteEngine Off\n", "doc/b.cgi", "/b.cgi", {}), 200,
    ),
    "another folder": (
        "front.script",
        ('ScriptAlias /cgi/ "{f}/other/"\n', "", "cgi/a.cgi", "/cgi/a.cgi", {}), 404,
    ),
    "no credentials": ("front.authorization", (ALIAS, "", "cgi/a.cgi", "/cgi/a.cgi", {}), 200),
    "no credentials by mod_fcgid": (
        "front.authorization", (FCGID + REACH, "", "cgi/f.fcgi", "/fcgi/f.fcgi", SMALL), 200,
    ),
    "no credentials in a .htaccess": (
        "front.authorization", ("", HANDLER, "doc/b.cgi", "/b.cgi", {}), 200,
    ),
    "no ExecCGI": (
        "front.execute",
        ("", HANDLER.replace("Options +ExecCGI\n", "") + HEADER, "doc/b.cgi", "/b.cgi", {}), 403,
    ),
    "ExecCGI for another folder": (
        "front.execute",
        (SUFFIX + FOLDER.replace("/cgi", "/doc") + AUTH, "", "cgi/a.cgi", "/p/a.cgi", {}), 403,
    ),
    "ExecCGI taken from its folder": (
        "front.execute",
        (SUFFIX + FOLDER.replace("/cgi", "") + FOLDER.replace("+", "-") + AUTH, "", "cgi/a.cgi",
         "/p/a.cgi", {}), 403,
    ),
    "no ExecCGI for mod_fcgid": (
        "front.execute",
        (FCGID.replace("Options +ExecCGI\n", "") + REACH + AUTH, "", "cgi/f.fcgi", "/fcgi/f.fcgi",
         SMALL), 403,
    ),
    "uploads beyond mod_fcgid's own limit": (
        "front.upload",
        (FCGID.replace("FcgidMaxRequestLen 200000\n", "") + REACH + AUTH, "", "cgi/f.fcgi",
         "/fcgi/f.fcgi", SMALL), 500,
    ),
    "uploads": (
        "front.upload",
        ("LimitRequestBody 100000\n" + ALIAS + AUTH, "", "cgi/a.cgi", "/cgi/a.cgi", SMALL), 413,
    ),
    "impatience": (
        "front.timeout",
        ("CGIDScriptTimeout 30\n" + ALIAS + AUTH, "", "cgi/a.cgi", "/cgi/a.cgi",
         {"timeout": 120.0}), 200,
    ),
    "a rule that comes again": (
        "front.rewrite", ("", HANDLER + PASSED + RULE, "doc/b.cgi", "/x/y", {}), 500,
    ),
    "rules that are off": (
        "front.rewrite", ("", HANDLER + HEADER + RULE, "doc/b.cgi", "/x/y", {}), 404,
    ),
}  # fmt: skip


def seen(live: Service, row: Row, size: int = 0) -> tuple[Report, int, str]:
    """What doctor says, and what a POST of so many bytes with credentials is answered."""
    text, hidden, script, path, flags = row
    folder = live.folder
    text = text.replace("{f}", str(folder))
    (folder / "doc" / ".htaccess").write_text(hidden)
    around = f'DocumentRoot "{folder}/doc"\n{OPEN}<Directory "{folder}/doc">\nAllowOverride All\n'
    server = run(live, f"<VirtualHost *:PORT>\n{around}</Directory>\n{text}</VirtualHost>\n")
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.ports[0], timeout=30)
        headers = {"Authorization": SECRET}
        connection.request("POST" if size else "GET", path, b"x" * size or None, headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read().decode("latin-1")
        connection.close()
    finally:
        server.stop()
    file = folder / "doc" / ".htaccess"
    if not hidden:
        file = folder / "front.conf"
        file.write_text(text)
    return judged(live, f"apache:{file}", script, **flags), status, body


def judged(live: Service, file: str, script: str, **flags: Any) -> Report:
    folder = str(live.folder)
    meant: dict[str, Any] = {}
    if flags:  # the program's daemon has a file of its own
        flags = {"bind": [f"unix:{folder}/s.fcgi"], "control_socket": live.control, **flags}
        meant = configured("shop:application", chdir=folder, **flags)
    machine = Fake(live.folder / "machine")
    script = f"{folder}/{script}"
    return doctor(machine, **meant, scripts=(script,), front_config=(file,), front_user=own_name())


def of_fronts(report: Report) -> list[str]:
    return [one for one in ids(report) if one.startswith("front.")]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_configuration(live: Service, name: str) -> None:
    report, status, body = seen(live, SOUND[name], 150_000)
    assert (ids(report), report.undecided) == ([], [])
    assert (status, body) == (200, SECRET)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_configuration(live: Service, name: str) -> None:
    id, row, expected = BROKEN[name]
    report, status, body = seen(live, row, 150_000 if id == "front.upload" else 0)
    assert (first(report), of_fronts(report)) == (id, [id])
    assert status == expected
    assert (body == SECRET) == (id in ("front.timeout",))


UNLOADED = {
    "cgid": (ALIAS + AUTH, "cgi/a.cgi", "/cgi/a.cgi", 200, CGI),
    "fcgid": (REACH + FCGID.partition("\n")[2] + AUTH, "cgi/f.fcgi", "/fcgi/f.fcgi", 200, FCGI),
    "proxy_fcgi": (
        'ProxyPass /app "unix:{f}/s.fcgi|fcgi://x"\n' + AUTH, "", "/app/", 500, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("module", UNLOADED)
@pytest.mark.parametrize("is_loaded", [True, False])
def test_a_module_that_is_not_loaded(live: Service, module: str, is_loaded: bool) -> None:
    text, script, path, status, body = UNLOADED[module]
    text = text.replace("{f}", str(live.folder))
    file = live.folder / "front.conf"
    only = f"<IfModule !unheard_module>\n{loaded('' if is_loaded else module)}\n</IfModule>\n"
    file.write_text(only + text)
    if script:
        report = judged(live, f"apache:{file}", script)
    else:
        meant = {"binds": (f"unix:{live.folder}/s.fcgi",), "control_socket": live.control}
        report = doctor(Fake(live.folder / "machine"), **meant, front_config=(f"apache:{file}",),
                        front_user=own_name())  # fmt: skip
    found = [one for one in of_fronts(report) if one == "front.module"]
    assert found == ([] if is_loaded else ["front.module"])
    if is_loaded:
        return
    assert first(report) == "front.module"
    server = run(live, f"<VirtualHost *:PORT>\n{OPEN}{text}</VirtualHost>\n", module)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", server.ports[0], timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        came = answer.read().decode("latin-1")
        connection.close()
    finally:
        server.stop()
    assert (answer.status, came == body or status != 200) == (status, True)


@pytest.mark.parametrize("mount", ["", "/app"])
@pytest.mark.parametrize("form", ["cgi", "fcgid", "htaccess"])
def test_what_conf_writes_is_sound(live: Service, form: str, mount: str) -> None:
    script = "cgi/f.fcgi" if form == "fcgid" else "cgi/a.cgi"
    if form == "htaccess":
        script = "doc/cgi-bin/c.cgi"
    place = Place((), mount, listen="127.0.0.1:1", shim=f"{live.folder}/{script}")
    file = live.folder / (".htaccess" if form == "htaccess" else "front.conf")
    file.write_text(apache.config(place, form))
    report = judged(live, str(file), script, limit_body=1 << 30)
    assert (ids(report), report.undecided) == ([], [])


def test_a_htaccess_alone_may_be_allowed_what_it_does_not_say(live: Service) -> None:
    file = live.folder / "doc" / ".htaccess"
    file.write_text(HANDLER.replace("Options +ExecCGI\n", "") + HEADER)
    report = judged(live, f"apache:{file}", "doc/b.cgi")
    assert (ids(report), report.is_broken) == (["front.execute"], False)
    file.write_text(HANDLER.replace("+ExecCGI", "None") + HEADER)
    assert judged(live, f"apache:{file}", "doc/b.cgi").is_broken


def test_a_program_s_daemon_needs_no_line_of_its_own(live: Service) -> None:
    """Its shim finds it: that nothing leads to the socket is right."""
    file = live.folder / "front.conf"
    file.write_text((ALIAS + AUTH).replace("{f}", str(live.folder)))
    report = judged(live, f"apache:{file}", "cgi/a.cgi", limit_body=1 << 30)
    assert ids(report) == []
    assert os.path.exists(f"{live.folder}/s.fcgi")
