"""gatebridge explain: what became of a request between the front server and the application."""

from __future__ import annotations

import json
import os
import secrets as random
import ssl
import textwrap
import threading
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import click

from gatebridge.cli.asking import configuration_of, with_daemon
from gatebridge.environ.recorded import PROTOCOLS, read
from gatebridge.environ.report import report
from gatebridge.errors import ConfigError, GatebridgeError, UseError
from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from gatebridge.cli.asking import Daemon
    from gatebridge.environ.report import Report

WAIT_S = 60.0
HEADER = "X-Gatebridge-Explain"
_LOOK_S = 1.0  # between two looks whether the request has come
_LATE_S = 0.5  # for its report, which was made before its answer
_FILE_MAX = 64 << 20  # bytes of a recorded file
_SHOWN = 4  # letters of a secret
_WIDTH = 28  # of a name, before its value moves to the right
_LINE = 96  # letters of one that is folded
_MARGIN = " " * 6
_SECRET = ("COOKIE", "AUTHORIZATION", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "API_KEY", "APIKEY")


@click.command("explain", short_help="Show what became of a request's variables, and why.")
@click.option("--url", default="", metavar="URL", help="Ask for URL and explain that request.")
@click.option("--next", "next_one", is_flag=True, help="Explain the next request that comes.")
@click.option("--file", default="", metavar="FILE", help="Explain a recorded one.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
              help="With --url: a header of the request; repeatable.")  # fmt: skip
@click.option("-X", "--method", default="GET", metavar="METHOD", help="With --url; GET if unsaid.")
@click.option("-k", "--insecure", is_flag=True, help="With --url: take any certificate.")
@click.option("--path", default="", metavar="PATH", help="With --next: only paths that begin so.")
@click.option("--protocol", default="", type=click.Choice(["", *PROTOCOLS]), show_choices=False,
              metavar="NAME", help=f"With --file: {', '.join(PROTOCOLS)}; else it is told by the"
              " first bytes.")  # fmt: skip
