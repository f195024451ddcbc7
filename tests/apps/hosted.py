"""Rows of (program, request, expected answer), and whoever runs them through any launcher.

The rows of PYTHON are for every mode that hosts programs; LANGUAGES needs exec.
"""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.running import Launcher
from gatebridge.apps.script import Script
from gatebridge.engine.wsgi import run
from tests.engine.recorder import Recorder, environ_of

PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"


# 32 and 33 are the C library's own; its posix_spawn(), which make uses, has them ignored.
INTERNAL = 1 << 31 | 1 << 32


def masked(status: str, name: str) -> int:
    """A set of signals in the text of /proc/PID/status, but for the C library's own."""
    (line,) = [line for line in status.splitlines() if f"{name}:" in line]
    return int(line.split()[-1], 16) & ~INTERNAL


@dataclass(frozen=True)
class Want:
    """status   the whole of it
    body     None: not looked at
    headers  values by name, in small letters; None: absent
    log      texts that wsgi.errors has in this order
    cut      the client is made to see that the answer is not whole
    """

    status: str = "200 OK"
    body: bytes | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    log: tuple[str, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class Row:
    """text: the program, whose "#!python" stands for the interpreter that runs the tests."""

    id: str
    text: str
    want: Want
    method: str = "GET"
    body: bytes = b""
    environ: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    name: str = "program.py"


def write(folder: Path, text: str, name: str = "program.py") -> str:
    """A program that may be executed; its path."""
    path = folder / name
    path.write_bytes(text.replace("#!python", f"#!{sys.executable} -I", 1).encode())
    path.chmod(0o755)
    return str(path.resolve())


def compiled(folder: Path, text: str, name: str = "program.cgi") -> str:
    """The same in C."""
    source = folder / "program.c"
    source.write_text(text)
    path = folder / name
    subprocess.run(["cc", "-o", path, source], check=True, timeout=60)
    return str(path.resolve())


def environ(method: str = "GET", body: bytes = b"", **more: Any) -> dict[str, Any]:
    """What a front server's request is made into."""
    made = environ_of(method, body)
    made["SCRIPT_NAME"], made["PATH_INFO"] = "/cgi-bin/program", ""
    if not body:
        del made["CONTENT_LENGTH"]
    made["wsgi.input_terminated"] = True
    return made | more


def ask(app: Any, asked: dict[str, Any] | None = None, out: Recorder | None = None) -> Recorder:
    """One request; the text of wsgi.errors is in out.log, before the engine's own."""
    asked = asked or environ()
    out = out or Recorder()
    run(app, asked, out)
    errors = asked["wsgi.errors"]
    if isinstance(errors, StringIO):
        out.log = errors.getvalue() + out.log
    return out


def check(row: Row, folder: Path, launcher: Launcher) -> None:
    """Run a row, and end what is left of it."""
    script = Script(write(folder, row.text, row.name), launcher, ScriptOptions(**row.options))
    try:
        out = ask(script, environ(row.method, row.body, **row.environ))
    finally:
        script.close()
    judge(row, out)


def judge(row: Row, out: Recorder) -> None:
    want = row.want
    assert out.status == want.status, out.log
    if want.body is not None:
        assert bytes(out.body) == want.body
    found = {name.lower(): value for name, value in out.head.headers}
    for name, value in want.headers.items():
        assert found.get(name) == value
    at = 0
    for text in want.log:
        at = out.log.find(text, at)
        assert at >= 0, f"{text!r} is not in {out.log}"
    assert out.was_cut == want.cut, out.log
    assert out.whole != want.cut, out.log


def says(*lines: str, then: str = "") -> str:
    """A program that writes these lines, then does something."""
    text = "".join(f"{line}\n" for line in lines)
    return f"#!python\nimport os, sys\nsys.stdout.write({text!r})\nsys.stdout.flush()\n{then}\n"


def raw(data: bytes, then: str = "") -> str:
    return f"#!python\nimport os, sys, time\nos.write(1, {data!r})\n{then}\n"


ECHO = """#!python
import os, sys
data = sys.stdin.buffer.read(int(os.environ.get("CONTENT_LENGTH") or 0))
sys.stdout.write("Content-Type: text/plain\\n\\n")
sys.stdout.flush()
sys.stdout.buffer.write(data)
"""

SHOW = """#!python
import json, os, sys
print("Content-Type: application/json\\n")
print(json.dumps([dict(os.environ), os.getcwd(), sys.argv], sort_keys=True))
"""

HTML = "Content-Type: text/html"
NOT_LONG = b"no more than this"

PYTHON = [
    Row(
        "C05 document",
        says(HTML, "X-A: 1", "", "<p>"),
        Want(body=b"<p>\n", headers={"content-type": "text/html", "x-a": "1"}),
    ),
    Row("C05 no field that a head needs", says("X-A: 1", "", "x"), Want("502 Bad Gateway")),
    Row(
        "C07 client redirect",
        says("Location: http://example.org/a", ""),
        Want("302 Found", b"", {"location": "http://example.org/a"}),
    ),
    Row(
        "C07 client redirect with document",
        says("Status: 301 Moved", "Location: http://example.org/", HTML, "", "there"),
        Want("301 Moved", b"there\n", {"location": "http://example.org/"}),
    ),
    Row(
        "C06 redirect of another host",
        says("Location: //other.example/a", ""),
        Want("302 Found", b"", {"location": "//other.example/a"}),
    ),
    Row(
        "C06 local redirect, nobody to ask",
        says("Location: /a/b?c=d", ""),
        Want("302 Found", b"", {"location": "/a/b?c=d"}),
    ),
    Row("C08 status", says("Status: 404 Not Here", HTML, "", "x"), Want("404 Not Here", b"x\n")),
    Row("C08 status without reason", says("Status: 404", HTML, "", "x"), Want("404", b"x\n")),
    Row("C08 status that is none", says("Status: OK", HTML, "", "x"), Want("502 Bad Gateway")),
    Row("C09 CRLF", raw(b"Status: 201 Made\r\nX-A: b\r\n\r\nx\r\n"), Want("201 Made", b"x\r\n")),
    Row("C09 LF", raw(b"Status: 201 Made\nX-A: b\n\nx\r\n"), Want("201 Made", b"x\r\n")),
    Row("C09 mixed", raw(b"Status: 201 Made\r\nX-A: b\n\r\nx"), Want("201 Made", b"x")),
    Row(
        "C09 in pieces",
        raw(b"Content-Type", "time.sleep(.02); os.write(1, b': a/b\\r'); os.write(1, b'\\n\\r')\n"
        "time.sleep(.02); os.write(1, b'\\nbody')"),
        Want(body=b"body", headers={"content-type": "a/b"}),
    ),
    Row("C09 folded line", raw(b"Content-Type: a/b;\n x=y\n\nx"), Want("502 Bad Gateway")),
    Row("C09 no header at all", raw(b"\nbody"), Want("502 Bad Gateway")),
    Row(
        "C09 no line of a header",
        raw(b"Hello\n\nbody"),
        Want("502 Bad Gateway", log=("incident", "head.malformed", "Hello")),
    ),
    Row(
        "C09 head without its end",
        raw(b"Content-Type: a/b\n"),
        Want("502 Bad Gateway", log=("head.malformed", "exit status 0")),
    ),
    Row(
        "C10 nph",
        raw(b"HTTP/1.1 202 Later\r\nConnection: close\r\nX-A: b\r\n\r\nbody"),
        Want("202 Later", b"body", {"x-a": "b", "connection": None}),
        name="nph-program.py",
    ),
    Row("C10 nph without a status line", raw(b"X-A: b\n\nx"), Want("502 Bad Gateway"),
        name="nph-program.py"),
    Row("C10 a status line of another", raw(b"HTTP/1.0 202 Later\nX-A: b\n\nx"),
        Want("202 Later", b"x")),
    Row(
        "C11 HEAD",
        says(HTML, "", "a body all the same", then="open('done', 'w').close()"),
        Want(body=b""),
        method="HEAD",
    ),
    Row("C11 HEAD without end", says(HTML, "", then="while True: os.write(1, b'x' * 65536)"),
        Want(body=b""), method="HEAD", options={"linger": 0.1, "grace": 0.1}),
    Row("204", says("Status: 204 No Content", "X-A: b", ""), Want("204 No Content", b"")),
    Row("304 with a body", says("Status: 304 Not Modified", "", "x"),
        Want("304 Not Modified", b"")),
    Row("C12 bytes stay as they are", raw(b"Content-Type: a/b\n\n\r\n\n\0\xff\r"),
        Want(body=b"\r\n\n\0\xff\r")),
    Row("chunked by itself", raw(b"Content-Type: a/b\nTransfer-Encoding: chunked\n\n0\r\n\r\n"),
        Want("502 Bad Gateway", log=("head.chunked",))),
    Row("long head", raw(b"Content-Type: a/b\nX-A: " + b"x" * 2000 + b"\n\n"),
        Want("502 Bad Gateway", log=("head.too_big",)), options={"head": 1024}),
    Row("head as long as allowed", raw(b"Content-Type: a/b\n\n" + b"x" * 5000),
        Want(body=b"x" * 5000), options={"head": 19}),
    Row("Content-Length kept", says(HTML, "Content-Length: 2", "", "a"),
        Want(body=b"a\n", headers={"content-length": "2"})),
    Row("Content-Length too short", says(HTML, "Content-Length: 1", "", "a"), Want(body=b"a")),
    Row("Content-Length too long", says(HTML, "Content-Length: 9", "", "a"),
        Want(body=b"a\n", cut=True)),
    Row("Content-Lengths that differ",
        says(HTML, "Content-Length: 1", "Content-Length: 2", "", "a"),
        Want("502 Bad Gateway", log=("header.length",))),
    Row("a header with a control", raw(b"Content-Type: a/b\nX-A: \0\n\n"), Want("502 Bad Gateway")),
    Row("echo", ECHO, Want(body=b"hello"), method="POST", body=b"hello"),
    Row("C03 no body", "#!python\nimport sys\nprint('Status: 200 OK\\n')\n"
        "print(len(sys.stdin.read()))\n", Want(body=b"0\n")),
    Row("standard error", says(HTML, "", then="sys.stderr.write('one\\ntwo')"),
        Want(body=b"", log=("one\n", "two\n"))),
    Row(
        "C14 no output",
        "#!python\nimport sys\nprint('what went wrong', file=sys.stderr)\nsys.exit(3)\n",
        Want("502 Bad Gateway", log=("what went wrong", "incident", "script.no_output",
             "exit status 3", "] what went wrong")),
    ),
    Row("C14 nothing at all", "#!python\n", Want("502 Bad Gateway", log=("exit status 0",))),
    Row("C14 a traceback", "#!python\nraise KeyError('secret')\n",
        Want("502 Bad Gateway", log=("KeyError: 'secret'", "incident"))),
    Row("exit status after an answer", says(HTML, "", "x", then="sys.exit(7)"),
        Want(body=b"x\n", log=("ended with exit status 7",))),
]  # fmt: skip

LANGUAGES = {
    "bash": """#!/bin/bash
printf 'Content-Type: text/plain\\n\\n'
echo "bash $QUERY_STRING"
cat
""",
    "perl": """#!/usr/bin/perl
print "Content-Type: text/plain\\r\\n\\r\\nperl $ENV{QUERY_STRING}\\n";
print while <STDIN>;
""",
    "c": """
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    int c;
    printf("Content-Type: text/plain\\n\\nc %s\\n", getenv("QUERY_STRING"));
    while ((c = getchar()) != EOF) putchar(c);
    return 0;
}
""",
}
PYTHONS = ("2.7", "3.11", "3.13")
ANY_PYTHON = """#!{interpreter}
import os, sys
sys.stdout.write("Content-Type: text/plain\\n\\npython %s\\n" % os.environ["QUERY_STRING"])
sys.stdout.write(sys.stdin.read())
"""


def python_of(version: str) -> str:
    """An interpreter of that version, "" where there is none."""
    for path in sorted(PYENV.glob(f"{version}.*/bin/python{version}")):
        return str(path)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder) / f"python{version}"
        if path.exists() and not subprocess.run([path, "-c", ""], timeout=60).returncode:
            return str(path)
    return ""
