"""Scripts in a warmed interpreter and in one that lives on: what both promise alike."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.apps.inprocess import InProcess
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.warm import Warm
from gatebridge.errors import AppError
from tests.apps.hosting import Done, call, end, finish, is_alive, line, run, script, until

KINDS = {"warm": Warm, "inproc": InProcess}


@pytest.fixture(scope="module", params=KINDS)
def launcher(request: pytest.FixtureRequest) -> Iterator[Warm | InProcess]:
    """One for all tests here: what one of them does must not reach another."""
    made = KINDS[request.param](ScriptOptions(), [].append)
    yield made
    made.close()


# (what, script, status, standard output, a word of standard error)
ENDS = [
    ("falls off its end", "print('whole')", 0, "whole\n", ""),
    ("sys.exit()", "import sys\nprint('a')\nsys.exit()", 0, "a\n", ""),
    ("sys.exit(None)", "import sys\nsys.exit(None)", 0, "", ""),
    ("sys.exit(3)", "import sys\nsys.exit(3)", 3, "", ""),
    ("sys.exit(-1)", "import sys\nsys.exit(-1)", 255, "", ""),
    ("sys.exit(text)", "import sys\nsys.exit('no database')", 1, "", "no database\n"),
    ("exit()", "exit(4)", 4, "", ""),
    ("raise SystemExit", "raise SystemExit(5)", 5, "", ""),
    ("raises", "print('half')\n1 / 0", 1, "half\n", "ZeroDivisionError"),
    ("raises in a hook", "import sys\nsys.excepthook = 5\n1 / 0", 1, "", "ZeroDivisionError"),
    ("has a hook", "import sys\nsys.excepthook = lambda *e: print('hook')\n1/0", 1, "hook\n", ""),
    ("does not compile", "def (:", 1, "", "SyntaxError"),
    ("is for Python 2", "print 'old'", 1, "", "cgi:"),
    ("has a NUL", "x = '\0'", 1, "", "null bytes"),
    ("recurses", "def f(): f()\nf()", 1, "", "RecursionError"),
    (
        "atexit",
        "import atexit\natexit.register(print, 'last')\nprint('first')",
        0,
        "first\nlast\n",
        "",
    ),
    ("atexit raises", "import atexit\natexit.register(lambda: 1/0)", 0, "", "ZeroDivisionError"),
    ("a file never closed", "f = open('left.txt', 'w')\nf.write('text')", 0, "", ""),
    (
        "an object with __del__",
        "class A:\n  def __del__(self): print('gone')\na = A()",
        0,
        "gone\n",
        "",
    ),
    (
        "globals in __del__",
        "import os\nclass A:\n  def __del__(s): print(os.sep)\na=A()",
        0,
        "/\n",
        "",
    ),
    ("closes its output", "import sys\nprint('a')\nsys.stdout.close()", 0, "a\n", ""),
    ("has no output", "import sys\nsys.stdout = None", 0, "", ""),
    ("os.write", "import os\nos.write(1, b'raw\\n')", 0, "raw\n", ""),
    ("sys.__stdout__", "import sys\nprint('a', file=sys.__stdout__)", 0, "a\n", ""),
    ("sys.stdout.buffer", "import sys\nsys.stdout.buffer.write(b'a\\r\\n')", 0, "a\r\n", ""),
    ("a child of its own", "import os\nos.system('echo child')", 0, "child\n", ""),
    ("no body", "import sys\nprint(repr(sys.stdin.read()))", 0, "''\n", ""),
    ("the main program", "print(__name__, __spec__)", 0, "__main__ None\n", ""),
    (
        "pickles its class",
        "import pickle as p\nclass A: pass\nprint(p.loads(p.dumps(A)) is A)",
        0,
        "True\n",
        "",
    ),
    ("# -*- coding", "# -*- coding: latin-1 -*-\nprint(len('ä'))", 0, "2\n", ""),
    ("CR LF", "import os\r\nprint('dos')\r\n", 0, "dos\n", ""),
]


@pytest.mark.parametrize(("text", "want"), [(r[1], r[2:]) for r in ENDS], ids=[r[0] for r in ENDS])
@pytest.mark.parametrize("again", ["first", "second"])
def test_ends_as_the_interpreter_itself(launcher, tmp_path: Path, text, want, again) -> None:
    path = tmp_path / "script.py"
    path.write_bytes(text.encode())
    if again == "second":
        run(launcher, call(path))
    done = run(launcher, call(path))
    status, out, word = want
    assert (done.status, done.out) == (status, out), done.err
    assert word in done.err if word else not done.err
    if "left.txt" in text:
        assert (tmp_path / "left.txt").read_text() == "text"


def test_a_traceback_shows_the_script_alone(launcher, tmp_path: Path) -> None:
    done = run(launcher, call(script(tmp_path, "def f():\n    raise ValueError('x')\nf()\n")))
    assert "gatebridge" not in done.err
    assert done.err.startswith("Traceback")
    assert done.err.endswith("ValueError: x\n")
    assert f'{tmp_path}/script.py", line 3, in <module>\n    f()' in done.err


def test_C17_it_finds_what_the_call_says_and_nothing_else(launcher, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import os, subprocess, sys
        print(dict(os.environ))
        print(subprocess.check_output(["/usr/bin/env"]).split())
        print(os.getcwd(), sys.argv, sys.path[0], __file__)
        places = ["/proc/self/fd/" + fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
        print([os.readlink(place) for place in places if os.path.exists(place)])
        """,
    )
    environment = {b"QUERY_STRING": b"a=\xff", b"SECRET": b"no", b"EMPTY": b""}
    done = run(launcher, call(path, ["x", "y z"], environment))
    lines = done.out.splitlines()
    assert eval(lines[0]) == {"QUERY_STRING": "a=\udcff", "SECRET": "no", "EMPTY": ""}
    assert sorted(eval(lines[1])) == [b"EMPTY=", b"QUERY_STRING=a=\xff", b"SECRET=no"]
    assert lines[2] == f"{tmp_path} {[str(path), 'x', 'y z']} {tmp_path} {path}"
    if isinstance(launcher, Warm):
        assert lines[3] == "[]"
    again = run(launcher, call(path, [], {b"OTHER": b"1"}))
    assert eval(again.out.splitlines()[0]) == {"OTHER": "1"}


