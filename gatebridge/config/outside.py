"""What is said outside of the file: by the environment and by flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.config.said import Layer, Place, Problem, Said
from gatebridge.config.values import OPTIONS, Wrong, from_text

if TYPE_CHECKING:
    from collections.abc import Mapping

Typed = str | bool | tuple[str, ...]  # what a flag gives before anybody has read it

CMD_ARGS = "GATEBRIDGE_CMD_ARGS"
PREFIX = "GATEBRIDGE_"
# What platforms set for any server. PORT is for a daemon of one pool.
HABITS = {
    "WEB_CONCURRENCY": "workers",
    "FORWARDED_ALLOW_IPS": "forwarded_allow_ips",
    "PORT": "bind",
}


def flag(name: str, off: bool = False) -> str:
    """The option's name on a command line."""
    return ("--no-" if off else "--") + name.replace("_", "-")


def variable(name: str) -> str:
    """The option's name in the environment."""
    return PREFIX + name.upper()


def from_flags(given: Mapping[str, Typed], before: str, problems: list[Problem]) -> Layer:
    """before: what stands before a flag where it is not on the command line"""
    layer: Layer = {}
    for name, typed in given.items():
        place = Place(before + flag(name, off=typed is False))
        _say(layer, name, typed, place, problems)
    return layer


def from_variables(environ: Mapping[str, str], problems: list[Problem]) -> Layer:
    """GATEBRIDGE_<OPTION>; an empty one says nothing."""
    layer: Layer = {}
    for name in OPTIONS:
        text = environ.get(variable(name), "")
        if text:
            _say(layer, name, text, Place(variable(name)), problems)
    return layer


def from_habits(environ: Mapping[str, str], problems: list[Problem]) -> Layer:
    layer: Layer = {}
    for habit, name in HABITS.items():
        text = environ.get(habit, "").strip()
        if text and habit == "PORT":
            text = f"http://127.0.0.1:{text}"
        if text:
            _say(layer, name, text, Place(habit), problems)
    return layer


def odd_variables(environ: Mapping[str, str]) -> list[str]:
    """Names that look like a slip. Others begin like ours and mean something else."""
    import difflib

    known = {CMD_ARGS, *map(variable, OPTIONS)}
    odd = []
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.9)
            odd += [f"{name} is no option's; did you mean {one}?" for one in near]
    return odd


def _say(layer: Layer, name: str, typed: Typed, place: Place, problems: list[Problem]) -> None:
    try:
        layer[name] = Said(from_text(name, typed), place)
    except Wrong as error:
        layer[name] = Said(OPTIONS[name].default, place, sound=False)
        problems += [Problem(place, reason) for _, reason in error.reasons]
