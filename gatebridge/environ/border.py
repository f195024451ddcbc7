"""Where the application's own path begins: one pair of functions per wrong split.

Cold set. Each detect tells whether a server's SCRIPT_NAME and PATH_INFO are wrong in its way,
each fix sets case.script and case.info right. The rows of quirks.py say who does it and why.
What an application gets to see is the path that the server itself decided on, whenever that
names what the URL names: the server's access rules saw that path and no other.
"""

from gatebridge.environ.case import Case
from gatebridge.environ.paths import under


def _whole(case: Case, path: str) -> None:
    case.script = ""
    case.info = path


def _split(case: Case, path: str, script: str) -> None:
    """Part path after script where it begins with it, else leave it whole."""
    if under(path, script):
        case.script = script
        case.info = path[len(script) :]
    else:
        _whole(case, path)


def _holds_whole(case: Case) -> bool:
    """PATH_INFO is absent and this server then puts the whole path into SCRIPT_NAME."""
    if not case.absent or not case.front.whole or not case.script + case.info:
        return False
    if case.front.plain:
        return not _written_by_hand(case)
    if case.front.name == "apache":
        return _proxied_url(case.env.get("SCRIPT_FILENAME", ""))
    return True


def _written_by_hand(case: Case) -> bool:
    """Did the operator of an nginx name the mount? scgi_params has no SCRIPT_NAME of its own,
    and where a configuration overrides that of fastcgi_params nginx sends both.
    """
    if "SCGI" in case.env:
        return True
    if not case.request.repeated:
        return False
    return sum(1 for pair in case.request.pairs.all() if pair[0] == "SCRIPT_NAME") > 1


def _proxied_url(filename: str) -> bool:
    """Did Apache's ProxyPass make this SCRIPT_FILENAME? SetHandler puts a file's name there,
    behind the "/" that commonly ends the handler's URL.
    """
    if not filename.startswith("proxy:"):
        return False
    scheme, mark, rest = filename[6:].rpartition("|")[2].partition("://")
    if not mark or scheme not in ("fcgi", "scgi", "balancer"):
        return False
    return not rest.partition("/")[2].startswith("/")


def is_asterisk(case: Case) -> bool:
    return case.uri == "*"


def fix_asterisk(case: Case) -> None:
    _whole(case, "/*")


def is_whole_script(case: Case) -> bool:
    return _holds_whole(case)


def fix_whole_script(case: Case) -> None:
    _whole(case, case.script + case.info)


def is_newline_split(case: Case) -> bool:
    return case.front.whole and not case.absent and not case.info and "\n" in case.script


def is_path_missing(case: Case) -> bool:
    return not case.script and not case.info


def fix_path_missing(case: Case) -> None:
    _whole(case, case.document if case.document.startswith("/") else case.asked())


def is_script_twice(case: Case) -> bool:
    """IIS with a handler for every path: both variables hold the whole path."""
    return case.front.name == "iis" and case.info == case.script and case.names(case.info)


def fix_script_twice(case: Case) -> None:
    _whole(case, case.info)


def is_script_repeated(case: Case) -> bool:
    return bool(case.script) and under(case.info, case.script) and case.names(case.info)


def fix_script_repeated(case: Case) -> None:
    _split(case, case.info, case.script)


def is_script_hidden(case: Case) -> bool:
    return bool(case.info) and case.names(case.info)


def fix_script_hidden(case: Case) -> None:
    _whole(case, case.info)


def is_bare_mount_slash(case: Case) -> bool:
    return case.info == "/" and case.names(case.script)


def fix_bare_mount_slash(case: Case) -> None:
    case.info = ""


def is_raw_capture(case: Case) -> bool:
    document = case.document
    return case.front.plain and document != case.script + case.info and is_document_right(case)


def is_document_right(case: Case) -> bool:
    return case.document.startswith("/") and case.names(case.document)


def fix_document_right(case: Case) -> None:
    _split(case, case.document, case.script)


def is_still_encoded(case: Case) -> bool:
    return case.decoded() is not None


def fix_still_encoded(case: Case) -> None:
    found = case.decoded()
    if found is None:
        return
    script, info = found
    path = script + info if case.names(script + info) else info
    if _holds_whole(case):
        _whole(case, path)
    else:
        _split(case, path, script)


def is_truncated(case: Case) -> bool:
    """SCRIPT_NAME alone is the mount, or a regex's "$" left a final newline behind."""
    if case.url is None or case.front.name not in ("nginx", "unknown") or case.document:
        return False
    if case.absent:
        return under(case.url, case.script)
    return case.url == case.script + case.info + "\n"


def fix_truncated(case: Case) -> None:
    _split(case, case.asked(), case.script)


def is_front_controller(case: Case) -> bool:
    """Every URL, or every folder, was led to one script whose name is not in the URL."""
    url = case.url
    script = case.script
    if case.info or url is None or under(url, script):
        return False
    folder, _, name = script.rpartition("/")
    if name.startswith("index.") or url == folder + "/":
        return True
    filename = case.env.get("SCRIPT_FILENAME", "proxy:")
    return case.front.name == "apache" and not filename.startswith("proxy:")


def fix_front_controller(case: Case) -> None:
    _whole(case, case.asked())


def is_rewritten_script(case: Case) -> bool:
    """Apache rewrote to a script with a path behind it, and the URL knows of neither."""
    url = case.url
    if case.front.name != "apache" or not case.info or not case.script or url is None:
        return False
    return not under(url, case.script)
