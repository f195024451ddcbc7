"""The same bytes to a real flup server and to ours, with the same application behind both.

Ours are two: the daemon, and gatebridge.compat.flup with flup's own arguments.

Every difference of environ or answer must be one of ALLOWED, which names it and says whose it is: a
fault of flup 1.0.3, counted as in FAULTS, or a clause that ours keeps and flup does not. An entry
that explains nothing any more fails as well.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.corpus.captures import Capture, captures
from tests.suite import wires
from tests.suite.modes import ROOT, environment, wait_until
from tests.suite.rows import ANSWERS, BODIES, FAILURES
from tests.suite.stage import Stage
from tests.suite.wires import FastcgiAnswer, Req, record, stream

CONFIGS = (
    "nginx-fcgi-app-split",
    "nginx-fcgi-root",
    "apache-fcgi-handler-app",
    "apache-fcgi-pass-app-tcp",
    "lighttpd-fcgi-app",
    "caddy-fcgi-app",
    "haproxy-fcgi-app-pathinfo",
    "haproxy-fcgi-app-mpxs",
    "h2o-fcgi-root",
    "nginx-scgi-app",
    "apache-scgi-app",
    "lighttpd-scgi-app",
)
PATIENCE_S = 2.0  # how long flup may be silent before a case counts as never answered

Seen = dict[str, object]
Difference = tuple[str, object, object]  # what, flup's, ours


class Case:
    """Bytes for both servers. pathless: the front server sent no PATH_INFO, or an empty one."""

    def __init__(
        self, id: str, protocol: str, data: bytes, capture: bool = False, pathless: bool = False
    ) -> None:
        self.id = id
        self.protocol = protocol
        self.data = data
        self.capture = capture
        self.pathless = pathless

    def __repr__(self) -> str:
        return self.id


def captured(capture: Capture) -> Case:
    protocol = "scgi" if "-scgi-" in capture.config else "fcgi"
    pathless = not dict(capture.pairs).get("PATH_INFO")
    return Case(capture.name, protocol, capture.data, True, pathless)


def of_row(app: str, req: Req, protocol: str) -> Case:
    request = req.plus(("Suite-App", app))
    pairs, body = wires.variables(request, "/app"), wires.body_of(request)
    data = wires.fastcgi_bytes(pairs, body) if protocol == "fcgi" else wires.scgi_bytes(pairs, body)
    return Case(f"{app}-{req.method}-{protocol}", protocol, data)


def pieced(step: int) -> bytes:
    """PARAMS in records of ``step`` bytes: pairs are cut in the middle."""
    block = b"".join(
        wires.pair(k.encode("latin-1"), v.encode("latin-1"))
        for k, v in wires.variables(Req(target="/cut"), "")
    )
    begin = record(1, b"\0\1\0\0\0\0\0\0")
    return begin + stream(4, block, step=step) + record(5, b"")


def hand_written() -> list[Case]:
    pairs = wires.variables(Req(target="/x"), "")
    begin = record(1, b"\0\1\0\0\0\0\0\0")
    head = (("Suite-App", "bad_head"), ("Suite-Arg", "value-crlf"))
    split = wires.fastcgi_bytes(wires.variables(Req(headers=head), ""), b"")
    version = bytearray(wires.fastcgi_bytes(pairs, b""))
    version[0] = 9
    failing = wires.variables(Req(headers=(("Suite-App", "raise_halfway_no_length"),)), "")
    return [
        Case("params-in-7-byte-records", "fcgi", pieced(7)),
        Case("params-in-1-byte-records", "fcgi", pieced(1)),
        Case("response-splitting", "fcgi", split),
        Case("wrong-version", "fcgi", bytes(version)),
        Case("abort-before-params-end", "fcgi", begin + record(2, b"")),
        Case("unknown-role", "fcgi", wires.fastcgi_bytes(pairs, b"", role=99)),
        Case("failure-after-head-kept", "fcgi", wires.fastcgi_bytes(failing, b"", keep=True)),
        Case("get-values", "fcgi", record(9, wires.pair(b"FCGI_MPXS_CONNS", b""), 0)),
        Case("unknown-type", "fcgi", record(77, b"", 0)),
    ]


LEFT_OUT = ("errors_1m", "exits", "stream_10m", "close_raises", "file_gzip")
CASES: list[Case] = [
    *hand_written(),
    *(
        of_row(row.app, row.req, protocol)
        for row in ANSWERS + BODIES + FAILURES
        for protocol in ("fcgi", "scgi")
        if row.app not in LEFT_OUT
    ),
    *(
        captured(capture)
        for capture in captures()
        if capture.config in CONFIGS and not capture.kind
    ),
]


def outcome(sock: socket.socket, case: Case, patience_s: float) -> Seen:
    """What one server makes of the bytes."""
    sock.settimeout(patience_s)
    request_id = int.from_bytes(case.data[2:4], "big") if case.protocol == "fcgi" else 1
    answer, got, ended = FastcgiAnswer(request_id), bytearray(), "closed"
    with sock:
        try:
            sock.sendall(case.data)
            while data := sock.recv(1 << 18):
                got += data
                if case.protocol == "fcgi" and request_id and answer.feed(got):
                    ended = "ended"
                    break
                if request_id == 0 and len(got) >= 8 + int.from_bytes(got[4:6], "big") + got[6]:
                    return {"outcome": "management", "record": bytes(got)}
        except TimeoutError:
            ended = "silence"
        except (ConnectionResetError, BrokenPipeError):
            ended = "reset"
    if case.protocol == "fcgi":
        end = answer.end or (None, None)
        return answered(bytes(answer.out), case) | {"outcome": ended, "protocol": end[1]}
    return answered(bytes(got), case) | {"outcome": ended}


def answered(data: bytes, case: Case) -> Seen:
    """Status, headers, body; of a JSON body the variables one by one."""
    if b"\r\n\r\n" not in data:
        return {"status": None}
    status, reason, headers, body = wires.head_and_body(data)
    if case.capture:
        headers = [(k, v) for k, v in headers if k != "Content-Length"]  # of a body told below
    seen: Seen = {"status": status, "reason": reason}
    for name in sorted({k.lower() for k, _ in headers}):
        seen[f"header {name}"] = [v for k, v in headers if k.lower() == name]
    if b'"suite.body"' not in body:
        return seen | {"body": body}
    seen.pop("header content-length", None)
    return seen | {f"environ {k}": v for k, v in json.loads(body).items()}


def compare(flup: Seen, ours: Seen) -> list[Difference]:
    return [
        (what, flup.get(what), ours.get(what))
        for what in sorted(flup.keys() | ours.keys())
        if flup.get(what) != ours.get(what)
    ]


# The faults of flup 1.0.3 that show here, by the numbers of the list they were first written in.
FAULTS = {
    3: "a PARAMS pair that is split over two records gives wrong variables",
    4: "FCGI_GET_VALUES is answered with an empty result",
    5: "PATH_INFO is rebuilt from the undecoded REQUEST_URI by lengths of the decoded name",
    8: "CR and LF in a header value are sent as they are",
    9: "HTTP_PROXY reaches the application",
    13: "a wrong version byte is accepted; ABORT before the end of PARAMS is never answered",
    14: "a failure after the head ends as a success on a kept connection",
}

When = Callable[[object, object], bool]


class Allowed:
    """A difference with a name.

    source  a number of FAULTS, or the clause or rule that ours keeps
    what    the names of the differing parts (fnmatch); cases: the cases it is about (fnmatch)
    when    (flup's, ours) -> it is this one
    """

    def __init__(
        self,
        name: str,
        source: "int | str",
        what: str,
        when: When = lambda flup, ours: True,
        cases: str = "*",
        pathless: bool = False,
    ) -> None:
        self.name = name
        self.source = source
        self.what = what
        self.when = when
        self.cases = cases
        self.pathless = pathless

    def __repr__(self) -> str:
        return self.name

    def explains(self, case: Case, difference: Difference) -> bool:
        what, flup, ours = difference
        return (
            fnmatchcase(what, self.what)
            and fnmatchcase(case.id, self.cases)
            and (case.pathless or not self.pathless)
            and self.when(flup, ours)
        )


def dropped(flup: object, ours: object) -> bool:
    return flup is not None and ours is None


def was_empty(flup: object, ours: object) -> bool:
    return flup == "" and ours is None


def joined(flup: object, ours: object) -> bool:
    return isinstance(ours, str) and isinstance(flup, str) and ours.endswith(flup)


ALLOWED = (
    Allowed("params-split", 3, "*", cases="params-in-*-byte-records"),
    Allowed("values-told", 4, "record", cases="get-values"),
    Allowed("path-info-decoded", 5, "environ PATH_INFO", pathless=True),
    Allowed("script-name-of-the-mount", 5, "environ SCRIPT_NAME", pathless=True),
    Allowed("splitting-refused", 8, "*", cases="response-splitting"),
    Allowed("proxy-dropped", 9, "environ HTTP_PROXY", dropped),
    Allowed("version-refused", 13, "*", cases="wrong-version"),
    Allowed("abort-answered", 13, "*", cases="abort-before-params-end"),
    Allowed("failure-is-no-success", 14, "*", cases="failure-after-head-kept"),
    Allowed("own-names", "gatebridge.* is ours", "environ gatebridge.*"),
    Allowed("empty-length-absent", "F046", "environ CONTENT_LENGTH", was_empty),
    Allowed(
        "unknown-length-counted",
        "F050",
        "environ CONTENT_LENGTH",
        lambda flup, ours: flup in (None, "-1") and str(ours).isdigit(),
        "*-chunked*",
    ),
    Allowed("empty-type-absent", "PEP 3333", "environ CONTENT_TYPE", was_empty),
    Allowed("coding-undone", "T9", "environ HTTP_TRANSFER_ENCODING", dropped),
    Allowed("length-has-one-name", "W017", "environ HTTP_CONTENT_LENGTH", dropped),
    Allowed("type-has-one-name", "W017", "environ HTTP_CONTENT_TYPE", dropped),
    Allowed("repeated-headers-joined", "C20", "environ HTTP_*", joined, "*--hdr-*"),
    Allowed("unchecked-user-dropped", "W063", "environ REMOTE_USER", dropped, "*--auth-basic"),
    Allowed("unchecked-type-dropped", "W063", "environ AUTH_TYPE", dropped, "*--auth-basic"),
    Allowed("name-without-port", "W004", "environ SERVER_NAME", lambda f, o: f == f"{o}:8080"),
    Allowed("empty-host-absent", "W004", "environ HTTP_HOST", was_empty),
    Allowed("empty-name-filled", "W004", "environ SERVER_NAME", lambda f, o: f == "" and bool(o)),
    Allowed(
        "empty-read-is-bytes",
        "PEP 3333",
        "environ suite.body type",
        lambda flup, ours: (flup, ours) == ("str", "bytes"),
    ),
    Allowed("length-added", "PEP 3333 allows it", "header content-length", cases="empty_blocks-*"),
    Allowed("file-wrapper-there", "PEP 3333 has it optional", "*", cases="file_*"),
    Allowed("head-without-body", "W040", "body", lambda f, o: o == b"", "*-HEAD-*"),
    Allowed("head-without-body-captured", "W040", "*", cases="*--head"),
    Allowed("no-body-on-204-304", "W041", "body", lambda f, o: o == b"", "body_on_*"),
    Allowed("surplus-cut", "W058", "body", lambda f, o: o == b"hello", "*_long-*"),
    Allowed("text-block-refused", "W050", "*", cases="str_block-*"),
    *(
        Allowed(f"own-error-page-{what}", "W042", what, lambda f, o: True, f"{app}-*")
        for what in ("body", "header content-type", "header content-length")
        for app in ("raise_*", "start_*", "returns_*")
    ),
    Allowed("unread-body-drained", "F048", "outcome", lambda f, o: f == "reset", "raise_*-POST-*"),
)


class Peers:
    """A flup process for each protocol, the same of gatebridge.compat, and our daemon."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.processes = []
        self.paths: dict[tuple[str, str], str] = {}
        for package in ("flup", "gatebridge.compat.flup"):
            for protocol in ("fcgi", "scgi"):
                self._start(package, protocol)

    def _start(self, package: str, protocol: str) -> None:
        folder = self.stage.folder
        path = str(folder / f"{package}.{protocol}")
        log = folder / f"{package}-{protocol}.log"
        with log.open("wb") as out:
            argv = [sys.executable, "-m", "tests.suite.flup_server", protocol, path]
            self.processes.append(
                subprocess.Popen(
                    [*argv, "suite_app:differential", package],
                    env=environment(folder),
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                )
            )
        self.paths[package, protocol] = path
        if not wait_until(lambda: Path(path).exists()):
            raise AssertionError(f"{package} did not come up: {log.read_text()}")

    def differences(self, case: Case) -> dict[str, list[Difference]]:
        """By whom of ours they are: the daemon, compat."""
        stage = self.stage
        stage.daemon("peer")
        flup = outcome(wires.connect(self.paths["flup", case.protocol]), case, PATIENCE_S)
        ours = {
            "daemon": stage.path("peer", case.protocol),
            "compat": self.paths["gatebridge.compat.flup", case.protocol],
        }
        return {
            name: compare(flup, outcome(wires.connect(path), case, wires.DEADLINE_S))
            for name, path in ours.items()
        }

    def stop(self) -> None:
        for process in self.processes:
            process.kill()  # TERM would wait for its idle connections (fault 2)
            process.wait()


Both = dict[str, dict[str, list[Difference]]]
OURS = ("daemon", "compat")


@pytest.fixture(scope="module")
def found(stage: Stage) -> Iterator[Both]:
    """The differences of every case, by case and by whom of ours."""
    peers = Peers(stage)
    try:
        yield {case.id: peers.differences(case) for case in CASES}
    finally:
        peers.stop()


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_difference_is_named(found: Both, case: Case, ours: str) -> None:
    unnamed = [d for d in found[case.id][ours] if not any(a.explains(case, d) for a in ALLOWED)]
    assert not unnamed, "\n".join(f"{what}: flup {f!r}, ours {o!r}" for what, f, o in unnamed)


def test_every_fault_is_shown() -> None:
    assert {a.source for a in ALLOWED if isinstance(a.source, int)} == set(FAULTS)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("allowed", ALLOWED, ids=repr)
def test_allowed_difference_still_occurs(found: Both, allowed: Allowed, ours: str) -> None:
    there = any(allowed.explains(case, d) for case in CASES for d in found[case.id][ours])
    assert there, allowed.name
