"""The part of a relay for what went wrong: a page, a line for the log, or the one-shot answer."""

import posix

from gatebridge.relay import ONESHOT, body, put, wrote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# --- written into relays from here on

DRAIN = 16 << 20  # bytes of an unread body that are taken, so that the answer arrives
REASONS = {b"500": b"Internal Server Error", b"502": b"Bad Gateway", b"503": b"Service Unavailable"}
PAGE = b"The request was not answered. The server's log tells more under incident %s.\n"
NEXT = {
    b"cut": b"read the daemon's log, NAME.log beside its socket",
    b"garbage": b"see who listens there: gatebridge shim check FILE",
    b"oneshot": b"write the shim anew: gatebridge shim new --force",
    b"overloaded": b"see what is slow: gatebridge top; or --serve-option=--threads=N in shim new",
}


def say(text: bytes) -> None:
    """One line, which nothing in it can end or hide."""
    plain = bytes(byte if 32 <= byte != 127 else 32 for byte in text)
    try:
        posix.write(2, b"gatebridge: relay." + plain + b"\n")
    except OSError:
        pass


def told(code: bytes, text: bytes) -> bytes:
    """Say what went wrong, under an incident. Returns the page that names it, and nothing else."""
    incident = posix.urandom(4).hex().encode()
    what, _, why = text.partition(b": ")
    say(what + b" incident " + incident + b": " + why + b"; next: " + NEXT[what])
    head = b"Status: " + code + b" " + REASONS[code] + b"\r\nContent-Type: text/plain\r\n"
    more = b"Retry-After: 1\r\n\r\n" if code == b"503" else b"\r\n"
    is_head = posix.environ.get(b"REQUEST_METHOD") == b"HEAD"
    return head + more + (b"" if is_head else b"%s\n\n" % REASONS[code] + PAGE % incident)


def fail(code: bytes, text: bytes) -> "NoReturn":
    """For a request of which nothing was read yet."""
    page = told(code, text)
    if not wrote:
        put(1, page)
    left = body()
    try:
        while 0 < left <= DRAIN and (piece := posix.read(0, min(left, 65536))):
            left -= len(piece)
    except OSError:
        pass
    posix._exit(1)


def one_shot(text: bytes = b"") -> "NoReturn":
    if text:
        say(text)
    try:
        posix.execv(ONESHOT[0], ONESHOT)
    except OSError as error:
        fail(b"500", b"oneshot: %a" % error)
