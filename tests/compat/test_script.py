"""gatebridge run-script: unchanged files of flup, flipflop and CGIHandler."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import cgi
from tests.cgi import ROOT
from tests.compat.stand import wait_for
from tests.suite import wires
from tests.suite.modes import wait_until
from tests.suite.wires import Req, Resp

RUN = [sys.executable, "-W", "error", "-m", "gatebridge", "run-script"]
APP = """\
#!/usr/bin/env python3
import json, sys
import beside

def app(environ, start_response):
    if environ["PATH_INFO"] == "/boom":
        raise ValueError("told to fail")
    told = {k: v for k, v in environ.items() if isinstance(v, (str, bool))}
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    told |= {"argv": sys.argv, "name": __name__, "file": __file__, "beside": beside.VALUE}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]

"""
SCRIPTS = {
    "flup": "from flup.server.fcgi import WSGIServer\nWSGIServer(app).run()\n",
    "flup_module": "import flup.server.fcgi as fcgi\nfcgi.WSGIServer(app).run()\n",
    "flup_whole": "import flup.server.fcgi\nflup.server.fcgi.WSGIServer(app).run()\n",
    "flup_fork": "from flup.server.fcgi_fork import WSGIServer\nWSGIServer(app).run()\n",
    "flup_single": "from flup.server.fcgi_single import WSGIServer\nWSGIServer(app).run()\n",
    "main": "if __name__ == '__main__':\n"
    "    from flup.server.fcgi import WSGIServer\n    WSGIServer(app).run()\n",
    "flipflop": "from flipflop import WSGIServer\nWSGIServer(app).run()\n",
    "handler": "from wsgiref.handlers import CGIHandler\nCGIHandler().run(app)\n",
    "handlers": "import wsgiref.handlers\nwsgiref.handlers.CGIHandler().run(app)\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "beside.py").write_text("VALUE = 7\n")
    for name, text in SCRIPTS.items():
        (tmp_path / "lib" / f"{name}.fcgi").write_text(APP + text)
    return tmp_path


@contextmanager
def on_descriptor_0(
    folder: Path, name: str, *words: str, run: Sequence[str] = RUN
) -> Iterator[Path]:
    """As mod_fcgid, lighttpd and spawn-fcgi start it; TERM must give 0."""
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listener, (folder / "err").open("wb") as err:
        listener.bind(str(path))
        listener.listen()
        process = subprocess.Popen(
            [*run, f"lib/{name}.fcgi", *words],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            stdin=listener,
            stderr=err,
        )
    try:
        yield path
    finally:
        process.send_signal(signal.SIGTERM)
        assert wait_for(process) == 0, (folder / "err").read_text()


def fastcgi(path: Path, request: Req) -> Resp:
    pairs = wires.variables(request, "/app")
    return wires.fastcgi_exchange(wires.connect(str(path)), request, pairs)


@pytest.mark.parametrize("name", SCRIPTS)
def test_fastcgi_on_descriptor_0(folder: Path, name: str) -> None:
    with on_descriptor_0(folder, name, "a word") as path:
        told = json.loads(fastcgi(path, Req("POST", "/x%20y", body=b"\xff\0")).body)
        assert fastcgi(path, Req("GET", "/boom")).status == 500
    assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/app", "/x y")
    assert (told["body"], told["beside"]) == ("\xff\0", 7)
    script = f"lib/{name}.fcgi"
    assert (told["argv"], told["file"]) == ([script, "a word"], script)
    assert (told["name"], told["wsgi.run_once"]) == ("__main__", False)


@pytest.mark.parametrize("name", SCRIPTS)
def test_plain_cgi(folder: Path, name: str) -> None:
    """Standard input is a pipe, the body bytes: fault 6 three times."""
    done = cgi.post(
        [*RUN, f"lib/{name}.fcgi"], b"\xff\0", folder=folder, PYTHONPATH=str(ROOT), HTTP_PROXY="x:1"
    )
    assert (done.code, done.status) == (0, "200 OK"), done
    told = json.loads(done.body)
    assert (told["body"], told["PATH_INFO"], told["wsgi.run_once"]) == ("\xff\0", "/x", True)
    assert (told["wsgi.multiprocess"], "HTTP_PROXY" in told) == (True, False)


def test_fastcgi_with_descriptor_0_alone(folder: Path) -> None:
    """FastCGI 2.2. Without care the next socket would be standard output."""
    script = folder / "lib" / "alone.fcgi"
    text = "print('before', flush=True)\nfrom flup.server.fcgi import WSGIServer\n"
    prints = (
        "    sys.stdout.write('x' * 9)\n    print('y', flush=True)\n    sys.stderr.write('z')\n"
    )
    app = APP.replace("    if environ", f"{prints}    if environ")
    script.write_text(f"{app}{text}WSGIServer(app).run()\n")
    with on_descriptor_0(
        folder, "alone", run=["sh", "-c", 'exec "$@" >&- 2>&-', "-", *RUN]
    ) as path:
        assert [fastcgi(path, Req()).status for _ in range(3)] == [200] * 3


def test_words_behind_the_file_are_the_querys(folder: Path) -> None:
    """A server that runs it as CGI puts them there; none is an option of ours (CVE-2012-1823)."""
    words = ["--help", "--bind", "x"]
    done = cgi.ask([*RUN, "lib/flup.fcgi", *words], folder=folder, PYTHONPATH=str(ROOT))
    assert json.loads(done.body)["argv"] == ["lib/flup.fcgi", *words]


def test_as_a_first_line(folder: Path) -> None:
    """#!/path/gatebridge run-script: the file itself is the program."""
    command = folder / "gatebridge"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gatebridge "$@"\n')
    command.chmod(0o755)
    script = folder / "lib" / "flup.fcgi"
    script.write_text(script.read_text().replace("/usr/bin/env python3", f"{command} run-script"))
    script.chmod(0o755)
    done = cgi.ask([str(script)], folder=folder, PYTHONPATH=str(ROOT))
    assert json.loads(done.body)["file"] == str(script)


