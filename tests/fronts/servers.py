"""Private instances of real front servers: own folder, free loopback ports, own configuration.

Each runs as the user that runs the tests. Apache alone refuses to be root, so root hands it to an
unprivileged user that keeps the one capability of reading what root's tests wrote.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.suite.modes import read_from, wait_until

REQUIRE = os.environ.get("GATEBRIDGE_REQUIRE_FRONTS") == "1"
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])
TRIES = 3

missing: dict[str, str] = {}  # program -> where it would come from; told at the end of the run


def program(*names: str, package: str) -> str:
    """The path of the first of these programs; without one the test is skipped, or fails."""
    for name in names:
        if found := shutil.which(name, path=SEARCH):
            return found
    return absent(names[0], package)


def absent(name: str, package: str) -> str:
    missing[name] = package
    reason = f"{name} is not installed (package {package})"
    if REQUIRE:
        pytest.fail(f"{reason}, and GATEBRIDGE_REQUIRE_FRONTS=1 asks for it", pytrace=False)
    pytest.skip(reason)


def free_port() -> int:
    """A loopback port nobody has, below the range that outgoing connections take theirs from."""
    for _ in range(200):
        port = random.randrange(10_240, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port in 200 tries")


def free_ports(count: int) -> list[int]:
    """As many different ones."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def unprivileged(argv: Sequence[str]) -> list[str]:
    """The same command as www-data (or nobody) where we are root; unchanged where we are not.

    The tests' folders and the interpreter may be root's own, so the user keeps the right to pass
    file permissions by; only the number that Apache looks at changes.
    """
    if os.geteuid() != 0:
        return list(argv)
    setpriv = program("setpriv", package="util-linux")
    caps = "+dac_override,+dac_read_search"
    user = "www-data" if _exists("www-data") else "nobody"
    return [
        setpriv,
        f"--reuid={user}",
        f"--regid={_group(user)}",
        "--clear-groups",
        f"--inh-caps={caps}",
        f"--ambient-caps={caps}",
        *argv,
    ]


def _exists(user: str) -> bool:
    import pwd

    return any(entry.pw_name == user for entry in pwd.getpwall())


def _group(user: str) -> str:
    import pwd

    return str(pwd.getpwnam(user).pw_gid)


class Server:
    """One running front server.

    argv   the command, in the foreground
    ports  the loopback ports that must accept connections before it counts as started
    logs   files whose end is shown with a failure, beside what the process wrote itself
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        argv: Sequence[str],
        ports: Sequence[int],
        logs: Sequence[Path] = (),
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.ports = list(ports)
        self.logs = [folder / f"{name}.out", *logs]
        self.stop_by = stop
        self._marks: list[list[tuple[Path, int]]] = [[]]
        env = {
            "PATH": SEARCH,
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        }
        with self.logs[0].open("wb") as out:
            self.process = subprocess.Popen(
                argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        wait_until(lambda: self.process.poll() is not None or all(map(answers, self.ports)))
        if self.process.poll() is not None or not all(map(answers, self.ports)):
            self.stop()
            raise AssertionError(f"{name} did not come up: {argv}\n{self.log()}")

    def log(self, since: int = 0) -> str:
        """All of its logs; with a mark, only what the error logs have gained since."""
        found = [path for path in self.logs if path.exists()]
        if not since:
            return "\n".join(read_from(path, 0) for path in found)
        sizes = dict(self._marks[since])
        return "\n".join(read_from(path, sizes.get(path, 0)) for path in found)

    def mark(self) -> int:
        self._marks.append([(path, path.stat().st_size) for path in self.logs if path.exists()])
        return len(self._marks) - 1

    def stop(self) -> None:
        """End it by its own process id."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_by)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(make: Callable[[], Server]) -> Server:
    """Start a server; again on other ports when somebody took one meanwhile."""
    for attempt in range(1, TRIES + 1):
        try:
            return make()
        except AssertionError as error:
            if attempt == TRIES or "in use" not in str(error).lower():
                raise
    raise AssertionError("not reached")
