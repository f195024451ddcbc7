"""What a front server's error log says of requests and answers that it found too long."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import WARNING, Checks, Finding
from gatebridge.doctor.error_log import tail

if TYPE_CHECKING:
    from gatebridge.doctor.facts import Facts

_CUT: Final = 300  # bytes of a line
_ROWS: Final = (  # (what a line says, cause, what mends it); the last line that says one counts
    ("upstream sent too big header",
     "an answer's head did not fit into nginx's buffer: its client got 502 instead of the cookies",
     "fastcgi_buffer_size 16k; fastcgi_buffers 8 16k; (or scgi_, uwsgi_, proxy_)"),
    ("client sent too long header line|client sent too large request",
     "a request's cookies did not fit into nginx's buffers: its client got 400",
     "large_client_header_buffers 4 16k;"),
    ("Request header exceeds LimitRequestFieldSize",
     "a request's cookies were longer than Apache takes: its client got 400",
     "LimitRequestFieldSize 16380"),
)  # fmt: skip

check = Checks("front server")


@check("front.header_log", "Did a head that was too long stop a request, as the error log has it?")
def header_log(facts: Facts) -> Finding | None:
    path = facts.meant.error_log
    if not os.path.isfile(path):  # script.log says it
        return None
    for line in reversed(tail(path)):
        for pattern, cause, mend in _ROWS:
            if re.search(pattern, line):
                return Finding(cause, f"{path}: {line[:_CUT]}", mend, WARNING)
    return None


CHECKS: Final = tuple(check)
