"""Drivers: each mode takes a Req and gives the Resp that its client saw.

The generated entry module puts the suite's applications and the ledger's path together, so that
a script started by a web server with an environment of its own finds both.
"""

import itertools
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.suite import wires
from tests.suite.apps.registry import SECRET
from tests.suite.want import MOUNT, PORT, Row, Want, json_of
from tests.suite.wires import Req, Resp, Seen

ROOT = Path(__file__).resolve().parents[2]
ENTRY = "suite_app:application"
DEADLINE_S = 20.0

_tokens = itertools.count(1)


class Mode:
    """One way to the application. mount: where it sits, as the client's URLs have it."""

    def __init__(self, name: str, folder: Path, mount: str = "", port: str = "80") -> None:
        self.name = name
        self.folder = folder
        self.mount = mount
        self.port = port

    def send(self, request: Req, seen: Seen | None = None) -> Resp:
        raise NotImplementedError

    def log(self, since: int = 0) -> str:
        """What the gateway, and what carries it, has logged after the mark ``since``."""
        raise NotImplementedError

    def mark(self) -> int:
        """Where the log stands now."""
        return 0

    def trouble(self, since: int) -> str:
        """What a failure shows beside the answer."""
        return f"--- log of {self.name}\n{self.log(since)[-2000:]}"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"


def new_token() -> str:
    return f"t{os.getpid()}-{next(_tokens)}"


def write_entry(folder: Path) -> None:
    """Make suite_app.py, the module that every mode is told to serve."""
    text = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.suite import apps\n"
        f"apps.registry.ledger_path = {str(folder / 'ledger')!r}\n"
        "application = apps.application\n"
        "authorizer = apps.authorizer\n"
        "differential = apps.differential\n"
    )
    (folder / "suite_app.py").write_text(text)
    ledger = folder / "ledger"
    ledger.touch()
    ledger.chmod(0o666)


def environment(folder: Path) -> dict[str, str]:
    """For our own processes: the package and the entry module are importable, nothing else set."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "COVERAGE_PROCESS_START", "GATEBRIDGE_PURE")
    return {
        **{k: os.environ[k] for k in kept if k in os.environ},
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
    }


def wait_until(true: Callable[[], bool], deadline_s: float = DEADLINE_S) -> bool:
    end = time.monotonic() + deadline_s
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def worker_of(supervisor: int) -> int:
    """The process id of a daemon's only worker: what serves, holds and grows."""
    found: list[str] = []

    def is_there() -> bool:
        path = Path(f"/proc/{supervisor}/task/{supervisor}/children")
        found[:] = path.read_text().split()
        return len(found) == 1

    assert wait_until(is_there), f"workers {found} of {supervisor}"
    return int(found[0])


def read_from(path: Path, since: int) -> str:
    with path.open("rb") as file:
        file.seek(since)
        return file.read().decode("utf-8", "replace")


# --- one-shot CGI --------------------------------------------------------------------------


