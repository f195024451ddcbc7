"""Requests to a front server's URL, and what of each of them came to the daemon.

The daemon keeps what the one request carries that has our token: see `gatebridge explain --url`.
"""

from __future__ import annotations

import json
import secrets
import ssl
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

from gatebridge.control_client import call
from gatebridge.doctor.passing import SAMPLE_URI
from gatebridge.errors import GatebridgeError, UseError
from gatebridge.serve.probe_answer import ALONE, SIGN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADER: Final = "X-Gatebridge-Explain"
TIMEOUT_S: Final = 5.0  # for an answer
_LATE_S: Final = 0.5  # for a report, which is made before its answer
_BELOW: Final = "/gatebridge-doctor"  # nothing is there, should the application be asked
BODY: Final = b"1234567"
_BODY: Final = 4096  # bytes of an answer that are looked at
CREDENTIALS: Final = "Bearer gatebridge-doctor"
TWICE: Final = "X-Gatebridge-Doctor"
HEADERS: Final = (  # of the first request
    ("Authorization", CREDENTIALS),
    ("Proxy", "http://gatebridge-doctor.invalid/"),
    (TWICE, "one"),
    (TWICE, "two"),
)


@dataclass(frozen=True, slots=True)
class Came:
    """status: of the answer, 0 for none; error: why there is none.

    report  what came to the daemon, as `gatebridge explain` has it; {} for nothing
    target  the path that was asked for, as a WSGI string, and the URL's own
    probe   which of serve.probe_answer's answers came; "" for one of somebody else
    body    of the answer; its first bytes
    cookie  bytes of the Set-Cookie header
    """

    target: str
    base: str = ""
    status: int = 0
    server: str = ""
    error: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    probe: str = ""
    body: bytes = b""
    cookie: int = 0

    @property
    def environ(self) -> dict[str, str]:
        found: dict[str, str] = self.report.get("environ") or {}
        return found

    @property
    def uploaded(self) -> int | None:
        """Bytes of body that the daemon could read; None where it did not answer that."""
        if self.probe != "length":
            return None
        try:
            return int(json.loads(self.body)["length"])
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def is_late(self) -> bool:
        """Whether the first piece of a stream came only when the stream was over."""
        return self.probe == "stream" and ALONE in self.body

    @property
    def received(self) -> dict[str, str]:
        return dict(self.report.get("received") or ())


class Url:
    """Of a front server, and the daemon behind. raises UseError("doctor.url")"""

    def __init__(self, url: str, control_socket: str) -> None:
        wrong = UseError("doctor.url", f"{url!r}: a URL as in http://localhost:8080/app")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise wrong from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise wrong
        self.scheme = parts.scheme
        self._host = parts.hostname
        self._port = port
        self._path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        self._control_socket = control_socket

    def ask(self, *headers: tuple[str, str], chunked: bool = False, answer: str = "length") -> Came:
        """A GET below the URL, or a POST whose length is not told.

        answer  of serve.probe_answer, which the daemon gives, so that the application sees nothing
        raises  GatebridgeError("doctor.daemon")
        """
        target = f"{self._path}{_BELOW}{SAMPLE_URI}"
        path = unquote_to_bytes(target).decode("latin-1")
        token = secrets.token_hex(16)
        asked = self._daemon("explain-next", limit=2 * TIMEOUT_S, token=token, answer=answer)
        base = unquote_to_bytes(self._path).decode("latin-1")
        connection = self._connection(False)
        try:
            self._send(connection, target, [*headers, (HEADER, token)], chunked)
            got = connection.getresponse()
            server, probe = got.getheader("Server") or "", got.getheader(SIGN) or ""
            first = got.read1(_BODY) if probe == "stream" else b""
            report = self._taken(asked["number"])  # and what waits for that goes on
            cookie = len(got.getheader("Set-Cookie") or "")
            body = first + got.read(_BODY)
            return Came(path, base, got.status, server, "", report, probe, body, cookie)
        except (OSError, HTTPException) as error:
            return Came(path, base, error=str(error) or type(error).__name__)
        finally:
            connection.close()

    def _taken(self, number: int) -> dict[str, Any]:
        found = self._daemon("explain-take", number=number, wait=_LATE_S).get("report")
        return found if isinstance(found, dict) else {}

    def _daemon(self, command: str, **args: object) -> dict[str, Any]:
        answer = call(self._control_socket, command, TIMEOUT_S, **args)
        if not answer["ok"]:
            why = f"{answer.get('code')}: {answer.get('error')}"
            raise GatebridgeError("doctor.daemon", f"the daemon cannot say what came: {why}")
        return answer

    def _send(
        self,
        connection: HTTPConnection,
        target: str,
        headers: Sequence[tuple[str, str]],
        chunked: bool,
    ) -> None:
        connection.putrequest("POST" if chunked else "GET", target, skip_accept_encoding=True)
        connection.putheader("User-Agent", "gatebridge-doctor")
        for name, value in headers:
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.putheader("Content-Type", "application/octet-stream")
        connection.endheaders(_pieces() if chunked else None, encode_chunked=chunked)

    def _connection(self, verified: bool) -> HTTPConnection:
        if self.scheme == "http":
            return HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        context = ssl.create_default_context()
        if not verified:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=context)

    def distrust(self) -> str:
        """Why a browser would not take the certificate; "" where it does, or there is none."""
        if self.scheme == "http":
            return ""
        connection = self._connection(True)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            return str(error.verify_message)
        except OSError:
            return ""
        finally:
            connection.close()
        return ""


def _pieces() -> Iterator[bytes]:
    yield BODY[:3]
    yield BODY[3:]
