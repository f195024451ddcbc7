"""What operators write to name a socket: ``unix:/run/x.sock?mode=0660``, ``scgi://host:port``.

Listening and connecting read it the same way, so one string serves both.
"""

from gatebridge.errors import ConfigError, PeerError
from gatebridge.wire.scan import decimal

PROTOCOLS = {
    "fcgi": "fastcgi",
    "fastcgi": "fastcgi",
    "scgi": "scgi",
    "uwsgi": "uwsgi",
    "http": "http",
}
OPTIONS = ("allow", "backlog", "group", "mode", "owner", "peer", "tls")

_FORMS = (
    "unix:/path, unix:@name, [fcgi|scgi|uwsgi|http]+unix:/path, …://host:port, fd://0 "
    "or systemd:NAME"
)


class Bind:
    """One place to listen at or to connect to.

    text      as it was written
    protocol  fastcgi, scgi, uwsgi or http
    family    "unix", "abstract", "tcp", "fd" or "systemd"
    path      of a Unix socket; the name of an abstract one, without @; of systemd's, its name
    host      of a TCP socket, an IPv6 address without brackets
    port      of a TCP socket; the number of a descriptor
    options   what follows the question mark
    """

    __slots__ = ("family", "host", "options", "path", "port", "protocol", "text")

    def __init__(self, text: str, protocol: str, options: dict[str, str]) -> None:
        self.text = text
        self.protocol = protocol
        self.family = ""
        self.path = ""
        self.host = ""
        self.port = 0
        self.options = options

    def __repr__(self) -> str:
        return f"Bind({self.text!r})"


def parse_bind(text: str) -> Bind:
    """Read a bind. A path or host:port alone is FastCGI, as is unix: without a protocol.

    raises  ConfigError("bind.…")
    """
    place, _, query = text.partition("?")
    scheme, colon, rest = place.partition(":")
    if "/" in scheme or scheme.startswith(".") or not colon:
        return _unix(Bind(text, "fastcgi", _options(query, text)), place)
    first, plus, second = scheme.partition("+")
    if scheme == "unix" or (plus and second == "unix"):
        protocol = first if plus else "fcgi"
        return _unix(Bind(text, _known(protocol, text), _options(query, text)), rest)
    if scheme == "fd" or (plus and second == "fd"):
        bind = Bind(text, _known(first if plus else "fcgi", text), _options(query, text))
        bind.family = "fd"
        bind.port = _number(rest.removeprefix("//"), 1 << 20, text)
        return bind
    if scheme == "systemd" or (plus and second == "systemd"):
        bind = Bind(text, _known(first if plus else "fcgi", text), _options(query, text))
        return _systemd(bind, rest.removeprefix("//"))
    if not rest.startswith("//"):  # host:port without a protocol
        return _tcp(Bind(text, "fastcgi", _options(query, text)), place)
    return _tcp(Bind(text, _known(scheme, text), _options(query, text)), rest[2:].rstrip("/"))


def _known(protocol: str, text: str) -> str:
    if protocol not in PROTOCOLS:
        raise ConfigError(
            "bind.protocol", f"{text!r}: {protocol!r} is none of {', '.join(PROTOCOLS)}"
        )
    return PROTOCOLS[protocol]


def _unix(bind: Bind, path: str) -> Bind:
    path = path.removeprefix("//") if path.startswith("///") else path
    bind.family = "abstract" if path.startswith("@") else "unix"
    bind.path = path.removeprefix("@")
    if not bind.path or "\0" in path:
        raise ConfigError("bind.malformed", f"{bind.text!r} names no socket; write {_FORMS}")
    return bind


def _systemd(bind: Bind, name: str) -> Bind:
    if not name or ":" in name or not name.isascii() or not name.isprintable():
        why = "names no socket; write systemd:NAME, the FileDescriptorName= of its .socket unit"
        raise ConfigError("bind.malformed", f"{bind.text!r} {why}")
    bind.family = "systemd"
    bind.path = name
    return bind


def _tcp(bind: Bind, place: str) -> Bind:
    host, colon, port = place.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError("bind.malformed", f"{bind.text!r}: an IPv6 address needs [brackets]")
    if not colon or not host or "/" in host:
        raise ConfigError("bind.malformed", f"{bind.text!r} is not host:port; write {_FORMS}")
    bind.family = "tcp"
    bind.host = host
    bind.port = _number(port, 65_535, bind.text)
    return bind


def _number(digits: str, most: int, text: str) -> int:
    try:
        return decimal(digits, most)
    except PeerError as error:
        raise ConfigError("bind.port", f"{text!r}: {digits!r} is no number to {most}") from error


def _options(query: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in query.split("&") if query else []:
        name, equals, value = item.partition("=")
        if name not in OPTIONS or not equals or name in options:
            known = ", ".join(OPTIONS)
            raise ConfigError("bind.option", f"{text!r}: {item!r}; options are {known}, once each")
        options[name] = value
    return options
