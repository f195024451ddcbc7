"""Where a mode or a front server legitimately differs from the rows, and why.

Each entry: row id (fnmatch), mode name (fnmatch), the reason, and what holds there instead.
None: the row cannot be sent there at all. Everything else is run and held to its own Want, so an
entry that is no longer true fails. First match wins.
"""

from fnmatch import fnmatchcase

from tests.suite.want import MOUNT, PORT, Row, Want


def path(info: str, query: str = "") -> Want:
    return Want(environ={"SCRIPT_NAME": MOUNT, "PATH_INFO": info, "QUERY_STRING": query})


Entry = tuple[str, str, str, Want | None]

MERGES = "merges double slashes before it matches a location, and its split says the merged path"
KEEPS = "collects the whole answer before it sends the head, and gives what came a Content-Length"
RACES = "a reset may overtake the head: then there is a 502"
NO_END = "the answer ends where the connection does, and a Unix socket has no reset"

OVER_HTTP = "over HTTP the server says who asked in headers of its own, and no port"

DIFFERENCES: tuple[Entry, ...] = (
    # --- HTTP between the front server and the daemon
    ("path-double-slash", "nginx-http-*", "passes the path as it came", path("//x//y")),
    ("path-double-slash-inside", "nginx-http-*", "passes the path as it came", path("/x//y/")),
    (
        "environ-request",
        "*-http-*",
        OVER_HTTP,
        Want(environ={"REMOTE_ADDR": "127.0.0.1", "SERVER_PROTOCOL": "HTTP/1.1"}),
    ),
    (
        "environ-forwarded-not-believed",
        "*-http-*",
        OVER_HTTP,
        Want(environ={"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http"}),
    ),
    (
        "environ-repeated-cookie",
        "caddy-http-*",
        "passes the lines as they came",
        Want(environ={"HTTP_COOKIE": "a=1; b=2"}),
    ),
    ("chunked-70k", "haproxy-http-*", "passes the chunks on", Want(200)),
    # --- no front server
    ("raise-halfway-no-length", "scgi-unix", NO_END, Want(200)),
    ("raise-halfway-no-length", "uwsgi-unix", NO_END, Want(200)),
    (
        "environ-request",
        "http-unix",
        "the peer of a Unix socket has no address",
        Want(environ={"REMOTE_ADDR": "", "HTTP_X_ONE": "1", "SERVER_PORT": PORT}),
    ),
    (
        "environ-forwarded-not-believed",
        "http-unix",
        "the peer of a Unix socket has no address",
        Want(environ={"REMOTE_ADDR": "", "wsgi.url_scheme": "http"}),
    ),
    # --- answers that fail half-way: fronts that cannot be told
    (
        "raise-halfway-no-length",
        "lighttpd-*-streamed",
        f"{RACES}; it sends as it comes, and the close may come with the last of it",
        Want(200, cut=None),
    ),
    *(
        ("raise-halfway-no-length", mode, f"{RACES}; else as below", Want(200, cut=None))
        for mode in ("lighttpd-fastcgi-tcp", "lighttpd-scgi-app", "caddy-fastcgi-tcp")
    ),
    ("raise-halfway-no-length", "lighttpd-*", KEEPS, Want(200)),
    (
        "raise-halfway-no-length",
        "caddy-*",
        "takes every error of the connection, a reset and a broken record too, for the end",
        Want(200),
    ),
    *(
        (row, mode, f"ignores the application's Content-Length, and {NO_END}", Want(200))
        for mode in ("apache-scgi-root-unix", "apache-cgi-*")
        for row in (
            "raise-early",
            "raise-halfway*",
            "ends-short",
            "file-shorter-than-said",
            "exc-info-too-late",
        )
    ),
    ("raise-halfway-no-length", "apache-uwsgi-app", NO_END, Want(200)),
    (
        "raise-halfway-no-length",
        "apache-fcgid-*",
        "mod_fcgid takes every ending for the end, or puts its error page behind the answer",
        Want(200),
    ),
    ("raise-halfway-no-length", "nginx-*-tcp-*", "over TCP there is a reset", Want(200, cut=True)),
    ("raise-halfway-no-length", "nginx-scgi-*", NO_END, Want(200)),
    ("raise-halfway-no-length", "nginx-uwsgi-*", NO_END, Want(200)),
    # --- paths
    ("path-double-slash", "nginx-*", MERGES, path("/x/y")),
    ("path-double-slash-inside", "nginx-*", MERGES, path("/x/y/")),
    ("path-double-slash", "apache-*", MERGES, path("/x/y")),
    ("path-double-slash-inside", "apache-*", MERGES, path("/x/y/")),
    ("path-double-slash", "lighttpd-*", MERGES, path("/x/y")),
    ("path-double-slash-inside", "lighttpd-*", MERGES, path("/x/y/")),
    ("path-bad-utf8", "lighttpd-*", "refuses a path that is not UTF-8", Want(400)),
    (
        "path-encoded-slash",
        "apache-fastcgi-handler-nodecode",
        "AllowEncodedSlashes NoDecode asks for it encoded",
        path("/a%2Fb/c"),
    ),
    ("path-encoded-slash", "apache-*", "AllowEncodedSlashes is off", Want(404)),
    (
        "path-reserved",
        "apache-cgi-htaccess",
        "a rewritten path may not hold an encoded percent sign",
        Want(400),
    ),
    (
        "path-query-in-path",
        "apache-cgi-htaccess",
        "a rewritten path may not hold an encoded question mark",
        Want(403),
    ),
    (
        "path-query-in-path",
        "apache-fastcgi-handler-root",
        "maps the path to a file name, which may not hold a question mark",
        Want(403),
    ),
    # --- methods
    ("environ-method-unknown", "lighttpd-*", "knows only registered methods", Want(501)),
    (
        "path-double-slash*",
        "caddy-fastcgi-env-app",
        "handle_path merges them when it takes the prefix off",
        Want(200),
    ),
    # --- headers
    (
        "head",
        "apache-[!u]*",
        "since 2.4.59 ignores the application's Content-Length",
        Want(200, b""),
    ),
    (
        "headers-kept",
        "apache-[!u]*",
        "joins repeated header lines",
        Want(200, b"ok\n", {"X-Latin": ["caf\xe9 \xff"], "X-Twice": ["1, 2"]}),
    ),
    (
        "environ-repeated-cookie",
        "apache-*",
        "joins repeated lines with a comma, cookies too",
        Want(environ={"HTTP_COOKIE": "a=1, b=2"}),
    ),
    (
        "chunked-70k",
        "lighttpd-fastcgi-streamed",
        "200 or 411, by whether its first read holds the whole upload",
        None,
    ),
    (
        "path-mount-alone*",
        "haproxy-fastcgi-kept",
        "the bare mount looks like a whole path of a root without --mount",
        Want(environ={"SCRIPT_NAME": "", "PATH_INFO": "/app"}),
    ),
    ("chunked-70k", "haproxy-*", "refuses what it cannot measure at once", Want(400)),
    ("chunked*", "apache-scgi-*", "asks for a length: SCGI needs it first", Want(411)),
    ("chunked*", "apache-uwsgi-*", "asks for a length", Want(411)),
    (
        "environ-repeated-cookie",
        "caddy-*",
        "joins repeated lines with a comma, cookies too",
        Want(environ={"HTTP_COOKIE": "a=1, b=2"}),
    ),
    (
        "environ-forwarded-not-believed",
        "caddy-*",
        "writes X-Forwarded-For itself, unless told whom to trust",
        Want(environ={"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http"}),
    ),
    (
        "environ-host",
        "nginx-*-stock-*",
        "the distribution's parameter file may say $host, which has no port",
        Want(200),
    ),
)


def difference(row: Row, mode: str) -> Entry | None:
    for entry in DIFFERENCES:
        if fnmatchcase(row.id.removesuffix("-validated"), entry[0]) and fnmatchcase(mode, entry[1]):
            return entry
    return None


def runs(row: Row, mode: str, mount: str, chunked: bool) -> bool:
    """Whether this row can be sent through this mode.

    chunked  the client's side speaks HTTP/1.1, so a body of unsaid length exists at all
    """
    if "mounted" in row.kinds and not mount:
        return False
    if "chunked" in row.kinds and not chunked:
        return False
    entry = difference(row, mode)
    return entry is None or entry[3] is not None


def wanted(row: Row, mode: str) -> Want:
    entry = difference(row, mode)
    return row.want if entry is None or entry[3] is None else entry[3]
