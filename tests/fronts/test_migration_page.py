"""docs/migration.md: each command is given, each file is written, and what is shown comes."""

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from gatebridge import control_client
from gatebridge.errors import GatebridgeError
from tests.fronts import apache, nginx
from tests.fronts.moving import build, front
from tests.fronts.servers import Server
from tests.suite.modes import ROOT, environment, wait_until

PAGE = ROOT / "docs" / "migration.md"
GATEBRIDGE = f'gatebridge() {{ {shlex.quote(sys.executable)} -m gatebridge "$@"; }}\n'


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the page's code blocks in order; what is shown has no language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)


class Reader:
    """Does what the page says, in a folder that stands for /srv and /run."""

    def __init__(self, folder: Path, fronts: list[Server]) -> None:
        self.folder = folder
        self.fronts = fronts
        self.file = folder / "site" / "gatebridge.toml"
        self.daemons: list[subprocess.Popen] = []
        self.said = ""

    def at_home(self, text: str) -> str:
        text = text.replace("&group=www-data", "").replace("/run/", f"{self.folder}/")
        return text.replace("/srv/", f"{self.folder}/")

    def does(self, kind: str, text: str) -> None:
        if kind in ("nginx", "apache"):
            self.front(kind, text)
        elif kind == "toml":
            before = "" if text.startswith("[server]") else self.file.read_text() + "\n"
            self.file.write_text(before + self.at_home(text))
        elif kind == "python":
            (self.folder / "site" / "newsite.py").write_text(text)
        elif kind == "sh":
            self.said = "".join([self.command(line) for line in text.splitlines()])
        else:
            self.sees(text)

    def front(self, kind: str, text: str) -> None:
        text = self.at_home(text).replace("include fastcgi_params;", nginx.params("fastcgi")
            + nginx.SCRIPT_NAME)  # fmt: skip
        module = {"nginx": nginx, "apache": apache}[kind]
        own = self.folder / kind
        own.mkdir()
        self.fronts.append(
            front(own, module, lambda g: text.replace("8080", f"127.0.0.1:{g.port}"))
        )

    def command(self, line: str) -> str:
        if line.startswith("gatebridge serve"):
            self.stop()
            return self.serve(line)
        if not line.startswith("curl"):
            return self.run(line)
        found = {self.run(line.replace("localhost:8080", f"127.0.0.1:{one.ports[0]}"))
                 for one in self.fronts}  # fmt: skip
        assert len(found) == 1, found
        return found.pop()

    def run(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", GATEBRIDGE + self.at_home(line)],
            env={**environment(self.folder), **self.control},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (line, done)
        return done.stdout

    @property
    def control(self) -> dict[str, str]:
        """Where the commands find the daemon, and nobody else's."""
        return {"GATEBRIDGE_CONTROL_SOCKET": str(self.folder / "ctl"),
                "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip

    def serve(self, line: str) -> str:
        words = shlex.split(self.at_home(line))[1:]
        with (self.folder / "log").open("ab") as log:
            self.daemons.append(
                subprocess.Popen(
                    [sys.executable, "-m", "gatebridge", *words],
                    env={**environment(self.folder), **self.control},
                    stderr=log,
                )
            )
        ready = wait_until(lambda: self._is_ready() or self.daemons[-1].poll() is not None)
        assert ready, (self.folder / "log").read_text()
        return ""

    def _is_ready(self) -> bool:
        try:
            return control_client.call(str(self.folder / "ctl"), "ping", 5.0)["ready"] > 0
        except GatebridgeError:
            return False

    def stop(self) -> None:
        while self.daemons:
            last = self.daemons.pop()
            last.send_signal(signal.SIGINT)  # Ctrl-C
            last.wait(30)

    def sees(self, text: str) -> None:
        """Each line is there, but for what stands in … and how columns are set."""
        said = [" ".join(line.split()) for line in self.said.splitlines()]
        for line in self.at_home(text).splitlines():
            shown = re.escape(" ".join(line.split())).replace("…", ".*")
            assert any(re.fullmatch(shown, one) for one in said), f"{line!r} is not in\n{self.said}"


def test_page_of_the_manual(tmp_path: Path) -> None:
    build(tmp_path)
    fronts: list[Server] = []
    reader = Reader(tmp_path, fronts)
    try:
        for kind, text in blocks():
            reader.does(kind, text)
    finally:
        reader.stop()
        for server in fronts:
            server.stop()
    kinds = {kind for kind, _ in blocks()}
    assert kinds == {"", "sh", "toml", "nginx", "apache", "python"}
