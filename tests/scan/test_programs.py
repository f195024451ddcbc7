"""A whole cgi-bin: what each program is, the mode it can run in, why, and in which line."""

import os
from pathlib import Path

import pytest

from gatebridge.scan.python_source import read
from gatebridge.scan.report import as_data, lines, scan
from tests.scan.cgi_bin import PLAIN, PROGRAMS, make


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return as_data(scan(str(make(tmp_path_factory.mktemp("cgi-bin")))))


@pytest.fixture(scope="module")
def programs(data):
    return {item["path"]: item for item in data["programs"]}


def facts(item):
    return {(fact["code"], fact["line"]) for fact in item["facts"]}


MODES = [  # file, language, mode, line of the reason, a part of it
    ("clean.py", "Python", "inproc", 0, "nothing in it outlives"),
    ("counter.cgi", "Python", "inproc", 3, "set back"),
    ("fork.py", "Python", "warm", 3, "os.fork"),
    ("threads.py", "Python", "warm", 6, "threading.Thread"),
    ("uses_helper.py", "Python", "warm", 5, "os._exit"),
    ("flask_app.py", "Python", "exec", 2, "absent_web is not installed"),
    ("wsgi_ready.py", "Python", "wsgi", 2, "def application(environ, start_response)"),
    ("wsgi_serves.py", "Python", "inproc", 9, "CGIHandler().run"),
    ("sub/deep.py", "Python", "exec", 2, "requests_absent"),
    ("broken.py", "Python", "exec", 2, "invalid syntax"),
    ("missing.py", "Python", "inproc", 0, ""),
    ("nph-push.py", "Python", "inproc", 0, ""),
    ("hello.pl", "Perl", None, 0, ""),
    ("env.sh", "shell", "exec", 0, "shell"),
    ("page.php", "PHP", "none", 0, "does not exist"),
    ("hello.exe.cgi", "compiled", "none", 0, "does not exist"),
    ("windows.cgi", "Windows program", "none", 0, "Windows"),
    ("nobody.cgi", "", "none", 0, "names no interpreter"),
]


@pytest.mark.parametrize("row", MODES, ids=[row[0] for row in MODES])
def test_mode_with_the_reason_and_the_line(programs, row):
    path, language, mode, line, part = row
    found = programs[path]
    assert found["language"] == language
    assert mode is None or found["mode"] == mode
    assert found["reason"]["line"] == line
    assert part in found["reason"]["text"]


def test_every_program_is_there_and_nothing_else(data, programs):
    assert set(programs) == {*PROGRAMS, "forgotten.cgi"}
    assert [item["path"] for item in data["modules"]] == ["helper.py"]
    assert {item["path"] for item in data["left_out"]} == {".htpasswd", "clean.py~"}
    assert data["others"] == len([name for name in PLAIN if name.endswith((".txt", ".css"))])
    assert sum(data["modes"].values()) == len(programs)


def test_what_a_module_beside_a_script_does_counts(programs):
    assert programs["uses_helper.py"]["reason"]["file"] == "helper.py"
    assert programs["uses_helper.py"]["modes"][0] == "warm"


def test_what_a_script_can_do_is_listed_best_first(programs):
    assert programs["wsgi_ready.py"]["modes"] == ["wsgi", "inproc", "warm", "exec"]
    assert programs["clean.py"]["modes"] == ["inproc", "warm", "exec"]
    assert programs["missing.py"]["modes"] == ["inproc", "warm"]  # exec needs its interpreter
    assert programs["page.php"]["modes"] == []


PYTHONS = [  # file, version, line of the evidence, a part of it
    ("old.py", "2", 4, "print statement"),
    ("latin.py", "2", 3, "print statement"),
    ("names.cgi", "2", 3, "xrange"),
    ("clean.py", "3", 1, "first line"),
    ("helper.py", "3", 0, "nothing that only Python 2 has"),
    ("broken.py", "", 2, "no Python can read it"),
]


