"""Modules of flup's that have no counterpart: their import fails with a sentence that helps."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_OURS = "gatebridge.compat."
_OF_PYTHON_2 = (
    "flup's versions for Python 2 had it, 1.0.3 has it not either: take the import out, and leave "
    "what it did to the web server or to a WSGI middleware of today"
)
_WHY = {  # the beginning of a name -> what to do; the first that fits counts
    "flup.middleware": _OF_PYTHON_2,
    "flup.publisher": _OF_PYTHON_2,
    "flup.resolver": _OF_PYTHON_2,
    "flup.server.ajp": "AJP is not served here: let the web server speak FastCGI or SCGI, and "
    "import flup.server.fcgi or flup.server.scgi",
    "flup.server.paste_factory": "call paste.deploy.loadapp(), and give what it returns to "
    "flup.server.fcgi.WSGIServer",
    "flup": "it is flup's inside: take WSGIServer of flup.server.fcgi, fcgi_fork, fcgi_single, "
    "scgi, scgi_fork or cgi",
}


class Lacking:
    """The last of the finders: nobody else has the module."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """raises ModuleNotFoundError for what is below flup"""
        theirs = name.removeprefix(_OURS)
        if not theirs.startswith("flup."):
            return None
        why = next(_WHY[begin] for begin in _WHY if theirs.startswith(begin))
        raise ModuleNotFoundError(f"{theirs} is not here: {why}; see docs/from-flup.md")


def install() -> None:
    if Lacking not in sys.meta_path:
        sys.meta_path.append(Lacking)
