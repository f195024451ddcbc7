"""Settings fields as click options."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import TYPE_CHECKING, Any

import click

from gatebridge.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., Any]

_NAMED = {int: int, float: float, str: str, bool: bool}


def flag(name: str) -> str:
    """The option's name on a command line."""
    return "--" + name.replace("_", "-")


def with_settings(command: Command) -> Command:
    """Add an option for every field of Settings; what is not given arrives as None."""
    hints = typing.get_type_hints(Settings)
    for field in reversed(dataclasses.fields(Settings)):
        command = _option(field, hints[field.name])(command)
    return command


def _option(field: dataclasses.Field[Any], hint: Any) -> Callable[[Command], Command]:
    about = field.metadata
    names = [flag(field.name)]
    if about["short"]:
        names.insert(0, about["short"])
    if hint is bool:
        names = [f"{flag(field.name)}/--no-{field.name.replace('_', '-')}"]
        return click.option(*names, default=None, help=_help(field))
    multiple = typing.get_origin(hint) is tuple
    kind: Any = str
    if about["choices"]:
        kind = click.Choice(about["choices"])
    elif not multiple:
        plain = [part for part in typing.get_args(hint) if part is not types.NoneType] or [hint]
        kind = _NAMED[plain[0]]
    return click.option(
        *names,
        type=kind,
        multiple=multiple,
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
