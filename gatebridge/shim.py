"""The few lines that stand in a cgi-bin and answer with an application.

A one-shot shim is written for one interpreter and one application. It skips ``site`` where no
.pth file is needed and names the import path itself, because that is a third of Python's start.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.wire import scan

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_SHEBANG = 125  # bytes; the kernel cuts at 127 (before 5.1) or 255
_PROBE_S = 60
_USAGE = 2  # exit status of oneshot.main() without a request

_TEXT = """\
# Answers CGI requests with {target}. Written by `gatebridge shim new`.
import gc
import sys

gc.disable()  # nothing is garbage while modules are imported
sys.path[:0] = {path!r}
{sources}from gatebridge.oneshot import main
from {module} import {root}

gc.enable()
main({expression}{mount})
"""

# Loading compiled modules costs more than they save in one request.
_SOURCES = """\
import _frozen_importlib_external as loading


def sources(folder, hook=loading.FileFinder.path_hook((loading.SourceFileLoader, [".py"]))):
    if not folder.startswith({package!r}):
        raise ImportError
    return hook(folder)


sys.path_hooks.insert(0, sources)  # gatebridge's own modules without their compiled form
"""


def path_entries(folder: str, flags: str = "-IS") -> list[str]:
    """What a bare interpreter lacks of this one's import path, the application's folder first."""
    probe = [sys.executable, flags, "-c", "import sys; print('\\n'.join(sys.path))"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=_PROBE_S, check=True)
    bare = set(done.stdout.splitlines())
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    scripts = os.path.dirname(sys.executable)  # of the command that runs now
    own = sys.path if sys.flags.safe_path else sys.path[1:]  # `python -m` has the folder it is in
    wanted = [os.path.abspath(folder), *[one for one in own if one != scripts], package]
    found: list[str] = []
    for entry in wanted:
        if entry and os.path.isdir(entry) and entry not in bare and entry not in found:
            found.append(os.path.abspath(entry))
    return found


def imports(flags: str, path: Sequence[str], module: str, root: str, expression: str) -> str:
    """Import the application as the shim would. Returns what went wrong, "" for nothing."""
    code = f"import sys; sys.path[:0] = {list(path)!r}; import gatebridge.oneshot\n"
    code += f"from {module} import {root}\n{expression}"
    command = [sys.executable, flags, "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_PROBE_S, check=False, cwd="/"
    )
    return done.stderr.strip() if done.returncode else ""


def check_program(argv: Sequence[str], target: str) -> None:
    """Run a one-shot program without a request. raises ConfigError("app.…") when it cannot load"""
    done = subprocess.run(
        argv, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", timeout=_PROBE_S, check=False, cwd="/",
    )  # fmt: skip
    if done.returncode == _USAGE:
        return
    said = re.search(r"^gatebridge\.errors\.\w+: ([\w.]+): (.*)", done.stderr, re.S | re.M)
    if said is None:
        raise ConfigError("app.import", f"{target} cannot be loaded:\n{done.stderr.strip()}")
    raise ConfigError(said[1], said[2].strip())


def shebang(flags: str) -> str:
    """The first line, by way of sh where the kernel cannot take the path in it."""
    line = f"#!{sys.executable} {flags}"
    if " " not in sys.executable and len(line) <= _LONGEST_SHEBANG:
        return line
    interpreter = shlex.quote(sys.executable)
    return f"#!/bin/sh\n'''exec' {interpreter} {flags} \"$0\"\n' '''"


def one_shot(target: str, folder: str, mount: str | None) -> str:
    """The text of a one-shot shim; see program()."""
    flags, text = program(target, folder, mount)
    return f"{shebang(flags)}\n{text}"


def program(target: str, folder: str, mount: str | None) -> tuple[str, str]:
    """The interpreter's flags and a program that answers for "module:name" or "module:factory()".

    folder  where the application's module is imported from
    raises  ConfigError("app.…") when a bare interpreter cannot import it
    """
    module, colon, expression = target.partition(":")
    expression = expression or "application"
    root = expression.removesuffix("()").partition(".")[0]
    parts = [*module.split("."), *expression.removesuffix("()").split(".")]
    if module.endswith(".py") or not all(part.isidentifier() for part in parts):
        raise ConfigError("app.malformed", f"{target!r}: a one-shot shim takes MODULE:NAME")
    path = path_entries(folder)
    flags = "-IS"
    if imports(flags, path, module, root, expression):
        flags = "-I"  # something needs site: a .pth file, an editable install
        failed = imports(flags, path, module, root, expression)
        if failed:
            raise ConfigError("app.import", f"{target} cannot be imported:\n{failed}")
    text = _TEXT.format(
        target=target,
        path=path,
        sources=_sources(),
        module=module,
        root=root,
        expression=expression,
        mount=f", mount={mount!r}" if mount is not None else "",
    )
    return flags, text


def _sources() -> str:
    if str(scan.__file__).endswith(".py"):
        return ""
    return _SOURCES.format(package=os.path.dirname(os.path.abspath(__file__)))


def write(path: str, text: str | bytes, overwrite: bool) -> None:
    """Put a shim where it belongs, executable. raises ConfigError("shim.…")

    At any moment the old file is there or the new one, whole: requests come meanwhile.
    """
    data = text.encode("utf-8") if isinstance(text, str) else text
    try:
        before = os.lstat(path) if overwrite and os.path.isfile(path) else None
        if not overwrite:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _replace(path, data, before)
        except OSError:
            if not overwrite:
                os.unlink(path)
            raise
    except FileExistsError as error:
        raise ConfigError("shim.exists", f"{path} exists; --force writes over it") from error
    except OSError as error:
        raise ConfigError("shim.write", f"cannot write {path}: {error}") from error


def _replace(path: str, data: bytes, before: os.stat_result | None) -> None:
    """before: of the file that is written over, whose owner and mode stay. raises OSError"""
    folder, name = os.path.split(os.path.abspath(path))
    fd, beside = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            mode = 0o755 & ~_umask()
            if before is not None and stat.S_ISREG(before.st_mode):
                mode = before.st_mode & 0o777 | 0o111 & ~_umask()
                with suppress(PermissionError):  # only root gives files away
                    os.fchown(fd, before.st_uid, before.st_gid)
            os.fchmod(fd, mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
