"""gatebridge route: who answers which path, and who shall from now on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click

from gatebridge.cli.asking import configuration_of, with_daemon
from gatebridge.cli.screen import amount
from gatebridge.errors import GatebridgeError, UseError
from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from gatebridge.cli.asking import Daemon
    from gatebridge.control_client import Answer

_TYPED_WRONG = ("route.unknown", "route.which", "route.one_target", "route.malformed")
NOBODY = 1  # exit status: the path would be answered 404 or 405

_json = click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
_pool = click.option("--pool", default="", metavar="NAME", help="Where there are several pools.")


@click.group("route", short_help="Show routes, and switch them between legacy and new.")
def command() -> None:
    """Show which application answers which path, and switch routes that have a legacy and a new
    side: from the next request on, without a restart of anything.

    Exit codes: 0 done, 1 it could not, 2 no such route, 7 no daemon answers.
    """


@command.command("list")
@_json
@with_daemon()
def list_(daemon: Daemon, as_json: bool) -> None:
    """List all routes. Without a daemon, what the file that -c names says."""
    routes = _routes(daemon)
    if as_json:
        click.echo(json.dumps(routes, indent=2))
        return
    several = len({route.get("pool") for route in routes}) > 1
    rows = [["route", "mode", "answers", "other side", "legacy/new requests"]]
    rows += [_row(route, several) for route in routes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row, route in zip(rows, [{}, *routes], strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())
        for note in _notes(route):
            click.echo(f"  {note}")


def _row(route: Answer, with_pool: bool) -> list[str]:
    requests = route.get("requests")
    return [
        _name(route, with_pool),
        escape(str(route.get("mode", ""))),
        escape(_answering(route)),
        escape(_other(route)),
        "/".join(map(str, requests)) if isinstance(requests, list) else "",
    ]


def _notes(route: Answer) -> list[str]:
    found = []
    if route.get("not_loaded"):
        other = "legacy" if route.get("mode") == "new" else "new"
        found.append(escape(f"the {other} side did not load: {route['not_loaded']}"))
    if route.get("mode") != route.get("said"):
        found.append(f"gatebridge.toml says {escape(str(route.get('said')))}")
    return found


@command.command("explain")
@click.argument("path", metavar="PATH")
@click.option("--host", default="", metavar="HOST", help="As the client asks for it.")
@click.option("--method", default="GET", metavar="METHOD", show_default=True)
@_pool
@_json
@with_daemon()
def explain(daemon: Daemon, path: str, host: str, method: str, pool: str, as_json: bool) -> None:
    """Tell who would answer PATH, and why. Without a daemon, as the file that -c names says.

    PATH is what lies below the front server's --mount. Exit code 1 if nobody would.
    """
    if not path.startswith("/"):
        raise UseError("route.path", f"{path!r}: a path as in /shop/order")
    plain = unquote(path.partition("?")[0], errors="surrogateescape")
    routes = _routes(daemon)
    names = list(dict.fromkeys(str(route.get("pool")) for route in routes))
    if pool and pool not in names:
        raise UseError("pool.which", f"no pool {pool!r}; there are {', '.join(names)}")
    found = [_explain(routes, name, host, method.upper(), plain) for name in names
             if pool in ("", name)]  # fmt: skip
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for one in found:
            _say(one, path, several=len(names) > 1)
    if not any(one["route"] for one in found):
        click.get_current_context().exit(NOBODY)


def _explain(routes: list[Answer], pool: str, host: str, method: str, path: str) -> Answer:
    from gatebridge.routing.rule import parse_rule
    from gatebridge.routing.table import Route, Table

    mine = [route for route in routes if route.get("pool") == pool]
    rules = [parse_rule(route["match"], route["host"], route["methods"]) for route in mine]
    table = Table([Route(rule, _nobody) for rule in rules])
    found, why = table.find(host, method, path)
    for route, one in zip(mine, table.routes, strict=True):
        if one is found:
            return {"pool": pool, "route": route, "answers": _answering(route), "why": why}
    return {"pool": pool, "route": None, "answers": "", "why": why}


def _nobody(environ: object, start_response: object) -> list[bytes]:
    """Stands for every application: only the rules are looked at."""
    return []


def _say(found: Answer, path: str, several: bool) -> None:
    route = found["route"]
    if route is None:
        where = f" in pool {escape(found['pool'])}" if several else ""
        click.echo(escape(f"{path}: nobody{where}: {found['why']}"))
        return
    side = f" ({route['mode']} side)" if route.get("new") else ""
    click.echo(escape(f"{path}: {found['answers']}{side}"))
    where = f"pool {found['pool']}, " if several else ""
    click.echo(escape(f"  {where}{found['why']}"))
    limits = _limits(route)
    if limits:
        click.echo(f"  at most {', '.join(limits)}")


def _limits(route: Answer) -> list[str]:
    found = []
    if route.get("timeout"):
        found.append(f"{float(route['timeout']):g} s")
    if int(route.get("limit_body", -1)) >= 0:
        found.append(f"{amount(int(route['limit_body']))} of body")
    if route.get("concurrency"):
        found.append(f"{route['concurrency']} at once in the whole daemon")
    return found


@command.command("set")
@click.argument("match", metavar="MATCH")
@click.option("--mode", required=True, type=click.Choice(["legacy", "new"]), help="Who answers.")
@click.option("--host", default="", metavar="HOST", help="Where several routes have this MATCH.")
@_pool
@_json
@with_daemon()
def set_(daemon: Daemon, match: str, mode: str, host: str, pool: str, as_json: bool) -> None:
    """Let the legacy or the new side of a route answer from the next request on.

    MATCH is the route's match, or its name. The change outlives reloads and restarts, until the
    mode in gatebridge.toml is edited.
    """
    _done(_ask(daemon, "route-set", match=match, mode=mode, host=host, pool=pool), as_json)


@command.command("rollback")
@click.argument("match", metavar="[MATCH]", default="")
@click.option("--host", default="", metavar="HOST", help="Where several routes have this MATCH.")
@_pool
@_json
@with_daemon()
def rollback(daemon: Daemon, match: str, host: str, pool: str, as_json: bool) -> None:
    """Undo the last change: of this route, else of any."""
    _done(_ask(daemon, "route-rollback", match=match, host=host, pool=pool), as_json)


def _ask(daemon: Daemon, command: str, **args: str) -> Answer:
    """raises  UseError where what was typed names no route to switch; GatebridgeError"""
    try:
        return daemon.ask(command, **args)
    except GatebridgeError as error:
        if error.code in _TYPED_WRONG:
            raise UseError(error.code, error.detail) from None
        raise


def _done(answer: Answer, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    route = answer.get("route") or {}
    already = "" if answer.get("changed", True) else " already"
    text = f"{route.get('mode', '?')} answers{already}, {_answering(route)}"
    click.echo(f"{_name(route, with_pool=False)}: {escape(text)}")


# -- routes as the daemon or the file has them


def _routes(daemon: Daemon) -> list[Answer]:
    try:
        found: list[Answer] = daemon.ask("routes").get("routes") or []
        return found
    except GatebridgeError as error:
        if not daemon.config or not error.code.startswith("connect."):
            raise
    click.echo(f"no daemon answers; this is as {daemon.config} has it", err=True)
    return _of_file(daemon.config)


def _of_file(file: str) -> list[Answer]:
    """raises  ConfigError("config.invalid"), ConfigError("route.state")"""
    from gatebridge.serve.route_commands import describe
    from gatebridge.serve.route_state import RouteState, state_path

    configuration = configuration_of(file)
    state = RouteState(state_path(configuration))
    state.read()
    return [
        describe(pool.name, app, state.mode(pool.name, app))
        for pool in configuration.pools
        for app in pool.apps
    ]


def _name(route: dict[str, Any], with_pool: bool) -> str:
    words = [str(route.get("match", "?"))]
    if route.get("host"):
        words.append(f"on {route['host']}")
    if route.get("methods"):
        words.append(f"for {', '.join(map(str, route['methods']))}")
    if with_pool:
        words.insert(0, f"{route.get('pool', '?')}:")
    if route.get("name"):
        words.append(f"({route['name']})")
    return escape(" ".join(words))


def _answering(route: dict[str, Any]) -> str:
    return str(route.get("new" if route.get("mode") == "new" else "target", "?"))


def _other(route: dict[str, Any]) -> str:
    return str(route.get("target" if route.get("mode") == "new" else "new", ""))
