"""``gatebridge dev``: serve over HTTP while the application is written."""

from __future__ import annotations

import os
import sys
from functools import partial

import click

from gatebridge.cli.main import exit_status
from gatebridge.cli.options import APP_HELP
from gatebridge.config import Asked
from gatebridge.daemon import serve
from gatebridge.dev import Debugging
from gatebridge.errors import ConfigError
from gatebridge.serve.tls_option import ADHOC
from gatebridge.serving import ENGINES, LOG, bind_text, is_loopback

_FILES = ("app.py", "wsgi.py")  # looked for where no APP is named


@click.command("dev", epilog=APP_HELP, short_help="Serve while you write: reloads, debugger.")
@click.argument("app", metavar="[APP]", default="")
@click.option("--host", "-h", default="127.0.0.1", metavar="HOST",
              help="Where to listen; also unix://PATH.  [default: 127.0.0.1]")  # fmt: skip
@click.option("--port", "-p", type=click.IntRange(0, 65_535), default=5000, metavar="N",
              help="0 takes a free one, and the log says which.  [default: 5000]")  # fmt: skip
@click.option("--cert", default="", metavar="FILE",
              help="A certificate for https, or adhoc for one made now.")  # fmt: skip
@click.option("--key", default="", metavar="FILE", help="Its key, where that is another file.")
@click.option("--reload/--no-reload", default=True,
              help="Reload when a file of the application changes.  [default: on]")  # fmt: skip
@click.option("--debugger/--no-debugger", default=None,
              help="Show tracebacks in the browser: Werkzeug's debugger where it is installed, "
              "else a plain page. Without the option: on loopback only.")  # fmt: skip
@click.option("--evalex/--no-evalex", default=True,
              help="Let Werkzeug's debugger run code, with its PIN.  [default: on]")  # fmt: skip
@click.option("--with-threads/--without-threads", default=True,
              help="Several requests at once.  [default: on]")  # fmt: skip
@click.option("--extra-files", multiple=True, metavar="FILES",
              help=f"Reload for these as well; {os.pathsep} between several.")  # fmt: skip
@click.option("--exclude-patterns", multiple=True, metavar="PATTERNS",
              help=f"Paths whose changes do not matter; {os.pathsep} between several.")  # fmt: skip
@click.option("--reloader-type", type=click.Choice(list(ENGINES)), default="auto",
              help="How changes are noticed.")  # fmt: skip
@click.option("--reloader-interval", default="0.5", metavar="S",
              help="Between two looks.  [default: 0.5 s]")  # fmt: skip
@click.option("--static", multiple=True, metavar="/PATH=DIR",
              help="Files below a path. May be given several times.")  # fmt: skip
def command(
    app: str,
    host: str,
    port: int,
    cert: str,
    key: str,
    reload: bool,
    debugger: bool | None,
    evalex: bool,
    with_threads: bool,
    extra_files: tuple[str, ...],
    exclude_patterns: tuple[str, ...],
    reloader_type: str,
    reloader_interval: str,
    static: tuple[str, ...],
) -> None:
    """Serve APP over HTTP for development; without APP what app.py or wsgi.py holds.

    Everything else that gatebridge serve can be told is told by GATEBRIDGE_… variables.
    """
    flags: dict[str, str | bool | tuple[str, ...]] = {
        "bind": (bind_text(host, port, *_tls(cert, key)),),
        "threads": "8" if with_threads else "1",
        "access_logfile": "-",
        "access_logformat": LOG,
        "reload": reload,
        "reload_engine": ENGINES[reloader_type],
        "reload_interval": reloader_interval,
        "reload_extra_file": _split(extra_files),
        "reload_exclude": _split(exclude_patterns),
    }
    asked = Asked(
        app=app or _find_app(),
        flags={name: value for name, value in flags.items() if value != ()},
        environ=dict(os.environ),
        mounts=tuple([_mount(text) for text in static]),
    )
    shows = debugger if debugger is not None else host.startswith("unix://") or is_loopback(host)
    new = partial(Debugging, evalex=evalex, hostname=host) if shows else None
    sys.exit(serve(asked, exit_status, new))


def _tls(cert: str, key: str) -> list[str]:
    """The bind's option. raises click.UsageError"""
    if key and (not cert or cert == ADHOC):
        raise click.UsageError("--key is for a --cert FILE.")
    return [f"tls={cert},{key}" if key else f"tls={cert}"] if cert else []


def _split(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([one for text in texts for one in text.split(os.pathsep) if one])


def _mount(text: str) -> str:
    """raises click.UsageError"""
    path, equals, folder = text.partition("=")
    if not equals or not path.startswith("/") or not folder:
        raise click.UsageError(f"--static {text}: write /PATH=DIR.")
    return f"{path}=static:{folder}"


def _find_app() -> str:
    """raises ConfigError("app.missing")"""
    for name in _FILES:
        if os.path.isfile(name):
            return name.removesuffix(".py")
    raise ConfigError("app.missing", f"no APP, and neither {' nor '.join(_FILES)} in this folder")
