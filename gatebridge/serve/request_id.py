"""One id for a request, the same in the front server's log, in ours and in the application's.

The front server's is taken where it sends one (X-Request-Id, or UNIQUE_ID of Apache's
mod_unique_id); else one is made, when somebody asks first.
"""

from __future__ import annotations

import os
import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "gatebridge.request_id"  # of environ, once it was asked for

_given = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:/=+@$-]{0,127}").fullmatch


def request_id(environ: dict[str, object]) -> str:
    """The request's id, kept in environ."""
    found = environ.get(KEY)
    if isinstance(found, str):  # an application may have put anything there
        return found
    found = environ.get("HTTP_X_REQUEST_ID") or environ.get("UNIQUE_ID")
    # A client can send what it likes, too: what is no id would end up in logs and queries.
    made = found if isinstance(found, str) and _given(found) else next(_made)
    environ[KEY] = made
    return made


def _ids() -> Iterator[str]:
    """Chance for the process, a number for the request: all in C, as it may be asked for often."""
    return map((os.urandom(6).hex() + "-").__add__, map("%x".__mod__, count(1)))


def _renew() -> None:
    global _made
    _made = _ids()


_made = _ids()
os.register_at_fork(after_in_child=_renew)
