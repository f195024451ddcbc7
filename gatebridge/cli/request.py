"""``gatebridge request``: one request to anything that speaks FastCGI, SCGI, uwsgi or HTTP."""

import os
import shutil
import stat
import sys
import tempfile
from typing import IO, TextIO

import click

from gatebridge.cli.seconds import seconds
from gatebridge.client import TIMEOUT_S, exchange
from gatebridge.errors import ConfigError, GatebridgeError, UseError
from gatebridge.meta import Ask
from gatebridge.wire.events import AUTHORIZER, FILTER, RESPONDER, Body, End, ErrorText, Head

FAILURE = 1
USAGE = 2
NOBODY = 7

_SPOOLED = 1 << 20  # bytes of standard input kept in memory
_ROLES = {"responder": RESPONDER, "authorizer": AUTHORIZER, "filter": FILTER}
_REFUSALS = {
    1: "it does not serve two requests on one connection (CANT_MPX_CONN)",
    2: "it is overloaded (OVERLOADED); try again, or give it more workers",
    3: "it does not play this role (UNKNOWN_ROLE); try --role responder",
}

_OTHER = "Name the protocol it speaks: unix: and fcgi:// are FastCGI; there are scgi, uwsgi, http."
_HINTS = {
    "connect.no_socket": "Is the daemon started, and is this its --bind? Look with: ss -lx",
    "connect.not_a_socket": "Name the daemon's socket; this path is something else.",
    "connect.permission": "Compare `ls -l` of it and of its folders with your user; the daemon"
    " takes ?mode=0660&group=NAME in its --bind.",
    "connect.refused": "Its daemon has ended, or listens elsewhere. Start it; look with: ss -lxt",
    "connect.busy": "The daemon accepts too slowly: more workers, or a longer ?backlog=.",
    "connect.timeout": "A firewall may drop the packets; try from the machine itself.",
    "connect.unresolved": "Check the spelling of the host, or give its address.",
    "connect.failed": "Check the address and the route to it.",
    "protocol.silent": f"Read its log first. {_OTHER}",
    "protocol.http": "Use an http:// or http+unix: bind for it.",
    "protocol.fastcgi": "Use unix: or fcgi:// for it.",
    "protocol.tls": "It wants an encrypted connection; name its plain port or socket.",
    "protocol.garbage": _OTHER,
    "answer.timeout": f"The application is slow or stuck: --timeout waits longer. {_OTHER}",
    "answer.cut": "The application or its worker ended meanwhile: read its log.",
    "answer.short": "The application broke off, or its Content-Length is wrong: read its log.",
    "head.malformed": "The application writes a head that no web server takes.",
    "head.too_big": "Web servers refuse such heads, too: at most 64 KiB and 100 fields here.",
    "length.malformed": "The application writes a length that no web server takes.",
    "length.too_big": "The application writes a length that no web server takes.",
    "output.failed": "Make room where its output goes, or send that elsewhere.",
    "params.too_big": "Send fewer or shorter headers, or use FastCGI or SCGI.",
    "params.malformed": "Only FastCGI and uwsgi carry a NUL.",
}


@click.command("request", short_help="Send one request over FastCGI, SCGI, uwsgi or HTTP.")
@click.argument("bind")
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
              help="A request header; repeatable.")  # fmt: skip
@click.option("-d", "--data", metavar="DATA|@FILE|@-",
              help="The body: as written, from a file, or from standard input.")  # fmt: skip
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE",
              help="A variable as it is, in place of ours of that name; repeatable.")  # fmt: skip
@click.option("--role", default="responder", show_default=True,
              metavar="responder|authorizer|filter|N", help="The FastCGI role.")  # fmt: skip
@click.option("--keep", is_flag=True, help="FastCGI: ask to keep the connection (KEEP_CONN).")
@click.option("--timeout", default=TIMEOUT_S, show_default=True, metavar="SECONDS",
              type=seconds(),
              help="Give up after this long without a byte.")  # fmt: skip
