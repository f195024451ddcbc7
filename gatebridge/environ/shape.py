"""Which server is in front, told by the variables it sends: for one that does not say its name.

Looked at once for each SERVER_SOFTWARE of a listener, and only where that name is not known. All
signs are names that no header of a client can make (those begin with HTTP_). Each was seen in
every capture of that server in tests/corpus and in none of another's; IIS is from its
documentation.
"""

from gatebridge.environ.front import BY_NAME, UNKNOWN, Front

_SIGNS = (  # (names that are all there, server)
    (("CONTEXT_PREFIX", "SERVER_SIGNATURE"), "apache"),  # ServerTokens, SecServerSignature
    (("APPL_MD_PATH", "INSTANCE_META_PATH"), "iis"),
    (("DOCUMENT_URI", "REMOTE_IDENT"), "caddy"),
    (("DOCUMENT_URI", "REQUEST_SCHEME"), "nginx"),
)


def by_shape(env: dict[str, str]) -> tuple[Front, str]:
    """The server and the names that told; (UNKNOWN, "") for none."""
    for names, front in _SIGNS:
        if all(name in env for name in names):
            return BY_NAME[front], ", ".join(names)
    if "SERVER_SOFTWARE" not in env and "GATEWAY_INTERFACE" not in env:
        # nginx's scgi_params and uwsgi_params lack both; lighttpd sends the second
        if "DOCUMENT_ROOT" in env and "REQUEST_SCHEME" in env:
            return BY_NAME["nginx"], "DOCUMENT_ROOT, REQUEST_SCHEME"
    return UNKNOWN, ""
