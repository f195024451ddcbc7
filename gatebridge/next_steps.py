"""What an operator does next, by the code of what went wrong with a request.

Log lines end with it, and docs/errors.md has the same words, by test. What is said at the start or
by a command has its next step in its own sentence. Imported when something fails, not before.
"""

from gatebridge.errors import GatebridgeError

_MALFORMED = (
    "check that the front server speaks the protocol of this bind; gatebridge request asks alike"
)
_LONGER = "raise --limit-params or --limit-pairs if these are real, or the front server's own limit"
_HTTP = "it is the client's to mend; if a server sent it, look for what stands between the two"
_ASSEMBLED = (
    "let the application mend its headers: the traceback shows its call of start_response()"
)
_LENGTH = "let the application count bytes, not characters, or leave Content-Length out"
_PROGRAM = "run the program by hand with the request's variables, and see what it prints first"
_HOST = "read the lines before this one; exec mode (cgi:) runs it without a warm interpreter"
_BACK_END = "see the back end's own log: it ended, or gave the request up"
_OWNER = "change it as the line says, or say owner=any behind the target if that is meant"

STEPS = {
    # requests
    "body.no_space": "free space in --spool-dir or name another one, or lower --spool-floor",
    "body.short": "nothing if it is rare: the client left; else compare the body limits in front",
    "body.timeout": "raise --body-timeout for slow clients, or let the front server buffer bodies",
    "body.too_big": "raise --limit-body or the route's limit_body, and the front server's limit",
    "header.proxy": "nothing: it is dropped (CVE-2016-5385); the front server can drop it, too",
    "http.chunk": _HTTP,
    "http.coding": "let the client send chunked bodies only; no other transfer coding is served",
    "http.fields": _LONGER,
    "http.framing": "find who sends both lengths: it may be request smuggling",
    "http.head": _LONGER,
    "http.malformed": "check that whoever connects speaks HTTP, without TLS, at this bind",
    "http.method": "use a proxy for CONNECT; this is none",
    "http.pipeline": "let the client wait for its answers, or send less ahead",
    "http.target": _HTTP,
    "http.version": "let the client speak HTTP/1.0 or 1.1; a front server does that for others",
    "length.malformed": "find who sends this CONTENT_LENGTH: a number of bytes is expected",
    "length.repeated": "find who sends two lengths: it may be request smuggling",
    "length.too_big": "find who sends this length; no limit here lets it pass",
    "method.malformed": "find who sends it: letters and digits without spaces are expected",
    "netstring.comma": _MALFORMED,
    "params.late": _MALFORMED,
    "params.malformed": _MALFORMED,
    "params.too_big": _LONGER,
    "params.too_many": _LONGER,
    "queue.full": "add workers or threads, raise --max-queue, or see what is slow: gatebridge top",
    "queue.timeout": "add workers or threads, or see what is slow: gatebridge top",
    "record.begin": _MALFORMED,
    "record.version": _MALFORMED,
    "request.empty": _MALFORMED,
    "request.hung": "see the stacks below for the C code; a thread there cannot be stopped alone",
    "request.id_in_use": _MALFORMED,
    "request.timeout": "see in the stack below what is slow, or raise --timeout or the route's",
    "route.busy": "raise the route's concurrency, or see what is slow there: gatebridge top",
    "route.redirects": "look at the Location lines of these programs: they lead to each other",
    "scgi.content_length": _MALFORMED,
    "scgi.version": _MALFORMED,
    "upstream.path": "nothing if it is rare: a browser never sends it, and no back end needs it",
    "uwsgi.modifier": "leave modifier1 out of the front server's configuration, or make it 0",
    "websocket.carried": "serve it by ASGI over uwsgi, SCGI or HTTP; docs/websocket.md says more",
    "websocket.malformed": _HTTP,
    "websocket.missing": "pip install 'gatebridge[ws]', then restart the daemon",
    "websocket.version": "let the client speak version 13 (RFC 6455), as every browser does",
    "values.malformed": _MALFORMED,
    # applications
    "app.failed": "read the traceback below: it is the application's",
    "body.too_long": _LENGTH,
    "body.too_short": _LENGTH,
    "body.type": "let the application yield bytes: encode its text",
    "header.content_type": "let the application send a Content-Type with its body",
    "header.control": _ASSEMBLED,
    "header.forbidden": "let the application leave them out; the server speaks for the connection",
    "header.latin1": _ASSEMBLED,
    "header.length": _ASSEMBLED,
    "header.list": _ASSEMBLED,
    "header.name": _ASSEMBLED,
    "header.pair": _ASSEMBLED,
    "header.type": _ASSEMBLED,
    "start_response.missing": "let the application call start_response() before it gives a body",
    "start_response.twice": "let the application call it once, or again with exc_info",
    "status.malformed": "let the application give three digits, a space and a reason",
    "status.type": "let the application give its status as str, an ASGI one as int",
    # programs
    "head.chunked": "let the program leave Transfer-Encoding out",
    "head.malformed": _PROGRAM,
    "head.no_field": "let the program print Content-Type, Status or Location, then an empty line",
    "head.too_big": "say head=SIZE behind the target if the program's head is so large",
    "permission.denied": "let the daemon's user read and run it, or give the pool another --user",
    "permission.gone": "put it back, or reload: gatebridge ctl reload",
    "permission.kind": "put a regular file there, and reload",
    "permission.link": "put the file itself there, and reload",
    "permission.mode": _OWNER,
    "permission.open": "mend what the system says, and reload",
    "permission.owner": _OWNER,
    "permission.set_id": _OWNER,
    "permission.writable": _OWNER,
    "script.busy": "raise children= behind the target, or see what is slow: gatebridge top",
    "script.closed": "nothing: the daemon stops, and the client may come again",
    "script.folder": "let the daemon's user enter the program's folder",
    "script.format": "give it a first line that names its interpreter: #!/usr/bin/python3",
    "script.host": _HOST,
    "script.interpreter": "install the interpreter, or mend the program's first line",
    "script.killed": "see whether it crashed or met cpu= or memory= behind the target",
    "script.limits": "lower cpu=, memory=, files= or processes= behind the target",
    "script.missing": "put the program back, or reload",
    "script.no_output": _PROGRAM,
    "script.not_executable": "chmod +x it, and look whether its file system is mounted noexec",
    "script.not_found": "put the program back, or reload",
    "script.resources": "free memory or processes, or raise the limits of the daemon's user",
    "script.start": _HOST,
    "script.timeout": "raise timeout= behind the target, or see why the program says nothing",
    "script.too_big": "shorten what the request carries: the system takes no more variables",
    # back ends
    "upstream.closed": _BACK_END,
    "upstream.connect": "start the back end, or mend the target's address or its socket's mode",
    "upstream.connect_timeout": "see whether it is overloaded or a firewall stands between",
    "upstream.cut": _BACK_END,
    "upstream.framing": "mend the back end: such an answer could be read in two ways",
    "upstream.malformed": "check that it speaks the target's protocol: http:// or fcgi://, no TLS",
    "upstream.overloaded": "let the back end take more requests, or give the route a concurrency",
    "upstream.resources": "free memory or processes, or raise the limits of the daemon's user",
    "upstream.timeout": "see what is slow there, or raise timeout= behind the target",
    "upstream.too_big": "say head=SIZE behind the target if its heads are so large",
}


def then(code: str) -> str:
    """The end of a log line."""
    step = STEPS.get(code, "")
    return f"; next: {step}" if step else ""


def note_line(where: str, error: GatebridgeError) -> str:
    """Something was put right, or a peer sent away without a page."""
    place = f" ({where})" if where else ""
    return f"{error}{place}{then(error.code)}"


def refusal_line(incident: str, where: str, error: GatebridgeError) -> str:
    """A request was refused with a page that names the incident."""
    why = f": {error.detail}" if error.detail else ""
    return f"{error.code} incident {incident} ({where}){why}{then(error.code)}"


def failure_line(incident: str, where: str, error: BaseException) -> str:
    """An application failed; its traceback follows."""
    if isinstance(error, GatebridgeError):
        said, code = str(error), error.code
    else:
        said, code = f"{type(error).__name__}: {error}", "app.failed"
    return f"app.failed incident {incident} ({where}): {said}{then(code)}"
