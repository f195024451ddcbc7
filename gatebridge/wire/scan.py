"""The one place where digits, tokens and percent escapes from a peer become values.

``int()`` accepts ``1_0``, ``+10``, `` 10 `` and other scripts' digits; nothing here does.
"""

from gatebridge.errors import PeerError

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset("0123456789abcdefABCDEF")
_CONTROLS = "".join(chr(c) for c in (*range(9), *range(10, 32), 127))
_NO_CONTROLS = {ord(c): None for c in _CONTROLS}
MAX_DIGITS = 19  # 2**63 - 1 has nineteen


def decimal(field: str, limit: int) -> int:
    """Read an unsigned decimal as RFC 3875 section 4.1.2 writes a CONTENT_LENGTH: 1*DIGIT.

    field   latin-1 text, no padding removed
    limit   the largest value accepted, in the unit of the field
    raises  PeerError("length.malformed"), PeerError("length.too_big")
    """
    if not field.isdigit() or not field.isascii():  # "²".isdigit() is true
        raise PeerError("length.malformed", repr(field[:32]))
    if len(field) > MAX_DIGITS:
        raise PeerError("length.too_big", f"{len(field)} digits")
    value = int(field)
    if value > limit:
        raise PeerError("length.too_big", f"{value} > {limit}")
    return value


def is_token(field: str) -> bool:
    """Tell whether ``field`` is a token of RFC 9110 section 5.6.2 (methods, field names)."""
    return bool(field) and field.isascii() and _TOKEN.issuperset(field.encode("ascii"))


def has_controls(field: str) -> bool:
    """Tell whether latin-1 ``field`` holds a control character other than a tab (RFC 9110 5.5)."""
    return not field.isprintable() and len(field.translate(_NO_CONTROLS)) != len(field)


def decode(text: str) -> str:
    """Undo percent-encoding once, to latin-1 text. A "%" without two hex digits stays."""
    if "%" not in text:
        return text
    pieces = text.split("%")
    for at in range(1, len(pieces)):
        piece = pieces[at]
        if len(piece) > 1 and piece[0] in _HEX and piece[1] in _HEX:
            pieces[at] = chr(int(piece[:2], 16)) + piece[2:]
        else:
            pieces[at] = "%" + piece
    return "".join(pieces)
