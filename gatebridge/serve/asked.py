"""What logs, and the ways to tell a front server of a failure, must know of a request."""

from gatebridge.serve.request_id import KEY

_HELD = 8000  # bytes of the error stream held back; the log has all of it
_EARLY = 1024  # bytes of the error stream that nginx takes before a head
_FILLING = 65_528  # bytes; with its header such a record fills nginx's buffer some times over
_HELD_MOST = 65_536  # bytes held back before some of these are sent


class Asked:
    """One request and how far its answer is, whoever runs it.

    over  the protocol's name
    """

    __slots__ = ("_early", "_error_text", "_held", "environ", "gone", "over", "queued_s", "sent",
                 "started", "status")  # fmt: skip

    def __init__(self, over: str) -> None:
        self.over = over
        self.environ: dict[str, object] | None = None  # while it runs, or was refused before
        self.gone = False  # nobody waits for the answer; every write and read raises
        self.status = ""
        self.sent = 0  # bytes of body
        self.started = 0.0  # wall clock, for the access log
        self.queued_s = 0.0  # how long it has waited for a thread
        self._error_text = ""
        self._held = b""  # of the error stream, until the head or the whole answer is out
        self._early = 0  # bytes of it sent before the head

    @property
    def line(self) -> str:
        """The request in a few words, for logs."""
        environ = self.environ or {}
        path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
        if not path:  # refused before its variables were put right
            path = str(environ.get("REQUEST_URI", "")).partition("?")[0]
        id = environ.get(KEY) or environ.get("HTTP_X_REQUEST_ID")
        about = f", id {id}" if id else ""
        return f"{environ.get('REQUEST_METHOD', '-')} {path}{about}"

    @property
    def front(self) -> str:
        """SERVER_SOFTWARE."""
        return str((self.environ or {}).get("SERVER_SOFTWARE", ""))

    @property
    def is_mod_fcgid(self) -> bool:
        """Apache's mod_fcgid, and not its mod_proxy_fcgi, which says so in SCRIPT_FILENAME."""
        script = str((self.environ or {}).get("SCRIPT_FILENAME", ""))
        return self.front.startswith("Apache") and not script.startswith(("proxy:", "//"))

    @property
    def _is_haproxy(self) -> bool:
        return self.front.startswith("HAProxy")

    def _due_errors(self) -> bytes:
        """What may go out now of the error text; the rest is held back."""
        data = self._error_text.encode("utf-8", "backslashreplace")
        self._error_text = ""
        if self._is_haproxy:
            # A STDERR record before the end of STDOUT ends the whole HAProxy process (2.6.12).
            self._held = (self._held + data)[:_HELD]
            return b""
        if not self.status and self.front.startswith("nginx"):
            data = self._before_head(data)
        return data

    def _before_head(self, data: bytes) -> bytes:
        """What nginx may get before the head; the rest is held back, to go right behind it.

        Until the head is complete nginx (1.22) parses records in one small buffer, which it starts
        again only where STDERR's content fills it to the last byte. A long traceback and the head
        behind it do not fit: 502, "upstream sent too big header".
        """
        if not self._held and self._early + len(data) <= _EARLY:
            self._early += len(data)
            return data
        held = self._held + data
        whole = len(held) - len(held) % _FILLING if len(held) > _HELD_MOST else 0
        self._held = held[whole:]
        return held[:whole]