class Oneshot(Mode):
    """A process for each request, started as a web server starts a CGI program."""

    def __init__(self, name: str, folder: Path, argv: Sequence[str], **more: str) -> None:
        super().__init__(name, folder, **more)
        self.argv = list(argv)
        self.stderr = b""

    def send(self, request: Req, seen: Seen | None = None) -> Resp:
        pairs = wires.variables(request, self.mount, self.port)
        env = environment(self.folder) | {k: v for k, v in pairs if k != "CONTENT_LENGTH" or v}
        raw = {os.fsencode(k): v.encode("latin-1") for k, v in env.items()}
        with subprocess.Popen(
            self.argv,
            env=raw,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                out, self.stderr = (
                    self._watched(process, request, seen)
                    if seen
                    else process.communicate(wires.body_of(request), DEADLINE_S)
                )
            except subprocess.TimeoutExpired:
                process.kill()
                raise wires.Hang(f"{self.argv} still runs after {DEADLINE_S} s") from None
        resp = wires.judge(out, request.method, True)
        resp.app_status = process.returncode
        resp.cut = resp.cut or (process.returncode != 0 and resp.status < 500)
        return resp

    @staticmethod
    def _watched(
        process: "subprocess.Popen[bytes]", request: Req, seen: Seen
    ) -> tuple[bytes, bytes]:
        """As communicate(), but shows what came so far; only for small answers."""
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("pipes were asked for")
        process.stdin.write(wires.body_of(request))
        process.stdin.close()
        got = b""
        while piece := os.read(process.stdout.fileno(), 65536):
            got += piece
            seen(got)
        return got, process.stderr.read()

    def log(self, since: int = 0) -> str:
        return self.stderr.decode("utf-8", "replace")


class OneshotSocket(Oneshot):
    """As Apache's mod_cgid does it: standard input and output are one socket.

    A process that exits with unread input resets such a socket, and the answer is lost.
    """

    def send(self, request: Req, seen: Seen | None = None) -> Resp:
        pairs = wires.variables(request, self.mount, self.port)
        env = environment(self.folder) | {k: v for k, v in pairs if k != "CONTENT_LENGTH" or v}
        raw = {os.fsencode(k): v.encode("latin-1") for k, v in env.items()}
        ours, theirs = socket.socketpair()
        with theirs, (self.folder / "socket.log").open("w+b") as log:
            process = subprocess.Popen(
                self.argv, env=raw, cwd=self.folder, stdin=theirs, stdout=theirs, stderr=log
            )
            theirs.close()
            resp = wires.closing_exchange(ours, request, wires.body_of(request), seen)
            process.wait(DEADLINE_S)
            log.seek(0)
            self.stderr = log.read()
        return resp


# --- the daemon ----------------------------------------------------------------------------


class Daemon:
    """One ``gatebridge serve`` process on the given binds; stopped by TERM, which must end in 0."""

    def __init__(
        self, folder: Path, name: str, binds: Sequence[str], *options: str, entry: str = ENTRY
    ) -> None:
        self.folder = folder
        self.binds = list(binds)
        self.path = folder / f"{name}.log"
        argv = [sys.executable, "-m", "gatebridge", "serve", entry]
        for bind in binds:
            argv += ["--bind", bind]
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, *options],
                env=environment(folder),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if not wait_until(lambda: self._ready() or self.process.poll() is not None):
            self.process.kill()
        if not self._ready():
            self.process.wait()
            raise AssertionError(f"gatebridge serve did not come up:\n{self.log()}")

    def _ready(self) -> bool:
        return self.log().count("listening on") >= len(self.binds)

    def log(self, since: int = 0) -> str:
        return read_from(self.path, since)

    def mark(self) -> int:
        return self.path.stat().st_size

    def addresses(self) -> list[str | tuple[str, int]]:
        """Where each bind really listens (port 0 was asked for), in the order of the binds."""
        found: list[str | tuple[str, int]] = []
        for said in re.findall(r"listening on (\S+)", self.log()):
            place = said.rpartition("unix:")[2].partition("?")[0]
            host, colon, port = said.rpartition("//")[2].rpartition(":")
            found.append(place if "unix:" in said else (host, int(port)))
        return found

    def stop(self) -> None:
        self.process.terminate()
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"TERM did not end the daemon:\n{self.log()[-3000:]}") from None
        if code != 0:
            raise AssertionError(f"the daemon exited with {code}:\n{self.log()[-3000:]}")


class Direct(Mode):
    """The daemon's own socket, with the suite's own client as the web server."""

    def __init__(
        self,
        name: str,
        daemon: Daemon,
        protocol: str,
        address: str | tuple[str, int],
        mount: str = "",
    ) -> None:
        port = str(address[1]) if isinstance(address, tuple) else "80"
        super().__init__(name, daemon.folder, mount, port)
        self.daemon = daemon
        self.protocol = protocol
        self.address = address

    def send(self, request: Req, seen: Seen | None = None) -> Resp:
        sock = wires.connect(self.address)
        if self.protocol == "http":
            host = f"127.0.0.1:{self.port}"
            return wires.http_exchange(sock, request, self.mount, host, seen, to_end=True)
        pairs = wires.variables(request, self.mount, self.port)
        if self.protocol == "fastcgi":
            return wires.fastcgi_exchange(sock, request, pairs, seen)
        encode = wires.scgi_bytes if self.protocol == "scgi" else wires.uwsgi_bytes
        data = encode(pairs, wires.body_of(request))
        return wires.closing_exchange(sock, request, data, seen)

    def log(self, since: int = 0) -> str:
        return self.daemon.log(since)

    def mark(self) -> int:
        return self.daemon.mark()


