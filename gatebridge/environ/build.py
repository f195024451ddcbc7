"""The variables of a request into a WSGI environ, in place (PEP 3333, RFC 3875 section 4.1).

Cold set. Most requests need no repair, or only the border between SCRIPT_NAME and PATH_INFO
moved, so Builder.build tests for those shapes itself and asks the rows of quirks.py only for
the rest. changes.build_noting goes through every row; a test holds the two equal.
"""

from gatebridge.environ import variables
from gatebridge.environ.front import BY_NAME, UNKNOWN, Front, Met, recognise
from gatebridge.errors import ConfigError, PeerError
from gatebridge.wire.request import AUTHORIZER, FILTER, RESPONDER, UNKNOWN_LENGTH, Request
from gatebridge.wire.scan import decimal, decode, is_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gatebridge.environ.trust import Trust

MAX_LENGTH = (1 << 63) - 1
_REMEMBERED = 64  # SERVER_SOFTWARE strings; one server has one
_LONGEST = 256  # characters of one that is remembered

_METHODS = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))
_SECURE = frozenset(("on", "1", "yes", "true"))
_ROLES = {AUTHORIZER: "authorizer", FILTER: "filter"}

# Names that no row is about. A request with only these is done with one set operation.
_PLAIN = frozenset(
    """AUTH_TYPE CONTENT_LENGTH CONTENT_TYPE CONTEXT_DOCUMENT_ROOT CONTEXT_PREFIX DOCUMENT_ROOT
    DOCUMENT_URI GATEWAY_INTERFACE HTTPS PATH PATH_INFO PATH_TRANSLATED QUERY_STRING
    REDIRECT_STATUS REDIRECT_URL REMOTE_ADDR REMOTE_HOST REMOTE_PORT REMOTE_USER REQUEST_METHOD
    REQUEST_SCHEME REQUEST_URI SCGI SCRIPT_FILENAME SCRIPT_NAME SERVER_ADDR SERVER_ADMIN
    SERVER_NAME SERVER_PORT SERVER_PROTOCOL SERVER_SIGNATURE SERVER_SOFTWARE
    HTTP_ACCEPT HTTP_ACCEPT_CHARSET HTTP_ACCEPT_ENCODING HTTP_ACCEPT_LANGUAGE
    HTTP_AUTHORIZATION HTTP_CACHE_CONTROL HTTP_CONNECTION HTTP_CONTENT_ENCODING HTTP_COOKIE
    HTTP_DNT HTTP_EXPECT HTTP_FORWARDED HTTP_HOST HTTP_IF_MATCH HTTP_IF_MODIFIED_SINCE
    HTTP_IF_NONE_MATCH HTTP_KEEP_ALIVE HTTP_ORIGIN HTTP_PRAGMA HTTP_PRIORITY HTTP_RANGE
    HTTP_REFERER HTTP_SEC_CH_UA HTTP_SEC_CH_UA_MOBILE HTTP_SEC_CH_UA_PLATFORM
    HTTP_SEC_FETCH_DEST HTTP_SEC_FETCH_MODE HTTP_SEC_FETCH_SITE HTTP_SEC_FETCH_USER HTTP_TE
    HTTP_UPGRADE_INSECURE_REQUESTS HTTP_USER_AGENT HTTP_VIA HTTP_X_FORWARDED_FOR
    HTTP_X_FORWARDED_HOST HTTP_X_FORWARDED_PROTO HTTP_X_REAL_IP HTTP_X_REQUESTED_WITH
    HTTP_X_REQUEST_ID""".split()
)


def set_length(environ: dict[str, object], length: int) -> None:
    """Tell the application the length of a body that had none and is now spooled."""
    environ["CONTENT_LENGTH"] = str(length)
    environ.pop("HTTP_TRANSFER_ENCODING", None)


def _mount(mount: str | None) -> str | None:
    if mount is None:
        return None
    mount = mount.rstrip("/")
    if mount and (mount[0] != "/" or "//" in mount):
        raise ConfigError("mount.malformed", f"{mount!r}: a path as in /app")
    return mount.encode().decode("latin-1")


