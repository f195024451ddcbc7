"""Where the mount ends and PATH_INFO begins, by the rows. Cold set, but imported when needed."""

from gatebridge.environ.case import Case
from gatebridge.environ.paths import normal, same, under
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


def place(case: Case) -> None:
    """As locate(), and then as the operator's mount says."""
    case.read_path()
    script, info = case.script, case.info
    locate(case)
    mount = case.mount
    if mount is not None:
        path = case.script + case.info
        if under(path, mount):
            case.script, case.info = mount, path[len(mount) :]
        elif mount == script:
            case.script, case.info = script, info  # the server says so, whatever the URL
        elif case.url is not None:
            url = normal(case.url)
            if under(url, mount) and same(url[len(mount) :] or "/", path):
                case.script = mount  # the server cut the mount off
                case.info = path if url != mount else ""
    if not case.script and not case.info:
        case.info = "/"  # PEP 3333 wants one of them
