"""The sixteen faults of flup 1.0.3, each shown by flup itself, and what is here in its place.

The differential test (test_differential_flup.py) finds those that bytes can show by itself; here
each has a name, and fails as well when flup has it no more.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import cgi
from tests.cgi import ROOT
from tests.compat.stand import FLUP, OURS, Script
from tests.suite import wires
from tests.suite.modes import wait_until
from tests.suite.wires import Req, record, stream

BIND = "bindAddress='s'"
PATIENCE_S = 1.0  # of a client of flup's: then it is taken as never answered
SILENT = ("-W", "ignore")  # flup on 3.12 and later: fault 12

both = pytest.mark.parametrize("package", [FLUP, OURS])


def make(folder: Path, package: str, arguments: str = BIND, kind: str = "fcgi", **more) -> Script:
    return Script(folder, arguments, kind, package=package, python=SILENT, **more)


def ended(script: Script, sock, patience_s: float = PATIENCE_S) -> bytes | None:
    """What comes until the connection or the request ends; None where nothing more came."""
    sock.settimeout(patience_s if script.package == FLUP else 20.0)
    answer, got = wires.FastcgiAnswer(), bytearray()
    try:
        while data := sock.recv(65_536):
            got += data
            if script.protocol == "fcgi" and answer.feed(got):
                break
    except TimeoutError:
        return None
    except ConnectionResetError:
        pass
    finally:
        sock.close()
    return bytes(answer.out if script.protocol == "fcgi" else got)


@both
def test_1_idle_connections_do_not_starve_a_request(tmp_path: Path, package: str) -> None:
    count = 30 if package == FLUP else 1000
    with make(tmp_path, package).up() as script:
        idle = [script.sock() for _ in range(count)]
        got = ended(script, script.start("/x"))
        for sock in idle:
            sock.close()
    assert (got is None) == (package == FLUP)


@both
def test_2_term_with_an_idle_connection_ends_it(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package).up() as script:
        sock = script.sock()
        sock.sendall(script.data(Req(), keep=True))
        pipe, answer = wires.Pipe(sock), wires.FastcgiAnswer()
        while not answer.feed(pipe.got) and pipe.more():
            pass
        script.process.terminate()
        try:
            script.process.wait(PATIENCE_S if package == FLUP else 20)
            has_ended = True
        except subprocess.TimeoutExpired:
            has_ended = False
        sock.close()
    assert has_ended == (package == OURS)


@both
def test_3_variables_may_be_split_anywhere(tmp_path: Path, package: str) -> None:
    pairs = wires.variables(Req(target="/cut"), "")
    block = b"".join(wires.pair(k.encode(), v.encode()) for k, v in pairs)
    data = record(1, b"\0\1\0\0\0\0\0\0") + stream(4, block, step=7) + record(5, b"")
    with make(tmp_path, package).up() as script, script.sock() as sock:
        sock.sendall(data)
        got = ended(script, sock)
    assert (b'"PATH_INFO": "/cut"' in (got or b"")) == (package == OURS)


@both
def test_4_get_values_are_told(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package).up() as script, script.sock() as sock:
        sock.sendall(record(9, wires.pair(b"FCGI_MPXS_CONNS", b""), 0))
        sock.settimeout(20)
        got = sock.recv(1000)
        size = int.from_bytes(got[4:6], "big")
        content = got[8 : 8 + size]
    assert content == (b"" if package == FLUP else wires.pair(b"FCGI_MPXS_CONNS", b"0"))


@both
def test_5_path_info_is_decoded_once(tmp_path: Path, package: str) -> None:
    """Apache's mod_proxy_fcgi: the whole decoded path in SCRIPT_NAME, no PATH_INFO."""
    pairs = dict(wires.variables(Req(target="/x"), ""))
    pairs |= {"SCRIPT_NAME": "/fc/x y/\xe4", "REQUEST_URI": "/fc/x%20y/%E4", "PATH_INFO": ""}
    with make(tmp_path, package).up() as script, script.sock() as sock:
        sock.sendall(wires.fastcgi_bytes(list(pairs.items()), b""))
        told = json.loads((ended(script, sock) or b"").partition(b"\r\n\r\n")[2])
    whole = told["SCRIPT_NAME"] + told["PATH_INFO"]
    assert (whole == "/fc/x y/\xe4") == (package == OURS)
    assert ("%" in whole or "E4" in whole) == (package == FLUP)


CGI = """\
import sys
from {package}.server.{kind} import WSGIServer
def app(environ, start_response):
    data = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{{len(data)}} {{type(data).__name__}}".encode()]
WSGIServer(app{more}).run()
"""


