"""An old .fcgi script, unchanged: gatebridge run-script."""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

from gatebridge.bind import parse_bind
from gatebridge.compat import gateway
from gatebridge.compat.redirect import install
from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, TracebackType


def run_script(path: str, words: Sequence[str], bind: str = "") -> None:
    """Run a Python file as a program, its imports of flup, flipflop and CGIHandler ours.

    words   its arguments
    bind    where it listens if it says no address and nobody hands it a socket
    raises  ConfigError("script.…"), ConfigError("bind.…"), whatever the script raises
    """
    if bind:
        parse_bind(bind)
    gateway.said_bind = bind
    _open_what_is_closed()
    code = _compile(path)
    install()
    sys.argv = [path, *words]
    folder = os.path.dirname(os.path.realpath(path))
    sys.path.insert(0, folder)  # as python FILE has it; the command's own place stays behind it
    sys.excepthook = functools.partial(_show, code)
    main: Any = type(sys)("__main__")  # a module of its own, as a program's
    main.__file__ = path
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _open_what_is_closed() -> None:
    """FastCGI 2.2 starts a program with descriptor 0 alone: a socket must not become 1 or 2."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest: it is fd
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - for as long as the script runs
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _show(
    code: CodeType, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What the script raises, from its own first line on: what is above has nothing to tell."""
    own = trace
    while own is not None and own.tb_frame.f_code is not code:
        own = own.tb_next
    trace = own or trace
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


def _compile(path: str) -> CodeType:
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise ConfigError("script.unreadable", f"{path}: {error.strerror}") from error
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        why = f"{path}{line}: this Python cannot read it: {error}; gatebridge scan says more"
        raise ConfigError("script.syntax", why) from error
