"""gatebridge shim: write the file that stands in a cgi-bin, and say what such a file would do."""

from __future__ import annotations

import glob
import os
import shlex
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from gatebridge.cli.first_steps import command as program_words
from gatebridge.cli.options import read_asked, with_configuration
from gatebridge.errors import ConfigError, UseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatebridge.config import Asked
    from gatebridge.relay_baked import Baked

PROBLEMS = 6  # exit status of check
DEBIAN = "/usr/lib/cgi-bin"
_APACHE = "/etc/apache2/mods-enabled"
_OURS = ("bind", "control_socket", "daemon", "error_logfile", "name", "pid")
_NATIVE = ("shim.no_compiler", "shim.compile")


@click.group("shim")
def command() -> None:
    """Write the file that answers for an application in a cgi-bin."""


@command.command("new")
@click.argument("app", metavar="APP")
@click.argument("file", metavar="FILE")
@click.option("--oneshot", is_flag=True, help="Start, answer one request, exit: plain CGI.")
@click.option("--native", is_flag=True, help="A relay in C, where a C compiler is.")
@click.option("--mount", metavar="PATH", help="Path the front server puts the shim at.")
@click.option("--folder", metavar="DIR", default=".", help="Where APP is imported from.")
@click.option(
    "--state-dir", metavar="DIR", default="/tmp", show_default=True,
    help="Where the private folder of the daemon's socket is made.",
)  # fmt: skip
@click.option(
    "--serve-option", metavar="OPTION", multiple=True,
    help="For the daemon, as in --serve-option=--threads=16. May be given several times.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Write over an existing FILE.")
def new(
    app: str,
    file: str,
    oneshot: bool,
    native: bool,
    mount: str | None,
    folder: str,
    state_dir: str,
    serve_option: tuple[str, ...],
    force: bool,
) -> None:
    """Write FILE, a CGI script that answers with APP: module:name, or what else serve takes.

    It hands each request to a daemon, which it starts; where none can live it answers by itself.
    """
    from gatebridge.environ.build import Builder
    from gatebridge.shim import one_shot, write

    Builder(mount)  # each request would refuse what is no path
    if oneshot:
        if native or serve_option:
            raise UseError("shim.kind", "--oneshot has no daemon: no --native, no --serve-option")
        write(file, one_shot(app, folder, mount), force)
    else:
        _check_options(app, serve_option)
        write(file, _relay(app, file, native, mount, folder, state_dir, serve_option), force)
    click.echo(f"wrote {os.path.abspath(file)}")
    for line in _next(os.path.abspath(file)):
        click.echo(line)


def _next(path: str) -> Iterator[str]:
    """What is still to be done for a page, and where it will be."""
    folder, name = os.path.split(path)
    if folder == DEBIAN and os.path.isdir(_APACHE) and not glob.glob(f"{_APACHE}/cgi*.load"):
        yield "then  a2enmod cgid && systemctl restart apache2"
    if os.path.basename(folder) == "cgi-bin":
        host = "localhost" if folder == DEBIAN else "YOUR.HOST"
        yield f"page  http://{host}/cgi-bin/{quote(name)}/"
    else:
        yield "then  put it where the web server runs CGI scripts, readable for the server's user"
    yield f"else  {shlex.join([*program_words(), 'shim', 'check', path])}"


def _relay(
    app: str,
    file: str,
    native: bool,
    mount: str | None,
    folder: str,
    base: str,
    options: Sequence[str],
) -> str | bytes:
    from gatebridge.relay_text import bake, check_base, relay_text

    if os.path.basename(file).startswith("nph-"):
        why = "servers pass on what a script of this name writes as it is"
        raise ConfigError("shim.nph", f"{file}: {why}: choose another name, or --oneshot")
    base = base.rstrip("/") or "/"
    check_base(base, file)
    baked = bake(app, folder, mount, base, options)
    return _native(baked, app) if native else relay_text(baked, app)


def _native(baked: Baked, app: str) -> str | bytes:
    """The relay in C; in Python, with the reason, where none can be built."""
    from gatebridge.relay_build import native
    from gatebridge.relay_text import relay_text

    try:
        return native(baked)
    except ConfigError as error:
        if error.code not in _NATIVE:
            raise
        click.echo(f"gatebridge: {error}; so this is the Python relay", err=True)
        return relay_text(baked, app)


def _check_options(app: str, options: Sequence[str]) -> None:
    """What is wrong with them is told now, not by a daemon that nobody sees."""
    from gatebridge.config import resolve

    asked = read_words([app, *options])
    for name in _OURS:
        if name in asked.flags:
            text = f"--{name.replace('_', '-')}"
            raise UseError("shim.option", f"{text} of the daemon is the relay's to say")
    resolve(asked)


def read_words(words: Sequence[str]) -> Asked:
    """What a command line of serve asks for. words: APP and options. raises UseError"""
    parser = click.command("serve", add_help_option=False)(
        with_configuration(lambda **values: None)
    )
    try:
        values = parser.make_context("serve", list(words)).params
        return read_asked(values.pop("app"), values.pop("config"), values)
    except click.ClickException as error:
        raise UseError("shim.option", error.format_message()) from error


@command.command("check")
@click.argument("file", metavar="FILE")
def check(file: str) -> None:
    """Say what FILE would do for a request of this user, and why; exit status 6 for a problem.

    Run it as the user that the web server runs scripts as.
    """
    from gatebridge.shim_check import examine

    findings = list(examine(file))
    width = max(len(finding.about) for finding in findings)
    for finding in findings:
        mark = "PROBLEM " if finding.wrong else ""
        click.echo(f"{finding.about:<{width}}  {mark}{finding.text}")
    if any(finding.wrong for finding in findings):
        sys.exit(PROBLEMS)
