"""gatebridge serve: options reach what they are about, and the lines that tell."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gatebridge.cli.options import default_text
from gatebridge.cli.serve import command
from gatebridge.config import flag
from gatebridge.settings import Settings
from tests.cli.run import run
from tests.serve.gated import APPLICATION, DEADLINE_S, gated, wait_until
from tests.suite import wires
from tests.suite.wires import Req

FIELDS = dataclasses.fields(Settings)


@pytest.mark.parametrize("field", FIELDS, ids=[field.name for field in FIELDS])
def test_every_setting_is_an_option_with_help_and_default(field) -> None:
    (option,) = [p for p in command.params if p.name == field.name]
    assert isinstance(option, click.Option)
    assert flag(field.name) in option.opts
    assert field.metadata["help"] in (option.help or "")
    assert option.default is None or option.multiple  # "not given" is not "the default"
    shown = default_text(field)
    if shown:
        assert f"[default: {shown}]" in (option.help or "")
    if field.metadata["short"]:
        assert field.metadata["short"] in option.opts
    if isinstance(field.default, bool):
        assert option.secondary_opts == [flag(field.name, off=True)]


def test_it_says_where_it_listens_once_for_each_bind(tmp_path: Path) -> None:
    binds = ["--bind", f"scgi+unix:{tmp_path}/scgi", "--bind", "http://127.0.0.1:0",
             "--bind", f"unix:@{tmp_path}", "--bind", "uwsgi://127.0.0.1:0"]  # fmt: skip
    with gated(tmp_path, *binds) as live:
        assert wait_until(lambda: live.log().count("listening on") == 5)
        for place, protocol in ((f"unix:{tmp_path}/s", "fastcgi"), ("scgi+unix:", "scgi"),
                                ("http://127.0.0.1:", "http"), (f"unix:@{tmp_path}", "fastcgi"),
                                ("uwsgi://127.0.0.1:", "uwsgi")):  # fmt: skip
            line = next(line for line in live.log().splitlines() if place in line)
            assert line.endswith(f"({protocol})")
        assert ":0 " not in live.log()  # the port it became
        sock = wires.connect(f"@{tmp_path}")
        found = wires.fastcgi_exchange(sock, Req(), wires.variables(Req(target="/fast"), ""))
        assert found.body == b"fast"


def test_fd_is_a_listener_of_the_starter(tmp_path: Path) -> None:
    (tmp_path / "gated.py").write_text(APPLICATION)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        argv = [sys.executable, "-m", "gatebridge", "serve", "gated:application"]
        root = str(Path(__file__).resolve().parents[2])
        process = subprocess.Popen(
            [*argv, "--bind", "fd://0"],
            stdin=listener,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": root},
        )
        sock = wires.connect(str(tmp_path / "s"))  # the kernel's queue keeps it until then
        found = wires.fastcgi_exchange(sock, Req(), wires.variables(Req(target="/fast"), ""))
        assert found.body == b"fast"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    assert (tmp_path / "s").exists()


def test_chdir_and_pythonpath_are_where_the_import_looks(tmp_path: Path) -> None:
    inner, library = tmp_path / "inner", tmp_path / "library"
    inner.mkdir()
    library.mkdir()
    (library / "lib_of_tests.py").write_text("word = b'found'\n")
    (inner / "shop.py").write_text(
        "import os\nfrom lib_of_tests import word\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [word, b' ', os.getcwd().encode()]\n"
    )
    (tmp_path / "gated.py").write_text("")
    root = str(Path(__file__).resolve().parents[2])
    argv = [sys.executable, "-m", "gatebridge", "serve", "shop:app", "--bind", "unix:s",
            "--chdir", str(inner), "--pythonpath", str(library)]  # fmt: skip
    process = subprocess.Popen(
        argv,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": root},
    )
    try:
        assert wait_until((tmp_path / "s").exists)  # a bind is named from the start folder
        sock = wires.connect(str(tmp_path / "s"))
        found = wires.fastcgi_exchange(sock, Req(), wires.variables(Req(), ""))
        assert found.body == f"found {inner}".encode()
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_a_file_says_it_all(tmp_path: Path) -> None:
    (tmp_path / "gated.py").write_text(APPLICATION)
    (tmp_path / "g.toml").write_text(
        "app = 'gated:application'\n[server]\nbind = 'unix:s'\nthreads = 1\n"
        "[log]\nerror_logfile = 'error.log'\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "gatebridge", "serve", "-c", "g.toml"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": root},
    )
    try:
        assert wait_until((tmp_path / "s").exists)
        sock = wires.connect(str(tmp_path / "s"))
        found = wires.fastcgi_exchange(sock, Req(), wires.variables(Req(target="/fast"), ""))
        assert found.body == b"fast"
        log = tmp_path / "error.log"
        assert wait_until(lambda: "listening on unix:s" in log.read_text())
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


def test_T19_access_log_in_both_forms(tmp_path: Path) -> None:
    log = tmp_path / "access"
    with gated(tmp_path, "--access-logfile", str(log)) as live:
        live.get("/fast?token=secret", ("Cookie", "c=secret"), ("User-Agent", "a\x1bb"))
        assert wait_until(lambda: log.read_text().endswith("\n"))
    text = log.read_text()
    assert '"GET /fast HTTP/1.1" 200 4 "-" "a\\x1bb"' in text
    assert text.startswith("127.0.0.1 - - [")
    assert "secret" not in text
    log.unlink()
    with gated(tmp_path, "--access-logfile", str(log), "--access-log-json") as live:
        live.get("/fast?token=secret")
        assert wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    record = json.loads(log.read_text())
    assert (record["path"], record["status"], record["bytes"]) == ("/fast", 200, 4)
    assert "secret" not in log.read_text()


def test_an_access_log_format_of_ones_own(tmp_path: Path) -> None:
    log = tmp_path / "access"
    options = ("--access-logfile", str(log), "--access-logformat", "%m %U%q %s %{X-A}i")
    with gated(tmp_path, *options) as live:
        live.get("/fast?a=1", ("X-A", "yes"))
        live.get("/fail")
        assert wait_until(lambda: log.read_text().count("\n") == 2)
    assert log.read_text() == "GET /fast?a=1 200 yes\nGET /fail 500 -\n"


def test_log_level_warning_keeps_quiet_about_what_is_well(tmp_path: Path) -> None:
    error = tmp_path / "error"
    options = ("--log-level", "warning", "--error-logfile", str(error))
    with gated(tmp_path, *options) as live:
        live.get("/fast")
        assert error.read_text() == ""
        live.get("/fail")
        assert wait_until(lambda: "app.failed" in error.read_text())
    assert "listening" not in error.read_text()


def test_T20_W042_the_incident_leads_from_the_page_to_the_traceback(tmp_path: Path) -> None:
    with gated(tmp_path) as live:
        page = live.get("/fail")
        incident = page.body.decode().split()[-1].strip(".")
        assert page.status == 500
        for text in (b"Traceback", b"a failure", b"ValueError", b"gatebridge"):
            assert text not in page.body
        assert wait_until(lambda: "ValueError: a failure" in live.log())
        assert f"app.failed incident {incident} (GET /fail)" in live.log()
        assert incident.encode() in page.errors  # the front server's error log has it too
        assert b"ValueError: a failure" in page.errors


def test_F122_W061_wsgi_errors_go_to_both_logs(tmp_path: Path) -> None:
    with gated(tmp_path) as live:
        assert live.get("/say").errors == b"said\n"
        assert wait_until(lambda: "app.says said" in live.log())


def test_python_O_serves_the_same(tmp_path: Path) -> None:
    with gated(tmp_path, python=["-O"]) as live:
        assert live.get("/fast").body == b"fast"
        assert live.get("/fail").status == 500
        assert live.get("/body", body=b"x" * 70_000).body == b"70000"


@pytest.mark.parametrize("given", ["not-a-module:", "x.py:y:z"])
def test_an_odd_target_is_told(tmp_path: Path, given: str) -> None:
    done = run(tmp_path, "serve", given, "--bind", "unix:s")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
