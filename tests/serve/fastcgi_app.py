"""The application behind the FastCGI rows: /ROUTE/NAME; it notes lines in a file called ledger.

A copy of this file is served from the folder of each daemon.
"""

import hashlib
import json
import os
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT_S = 30.0  # of a wait that nobody ends


def note(line):
    with open(os.path.join(HERE, "ledger"), "a") as file:
        file.write(line + "\n")


def wait(name):
    """Note that we are in, and stay until the file go-NAME is there."""
    note(f"in {name}")
    end = time.monotonic() + LIMIT_S
    while not os.path.exists(os.path.join(HERE, f"go-{name}")):
        if time.monotonic() > end:
            raise TimeoutError(name)
        time.sleep(0.005)


class Pieces:
    """An iterable that notes its close()."""

    def __init__(self, name, pieces):
        self.name = name
        self.pieces = pieces

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        note(f"closed {self.name}")


def hello(environ, name):
    return b"hello"


def told(data):
    return f"{len(data)} {hashlib.sha256(data).hexdigest()}"


def body(environ, name):
    """Read all of the body, and tell what it was."""
    stream = environ["wsgi.input"]
    try:
        data = stream.read()
    except OSError as error:
        note(f"body {name} {type(error).__name__}")
        raise
    length = environ.get("CONTENT_LENGTH")
    lines = [told(data), f"short={getattr(stream, 'short', False)}", f"length={length}"]
    lines.append(f"terminated={environ['wsgi.input_terminated']}")
    return "\n".join(lines).encode()


def variables(environ, name):
    return json.dumps([[n, v] for n, v in environ.items() if n.startswith(name)]).encode("latin-1")


def waits(environ, name):
    wait(name)
    return f"waited {name}".encode()


def mirror(environ, name):
    return environ["wsgi.input"].read()


def echo(environ, name):
    """Give back each piece as it comes, without a length."""
    read = environ["wsgi.input"].read
    return Pieces(name, iter(lambda: read(30_000), b""))


def slowly(name):
    number = 0
    while True:
        yield b"%08d\n" % number
        number += 1
        time.sleep(0.002)


def endless(environ, name):
    """Blocks until somebody stops us; at a pace, and small."""
    return Pieces(name, slowly(name))


def flood(environ, name):
    """Blocks until somebody stops us; as many as fit."""
    return Pieces(name, iter(lambda: bytes(100_000), None))


def first(environ, name):
    """A block, then a wait, then the body."""

    def pieces():
        yield b"first\n"
        wait(name)
        yield told(environ["wsgi.input"].read()).encode()

    return Pieces(name, pieces())


def held(environ, name):
    """A block, then a wait."""

    def pieces():
        yield b"first\n"
        wait(name)
        yield b"second\n"

    return Pieces(name, pieces())


def big(environ, name):
    return bytes(range(256)) * (int(name) // 256)


def chunks(environ, name):
    return Pieces(name, (b"%d" % (number % 10) for number in range(int(name))))


def errors(environ, name):
    """So many bytes on the error stream, then the body's length."""
    for _ in range(int(name) // 100):
        environ["wsgi.errors"].write("e" * 99 + "\n")
    return told(environ["wsgi.input"].read()).encode()


def fails(environ, name):
    raise RuntimeError("as asked")


def halfway(environ, name):
    def pieces():
        yield b"partial"
        if name:
            wait(name)
        raise RuntimeError("half-way, as asked")

    return Pieces(f"halfway{name}", pieces())


def data(environ, name):
    """A FILTER's two streams."""
    stdin = environ["wsgi.input"].read()
    stream = environ["gatebridge.data"]
    try:
        content = stream.read()
    except OSError as error:
        note(f"data {name} {type(error).__name__}")
        raise
    expected = environ.get("FCGI_DATA_LENGTH")
    lines = [
        environ["gatebridge.role"],
        told(stdin),
        told(content),
        f"{len(content)} of {expected}",
    ]
    return "\n".join(lines).encode()


def role(environ, name):
    return json.dumps([environ.get("gatebridge.role"), environ["REQUEST_METHOD"]]).encode()


ROUTES = {
    "hello": hello, "body": body, "vars": variables, "wait": waits, "unread": hello,
    "mirror": mirror, "echo": echo, "endless": endless, "flood": flood, "first": first,
    "held": held, "big": big, "chunks": chunks, "errors": errors, "fails": fails,
    "halfway": halfway, "data": data, "role": role,
}  # fmt: skip

STATUS = {"denied": "403 Forbidden"}


def application(environ, start_response):
    path = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
    if not path.strip("/"):  # an authorizer gets no path but REQUEST_URI's
        path = environ.get("REQUEST_URI", "/hello")
    route, _, name = path.strip("/").partition("/")
    result = ROUTES[route](environ, name)
    headers = [("Content-Type", "text/plain")]
    if environ.get("gatebridge.role") == "authorizer":
        headers += [("Variable-AUTH_METHOD", "test"), ("Variable-N", "2")]
    if route == "halfway":
        headers.append(("Content-Length", "100"))
    start_response(STATUS.get(name, "200 OK"), headers)
    return [result] if isinstance(result, bytes) else result
