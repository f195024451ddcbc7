"""Old import lines, for this process only: flup, flipflop and wsgiref's CGIHandler are ours.

Everything stands in sys.modules before the script runs: one that imports on demand, as Mercurial's
demandimport, takes a module that a finder puts in another's place for a fault.
"""

from __future__ import annotations

import importlib
import sys
import wsgiref.handlers

from gatebridge.compat import lacking

OURS = "gatebridge.compat."
NAMES = (
    "flipflop",
    "flup",
    "flup.client",
    "flup.client.fcgi_app",
    "flup.client.scgi_app",
    "flup.server",
    "flup.server.cgi",
    "flup.server.fcgi",
    "flup.server.fcgi_base",
    "flup.server.fcgi_fork",
    "flup.server.fcgi_single",
    "flup.server.scgi",
    "flup.server.scgi_fork",
)


def install() -> None:
    """From now on. What the process has imported of them before stays what it is."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("flup", "flipflop"):
            del sys.modules[name]
    for name in NAMES:
        sys.modules[name] = importlib.import_module(OURS + name)
    lacking.install()
    handlers = importlib.import_module(f"{OURS}wsgiref.handlers")
    wsgiref.handlers.CGIHandler = handlers.CGIHandler  # type: ignore[misc]  # that is the point
