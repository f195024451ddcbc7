"""What to believe from whom: forwarded headers count only from peers the operator named.

Cold set; ipaddress is imported when the operator named peers, else never. A client can send
any header, and the gateway cannot see whether it was X-Forwarded-For or X_Forwarded_For
(threat T6), so by default none of them means anything here. From a named peer only the last
value of a list counts: that one the peer wrote itself, what stands before it came to it.
"""

from gatebridge.environ.front import Front
from gatebridge.environ.variables import split_host
from gatebridge.errors import ConfigError
from gatebridge.wire.request import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

NAMES = {
    "for": "HTTP_X_FORWARDED_FOR",
    "proto": "HTTP_X_FORWARDED_PROTO",
    "host": "HTTP_X_FORWARDED_HOST",
    "port": "HTTP_X_FORWARDED_PORT",
    "prefix": "HTTP_X_FORWARDED_PREFIX",
}
_REMEMBERED = 1024  # addresses whose verdict is kept
_LONGEST = 64  # characters of an address
_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%[]:")


class Trust:
    """Peers in front of the web server whose forwarded headers are believed.

    peers      addresses and networks in CIDR form, "unix" for a Unix socket, "*" for anyone
    forwarded  which of for, proto, host, port, prefix such a peer is known to write. A peer
               that passes the client's own X-Forwarded-Host on must not be believed in it
    raises     ConfigError("trusted.malformed"), ConfigError("forwarded.unknown")
    """

    __slots__ = ("_anyone", "_forwarded", "_networks", "_sockets", "_verdicts")

    def __init__(self, peers: tuple[str, ...], forwarded: tuple[str, ...]) -> None:
        self._anyone = "*" in peers
        self._sockets = self._anyone or "unix" in peers
        self._verdicts: dict[str, bool] = {}
        self._networks: list[IPv4Network | IPv6Network] = []
        for name in forwarded:
            if name not in NAMES:
                raise ConfigError("forwarded.unknown", f"{name!r}: one of {', '.join(NAMES)}")
        self._forwarded = [kind for kind in NAMES if kind in forwarded]  # proto before port
        named = [peer for peer in peers if peer not in ("*", "unix")]
        if named:
            from ipaddress import ip_network  # not in the cold set: only if peers are named

            for peer in named:
                try:
                    self._networks.append(ip_network(peer, strict=False))
                except ValueError as error:
                    raise ConfigError("trusted.malformed", str(error)) from None

    def believes(self, address: str) -> bool:
        """Is this REMOTE_ADDR one of the peers? "" and "unix:" are a Unix socket's."""
        if not address or address.startswith("unix:"):
            return self._sockets
        if self._anyone:
            return True
        verdict = self._verdicts.get(address)
        if verdict is None:
            if len(address) > _LONGEST:
                return False
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            self._verdicts[address] = verdict = self._look_up(address)
        return verdict

    def _look_up(self, address: str) -> bool:
        if not self._networks:
            return False
        from ipaddress import ip_address

        try:
            ip = ip_address(address.strip("[]"))
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)  # ::ffff:10.0.0.1 on a dual-stack listener
        return any(ip in net or (mapped is not None and mapped in net) for net in self._networks)

    def apply(self, env: dict[str, str], request: Request, front: Front) -> None:
        """Let a believed peer's headers replace what they speak of; env changes in place."""
        if not self.believes(env.get("REMOTE_ADDR", "")):
            return
        for kind in self._forwarded:
            name = NAMES[kind]
            if name not in env or (request.repeated and _posed(name, request, front)):
                continue
            value = env[name].rpartition(",")[2].strip()
            if value:
                _ADOPT[kind](env, value)


def _posed(name: str, request: Request, front: Front) -> bool:
    """Came the header twice from a server that lets X_Name pass for X-Name?"""
    if not front.underscores:
        return False
    return sum(1 for pair in request.pairs.all() if pair[0] == name) > 1


def _adopt_for(env: dict[str, str], value: str) -> None:
    from ipaddress import ip_address

    value = value.strip('"')
    try:
        address = ip_address(value)
    except ValueError:
        try:  # some balancers add the port, and IPv6 addresses come in brackets
            address = ip_address(split_host(value)[0].strip("[]"))
        except ValueError:
            return
    env["REMOTE_ADDR"] = str(address)
    env.pop("REMOTE_PORT", "")  # the balancer's, as is the name
    env.pop("REMOTE_HOST", "")


def _adopt_proto(env: dict[str, str], value: str) -> None:
    scheme = value.lower()
    if scheme in ("https", "wss"):
        env["HTTPS"] = "on"
    elif scheme in ("http", "ws"):
        env["HTTPS"] = "off"


def _adopt_host(env: dict[str, str], value: str) -> None:
    if not _HOST.issuperset(value):
        return
    name, port = split_host(value)
    env["HTTP_HOST"] = value
    env["SERVER_NAME"] = name
    if port:
        env["SERVER_PORT"] = port


def _adopt_port(env: dict[str, str], value: str) -> None:
    if not value.isdigit() or not value.isascii() or len(value) > 5:
        return
    env["SERVER_PORT"] = value
    host = env.get("HTTP_HOST")
    if host:
        name = split_host(host)[0]
        default = "443" if env.get("HTTPS") == "on" else "80"
        env["HTTP_HOST"] = name if value == default else f"{name}:{value}"


def _adopt_prefix(env: dict[str, str], value: str) -> None:
    """X-Forwarded-Prefix: what the peer cut off in front of the path that it passed on."""
    prefix = value.rstrip("/")
    if prefix.startswith("/") and not prefix.startswith("//"):
        env["SCRIPT_NAME"] = prefix + env.get("SCRIPT_NAME", "")


_ADOPT = {
    "for": _adopt_for,
    "proto": _adopt_proto,
    "host": _adopt_host,
    "port": _adopt_port,
    "prefix": _adopt_prefix,
}
