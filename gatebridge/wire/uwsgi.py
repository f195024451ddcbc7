"""The uwsgi protocol, both sides: packets of modifier 0, and nothing else that uWSGI makes of it.

A packet is modifier1, the size of the block (16 bits, little-endian), modifier2, then the block:
size and name, size and value in turn. The body follows, the answer ends with the connection.
Only modifier1 0 (a WSGI request) exists here: the others make uWSGI spool, cache, reload or run
code. modifier2 means nothing then.
"""

from gatebridge.errors import PeerError, UseError
from gatebridge.wire.answer import Answer
from gatebridge.wire.cgi_head import Head
from gatebridge.wire.events import Event, Pairs
from gatebridge.wire.single import Single

MAX_BLOCK = 65_535
_PACKET = 4  # bytes before the block


class Uwsgi(Single):
    """Application side of one connection; see wire.events for the members."""

    __slots__ = ()

    def _variables(self, data: bytes) -> list[Event]:
        if data and data[0]:
            raise PeerError("uwsgi.modifier", f"modifier1 {data[0]}: only 0 is served")
        if len(data) < _PACKET:
            return self._wait(data, _PACKET)
        size = data[1] | data[2] << 8
        if not size:
            raise PeerError("request.empty", "no variables at all")
        if size > self._limits.params:
            raise PeerError("params.too_big", f"{size} > {self._limits.params} bytes of variables")
        end = _PACKET + size
        if len(data) < end:
            return self._wait(data, end)
        block = data[_PACKET:end]
        vars, count = decode_block(block)
        if count > self._limits.pairs:
            raise PeerError("params.too_many", f"{count} > {self._limits.pairs} variables")
        pairs = Pairs(block, split_block)
        return self._request(vars, len(vars) != count, pairs, data[end:])

    def _head(self, head: Head) -> bytes:
        # mod_proxy_uwsgi answers 502 without a status line, nginx passes a Status header on
        line = f"HTTP/1.1 {head.status}\r\n".encode("latin-1")
        return b"".join((line, head.block, b"\r\n"))


def decode_block(block: bytes) -> tuple[dict[str, object], int]:
    """A whole block as variables; of a name sent twice the last value.

    returns  (variables, pairs seen)
    raises   PeerError("params.malformed"): a size beyond the block, a name empty or without value
    """
    text = block.decode("latin-1")
    size = len(block)
    vars: dict[str, object] = {}
    at = count = 0
    last = size - 3  # of the first byte of a pair: one byte of name at least, two sizes
    while at < last:
        name = at + 2
        middle = name + block[at]
        if block[at + 1]:
            middle += block[at + 1] << 8
        if middle > size - 2:
            break
        value = middle + 2
        at = value + block[middle]
        if block[middle + 1]:
            at += block[middle + 1] << 8
        vars[text[name:middle]] = text[value:at]
        count += 1
    if at != size or "" in vars:
        raise PeerError("params.malformed", f"no whole pairs: {at} of {size} bytes")
    return vars, count


def split_block(block: bytes) -> list[tuple[str, str]]:
    """Every pair of a block that is known to be whole, in order, duplicates kept."""
    text = block.decode("latin-1")
    pairs: list[tuple[str, str]] = []
    at = 0
    while at < len(block):
        name = at + 2
        middle = name + (block[at] | block[at + 1] << 8)
        value = middle + 2
        at = value + (block[middle] | block[middle + 1] << 8)
        pairs.append((text[name:middle], text[value:at]))
    return pairs


class UwsgiClient(Answer):
    """Web-server side of one connection: request() once, then receive(), finish() at its end."""

    __slots__ = ()

    def request(self, vars: list[tuple[str, str]], length: int) -> bytes:
        """The packet to send before the body.

        vars    latin-1; CONTENT_LENGTH is set here, whatever they hold
        length  bytes of body that will follow
        raises  UseError("params.too_big"): a packet holds 65,535 bytes, UseError("params.latin1")
        """
        parts: list[bytes] = []
        size = 0
        own = [pair for pair in vars if pair[0] != "CONTENT_LENGTH"]
        for name, value in [("CONTENT_LENGTH", str(length)), *own]:
            key, data = _latin1(name), _latin1(value)
            if not key:
                raise UseError("params.malformed", "a variable without a name")
            size += 4 + len(key) + len(data)
            if size > MAX_BLOCK:
                raise UseError("params.too_big", f"the uwsgi protocol ends at {MAX_BLOCK} bytes")
            parts += (len(key).to_bytes(2, "little"), key, len(data).to_bytes(2, "little"), data)
        return b"\0" + size.to_bytes(2, "little") + b"\0" + b"".join(parts)


def _latin1(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise UseError("params.latin1", str(error)) from error