class Builder:
    """Makes the environ of every request of one listener; holds nothing of any request.

    mount         where the server put the application: "/app", "" or "/" for the root, None
                  for not said, then the rows for the front server decide
    front         nginx, apache, lighttpd, caddy, haproxy, h2o, iis, unknown; "auto" goes by
                  SERVER_SOFTWARE, else by the variables of the first request that has a sign.
                  It is settled once for each SERVER_SOFTWARE, never anew for a request
    trusted       peers whose forwarded headers are believed, see trust.Trust
    forwarded     which of these headers they write
    news          saw_proxy, or somebody new in met; whoever has looked lowers it
    saw_proxy     a Proxy header was dropped; the caller may log it, once, and lower the flag
    met           the front servers that nobody was told about yet; the caller takes them
    settings      what was asked for, for whoever builds the same again
    checked_user  the server checks Basic credentials before it sends REMOTE_USER
    raises        ConfigError("front.unknown"), ConfigError("mount.malformed"), Trust's
    """

    __slots__ = (
        "_below",
        "checked_user",
        "_flags",
        "_front",
        "mount",
        "_nameless",
        "_seen",
        "trust",
        "met",
        "news",
        "saw_proxy",
        "settings",
    )

    def __init__(
        self,
        mount: str | None = None,
        front: str = "auto",
        trusted: tuple[str, ...] = (),
        multithread: bool = False,
        multiprocess: bool = False,
        run_once: bool = False,
        forwarded: tuple[str, ...] = ("for", "proto"),
        checked_user: bool = False,
    ) -> None:
        if front != "auto" and front not in BY_NAME:
            raise ConfigError("front.unknown", f"{front!r}: auto, {', '.join(BY_NAME)}")
        self.mount = _mount(mount)
        self._below = (self.mount or "") + "/"
        self._front = BY_NAME.get(front)  # None: auto
        self._seen: dict[str, Front] = {}
        self.trust: Trust | None = None
        if trusted:
            from gatebridge.environ import trust

            self.trust = trust.Trust(trusted, forwarded)
        self._flags = (multithread, multiprocess, run_once)
        self.checked_user = checked_user
        self._nameless = False  # a server without a name and without a sign was met
        self.news = False
        self.saw_proxy = False
        self.met: list[Met] = []
        self.settings = (mount, front, trusted, forwarded, checked_user)

    def build(self, request: Request) -> tuple[dict[str, object], int]:
        """Turn request.vars into the environ, but for the streams and the file wrapper.

        returns  (environ, bytes of body), UNKNOWN_LENGTH if the body must be read to know
        raises   PeerError("method.malformed"), PeerError("length.malformed"),
                 PeerError("length.too_big")
        """
        environ = request.vars
        env: dict[str, str] = environ  # type: ignore[assignment]  # text until ours come in
        if request.repeated:
            variables.join_repeated(env, request)
        odd = not _PLAIN.issuperset(env)
        if odd:
            if "HTTP_PROXY" in env:
                self.saw_proxy = self.news = True
                del env["HTTP_PROXY"]
            _odd_names(env)
        software = env.get("SERVER_SOFTWARE", "")
        front = self._seen.get(software) or self._recognise(software, env)
        method = env.get("REQUEST_METHOD", "")
        if method not in _METHODS and not is_token(method):
            refuse_method(env, request, method)
        self.set_path(env, request, front)
        if env.get("CONTENT_TYPE") == "":
            del env["CONTENT_TYPE"]
        length = body_length(env, request, odd)
        name = env.get("SERVER_NAME", "")
        if not name or ":" in name or not env.get("SERVER_PROTOCOL") or not env.get("HTTP_HOST"):
            name_server(env)
        if env.get("REMOTE_USER") and front.unchecked and not self.checked_user:
            if variables.unchecked_user(env, front):
                variables.drop_user(env)
        if self.trust is not None:
            self.trust.apply(env, request, front)
        self.finish(environ, env, request)
        return environ, length

    def _recognise(self, software: str, env: dict[str, str]) -> Front:
        """The front server behind a SERVER_SOFTWARE not seen lately."""
        front, sign = self._front, "front"
        if front is None:
            front, sign = recognise(software), "SERVER_SOFTWARE"
            if front is UNKNOWN:
                from gatebridge.environ.shape import by_shape

                front, sign = by_shape(env)
                if not (software or sign):  # a health check perhaps: the next may say more
                    if not self._nameless:
                        self._nameless = True
                        self._meet(Met(front.name, "", ""))
                    return front
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        if len(software) <= _LONGEST:
            self._seen[software] = front
            self._meet(Met(front.name, software, sign))
        return front

    def _meet(self, met: Met) -> None:
        del self.met[_REMEMBERED:]
        self.met.append(met)
        self.news = True

    def set_path(self, env: dict[str, str], request: Request, front: Front) -> None:
        """SCRIPT_NAME, PATH_INFO and QUERY_STRING; the shapes that need no row come first."""
        uri = env.get("REQUEST_URI", "")
        url, mark, query = uri.partition("?")
        if "QUERY_STRING" not in env:
            env["QUERY_STRING"] = query
        script = env.get("SCRIPT_NAME", "")
        info = env.get("PATH_INFO")
        if "%" in url:
            url = decode(url)
        raw = front.plain and info and ("//" in url or "/." in url)  # nginx cleans its own
        if url == (script + info if info else script) and url[:1] == "/" and not raw:
            mount = self.mount
            if mount is not None:
                if url.startswith(self._below):
                    env["SCRIPT_NAME"] = mount
                    env["PATH_INFO"] = url[len(mount) :]
                    return
            elif info:
                if script[-1:] != "/" and info[0] == "/":
                    env["SCRIPT_NAME"] = script
                    return
            elif info is None and front.plain and not request.repeated and "SCGI" not in env:
                env["SCRIPT_NAME"] = ""
                env["PATH_INFO"] = url
                return
        from gatebridge.environ.case import Case  # most CGI requests never come here
        from gatebridge.environ.profile import place

        case = Case(request, env, front, self.mount, self.checked_user)
        place(case)
        env["SCRIPT_NAME"] = case.script
        env["PATH_INFO"] = case.info

    def finish(self, environ: dict[str, object], env: dict[str, str], request: Request) -> None:
        https = env.get("HTTPS")
        if https:
            secure = https in _SECURE or https.lower() in _SECURE
        else:
            secure = env.get("REQUEST_SCHEME") == "https"
        if not env.get("SERVER_PORT"):
            env["SERVER_PORT"] = "443" if secure else "80"
        flags = self._flags
        environ["wsgi.version"] = (1, 0)
        environ["wsgi.url_scheme"] = "https" if secure else "http"
        environ["wsgi.multithread"] = flags[0]
        environ["wsgi.multiprocess"] = flags[1]
        environ["wsgi.run_once"] = flags[2]
        environ["wsgi.input_terminated"] = True
        environ["gatebridge.params"] = request.pairs
        if request.role != RESPONDER:
            environ["gatebridge.role"] = _ROLES.get(request.role, "responder")

    def front_of(self, env: dict[str, str]) -> Front:
        """The server whose rows a request with these variables gets."""
        software = env.get("SERVER_SOFTWARE", "")
        return self._seen.get(software) or self._recognise(software, env)


