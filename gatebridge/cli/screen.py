"""A daemon's status as plain lines, and as tables for a terminal.

Every field is looked up with a default: the daemon may be older or newer than this program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Status = dict[str, Any]

_STATES = ("ready", "starting", "draining")
_COLOURS = {"ready": "green", "starting": "yellow", "draining": "blue", "dead": "red"}
_SLOW_S = 1.0  # a request that is older is shown in yellow
_STUCK_S = 10.0  # and in red


def amount(size: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def duration(seconds: float) -> str:
    """Seconds for a person: the two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = int(seconds)
    for size, unit, part, small in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {small}"
    return f"{whole // 60} min {whole % 60} s"


def head(status: Status) -> str:
    """The daemon in one line."""
    name = f" {escape(str(status['name']))}" if status.get("name") else ""
    build = f" ({escape(str(status['build']))})" if status.get("build") else ""
    return (
        f"gatebridge{name} pid {status.get('pid', '?')}, version {status.get('version', '?')}"
        f"{build}, up {duration(float(status.get('uptime_s', 0)))},"
        f" generation {status.get('generation', '?')}"
    )


def troubles(status: Status) -> list[str]:
    """What an operator should know first: a reload that failed, workers that do not come up."""
    found = []
    reload = status.get("reload") or {}
    if reload.get("state") == "running":
        found.append("a reload is under way")
    elif reload.get("state") == "failed":
        found.append(f"the last reload failed: {escape(str(reload.get('error', '')))}")
        found += [escape(line) for line in str(reload.get("traceback") or "").splitlines()]
    for name, pool in _pools(status):
        if pool.get("crash_loop"):
            reason = escape(str(pool.get("reason") or "its workers end at the start"))
            found.append(f"pool {name} is in a crash loop: {reason}")
    return found


def plain(status: Status) -> str:
    """All of it in lines, for pipes and logs."""
    lines = [head(status), *troubles(status)]
    for name, pool in _pools(status):
        states = pool.get("workers") or {}
        counts = ", ".join(f"{states.get(state, 0)} {state}" for state in _STATES)
        lines.append(f"pool {name} ({escape(str(pool.get('pm', 'static')))}): {counts}")
        lines.append(f"  {_load(pool)}")
        for bind in pool.get("binds") or []:
            lines.append(f"  bind {escape(str(bind.get('text', '?')))}: {_queue(bind)}")
        lines += [f"  route {_route(route)}" for route in pool.get("routes") or []]
        for worker in pool.get("workers_list") or []:
            lines.append(f"  {_worker(worker)}")
            lines += [f"    {_request(request)}" for request in worker.get("running") or []]
    return "\n".join(lines) + "\n"


def _pools(status: Status) -> list[tuple[str, Status]]:
    return [(escape(name), pool) for name, pool in (status.get("pools") or {}).items()]


def _routes(status: Status) -> list[tuple[str, Status]]:
    return [(name, route) for name, pool in _pools(status) for route in pool.get("routes") or []]


def _load(pool: Status) -> str:
    return (
        f"busy {pool.get('busy', '?')} of {pool.get('threads', '?')} threads,"
        f" waiting {pool.get('waiting', '?')}, requests {pool.get('requests', '?')},"
        f" failed {pool.get('failed', '?')}, slow {pool.get('slow', '?')},"
        f" lost log lines {pool.get('lost_lines', '?')}, forks {pool.get('forks', '?')}"
    )


def _queue(bind: Status) -> str:
    queued, most = bind.get("queued"), bind.get("backlog")
    return f"queue {'?' if queued is None else queued} of {'?' if most is None else most}"


def _route(route: Status) -> str:
    legacy, new = [*(route.get("requests") or []), "?", "?"][:2]
    text = f"{route.get('route', '?')}: {route.get('mode', '?')}, {legacy} legacy, {new} new"
    reason = route.get("not_loaded")
    other = "legacy" if route.get("mode") == "new" else "new"
    return escape(f"{text}; the {other} side did not load: {reason}" if reason else text)


