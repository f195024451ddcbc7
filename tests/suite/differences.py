"""Where a mode or a front server legitimately differs from the rows, and why.

Each entry: row id (fnmatch), mode name (fnmatch), the reason, and what holds there instead.
None: the row cannot be sent there at all. Everything else is run and held to its own Want, so an
entry that is no longer true fails. First match wins.
"""

from fnmatch import fnmatchcase

from tests.suite.want import Row, Want

Entry = tuple[str, str, str, Want | None]

DIFFERENCES: tuple[Entry, ...] = ()


def difference(row: Row, mode: str) -> Entry | None:
    for entry in DIFFERENCES:
        if fnmatchcase(row.id.removesuffix("-validated"), entry[0]) and fnmatchcase(mode, entry[1]):
            return entry
    return None


def runs(row: Row, mode: str, mount: str, chunked: bool) -> bool:
    """Whether this row can be sent through this mode.

    chunked  the client's side speaks HTTP/1.1, so a body of unsaid length exists at all
    """
    if "mounted" in row.kinds and not mount:
        return False
    if "chunked" in row.kinds and not chunked:
        return False
    entry = difference(row, mode)
    return entry is None or entry[3] is not None


def wanted(row: Row, mode: str) -> Want:
    entry = difference(row, mode)
    return row.want if entry is None or entry[3] is None else entry[3]
