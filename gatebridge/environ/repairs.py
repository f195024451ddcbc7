"""One pair of functions per lie of a front server: is it there, and put it right.

The rows of quirks.py name them; build.py makes the same corrections by variables.py.
"""

from gatebridge.environ.case import Case
from gatebridge.environ.variables import (
    RECOVERED,
    drop_dotted,
    drop_user,
    has_dotted,
    join_repeated,
    recover,
    server_name,
    unchecked_user,
)
from gatebridge.wire.request import AUTHORIZER


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


def is_name_wrong(case: Case) -> bool:
    return case.env.get("SERVER_NAME", "") != server_name(case.env)


def fix_name_wrong(case: Case) -> None:
    case.env["SERVER_NAME"] = server_name(case.env)


def is_user_unchecked(case: Case) -> bool:
    return not case.checked_user and unchecked_user(case.env, case.front)


def fix_user_unchecked(case: Case) -> None:
    drop_user(case.env)