@pytest.mark.parametrize("row", PYTHONS, ids=[row[0] for row in PYTHONS])
def test_python_2_or_3_and_how_that_is_known(data, programs, row):
    path, version, line, part = row
    modules = {item["path"]: item for item in data["modules"]}
    found = (programs | modules)[path]["python"]
    assert (found["version"], found["line"]) == (version, line)
    assert part in found["why"]


def test_encoding_and_line_ends(programs):
    assert programs["latin.py"]["python"]["encoding"] == "iso-8859-1"
    assert programs["clean.py"]["python"]["encoding"] == "utf-8"
    assert programs["crlf.cgi"]["line_ends"] == "crlf"
    assert programs["clean.py"]["line_ends"] == "lf"


def test_facts_have_their_lines(programs):
    assert {("umask", 3), ("chdir", 4), ("writes_files", 5), ("sys_exit", 7)} <= facts(
        programs["counter.cgi"]
    )
    assert {("forks", 3), ("os_exit", 4)} <= facts(programs["fork.py"])
    assert {("proxy", 6), ("writes_files", 9), ("shell", 10)} <= facts(programs["old.py"])
    assert {("forks", 4), ("shell", 5), ("writes_files", 6)} == facts(programs["hello.pl"])
    assert {("shellshock", 1), ("evaluates", 2), ("writes_files", 3)} == facts(programs["env.sh"])
    assert ("nph", 0) in facts(programs["nph-push.py"])


def test_imports_have_a_state(programs):
    assert programs["uses_helper.py"]["imports"][0]["state"] == "local"
    assert programs["sub/deep.py"]["imports"][0]["state"] == "missing"
    states = {item["name"]: item["state"] for item in programs["clean.py"]["imports"]}
    assert states == {"os": "stdlib"}


PROBLEMS = [
    ("forgotten.cgi", "permission.not_executable"),
    ("page.php", "interpreter.missing"),
    ("hello.exe.cgi", "interpreter.missing"),
    ("missing.py", "interpreter.missing"),
    ("nobody.cgi", "interpreter.none"),
    ("windows.cgi", "interpreter.none"),
    ("crlf.cgi", "interpreter.crlf"),
    ("bom.py", "interpreter.bom"),
]


@pytest.mark.parametrize(("path", "code"), PROBLEMS)
def test_problem(programs, path, code):
    assert [item["code"] for item in programs[path]["problems"]] == [code]


