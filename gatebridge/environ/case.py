"""One request that is being made right.

Cold set, but imported when needed: the rows of quirks.py look at a Case and change it; build.py
makes one only for a request whose shape it cannot settle by itself.
"""

from gatebridge.environ.paths import normal, path_of, same
from gatebridge.wire.scan import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gatebridge.environ.front import Front
    from gatebridge.wire.request import Request


class Case:
    """One request under repair.

    env      the variables; fixes change it in place
    checked_user  the operator says that the server checks Basic credentials
    mount    where the operator put the application: "" root, "/app", None not said
    uri      REQUEST_URI as sent, None if absent
    url      its path, decoded once; None if it has none
    script   SCRIPT_NAME and
    info     PATH_INFO, in one form: each "" or starting with "/", script never ending with it
    absent   the server sent no PATH_INFO at all
    agrees   script + info names the same resource as url (or there is no url to ask)
    """

    __slots__ = (
        "absent",
        "agrees",
        "checked_user",
        "document",
        "env",
        "front",
        "info",
        "kept",
        "mount",
        "request",
        "script",
        "uri",
        "url",
    )

    def __init__(
        self,
        request: "Request",
        env: dict[str, str],
        front: "Front",
        mount: str | None,
        checked_user: bool = False,
    ) -> None:
        self.request = request
        self.checked_user = checked_user
        self.env = env
        self.front = front
        self.mount = mount
        self.uri: str | None = None
        self.url: str | None = None
        self.kept: str | None = None
        self.document = ""
        self.script = ""
        self.info = ""
        self.absent = True
        self.agrees = True

    def read_path(self) -> None:
        """Fill in every field about the path from the variables."""
        env = self.env
        self.uri = uri = env.get("REQUEST_URI")
        script = env.get("SCRIPT_NAME", "")
        info = env.get("PATH_INFO", "")
        self.absent = "PATH_INFO" not in env
        self.document = env.get("DOCUMENT_URI", "")
        if script and script[0] != "/":
            script = "/" + script
        if info and info[0] != "/":
            info = "/" + info
        if script and script[-1] == "/":
            bare = script.rstrip("/")
            slashes = script[len(bare) :]
            info = slashes[1:] + info if info else slashes
            script = bare
        self.script = script
        self.info = info
        self.url = url = path_of(uri) if uri else None
        if url is None:
            self._without_url(script, info)
            return
        if self.front.keeps_slash and uri is not None and "%2" in uri:
            coded = uri.replace("%2F", "%252F").replace("%2f", "%252f")
            self.kept = path_of(coded)
        self.agrees = self.names(script + info)

    def _without_url(self, script: str, info: str) -> None:
        if self.front.name == "iis" and script and (info + "/").startswith(script + "/"):
            self.url = info  # IIS repeats SCRIPT_NAME there, so this is the whole path
            self.agrees = False
        elif not script and not info and self.uri != "*":
            self.agrees = False  # no path at all

    def names(self, path: str) -> bool:
        """Does a path of the server's name what the client asked for?"""
        url = self.url
        if url is None or not path:
            return False
        if path == url or same(path, url):
            return True
        return self.kept is not None and same(path, self.kept)

    def asked(self) -> str:
        """The path of the URL, cleaned if this server cleans its own; "" if there is none."""
        url = self.url or ""
        return normal(url) if self.front.cleans else url

    def decoded(self) -> tuple[str, str] | None:
        """script and info after as many more rounds of decoding as make them name the URL."""
        script, info = self.script, self.info
        for _ in range(2):
            if "%" not in script + info:
                return None
            script, info = decode(script).rstrip("/"), decode(info)
            if self.names(script + info) or self.names(info):
                return script, info
        return None
