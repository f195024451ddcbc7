"""What Builder.build changes in a request, one by one, each with the row that made it.

Slow on purpose: every row is asked. A test holds the result equal to that of build.
"""

from gatebridge.environ.build import Builder, body_length, name_server, refuse_method
from gatebridge.environ.case import Case
from gatebridge.environ.front import Front
from gatebridge.environ.profile import locate
from gatebridge.environ.quirks import NAME, ROWS
from gatebridge.wire.request import Request
from gatebridge.wire.scan import is_token


class Change:
    """One line of explain: the row that changed a variable. before, after: None for absent."""

    __slots__ = ("after", "before", "name", "row")

    def __init__(self, row: str, name: str, before: str | None, after: str | None) -> None:
        self.row = row
        self.name = name
        self.before = before
        self.after = after

    def __repr__(self) -> str:
        return f"Change({self.row!r}, {self.name!r}, {self.before!r}, {self.after!r})"


def build_noting(builder: Builder, request: Request) -> tuple[dict[str, object], int, list[Change]]:
    """As builder.build, and what each row, the mount, a peer's word or a default changed."""
    env: dict[str, str] = request.vars  # type: ignore[assignment]  # as in build
    front = builder.front_of(env)
    changes: list[Change] = []
    case = Case(request, env, front, builder.mount, builder.checked_user)
    for row in ROWS:
        before = dict(env)
        if row.kind == NAME and row.detect(case):
            row.fix(case)
            _note(changes, row.name, before, env)
    _explain_path(builder, env, request, front, changes)
    before = dict(env)
    length = body_length(env, request, True)
    name_server(env)
    _note(changes, "default", before, env)
    before = dict(env)
    if builder.trust is not None:
        builder.trust.apply(env, request, front)
    _note(changes, "forwarded", before, env)
    before = dict(env)
    builder.finish(request.vars, env, request)
    _note(changes, "default", before, env)
    return request.vars, length, changes


def _explain_path(
    builder: Builder,
    env: dict[str, str],
    request: Request,
    front: Front,
    changes: list[Change],
) -> None:
    copy = Case(request, dict(env), front, builder.mount)
    copy.read_path()
    row = locate(copy)
    before = dict(env)
    if not is_token(env.get("REQUEST_METHOD", "")):
        refuse_method(env, request, env.get("REQUEST_METHOD", ""))
    if "QUERY_STRING" not in env:
        env["QUERY_STRING"] = env.get("REQUEST_URI", "").partition("?")[2]
    _note(changes, "default", before, env)
    before = dict(env)
    builder.set_path(env, request, front)
    moved = "default" if builder.mount is None else "mount"
    if row is not None and (copy.script, copy.info) == (env["SCRIPT_NAME"], env["PATH_INFO"]):
        moved = row.name
    _note(changes, moved, before, env)


def _note(changes: list[Change], row: str, before: dict[str, str], after: dict[str, str]) -> None:
    for name in before:
        if after.get(name) != before[name]:
            changes.append(Change(row, name, before[name], after.get(name)))
    for name in after:
        if name not in before and "." not in name:
            changes.append(Change(row, name, None, after[name]))
