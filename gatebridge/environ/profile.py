"""Which server is in front, and the rows about paths that its requests go through. Cold set."""

from gatebridge.environ.case import FRONTS, UNKNOWN, Case, Front
from gatebridge.environ.quirks import OTHER, ROWS, SAME, Row

_SAME = tuple(row for row in ROWS if row.kind == SAME)
_OTHER = tuple(row for row in ROWS if row.kind == OTHER)


def locate(case: Case) -> Row | None:
    """Set case.script and case.info right by the first row that applies, if one does."""
    for row in _SAME if case.agrees else _OTHER:
        if row.detect(case):
            row.fix(case)
            return row
    return None


_SIGNS = (
    ("nginx", "nginx"),
    ("openresty", "nginx"),
    ("tengine", "nginx"),
    ("apache", "apache"),
    ("lighttpd", "lighttpd"),
    ("caddy", "caddy"),
    ("haproxy", "haproxy"),
    ("h2o", "h2o"),
    ("microsoft-iis", "iis"),
)
BY_NAME = {front.name: front for front in FRONTS}


def recognise(software: str) -> Front:
    """The server behind a SERVER_SOFTWARE, which only the server itself can write."""
    lower = software.lower()
    for sign, name in _SIGNS:
        if lower.startswith(sign):
            return BY_NAME[name]
    return UNKNOWN
