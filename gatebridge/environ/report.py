"""What became of a request's variables and why, in values that JSON has: `gatebridge explain`.

A report is made beside the request, from its variables as they came, never in its way:

    front     {"name", "software"}: whose rows were applied
    settings  what the Builder was asked for
    role      FastCGI's number
    body      {"bytes": what had come, "complete", "doubtful", "length"}; a length null is unknown
    added     variables that gatebridge's own HTTP listener makes
    received  [[name, value], ...] as they came, in order and with duplicates
    environ   name -> text that the application gets
    others    name -> a description of what is no text
    changes   [{"name", "before", "after", "row", "reason", "source"}, ...]; null for absent
    refused   {"code", "error"} of a request that is answered 400; else null
"""

from gatebridge.environ.build import Builder
from gatebridge.environ.changes import build_noting
from gatebridge.environ.quirks import ROWS
from gatebridge.errors import PeerError
from gatebridge.wire.request import (
    AUTHORIZER,
    FILTER,
    RESPONDER,
    UNKNOWN_LENGTH,
    Pairs,
    Request,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gatebridge.environ.changes import Change

    Report = dict[str, Any]

STEPS = {  # what changes variables beside the rows of quirks.py: name -> (reason, source)
    "default": (
        "An application may rely on this variable, and the server sent none or an empty one.",
        "PEP 3333, environ variables",
    ),
    "mount": (
        "The operator says with --mount where the application begins.",
        "docs/environ.md, SCRIPT_NAME and PATH_INFO",
    ),
    "forwarded": (
        "A peer in forwarded_allow_ips wrote it into a forwarded header, so it is believed.",
        "docs/environ.md, Who is asking",
    ),
    "route": (
        "The routing table gave the request to an application below this path.",
        "docs/routes.md; PEP 3333, SCRIPT_NAME and PATH_INFO",
    ),
    "length-read": (
        "The server told no length, so the body was read to its end and counted first.",
        "docs/environ.md, The length of the body",
    ),
    "application": (
        "The application, or what it is wrapped in, changed it.",
        "seen in the environ afterwards",
    ),
}
_ROLES = {"authorizer": AUTHORIZER, "filter": FILTER}
_ADDED = ("SERVER_NAME", "SERVER_PORT", "SERVER_SOFTWARE", "REMOTE_ADDR", "REMOTE_PORT")

LISTENERS: dict[str, Builder] = {}  # of this process, by what environ["gatebridge.bind"] says

_REASONS = {row.name: (row.reason, row.source) for row in ROWS} | STEPS


def report(builder: Builder, request: Request, added: dict[str, str]) -> "Report":
    """Explain a request, which may have been built already and stays as it is.

    added  variables that our own HTTP listener makes
    """
    received = request.pairs.all()
    vars: dict[str, object] = {**dict(received), **added}
    copy = _with_vars(request, vars)
    texts = {name: str(value) for name, value in vars.items()}
    front = builder.front_of(texts)
    changes: list[Change] = []
    length, refused = UNKNOWN_LENGTH, None
    try:
        _, length, changes = build_noting(builder, copy)
    except PeerError as error:
        refused = {"code": error.code, "error": error.detail}
        vars.clear()
    return {
        "front": {"name": front.name, "software": texts.get("SERVER_SOFTWARE", "")},
        "settings": settings_of(builder),
        "role": request.role,
        "body": {
            "bytes": len(request.body),
            "complete": request.complete,
            "doubtful": request.doubtful,
            "length": None if length == UNKNOWN_LENGTH else length,
        },
        "added": dict(added),
        "received": [[name, value] for name, value in received],
        "environ": {name: value for name, value in vars.items() if isinstance(value, str)},
        "others": {name: shown(value) for name, value in vars.items() if type(value) is not str},
        "changes": [_line(one.row, one.name, one.before, one.after) for one in changes],
        "refused": refused,
    }


def _with_vars(request: Request, vars: dict[str, object]) -> Request:
    """A copy of it that may be built."""
    return Request(
        request.id,
        vars,
        request.repeated,
        request.pairs,
        request.role,
        request.body,
        request.complete,
        request.doubtful,
    )


def settings_of(builder: Builder) -> "Report":
    mount, front, trusted, forwarded, checked_user = builder.settings
    return {
        "mount": mount,
        "front": front,
        "trusted": list(trusted),
        "forwarded": list(forwarded),
        "checked_user": checked_user,
    }


def explain(environ: "dict[str, Any]") -> "Report | None":
    """The report of a request that is being served here, from its environ; None for no such.

    What the rows do not explain was done by the routing table, the application or, to a body of
    unknown length, by us.
    """
    pairs, bind = environ.get("gatebridge.params"), environ.get("gatebridge.bind")
    builder = LISTENERS.get(str(bind))
    if builder is None or not isinstance(pairs, Pairs):
        return None
    names = dict(pairs.all())
    added = {}
    if environ.get("gatebridge.protocol") == "http":
        added = {name: str(environ[name]) for name in _ADDED if name in environ.keys() - names}
    role = _ROLES.get(str(environ.get("gatebridge.role")), RESPONDER)
    request = Request(1, {}, len(names) != len(pairs), pairs, role)
    told = report(builder, request, added)
    told["route"] = str(environ.get("gatebridge.route", ""))
    texts = {name: value for name, value in environ.items() if isinstance(value, str)}
    for name in [*told["environ"], *texts]:
        if "." not in name:
            change(told, _who(name, told["route"]), name, texts.get(name))
    for name, value in environ.items():
        put_other(told, name, value)
    return told


def _who(name: str, route: str) -> str:
    if name in ("CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"):
        return "length-read"
    return "route" if route and name in ("SCRIPT_NAME", "PATH_INFO") else "application"


def put_other(told: "Report", name: str, value: object) -> None:
    """A value that is no variable: gatebridge, or who came after it, put it there."""
    told["environ" if isinstance(value, str) else "others"][name] = shown(value)


def change(told: "Report", row: str, name: str, after: str | None) -> None:
    """Put one more change into a report: it came after those that are there."""
    environ: dict[str, str] = told["environ"]
    before = environ.get(name)
    if before == after:
        return
    if after is None:
        del environ[name]
    else:
        environ[name] = after
    told["changes"].append(_line(row, name, before, after))


def _line(row: str, name: str, before: str | None, after: str | None) -> "Report":
    reason, source = _REASONS[row]
    return {
        "name": name,
        "before": before,
        "after": after,
        "row": row,
        "reason": reason,
        "source": source,
    }


def shown(value: object) -> str:
    """A value of an environ: simple ones as Python writes them, else what it is called."""
    if value is None or isinstance(value, (bool, int, float, tuple)):
        return repr(value)
    if isinstance(value, str):
        return value
    kind = value if hasattr(value, "__qualname__") else type(value)
    module, name = getattr(kind, "__module__", ""), getattr(kind, "__qualname__", "")
    return f"<{module}.{name}>"
