"""One CGI request to a program, started as a web server starts it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEADLINE_S = 20.0

GET = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "/cgi-bin/app.cgi",
    "PATH_INFO": "/x",
    "QUERY_STRING": "a=1",
    "REQUEST_URI": "/cgi-bin/app.cgi/x?a=1",
    "SERVER_NAME": "h",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "test/1",
    "REMOTE_ADDR": "192.0.2.7",
    "HTTP_HOST": "h",
}

# What a script of the tests starts with; "app" is what each adds.
SCRIPT = """\
import sys
sys.path.insert(0, {root!r})
from gatebridge.oneshot import main

{app}

main(app)
"""


def script(folder: Path, app: str, name: str = "script.py") -> list[str]:
    """Write a script that answers with ``app``; returns its command."""
    path = folder / name
    path.write_text(SCRIPT.format(root=str(ROOT), app=app))
    return [sys.executable, "-IS", str(path)]


class Done:
    """What a run left: exit status, answer and error text."""

    def __init__(self, code: int, out: bytes, errors: bytes) -> None:
        self.code = code
        self.out = out
        self.errors = errors.decode("utf-8", "replace")
        self.head, self.mark, self.body = out.partition(b"\r\n\r\n")

    @property
    def status(self) -> str:
        first = self.head.split(b"\r\n")[0].decode("latin-1")
        assert first.startswith("Status: "), self
        return first.removeprefix("Status: ")

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [tuple(line.split(": ", 1)) for line in lines]  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"Done({self.code}, {self.out[:2000]!r}, {self.errors[-2000:]!r})"


def environment(**changed: str | None) -> dict[str, str]:
    """GET with some variables changed, None for absent, and nothing of this process's."""
    merged = {"PATH": os.environ["PATH"], **GET, **changed}
    return {name: value for name, value in merged.items() if value is not None}


def encoded(variables: dict[str, str]) -> dict[bytes, bytes]:
    """As a server sets them: bytes, here those of latin-1."""
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in variables.items()}


def ask(argv: Sequence[str], stdin: bytes = b"", folder: Path | None = None, **vars) -> Done:
    """One request. vars: variables beside those of GET, None for absent."""
    done = subprocess.run(
        argv,
        input=stdin,
        env=encoded(environment(**vars)),
        cwd=folder,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def post(argv: Sequence[str], body: bytes, *, extra: bytes = b"", **vars) -> Done:
    """A request with a body; extra: bytes behind it that are none of the application's."""
    vars = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), **vars}
    return ask(argv, body + extra, **vars)


def answering(folder: Path, code: str) -> list[str]:
    """A script whose application is this function body."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    return script(folder, f"def app(environ, start_response):\n{lines}\n")


def giving(folder: Path, result: str, status: str = "200 OK", headers: str = "") -> list[str]:
    given = headers or "[('Content-Type', 'text/plain')]"
    return answering(folder, f"start_response({status!r}, {given})\nreturn {result}")
