"""gatebridge check: would a daemon come up with this?"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from gatebridge.cli.options import APP_HELP, read_asked, with_configuration
from gatebridge.config import examine
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from gatebridge.config import Asked
    from gatebridge.settings import App, Configuration, Pool

PROBLEMS = 6
_IMPORT_S = 120.0


@click.command("check", epilog=APP_HELP)
@click.option("--imports", is_flag=True, help="Import the applications, too, in a child process.")
@with_configuration
def command(app: str, config: str, imports: bool, **given: Any) -> None:
    """Check what `gatebridge serve` with the same words would run with.

    Looks at every option, and whether sockets can be bound, users exist and logs can be written.
    Starts nothing and changes nothing. Exit status 0, or 6 with one line for each problem.
    """
    asked = read_asked(app, config, given)
    problems = list(_check(asked, imports))
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        click.echo(f"gatebridge check: {count}", err=True)
        sys.exit(PROBLEMS)


def _check(asked: Asked, imports: bool) -> list[str]:
    """The problems; what is well goes to standard output."""
    from gatebridge.config.outside import odd_variables
    from gatebridge.config.system import System

    configuration, found = examine(asked)
    if configuration is None:
        return [str(problem) for problem in found]
    system = System(configuration)
    system.look()
    problems = [str(problem) for problem in system.problems]
    if imports and not problems:
        problems = _import_all(configuration)
    for note in dict.fromkeys([*system.notes, *odd_variables(asked.environ)]):
        click.echo(f"note: {note}")
    if not problems:
        for pool in configuration.pools:
            click.echo(_line(pool))
        click.echo("ok" if imports else "ok; --imports tries the applications, too")
    return problems


def _line(pool: Pool) -> str:
    settings = pool.settings
    apps = ", ".join(_app(app) for app in pool.apps)
    binds = " ".join(settings.bind)
    size = f"{settings.pm}, workers {settings.workers}, threads {settings.threads}"
    return f"pool {pool.name}: {apps}; {size}; {binds}"


def _app(app: App) -> str:
    rule = f"{app} " if str(app) != "/" else ""
    sides = f" (new: {app.new}, mode {app.mode})" if app.new else ""
    return f"{rule}{app.target}{sides}"


def _import_all(configuration: Configuration) -> list[str]:
    from gatebridge.serve.trial import run_apart

    problems = []
    for pool in configuration.pools:
        try:
            run_apart(partial(_import, pool), _IMPORT_S)
        except ConfigError as error:
            origin = configuration.origins[f"pool.{pool.name}.app"]
            problems.append(f"{origin}: {error}")
    return problems


def _import(pool: Pool) -> None:
    """As a worker does it. raises ConfigError"""
    from gatebridge.config.system import plan_of
    from gatebridge.loading import load_applications

    plan_of(pool.settings).apply()
    load_applications(pool).close()
