"""The samples in conf/: which command makes each of them."""

import shlex
import sys
from pathlib import Path

from click.testing import CliRunner

from gatebridge.cli.main import group
from gatebridge.fronts.registry import SERVERS

FOLDER = Path(__file__).resolve().parents[2] / "conf"
PROGRAM = "/opt/myapp/bin/gatebridge"
SOCKET = "--bind unix:/run/myapp/myapp.sock --server-name www.example.org"
STATIC = f"{SOCKET} --static /static=/srv/myapp/static"
START = f"--app myapp:app --folder /srv/myapp {SOCKET} --error-logfile /var/log/myapp/error.log"
WORDS = {  # "SERVER" or "SERVER FORM" -> options; STATIC for who is not named
    "haproxy": SOCKET,
    "apache fcgid": f"{STATIC} --shim /usr/lib/cgi-bin/myapp.fcgi",
    "apache cgi": f"{STATIC} --shim /usr/lib/cgi-bin/myapp.cgi",
    "apache htaccess": f"{SOCKET} --shim /home/me/public_html/cgi-bin/myapp.cgi",
    "lighttpd cgi": f"{STATIC} --shim /usr/lib/cgi-bin/myapp.cgi",
    "iis": "--bind 'http://192.0.2.7:8000?allow=192.0.2.8' --server-name www.example.org",
    "iis cgi": r"--bind http://127.0.0.1:8000 --shim 'C:\inetpub\myapp\myapp.cgi'",
    "iis cgi-host": r"--bind http://127.0.0.1:8000 --shim 'C:\inetpub\myapp\myapp.cgi'",
    "systemd": f"{START} --user www-data",
    "logrotate": START,
    "logrotate pid": f"{START} --pid /run/myapp/myapp.pid",
    "docker": START,
    "kubernetes": START,
    "kubernetes deployment": START.replace(
        "unix:/run/myapp/myapp.sock", "'fcgi://0.0.0.0:9000?allow=10.0.0.0/8'"
    ),
}

FORMS = [(server, form) for server, one in SERVERS.items() for form in one.forms]


def command(server: str, form: str) -> str:
    """The words after ``gatebridge``."""
    words = WORDS.get(f"{server} {form}", WORDS.get(server, STATIC))
    return f"conf {server} {form} {words}"


def path(server: str, form: str) -> Path:
    return FOLDER / SERVERS[server].forms[form].sample


def made(server: str, form: str, *more: str) -> str:
    """What the command prints."""
    before, sys.argv[0] = sys.argv[0], PROGRAM
    try:
        words = [*shlex.split(command(server, form)), *more]
        done = CliRunner().invoke(group, words, catch_exceptions=False)
    finally:
        sys.argv[0] = before
    assert done.exit_code == 0, done.output
    return done.output


def readme() -> str:
    lines = [
        "# Samples",
        "",
        "What `gatebridge conf` prints for an application called myapp: take them as they are, or",
        "let the command make those for yours. See [docs/conf.md](../docs/conf.md).",
        "",
        "| file | command |",
        "| --- | --- |",
    ]
    lines += [
        f"| [{path(*each).name}]({path(*each).name}) | `gatebridge {command(*each)}` |"
        for each in FORMS
    ]
    return "\n".join(lines) + "\n"
