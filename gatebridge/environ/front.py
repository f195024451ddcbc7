"""The kinds of web server in front, and how one is recognised by its name. Cold set."""


class Front:
    """One kind of web server. Every flag is a habit seen in the captures of tests/corpus.

    whole        an absent PATH_INFO means that SCRIPT_NAME holds the whole path
    plain        nginx, where that may be taken at once if SCRIPT_NAME came once
    cleans       its paths have slashes merged and dot segments removed
    keeps_slash  may leave %2F, and nothing else, encoded in its path
    underscores  X_Name arrives like X-Name, so that a client can pose as the other
    unchecked    sends REMOTE_USER from Basic credentials that nobody checked
    """

    __slots__ = ("cleans", "keeps_slash", "name", "plain", "unchecked", "underscores", "whole")

    def __init__(
        self,
        name: str,
        whole: bool = False,
        cleans: bool = False,
        keeps_slash: bool = False,
        underscores: bool = True,
        unchecked: bool = False,
    ) -> None:
        self.name = name
        self.whole = whole
        self.plain = name == "nginx"
        self.cleans = cleans
        self.keeps_slash = keeps_slash
        self.underscores = underscores
        self.unchecked = unchecked

    def __repr__(self) -> str:
        return f"Front({self.name!r})"


UNKNOWN = Front("unknown")
FRONTS = (
    Front("nginx", whole=True, cleans=True, underscores=False, unchecked=True),
    Front("apache", whole=True, cleans=True, keeps_slash=True, underscores=False),
    Front("lighttpd", cleans=True),
    Front("caddy"),
    Front("haproxy", whole=True, underscores=False, unchecked=True),
    Front("h2o"),
    Front("iis"),
    Front("gatebridge", underscores=False),  # wire/http.py itself
    UNKNOWN,
)


_SIGNS = (
    ("nginx", "nginx"),
    ("openresty", "nginx"),
    ("tengine", "nginx"),
    ("angie", "nginx"),
    ("freenginx", "nginx"),
    ("apache", "apache"),
    ("lighttpd", "lighttpd"),
    ("caddy", "caddy"),
    ("haproxy", "haproxy"),
    ("h2o", "h2o"),
    ("microsoft-iis", "iis"),
    ("gatebridge", "gatebridge"),
)
BY_NAME = {front.name: front for front in FRONTS}


def recognise(software: str) -> Front:
    """The server behind a SERVER_SOFTWARE, which only the server itself can write."""
    lower = software.lower()
    for sign, name in _SIGNS:
        if lower.startswith(sign):
            return BY_NAME[name]
    return UNKNOWN


class Met:
    """A front server that a listener sees for the first time.

    front     its name in FRONTS
    software  its SERVER_SOFTWARE, "" for none
    sign      what told: "SERVER_SOFTWARE", "front" for the operator, else names of variables;
              "" where nothing did, and front is unknown
    """

    __slots__ = ("front", "sign", "software")

    def __init__(self, front: str, software: str, sign: str) -> None:
        self.front = front
        self.software = software
        self.sign = sign
