"""Single variables that need a correction, as build.py makes it behind cheaper tests. Cold set.

The same corrections as rows, for gatebridge explain and for the test that compares the two, are
in repairs.py.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gatebridge.environ.front import Front
    from gatebridge.wire.request import Request

RECOVERED = ("REDIRECT_HTTP_AUTHORIZATION", "REDIRECT_REDIRECT_HTTP_AUTHORIZATION")


def has_dotted(env: dict[str, str]) -> bool:
    """Is there a name with a dot that no HTTP header made?"""
    if "." not in "".join(env):
        return False
    return any("." in name and not name.startswith("HTTP_") for name in env)


def drop_dotted(env: dict[str, str]) -> None:
    for name in [name for name in env if "." in name and not name.startswith("HTTP_")]:
        del env[name]


def join_repeated(env: dict[str, str], request: "Request") -> None:
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


def recover(env: dict[str, str]) -> None:
    """Take HTTP_AUTHORIZATION from the copy that a rewrite left behind."""
    if not env.get("HTTP_AUTHORIZATION"):
        for name in RECOVERED:
            value = env.get(name)
            if value:
                env["HTTP_AUTHORIZATION"] = value
                return


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


def unchecked_user(env: dict[str, str], front: "Front") -> bool:
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
