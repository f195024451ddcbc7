"""SCGI (specification of 2008-06-23), both sides.

A request is a netstring of NUL-ended strings, names and values in turn, then the body:
``24:CONTENT_LENGTH\\0 0\\0 SCGI\\0 1\\0,``. The answer is a CGI response, ended by the close.
"""

from gatebridge.errors import PeerError, UseError
from gatebridge.wire.answer import Answer
from gatebridge.wire.cgi_head import MAX_LENGTH
from gatebridge.wire.events import Event, Pairs
from gatebridge.wire.scan import decimal
from gatebridge.wire.single import Single

_LONGEST = 20  # digits of a length and its colon that a look may cost


class Scgi(Single):
    """Application side of one connection; see wire.events for the members."""

    __slots__ = ()

    def _variables(self, data: bytes) -> list[Event]:
        most = self._limits.params
        colon = data.find(b":", 0, _LONGEST)
        size = _netstring_length(data, colon, most)
        if colon < 0:
            return self._wait(data, len(data) + 1)
        start = colon + 1
        end = start + size
        if len(data) <= end:
            return self._wait(data, end + 1)
        if data[end] != 44:
            raise PeerError("netstring.comma", f"{data[end : end + 1]!r} where the comma belongs")
        block = data[start:end]
        most = 2 * self._limits.pairs
        strings = block.decode("latin-1").split("\0", most + 1)
        count = len(strings) - 1
        if count > most:
            raise PeerError("params.too_many", f"more than {self._limits.pairs} variables")
        if strings.pop() or count & 1:
            raise PeerError("params.malformed", f"{count} strings do not make pairs")
        vars: dict[str, object] = dict(zip(strings[::2], strings[1::2], strict=False))
        _check(strings, vars)
        lie = _hidden_length(vars)
        pairs = Pairs(block, split_strings)
        return self._request(vars, len(vars) * 2 != count, pairs, data[end + 1 :], lie)


def _netstring_length(data: bytes, colon: int, most: int) -> int:
    """Read the digits before the colon, or check those that have come.

    colon   its position, or -1
    raises  PeerError("length.malformed"), PeerError("params.too_big"): the first bad byte decides
            which, however many more have come
    """
    digits = data[: colon if colon >= 0 else _LONGEST].decode("latin-1")
    if digits[:1] != "0":
        try:
            return decimal(digits, most)
        except PeerError:
            pass  # find the first bad byte
    for stop in range(1, len(digits) + 1):
        if stop > 1 and digits[0] == "0":
            raise PeerError("length.malformed", f"leading zero in {digits!r}")
        size = decimal(digits[:stop], MAX_LENGTH)
        if size > most:
            raise PeerError("params.too_big", f"{size} > {most} bytes of variables")
    if colon == 0:
        raise PeerError("length.malformed", "a colon where the length belongs")
    return 0


def _check(strings: list[str], vars: dict[str, object]) -> None:
    if not strings:
        raise PeerError("request.empty", "no variables at all")
    if strings[0] != "CONTENT_LENGTH" or not strings[1]:
        raise PeerError("scgi.content_length", f"the first variable is {strings[0][:64]!r}")
    if vars.get("SCGI") != "1":
        raise PeerError("scgi.version", f"SCGI is {vars.get('SCGI')!r:.40}, not '1'")
    if "" in vars:
        raise PeerError("params.malformed", "a variable without a name")


def _hidden_length(vars: dict[str, object]) -> int:
    """The length of a body of which nginx announces a part.

    With scgi_request_buffering off nginx (1.22) says as CONTENT_LENGTH what it has read so far,
    0 at times, and sends the whole body all the same. The client's own Content-Length, of which
    nginx lets one valid one pass, has the length. Nobody else's is ever believed.
    """
    if "HTTP_CONTENT_LENGTH" not in vars or "DOCUMENT_URI" not in vars:
        return 0
    if not str(vars.get("SERVER_SOFTWARE") or "nginx/").startswith("nginx/"):
        return 0
    try:
        length = decimal(str(vars["HTTP_CONTENT_LENGTH"]), MAX_LENGTH)
        return length if length > decimal(str(vars["CONTENT_LENGTH"]), MAX_LENGTH) else 0
    except PeerError:
        return 0


def split_strings(block: bytes) -> list[tuple[str, str]]:
    """Names and values of a netstring's content that is known to be whole."""
    strings = block.decode("latin-1").split("\0")
    strings.pop()
    return list(zip(strings[::2], strings[1::2], strict=True))


class ScgiClient(Answer):
    """Web-server side of one connection: request() once, then receive(), finish() at its end."""

    __slots__ = ()

    def request(self, vars: list[tuple[str, str]], length: int) -> bytes:
        """The netstring to send before the body.

        vars    latin-1; CONTENT_LENGTH and SCGI are set here, whatever they hold
        length  bytes of body that will follow
        raises  UseError("params.nul"), UseError("params.latin1")
        """
        strings = ["CONTENT_LENGTH", str(length), "SCGI", "1"]
        for name, value in vars:
            if name not in ("CONTENT_LENGTH", "SCGI"):
                strings += (name, value)
        text = "\0".join(strings) + "\0"
        if not all(strings[::2]) or text.count("\0") != len(strings):
            raise UseError("params.malformed", "SCGI cannot carry a NUL or an empty name")
        try:
            block = text.encode("latin-1")
        except UnicodeEncodeError as error:
            raise UseError("params.latin1", str(error)) from error
        return b"%d:%b," % (len(block), block)
