"""gatebridge doctor: which link between a browser and the application is broken?"""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any, TypedDict

import click

from gatebridge.cli.options import APP_HELP, read_asked, with_configuration

if TYPE_CHECKING:
    from gatebridge.doctor.facts import Meant

PROBLEMS = 6
_SHOWN = (
    "as_json", "bind", "config", "control_socket", "error_log", "front_config", "front_user",
    "name", "script", "streams", "url",
)  # fmt: skip


@click.command("doctor", epilog=APP_HELP, short_help="Name the broken link, and what mends it.")
@click.option("--url", default="", metavar="URL",
              help="Ask the front server, and see what comes: sends some requests.")  # fmt: skip
@click.option("--front-user", default="", metavar="USER",
              help="Who connects to the socket; else who runs a front server here.")  # fmt: skip
@click.option("--front-config", multiple=True, metavar="[SERVER:]FILE",
              help="The front server's configuration; else the system's. May be given several"
              " times.")  # fmt: skip
@click.option("--script", multiple=True, metavar="FILE",
              help="A program of a cgi-bin. May be given several times.")  # fmt: skip
@click.option("--error-log", default="", metavar="FILE",
              help="The front server's, to find why a script gave no headers.")  # fmt: skip
@click.option("--streams", is_flag=True,
              help="The application sends answers piece by piece; with --url, see whether they"
              " arrive so.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@with_configuration
def command(app: str, config: str, as_json: bool, **given: Any) -> None:
    """Look along the way of a request, and name the first broken link and what mends it.

    Say what `gatebridge serve` is told, with all of its options; without an application or a file,
    the daemon that is running is meant. Nothing is changed, and no request is sent without --url.

    Exit status 0, or 6 when something is broken.
    """
    from gatebridge.doctor.checks import CHECKS
    from gatebridge.doctor.facts import Facts
    from gatebridge.doctor.report import examine, lines

    report = examine(Facts(_meant(app, config, given)), CHECKS)
    if as_json:
        click.echo(json.dumps(report.as_data(), indent=2))
    else:
        for line in lines(report):
            click.echo(line)
    if report.is_broken:
        sys.exit(PROBLEMS)


class _Said(TypedDict):
    front_user: str
    scripts: tuple[str, ...]
    error_log: str
    front_config: tuple[str, ...]
    url: str
    streams: bool
    environ: dict[str, str]


def _meant(app: str, config: str, given: dict[str, Any]) -> Meant:
    """raises click.UsageError"""
    from gatebridge.config import examine
    from gatebridge.doctor.facts import Meant

    said: _Said = {
        "front_user": _known(str(given.pop("front_user"))),
        "scripts": tuple(given.pop("script")),
        "error_log": str(given.pop("error_log")),
        "front_config": tuple(given.pop("front_config")),
        "url": _checked(str(given.pop("url"))),
        "streams": bool(given.pop("streams")),
        "environ": dict(os.environ),
    }
    binds = tuple(given.get("bind") or ())
    if not app and not config and not given.get("mount"):
        return Meant(
            binds=binds,
            control_socket=given.get("control_socket") or "",
            name=given.get("name") or "",
            **said,
        )
    configuration, problems = examine(read_asked(app, config, given))
    words = ["gatebridge", "serve", *([app] if app else []), *(["-c", config] if config else [])]
    for bind in binds:
        words += ["--bind", bind]
    return Meant(
        configuration=configuration,
        problems=tuple(map(str, problems)),
        command=shlex.join(words),
        **said,
    )


def _checked(url: str) -> str:
    """raises UseError("doctor.url")"""
    from gatebridge.doctor.url_probe import Url

    if url:
        Url(url, "")
    return url


def _known(user: str) -> str:
    from gatebridge.doctor.machine import person

    if user and person(user) is None:
        raise click.BadParameter(f"there is no user {user!r} here", param_hint="--front-user")
    return user


for _option in command.params:  # they are serve's, and its help lists them
    if isinstance(_option, click.Option):
        _option.hidden = _option.name not in _SHOWN
