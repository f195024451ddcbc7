"""Everything that runs beside the tests, each started when first asked for.

One folder with a short name (a socket's path may have some 100 bytes), the generated entry
module, three daemons (no --mount, --mount /, --mount /app), the shims, the front servers.
"""

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.fronts import servers
from tests.fronts.sites import Ground, Site, Sockets
from tests.relay_stand import stop_daemons
from tests.suite import wires
from tests.suite.modes import (
    ENTRY,
    ROOT,
    Daemon,
    Direct,
    Mode,
    Oneshot,
    OneshotSocket,
    check_closed_once,
    environment,
    write_entry,
)
from tests.suite.wires import Req, Resp, Seen

FRONTS = ("nginx", "apache", "lighttpd", "caddy", "haproxy")
BELIEVED = ("--forwarded-allow-ips", "127.0.0.1,unix")  # of a server that speaks HTTP to us
OPTIONS = {
    "auto": ("--threads", "8"),
    "root": ("--threads", "8", "--mount", "/"),
    "app": ("--threads", "8", "--mount", "/app"),
    "gevent": ("--worker-class", "gevent"),
    "authorizer": ("--threads", "2"),
    "peer": ("--threads", "4"),
    "mpxs": ("--threads", "16", "--mount", "/app"),
    "pinged": ("--threads", "2", "--ping-path", "/ping"),
    "proxied-root": ("--threads", "8", "--mount", "/", *BELIEVED),
    "proxied-app": ("--threads", "8", "--mount", "/app", *BELIEVED),
}
ENTRIES = {"authorizer": "suite_app:authorizer", "peer": "suite_app:differential"}


class FrontMode(Mode):
    """A real front server in between; the client speaks HTTP to it."""

    def __init__(self, site: Site, ground: Ground, server: servers.Server, stage: "Stage") -> None:
        super().__init__(site.name, stage.folder, site.mount, str(ground.port))
        self.site = site
        self.ground = ground
        self.server = server
        self.stage = stage
        self.server_mark = 0

    def send(self, request: Req, seen: Seen | None = None) -> Resp:
        if self.server.process.poll() is not None:
            raise AssertionError(f"{self.server.name} has ended:\n{self.server.log()[-3000:]}")
        self.server_mark = self.server.mark()
        host = f"127.0.0.1:{self.port}"
        sock = wires.connect(("127.0.0.1", int(self.port)))
        return wires.http_exchange(sock, request, self.mount, host, seen)

    def log(self, since: int = 0) -> str:
        """The gateway's own log; of a script that the server starts, the server's."""
        if self.site.daemon:
            return self.stage.daemon(self.site.daemon).log(since)
        return self.server.log(since)

    def mark(self) -> int:
        if self.site.daemon:
            return self.stage.daemon(self.site.daemon).mark()
        return self.server.mark()

    def trouble(self, since: int) -> str:
        said = self.server.log(self.server_mark)[-2000:]
        return f"--- log of {self.server.name}\n{said}\n{super().trouble(since)}"


