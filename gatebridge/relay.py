"""CGI to a running daemon over a Unix socket, once: what `gatebridge shim new` writes.

Everything below the mark is copied into the written file, which imports nothing else: the
interpreter's start is most of what a request costs. What is rare stands in relay_duplex.py and
relay_start.py; the file holds their text, and compiles it when it is needed.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, NoReturn

    Put = Callable[[int, bytes], None]

# What a written file has in place of these lines; see relay_baked.py.
BASE = b""
NAME = b""
START: "tuple[bytes, ...]" = ()
ONESHOT: "tuple[bytes, ...]" = ()
WAIT_S = 30
FRESH_S = 60
RARE: "dict[str, str]" = {}

# --- written into relays from here on
import _socket  # noqa: E402
import posix  # noqa: E402
from _socket import AF_UNIX, SOCK_STREAM, SOL_SOCKET, socket  # noqa: E402

SO_PEERCRED = getattr(_socket, "SO_PEERCRED", 0)  # else the folder's owner and mode have to do

STATE = BASE + b"/gatebridge-%d" % posix.geteuid()
wrote = False  # a byte went to the server


def say(text: bytes) -> None:
    try:
        posix.write(2, b"gatebridge: relay." + text + b"\n")
    except OSError:
        pass


def fail(status: bytes, text: bytes) -> "NoReturn":
    say(text)
    if not wrote:
        head = b"Status: " + status + b"\r\nContent-Type: text/plain\r\n"
        more = b"Retry-After: 1\r\n\r\n" if status[:3] == b"503" else b"\r\n"
        is_head = posix.environ.get(b"REQUEST_METHOD") == b"HEAD"
        put(1, head + more + (b"" if is_head else status + b"\n"))
    posix._exit(1)


def one_shot(text: bytes = b"") -> "NoReturn":
    if text:
        say(text)
    try:
        posix.execv(ONESHOT[0], ONESHOT)
    except OSError as error:
        fail(b"500 Internal Server Error", b"oneshot: %a" % error)


def link() -> "socket | None":
    """The daemon's socket, or None where nobody listens."""
    try:
        found = posix.lstat(STATE)
        if found.st_mode & 0o170777 != 0o040700 or found.st_uid != posix.geteuid():
            one_shot(b"folder: %s is not a folder of this user's alone, mode 0700" % STATE)
        sock = socket(AF_UNIX, SOCK_STREAM)
        sock.connect(STATE + b"/" + NAME + b".sock")
        if SO_PEERCRED:
            uid = memoryview(sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)).cast("I")[1]
            if uid not in (0, posix.geteuid()):
                one_shot(b"stranger: user %d listens in %s" % (uid, STATE))
        return sock
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        one_shot(b"folder: %s: %a" % (STATE, error))


def rare(part: str, name: str) -> "Callable[..., Any]":
    exec(compile(RARE[part], part, "exec"), globals())
    found: Callable[..., Any] = globals()[name]
    return found


def put(fd: int, data: bytes) -> None:
    global wrote
    wrote = wrote or fd == 1
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except OSError:
        if fd == 1:  # the server has left; the closed socket tells the daemon
            posix._exit(1)


def answer(put: "Put") -> "Generator[None, bytes, int]":
    """Takes FastCGI records, cut anywhere; returns the exit status."""
    data = b""
    while True:
        while len(data) < 8:
            data += yield
        kind, size, pad, ours = data[1], data[4] << 8 | data[5], data[6], data[2:4] == b"\0\1"
        if data[0] != 1 or (kind == 3 and ours and size != 8):
            fail(b"502 Bad Gateway", b"garbage: the daemon does not speak FastCGI")
        data = data[8:]
        if kind == 3 and ours:
            while len(data) < 8:
                data += yield
            if data[4]:
                fail(b"503 Service Unavailable", b"overloaded: the daemon refuses the request")
            return min(int.from_bytes(data[:4], "big"), 255)
        fd = kind - 5 if ours and kind in (6, 7) else 0
        for left, to in (size, fd), (pad, 0):
            while left:
                data = data or (yield)
                piece, data = data[:left], data[left:]
                left -= len(piece)
                if to:
                    put(to, piece)


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
    if not size and b"chunked" in posix.environ.get(b"HTTP_TRANSFER_ENCODING", b""):
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
    posix._exit(relay(sock, data, left))


def relay(sock: "socket", data: bytes, left: int) -> int:
    """Hand the request over and its answer back; returns the exit status."""
    if left:
        status: int = rare("duplex", "duplex")(sock, data, left, None)
        return status
    take = answer(put)
    next(take)
    try:
        if data:
            sock.sendall(data)
    except OSError:
        pass  # it may have answered all the same
    try:
        sock.settimeout(1)
        while data := sock.recv(65536):
            take.send(data)
    except StopIteration as end:
        status = end.value
        return status
    except TimeoutError:  # now somebody has to look whether the client is still there
        status = rare("duplex", "duplex")(sock, b"", 0, take)
        return status
    except OSError:
        pass
    cut()


def cut() -> "NoReturn":
    fail(b"502 Bad Gateway", b"cut: the daemon closed the connection before its answer's end")
