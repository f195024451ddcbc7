"""Single variables that need a correction: one pair of functions per lie. Cold set.

build.py calls the fixes directly behind cheaper tests of its own; gatebridge explain, and a
test that compares the two, goes by the rows of quirks.py.
"""

from gatebridge.environ.case import Case, Front
from gatebridge.wire.request import AUTHORIZER, Request

RECOVERED = ("REDIRECT_HTTP_AUTHORIZATION", "REDIRECT_REDIRECT_HTTP_AUTHORIZATION")


def has_dotted(env: dict[str, str]) -> bool:
    """Is there a name with a dot that no HTTP header made?"""
    if "." not in "".join(env):
        return False
    return any("." in name and not name.startswith("HTTP_") for name in env)


def drop_dotted(env: dict[str, str]) -> None:
    for name in [name for name in env if "." in name and not name.startswith("HTTP_")]:
        del env[name]


def join_repeated(env: dict[str, str], request: Request) -> None:
    """Join the values of every HTTP_ name that came more than once."""
    first: dict[str, str] = {}
    joined: dict[str, str] = {}
    for name, value in request.pairs.all():
        if not name.startswith("HTTP_"):
            continue
        if name in joined:
            joined[name] += ("; " if name == "HTTP_COOKIE" else ", ") + value
        elif name in first:
            joined[name] = first[name] + ("; " if name == "HTTP_COOKIE" else ", ") + value
        else:
            first[name] = value
    for name, value in joined.items():
        if name in env:
            env[name] = value


def is_repeated(case: Case) -> bool:
    return case.request.repeated


def fix_repeated(case: Case) -> None:
    join_repeated(case.env, case.request)


def is_dotted(case: Case) -> bool:
    return has_dotted(case.env)


def fix_dotted(case: Case) -> None:
    drop_dotted(case.env)


def is_proxy(case: Case) -> bool:
    return "HTTP_PROXY" in case.env


def fix_proxy(case: Case) -> None:
    del case.env["HTTP_PROXY"]


def is_shadow(case: Case) -> bool:
    return "HTTP_CONTENT_LENGTH" in case.env or "HTTP_CONTENT_TYPE" in case.env


def fix_shadow(case: Case) -> None:
    case.env.pop("HTTP_CONTENT_LENGTH", "")
    case.env.pop("HTTP_CONTENT_TYPE", "")


def recover(env: dict[str, str]) -> None:
    """Take HTTP_AUTHORIZATION from the copy that a rewrite left behind."""
    if not env.get("HTTP_AUTHORIZATION"):
        for name in RECOVERED:
            value = env.get(name)
            if value:
                env["HTTP_AUTHORIZATION"] = value
                return


def is_recoverable(case: Case) -> bool:
    env = case.env
    return not env.get("HTTP_AUTHORIZATION") and any(env.get(name) for name in RECOVERED)


def fix_recoverable(case: Case) -> None:
    recover(case.env)


def is_type_empty(case: Case) -> bool:
    return case.env.get("CONTENT_TYPE") == ""


def fix_type_empty(case: Case) -> None:
    del case.env["CONTENT_TYPE"]


def is_unasked_length(case: Case) -> bool:
    return case.request.role == AUTHORIZER and "CONTENT_LENGTH" in case.env


def fix_unasked_length(case: Case) -> None:
    del case.env["CONTENT_LENGTH"]


def is_length_unknown(case: Case) -> bool:
    return case.env.get("CONTENT_LENGTH") in ("", "-1")


def is_length_doubtful(case: Case) -> bool:
    return case.request.doubtful and "CONTENT_LENGTH" in case.env


def fix_length(case: Case) -> None:
    del case.env["CONTENT_LENGTH"]


def is_length_missing(case: Case) -> bool:
    request = case.request
    return (
        "CONTENT_LENGTH" not in case.env
        and request.role != AUTHORIZER
        and request.complete
        and bool(request.body)
    )


def fix_length_missing(case: Case) -> None:
    case.env["CONTENT_LENGTH"] = str(len(case.request.body))


def is_coded_known(case: Case) -> bool:
    env = case.env
    return "HTTP_TRANSFER_ENCODING" in env and (case.request.complete or "CONTENT_LENGTH" in env)


def fix_coded_known(case: Case) -> None:
    del case.env["HTTP_TRANSFER_ENCODING"]


def is_host_empty(case: Case) -> bool:
    return case.env.get("HTTP_HOST") == ""


def fix_host_empty(case: Case) -> None:
    del case.env["HTTP_HOST"]


def split_host(text: str) -> tuple[str, str]:
    """ "name:port" as (name, port), "[::1]:80" as well; the port "" where there is none."""
    name, colon, port = text.rpartition(":")
    if not colon or not (port.isdigit() or not port) or (":" in name and name[-1] != "]"):
        return text, ""
    return name, port


def server_name(env: dict[str, str]) -> str:
    """A name for a server that told none, or told it with the port (RFC 3875 section 4.1.14)."""
    name = env.get("SERVER_NAME", "")
    if name:
        return split_host(name)[0] or name
    name = split_host(env.get("HTTP_HOST", ""))[0] or env.get("SERVER_ADDR", "")
    if ":" in name and name[0] != "[":
        name = "[" + name + "]"
    return name or "localhost"


def is_name_wrong(case: Case) -> bool:
    return case.env.get("SERVER_NAME", "") != server_name(case.env)


def fix_name_wrong(case: Case) -> None:
    case.env["SERVER_NAME"] = server_name(case.env)


def unchecked_user(env: dict[str, str], front: Front) -> bool:
    """Is REMOTE_USER what the client claimed in Basic credentials, and nothing more?

    nginx never sends AUTH_TYPE by itself, so one in its configuration is the operator's word
    that the credentials are checked there. HAProxy sends AUTH_TYPE for any credentials.
    """
    if not front.unchecked or not env.get("REMOTE_USER"):
        return False
    if front.name == "haproxy":
        return env.get("AUTH_TYPE", "") != ""
    basic = env.get("HTTP_AUTHORIZATION", "")[:6].lower() == "basic "
    return basic and not env.get("AUTH_TYPE")


def drop_user(env: dict[str, str]) -> None:
    del env["REMOTE_USER"]
    env.pop("AUTH_TYPE", "")


def is_user_unchecked(case: Case) -> bool:
    return not case.checked_user and unchecked_user(case.env, case.front)


def fix_user_unchecked(case: Case) -> None:
    drop_user(case.env)