# --- judging -------------------------------------------------------------------------------


def check(mode: Mode, row: Row, want: Want | None = None) -> None:
    """Send one row through one mode and hold the answer against what is wanted."""
    before = mode.mark()
    try:
        check_row(mode, row, want or row.want, before)
    except AssertionError as error:
        error.add_note(mode.trouble(before))
        raise


def check_row(mode: Mode, row: Row, want: Want, before: int) -> None:
    token = new_token()
    resp = mode.send(row.req.plus(("Suite-App", row.app), ("Suite-Token", token)))
    check_answer(mode, want, resp)
    if want.incident and row.req.method != "HEAD":
        check_incident(mode, resp, before)
    if want.ledger is not None:
        check_ledger(mode, token, want.ledger)
    for text in want.log:
        found = wait_until(lambda text=text: text in mode.log(before))
        assert found, f"{mode.name}: the log lacks {text!r}"


def check_answer(mode: Mode, want: Want, resp: Resp) -> None:
    shown = f"{mode.name}: {resp!r}"
    for leak in (SECRET, "Traceback (most recent call last)"):
        assert leak.encode() not in resp.body, f"told to the client: {leak!r}; {shown}"
    if want.cut is not False:
        seen = resp.cut or resp.status >= 500
        assert seen or want.cut is None, f"the client cannot see the failure: {shown}"
        return
    assert not resp.cut, f"cut: {shown}"
    assert resp.status == want.status, shown
    if want.reason is not None:
        assert resp.reason == want.reason, shown
    for name, values in want.headers.items():
        assert resp.all(name) == values, f"{name}: {shown}"
    for name in want.absent:
        assert resp.all(name) == [], f"{name}: {shown}"
    if want.body is not None:
        assert want.body == resp.body, f"body is not {want.body!r:.200}: {shown}"
    check_json(mode, want, resp)


def check_json(mode: Mode, want: Want, resp: Resp) -> None:
    if want.json is not None:
        assert json_of(resp.body) == want.json
    found = json_of(resp.body) if want.fields or want.environ else {}
    if not isinstance(found, dict):
        raise AssertionError(f"not an object: {found!r}")
    for name, value in {**(want.fields or {}), **(want.environ or {})}.items():
        wanted = {MOUNT: mode.mount, PORT: mode.port}.get(str(value), value)
        assert found.get(name) == wanted, f"{mode.name}: {name} is {found.get(name)!r}: {found!r}"


def check_incident(mode: Mode, resp: Resp, before: int) -> None:
    """The page names an incident; the traceback stands in the log under the same name."""

    def named() -> bool:
        log = mode.log(before)
        words = re.findall(r"[0-9A-Za-z-]{6,}", resp.body.decode("latin-1"))
        return SECRET in log and any(w in log and re.fullmatch("[0-9a-f]{8}", w) for w in words)

    assert wait_until(named, 5.0), f"{mode.name}: no incident of {resp!r} in the log"


def noted(mode: Mode, token: str) -> tuple[str, ...]:
    lines = mode.ledger.read_text().splitlines()
    return tuple(line.partition(" ")[2] for line in lines if line.split(" ")[0] == token)


def check_ledger(mode: Mode, token: str, wanted: tuple[str, ...]) -> None:
    wait_until(lambda: len(noted(mode, token)) >= len(wanted), 10.0)
    assert noted(mode, token) == wanted, f"{mode.name}: noted {noted(mode, token)!r}"


def check_closed_once(folder: Path) -> None:
    """Over a whole run: no iterable was closed twice (W036)."""
    lines = (folder / "ledger").read_text().splitlines()
    closed = [line for line in lines if line.endswith(" closed") and not line.startswith("- ")]
    twice = sorted({line for line in closed if closed.count(line) > 1}) if closed else []
    assert not twice, f"closed more than once: {twice[:10]}"
