"""What a client gets where a back end gave no answer, and what the operator is told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gatebridge.engine.pages import new_incident, page
from gatebridge.next_steps import then

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatebridge.errors import AppError

_STATUS = {  # by code; all others are what a gateway says of a broken answer
    "upstream.connect_timeout": "504 Gateway Timeout",
    "upstream.overloaded": "503 Service Unavailable",
    "upstream.resources": "503 Service Unavailable",
    "upstream.timeout": "504 Gateway Timeout",
}


def failure(
    error: AppError, place: str, environ: dict[str, Any], start_response: Any
) -> Iterable[bytes]:
    """A page without a word of the back end's; the reason is in the log, under the incident."""
    incident = new_incident()
    request = f"{environ.get('REQUEST_METHOD', '-')} {environ.get('SCRIPT_NAME', '')}"
    request += str(environ.get("PATH_INFO", ""))
    said = f"gatebridge: incident {incident}: {error} ({place}, {request}){then(error.code)}\n"
    environ["wsgi.errors"].write(said)
    environ["wsgi.errors"].flush()
    status = _STATUS.get(error.code, "502 Bad Gateway")
    text = f"The back end did not answer. The server's log tells more under incident {incident}."
    later = [("Retry-After", "1")] if status.startswith("503") else []
    head, body = page(status, [text], environ.get("REQUEST_METHOD") == "HEAD", later)
    start_response(head.status, head.headers, sys.exc_info())
    return [body]
