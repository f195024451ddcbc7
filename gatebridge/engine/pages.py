"""The plain answers gatebridge gives in an application's place.

They name an incident and nothing else: neither the request nor the cause, which is for the log.
"""

from os import urandom

from gatebridge.errors import PeerError
from gatebridge.wire.cgi_head import Head, make_head

_STATUS = {  # by the code of a PeerError, else by the part before its dot, else 400
    "body.no_space": "507 Insufficient Storage",
    "body.timeout": "408 Request Timeout",
    "body.too_big": "413 Content Too Large",
    "params": "431 Request Header Fields Too Large",
    "params.malformed": "400 Bad Request",
    "params.late": "400 Bad Request",
    "queue": "503 Service Unavailable",
    "route.busy": "503 Service Unavailable",
    "websocket.carried": "501 Not Implemented",
    "websocket.missing": "501 Not Implemented",
    "websocket.version": "426 Upgrade Required",
}


def new_incident() -> str:
    """What the page and the log's line have in common."""
    return urandom(4).hex()


def page(
    status: str, lines: list[str], is_head: bool, headers: list[tuple[str, str]]
) -> tuple[Head, bytes]:
    """A plain text page: the reason phrase, then the lines. headers: further ones."""
    text = "\n\n".join([status[4:], *lines]).encode("utf-8", "backslashreplace") + b"\n"
    own = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    return make_head(status, own + headers), b"" if is_head else text


def failure_page(incident: str, is_head: bool) -> tuple[Head, bytes]:
    """The 500: no traceback and no version reach the client, only the incident's id."""
    line = f"The application failed. The server's log tells more under incident {incident}."
    return page("500 Internal Server Error", [line], is_head, [])


def timeout_page(incident: str) -> tuple[Head, bytes]:
    """The 504 in the place of an application that takes too long."""
    line = f"The application took too long. The server's log tells more under incident {incident}."
    return page("504 Gateway Timeout", [line], False, [])


def refusal_page(error: PeerError, incident: str, is_head: bool) -> tuple[Head, bytes]:
    """The answer to a request that cannot be served."""
    status = _STATUS.get(error.code) or _STATUS.get(error.code.partition(".")[0], "400 Bad Request")
    headers = [("Retry-After", "1")] if status.startswith("503") else []
    if error.code == "websocket.version":
        headers = [("Sec-WebSocket-Version", "13")]
    line = f"The request was refused. The server's log tells more under incident {incident}."
    return page(status, [line], is_head, headers)
