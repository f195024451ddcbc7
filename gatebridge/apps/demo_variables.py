"""What the variables of an environ mean, for the demo page."""

LINE = "Request line"
PATH = "Path and files"
FIELDS = "Request headers"
SERVER = "Front server"
CLIENT = "Client"
WSGI = "WSGI"
OURS = "gatebridge"
OTHER = "Other variables"

GROUPS = (LINE, PATH, FIELDS, SERVER, CLIENT, WSGI, OURS, OTHER)

SECRET = frozenset(
    ("HTTP_AUTHORIZATION", "REDIRECT_HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_COOKIE")
)

MEANINGS = {
    LINE: {
        "REQUEST_METHOD": "the method",
        "REQUEST_URI": "the target as the client sent it, not decoded",
        "SERVER_PROTOCOL": "HTTP version between client and front server",
        "QUERY_STRING": "what follows the question mark, not decoded",
        "REQUEST_SCHEME": "http or https, as the front server sees it",
    },
    PATH: {
        "SCRIPT_NAME": "where the application is mounted, decoded",
        "PATH_INFO": "the rest of the path, decoded",
        "PATH_TRANSLATED": "a file the front server would look for; not to be trusted",
        "SCRIPT_FILENAME": "the script's file, as the front server was told",
        "DOCUMENT_ROOT": "the front server's folder of files",
        "DOCUMENT_URI": "nginx: the path, decoded and cleaned up",
        "CONTEXT_DOCUMENT_ROOT": "Apache: folder of the mapping that matched",
        "CONTEXT_PREFIX": "Apache: prefix of the mapping that matched",
        "SCRIPT_URL": "mod_rewrite: the path of the first request",
        "SCRIPT_URI": "mod_rewrite: the whole URL of the first request",
        "REDIRECT_URL": "Apache: the path before an internal redirect",
        "REDIRECT_STATUS": "status of an internal redirect; 200 where there was none",
    },
    FIELDS: {
        "CONTENT_TYPE": "media type of the body",
        "CONTENT_LENGTH": "bytes of body",
        "HTTP_HOST": "the name and port that the client asked for",
        "HTTP_USER_AGENT": "what the client calls itself",
        "HTTP_ACCEPT": "media types the client can show",
        "HTTP_ACCEPT_ENCODING": "compressions the client can undo",
        "HTTP_ACCEPT_LANGUAGE": "languages the reader prefers",
        "HTTP_AUTHORIZATION": "credentials",
        "HTTP_CACHE_CONTROL": "how fresh the answer must be",
        "HTTP_CONNECTION": "what becomes of the connection to the front server",
        "HTTP_COOKIE": "cookies of this site",
        "HTTP_DNT": "asks not to be tracked",
        "HTTP_EXPECT": "the client waits for 100 Continue before the body",
        "HTTP_FORWARDED": "proxies on the way; anybody can write it",
        "HTTP_IF_MODIFIED_SINCE": "date of the copy the client has",
        "HTTP_IF_NONE_MATCH": "tag of the copy the client has",
        "HTTP_ORIGIN": "the site whose page sent the request",
        "HTTP_PRIORITY": "how urgent the answer is",
        "HTTP_RANGE": "only a part is wanted",
        "HTTP_REFERER": "the page that led here",
        "HTTP_TRANSFER_ENCODING": "the body came in chunks",
        "HTTP_UPGRADE_INSECURE_REQUESTS": "the client would rather have https",
        "HTTP_VIA": "proxies on the way",
        "HTTP_X_FORWARDED_FOR": "addresses before the last proxy; anybody can write it",
        "HTTP_X_FORWARDED_HOST": "Host before the last proxy; anybody can write it",
        "HTTP_X_FORWARDED_PROTO": "scheme before the last proxy; anybody can write it",
        "HTTP_X_REAL_IP": "the client, as a proxy says; anybody can write it",
        "HTTP_X_REQUESTED_WITH": "sent by a script of the page",
    },
    SERVER: {
        "SERVER_SOFTWARE": "the front server and its version",
        "SERVER_NAME": "the front server's name for this site",
        "SERVER_PORT": "the port it listens on",
        "SERVER_ADDR": "the address it listens on",
        "SERVER_ADMIN": "whom it names for complaints",
        "SERVER_SIGNATURE": "what it writes below its own pages",
        "GATEWAY_INTERFACE": "version of the CGI variables",
        "HTTPS": "on where the client's connection is encrypted",
        "FCGI_ROLE": "what the front server wants: an answer, or a permission",
        "UNIQUE_ID": "Apache's number for the request",
        "PATH": "Apache sends its own search path",
    },
    CLIENT: {
        "REMOTE_ADDR": "address of the client, or of the last proxy",
        "REMOTE_PORT": "port of the client",
        "REMOTE_HOST": "name of the client",
        "REMOTE_USER": "who logged in, as the front server says",
        "REMOTE_IDENT": "an old way to ask for the user's name",
        "AUTH_TYPE": "how the front server checked the user",
    },
    WSGI: {
        "wsgi.version": "version of the interface, PEP 3333",
        "wsgi.url_scheme": "http or https, for building URLs",
        "wsgi.input": "the body, to be read",
        "wsgi.errors": "where the application may complain",
        "wsgi.multithread": "other threads of this process may call the application too",
        "wsgi.multiprocess": "other processes may call the application too",
        "wsgi.run_once": "this process answers one request and ends",
        "wsgi.file_wrapper": "sends an open file fast",
        "wsgi.input_terminated": "the body may be read to its end without a length",
    },
    OURS: {
        "gatebridge.protocol": "protocol between front server and gatebridge",
        "gatebridge.bind": "the socket it came in by",
        "gatebridge.params": "the variables as the front server sent them",
        "gatebridge.data": "second stream of a FastCGI filter",
    },
}

_PLACES = {name: (group, text) for group, names in MEANINGS.items() for name, text in names.items()}
_PREFIXES = (  # (how a name begins, its group, its meaning)
    ("HTTP_SEC_", FIELDS, "what kind of request the browser says it is"),
    ("HTTP_", FIELDS, ""),
    ("REDIRECT_", PATH, "Apache: the variable before an internal redirect"),
    ("SSL_", SERVER, "about the encrypted connection"),
    ("SERVER_", SERVER, ""),
    ("REMOTE_", CLIENT, ""),
    ("wsgi.", WSGI, ""),
    ("gatebridge.", OURS, ""),
)


def place(name: str) -> tuple[str, str]:
    """(group, meaning) of a variable; the meaning of a name nobody knows is empty."""
    known = _PLACES.get(name)
    if known is not None:
        return known
    for prefix, group, text in _PREFIXES:
        if name.startswith(prefix):
            return group, text
    return OTHER, ""