def _worker(worker: Status) -> str:
    return (
        f"worker {worker.get('index', '?')} pid {worker.get('pid', '?')}"
        f" {escape(str(worker.get('state', '?')))} generation {worker.get('generation', '?')}"
        f" age {duration(float(worker.get('age_s', 0)))} requests {worker.get('requests', '?')}"
        f" rss {amount(float(worker.get('rss', 0)))}"
    )


def _request(request: Status) -> str:
    id = f" (id {escape(str(request['id']))})" if request.get("id") else ""
    age = float(request.get("age_s", 0))
    return f"{age:.1f} s  {escape(str(request.get('line', '')))}{id}"


# --- a terminal


def tables(status: Status, rates: dict[str, float] | None = None) -> RenderableType:
    """The same for a terminal. rates: requests a second by pool, where they are known."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(head(status), style="bold")]
    parts += [Text(line, style="red") for line in troubles(status)]
    parts.append(_pool_table(status, rates))
    parts += [Text(f" {name} route {_route(route)}") for name, route in _routes(status)]
    parts.append(_worker_table(status))
    return Group(*parts)


def _pool_table(status: Status, rates: dict[str, float] | None) -> Table:
    from rich.text import Text

    names = ["ready", "other", "busy", "waiting", "queue", "requests"]
    if rates is not None:
        names.append("per s")
    table = _table("pool", [*names, "failed", "slow", "forks"])
    for name, pool in _pools(status):
        states = pool.get("workers") or {}
        cells = [
            str(states.get("ready", 0)),
            str(sum(int(states.get(state, 0)) for state in _STATES[1:])),
            f"{pool.get('busy', '?')}/{pool.get('threads', '?')}",
            str(pool.get("waiting", "?")),
            "+".join(str(_or(bind.get("queued"), "?")) for bind in pool.get("binds") or []),
            str(pool.get("requests", "?")),
        ]
        if rates is not None:
            cells.append(f"{rates[name]:.1f}" if name in rates else "")
        cells += [str(pool.get(key, "?")) for key in ("failed", "slow", "forks")]
        table.add_row(Text(f"{name} ({escape(str(pool.get('pm', 'static')))})"), *map(Text, cells))
    return table


def _worker_table(status: Status) -> Table:
    """A row for each worker; its oldest request beside it, further ones below."""
    from rich.text import Text

    table = _table("worker", ["pid", "gen", "age", "requests", "rss", "busy"])
    table.add_column("state")
    table.add_column("now", overflow="ellipsis", no_wrap=True, ratio=1)
    for name, pool in _pools(status):
        for worker in pool.get("workers_list") or []:
            state = escape(str(worker.get("state", "?")))
            running = [_coloured(request) for request in worker.get("running") or []]
            table.add_row(
                Text(f"{name}/{worker.get('index', '?')}"),
                Text(str(worker.get("pid", "?"))),
                Text(str(worker.get("generation", "?"))),
                Text(duration(float(worker.get("age_s", 0)))),
                Text(str(worker.get("requests", "?"))),
                Text(amount(float(worker.get("rss", 0)))),
                Text(f"{worker.get('busy', '?')}/{worker.get('threads', '?')}"),
                Text(state, style=_COLOURS.get(state, "")),
                running[0] if running else Text("idle", style="dim"),
            )
            for request in running[1:]:
                table.add_row(*[""] * 8, request)
    return table


def _coloured(request: Status) -> RenderableType:
    from rich.text import Text

    age = float(request.get("age_s", 0))
    style = "red" if age >= _STUCK_S else "yellow" if age >= _SLOW_S else ""
    return Text(_request(request), style=style)


def _table(first: str, numbers: list[str]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, expand=True, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _or(value: object, other: object) -> object:
    return other if value is None else value
