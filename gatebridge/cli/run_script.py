"""gatebridge run-script: an old .fcgi script, unchanged."""

from __future__ import annotations

import click

from gatebridge.compat.script import run_script


@click.command(
    "run-script",
    short_help="Run an old .fcgi script of flup's on this engine.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "-b",
    "--bind",
    metavar="BIND",
    default="",
    help="Where it listens, as in unix:/run/hg.sock?mode=0660, if it says no bindAddress and "
    "no web server or spawn-fcgi hands it a socket.",
)
@click.argument("file", metavar="FILE")
@click.argument("words", metavar="[WORDS]", nargs=-1, type=click.UNPROCESSED)
def command(bind: str, file: str, words: tuple[str, ...]) -> None:
    """Run FILE as Python would, but on this engine where it imports flup's.

    That is flup, flipflop, and CGIHandler of wsgiref.handlers. It answers whatever has started
    it: FastCGI on descriptor 0 (mod_fcgid, lighttpd, spawn-fcgi), a CGI request, or the
    bindAddress that it says itself. As a first line: #!/usr/bin/env -S gatebridge run-script
    """
    run_script(file, words, bind)
