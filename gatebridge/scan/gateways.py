"""Old servers of WSGI applications in a script: flup, flipflop, wsgiref's CGIHandler."""

from __future__ import annotations

import ast

from gatebridge.scan.python_calls import REDIRECTED, SERVERS

_OF_BOTTLE: dict[object, str] = {  # server= of bottle.run
    "FlupFCGIServer": "flup.server.fcgi.WSGIServer",
    "FlupSCGIServer": "flup.server.scgi.WSGIServer",
    "flup": "flup.server.fcgi.WSGIServer",
}
_PACKAGES = frozenset({"flup", "flup.client", "flup.server"})


def is_server(dotted: str) -> bool:
    """A class of REDIRECTED that serves applications."""
    return dotted in SERVERS and dotted.endswith(".WSGIServer")


def of_a_star(node: ast.ImportFrom) -> str:
    """What WSGIServer stands for after ``from flup.server.fcgi import *``; "" for nothing."""
    dotted = f"{node.module}.WSGIServer"
    return dotted if node.names[0].name == "*" and is_server(dotted) else ""


def of_bottle(node: ast.Call) -> str:
    """The server of flup's that bottle.run(server=…) starts, or ""."""
    for word in node.keywords:
        if word.arg == "server":
            value = word.value
            names = (getattr(value, key, None) for key in ("value", "attr", "id"))
            return next((_OF_BOTTLE[name] for name in names if name in _OF_BOTTLE), "")
    return ""


def lacking(dotted: list[str]) -> list[str]:
    """Modules of flup's among them that gatebridge.compat has not."""
    return [one for one in dotted if one.startswith("flup.") and one not in REDIRECTED | _PACKAGES]


def redirected(node: ast.Import | ast.ImportFrom) -> str:
    """The line that imports the same from gatebridge, "" where there is nothing to gain."""
    if isinstance(node, ast.ImportFrom):
        bound = {alias.name for alias in node.names}
        whole = {f"{node.module}.{name}" for name in bound}
        theirs = node.module in REDIRECTED and (
            node.module != "wsgiref.handlers" or "CGIHandler" in bound
        )
        if node.level or not (theirs or whole & REDIRECTED):
            return ""
        return f"from gatebridge.compat.{node.module} import {_as_written(node.names)}"
    ours = [alias for alias in node.names if alias.name in REDIRECTED]
    if not ours:
        return ""
    moved = [ast.alias(f"gatebridge.compat.{one.name}", one.asname) for one in ours]
    bare = {one.name.partition(".")[0] for one in ours if not one.asname}
    more = f"; from gatebridge.compat import {', '.join(sorted(bare))}" if bare else ""
    return f"import {_as_written([one for one in node.names if one not in ours] + moved)}{more}"


def _as_written(names: list[ast.alias]) -> str:
    return ", ".join(f"{one.name} as {one.asname}" if one.asname else one.name for one in names)