def test_forced_cgi(folder: Path) -> None:
    """FCGI_FORCE_CGI=Y, though descriptor 0 listens; N is no."""
    request = {"PYTHONPATH": str(ROOT), "FCGI_FORCE_CGI": "yes"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        done = subprocess.run(
            [*RUN, "lib/flup.fcgi"],
            cwd=folder,
            env=cgi.environment(**request),
            stdin=listener,
            capture_output=True,
            timeout=cgi.DEADLINE_S,
        )
    assert done.stdout.startswith(b"Status: 200 OK"), done


def test_forced_cgi_by_the_constructor(folder: Path) -> None:
    script = folder / "lib" / "flup.fcgi"
    script.write_text(script.read_text().replace("WSGIServer(app)", "WSGIServer(app, forceCGI=1)"))
    done = cgi.ask([*RUN, str(script)], folder=folder, PYTHONPATH=str(ROOT))
    assert done.status == "200 OK"


def test_flup_server_cgi(folder: Path) -> None:
    """run() returns; what the script does then is its own."""
    script = folder / "lib" / "cgi.fcgi"
    text = "from flup.server.cgi import WSGIServer\nWSGIServer(app).run()\nsys.exit(3)\n"
    script.write_text(APP + text)
    done = cgi.post([*RUN, str(script)], b"\xff", folder=folder, PYTHONPATH=str(ROOT))
    assert (done.code, done.status, json.loads(done.body)["body"]) == (3, "200 OK", "\xff")


def test_a_handler_returns(folder: Path) -> None:
    script = folder / "lib" / "handler.fcgi"
    script.write_text(script.read_text() + "sys.exit(3)\n")
    done = cgi.ask([*RUN, str(script)], folder=folder, PYTHONPATH=str(ROOT))
    assert (done.code, done.status) == (3, "200 OK")


def test_a_bind_for_who_says_none(folder: Path) -> None:
    path = folder / "s"
    process = subprocess.Popen(
        [*RUN, "--bind", f"unix:{path}?mode=0600", "lib/flup.fcgi"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(path.exists)
        assert fastcgi(path, Req()).status == 200
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        process.terminate()
        assert process.wait(cgi.DEADLINE_S) == 0
    assert not path.exists()


FAILURES = [  # words, what is said, exit status
    (["no-such.fcgi"], "script.unreadable: no-such.fcgi: No such file", 2),
    (["two.fcgi"], "script.syntax: two.fcgi:1: this Python cannot read it", 2),
    (["--bind", "nowhere:", "lib/flup.fcgi"], "bind.port", 2),
    (["lib/flup.fcgi"], "is started by a web server", 2),
    (["ajp.fcgi"], "ImportError: AJP is not served here", 1),
    (["paste.fcgi"], "flup.server.paste_factory is not here: call paste.deploy.loadapp()", 1),
    (["old.fcgi"], "ModuleNotFoundError: flup.middleware is not here: flup's versions for", 1),
    (["inside.fcgi"], "flup.server.threadedserver is not here: it is flup's inside", 1),
    (["inside2.fcgi"], "flup.server.scgi_base is not here: it is flup's inside", 1),
]


@pytest.mark.parametrize(("words", "said", "code"), FAILURES, ids=[row[1][:20] for row in FAILURES])
def test_what_cannot_be_run(folder: Path, words: list[str], said: str, code: int) -> None:
    (folder / "two.fcgi").write_text("print 'Python 2'\n")
    (folder / "ajp.fcgi").write_text("from flup.server.ajp import WSGIServer\n")
    (folder / "old.fcgi").write_text("from flup.middleware.gzip import GzipMiddleware\n")
    (folder / "inside.fcgi").write_text("from flup.server.threadedserver import ThreadedServer\n")
    (folder / "inside2.fcgi").write_text("from flup.server import scgi_base\n")
    (folder / "paste.fcgi").write_text("import flup.server.paste_factory\n")
    done = subprocess.run(
        [*RUN, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=cgi.DEADLINE_S,
    )
    assert done.returncode == code, done
    assert said in done.stderr
    assert "run_script.py" not in done.stderr, "a traceback begins in the script"


def test_a_module_that_imports_on_demand(folder: Path) -> None:
    """Mercurial's demandimport wraps importers by LazyLoader, before flup is imported."""
    script = folder / "lib" / "lazy.fcgi"
    script.write_text(
        "import sys, importlib.util\n"
        "class Lazy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        for finder in list(sys.meta_path):\n"
        "            if finder is not self:\n"
        "                spec = finder.find_spec(name, path, target)\n"
        "                if spec is not None and hasattr(spec.loader, 'exec_module'):\n"
        "                    spec.loader = importlib.util.LazyLoader(spec.loader)\n"
        "                    return spec\n"
        "                if spec is not None: return spec\n"
        "sys.meta_path.insert(0, Lazy())\n" + APP + SCRIPTS["flup"]
    )
    done = cgi.ask([*RUN, str(script)], folder=folder, PYTHONPATH=str(ROOT))
    assert done.status == "200 OK", done


PRINTING = """\
print("before")
import os, sys, threading
def app(environ, start_response):
    print("in the application", flush=True)
    os.system("echo of a program")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

"""


@pytest.mark.parametrize("name", ["flup", "handler", "thread", "cgi"])
def test_what_is_printed_is_no_part_of_a_cgi_answer(folder: Path, name: str) -> None:
    """Nor is a body without a Content-Type refused: web.py's has none."""
    cgi_only = "from flup.server.cgi import WSGIServer\nWSGIServer(app).run()\n"
    in_a_thread = (  # CherryPy's FlupFCGIServer
        "from flup.server.fcgi import WSGIServer\n"
        "thread = threading.Thread(target=WSGIServer(app).run)\nthread.start()\nthread.join()\n"
    )
    text = {**SCRIPTS, "cgi": cgi_only, "thread": in_a_thread}[name]
    script = folder / "lib" / "printing.fcgi"
    script.write_text(PRINTING + text)
    done = cgi.ask([*RUN, str(script)], folder=folder, PYTHONPATH=str(ROOT))
    assert (done.status, done.body) == ("200 OK", b"ok"), done
    for said in ("before", "in the application", "of a program"):
        assert said in done.errors
