"""A server's own test of a configuration that was generated for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from gatebridge.fronts.registry import Server

_SYSTEM = "/usr/sbin:/usr/local/sbin:/sbin"  # Debian keeps servers out of an ordinary user's path
_ENOUGH_S = 60.0


def check(server: Server, form: str, text: str, name: str) -> tuple[bool, str]:
    """Run the server's test in a private folder: (whether it accepts the text, what it said).

    name    of the place, which names the file as --install would
    raises  ConfigError("conf.no_test"), ConfigError("conf.no_program")
    """
    if not server.check:
        raise ConfigError("conf.no_test", "nothing on this system can test such a file")
    program = find(server)
    folder = tempfile.mkdtemp(prefix="gatebridge-conf-")
    try:
        usual = os.path.basename(server.forms[form].file.format(name=name, home=folder))
        file = os.path.join(folder, usual or f"{name}{server.suffix}")
        whole = server.whole(text, form, folder) if server.whole else text
        with open(file, "w", encoding="utf-8") as out:
            out.write(whole)
        words = [word.format(file=file, folder=folder) for word in server.check]
        return _run([program, *words], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find(server: Server) -> str:
    """The server's program. raises ConfigError("conf.no_program")"""
    path = os.environ.get("PATH", os.defpath) + os.pathsep + _SYSTEM
    for name in server.programs:
        if found := shutil.which(name, path=path):
            return found
    where = f"; on Debian it is in the package {server.package}" if server.package else ""
    raise ConfigError("conf.no_program", f"no {server.programs[0]} is here to test it{where}")


def _run(argv: list[str], folder: str) -> tuple[bool, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), folder)
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**kept, **homes},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ENOUGH_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"{argv[0]} did not end within {_ENOUGH_S:.0f} s\n"
    return done.returncode == 0, done.stdout.decode("utf-8", "replace")
