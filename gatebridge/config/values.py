"""One option's value: from TOML or from text, into what Settings holds."""

from __future__ import annotations

import re
import shlex
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

from gatebridge.bind import parse_bind
from gatebridge.config.said import did_you_mean
from gatebridge.environ.build import Builder
from gatebridge.environ.trust import Trust
from gatebridge.errors import ConfigError
from gatebridge.serve.env_file import parse_pair
from gatebridge.settings import WORKERS_MOST, Settings
from gatebridge.units import seconds, size

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS: dict[str, Field[Any]] = {field.name: field for field in fields(Settings)}

NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")  # of a pool
RLIMITS = ("as", "core", "cpu", "data", "fsize", "nofile", "nproc", "stack")

_MOST = {"int": (1 << 63) - 1, "float": 10**9}  # where the option names none
_WORDS = {"on": True, "true": True, "yes": True, "1": True,
          "off": False, "false": False, "no": False, "0": False}  # fmt: skip
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


Reason = tuple[tuple[str | int, ...], str]  # the keys and numbers below a value, and why


class Wrong(Exception):
    """What is wrong with a value."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


def from_toml(name: str, raw: object) -> object:
    """A value as tomllib read it. raises Wrong"""
    kind = OPTIONS[name].type
    if kind == "tuple[str, ...]":
        return _tuple(name, raw)
    return _alone(name, _scalar(name, raw))


def from_text(name: str, raw: str | bool | tuple[str, ...]) -> object:
    """A value as a flag or a variable says it; several are parted as a shell parts words.

    raises  Wrong
    """
    field = OPTIONS[name]
    if field.type == "tuple[str, ...]":
        try:
            items = tuple(shlex.split(raw)) if isinstance(raw, str) else raw
        except ValueError as error:
            raise Wrong(((), f"{raw!r}: {error}")) from None
        return _tuple(name, list(items) if isinstance(items, tuple) else items)
    if field.type == "bool" and isinstance(raw, str):
        word = raw.strip().lower()
        if word not in _WORDS:
            raise Wrong(((), f"{raw!r} is neither on nor off"))
        return _WORDS[word]
    if field.type == "int" and field.metadata["unit"] != "bytes" and isinstance(raw, str):
        if not _WHOLE.fullmatch(raw.strip()):
            raise Wrong(((), f"{raw!r} is no whole number"))
        return _alone(name, int(raw))
    return _alone(name, _scalar(name, raw))


def _alone(name: str, value: object) -> object:
    _ask(name, value, ())
    return value


def _tuple(name: str, raw: object) -> tuple[str, ...]:
    """A list of texts; one text is a list of one; env and rlimit may be tables."""
    below: list[tuple[tuple[str | int, ...], object]]
    if isinstance(raw, dict) and name in ("env", "rlimit"):
        numbers = name == "rlimit"
        below = [((key,), _pair(key, value, numbers)) for key, value in raw.items()]
    elif isinstance(raw, list):
        below = [((number,), value) for number, value in enumerate(raw)]
    else:
        below = [((), raw)]
    wrong: list[tuple[tuple[str | int, ...], str]] = []
    for at, value in below:
        if not isinstance(value, str):
            wrong.append((at, _not("a text in quotes", value)))
            continue
        try:
            _ask(name, value, at)
        except Wrong as error:
            wrong += error.reasons
    if wrong:
        raise Wrong(*wrong)
    return tuple([str(value) for _, value in below])


def _pair(key: str, value: object, numbers: bool) -> object:
    if isinstance(value, str) or (numbers and isinstance(value, int)):
        return f"{key}={value}"
    return value


def _scalar(name: str, raw: object) -> object:
    """The value of the field's type. Text holds times and sizes with units; raises Wrong"""
    field = OPTIONS[name]
    unit = field.metadata["unit"]
    kind = str(field.type)
    if kind == "bool":
        if not isinstance(raw, bool):
            raise Wrong(((), _not("true or false", raw)))
        return raw
    if kind == "float":
        return _number(raw, seconds, 'seconds, or a time as in "30s"', whole=False)
    if kind == "int" and unit == "bytes":
        return _number(raw, size, 'bytes, or a size as in "16MiB"', whole=True)
    if kind == "int":
        return _number(raw, None, "a whole number", whole=True)
    return _text(field, raw)


def _number(
    raw: object, read: Callable[[str], float] | None, what: str, whole: bool
) -> int | float:
    if isinstance(raw, str) and read is not None:
        try:
            return read(raw.strip())
        except ValueError as error:
            raise Wrong(((), str(error))) from None
    if isinstance(raw, bool) or not isinstance(raw, int if whole else (int, float)):
        raise Wrong(((), _not(what, raw)))
    return raw if whole else float(raw)