def test_a_body_both_ways_at_once(launcher, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import sys
        while piece := sys.stdin.buffer.read(10_000):
            sys.stdout.buffer.write(piece)
        """,
    )
    body = bytes(range(97, 123)) * 200_000
    assert run(launcher, call(path, body=body), body).out.encode() == body


def test_C13_a_megabyte_of_errors_while_nothing_is_answered(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "import sys\nsys.stderr.write('e' * 1_000_000)\nprint('done')")
    done = run(launcher, call(path))
    assert (done.out, len(done.err)) == ("done\n", 1_000_000)


def test_streams_as_it_prints(launcher, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import sys
        print("one", flush=True)
        print("two" if sys.stdin.readline() == "go\\n" else "?", flush=True)
        """,
    )
    running = launcher.start(call(path, body=b"go\n"))
    try:
        assert line(running) == "one"
        assert running.status() is None
        os.write(running.stdin, b"go\n")
        assert line(running) == "two"
        assert end(running) == 0
    finally:
        running.close()


def test_a_first_line_with_u_is_unbuffered(launcher, tmp_path: Path) -> None:
    text = "#!/usr/bin/python3 -u\nimport sys\nsys.stdout.write('one\\n')\nsys.stdin.read()\n"
    running = launcher.start(call(script(tmp_path, text), body=b"x"))
    try:
        assert line(running) == "one"
        running.close_stdin()
        assert end(running) == 0
    finally:
        running.close()


def test_streams_have_the_encoding_of_a_fresh_interpreter(launcher, tmp_path: Path) -> None:
    text = """
        import sys
        for s in (sys.stdin, sys.stdout, sys.stderr):
            print(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.isatty(), s.fileno())
        """
    path = script(tmp_path, text)
    asked = [sys.executable, str(path)]
    fresh = subprocess.run(asked, env={}, input="", capture_output=True, text=True, timeout=60)
    assert run(launcher, call(path, body=b"x")).out == fresh.stdout


