"""What a row is made of: a request, an application, and what the client must see."""

import hashlib
import json

from tests.suite.wires import Req

MOUNT = "(the mount)"
PORT = "(the port)"


class Digest:
    """A body too large to write down: its length and hash."""

    def __init__(self, data: bytes, times: int = 1) -> None:
        self.length = len(data) * times
        digest = hashlib.sha256()
        for _ in range(times):
            digest.update(data)
        self.sha256 = digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            other = Digest(other)
        return isinstance(other, Digest) and (self.length, self.sha256) == (
            other.length,
            other.sha256,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Digest({self.length} bytes, {self.sha256[:12]})"


class Want:
    """What must hold for the answer; what is not named is not looked at.

    headers   name -> all values of that name, in order
    absent    header names that must not be there
    environ   name -> value, of an answer of the application ``environ``; None: must be absent
    json      the whole answer, as JSON
    fields    name -> value, of an answer that is a JSON object
    cut       the client must be able to tell that the answer is not whole; None: it may
    ledger    what the application noted, in order
    log       texts that the gateway's log must hold
    incident  a plain error page whose id leads to the traceback in the log
    """

    def __init__(
        self,
        status: int = 200,
        body: "bytes | Digest | None" = None,
        headers: dict[str, list[str]] | None = None,
        absent: tuple[str, ...] = (),
        environ: dict[str, str | None] | None = None,
        json: object = None,
        fields: dict[str, object] | None = None,
        reason: str | None = None,
        cut: bool | None = False,
        ledger: tuple[str, ...] | None = None,
        log: tuple[str, ...] = (),
        incident: bool = False,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers or {}
        self.absent = absent
        self.environ = environ
        self.json = json
        self.fields = fields
        self.reason = reason
        self.cut = cut
        self.ledger = ledger
        self.log = log
        self.incident = incident


class Row:
    """One row. ``kinds`` says what it needs: see needs() in modes.py."""

    def __init__(self, id: str, app: str, req: Req, want: Want, *kinds: str) -> None:
        self.id = id
        self.app = app
        self.req = req
        self.want = want
        self.kinds = frozenset(kinds)

    def __repr__(self) -> str:
        return self.id


def json_of(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        raise AssertionError(f"not JSON: {body[:300]!r}") from None