@click.option("-i", "--include", is_flag=True, help="Print the answer's status and headers, too.")
@click.option("-f", "--fail", is_flag=True, help="Exit with 1 if the status is 400 or more.")
def command(
    bind: str,
    method: str,
    url: str,
    headers: tuple[str, ...],
    data: str | None,
    params: tuple[str, ...],
    role: str,
    keep: bool,
    timeout: float,
    include: bool,
    fail: bool,
) -> None:
    """Send one request to BIND, print the answer, and on stderr what it logs.

    \b
    BIND  unix:/run/app.sock, fcgi://host:9000, scgi://…, uwsgi://…, http://…,
          scgi+unix:/path, uwsgi+unix:/path, http+unix:/path
    URL   a path with query, or http(s)://host/path for the variables that name the host

    Exit codes: 0 answered, 1 failed on the way, 2 wrong usage, 7 nobody is there.
    """
    fields = [_field(text) for text in headers]
    if data is not None and not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", "application/x-www-form-urlencoded"))
    body = _body(data)
    own = [_param(text) for text in params]
    try:
        ask = Ask(method, url, fields, body, own, _role(role), keep)
        code = _answer(bind, ask, timeout, include, fail)
    except GatebridgeError as error:
        code = _failed(error)
    finally:
        if body is not None and not isinstance(body, bytes):
            body.close()
    click.get_current_context().exit(code)


def _answer(bind: str, ask: Ask, timeout_s: float, include: bool, fail: bool) -> int:
    """Print the answer as it comes. The exit code."""
    code = 0
    for event in exchange(bind, ask, timeout_s):
        if isinstance(event, Body):
            _write(sys.stdout, event.data)
        elif isinstance(event, ErrorText):
            _write(sys.stderr, event.data)
        elif isinstance(event, Head):
            if include:
                lines = [f"Status: {event.status}\n"]
                lines += [f"{name}: {value}\n" for name, value in event.headers]
                _write(sys.stdout, "".join([*lines, "\n"]).encode("latin-1"))
            if fail and event.status >= "400":
                code = FAILURE
        elif isinstance(event, End):
            code = _ended(event) or code
    return code


def _write(stream: TextIO | None, data: bytes) -> None:
    """raises GatebridgeError("output.failed"); BrokenPipeError, which is click's to handle"""
    if stream is None:  # closed by who started us
        return
    try:
        stream.buffer.write(data)
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is left in it
        why = f"the answer cannot be written: {error.strerror}"
        raise GatebridgeError("output.failed", why) from error


def _ended(end: End) -> int:
    if end.protocol_status:
        reason = _REFUSALS.get(end.protocol_status, f"protocolStatus {end.protocol_status}")
        _say(f"The application refused the request: {reason}.")
        return FAILURE
    if end.app_status:
        _say(f"The application says that it failed: appStatus {end.app_status}.")
        return FAILURE
    return 0


def _failed(error: GatebridgeError) -> int:
    _say(f"{error.detail or error.code} ({error.code})")
    if error.code in _HINTS:
        _say(_HINTS[error.code])
    if error.code.startswith("connect."):
        return NOBODY
    return USAGE if isinstance(error, ConfigError | UseError) else FAILURE


def _say(sentence: str) -> None:
    click.echo(f"gatebridge request: {sentence}", err=True)


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is not 'NAME: VALUE'", param_hint="--header")
    return name.strip(), _wire(value.strip())


def _param(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--param")
    return _wire(name), _wire(value)


def _wire(text: str) -> str:
    """What was typed, as the latin-1 text that stands for its bytes."""
    return text.encode(sys.getfilesystemencoding(), "surrogateescape").decode("latin-1")


def _role(text: str) -> int:
    if text.lower() in _ROLES:
        return _ROLES[text.lower()]
    if text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= 0xFFFF:
        return int(text)
    raise click.BadParameter(
        f"{text!r} is none of {', '.join(_ROLES)}, nor 0 to 65535", param_hint="--role"
    )


def _body(data: str | None) -> bytes | IO[bytes] | None:
    """The bytes to send. What has no size is read to its end first: its length must be known."""
    if data is None:
        return None
    if not data.startswith("@"):
        return _wire(data).encode("latin-1")
    if data == "@-":
        if sys.stdin is None:
            raise click.BadParameter("standard input is closed", param_hint="--data")
        return _spooled(sys.stdin.buffer)
    try:
        file = open(data[1:], "rb")
        if _has_size(file):
            return file
        with file:
            return _spooled(file)
    except OSError as error:
        raise click.BadParameter(
            f"{data[1:]!r} cannot be read: {error.strerror}", param_hint="--data"
        ) from error


def _has_size(file: IO[bytes]) -> bool:
    """Not so a pipe, and what /proc makes up while it is read."""
    about = os.fstat(file.fileno())
    return stat.S_ISREG(about.st_mode) and about.st_size > 0


def _spooled(file: IO[bytes]) -> IO[bytes]:
    spool = tempfile.SpooledTemporaryFile(_SPOOLED)
    shutil.copyfileobj(file, spool)
    spool.seek(0)
    return spool
