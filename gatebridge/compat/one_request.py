"""The one CGI request of a script: nothing but its answer goes to standard output."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from gatebridge import oneshot

if TYPE_CHECKING:
    from gatebridge.compat.guard import Guard


def answer(app: Guard) -> int:
    """Returns the exit status.

    What is printed meanwhile, or was before and is not flushed yet, goes to standard error: in
    front of the answer it would be a head that no server reads, behind it a wrong length. As with
    flup, and other than for a shim, a body may come without a Content-Type.
    """
    fd = os.dup(1)
    with suppress(OSError):  # no standard error: then all is as it was
        os.dup2(2, 1)
    try:
        return oneshot.answer(app, fd=fd, is_typed=False)
    finally:
        _flush()
        os.dup2(fd, 1)
        os.close(fd)


def _flush() -> None:
    with suppress(AttributeError, OSError, ValueError):  # a script may have put anything there
        sys.stdout.flush()