def write_shim(
    folder: Path,
    shim: Path,
    *options: str,
    app: str = ENTRY,
    env: dict[str, str] | None = None,
) -> None:
    """env: in place of that of all our own processes"""
    made = subprocess.run(
        [
            *(sys.executable, "-m", "gatebridge", "shim", "new", app, str(shim)),
            *("--folder", str(folder), *options),
        ],
        env=env or environment(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        raise AssertionError(f"shim new failed: {made.stdout}{made.stderr}")


class Stage:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gb-"))
        self.folder.chmod(0o755)
        write_entry(self.folder)
        self.www = self.folder / "www"
        self.www.mkdir()
        (self.www / "static.txt").write_text("a static file\n")
        self.daemons: dict[str, Daemon] = {}
        self.servers: dict[str, servers.Server | BaseException] = {}
        self.modes: dict[str, Mode] = {}
        self._scripts: Path | None = None
        self.state = self.folder / "state"  # of the relay's daemons, one for each user

    # --- our own processes

    def path(self, name: str, protocol: str) -> str:
        return str(self.folder / f"{name}.{protocol}")

    def daemon(self, name: str) -> Daemon:
        if name not in self.daemons:
            binds = []
            for protocol in ("fcgi", "scgi", "uwsgi", "http"):
                binds += [
                    f"{protocol}+unix:{self.path(name, protocol)}",
                    f"{protocol}://127.0.0.1:0",
                ]
            entry = ENTRIES.get(name, ENTRY)
            self.daemons[name] = Daemon(self.folder, name, binds, *OPTIONS[name], entry=entry)
        daemon = self.daemons[name]
        if daemon.process.poll() is not None:
            raise AssertionError(f"the daemon {name!r} has ended:\n{daemon.log()[-3000:]}")
        return daemon

    def sockets(self, name: str) -> Sockets:
        if not name:
            return Sockets(*[""] * 6)
        found = self.daemon(name).addresses()
        paths = [str(address) for address in found[::2]]
        tcp = [f"{address[0]}:{address[1]}" for address in found[1::2]]
        return Sockets(*paths[:3], *tcp[:3], paths[3], tcp[3])

    def direct(self, protocol: str, kind: str, mount: str = "", of: str = "auto") -> Mode:
        """of: the daemon, by its name in OPTIONS"""
        name = f"{protocol}-{kind}{mount.replace('/', '-')}"
        if of != "auto":
            name = f"{name}-{of}"
        if name not in self.modes:
            daemon = self.daemon(of)
            index = ("fastcgi", "scgi", "uwsgi", "http").index(protocol) * 2
            address = daemon.addresses()[index + (kind == "tcp")]
            self.modes[name] = Direct(name, daemon, protocol, address, mount)
        return self.modes[name]

    def oneshot(self, name: str) -> Mode:
        if name not in self.modes:
            command = [sys.executable, "-m", "gatebridge", "cgi", ENTRY]
            shims = {
                "cgi-shim": "app.cgi",
                "cgi-relay": "relay.cgi",
                "cgi-relay-socket": "relay.cgi",
            }
            argv = [str(self.scripts() / shims[name])] if name in shims else command
            kind = OneshotSocket if name.endswith("-socket") else Oneshot
            self.modes[name] = kind(name, self.folder, argv)
        return self.modes[name]

    def scripts(self) -> Path:
        """A cgi-bin: app.cgi as ``gatebridge shim new`` writes it, app.fcgi after the sample."""
        if self._scripts is None:
            folder = self.folder / "cgi-bin"
            folder.mkdir()
            write_shim(self.folder, folder / "app.cgi", "--oneshot")
            self.state.mkdir()
            self.state.chmod(0o1777)
            write_shim(self.folder, folder / "relay.cgi", "--state-dir", str(self.state))
            sample = (ROOT / "cgi-bin" / "app.fcgi").read_text()
            text = sample.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1)
            text = text.replace('sys.path[0] + "/.."', repr(str(ROOT)))
            text = text.replace(
                "from gatebridge.apps.demo import app",
                f"sys.path.insert(0, {str(self.folder)!r})\n"
                "from suite_app import application as app",
            )
            (folder / "app.fcgi").write_text(text)
            (folder / "app.fcgi").chmod(0o755)
            self._scripts = folder
        return self._scripts

    # --- front servers

    def front(self, site: Site) -> FrontMode:
        self.server(site.front)
        mode = self.modes[site.name]
        if not isinstance(mode, FrontMode):
            raise AssertionError(f"{site.name} is no site of a front server")
        return mode

    def server(self, front: str) -> servers.Server:
        """The one instance of this server, with all its sites."""
        if front not in self.servers:
            try:
                self.servers[front] = servers.start(lambda: self._start(front))
            except BaseException as error:  # a skip too: told again to each test that asks
                self.servers[front] = error
        found = self.servers[front]
        if isinstance(found, BaseException):
            raise found
        return found

    def _start(self, front: str) -> servers.Server:
        module: Any = importlib.import_module(f"tests.fronts.{front}")
        folder = self.folder / front
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        sites: list[Site] = [*module.SITES, *getattr(module, "MORE_SITES", ())]
        grounds = [
            (
                site,
                Ground(
                    port,
                    self.sockets(site.daemon),
                    folder,
                    self.www,
                    self.scripts(),
                ),
            )
            for site, port in zip(sites, servers.free_ports(len(sites)), strict=True)
        ]
        server: servers.Server = module.start(grounds)
        for site, ground in grounds:
            self.modes[site.name] = FrontMode(site, ground, server, self)
        return server

    def close(self) -> None:
        for server in self.servers.values():
            if isinstance(server, servers.Server):
                server.stop()
        try:
            stop_daemons(self.state)
            for daemon in self.daemons.values():
                daemon.stop()
            check_closed_once(self.folder)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


__all__ = ["FRONTS", "ROOT", "FrontMode", "Stage"]