def _text(field: Field[Any], raw: object) -> str:
    if field.name == "workers" and isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    if field.metadata["commas"] and isinstance(raw, list):
        return _joined(raw)
    if not isinstance(raw, str):
        raise Wrong(((), _not("a text in quotes", raw)))
    choices = field.metadata["choices"]
    if choices and raw not in choices:
        near = did_you_mean(raw, list(choices))
        raise Wrong(((), f"{raw!r} is none of {', '.join(choices)}{near}"))
    return raw


def _joined(items: list[object]) -> str:
    wrong = [
        ((at,), _not("a text in quotes, without a comma", item))
        for at, item in enumerate(items)
        if not isinstance(item, str) or "," in item
    ]
    if wrong:
        raise Wrong(*wrong)
    return ",".join(str(item) for item in items)


def _not(what: str, raw: object) -> str:
    kinds = {bool: "a boolean", str: "a text", list: "an array", dict: "a table"}
    if isinstance(raw, (bool, str, list, dict)):
        return f"{what} is wanted, not {kinds[type(raw)]}"
    return f"{what} is wanted, not {raw}"


def _ask(name: str, value: object, at: tuple[str | int, ...]) -> None:
    """What holds beyond the type. raises Wrong"""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        reason = _out_of_range(name, value)
        if reason:
            raise Wrong((at, reason))
    if isinstance(value, str):
        bad = _CONTROL.search(value) if name != "env" else re.search("\0", value)
        if bad:
            raise Wrong((at, f"{value!r} holds a control character"))
    try:
        if name in _CHECKS and (value != "" or OPTIONS[name].default not in ("", None)):
            _CHECKS[name](str(value))
    except ConfigError as error:
        raise Wrong((at, error.detail)) from None
    except ValueError as error:
        raise Wrong((at, str(error))) from None


def _out_of_range(name: str, value: float) -> str:
    about = OPTIONS[name].metadata
    least = about["least"]
    most = about["most"] or _MOST[str(OPTIONS[name].type)]
    if least <= value <= most:
        return ""
    bounds = f"from {least} on" if value < least and not about["most"] else f"{least} to {most}"
    return f"{value} is out of range, {bounds}"


# -- one function per option whose text has a form; each raises ValueError or ConfigError


def _bind(text: str) -> None:
    from gatebridge.serve.listen import examine

    examine(parse_bind(text))


def _workers(text: str) -> None:
    number = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    if text != "auto" and not 1 <= number <= WORKERS_MOST:
        raise ValueError(f'{text!r}: "auto", or a number from 1 to {WORKERS_MOST}')


def check_mount(text: str) -> None:
    try:
        Builder(mount=text)
    except ConfigError as error:
        raise ValueError(error.detail) from None


def _peers(text: str) -> None:
    Trust(tuple([item for item in text.split(",") if item]), ())


def _clients(text: str) -> None:
    Trust(tuple([item.strip() for item in text.split(",") if item]), ())


def _path(text: str) -> None:
    if not text.startswith("/") or re.search(r"[\s?#]", text):
        raise ValueError(f"{text!r}: a path as in /status, without a query")


def _url(text: str) -> None:
    if not text.startswith("/") or re.search(r"[\s#]", text):
        raise ValueError(f"{text!r}: a path as in /warm, with or without a query")


def _umask(text: str) -> None:
    if not re.fullmatch("0?[0-7]{1,3}", text):
        raise ValueError(f"{text!r}: octal, 0 to 0777")


def _env(text: str) -> None:
    try:
        parse_pair(text)
    except ConfigError as error:
        raise ValueError(error.detail.removeprefix("--env ")) from None


def _rlimit(text: str) -> None:
    name, _, value = text.partition("=")
    if name not in RLIMITS:
        near = did_you_mean(name, list(RLIMITS))
        raise ValueError(f"{text!r} is not NAME=VALUE with one of {', '.join(RLIMITS)}{near}")
    for part in value.split(":", 1):  # the soft and the hard one
        if part not in ("unlimited", "infinity") and (seconds if name == "cpu" else size)(part) < 0:
            raise ValueError(f"{text!r}: a number from 0 on")


def _name(text: str) -> None:
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]{0,47}", text):
        raise ValueError(f"{text!r}: up to 48 letters, digits, dots, - and _")


def _send_file(text: str) -> None:
    from gatebridge.serve.send_file import parse

    parse(text)


def _log_format(text: str) -> None:
    from gatebridge.serve.access_log import compile_format

    compile_format(text)


_CHECKS: dict[str, Callable[[str], None]] = {
    "access_logformat": _log_format,
    "bind": _bind,
    "env": _env,
    "forwarded_allow_ips": _peers,
    "mount": check_mount,
    "name": _name,
    "ping_path": _path,
    "rlimit": _rlimit,
    "send_file": _send_file,
    "status_allow": _clients,
    "status_path": _path,
    "umask": _umask,
    "warmup": _url,
    "workers": _workers,
}
