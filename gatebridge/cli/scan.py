"""gatebridge scan: which old programs lie in a folder, and how each of them can run."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING

import click

from gatebridge.cli.check import PROBLEMS
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gatebridge.scan.report import Report

_COLOURS = {"wsgi": "green", "inproc": "green", "warm": "cyan", "exec": "yellow", "none": "red"}


@click.command("scan", short_help="Tell how the old programs in a folder can run.")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="For programs, on standard output.")
@click.option("--html", metavar="FILE", default="", help="Also write a page to look at.")
@click.option("-v", "--verbose", is_flag=True, help="Show everything found in each program.")
def command(folder: str, as_json: bool, html: str, verbose: bool) -> None:
    """Read a cgi-bin and tell for each program how it can run, and what keeps it from better.

    Reads files and runs none. Modes, best first: wsgi, inproc, warm, exec. Exit status 0, or 6
    when permissions or a missing interpreter keep a program from running or make it unsafe.
    """
    from gatebridge.scan.report import as_data, lines, summary

    report = _scan(folder)
    if html:
        _write_page(report, html)
    if as_json:
        click.echo(json.dumps(as_data(report), indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        console = Console()
        console.print(_table(report, verbose))
        for line in summary(report):
            console.print(line, markup=False)
    else:
        click.echo("\n".join(lines(report)))
    if html:
        click.echo(f"gatebridge scan: wrote {html}", err=True)
    if report.problem_count:
        sys.exit(PROBLEMS)


def _scan(folder: str) -> Report:
    """With a progress bar on a terminal. raises ConfigError("scan.unreadable")"""
    from gatebridge.scan.report import scan

    try:
        if not sys.stderr.isatty():
            return scan(folder)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TextColumn("files"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=None)
            return scan(folder, lambda done, of: progress.update(task, completed=done, total=of))
    except OSError as error:
        raise ConfigError("scan.unreadable", f"{folder}: {error.strerror}") from error


def _write_page(report: Report, path: str) -> None:
    """At once or not at all. raises ConfigError("scan.html")"""
    from gatebridge.scan.page import page

    folder, name = os.path.split(os.path.abspath(path))
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        with open(fd, "w", encoding="utf-8") as file:
            file.writelines(page(report))
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, os.path.join(folder, name))
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise ConfigError("scan.html", f"cannot write {path}: {error.strerror}") from error


def _table(report: Report, is_verbose: bool) -> RenderableType:
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from gatebridge.scan.report import remarks, shown, what, why

    table = Table(box=SIMPLE, expand=True, pad_edge=False)
    table.add_column("program", overflow="fold", ratio=3)
    table.add_column("language", overflow="fold", ratio=3)
    table.add_column("mode", no_wrap=True)
    table.add_column("why, and what is wrong", overflow="fold", ratio=6)
    for item in report.programs:
        said = [Text(why(item))]
        said += [Text(shown(text), style="red") for _, text in item.problems]
        said += [Text(line, style="dim") for line in remarks(item)] if is_verbose else []
        mode = Text(item.mode.name, style=_COLOURS[item.mode.name])
        table.add_row(Text(shown(item.path)), Text(what(item)), mode, Group(*said))
    for path, (_, text) in report.folders:
        table.add_row(Text(f"{shown(path)}/"), "", "", Text(text, style="red"))
    for path, reason in report.left_out:
        table.add_row(Text(shown(path), style="dim"), "", "", Text(f"left out: {reason}", "dim"))
    return table
