"""Python files, one by one: facts, imports, applications, Python 2 by parser and by patterns."""

import sys

import pytest

from gatebridge.scan import python_patterns, python_source, python_two
from gatebridge.scan.facts import EFFECTS
from gatebridge.scan.python_calls import CALLS, FAMILIES, METHODS, TARGETS
from gatebridge.scan.report import lines, scan

FACTS = [  # source, what it does, line
    ("import os as o\no._exit(1)", "os_exit", 2),
    ("from os import _exit as leave\nleave(1)", "os_exit", 2),
    ("import os\nif os.fork():\n    pass", "forks", 2),
    ("import multiprocessing\nmultiprocessing.Process()", "forks", 2),
    ("from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor()", "threads", 2),
    ("import os\nos.execv('/bin/sh', [])", "replaces", 2),
    ("import os\nos.setuid(5)", "identity", 2),
    ("import resource\nresource.setrlimit(1, 2)", "limits", 2),
    ("import socket\nsocket.setdefaulttimeout(5)", "interpreter_state", 2),
    ("import cgi\ncgi.maxlen = 5", "patches", 2),
    ("import os\nos.environ['A'] = '1'", "environ", 2),
    ("from os import environ\nenviron['A'] = '1'", "environ", 2),
    ("import os\ndel os.environ['A']", "environ", 2),
    ("import os\nos.environ.update(A='1')", "environ", 2),
    ("import sys\nsys.stdout = open('x')", "streams", 2),
    ("import sys\nsys.path.insert(0, 'x')", "import_path", 2),
    ("import sys\nsys.path[:0] = ['x']", "import_path", 2),
    ("raise SystemExit(1)", "sys_exit", 1),
    ("exit()", "sys_exit", 1),
    ("import os\nos.write(1, b'x')", "descriptors", 2),
    ("open(1, 'wb')", "writes_files", 1),
    ("import sys\nsys.__stdout__.write('x')", "descriptors", 2),
    ("import signal\nsignal.alarm(5)", "signals", 2),
    ("import atexit\natexit.register(print)", "atexit", 2),
    ("import locale\nlocale.setlocale(0, '')", "locale", 2),
    ("import warnings\nwarnings.simplefilter('error')", "warnings", 2),
    ("import cgitb\ncgitb.enable()", "hooks", 2),
    ("open('x', mode='a')", "writes_files", 1),
    ("import os\nos.open('x', os.O_WRONLY | os.O_CREAT)", "writes_files", 2),
    ("import pathlib\npathlib.Path('x').write_text('')", "writes_files", 2),
    ("import sqlite3\nsqlite3.connect('x')", "writes_files", 2),
    ("import subprocess\nsubprocess.run(['x'])", "starts_programs", 2),
    ("import subprocess\nsubprocess.run('x', shell=True)", "shell", 2),
    ("import os\nos.popen('x')", "shell", 2),
    ("eval(input())", "evaluates", 1),
    ("import urllib.request\nurllib.request.urlopen('x')", "proxy", 2),
    ("import requests\nrequests.get('x')", "proxy", 2),
    ("import socket\nsocket.socket()", "connects", 2),
    ("import MySQLdb\nMySQLdb.connect()", "connects", 2),
]


@pytest.mark.parametrize(("text", "code", "line"), FACTS, ids=[f"{r[1]}:{r[0]}" for r in FACTS])
def test_fact(text, code, line):
    found = python_source.read(text.encode(), "python3")
    assert (code, line) in {(fact.code, fact.line) for fact in found.facts}


NO_FACTS = [
    "open('x')", "open('x', 'rb')", "import os\nos.open('x', os.O_RDONLY)", "eval('1 + 1')",
    "def fork(): pass\nfork()", "'os.fork()'  # os._exit(1)", "import os\nos.environ['A']",
    "class A:\n    def exit(self): pass\nA().exit()", "def exit(): pass\nexit()",
    "import shutil\nshutil.which('x')", "import os\nos.write(5, b'x')",
    "import helper\nhelper.value()", "threading = 5\nthreading.Thread()",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_FACTS)
def test_no_fact(text):
    assert python_source.read(text.encode(), "python3").facts == ()


