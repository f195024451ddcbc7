"""In-process mode: what a script changes is put back; what cannot be is a fork's from then on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.apps.inprocess import InProcess
from gatebridge.apps.options import ScriptOptions
from tests.apps import hosted
from tests.apps.hosting import call, end, is_alive, line, run, script, until

# What the next script of the same interpreter must not notice: (what, done, seen)
LEAVES = [
    ("names of __main__", "mine = 1", "'mine' in globals()"),
    ("the folder", "import os\nos.chdir('/')", "__import__('os').getcwd()"),
    ("os.environ", "import os\nos.environ['A'] = 'b'", "dict(__import__('os').environ)"),
    ("os.environ itself", "import os\nos.environ = {}", "dict(__import__('os').environ)"),
    ("umask", "import os\nos.umask(0o123)", "__import__('os').umask(0o22)"),
    ("sys.argv", "import sys\nsys.argv.append('x')", "__import__('sys').argv"),
    ("sys.path", "import sys\nsys.path.insert(0, '/x')", "__import__('sys').path"),
    ("sys.path itself", "import sys\nsys.path = []", "len(__import__('sys').path) > 2"),
    ("sys.stdout", "import sys\nsys.stdout = sys.stderr", "__import__('sys').stdout.name"),
    ("sys.excepthook", "import sys\nsys.excepthook = 1", "__import__('sys').excepthook"),
    ("sys's own", "import sys\nsys.mine = 1", "hasattr(__import__('sys'), 'mine')"),
    ("a trace", "import sys\nsys.settrace(lambda *a: None)", "__import__('sys').gettrace()"),
    ("a profile", "import sys\nsys.setprofile(print)", "__import__('sys').getprofile()"),
    ("recursion", "import sys\nsys.setrecursionlimit(99)", "__import__('sys').getrecursionlimit()"),
    ("a module gone", "import sys, os\ndel sys.modules['os']", "__import__('os').sep"),
    (
        "a module faked",
        "import sys, json\nsys.modules['json'] = sys",
        "__import__('json').__name__",
    ),
    ("builtins", "import builtins\nbuiltins._ = len", "'_' in dir(__builtins__)"),
    ("open()", "import builtins\nbuiltins.open = len", "open"),
    ("a handler", "import signal\nsignal.signal(15, print)", "__import__('signal').getsignal(15)"),
    (
        "ignored",
        "import signal\nsignal.signal(15, signal.SIG_IGN)",
        "__import__('signal').getsignal(15)",
    ),
    ("an alarm", "import signal\nsignal.alarm(900)", "__import__('signal').alarm(0)"),
    (
        "a mask",
        "import signal\nsignal.pthread_sigmask(0, [10])",
        "__import__('signal').pthread_sigmask(0, [])",
    ),
    (
        "warnings",
        "import warnings\nwarnings.simplefilter('error')",
        "__import__('warnings').filters",
    ),
    (
        "locale",
        "import locale\nlocale.setlocale(locale.LC_ALL, 'C')",
        "__import__('locale').setlocale(6)",
    ),
    (
        "tempfile.tempdir",
        "import tempfile\ntempfile.tempdir = '/x'",
        "__import__('tempfile').tempdir",
    ),
    ("atexit", "import atexit\natexit.register(print, 'x')", "1"),
    (
        "logging",
        "import logging\nlogging.basicConfig(level=10)",
        "__import__('logging').root.handlers",
    ),
    ("a level", "import logging\nlogging.root.setLevel(1)", "__import__('logging').root.level"),
    (
        "a logger",
        "import logging\nlogging.getLogger('a').setLevel(1)",
        "__import__('logging').getLogger('a').level",
    ),
    (
        "random.seed",
        "import random\nrandom.seed(5)",
        "__import__('random').random() == 0.6229016948897019",
    ),
    (
        "decimals",
        "import decimal\ndecimal.getcontext().prec = 2",
        "__import__('decimal').getcontext().prec",
    ),
    ("gc", "import gc\ngc.disable()", "__import__('gc').isenabled()"),
    (
        "a timeout",
        "import socket\nsocket.setdefaulttimeout(3)",
        "__import__('socket').getdefaulttimeout()",
    ),
    (
        "a time zone",
        "import os,time\nos.environ['TZ']='Asia/Tokyo'\ntime.tzset()",
        "__import__('time').localtime(0)[3]",
    ),
    (
        "a limit",
        "import resource as r\nr.setrlimit(r.RLIMIT_CORE, (0, r.getrlimit(r.RLIMIT_CORE)[1]))",
        "__import__('resource').getrlimit(4)",
    ),
    ("standard output", "import os\nos.close(1)", "1"),
    ("closed streams", "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr): s.close()", "1"),
    ("moved descriptors", "import os\nos.dup2(2, 1)", "1"),
    ("a file open", "f = open('/dev/null')", "sorted(__import__('os').listdir('/proc/self/fd'))"),
    (
        "a connection open",
        "import sqlite3\nc = sqlite3.connect('x.db')\nc.execute('create table t(a)')",
        "1",
    ),
    ("a cycle of files", "class A: pass\na = A(); a.a = a; a.f = open('/dev/null')", "1"),
    (
        "a context variable",
        "import contextvars as c\nc.ContextVar('v').set(1)",
        "len(__import__('contextvars').copy_context())",
    ),
]


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def launcher(said: list[str]) -> Iterator[InProcess]:
    made = InProcess(ScriptOptions(), said.append)
    yield made
    made.close()


@pytest.mark.parametrize(("does", "sees"), [r[1:] for r in LEAVES], ids=[r[0] for r in LEAVES])
def test_the_next_script_sees_nothing_of_it(launcher, said, tmp_path: Path, does, sees) -> None:
    looks = call(script(tmp_path, f"import os\nprint(os.getpid())\nprint({sees})", "looks.py"))
    before = run(launcher, looks)
    pid = before.out.split()[0]
    does_it = script(tmp_path, f"import os\nos.write(2, b'%d' % os.getpid())\n{does}", "does.py")
    done = run(launcher, call(does_it))
    assert (done.status, done.err) == (0, pid), done.err
    assert run(launcher, looks) == before
    assert said == []


def test_an_old_stream_does_not_write_into_the_next_answer(launcher, tmp_path: Path) -> None:
    keeps = "import json, sys\njson.kept = sys.stdout\nprint('first')"
    run(launcher, call(script(tmp_path, keeps)))
    uses = (
        "import json\ntry:\n    json.kept.write('old')\n"
        "except ValueError: print('closed')\ndel json.kept"
    )
    assert run(launcher, call(script(tmp_path, uses))).out == "closed\n"


def test_modules_of_the_installation_stay(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "import sys\nprint('plistlib' in sys.modules)\nimport plistlib")
    assert run(launcher, call(path)).out == "False\n"
    assert run(launcher, call(path)).out == "True\n"


# (what, script, status, output, a word of the reason)
DEMOTED = [
    ("os._exit", "import os\nprint('a', flush=True)\nos._exit(3)", 3, "a\n", "os._exit"),
    (
        "fork",
        "import os\nif not os.fork(): os._exit(0)\nos.wait()\nprint('a')",
        0,
        "a\n",
        "os.fork",
    ),
    (
        "fork, both go on",
        "import os\npid = os.fork()\nif pid: os.wait()\nprint('a')",
        0,
        "a\na\n",
        "os.fork",
    ),
    (
        "a thread",
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(900,), daemon=True).start()\nprint('a')",
        0,
        "a\n",
        "a thread",
    ),
    (
        "a thread that prints",
        "import threading\nthreading.Timer(0.1, lambda: print('a')).start()",
        0,
        "a\n",
        "a thread",
    ),
    (
        "an executor",
        "import concurrent.futures as c\ne = c.ThreadPoolExecutor()\ne.submit(print, 'a')",
        0,
        "a\n",
        "a thread",
    ),
    (
        "a child",
        "import subprocess as s\n"
        "s.Popen(['sleep', '900'], stdout=s.DEVNULL, stderr=s.DEVNULL)\nprint('a')",
        0,
        "a\n",
        "a child process",
    ),
    (
        "a socket",
        "import json, socket\njson.kept = socket.socket()\nprint('a')",
        0,
        "a\n",
        "a socket open",
    ),
    (
        "a signal",
        "import os\nprint('a', flush=True)\nos.kill(os.getpid(), 6)",
        -6,
        "a\n",
        "signal 6",
    ),
    ("exec", "import os\nos.execv('/bin/echo', ['echo', 'a'])", 0, "a\n", "ends its process"),
    (
        "closes all",
        "import os\nprint('a', flush=True)\nos.closerange(0, 65_536)",
        0,
        "a\n",
        "ends its process",
    ),
]


@pytest.mark.parametrize(
    ("text", "want", "word"), [(r[1], r[2:4], r[4]) for r in DEMOTED], ids=[r[0] for r in DEMOTED]
)
def test_what_cannot_be_undone_is_answered_and_then_a_forks_affair(
    tmp_path: Path, text, want, word
) -> None:
    said: list[str] = []
    launcher = InProcess(ScriptOptions(), said.append)
    path = script(tmp_path, text)
    for _ in range(3):
        done = run(launcher, call(path))
        assert (done.status, done.out) == want, done.err
    assert len(said) == 1
    assert said[0].startswith(f"script.demoted {path} ")
    assert word in said[0]
    changed = call(script(tmp_path, "import os\nprint(os.getpid())"))
    assert run(launcher, changed).out == run(launcher, changed).out  # it may try again
    launcher.close()


def test_a_script_that_was_killed_is_not_demoted(launcher, said, tmp_path: Path) -> None:
    path = script(tmp_path, "import os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.read()")
    running = launcher.start(call(path, body=b"x"))
    pid = int(line(running))
    running.kill(signal.SIGTERM)
    assert end(running) == -signal.SIGTERM
    running.close()
    assert not is_alive(pid)
    assert said == []


def test_a_child_that_a_script_leaves_does_not_outlive_it_for_long(tmp_path: Path) -> None:
    """In the runner, and then in a fork."""
    launcher = InProcess(ScriptOptions(), [].append)
    text = "import subprocess as s\nn = s.DEVNULL\n"
    text += "print(s.Popen(['sleep', '900'], stdout=n, stderr=n).pid)"
    path = script(tmp_path, text)
    for _ in range(2):
        pid = int(run(launcher, call(path)).out)
        until(lambda pid=pid: not is_alive(pid))
    launcher.close()


def test_a_kill_after_the_end_spares_the_runner(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "import os\nprint(os.getpid(), flush=True)")
    pids = set()
    for _ in range(3):
        running = launcher.start(call(path))
        pids.add(line(running))
        end(running)
        running.kill(signal.SIGTERM)
        running.close()
        running.kill(signal.SIGKILL)
    assert len(pids) == 1


def test_a_runner_killed_while_idle_costs_nobody_a_request(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "import os\nprint(os.getpid())")
    for _ in range(3):
        pid = int(run(launcher, call(path)).out)
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: not is_alive(pid))


def test_an_idle_runner_ends(tmp_path: Path) -> None:
    launcher = InProcess(ScriptOptions(), [].append, idle_s=0.05)
    path = script(tmp_path, "import os\nprint(os.getpid())")
    pid = int(run(launcher, call(path)).out)
    until(lambda: not is_alive(pid))
    assert int(run(launcher, call(path)).out) != pid
    launcher.close()


def test_a_changed_module_of_the_installation_is_seen(tmp_path: Path, monkeypatch) -> None:
    lib = script(tmp_path / "lib", "value = 1\n", "installed_of_tests.py")
    monkeypatch.setenv("PYTHONPATH", str(lib.parent))
    launcher = InProcess(ScriptOptions(env=("PYTHONPATH",)), [].append)
    path = script(tmp_path / "cgi", "import installed_of_tests as i\nprint(i.value)")
    assert run(launcher, call(path)).out == "1\n"
    script(lib.parent, "value = 'two'\n", "installed_of_tests.py")
    until(lambda: run(launcher, call(path)).out == "two\n")
    launcher.close()


def test_modules_imported_ahead(tmp_path: Path) -> None:
    said: list[str] = []
    script(tmp_path, "import socket\nkept = socket.socket()\n", "beside_of_tests.py")
    options = ScriptOptions(preload=("sqlite3", "beside_of_tests"))
    launcher = InProcess(options, said.append)
    path = script(tmp_path, "import sys\nprint('sqlite3' in sys.modules)")
    assert run(launcher, call(path)).out == "True\n"
    assert len(said) == 1
    assert "beside_of_tests is not imported ahead: it leaves a socket open" in said[0]
    launcher.close()


@pytest.mark.parametrize("row", hosted.PYTHON, ids=[row.id for row in hosted.PYTHON])
def test_row(row: hosted.Row, tmp_path: Path) -> None:
    hosted.check(row, tmp_path, InProcess(ScriptOptions(), [].append))
