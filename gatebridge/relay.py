"""CGI to a running daemon over a Unix socket, once: what `gatebridge shim new` writes.

Everything below the mark is copied into the written file, which imports nothing else: the
interpreter's start is most of what a request costs, and each line that it compiles adds to it.
What is rare stands in relay_fail.py, relay_duplex.py and relay_start.py; the file holds their
text, and compiles it when it is needed.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What a written file has in place of these lines; see relay_baked.py.
BASE = b""
NAME = b""
START: "tuple[bytes, ...]" = ()
ONESHOT: "tuple[bytes, ...]" = ()
WAIT_S = 30
FRESH_S = 60
RARE: "dict[str, str]" = {}

# --- written into relays from here on
import _socket as net  # noqa: E402
import posix  # noqa: E402
import sys  # noqa: E402

STATE = BASE + b"/gatebridge-%d" % posix.geteuid()
ENDED = b"\1\3\0\1\0\x08" + bytes(10)  # well
wrote = False  # a byte went to the server


def rare(part: str, name: str) -> "Callable[..., Any]":
    if part in RARE:
        exec(compile(RARE.pop(part), part, "exec"), globals())
    found: Callable[..., Any] = globals()[name]
    return found


def timeval(seconds: int) -> bytes:
    size = 8 if sys.maxsize >> 32 else 4
    return seconds.to_bytes(size, sys.byteorder) + bytes(size)


def link() -> "net.socket | None":
    """The daemon's socket, or None where nobody listens."""
    why = b""
    try:
        found = posix.lstat(STATE)
        if found.st_mode & 0o170777 == 0o040700 and found.st_uid == posix.geteuid():
            sock = net.socket(net.AF_UNIX, net.SOCK_STREAM)
            sock.setsockopt(net.SOL_SOCKET, net.SO_SNDTIMEO, timeval(WAIT_S))
            sock.connect(STATE + b"/" + NAME + b".sock")
            if not hasattr(net, "SO_PEERCRED"):
                return sock  # the folder's owner and mode have to do
            peer = sock.getsockopt(net.SOL_SOCKET, net.SO_PEERCRED, 12)
            uid = int.from_bytes(peer[4:8], sys.byteorder)
            if uid in (0, found.st_uid):
                return sock
            why = b"stranger: user %d listens in %s" % (uid, STATE)
        else:
            why = b"folder: %s is not a folder of this user's alone, mode 0700" % STATE
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except BlockingIOError:
        rare("fail", "fail")(b"503", b"overloaded: the daemon accepts nobody")
    except OSError as error:
        why = b"folder: %s: %a" % (STATE, error)
    rare("fail", "one_shot")(why)
    return None


def put(fd: int, data: bytes) -> None:
    global wrote
    wrote = wrote or (fd == 1 and data != b"")
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except BlockingIOError:  # the server shares a socket that does not wait
        posix.set_blocking(fd, True)
        put(fd, data)
    except OSError:
        if fd == 1:  # the server has left; the closed socket tells the daemon
            posix._exit(1)


def request(ended: bool) -> bytes:
    """BEGIN_REQUEST and PARAMS, and the end of STDIN where there is no body."""
    out = []
    for name, value in posix.environ.items():
        if name != b"HTTP_PROXY":
            for size in len(name), len(value):
                out.append(bytes((size,)) if size < 128 else (size | 1 << 31).to_bytes(4, "big"))
            out += (name, value)
    block = b"".join(out) + b"\x10\x01GATEBRIDGE_RELAY1"
    out = [b"\1\1\0\1\0\x08\0\0\0\1\0\0\0\0\0\0"]
    for at in range(0, len(block), 65535):
        piece = block[at : at + 65535]
        out += (b"\1\4\0\1" + len(piece).to_bytes(2, "big") + b"\0\0", piece)
    out.append(b"\1\4\0\1\0\0\0\0\1\5\0\1\0\0\0\0" if ended else b"\1\4\0\1\0\0\0\0")
    return b"".join(out)


def body() -> int:
    """Bytes of the body; -1 for all there is."""
    size = posix.environ.get(b"CONTENT_LENGTH", b"")
    coding = posix.environ.get(b"HTTP_TRANSFER_ENCODING", b"").lower()
    if size in (b"", b"0") and b"chunked" in coding:  # a 0 beside a coding is no length
        return -1
    return int(size) if size.isdigit() and len(size) < 19 else 0


def main() -> None:
    if b"REQUEST_METHOD" not in posix.environ:
        rare("start", "usage")()
    while posix.open(b"/dev/null", posix.O_RDWR) < 3:
        pass  # whoever started us may have closed 0, 1 or 2
    left = body()
    data = request(left == 0)
    sock = link() or rare("start", "begin")()
    try:
        data = data[sock.send(data) :]
    except OSError:  # not one byte was taken: a daemon that is just leaving
        sock = rare("start", "begin")()
    got = b"" if data or left else answer(sock)
    posix._exit(rare("duplex", "duplex")(sock, data, left, got))


def answer(sock: "net.socket") -> bytes:
    """Pass on an answer that comes at once and in whole records, as nearly all do.

    Returns the bytes after which it has to be looked at more closely.
    """
    sock.setsockopt(net.SOL_SOCKET, net.SO_RCVTIMEO, timeval(1))
    try:
        while data := sock.recv(65536):
            while data:
                size = int.from_bytes(data[4:6], "big")
                if data[:4] == b"\1\6\0\1" and 7 < len(data) >= 8 + size + data[6]:
                    put(1, data[8 : 8 + size])
                    data = data[8 + size + data[6] :]
                elif data[:16] == ENDED:
                    posix._exit(0)
                else:
                    return data
    except OSError:  # now somebody has to look whether the client is still there
        pass
    return b""