AT_IMPORT = [
    ("S", True),
    ("def go():\n    S", False),
    ("def go():\n    S\ngo()", True),
    ("if __name__ == '__main__':\n    S", False),
    ("if '__main__' == __name__:\n    pass\nelse:\n    S", True),
    ("def go():\n    S\nif __name__ == '__main__':\n    go()", False),
    ("class A:\n    S", True),
    ("class A:\n    def go(self):\n        S", False),
    ("try:\n    S\nexcept EOFError:\n    pass", True),
]


@pytest.mark.parametrize(("text", "expected"), AT_IMPORT)
def test_what_happens_at_the_import(text, expected):
    """Sockets, programs and threads there are what a warmed interpreter must not have."""
    source = "import socket\n" + text.replace("S", "socket.socket()")
    (fact,) = python_source.read(source.encode(), "python3").facts
    assert (fact.code, fact.at_import) == ("connects", expected)


APPLICATIONS = [
    ("def application(environ, start_response): pass", 1),
    ("def app(environ, start_response): pass", 1),
    ("def app(one): pass", None),
    ("def make():\n    def app(environ, start_response): pass", None),
    ("import flask\napp = flask.Flask('x')", 2),
    ("import fastapi\napp = fastapi.FastAPI()", None),
    ("from shop import app as application", 1),
    ("app = 5", None),
    ("def go():\n    app = make()", None),
    ("async def app(scope, receive): pass", None),
]


@pytest.mark.parametrize(("text", "line"), APPLICATIONS)
def test_a_wsgi_application(text, line):
    found = python_source.read(text.encode(), "python3").application
    assert (found[0] if found else None) == line


OPTIONAL = [
    ("import absent", False),
    ("try:\n    import absent\nexcept ImportError:\n    absent = None", True),
    ("try:\n    import other\nexcept ImportError:\n    import absent", True),
    ("try:\n    import absent\nexcept ValueError:\n    pass", False),
    ("import sys\nif sys.version_info < (3,):\n    import absent", True),
    ("from absent.part import name", False),
]


@pytest.mark.parametrize(("text", "expected"), OPTIONAL)
def test_an_import_that_a_script_can_do_without(text, expected):
    found = {item.name: item for item in python_source.read(text.encode(), "python3").imports}
    assert found["absent"].is_optional is expected


def test_a_module_of_python_2_that_is_optional_is_no_sign_of_python_2():
    text = b"try:\n    import urllib2\nexcept ImportError:\n    import urllib.request\n"
    assert python_source.read(text).python == "3"
    assert python_source.read(b"import urllib2\n").python == "2"
    assert python_source.read(b"import urllib2\n", "python3").python == "3"


def test_names_that_a_file_defines_itself_are_no_sign_of_python_2():
    text = b"try:\n    unicode\nexcept NameError:\n    unicode = str\n"
    assert python_source.read(text).python == "3"
    assert python_source.read(b"unicode\n").python == "2"


# --- Python 2


@pytest.fixture(params=["fissix", "patterns"])
def reader(request, monkeypatch):
    """With fissix, and as where it is not installed."""
    if request.param == "patterns":
        monkeypatch.setitem(sys.modules, "fissix.refactor", None)
    python_two._tool.cache_clear()
    yield request.param
    python_two._tool.cache_clear()


OLD = """# -*- coding: latin-1 -*-
import os, urllib2
try:
    import json
except ImportError:
    json = None

def go(a):
    print "fork", 'os.fork()', a
    print >>f, "x"
    exec "a = 1"
    if a <> 0777:
        raise ValueError, ur"x"
    try:
        os.fork()
    except OSError, error:
        print `error`
    return open("log", "a")  # os._exit(1)

os.environ["A"] = "1"
os._exit(0)
"""
SEEN = {("forks", 15), ("writes_files", 18), ("environ", 20), ("os_exit", 21)}


def test_python_2_is_read_by_both_readers_alike(reader):
    found = python_source.read(OLD.encode(), "python")
    assert (found.python, found.why, found.line) == ("2", "print statement", 9)
    assert found.read_by == reader
    facts = {(fact.code, fact.line) for fact in found.facts} - {("evaluates", 11)}
    assert facts == SEEN
    at_import = {fact.code for fact in found.facts if fact.at_import}
    assert at_import == {"environ", "os_exit"}
    assert [(i.name, i.line, i.is_optional) for i in found.imports] == [
        ("os", 2, False), ("urllib2", 2, False), ("json", 4, True),
    ]  # fmt: skip


