"""Settings fields as click options, and what a command line asks for."""

from __future__ import annotations

import dataclasses
import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from gatebridge.config import CMD_ARGS, Asked, flag
from gatebridge.config.routes import with_target
from gatebridge.serve.privileges import start_folder
from gatebridge.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = Callable[..., Any]

APP_HELP = (
    "APP is module:callable, module:factory() or a Python file, as in shop.wsgi:application, or "
    "cgi:PATH, warm:PATH, inproc:PATH or static:DIR, as in cgi:/srv/cgi-bin/, or a back end's "
    "address, as in http://127.0.0.1:8001 or fcgi+unix:/run/php/fpm.sock?root=/srv/www."
)


def with_configuration(command: Command) -> Command:
    """Add APP, -c and an option for every field of Settings; the texts arrive as typed."""
    return click.argument("app", metavar="[APP]", default="")(with_settings(command))


def with_settings(command: Command) -> Command:
    """The same without APP."""
    for field in reversed(dataclasses.fields(Settings)):
        command = _option(field)(command)
    return click.option(
        "-c", "--config", default="", metavar="FILE", help="A gatebridge.toml; see docs/config.md."
    )(command)


def read_asked(app: str, config: str, given: Mapping[str, Any]) -> Asked:
    """What the command line and the environment ask for. raises click.UsageError"""
    arguments, given = _cmd_args(), dict(given)
    named = str(arguments.pop("config", ""))
    file = config or named
    mounts = _with_target(arguments, given)
    if not app and not file and not mounts:
        raise _misused("Missing argument 'APP', or -c FILE that names it.")
    if file:  # a reload follows a symbolic link of the start folder anew
        file = os.path.join(start_folder(), file)
    return Asked(
        app=app,
        file=file,
        flags=_given(given),
        cmd_args=arguments,
        environ=dict(os.environ),
        mounts=mounts,
    )


def _with_target(*said: dict[str, Any]) -> tuple[str, ...]:
    """Every --mount /x=TARGET. What is left there is the front server's path, the last one."""
    mounts: list[str] = []
    for values in said:
        texts = values.pop("mount", None) or ()
        mounts += [text for text in texts if with_target(text)]
        plain = [text for text in texts if not with_target(text)]
        if plain:
            values["mount"] = plain[-1]
    return tuple(mounts)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without the options that were not given."""
    return {name: value for name, value in values.items() if value not in (None, ())}


def _cmd_args() -> dict[str, Any]:
    """The options in GATEBRIDGE_CMD_ARGS, read as the command line is."""
    text = os.environ.get(CMD_ARGS, "")
    if not text:
        return {}
    parser = click.command(CMD_ARGS, add_help_option=False)(
        with_configuration(lambda **values: None)
    )
    try:
        values = parser.make_context(CMD_ARGS, shlex.split(text)).params
    except click.ClickException as error:
        raise _misused(f"{CMD_ARGS}: {error.format_message()}") from error
    except ValueError as error:  # a quotation without an end
        raise _misused(f"{CMD_ARGS}: {error}") from error
    if values.pop("app"):
        raise _misused(f"{CMD_ARGS} holds options, and no APP.")
    return _given(values)


def _misused(sentence: str) -> click.UsageError:
    return click.UsageError(sentence, click.get_current_context(silent=True))


def _option(field: dataclasses.Field[Any]) -> Callable[[Command], Command]:
    about = field.metadata
    names = [about["short"]] if about["short"] else []
    if field.type == "bool":
        both = f"{flag(field.name)}/{flag(field.name, off=True)}"
        return click.option(*names, both, default=None, help=_help(field))
    return click.option(
        *names,
        flag(field.name),
        type=click.Choice(about["choices"]) if about["choices"] else str,
        multiple=isinstance(field.default, tuple) or field.name == "mount",
        default=None,
        metavar=about["placeholder"] or None,
        help=_help(field),
    )


def _help(field: dataclasses.Field[Any]) -> str:
    default = default_text(field)
    text: str = field.metadata["help"]
    return f"{text}  [default: {default}]" if default else text


def default_text(field: dataclasses.Field[Any]) -> str:
    """A default as the help and the documentation show it."""
    value: Any = field.default
    if isinstance(value, tuple):
        return " ".join(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == "":
        return ""
    unit = field.metadata["unit"]
    if unit == "bytes":
        for size, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
            if value >= size and value % size == 0:
                return f"{value // size} {name}"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}" if unit in ("s", "bytes") else text
