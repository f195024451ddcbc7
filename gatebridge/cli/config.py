"""gatebridge config: what the options are, from where, and what a file may hold."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from gatebridge.cli.options import APP_HELP, read_asked, with_configuration
from gatebridge.config import resolve
from gatebridge.errors import UseError


@click.group("config")
def command() -> None:
    """Show the options in use, and what gatebridge.toml may hold."""


@command.command("show", epilog=APP_HELP)
@click.option("--origin", is_flag=True, help="Say behind each value who said it.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: times in seconds, sizes in bytes.")
@with_configuration
def show(app: str, config: str, origin: bool, as_json: bool, **given: Any) -> None:
    """Print what `gatebridge serve` with the same words would run with, as gatebridge.toml."""
    from gatebridge.config import text

    configuration = resolve(read_asked(app, config, given))
    if not as_json:
        click.echo(text.show(configuration, origin), nl=False)
        return
    plain = dataclasses.asdict(configuration)
    if not origin:
        del plain["origins"]
    click.echo(json.dumps(plain, indent=2))


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of gatebridge.toml, for editors."""
    from gatebridge.config.schema import schema as make

    click.echo(json.dumps(make(), indent=2))


@command.command("init")
@click.argument("file", metavar="[FILE]", default="")
def init(file: str) -> None:
    """Write a gatebridge.toml with every option, its meaning and its default as comments."""
    from gatebridge.config import text

    if not file:
        click.echo(text.sample(), nl=False)
        return
    try:
        with open(file, "x", encoding="utf-8") as new:
            new.write(text.sample())
    except FileExistsError:
        raise UseError("config.exists", f"{file} is there already; name another") from None
    except OSError as error:
        raise UseError("config.unwritable", f"{file}: {error.strerror}") from error
    click.echo(f"wrote {file}")


@command.command("from")
@click.argument("file", metavar="FILE")
def convert(file: str) -> None:
    """Print a gatebridge.toml from a uwsgi.ini or a gunicorn.conf.py.

    What has no like here stands at its end, each key with the reason, and on standard error.
    """
    from gatebridge.config import foreign, from_gunicorn, from_uwsgi

    text = foreign.read(file)
    source = from_gunicorn if file.endswith(".py") else from_uwsgi
    taken = source.convert(file, text)
    click.echo(foreign.render(file, taken), nl=False)
    for key, why in taken.left:
        click.echo(f"not taken: {key}: {why}", err=True)
