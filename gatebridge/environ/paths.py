"""The path of a URL: cut out, decoded once, compared. Pure functions."""

from gatebridge.wire.scan import decode


def path_of(uri: str) -> str | None:
    """The path of a request target (RFC 9112 section 3.2), decoded once.

    uri      origin form "/x?q" or absolute form "http://host/x?q"
    returns  None for "*", "host:443" and anything else without a path
    """
    raw = uri.partition("?")[0]
    if not raw.startswith("/"):
        scheme, mark, rest = raw.partition("://")
        if not mark or not scheme.isalnum():
            return None
        slash = rest.find("/")
        raw = rest[slash:] if slash >= 0 else "/"
    return decode(raw)


def normal(path: str) -> str:
    """Merge slashes and remove dot segments, as nginx, Apache and lighttpd do to their own."""
    if "//" not in path and "/." not in path:
        return path
    out: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if out:
                out.pop()
        elif segment not in ("", "."):
            out.append(segment)
    if out and segments[-1] in ("", ".", ".."):
        out.append("")
    return "/" + "/".join(out)


def same(one: str, other: str) -> bool:
    """Do two decoded paths name the same resource, slashes and dot segments aside?"""
    return normal(one) == normal(other)


def under(path: str, mount: str) -> bool:
    """Does path lie under mount, on a segment border? mount: "" or "/app"."""
    return path.startswith(mount) and (len(path) == len(mount) or path[len(mount)] == "/")