def test_the_extra_is_named_where_it_would_help(reader, tmp_path):
    for name, text in (("old.py", "print 1\n"), ("broken.py", "def (:\n")):
        (tmp_path / name).write_text(f"#!/usr/bin/python\n{text}")
        (tmp_path / name).chmod(0o755)
    assert ("gatebridge[migrate]" in " ".join(lines(scan(str(tmp_path))))) is (reader != "fissix")


SIGNS = [
    ('print "a"', "print statement"), ("print >>f, 1", "print statement"),
    ("if a: print 'x'", "print statement"), ("print\nprint 1", "print statement"),
    ("try: pass\nexcept A, e: pass", "except E, name"), ("raise A, 'b'", "raise E, value"),
    ("exec 'x'", "exec statement"), ("a <> b", "<> operator"), ("x = `a`", "backquotes"),
    ("os.chmod(f, 0755)", "octal"), ("x = 5L", "long"), ("x = ur'a'", "ur string"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "part"), SIGNS)
def test_a_sign_of_python_2(text, part):
    assert part in python_patterns.sign(text)[1]


NO_SIGNS = [
    "print('a')", "print = 5", "print.x", "'print 1'", "# print 1", '"""\nprint 1\n"""',
    "x = 0", "x = 00", "x = 0x755", "x = 1_0", "x = 0.5", "except (A, B): pass", "f(exec='x')",
    "raise A('b, c')", "x = '`'", "r'ur'", 'x = "\\"print 1"',
]  # fmt: skip


@pytest.mark.parametrize("text", NO_SIGNS)
def test_no_sign_of_python_2(text):
    assert python_patterns.sign(text) is None


def test_patterns_keep_every_place():
    text = "a = '''x\ny''' # b\nc = \"d\\\"\"\n"
    blank = python_patterns.blanked(text)
    assert len(blank) == len(text)
    assert [len(line) for line in blank.split("\n")] == [len(line) for line in text.split("\n")]
    assert not set("xybd") & set(blank)


# --- what is no program

HARD = [
    b"", b"\0", b"\xff\xfe", b"(" * 9000, b"-" * 50_000 + b"1", b"[" * 2000 + b"]" * 2000,
    b"x." * 9000 + b"y", b"a = " + b"f(" * 1000, b"if 1:\n" * 200, b"'" * 99_999,
    b"'''" + b"\\" * 99_999, b"# coding: no-such\nprint 1\n", b"\xef\xbb\xbfprint 1\n",
    b"# coding: utf-16\n", b"print " * 50_000, b"except " + b"a," * 100_000, b"1" * 100_000,
    b"if 1:\n" + b" " * 100_000, b"`" * 9000, b"# coding: rot13\nx\n", b"x = '\xe9'\n",
    b"# coding: undefined\nx\n", b"# coding: idna\n\xff\n", b"# coding: unicode_escape\nx \\x\n",
]  # fmt: skip


@pytest.mark.parametrize("data", HARD, ids=lambda data: repr(data[:12]))
def test_whatever_it_is_it_gets_an_answer(data, reader):
    assert python_source.read(data, "python").python in ("2", "3", "")


def test_a_script_without_an_encoding_that_is_not_utf_8_is_of_python_2():
    found = python_source.read(b"#!/usr/bin/python\nprint('\xe9')\n", "python")
    assert (found.python, found.encoding) == ("2", "latin-1")


def test_what_python_warns_of_when_it_parses_is_not_said(recwarn):
    assert python_source.read(b"x = '\\d'\nif x is 5:\n    pass\n").python == "3"
    assert recwarn.list == []


def test_tables_use_the_codes_that_are_explained():
    codes = {*CALLS.values(), *METHODS.values(), *TARGETS.values(), *(c for _, c in FAMILIES)}
    assert codes <= EFFECTS.keys()
    assert {weight for weight, _ in EFFECTS.values()} == {"warm", "restored", "note"}
