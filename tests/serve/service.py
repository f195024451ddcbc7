"""``gatebridge serve`` as it is started, with an application that says what it sees."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gatebridge import control_client
from gatebridge.errors import GatebridgeError
from tests.serve.gated import Gate, answer, connect
from tests.serve.supervised import alive, descendants
from tests.suite import wires
from tests.suite.modes import environment, wait_until

DEADLINE_S = 30.0

# The folder of the module is where "imports" gets a line for each import.
APP = """
import json, os, resource, sys, threading

VERSION = "one"
_here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(_here, "imports"), "a") as _file:
    _file.write(f"{os.getpid()}\\n")

def limits():
    return {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))
            for name in ("NOFILE", "CORE", "STACK")}

def umask():
    before = os.umask(0)
    os.umask(before)
    return before

def about():
    return {
        "pid": os.getpid(), "ppid": os.getppid(), "version": VERSION, "folder": os.getcwd(),
        "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
        "umask": umask(), "nice": os.nice(0), "limits": limits(), "environ": dict(os.environ),
        "threads": threading.active_count(),
    }

def application(environ, start_response):
    path = environ["PATH_INFO"] or environ["REQUEST_URI"]
    what, _, rest = path.strip("/").partition("/")
    body = VERSION
    if what == "about":
        body = json.dumps(about())
    elif what == "hold":
        with open(os.path.join(_here, rest), "rb") as fifo:
            fifo.read()
        body = "held " + rest
    elif what == "print":
        print(rest)
        print("on stderr", rest, file=sys.stderr)
    elif what == "fail":
        raise ValueError(rest)
    elif what == "where":
        body = json.dumps([environ["SCRIPT_NAME"], environ["PATH_INFO"], VERSION])
    elif what == "touch":
        with open(rest, "x"):
            body = os.path.abspath(rest)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
"""


class Service:
    """One start of ``gatebridge serve``. words: its arguments; its first socket is "s".

    start   the folder it is started in, if it is not ``folder``
    env     more variables
    wait    until it serves; without, whoever asks sees to that
    """

    def __init__(
        self,
        folder: Path,
        *words: str,
        app: str = APP,
        start: Path | None = None,
        env: dict[str, str] | None = None,
        wait: bool = True,
        prefix: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self.gates: list[Gate] = []
        self.control = str(folder / "ctl")
        if not (folder / "shop.py").exists():
            self.write(app)
        (folder / "imports").touch()
        (folder / "imports").chmod(0o666)  # workers may run as somebody else
        self.out, self.err = folder / "out", folder / "err"
        self.variables = {
            **environment(folder),
            "GATEBRIDGE_CONTROL_SOCKET": self.control,
            "PYTHONDONTWRITEBYTECODE": "1",  # a module is written twice within one second
            **(env or {}),
        }
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "gatebridge", "serve", *words],
                cwd=start or folder,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=pass_fds,
            )
        if wait:
            self.until(lambda: self.process.poll() is not None or self.status()["generation"] >= 1)
            self.until(lambda: self.process.poll() is not None or self.serves(), "does not serve")
            assert self.process.poll() in (None, 0), self.log()

    def serves(self) -> bool:
        pools = self.status()["pools"].values()
        return all(pool["pm"] == "ondemand" or pool["workers"]["ready"] for pool in pools)

    # -- what it is made of

    def write(self, app: str, name: str = "shop.py") -> None:
        """As an editor does it: never half."""
        (self.folder / f"{name}.new").write_text(app)
        os.replace(self.folder / f"{name}.new", self.folder / name)

    def version(self, name: str) -> None:
        self.write(APP.replace('VERSION = "one"', f"VERSION = {name!r}"))

    def imports(self) -> int:
        return len((self.folder / "imports").read_text().splitlines())

    # -- what it says

    def log(self) -> str:
        return self.err.read_text(errors="replace")

    def until_log(self, text: str, count: int = 1) -> None:
        self.until(lambda: self.log().count(text) >= count, f"no {count} x {text!r}")

    def ctl(self, command: str, **more: object) -> dict:
        return control_client.call(self.control, command, DEADLINE_S, **more)

    def status(self) -> dict:
        return self.ctl("status")

    def pool(self, name: str = "main") -> dict:
        return self.status()["pools"][name]

    def workers(self, pool: str = "main") -> list[int]:
        listed = self.pool(pool)["workers_list"]
        return sorted(one["pid"] for one in listed if one["state"] == "ready")

    def settled(self, ready: int = 1, pool: str = "main") -> list[int]:
        wanted = {"starting": 0, "ready": ready, "draining": 0}
        self.until(lambda: self.pool(pool)["workers"] == wanted, f"not {ready} workers")
        return self.workers(pool)

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.status()["pid"]

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    # -- requests

    def send(self, target: str, bind: str = "s"):
        sock = connect(bind if bind.startswith("/") else str(self.folder / bind))
        sock.settimeout(DEADLINE_S)
        pairs = wires.variables(wires.Req("GET", target, (), None), "")
        sock.sendall(wires.fastcgi_bytes(pairs, b"", False, 1))
        return sock

    def get(self, target: str, bind: str = "s") -> wires.Resp:
        with self.send(target, bind) as sock:
            return answer(sock)

    def ask(self, target: str, bind: str = "s") -> str:
        found = self.get(target, bind)
        assert found.status == 200, (found, self.log())
        return found.body.decode()

    def about(self, bind: str = "s") -> dict:
        return json.loads(self.ask("/about", bind))

    def gate(self, name: str) -> Gate:
        made = Gate(self.folder / name)
        self.gates.append(made)
        return made

    # -- waiting, and the end

    def until(self, true: Callable[[], object], what: str = "") -> None:
        def met() -> bool:
            try:
                return bool(true())
            except (OSError, KeyError, GatebridgeError):
                return False

        if not wait_until(met, DEADLINE_S):  # no assert: python -O would not wait
            raise AssertionError(f"{what}\n{self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and all it has started; the exit status of what was started."""
        for gate in self.gates:
            gate.close()
        pids = [self.process.pid]
        with contextlib.suppress(GatebridgeError, OSError):
            pids.append(self.pid)
        tree = {one for pid in pids for one in (pid, *descendants(pid))}
        try:
            if alive(pids[-1]):
                os.kill(pids[-1], number)
            if not wait_until(lambda: not any(map(alive, tree)), DEADLINE_S):
                left = [pid for pid in tree if alive(pid)]
                raise AssertionError(f"left: {left}\n{self.log()}")
        finally:
            for pid in filter(alive, tree):
                os.kill(pid, signal.SIGKILL)
            status = self.process.wait()
        return status


def open_to_all(folder: Path) -> Path:
    """Let workers of another user in; pytest's folders are for one user."""
    for one in (folder, *folder.parents[:2]):
        one.chmod(0o755)
    return folder


@contextlib.contextmanager
def service(folder: Path, *words: str, ends_with: int = 0, **more) -> Iterator[Service]:
    """A daemon on the socket "s" of the folder; its end must be its own, with that status."""
    live = Service(folder, *words, **more)
    try:
        yield live
    finally:
        status = live.stop()
    assert status == ends_with, live.log()
    assert "gatebridge.fault" not in live.log(), live.log()
