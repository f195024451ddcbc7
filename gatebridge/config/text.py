"""Configurations as TOML: the one in use with its origins, and a sample with the defaults."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from gatebridge.config.document import TABLES
from gatebridge.config.resolve import MAIN
from gatebridge.config.routes import is_app
from gatebridge.config.values import OPTIONS
from gatebridge.units import seconds, write_seconds, write_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatebridge.settings import App, Configuration, Pool, Settings

_WIDTH = 96  # of a comment

_HEAD = """\
# gatebridge.toml: gatebridge serve -c FILE reads it, gatebridge check -c FILE looks it over.
#
# Every option stands here with its default, behind a #. Times are seconds or "500ms", "30s",
# "5m", "2h", "1d"; sizes are bytes or "64KiB", "16MiB", "1GiB". The environment counts more than
# this file (GATEBRIDGE_THREADS for threads), and a flag of the command line (--threads) still more.
"""
_TAIL = """
# Further applications below paths of their own; the longest mount answers.
#[[app]]
#mount = "/admin"
#target = "admin.wsgi:application"

# An old script that moves: gatebridge route set /cgi-bin/order --mode new lets the new one answer.
#[[route]]
#match = "/cgi-bin/order"
#legacy = "cgi:/srv/cgi-bin/order.pl"
#new = "shop.order:application"
#mode = "legacy"

# Pools are workers apart, each with its bind; a pool takes any option that is above, but those of
# the whole daemon, and what it does not say is as above.
#[pool.shop]
#app = "shop.wsgi:application"
#bind = "unix:/run/gatebridge/shop.sock?mode=0660&group=www-data"
#user = "shop"
#[pool.shop.env]
#SHOP_SETTINGS = "live"
"""


def show(configuration: Configuration, with_origins: bool) -> str:
    """TOML that says the same; with_origins: who said it, in a comment behind each line."""
    origins = configuration.origins if with_origins else {}
    if [pool.name for pool in configuration.pools] == [MAIN]:
        return "\n".join(_one_pool(configuration, origins)) + "\n"
    return "\n".join(_several_pools(configuration, origins)) + "\n"


def _one_pool(configuration: Configuration, origins: dict[str, str]) -> Iterator[str]:
    (pool,) = configuration.pools
    for table, names in TABLES.items():
        yield f"[{table}]"
        yield from _options(pool.settings, names, f"pool.{pool.name}.", origins)
        yield ""
    yield from _apps(pool, "", origins)


def _several_pools(configuration: Configuration, origins: dict[str, str]) -> Iterator[str]:
    for table, names in TABLES.items():
        common = [name for name in names if OPTIONS[name].metadata["daemon"]]
        if common:
            yield f"[{table}]"
            yield from _options(configuration.settings, common, "", origins)
            yield ""
    own = [name for name in OPTIONS if not OPTIONS[name].metadata["daemon"]]
    for pool in configuration.pools:
        yield f"[pool.{_key(pool.name)}]"
        yield from _options(pool.settings, own, f"pool.{pool.name}.", origins)
        yield ""
        yield from _apps(pool, f"pool.{_key(pool.name)}.", origins)
        yield ""


def _options(
    settings: Settings, names: Iterable[str], prefix: str, origins: dict[str, str]
) -> Iterator[str]:
    for name in names:
        value = getattr(settings, name)
        if value is None:  # TOML has no word for it
            continue
        key = name if OPTIONS[name].metadata["daemon"] else prefix + name
        yield _with_origin(f"{name} = {toml_value(name, value)}", origins.get(key))


def _apps(pool: Pool, prefix: str, origins: dict[str, str]) -> Iterator[str]:
    """prefix: of the tables' names in this pool."""
    for app in pool.apps:
        header = "app" if is_app(app) else "route"
        yield _with_origin(f"[[{prefix}{header}]]", origins.get(f"pool.{pool.name}.app"))
        yield from _app(app)


def _app(app: App) -> Iterator[str]:
    """Its keys, without those that say nothing."""
    if is_app(app):
        pairs = {"mount": app.match, "target": app.target}
    elif app.new:
        pairs = {"match": app.match or "/", "legacy": app.target, "new": app.new, "mode": app.mode}
    else:
        pairs = {"match": app.match or "/", "target": app.target}
    for key, text in {**pairs, "host": app.host, "name": app.name}.items():
        if text:
            yield f"{key} = {_quoted(text)}"
    if app.methods:
        yield f"methods = [{', '.join(map(_quoted, app.methods))}]"
    for key in ("timeout", "limit_body"):
        if getattr(app, key) > (0 if key == "timeout" else -1):
            yield f"{key} = {toml_value(key, getattr(app, key))}"
    if app.concurrency:
        yield f"concurrency = {app.concurrency}"


def _with_origin(line: str, origin: str | None) -> str:
    return line if origin is None else f"{line:<48}  # {origin}"


def sample() -> str:
    """A file with every option as a comment: what it is for, and its default."""
    parts = [_HEAD]
    for table, names in TABLES.items():
        parts.append(f"\n[{table}]\n")
        for name in names:
            field = OPTIONS[name]
            text: str = field.metadata["help"]
            if field.metadata["choices"]:
                text += f" One of {', '.join(field.metadata['choices'])}."
            if field.metadata["daemon"]:
                text += " Of the whole daemon."
            value = "/app" if name == "mount" else field.default  # which has no default
            parts += [f"# {line}\n" for line in textwrap.wrap(text, _WIDTH)]
            parts.append(f"#{name} = {toml_value(name, value)}\n")
    parts.append('\n[[app]]\ntarget = "module:application"\n')
    return "".join([*parts, _TAIL])


def toml_value(name: str, value: Any) -> str:
    """An option's value as a person would write it."""
    unit = OPTIONS[name].metadata["unit"]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_quoted(item) for item in value)}]"
    if name == "workers" and value != "auto":
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if unit == "s":
        text = write_seconds(value)
        return "0" if not value else _quoted(text) if seconds(text) == value else repr(value)
    if unit == "bytes":
        return _quoted(write_size(value)) if value else "0"
    return str(value)


def _quoted(text: str) -> str:
    """A basic string. JSON's escapes are TOML's, but DEL needs one, too."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a file's odd name
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    """A pool's name as part of a header: a dot would begin another key."""
    return _quoted(name) if "." in name else name