@both
@pytest.mark.parametrize(("kind", "more"), [("cgi", ""), ("fcgi", ""), ("fcgi", ", forceCGI=True")])
def test_6_cgi(tmp_path: Path, package: str, kind: str, more: str) -> None:
    """A pipe as standard input, a binary body."""
    (tmp_path / "old.cgi").write_text(CGI.format(package=package, kind=kind, more=more))
    argv = [sys.executable, "-W", "ignore", "old.cgi"]
    done = cgi.post(argv, b"\xff\xfe\0", folder=tmp_path, PYTHONPATH=str(ROOT))
    assert (done.body == b"3 bytes") == (package == OURS), done


@both
def test_7_scgi_bodies_end(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package, kind="scgi").up() as script:
        sock = script.sock()
        sock.sendall(script.data(Req("POST", "/body", body=b"12345")))
        got = ended(script, sock)
    assert (got is None) == (package == FLUP)
    assert package == FLUP or b"5 12345" in (got or b"")


@both
def test_8_no_response_splitting(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package).up() as script:
        got = ended(script, script.start("/splits")) or b""
    assert (b"\r\nX-C: d\r\n" in got) == (package == FLUP)
    assert got.startswith(b"Status: 500") == (package == OURS)


@both
def test_9_the_proxy_header_is_dropped(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package).up() as script:
        told = script.told(more=(("HTTP_PROXY", "http://evil/"),))
    assert ("HTTP_PROXY" in told) == (package == FLUP)


@both
def test_10_debug_needs_no_cgitb(tmp_path: Path, package: str) -> None:
    """As on Python 3.13, which has none."""
    more = "sys.modules['cgitb'] = None"
    with make(tmp_path, package, f"{BIND}, debug=True", more=more).up() as script:
        got = ended(script, script.start("/boom")) or b""
    assert (b"told to fail" in got) == (package == OURS)


@both
def test_11_the_sockets_file_is_removed(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package).up() as script:
        script.end()
        assert os.path.exists(script.path) == (package == FLUP)


@both
def test_12_no_warning_of_python_is_provoked(tmp_path: Path, package: str) -> None:
    script = Script(tmp_path, BIND, package=package, python=("-W", "error"))
    with script:
        if package == OURS:
            assert script.up().told()
        else:
            assert script.process.wait(20) == 1
            assert "DeprecationWarning" in script.said()


@both
def test_13_a_wrong_version_is_refused(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package).up() as script, script.sock() as sock:
        data = bytearray(script.data(Req(target="/x")))
        data[0] = 9
        sock.sendall(data)
        got = ended(script, sock)
    assert (got is not None and got.startswith(b"Status: 200")) == (package == FLUP)


@both
def test_13_an_early_abort_is_answered(tmp_path: Path, package: str) -> None:
    with make(tmp_path, package).up() as script, script.sock() as sock:
        sock.sendall(record(1, b"\0\1\0\0\0\0\0\0") + record(2, b""))
        assert (ended(script, sock) is None) == (package == FLUP)


@both
def test_13_beyond_max_threads_nobody_is_reset(tmp_path: Path, package: str) -> None:
    said = f"{BIND}, maxThreads=1, minSpare=1, maxSpare=1"
    with make(tmp_path, package, said).up() as script:
        first = script.start("/hold-a")
        assert script.marked("a")
        second = None
        try:
            second = script.start("/x")
        except ConnectionError:  # closed as soon as it was accepted
            pass
        script.go()
        got = ended(script, second) if second is not None else b""
        first.settimeout(20)
        assert first.recv(1)
        first.close()
    assert (got == b"") == (package == FLUP)


@both
def test_14_a_failure_after_the_head_is_seen(tmp_path: Path, package: str) -> None:
    """On a kept connection: flup says END_REQUEST as if all were well."""
    more = """
def halfway(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    yield b"12345"
    raise ValueError("told to fail")
"""
    run = f"WSGIServer(halfway, {BIND}).run()"
    with make(tmp_path, package, more=more, run=run).up() as script, script.sock() as sock:
        sock.sendall(script.data(Req(), keep=True))
        pipe, answer = wires.Pipe(sock), wires.FastcgiAnswer()
        while not answer.feed(pipe.got) and pipe.more():
            pass
    assert (answer.end == (0, 0)) == (package == FLUP)


@both
def test_15_ajp_is_refused_plainly(tmp_path: Path, package: str) -> None:
    """flup has it, and answers its errors with status 200; here it is said what to do instead."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {package}.server.ajp"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode == 0) == (package == FLUP)
    assert ("let the web server speak FastCGI or SCGI instead" in done.stderr) == (package == OURS)


@both
def test_16_descriptors_above_1023(tmp_path: Path, package: str) -> None:
    more = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
kept = [open("/dev/null") for _ in range(1050)]
"""
    script = make(tmp_path, package, more=more)
    with script:
        if package == OURS:
            assert script.up().told()
            return
        assert wait_until(lambda: script.process.poll() is not None or os.path.exists(script.path))
        try:
            got = ended(script, script.start("/x"))
        except OSError:
            got = None
        assert not got