def test_C16_a_signal_ends_it_and_what_it_has_started(launcher, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import os, subprocess, sys
        child = subprocess.Popen(["sleep", "1000"])
        print(os.getpid(), child.pid, flush=True)
        child.wait()
        """,
    )
    running = launcher.start(call(path))
    pids = [int(pid) for pid in line(running).split()]
    running.kill(signal.SIGTERM)
    assert end(running) == -signal.SIGTERM
    running.close()
    until(lambda: not any(is_alive(pid) for pid in pids))
    running.kill(signal.SIGKILL)  # no error, and nobody else's process
    assert run(launcher, call(script(tmp_path, "print('next')", "next.py"))).out == "next\n"


def test_closed_while_it_runs_it_is_killed(launcher, tmp_path: Path) -> None:
    text = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    path = script(tmp_path, text + "print(os.getpid(), flush=True)\ntime.sleep(1000)")
    running = launcher.start(call(path))
    pid = int(line(running))
    running.close()
    until(lambda: not is_alive(pid))


def test_a_changed_script_is_run_changed(launcher, tmp_path: Path) -> None:
    for number in range(3):
        path = script(tmp_path, f"print({number})")
        assert run(launcher, call(path)).out == f"{number}\n"


def test_modules_beside_it_are_its_own(launcher, tmp_path: Path) -> None:
    """Two scripts' util.py must not meet, and a changed one is seen at once."""
    for name in ("a", "b"):
        script(tmp_path / name, f"who = {name!r}\n", "util.py")
        script(tmp_path / name, "import util\nprint(util.who)\n")
    for _ in range(2):
        for name in ("a", "b"):
            assert run(launcher, call(tmp_path / name / "script.py")).out == f"{name}\n"
    script(tmp_path / "a", "who = 'changed'  # longer\n", "util.py")
    assert run(launcher, call(tmp_path / "a" / "script.py")).out == "changed\n"


def test_random_numbers_differ(launcher, tmp_path: Path) -> None:
    text = "import random, uuid\nprint(random.random(), uuid.uuid4(), uuid.uuid1())"
    path = script(tmp_path, text)
    numbers = [run(launcher, call(path)).out.split() for _ in range(10)]
    for column in zip(*numbers, strict=True):
        assert len(set(column)) == 10


def test_limits(launcher, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        from resource import RLIMIT_AS, RLIMIT_NOFILE, getrlimit
        print(getrlimit(RLIMIT_NOFILE)[0], getrlimit(RLIMIT_AS)[0])
        try:
            data = bytes(3 << 30)
        except MemoryError:
            print("refused")
        """,
    )
    limits = {"nofile": 100, "as": 2 << 30}
    assert run(launcher, call(path, limits=limits)).out == f"100 {2 << 30}\nrefused\n"
    assert "refused" not in run(launcher, call(path)).out.splitlines()[0]


def test_a_script_that_burns_its_time_is_ended(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "print('on', flush=True)\nwhile True: pass")
    done = run(launcher, call(path, limits={"cpu": 1}))
    assert done.status in (-signal.SIGXCPU, -signal.SIGKILL)


WRONG = [
    ("#!/usr/bin/python2\n", "script.interpreter", "python2"),
    ("#!/usr/bin/env python2.7\n", "script.interpreter", "cgi:"),
    ("#!/usr/bin/perl -w\n", "script.interpreter", "perl"),
    ("#!/usr/bin/env -S A=1 bash\n", "script.interpreter", "bash"),
]


@pytest.mark.parametrize(("text", "code", "word"), WRONG, ids=[row[0].strip() for row in WRONG])
def test_another_interpreter_is_refused(launcher, tmp_path: Path, text, code, word) -> None:
    with pytest.raises(AppError) as raised:
        launcher.start(call(script(tmp_path, text)))
    assert raised.value.code == code
    assert word in raised.value.detail


def test_what_cannot_start_says_why(launcher, tmp_path: Path) -> None:
    with pytest.raises(AppError, match=r"script\.not_found"):
        launcher.start(call(tmp_path / "missing.py"))
    path = script(tmp_path, "print(1)")
    asked = call(path)
    with pytest.raises(AppError, match=r"script\.start.*no-such-folder"):
        launcher.start(type(asked)(asked.path, (), {}, f"{tmp_path}/no-such-folder", False, {}))
    assert run(launcher, asked).out == "1\n"


def test_T13_the_checked_file_runs_whatever_the_path_is_by_now(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "print('checked', __file__)")
    fd = os.open(path, os.O_RDONLY)
    script(tmp_path, "print('swapped')")
    try:
        assert run(launcher, call(path, fd=fd)).out == f"checked {path}\n"
    finally:
        os.close(fd)
    assert run(launcher, call(path)).out == "swapped\n"


def test_cgi_is_there_or_the_page_says_how_to_have_it(launcher, tmp_path: Path) -> None:
    done = run(launcher, call(script(tmp_path, HAS_CGI)))
    assert done.out == "['1']\n", done.err


HAS_CGI = """
import warnings
warnings.simplefilter("ignore")
import cgi, os
os.environ["QUERY_STRING"] = "a=1"
print(cgi.FieldStorage().getlist("a"))
"""


@pytest.mark.parametrize("name", ["cgi", "cgitb"])
def test_without_the_extra_legacy_it_says_so_exactly(launcher, tmp_path: Path, name) -> None:
    """As on Python 3.13 without legacy-cgi: the import fails."""
    text = f"import sys\nsys.modules[{name!r}] = None\nimport {name}\n"
    done = run(launcher, call(script(tmp_path, text)))
    said = f'{name} is not part of Python 3.13 any more: pip install "gatebridge[legacy]"\n'
    assert done.err.endswith(f"\n{said}")
    assert done.status == 1


def test_many_at_once(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "import os\nprint(os.environ['N'] * 1000)")
    wrong: list[Done] = []

    def ask(number: int) -> None:
        for turn in range(5):
            text = b"%d-%d" % (number, turn)
            done = run(launcher, call(path, environment={b"N": text}))
            if done != Done(0, text.decode() * 1000 + "\n", ""):
                wrong.append(done)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_large_environment(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "import os\nprint(sum(len(v) for v in os.environ.values()))")
    environment = {b"HTTP_%d" % n: b"v" * 10_000 for n in range(100)}
    assert run(launcher, call(path, environment=environment)).out == "1000000\n"


def test_descriptors_are_non_blocking_and_all_freed(launcher, tmp_path: Path) -> None:
    path = script(tmp_path, "print(1)")
    run(launcher, call(path))
    before = os.listdir("/proc/self/fd")
    running = launcher.start(call(path, body=b"x"))
    for fd in (running.stdin, running.stdout, running.stderr):
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        assert not os.get_inheritable(fd)
    finish(running)
    running.close()
    running.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_than_children_run(kind, tmp_path: Path) -> None:
    made = KINDS[kind](ScriptOptions(children=1, timeout=0.05), [].append)
    path = script(tmp_path, "import sys\nprint('on', flush=True)\nsys.stdin.read()")
    running = made.start(call(path, body=b"x"))
    line(running)
    with pytest.raises(AppError, match=r"script\.busy.*children"):
        made.start(call(path))
    running.close()
    assert run(made, call(path)).out == "on\n"
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_of_the_worker_has_hosts_of_its_own(kind, tmp_path: Path) -> None:
    made = KINDS[kind](ScriptOptions(), [].append)
    path = script(tmp_path, "import os\nprint(os.getppid())")
    run(made, call(path))
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = run(made, call(path)).status
            made.close()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert run(made, call(path)).status == 0
    made.close()


@pytest.mark.parametrize("kind", KINDS)
def test_hosts_end_with_the_worker(kind, tmp_path: Path) -> None:
    """The worker is killed while a script runs: nobody is left."""
    text = "import os, time\nprint(os.getpid(), os.getppid(), flush=True)\ntime.sleep(1000)"
    path = script(tmp_path, text)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            running = KINDS[kind](ScriptOptions()).start(call(path))
            os.write(write, line(running).encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    script_pid, parent = map(int, os.read(read, 100).split())
    os.close(read)
    assert is_alive(script_pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: not is_alive(script_pid))
    if kind == "warm":
        until(lambda: not is_alive(parent))


@pytest.mark.parametrize("kind", KINDS)
def test_signals_that_the_worker_ignores_or_blocks_are_as_usual(kind, tmp_path: Path) -> None:
    path = script(
        tmp_path,
        """
        import signal as s
        print([n for n in s.valid_signals() if s.getsignal(n) == s.SIG_IGN], s.getsignal(s.SIGINT))
        print(s.pthread_sigmask(s.SIG_BLOCK, []))
        """,
    )
    asked = [sys.executable, str(path)]
    fresh = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    made = KINDS[kind](ScriptOptions(), [].append)
    try:
        assert without_addresses(run(made, call(path)).out) == without_addresses(fresh)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
        made.close()


def without_addresses(text: str) -> str:
    return re.sub("0x[0-9a-f]+", "", text)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_its_environment_reach_the_host(kind, tmp_path: Path, monkeypatch) -> None:
    """PYTHONPATH counts when an interpreter starts."""
    script(tmp_path / "lib", "where = 'lib'", "elsewhere.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    path = script(tmp_path, "import elsewhere\nprint(elsewhere.where)")
    for env, out in ((("PYTHONPATH",), "lib\n"), ((), "")):
        made = KINDS[kind](ScriptOptions(env=env), [].append)
        assert run(made, call(path)).out == out
        made.close()
