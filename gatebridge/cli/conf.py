"""gatebridge conf: configurations for the servers in front, and for what starts the daemon."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from gatebridge.cli.options import read_asked, with_settings
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatebridge.config import Asked
    from gatebridge.fronts.place import Place
    from gatebridge.fronts.registry import Server

REFUSED = 6
_APP = "myapp:app"  # who names none gets a text to put one into
_OWN = {
    "app": "APP, where the daemon is started by what is made: systemd, docker, ….",
    "folder": "Where the daemon starts there.  [default: the gatebridge.toml's, or this one]",
    "pool": "One of the pools of a gatebridge.toml.",
    "protocol": "Of the sockets to use: fastcgi, uwsgi, scgi or http; the first that there is.",
    "server_name": "Host names, a blank between two; _ for every one.  [default: localhost]",
    "listen": "80, 127.0.0.1:8080, '443 ssl'.  [default: 80, or 443 ssl with --tls]",
    "tls": "CERTIFICATE,KEY: files for TLS in front.",
    "send_files": "A folder whose files the application may name in X-Accel-Redirect.",
    "health": "A path that is answered while the daemon is well.  [default: --ping-path]",
    "keep": "Connections kept open to the daemon.  [default: 32]",
    "shim": "A .cgi or .fcgi, for the forms that start one.",
}
_VALUES = {"app": "APP", "folder": "DIR", "pool": "NAME", "protocol": "NAME",
           "server_name": "NAMES", "listen": "WHERE", "tls": "FILES", "send_files": "DIR",
           "health": "URLPATH", "keep": "N", "shim": "FILE"}  # fmt: skip


def _own_options(command: Any) -> Any:
    for name, text in reversed(_OWN.items()):
        flag = f"--{name.replace('_', '-')}"
        kind: Any = click.IntRange(0, 10_000) if name == "keep" else str
        command = click.option(flag, name, type=kind, metavar=_VALUES[name], help=text)(command)
    return command


class _WithForms(click.Command):
    """Its help ends with the servers and their forms."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from gatebridge.fronts.registry import SERVERS

        with formatter.section("Servers and forms"):
            formatter.write("".join(f"  {line}\n" for line in _listed(SERVERS).splitlines()))


@click.command("conf", cls=_WithForms, short_help="Write a front server's configuration.")
@click.argument("server", default="")
@click.argument("form", default="")
@_own_options
@click.option(
    "--static",
    multiple=True,
    metavar="/URL=DIR",
    help="Files that the front server sends itself. May be given several times.",
)
@click.option(
    "--buffering/--no-buffering",
    default=True,
    help="Off: streams reach the client at once, bodies the application.  [default: on]",
)
@click.option("--check", is_flag=True, help="Let the server itself test it; 6 when it refuses.")
@click.option("--install", is_flag=True, help="Write it where Debian keeps such files.")
@click.option("--root", default="", metavar="DIR", help="What --install takes for /.")
@click.option("-o", "--output", default="", metavar="FILE", help="Write it there.")
@with_settings
def command(server: str, form: str, config: str, **given: Any) -> None:
    """Write the configuration of SERVER for a daemon with these options, or this gatebridge.toml.

    Without SERVER: which there are, and their forms. Every option of `gatebridge serve` is known.
    """
    from gatebridge.fronts.registry import SERVERS

    if not server:
        click.echo(_listed(SERVERS), nl=False)
        return
    known = _pick(server, SERVERS, "server")
    form = form or next(iter(known.forms))
    _pick(form, known.forms, f"form of {server}")
    own = {name: given.pop(name) for name in (*_OWN, "static", "buffering")}
    deeds = {name: given.pop(name) for name in ("check", "install", "root", "output")}
    if deeds["install"] and deeds["output"]:
        raise click.UsageError("--install and -o FILE both say where; give one of them.")
    own["listen"] = own["listen"] or known.forms[form].listen
    place = _place(config, own, given, server)
    text = known.build(place, form)
    if deeds["check"]:
        _check(known, form, place)
    if deeds["install"]:
        _install(known, form, place, text, deeds["root"])
    elif deeds["output"]:
        _write(deeds["output"], text)
    else:
        click.echo(text, nl=False)


def _pick(name: str, known: Mapping[str, Any], kind: str) -> Any:
    if name not in known:
        raise click.UsageError(f"{name!r} is no {kind}; there are {', '.join(known)}.")
    return known[name]


def _listed(servers: Mapping[str, Server]) -> str:
    width = max(len(f"{name} {form}") for name, one in servers.items() for form in one.forms)
    lines = []
    for name, one in servers.items():
        for number, (form, about) in enumerate(one.forms.items()):
            usual = "" if number or len(one.forms) == 1 else "  (the one without a form)"
            lines.append(f"{f'{name} {form}':{width}}  {about.about}{usual}\n")
    return "".join(lines)


