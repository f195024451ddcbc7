"""What a client gets where a program gave no answer, and what the operator is told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gatebridge.engine.pages import new_incident, page
from gatebridge.next_steps import then

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatebridge.apps.script_talk import ErrorStream
    from gatebridge.errors import AppError

_STATUS = {  # by code; all others are what a gateway says of a broken answer
    "script.busy": "503 Service Unavailable",
    "script.closed": "503 Service Unavailable",
    "script.missing": "404 Not Found",
    "script.not_executable": "403 Forbidden",
    "script.resources": "503 Service Unavailable",
    "script.timeout": "504 Gateway Timeout",
    "script.too_big": "431 Request Header Fields Too Large",
}
_TAIL_LINES = 20  # of standard error, repeated where the failure is told


def failure(
    error: AppError,
    path: str,
    environ: dict[str, Any],
    start_response: Any,
    errors: ErrorStream,
) -> Iterable[bytes]:
    """A page without a word of the program's; all of them are in the log, under the incident."""
    incident = new_incident()
    request = f"{environ.get('REQUEST_METHOD', '-')} {environ.get('SCRIPT_NAME', '')}"
    request += str(environ.get("PATH_INFO", ""))
    said = f"gatebridge: incident {incident}: {error} ({path}, {request})"
    errors.note(said + then(error.code))
    for line in errors.tail(_TAIL_LINES):
        errors.note(f"[{incident}] {line}")
    status = _STATUS.get(error.code, "502 Bad Gateway")
    text = f"The program did not answer. The server's log tells more under incident {incident}."
    later = [("Retry-After", "1")] if status.startswith("503") else []
    head, body = page(status, [text], environ.get("REQUEST_METHOD") == "HEAD", later)
    start_response(head.status, head.headers, sys.exc_info())
    return [body]
