"""Warm mode: what is imported ahead, what is refused, and how one zygote follows another."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.apps.host.learn import learn
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.warm import Warm
from tests.apps import hosted
from tests.apps.hosting import call, end, is_alive, line, run, script, until

LIB = {
    "quiet_of_tests": "loaded = True\n",
    "socket_of_tests": "import socket\nkept = socket.socket()\n",
    "thread_of_tests": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), "
    "daemon=True).start()\n",
    "file_of_tests": "kept = open(__file__)\n",
    "print_of_tests": "print('hello')\n",
    "flood_of_tests": "import os\nos.write(1, b'x' * 65536)\n",
    "environ_of_tests": "import os\nos.environ['A'] = 'b'\n",
    "chdir_of_tests": "import os\nos.chdir('/tmp')\n",
    "exit_of_tests": "import os\nos._exit(3)\n",
    "crash_of_tests": "import os\nos.kill(os.getpid(), 11)\n",
    "raise_of_tests": "raise ValueError('no database')\n",
    "sysexit_of_tests": "raise SystemExit(1)\n",
}


@pytest.fixture
def lib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Modules outside of the scripts' folder, as installed ones."""
    for name, text in LIB.items():
        script(tmp_path / "lib", text, f"{name}.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    return tmp_path / "lib"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def warm(lib: Path, said: list[str]) -> Iterator[Warm]:
    made = Warm(ScriptOptions(env=("PYTHONPATH",)), said.append)
    yield made
    made.close()


def imported(*names: str) -> str:
    """A script that says which modules were there before it imports them."""
    lines = [f"print({name!r}, {name!r} in sys.modules)" for name in names]
    return "\n".join(["import sys", *lines, *[f"import {name}" for name in names]])


def test_what_a_script_imports_is_there_the_next_time(warm: Warm, tmp_path: Path, said) -> None:
    path = script(tmp_path / "cgi", imported("quiet_of_tests", "sqlite3"))
    assert run(warm, call(path)).out == "quiet_of_tests False\nsqlite3 False\n"
    until(warm.is_warm)
    assert run(warm, call(path)).out == "quiet_of_tests True\nsqlite3 True\n"
    assert said == []


def test_what_is_imported_by_its_own_modules_is_there_they_are_not(warm: Warm, tmp_path: Path):
    script(tmp_path / "cgi", "import sqlite3\n", "own.py")
    path = script(tmp_path / "cgi", "import sqlite3, own\n" + imported("own"))
    other = script(tmp_path / "cgi", "import sys\nprint('sqlite3' in sys.modules)\nimport own", "o")
    run(warm, call(other))
    until(warm.is_warm)
    assert run(warm, call(other)).out == "True\n"
    assert "own True" in run(warm, call(path)).out  # it has just imported it
    assert run(warm, call(script(tmp_path / "cgi", imported("own"), "p"))).out == "own False\n"


REFUSED = [
    ("socket_of_tests", "a socket"),
    ("thread_of_tests", "a thread"),
    ("file_of_tests", "file_of_tests.py open"),
    ("print_of_tests", "prints"),
    ("flood_of_tests", "prints"),
    ("environ_of_tests", "environment"),
    ("chdir_of_tests", "folder"),
    ("exit_of_tests", "ends the process"),
    ("crash_of_tests", "ends the process"),
]


@pytest.mark.parametrize(("name", "word"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_module_that_may_not_be_imported_ahead_is_refused_by_name(
    warm: Warm, tmp_path: Path, said: list[str], name: str, word: str
) -> None:
    text = (
        f"if 0:\n    import {name}\n"
        + imported("quiet_of_tests")
        + f"\nprint({name!r} in sys.modules)"
    )
    path = script(tmp_path / "cgi", text)
    for _ in range(2):
        assert run(warm, call(path)).status == 0
        until(warm.is_warm)
    assert run(warm, call(path)).out == "quiet_of_tests True\nFalse\n"
    assert len(said) == 1
    assert f"script.preload {name} " in said[0]
    assert word in said[0]


@pytest.mark.parametrize("name", ["raise_of_tests", "sysexit_of_tests", "no_such_of_tests"])
def test_an_import_that_fails_is_the_scripts_affair(warm: Warm, tmp_path: Path, said, name) -> None:
    path = script(tmp_path / "cgi", f"print('on', flush=True)\nimport {name}\n")
    for _ in range(2):
        done = run(warm, call(path))
        assert (done.out, done.status) == ("on\n", 1)
        until(warm.is_warm)
    assert said == []


def test_a_list_of_modules(lib: Path, tmp_path: Path, said: list[str]) -> None:
    """They are there the first time, those beside the script too; nothing is learned."""
    script(tmp_path / "cgi", "who = 1", "beside.py")
    script(tmp_path / "other", "who = 2", "beside.py")
    names = ("quiet_of_tests", "beside", "raise_of_tests", "socket_of_tests")
    options = ScriptOptions(env=("PYTHONPATH",), preload=names)
    warm = Warm(options, said.append)
    text = imported("beside", "quiet_of_tests", "sqlite3") + "\nprint(beside.who)"
    path = script(tmp_path / "cgi", text)
    for _ in range(2):
        out = run(warm, call(path)).out
        assert out == "beside True\nquiet_of_tests True\nsqlite3 False\n1\n"
    assert run(warm, call(script(tmp_path / "other", text))).out.endswith("2\n")
    warm.close()
    assert sorted(text.split()[1] for text in said) == ["raise_of_tests", "socket_of_tests"]


def test_a_changed_module_renews_the_zygote_and_no_request_is_lost(
    warm: Warm, tmp_path: Path, lib: Path
) -> None:
    path = script(tmp_path / "cgi", "import quiet_of_tests as q, os\nprint(q.loaded, os.getppid())")
    run(warm, call(path))
    until(warm.is_warm)
    old = run(warm, call(path)).out.split()
    running = warm.start(call(script(tmp_path / "cgi", SLOW, "slow.py"), body=b"x"))
    assert line(running) == "on"
    script(lib, "loaded = 'changed'\n", "quiet_of_tests.py")

    def changed() -> bool:
        done = run(warm, call(path))
        assert done.status == 0
        return done.out.split()[0] == "changed"

    until(changed)
    assert is_alive(int(old[1]))  # it waits for the slow one
    running.close_stdin()
    assert end(running) == 7
    running.close()
    until(lambda: not is_alive(int(old[1])))


SLOW = "import sys\nprint('on', flush=True)\nsys.stdin.read()\nsys.exit(7)\n"


def test_a_zygote_that_dies_takes_at_most_what_runs_with_it(warm: Warm, tmp_path: Path) -> None:
    path = script(
        tmp_path, SLOW.replace("'on'", "os.getppid(), os.getpid()").replace("sys\n", "sys, os\n", 1)
    )
    running = warm.start(call(path, body=b"x"))
    zygote, pid = map(int, line(running).split())
    os.kill(zygote, signal.SIGKILL)
    assert end(running) == -signal.SIGKILL
    running.kill(signal.SIGTERM)
    running.close()
    until(lambda: not is_alive(pid))
    assert run(warm, call(script(tmp_path, "print('next')", "next.py"))).out == "next\n"


def test_a_killed_idle_zygote_costs_nobody_a_request(warm: Warm, tmp_path: Path) -> None:
    path = script(tmp_path, "import os\nprint(os.getppid())")
    for _ in range(5):
        os.kill(int(run(warm, call(path)).out), signal.SIGKILL)


def test_what_a_script_leaves_in_its_group_gets_a_moment_and_is_killed(warm: Warm, tmp_path: Path):
    path = script(
        tmp_path,
        """
        import os, signal, subprocess
        null = subprocess.DEVNULL
        def deaf(): signal.signal(signal.SIGTERM, signal.SIG_IGN)
        left = [
            subprocess.Popen(["sleep", "1000"], stdout=null, stderr=null, preexec_fn=deaf),
            subprocess.Popen(["sleep", "1000"], stdout=null, stderr=null, start_new_session=True),
        ]
        print(*[child.pid for child in left], flush=True)
        os._exit(0)
        """,
    )
    running = warm.start(call(path))
    deaf, free = map(int, line(running).split())
    try:
        assert end(running) == 0
        running.kill(signal.SIGTERM)
        running.close()
        until(lambda: not is_alive(deaf))
        assert is_alive(free)
    finally:
        os.kill(free, signal.SIGKILL)


FORKS = [
    ("os._exit", "import os\nprint('a', flush=True)\nos._exit(3)", 3, "a\n"),
    (
        "os.fork",
        "import os\nif os.fork(): os.wait()\nelse: print('child', flush=True)",
        0,
        "child\n",
    ),
    (
        "a thread",
        "import threading\nthreading.Timer(0.01, lambda: print('late')).start()",
        0,
        "late\n",
    ),
    ("os.exec", "import os\nos.execv('/bin/echo', ['echo', 'other'])", 0, "other\n"),
    ("a signal", "import os\nos.kill(os.getpid(), 6)", -6, ""),
    ("setsid", "import os\nos.chdir('/')\nos.umask(0)\nprint('x')", 0, "x\n"),
]


@pytest.mark.parametrize(
    ("text", "want"), [(r[1], r[2:]) for r in FORKS], ids=[r[0] for r in FORKS]
)
def test_a_script_may_do_with_its_process_what_it_likes(warm: Warm, tmp_path, text, want) -> None:
    path = script(tmp_path, text)
    for _ in range(2):
        done = run(warm, call(path))
        assert (done.status, done.out) == want
    assert threading.active_count() == 1


def test_learned_are_the_imports_that_happen_when_it_runs(tmp_path: Path) -> None:
    import ast

    script(tmp_path, "import csv\nfrom . import sibling\n", "own.py")
    text = """
import os.path, own
from xml.sax import handler
try:
    import json
except ImportError:
    import no_such_of_tests
def later():
    import sqlite3
if True:
    import decimal
from __future__ import annotations
"""
    found = learn(ast.parse(text), str(tmp_path), [])
    assert found == ["os.path", "xml.sax", "json", "decimal", "csv"]


@pytest.mark.parametrize("row", hosted.PYTHON, ids=[row.id for row in hosted.PYTHON])
def test_row(row: hosted.Row, tmp_path: Path) -> None:
    hosted.check(row, tmp_path, Warm(ScriptOptions(), [].append))
