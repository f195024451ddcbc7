"""Programs that start a FastCGI application or speak to one: spawn-fcgi, cgi-fcgi, fcgiwrap."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fronts.servers import program
from tests.suite import wires
from tests.suite.differences import runs, wanted
from tests.suite.modes import Mode, Oneshot, check, environment, read_from, wait_until
from tests.suite.rows import ANSWERS, BODIES, FAILURES, UPLOADS
from tests.suite.rows_environ import ENVIRON
from tests.suite.stage import Stage
from tests.suite.want import Row
from tests.suite.wires import Req, Resp, Seen

ROWS = ANSWERS + BODIES + UPLOADS + ENVIRON + FAILURES


class Behind(Mode):
    """A FastCGI socket of some other program; the suite's own client is the web server."""

    def __init__(
        self, name: str, folder: Path, address: str, log: Path, more: tuple[tuple[str, str], ...]
    ) -> None:
        super().__init__(name, folder)
        self.address = address
        self.path = log
        self.more = more

    def send(self, request: Req, seen: Seen | None = None) -> Resp:
        pairs = [*wires.variables(request, self.mount, self.port), *self.more]
        resp = wires.fastcgi_exchange(wires.connect(self.address), request, pairs, seen)
        with self.path.open("ab") as log:
            log.write(resp.errors)  # fcgiwrap sends the script's stderr over the wire
        return resp

    def log(self, since: int = 0) -> str:
        return read_from(self.path, since)

    def mark(self) -> int:
        return self.path.stat().st_size


def listens(address: str) -> bool:
    """The file is there a moment before anybody listens."""
    try:
        wires.connect(address).close()
    except OSError:
        return False
    return True


def run(stage: Stage, name: str, argv: list[str], address: str) -> "subprocess.Popen[bytes]":
    with (stage.folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            argv,
            env=environment(stage.folder),
            cwd=stage.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    if not wait_until(lambda: listens(address) or process.poll() is not None):
        process.kill()
    if process.poll() is not None:
        process.wait()
        raise AssertionError(f"{argv}: {(stage.folder / f'{name}.log').read_text()}")
    return process


@pytest.fixture(scope="module")
def spawned(stage: Stage) -> Iterator[Mode]:
    """F114: spawn-fcgi starts app.fcgi with the listening socket on descriptor 0."""
    address = str(stage.folder / "spawned.sock")
    script = str(stage.scripts() / "app.fcgi")
    argv = [program("spawn-fcgi", package="spawn-fcgi"), "-n", "-s", address, "--", script]
    process = run(stage, "spawn-fcgi", argv, address)
    yield Behind("spawnfcgi", stage.folder, address, stage.folder / "spawn-fcgi.log", ())
    process.terminate()
    assert process.wait(20) == 0, "TERM must end app.fcgi with exit status 0"


@pytest.fixture(scope="module")
def wrapped(stage: Stage) -> Iterator[Mode]:
    """fcgiwrap answers FastCGI by running the CGI shim."""
    address = str(stage.folder / "wrap.sock")
    argv = [program("fcgiwrap", package="fcgiwrap"), "-f", "-s", f"unix:{address}"]
    process = run(stage, "fcgiwrap", argv, address)
    script = str(stage.scripts() / "app.cgi")
    log = stage.folder / "fcgiwrap.log"
    yield Behind("fcgiwrap", stage.folder, address, log, (("SCRIPT_FILENAME", script),))
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def bridged(stage: Stage) -> Mode:
    """cgi-fcgi: a CGI program that speaks FastCGI to the daemon, as libfcgi brings it."""
    path = program("cgi-fcgi", package="libfcgi-bin")
    stage.daemon("auto")
    argv = [path, "-bind", "-connect", stage.path("auto", "fcgi")]
    return Oneshot("cgifcgi", stage.folder, argv)


def cases(name: str) -> list[object]:
    return [
        pytest.param(row, id=f"{name}--{row.id}")
        for row in ROWS
        if runs(row, name, "", chunked=False)
    ]


@pytest.mark.parametrize("row", cases("spawnfcgi"))
def test_F114_spawn_fcgi(spawned: Mode, row: Row) -> None:
    check(spawned, row, wanted(row, "spawnfcgi"))


@pytest.mark.parametrize("row", cases("fcgiwrap"))
def test_fcgiwrap(wrapped: Mode, row: Row) -> None:
    check(wrapped, row, wanted(row, "fcgiwrap"))


@pytest.mark.parametrize("row", cases("cgifcgi"))
def test_cgi_fcgi(bridged: Mode, row: Row) -> None:
    check(bridged, row, wanted(row, "cgifcgi"))
