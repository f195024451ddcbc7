"""The rows about paths that a request goes through. Cold set, but imported when needed."""

from gatebridge.environ.case import Case
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
