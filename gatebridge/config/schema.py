"""gatebridge.toml as JSON Schema, for editors that complete and check."""

from __future__ import annotations

from typing import Any

from gatebridge.config.document import TABLES
from gatebridge.config.routes import CONCURRENCY_MOST, MODES, ROUTE_NAME
from gatebridge.config.values import NAME, OPTIONS, RLIMITS
from gatebridge.settings import WORKERS_MOST
from gatebridge.units import SIZE_UNITS, TIME_UNITS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TARGET: Schema = {
    **_TEXT,
    "description": "module:callable, a file, cgi:PATH, static:DIR, http://HOST:PORT, …",
}
_TEXTS: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]}


def schema() -> Schema:
    """The whole file."""
    tables = {table: _table(names) for table, names in TABLES.items()}
    own = {
        name: {"$ref": f"#/properties/{OPTIONS[name].metadata['table']}/properties/{name}"}
        for name in OPTIONS
        if not OPTIONS[name].metadata["daemon"]
    }
    of_pool = {table: _of_pool(names, own) for table, names in TABLES.items()}
    for name in own.keys() & of_pool.keys():  # reload is an option, and a table
        of_pool[name] = {"anyOf": [own[name], of_pool[name]]}
    hosted = {"app": {"$ref": "#/$defs/app"}, "route": {"$ref": "#/$defs/route"}}
    pool = _object({**hosted, **own, **of_pool})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gatebridge.toml",
        **_object({**hosted, **tables, "pool": _pools()}),
        "$defs": {"app": _app(), "route": _routes(), "pool": pool},
    }


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _table(names: list[str]) -> Schema:
    return _object({name: _option(name) for name in names})


def _of_pool(names: list[str], own: dict[str, Schema]) -> Schema:
    return _object({name: own[name] for name in names if name in own})


def _pools() -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {f"^{NAME.pattern}$": {"$ref": "#/$defs/pool"}},
    }


def _app() -> Schema:
    mount = {**_TEXT, "description": 'The prefix of its paths; "/" for the rest.'}
    one = _object({"mount": mount, "target": _TARGET, **_of_any()})
    many = {"type": "array", "items": {**one, "required": ["target"]}}
    return {"anyOf": [_TEXT, many], "description": "The application, or several with mounts."}


def _routes() -> Schema:
    match = {**_TEXT, "description": '"/x" a prefix, "= /x" one path, "~ REGEX" a pattern.'}
    name = {"type": "string", "pattern": f"^{ROUTE_NAME.pattern}$"}
    common = {"match": match, "name": name, **_of_any()}
    sides = {"legacy": _TARGET, "new": _TARGET, "mode": {"enum": list(MODES)}}
    plain = {**_object({**common, "target": _TARGET}), "required": ["match", "target"]}
    moves = {**_object({**common, **sides}), "required": ["match", "legacy", "new"]}
    return {"type": "array", "items": {"anyOf": [plain, moves]}}


def _of_any() -> dict[str, Schema]:
    """What both kinds may say. A timeout of 0 cannot be refused where it has a unit."""
    timeout = _with_units("number", TIME_UNITS, 0)
    return {
        "host": _TEXT,
        "methods": _TEXTS,
        "timeout": timeout,
        "limit_body": _with_units("integer", SIZE_UNITS, 0),
        "concurrency": {"type": "integer", "minimum": 1, "maximum": CONCURRENCY_MOST},
    }


def _option(name: str) -> Schema:
    field = OPTIONS[name]
    found: Schema = {"description": field.metadata["help"], **_kind(name)}
    if field.default is not None:
        found["default"] = field.default
    return found


def _kind(name: str) -> Schema:
    field = OPTIONS[name]
    about = field.metadata
    if about["choices"]:
        return {"enum": list(about["choices"])}
    if field.type == "bool":
        return {"type": "boolean"}
    if field.type == "float":
        return _with_units("number", TIME_UNITS, about["least"])
    if about["unit"] == "bytes":
        return _with_units("integer", SIZE_UNITS, about["least"])
    if field.type == "int":
        most = {} if about["most"] is None else {"maximum": about["most"]}
        return {"type": "integer", "minimum": about["least"], **most}
    return _text_kind(name)


def _text_kind(name: str) -> Schema:
    if name == "workers":
        number = {"type": "integer", "minimum": 1, "maximum": WORKERS_MOST}
        return {"anyOf": [number, {"type": "string", "pattern": "^(auto|[1-9][0-9]*)$"}]}
    if name == "env":
        table = {"type": "object", "additionalProperties": _TEXT}
        return {"anyOf": [*_TEXTS["anyOf"], table]}
    if name == "rlimit":
        limit = {"type": ["integer", "string"]}
        return {"anyOf": [*_TEXTS["anyOf"], _object(dict.fromkeys(RLIMITS, limit))]}
    if OPTIONS[name].metadata["commas"] or OPTIONS[name].type == "tuple[str, ...]":
        return _TEXTS
    return _TEXT


def _with_units(kind: str, units: tuple[str, ...], least: int) -> Schema:
    pattern = rf"^[0-9]+(\.[0-9]+)?( ?({'|'.join(units)}))?$"
    return {"anyOf": [{"type": kind, "minimum": least}, {"type": "string", "pattern": pattern}]}
