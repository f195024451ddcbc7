"""What an operator names to be served: ``module:app``, ``cgi:PATH``, ``static:DIR``, an address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gatebridge.apps.directory import Directory, Program
from gatebridge.apps.interface import AUTO, Interface, as_application
from gatebridge.apps.inventory import take_inventory
from gatebridge.apps.load import load
from gatebridge.apps.options import ScriptOptions, parse_options
from gatebridge.apps.permission import Checked, Trust, check_folder, open_program, owners_of
from gatebridge.apps.static import Static
from gatebridge.apps.upstream_options import is_upstream, parse_place
from gatebridge.errors import AppError, ConfigError

if TYPE_CHECKING:
    from gatebridge.apps.running import Launcher
    from gatebridge.engine.seams import Application

MODES: Final = ("cgi", "warm", "inproc")


@dataclass(frozen=True, slots=True)
class Hosted:
    """A target that is a program or a folder of programs. path: absolute, without links."""

    text: str
    mode: str
    path: str
    is_folder: bool
    options: ScriptOptions


def load_target(
    target: str, folder: str, uid: int | None = None, interface: Interface = AUTO
) -> Application:
    """The application that a target names. It has a close() where it owns processes.

    folder     a relative path starts there; modules are looked for there first
    uid        who programs will run as; None: whoever we are
    interface  what is said about an application that is imported
    raises  ConfigError("target.…"), ConfigError("app.…"), ConfigError("bind.…")
    """
    if is_upstream(target):
        return _upstream(target, folder)
    kind, colon, rest = target.partition(":")
    if colon and kind in MODES:
        return _hosted(parse_hosted(target, folder), os.geteuid() if uid is None else uid)
    if colon and kind == "static":
        return _static(target, rest, folder)
    return as_application(load(target, folder), interface, target)


def is_hosted(target: str) -> bool:
    """Whether it is a program or a folder of them, so that nothing of it is imported."""
    kind, colon, _ = target.partition(":")
    return bool(colon) and kind in MODES


def parse_hosted(target: str, folder: str) -> Hosted:
    """Read ``MODE:PATH?OPTIONS`` and look whether it is there. raises ConfigError("target.…")"""
    mode, _, rest = target.partition(":")
    text, _, query = rest.partition("?")
    path = _real_path(target, text, folder)
    is_folder = os.path.isdir(path)
    if not is_folder and text.endswith("/"):
        why = f"{path!r} is no folder; without the slash it is one program"
        raise ConfigError("target.type", f"{target}: {why}")
    if not is_folder and not os.path.isfile(path):
        raise ConfigError("target.type", f"{target}: {path!r} is neither a file nor a folder")
    try:
        options = parse_options(query, mode, is_folder)
    except ConfigError as error:
        raise ConfigError(error.code, f"{target}: {error.detail}") from None
    return Hosted(target, mode, path, is_folder, options)


def _real_path(target: str, text: str, folder: str) -> str:
    """raises ConfigError("target.malformed"), ConfigError("target.not_found")"""
    if not text or "\0" in text:
        kind = target.partition(":")[0]
        why = f"write {kind}:PATH; a module of that name is loaded by its file, {kind}.py:NAME"
        raise ConfigError("target.malformed", f"{target!r} names no path: {why}")
    path = os.path.join(folder, text.rstrip("/") or "/")
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        raise ConfigError("target.not_found", f"{target}: {path!r}: {error.strerror}") from None
    return "/" + real.lstrip("/")  # POSIX lets two slashes stand


def _hosted(hosted: Hosted, uid: int) -> Application:
    whom = trust_of(hosted, uid)
    launcher = _launcher(hosted, whom)

    def make(path: str) -> Application:
        from gatebridge.apps.script import Script

        return Script(path, launcher, hosted.options)

    if not hosted.is_folder:
        _must_run(hosted, whom)
        return Program(hosted.path, make(hosted.path))
    try:
        check_folder(whom.root, whom)
    except AppError as error:
        raise _refused(hosted, error) from None
    return Directory(take_inventory(hosted.path, hosted.options.extensions), whom, make)


def trust_of(hosted: Hosted, uid: int) -> Trust:
    """Whose programs run. raises ConfigError("target.not_found")"""
    options = hosted.options
    root = hosted.path if hosted.is_folder else os.path.dirname(hosted.path)
    try:
        owners = owners_of(root, uid)
    except OSError as error:
        raise ConfigError("target.not_found", f"{hosted.text}: {error.strerror}") from None
    # A module beside the programs of a folder has no execute bit. One file named is meant.
    execute = hosted.is_folder or hosted.mode == "cgi"
    return Trust(root, owners, uid, options.check_owner, execute, hosted.mode != "cgi")


def _must_run(hosted: Hosted, whom: Trust) -> None:
    try:
        os.close(open_program(hosted.path, whom))
    except AppError as error:
        raise _refused(hosted, error) from None


def _refused(hosted: Hosted, error: AppError) -> ConfigError:
    return ConfigError("target.refused", f"{hosted.text}: {error.detail} ({error.code})")


def _launcher(hosted: Hosted, whom: Trust) -> Launcher:
    """What starts the programs of this mode; each is judged when it is started."""
    options = hosted.options
    inner: Launcher
    if hosted.mode == "cgi":
        from gatebridge.apps.execute import Execute

        inner = Execute()
        # The interpreter of a script finds /proc/self/fd/N as the script's name, which few
        # scripts like; where only root and the owner can swap the file, its path is as good.
        return Checked(inner, whom, options.by_descriptor or not options.check_owner)
    if hosted.mode == "warm":
        from gatebridge.apps.warm import Warm

        inner = Warm(options)
    else:
        from gatebridge.apps.inprocess import InProcess

        inner = InProcess(options)
    return Checked(inner, whom, True)


def _upstream(target: str, folder: str) -> Application:
    from gatebridge.apps.upstream import Upstream

    return Upstream(parse_place(target, folder))


def _static(target: str, text: str, folder: str) -> Application:
    text, mark, _ = text.partition("?")
    if mark:
        raise ConfigError("target.option", f"{target}: static: has no options")
    path = _real_path(target, text, folder)
    if not os.path.isdir(path):
        raise ConfigError("target.type", f"{target}: {path!r} is no folder")
    return Static(path)
