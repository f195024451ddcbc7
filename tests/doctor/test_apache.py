"""What a real Apache writes about programs that give no headers, and what doctor makes of it."""

import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.set_up import Fake, doctor
from tests.fronts.apache import modules
from tests.fronts.servers import Server, free_port, program, start, unprivileged

PROGRAMS = {
    "noshebang.cgi": ("print('x')\n", 0o755, "no #! line"),
    "nointerpreter.cgi": ("#!/opt/absent/python\n", 0o755, "the interpreter"),
    "crlf.cgi": ("#!/bin/sh\r\necho x\n", 0o755, "the line ends with CR"),
    "noexecute.cgi": ("#!/bin/sh\necho x\n", 0o644, "may not execute"),
    "module.cgi": ("#!/usr/bin/python3\nimport absent_mod\n", 0o755, "named 'absent_mod'"),
    "head.cgi": ("#!/bin/sh\necho hello\necho\n", 0o755, "something before its headers"),
    "silent.cgi": ("#!/bin/sh\nexit 0\n", 0o755, "without a word"),
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gb-doctor-", dir="/tmp") as name:
        made = Path(name)
        made.chmod(0o777)
        (made / "cgi").mkdir()
        for program_name, (text, mode, _) in PROGRAMS.items():
            path = made / "cgi" / program_name
            path.write_bytes(text.encode())
            path.chmod(mode)
        yield made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    def make() -> Server:
        port = free_port()
        (folder / "apache.conf").write_text(
            f'ServerRoot "{folder}"\n'
            f"{modules()}\n"
            f'PidFile "{folder}/pid"\nErrorLog "{folder}/error.log"\nScriptSock "{folder}/sock"\n'
            f'FcgidIPCDir "{folder}/fcgid"\nFcgidProcessTableFile "{folder}/fcgid_shm"\n'
            f'Mutex "file:{folder}" default\nServerName x\n'
            f"TypesConfig /dev/null\nListen 127.0.0.1:{port}\n"
            f'ScriptAlias /cgi/ "{folder}/cgi/"\n<Directory />\nRequire all granted\n</Directory>\n'
        )
        words = ("-d", str(folder), "-f", str(folder / "apache.conf"), "-DFOREGROUND")
        argv = [program("apache2", "httpd", package="apache2"), *words]
        return Server("apache", folder, unprivileged(argv), [port], [folder / "error.log"])

    running = start(make)
    yield running
    running.stop()


@pytest.mark.parametrize("name", PROGRAMS)
def test_premature_end_of_script_headers(server: Server, folder: Path, name: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{server.ports[0]}/cgi/{name}", timeout=30)
    caught.value.close()
    log = str(folder / "error.log")
    report = doctor(Fake(folder / "machine"), scripts=(f"/cgi/{name}",), error_log=log)
    (found,) = [one for one in report.found if one.check.id == "script.log"]
    assert found.finding.cause.startswith(f"{name}: ")
    assert PROGRAMS[name][2] in found.finding.cause