@click.option("--mount", default=None, metavar="PATH", help="With --file: as serve has it.")
@click.option("--front", default="", metavar="NAME", help="With --file: as serve has it.")
@click.option("--secrets", is_flag=True, help="Show cookies and credentials whole.")
@click.option("--save", default="", metavar="FILE", help="Write it as JSON, for --file.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@with_daemon(WAIT_S)
def command(
    daemon: Daemon, url: str, next_one: bool, file: str, secrets: bool, save: str, as_json: bool,
    **more: Any,
) -> None:  # fmt: skip
    """Show the variables that a front server sent, the environ that the application got, and for
    each difference the rule that made it, why, and where that was seen.

    --url and --next ask a running daemon, --file does without one.

    Exit codes: 0 explained, 1 no such request came, 2 wrong usage, 7 no daemon answers.
    """
    if bool(url) + next_one + bool(file) != 1:
        raise UseError("explain.which", "one of --url URL, --next and --file FILE, please")
    if file:
        told = of_file(file, daemon.config, more["protocol"], more["mount"], more["front"])
    elif url:
        told = of_url(daemon, url, more["method"], more["headers"], more["insecure"])
    else:
        told = of_next(daemon, more["path"])
    if "received" not in told:
        raise GatebridgeError("explain.failed", escape(str(told.get("failed", "no report"))))
    if not secrets:
        told = without_secrets(told)
    if save:
        write(save, told)
        click.echo(f"saved to {save}; gatebridge explain --file {save} shows it again", err=True)
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        for line in lines(told):
            click.echo(line)


# -- where a report comes from


def of_file(file: str, config: str, protocol: str, mount: str | None, front: str) -> Report:
    """config: a gatebridge.toml whose first pool's settings hold.

    raises  ConfigError("explain.file"), UseError("recorded.…"), PeerError
    """
    try:
        with open(file, "rb") as source:
            data = source.read(_FILE_MAX)
    except OSError as error:
        raise ConfigError("explain.file", f"{file}: {error.strerror}") from error
    own: dict[str, object] = {}
    if config:
        settings = configuration_of(config).pools[0].settings
        trusted = [item for item in settings.forwarded_allow_ips.split(",") if item]
        own = {"mount": settings.mount, "front": settings.front, "trusted": trusted}
        own["checked_user"] = settings.checked_user
    if mount is not None:
        own["mount"] = mount
    if front:
        own["front"] = front
    recorded = read(data, protocol)
    told = report(recorded.builder(**own), recorded.request, recorded.added)
    return {**told, "protocol": recorded.protocol, "bind": file}


def of_next(daemon: Daemon, path: str) -> Report:
    number = _arm(daemon, daemon.timeout_s, below=path)
    click.echo(f"waiting {daemon.timeout_s:g} s for a request to {daemon.path}", err=True)
    end = time.monotonic() + daemon.timeout_s
    while time.monotonic() < end:
        found = _take(daemon, number, _LOOK_S)
        if found is not None:
            return found
    what = f"no request below {path}" if path else "no request"
    raise GatebridgeError("explain.none", f"{what} came in {daemon.timeout_s:g} s")


def of_url(
    daemon: Daemon, url: str, method: str, headers: tuple[str, ...], insecure: bool
) -> Report:
    """Ask the daemon to wait for a request that only we can make, then make it.

    raises  GatebridgeError("explain.not_reached"), GatebridgeError("explain.no_answer")
    """
    token = random.token_hex(16)
    fetch = Fetch(url, method, [*map(field, headers), (HEADER, token)], daemon.timeout_s, insecure)
    number = _arm(daemon, daemon.timeout_s, token=token)
    thread = threading.Thread(target=fetch.run, daemon=True)
    thread.start()
    end = time.monotonic() + daemon.timeout_s
    while time.monotonic() < end:
        there = not thread.is_alive()
        found = _take(daemon, number, _LATE_S if there else _LOOK_S)
        if found is not None:
            return found
        if there:
            break
    if fetch.error:
        raise GatebridgeError("explain.no_answer", f"{url}: {escape(fetch.error)}")
    why = "its front server answers this URL by itself, or asks another daemon"
    if fetch.status[:3] in ("502", "503", "504"):
        why = "its front server could not reach what it asks: compare its socket with our --bind"
    answer = f"was answered {escape(fetch.status)}" if fetch.status else "was not answered in time"
    text = f"{url} {answer}, but no such request came to {daemon.path}: {why}"
    raise GatebridgeError("explain.not_reached", text)


def _arm(daemon: Daemon, limit_s: float, **what: str) -> int:
    return int(daemon.ask("explain-next", limit=limit_s, **what)["number"])


def _take(daemon: Daemon, number: int, wait_s: float) -> Report | None:
    try:
        wait_s = min(wait_s, daemon.timeout_s / 2)  # less than we wait for any answer
        found: Report | None = daemon.ask("explain-take", number=number, wait=wait_s).get("report")
    except GatebridgeError as error:
        if error.code == "explain.over":
            return None
        raise
    return found


class Fetch:
    """One request to a front server, made by a thread. status, error: what became of it.

    raises  UseError("explain.url")
    """

    def __init__(
        self,
        url: str,
        method: str,
        headers: list[tuple[str, str]],
        timeout_s: float,
        insecure: bool,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise UseError("explain.url", f"{url!r}: a URL as in http://localhost:8080/app/x?y=1")
        self.status = self.error = ""
        self._method = method
        self._headers = headers
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        self._target = f"{target}?{query}" if parts.query else target
        self._connection = HTTPConnection(parts.hostname, port, timeout=timeout_s)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            if insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            self._connection = HTTPSConnection(
                parts.hostname, port, timeout=timeout_s, context=context
            )

    def run(self) -> None:
        connection = self._connection
        names = {name.lower() for name, _ in self._headers}
        ours = [] if "user-agent" in names else [("User-Agent", "gatebridge-explain")]
        try:
            connection.putrequest(self._method, self._target, skip_host="host" in names,
                                  skip_accept_encoding=True)  # fmt: skip
            for name, value in [*ours, *self._headers]:
                connection.putheader(name, value.encode())
            connection.endheaders()
            answer = connection.getresponse()
            server = answer.getheader("Server")
            self.status = f"{answer.status} {answer.reason}" + (f" by {server}" if server else "")
        except ssl.SSLCertVerificationError as error:
            self.error = f"{error.verify_message}; --insecure takes any certificate"
        except (OSError, HTTPException, ValueError) as error:
            self.error = str(error) or type(error).__name__
        finally:
            connection.close()


def field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is not 'NAME: VALUE'", param_hint="--header")
    return name.strip(), value.strip()


# -- what is shown


def without_secrets(told: Report) -> Report:
    """The same with cookies and credentials shortened, wherever they stand."""
    environ = {name: masked(name, value) for name, value in told["environ"].items()}
    changes = [
        {**one, **{key: masked(one["name"], one[key]) for key in ("before", "after") if one[key]}}
        for one in told["changes"]
    ]
    received = [[name, masked(name, value)] for name, value in told["received"]]
    return {**told, "environ": environ, "changes": changes, "received": received}


def masked(name: str, value: str) -> str:
    """The scheme of credentials, and the first letters of anything else that is secret."""
    if not value or not any(word in name.upper() for word in _SECRET):
        return value
    scheme, space, rest = value.partition(" ")
    if "AUTHORIZATION" in name.upper() and space and scheme.isalpha():
        return f"{scheme} ... ({len(rest)} characters)"
    shown = value[:_SHOWN] if len(value) > 2 * _SHOWN else ""
    return f"{shown}... ({len(value)} characters)"


def lines(told: Report) -> list[str]:
    """The report for a terminal."""
    front, settings = told["front"], told["settings"]
    software = front["software"] or "it does not say its name"
    mount = settings["mount"]
    found = [
        f"front server  {escape(front['name'])} ({readable(software)})",
        f"came by       {escape(str(told.get('protocol')))}, {readable(str(told.get('bind')))}",
        f"mount         {'not said' if mount is None else escape(str(mount)) or '/'}",
    ]
    if told.get("pool"):
        found.append(f"worker        pid {told.get('pid')} of pool {escape(str(told['pool']))}")
    if told.get("route"):
        found.append(f"route         {readable(str(told['route']))}")
    found += ["", f"received: {len(told['received'])} variables"]
    found += [pair(name, value) for name, value in told["received"]]
    found += [pair(name, f"{value} (of the connection)") for name, value in told["added"].items()]
    found += ["", f"changed on the way: {len(told['changes'])}" if told["changes"] else
              "changed on the way: nothing"]  # fmt: skip
    found += changes(told["changes"])
    refused = told["refused"]
    if refused is not None:
        why = escape(f"{refused.get('code')}: {refused.get('error')}")
        return [*found, "", f"refused with 400: {why}", "The application does not see it."]
    own = {**told["environ"], **told["others"]}
    found += ["", f"given to the application: {len(own)} keys"]
    found += [pair(name, str(own[name])) for name in sorted(own)]
    if told["body"].get("length") is None:
        found.append("The body's length is not known: it is read to its end and counted first.")
    return found


def changes(told: list[dict[str, Any]]) -> list[str]:
    """What each row did, with its reason below."""
    found: list[str] = []
    for at, one in enumerate(told):
        before, after = quoted(one["before"]), quoted(one["after"])
        found.append(pair(one["name"], f"{before} -> {after}", plain=True))
        if at + 1 == len(told) or told[at + 1]["row"] != one["row"]:
            found += folded(f"{escape(one['row'])}: {escape(one['reason'])}")
            found += folded(f"seen: {escape(one['source'])}")
    return found


def folded(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE, initial_indent=_MARGIN, subsequent_indent=_MARGIN)


def pair(name: str, value: str, plain: bool = False) -> str:
    shown = value if plain else readable(value)
    return f"  {readable(name):{_WIDTH}} {shown}".rstrip()


def quoted(value: str | None) -> str:
    return "absent" if value is None else f'"{readable(value)}"'


def readable(value: str) -> str:
    """A WSGI string for a reader: as UTF-8 where its bytes are."""
    try:
        return escape(value.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return escape(value)


def write(file: str, told: Report) -> None:
    """For its owner alone. raises ConfigError("explain.save")"""
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="ascii") as target:
            os.fchmod(fd, 0o600)
            json.dump(told, target, indent=2)
            target.write("\n")
    except OSError as error:
        raise ConfigError("explain.save", f"{file}: {error.strerror}") from error
