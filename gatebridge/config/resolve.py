"""Defaults, file, environment and flags into one Configuration; the later ones count."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatebridge.config.clashes import between_options, between_pools
from gatebridge.config.outside import CMD_ARGS, from_flags, from_habits, from_variables
from gatebridge.config.routes import is_app, read_app, with_target
from gatebridge.config.said import DEFAULT, AppSaid, Document, Draft, Layer, Part, Place, Problem
from gatebridge.config.values import OPTIONS, Wrong
from gatebridge.errors import ConfigError
from gatebridge.settings import App, Configuration, Pool, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.config.outside import Typed

MAIN = "main"  # the pool of who names none


@dataclass(frozen=True, slots=True)
class Asked:
    """What a start was told. Resolving it again reads the file anew.

    app       "" for what the file names
    file      "" for none
    flags     options of the command line, by their names in Settings
    cmd_args  the same of GATEBRIDGE_CMD_ARGS
    mounts    further applications of the command line, each as in "/x=TARGET"
    environ   the environment at the start
    """

    app: str = ""
    file: str = ""
    flags: Mapping[str, Typed] = field(default_factory=dict)
    cmd_args: Mapping[str, Typed] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()


def resolve(asked: Asked) -> Configuration:
    """Everything a daemon is told. raises ConfigError("config.invalid") with every problem"""
    configuration, problems = examine(asked)
    if configuration is None:
        head = [f"{len(problems)} problems"] if len(problems) > 1 else []
        raise ConfigError("config.invalid", "\n".join([*head, *map(str, problems)]))
    return configuration


def examine(asked: Asked) -> tuple[Configuration | None, list[Problem]]:
    """The configuration, or what is wrong with it: first the file's problems, in its order."""
    problems: list[Problem] = []
    file = os.path.abspath(asked.file) if asked.file else ""
    document = _read(file, problems)
    broken_file = bool(problems)
    outside = _outside(asked, problems)
    several = len(document.pools) > 1
    if several:
        _refuse_for_several(asked, outside, problems)
    mounts = _mounts(asked.mounts, problems)
    drafts = []
    for name, part in (document.pools or {MAIN: Part(document.common.place)}).items():
        layer = document.common.layer | part.layer | outside
        apps = _apps(asked, part, document.common, mounts)
        if not apps and not (broken_file or asked.mounts):
            where = 'in the file app = "module:name"' if asked.file else "APP"
            problems.append(Problem(part.place, f"no application is named: {where}"))
        drafts.append(Draft(Pool(name, _settings(layer), _plain(apps)), part.place, layer, apps))
    for draft in drafts:
        problems += between_options(draft)
    problems += between_pools(drafts)
    if problems:
        return None, _in_order(problems)
    daemon = document.common.layer | outside
    pools = tuple([draft.pool for draft in drafts])
    return Configuration(pools, _settings(daemon), file, _origins(daemon, drafts)), []


def _read(file: str, problems: list[Problem]) -> Document:
    if not file:
        return Document(Part(Place("")))
    from gatebridge.config.document import read_document  # tomllib, only for who has a file

    return read_document(file, problems)


def _in_order(problems: list[Problem]) -> list[Problem]:
    """Those of the file by line, then the others; what two pools have from one place once."""
    problems = list(dict.fromkeys(problems))
    return sorted(problems, key=lambda problem: problem.place.line or 1 << 30)


def _outside(asked: Asked, problems: list[Problem]) -> Layer:
    habits = from_habits(asked.environ, problems)
    arguments = from_flags(asked.cmd_args, f"{CMD_ARGS} ", problems)
    variables = from_variables(asked.environ, problems)
    return habits | arguments | variables | from_flags(asked.flags, "", problems)


def _refuse_for_several(asked: Asked, outside: Layer, problems: list[Problem]) -> None:
    """What means one pool, where the file has more."""
    for place, text in [("APP", asked.app), *[("--mount", text) for text in asked.mounts]]:
        if text:
            reason = f"{text}: the file has several pools, each with its own application"
            problems.append(Problem(Place(place), reason))
    bind = outside.get("bind")
    if bind is None:
        return
    if bind.place.text != "PORT":
        reason = "the file has several pools, each with its own bind"
        problems.append(Problem(bind.place, reason))
    del outside["bind"]


def _settings(layer: Layer) -> Settings:
    said: dict[str, Any] = {name: one.value for name, one in layer.items()}
    return Settings(**said)


def _mounts(texts: tuple[str, ...], problems: list[Problem]) -> list[AppSaid]:
    """--mount /x=TARGET, each below its path."""
    found = []
    for text in texts:
        match, target = with_target(text) or (text, "")
        place = Place(f"--mount {text}")
        try:
            found.append(AppSaid(read_app({"mount": match, "target": target}), place))
        except Wrong as error:
            problems += [Problem(place, reason) for _, reason in error.reasons]
    return found


def _apps(asked: Asked, part: Part, common: Part, mounts: list[AppSaid]) -> list[AppSaid]:
    """What answers a pool's requests: applications, then routes, as a file would hold them.

    A mount of the command line stands before what the file has for the same requests.
    """
    if asked.app:
        return [AppSaid(App("", asked.app), Place("APP")), *mounts]
    apps = part.apps if part.apps is not None else common.apps or []
    routes = part.routes if part.routes is not None else common.routes or []
    said = {one.app.rule for one in mounts}
    kept = [one for one in [*apps, *routes] if one.app.rule not in said]
    return sorted([*kept, *mounts], key=lambda one: not is_app(one.app))


def _plain(apps: list[AppSaid]) -> tuple[App, ...]:
    return tuple([said.app for said in apps])


def _origins(daemon: Layer, drafts: list[Draft]) -> dict[str, str]:
    """Who said each value: "log_level" for the daemon's, "pool.NAME.threads" for a pool's."""
    origins = {}
    for name, option in OPTIONS.items():
        if option.metadata["daemon"]:
            origins[name] = _origin(daemon, name)
            continue
        for draft in drafts:
            origins[f"pool.{draft.pool.name}.{name}"] = _origin(draft.layer, name)
    for draft in drafts:
        origins[f"pool.{draft.pool.name}.app"] = draft.apps[0].place.text
    return origins


def _origin(layer: Layer, name: str) -> str:
    return layer[name].place.text if name in layer else DEFAULT.text