def _place(config: str, own: dict[str, Any], given: dict[str, Any], server: str) -> Place:
    """What is served, from the settings and this command's own options. raises ConfigError"""
    from gatebridge.config import resolve
    from gatebridge.front_places import places

    app, pool, protocol = own.pop("app"), own.pop("pool"), own.pop("protocol")
    folder = own.pop("folder")
    asked = read_asked(app or ("" if config else _APP), config, given)
    configuration = resolve(asked)
    if pool or len(configuration.pools) > 1:
        found = [one for one in configuration.pools if one.name == pool]
        if not found:
            names = ", ".join(one.name for one in configuration.pools)
            why = f"no pool is called {pool!r}" if pool else "the file has several pools"
            raise ConfigError("conf.pool", f"{why}; --pool takes one of {names}")
        configuration = dataclasses.replace(configuration, pools=tuple(found))
    usual = os.path.dirname(configuration.file) if configuration.file else os.getcwd()
    folder = os.path.abspath(folder) if folder else usual
    said = {name: value for name, value in _fields(own).items() if value not in (None, "", ())}
    said = _sent(configuration.pools[0].settings.send_file, server) | said
    (place,) = places(
        configuration, folder=folder, argv=_argv(asked), protocol=protocol or "", **said
    )
    if pool:
        return dataclasses.replace(place, name=f"{place.name}-{pool}"[:64])
    return place


def _sent(send_file: str, server: str) -> dict[str, Any]:
    """What the daemon's own --send-file says of a place, if it is this server's."""
    from gatebridge.serve.send_file import parse

    rule = parse(send_file)
    if rule is None or rule.server != server:
        return {}
    return {"send_files": rule.folder, "send_url": rule.url}


def _fields(own: dict[str, Any]) -> dict[str, Any]:
    """This command's options as fields of a place. raises ConfigError"""
    pairs = []
    for text in own["static"]:
        prefix, equals, folder = text.partition("=")
        if not equals:
            raise ConfigError("conf.static", f"{text!r}: write /PREFIX=/FOLDER")
        pairs.append((prefix.rstrip("/"), os.path.abspath(folder) if folder else ""))
    fields = own | {"static": tuple(pairs)}
    if own["tls"]:
        fields["tls"] = tuple(own["tls"].split(","))
    for name in ("send_files", "shim"):
        if own[name]:
            fields[name] = os.path.abspath(own[name])
    return fields


def _argv(asked: Asked) -> tuple[str, ...]:
    """The command that starts this daemon, as one would type it."""
    from gatebridge.cli.first_steps import command as command_words
    from gatebridge.config import flag

    program = os.path.abspath(sys.argv[0])
    run = [program] if os.path.basename(program) == "gatebridge" else command_words()
    words = [*run, "serve", *([asked.app] if asked.app else [])]
    words += ["-c", os.path.abspath(asked.file)] if asked.file else []
    for text in asked.mounts:
        words += ["--mount", text]
    for name, value in asked.flags.items():
        if isinstance(value, bool):
            words.append(flag(name, off=not value))
            continue
        for text in value if isinstance(value, tuple) else (value,):
            words += [flag(name), str(text)]
    return tuple(words)


def _check(server: Server, form: str, place: Place) -> None:
    """Tell what the server says of it; exit with 6 when it refuses. raises ConfigError"""
    from gatebridge.front_check import check

    door = place.door
    if os.geteuid() != 0 and door.port < 1024:  # nginx tries the port, and you may not have it
        host = f"{door.host}:" if door.host else ""
        listen = f"{host}{door.port + 8000}{' ssl' if door.tls else ''}"
        place = dataclasses.replace(place, listen=listen)
        click.echo(f"note: tested with port {door.port + 8000}: {door.port} is root's", err=True)
    accepted, words = check(server, form, server.build(place, form), place.name)
    click.echo(words, nl=False, err=True)
    if not accepted:
        click.echo("gatebridge conf: the server refuses it", err=True)
        sys.exit(REFUSED)


def _install(server: Server, name: str, place: Place, text: str, root: str) -> None:
    from gatebridge.front_check import find
    from gatebridge.front_install import install

    form = server.forms[name]
    if not form.file:
        why = "it is a part of a file of yours; copy it there"
        raise ConfigError("conf.no_place", f"this form has no place of its own: {why}")
    home = place.start.folder.rstrip("/")  # of what is not the system's
    before = os.path.abspath(root) if root else ""
    path = before + form.file.format(name=place.name, home=home)
    written = install(path, text, server.comment, parents=bool(root))
    click.echo(f"{'wrote' if written else 'unchanged'} {path}")
    for line in form.after:
        words = {"name": place.name, "folder": shlex.quote(os.path.dirname(path))}
        if "{program}" in line:
            words["program"] = shlex.quote(find(server))
        click.echo(f"then  {line.format(**words)}")
    if place.binds and " serve " not in text:  # it does not start the daemon itself
        click.echo(f"then  {shlex.join(place.start.argv)}")
    if place.binds and form.page:
        click.echo(f"page  {_page(place)}")


def _page(place: Place) -> str:
    """The URL of the application, as far as the server's own settings tell it."""
    door, name = place.door, place.server_name.partition(" ")[0]
    if not re.fullmatch(r"[A-Za-z0-9.-]+|\[.*\]", name):  # "_", or a pattern
        name = door.host or "localhost"
    usual = door.port == (443 if door.tls else 80)
    where = name if usual else f"{name}:{door.port}"
    return f"http{'s' if door.tls else ''}://{where}{quote(place.mount)}/"


def _write(path: str, text: str) -> None:
    from gatebridge.front_install import write

    try:
        write(path, text)
    except OSError as error:
        raise ConfigError("conf.write", f"cannot write {path}: {error.strerror}") from error