def _odd_names(env: dict[str, str]) -> None:
    """Names that some row is about."""
    if variables.has_dotted(env):
        variables.drop_dotted(env)
    if "HTTP_CONTENT_LENGTH" in env:
        del env["HTTP_CONTENT_LENGTH"]
    if "HTTP_CONTENT_TYPE" in env:
        del env["HTTP_CONTENT_TYPE"]
    variables.recover(env)


def refuse_method(env: dict[str, str], request: Request, method: str) -> None:
    if method or request.role != AUTHORIZER:
        raise PeerError(
            "method.malformed", repr(method[:32]) if method else "REQUEST_METHOD is absent"
        )
    env["REQUEST_METHOD"] = "GET"


def body_length(env: dict[str, str], request: Request, odd: bool) -> int:
    """Bytes of body. Afterwards CONTENT_LENGTH is digits, or absent for none or unknown."""
    text = env.get("CONTENT_LENGTH")
    if request.role == AUTHORIZER:
        env.pop("CONTENT_LENGTH", "")
        env.pop("HTTP_TRANSFER_ENCODING", "")
        return 0
    if text is not None:
        if text not in ("", "-1") and not request.doubtful:
            if odd:
                env.pop("HTTP_TRANSFER_ENCODING", "")
            return 0 if text == "0" else decimal(text, MAX_LENGTH)
        del env["CONTENT_LENGTH"]
    if not request.complete:
        return UNKNOWN_LENGTH
    if odd:
        env.pop("HTTP_TRANSFER_ENCODING", "")
    length = len(request.body)
    if length:
        env["CONTENT_LENGTH"] = str(length)
    return length


def name_server(env: dict[str, str]) -> None:
    """HTTP_HOST, SERVER_NAME and SERVER_PROTOCOL as PEP 3333 and RFC 3875 want them."""
    if env.get("HTTP_HOST") == "":
        del env["HTTP_HOST"]
    name = env.get("SERVER_NAME")
    if not name or ":" in name:
        env["SERVER_NAME"] = variables.server_name(env)
    if not env.get("SERVER_PROTOCOL"):
        env["SERVER_PROTOCOL"] = "HTTP/1.0"