def test_nothing_is_run_changed_or_left(tmp_path):
    """Its own names say so: every script here would leave a file behind."""
    make(tmp_path)
    (tmp_path / "trace.py").write_bytes(b"#!/usr/bin/env python3\nopen('ran', 'w')\n")
    (tmp_path / "uses_trace.py").write_bytes(b"#!/usr/bin/env python3\nimport trace_it\n")
    (tmp_path / "trace_it.py").write_bytes(b"open('ran', 'w')\n")
    before = sorted((str(p), p.lstat().st_mtime_ns) for p in tmp_path.rglob("*"))
    scan(str(tmp_path))
    assert sorted((str(p), p.lstat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
    assert not Path("ran").exists()


def test_lines_for_pipes_are_one_each(tmp_path):
    make(tmp_path)
    (tmp_path / "evil\n\x1b[31m.cgi").write_bytes(b"#!/usr/bin/perl\n")
    (tmp_path / os.fsdecode(b"latin\xe9.cgi")).write_bytes(b"#!/usr/bin/perl\n")
    for line in lines(scan(str(tmp_path))):
        assert line.isprintable()
        line.encode()


GATEWAYS = [  # what a file imports, and the line that stands in its place
    ("from flup.server.fcgi import WSGIServer",
     "from gatebridge.compat.flup.server.fcgi import WSGIServer"),
    ("from flup.server.scgi_fork import WSGIServer as Server",
     "from gatebridge.compat.flup.server.scgi_fork import WSGIServer as Server"),
    ("from flup.server import fcgi", "from gatebridge.compat.flup.server import fcgi"),
    ("import flup.server.fcgi as fcgi", "import gatebridge.compat.flup.server.fcgi as fcgi"),
    ("import os, flup.server.fcgi",
     "import os, gatebridge.compat.flup.server.fcgi; from gatebridge.compat import flup"),
    ("from flup.client.fcgi_app import FCGIApp",
     "from gatebridge.compat.flup.client.fcgi_app import FCGIApp"),
    ("from flipflop import WSGIServer", "from gatebridge.compat.flipflop import WSGIServer"),
    ("from wsgiref.handlers import CGIHandler",
     "from gatebridge.compat.wsgiref.handlers import CGIHandler"),
    ("import wsgiref.handlers",
     "import gatebridge.compat.wsgiref.handlers; from gatebridge.compat import wsgiref"),
    ("from wsgiref.handlers import BaseHandler", ""),
    ("from flup.server.fcgi_base import FCGI_RESPONDER",
     "from gatebridge.compat.flup.server.fcgi_base import FCGI_RESPONDER"),
    ("from flup.server.ajp import WSGIServer", ""),
    ("import flupper, wsgiref.util", ""),
]  # fmt: skip


@pytest.mark.parametrize(("line", "wanted"), GATEWAYS, ids=[row[0] for row in GATEWAYS])
def test_the_line_to_change_is_said_and_works(line, wanted):
    source = read(b"import sys\n" + line.encode())
    said = [fact.text for fact in source.facts if fact.code == "gateway"]
    assert said == ([wanted] if wanted else [])
    names: dict[str, object] = {}
    exec(wanted, names)  # it imports, under the names that the old line gave
    bound = (line.rpartition(" import ")[2] or line.removeprefix("import ")).rpartition(" as ")[2]
    for name in bound.split(", ") if wanted else ():
        assert name.rpartition("import ")[2].partition(".")[0] in names


def test_a_flup_script_is_started_by_run_script(tmp_path):
    script = tmp_path / "old.fcgi"
    script.write_text(
        "#!/usr/bin/env python3\nfrom flup.server.fcgi import WSGIServer\n"
        "def app(environ, start_response):\n    return []\nWSGIServer(app).run()\n"
    )
    script.chmod(0o755)
    report = scan(str(tmp_path))
    item = as_data(report)["programs"][0]
    assert item["mode"] == "exec"
    assert "gatebridge run-script" in item["reason"]["text"]
    assert any("from gatebridge.compat.flup.server.fcgi import" in line for line in lines(report))


APP = "def app(environ, start_response):\n    return []\n"
SERVING = {  # how old scripts say it
    "all of it": f"from flup.server.fcgi import *\n{APP}WSGIServer(app).run()\n",
    "a class of its own": "from flup.server.fcgi_fork import WSGIServer\n"
    f"class Server(WSGIServer):\n    pass\n{APP}Server(app, bindAddress='s').run()\n",
    "or another": "try:\n    from flup.server.fcgi import WSGIServer\nexcept ImportError:\n"
    f"    from trac.web._fcgi import WSGIServer\n{APP}WSGIServer(app).run()\n",
    "bottle": "import bottle\nbottle.run(server=bottle.FlupFCGIServer, bindAddress='s')\n",
    "bottle by name": "from bottle import run\nrun(server='flup')\n",
}


@pytest.mark.parametrize("name", SERVING)
def test_how_flup_is_called(tmp_path, name):
    """Whoever imports such a file would not come back."""
    (tmp_path / "old.fcgi").write_text(f"#!/usr/bin/env python3\n{SERVING[name]}")
    (tmp_path / "bottle.py").write_text("")
    item = as_data(scan(str(tmp_path)))["programs"][0]
    assert item["mode"] == "exec"
    assert "gatebridge run-script" in item["reason"]["text"]


def test_what_is_not_there_of_flup():
    source = read(b"import flup.middleware.gzip\nfrom flup.server import fcgi\n"
                  b"from flup.server.ajp import WSGIServer\n")  # fmt: skip
    said = [(fact.line, fact.text) for fact in source.facts if fact.code == "lacking"]
    assert said == [(1, "flup.middleware.gzip"), (3, "flup.server.ajp")]


def test_an_application_of_web_py_is_none_of_wsgi():
    assert read(b"import web\napp = web.application(urls, globals())\n").application is None
