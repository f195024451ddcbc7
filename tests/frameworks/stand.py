"""A daemon for each framework, one nginx and one Apache in front of all of them.

A daemon has two pools of one worker: below / and, with --mount, below /app. nginx tells frameworks,
protocols and mounts apart by the request's host, Apache has a relay for each framework in cgi-bin.
"""

import http.client
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.fronts import apache, nginx, servers
from tests.fronts.sites import Ground, Sockets
from tests.relay_stand import stop_daemons
from tests.suite.modes import ROOT, environment, read_from, wait_until
from tests.suite.stage import write_shim

PROTOCOLS = ("fastcgi", "scgi", "uwsgi", "http")
MOUNTS = {"root": "", "app": "/app"}
DEADLINE_S = 30.0
EXPECTS = {"fastcgi": "fcgi", "scgi": "scgi", "uwsgi": "uwsgi", "http": "http"}


@dataclass(frozen=True)
class Framework:
    """name: of the module below apps/; without_mount: what of its URLs does not know of it"""

    name: str
    without_mount: tuple[str, ...] = ()

    @property
    def app(self) -> str:
        return f"tests.frameworks.apps.{self.name}:app"


@dataclass(frozen=True)
class Place:
    """Where a framework's application is: behind which server, below which path."""

    name: str
    mount: str

    @property
    def is_cgi(self) -> bool:
        return self.name == "apache-cgi"


def places(framework: Framework) -> list[Place]:
    found = [
        Place(f"nginx-{protocol}-{mount}", MOUNTS[mount])
        for protocol in PROTOCOLS
        for mount in MOUNTS
    ]
    return [*found, Place("apache-cgi", f"/cgi-bin/{framework.name}.cgi")]


class Answer:
    """headers: as they came"""

    def __init__(self, response: http.client.HTTPResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.getheaders()
        self.body = body

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]


class Stand:
    def __init__(self, frameworks: Iterable[Framework]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gb-f-"))
        self.folder.chmod(0o777)
        self.frameworks = {one.name: one for one in frameworks}
        (self.folder / "ctl").mkdir(mode=0o700)
        self.state = self.folder / "state"
        self.state.mkdir()
        self.state.chmod(0o1777)
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.fronts: dict[str, servers.Server | BaseException] = {}
        self.env = {**environment(self.folder), "FRAMEWORKS_GATES": str(self.folder)}

    # --- the daemons

    def socket(self, framework: str, protocol: str, mount: str) -> Path:
        return self.folder / f"{framework}-{protocol}-{mount}"

    def log(self, framework: str) -> str:
        path = self.folder / f"{framework}.log"
        return read_from(path, 0)[-6000:] if path.exists() else ""

    def daemon(self, framework: str) -> None:
        """Start it where it does not run yet."""
        if framework not in self.daemons:
            self.daemons[framework] = self._start(self.frameworks[framework])
        process = self.daemons[framework]
        if process.poll() is not None:
            raise AssertionError(f"{framework} has ended:\n{self.log(framework)}")

    def _start(self, one: Framework) -> "subprocess.Popen[bytes]":
        lines: list[str] = []
        for mount, path in MOUNTS.items():
            binds = [
                f"{EXPECTS[protocol]}+unix:{self.socket(one.name, protocol, mount)}"
                for protocol in PROTOCOLS
            ]
            lines += [f"[pool.{mount}]", f"bind = {binds}", f'mount = "{path or "/"}"']
            lines += [f'app = "{one.app}"', 'forwarded_allow_ips = "unix"']
        (self.folder / f"{one.name}.toml").write_text("\n".join(lines) + "\n")
        ready = self.folder / f"{one.name}.log"
        with ready.open("wb") as log:
            argv = [sys.executable, "-m", "gatebridge", "serve"]
            argv += ["-c", f"{one.name}.toml", "--control-socket", f"ctl/{one.name}.ctl"]
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        count = len(PROTOCOLS) * len(MOUNTS)
        wait_until(
            lambda: process.poll() is not None or ready.read_text().count("listening on") == count,
            DEADLINE_S,
        )
        return process

    def python(self, code: str) -> None:
        """Run it as the applications are run."""
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self.env, check=True)

    # --- the servers

    def front(self, place: Place) -> int:
        """The port of the server at a place."""
        name = "apache" if place.is_cgi else "nginx"
        if name not in self.fronts:
            try:
                self.fronts[name] = servers.start(self._apache if place.is_cgi else self._nginx)
            except BaseException as error:  # a skip too: told again to each test that asks
                self.fronts[name] = error
        found = self.fronts[name]
        if isinstance(found, BaseException):
            raise found
        return found.ports[0]

    def _ground(self, name: str) -> Ground:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        www = self.folder / "www"
        www.mkdir(exist_ok=True)
        port = servers.free_port()
        return Ground(port, Sockets(*[""] * 8), folder, www, self.folder / "cgi-bin")

    def _nginx(self) -> servers.Server:
        ground = self._ground("nginx")
        folder = ground.folder
        kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
        text = (
            f"daemon off; worker_processes 1; pid {folder}/nginx.pid;\n"
            f"{'user root;' if os.geteuid() == 0 else ''}\n"
            f"error_log {folder}/nginx-error.log info;\n"
            "events { worker_connections 256; }\n"
            "http { access_log off; client_max_body_size 100m;\n"
            "server_names_hash_bucket_size 128; server_names_hash_max_size 4096;\n"
            + "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
            + "".join(self._block(ground.port, name) for name in self.frameworks)
            + "}\n"
        )
        (folder / "nginx.conf").write_text(text)
        argv = [servers.program("nginx", package="nginx"), "-p", str(folder)]
        argv += ["-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx-error.log")]
        return servers.Server("nginx", folder, argv, [ground.port], [folder / "nginx-error.log"])

    def _block(self, port: int, framework: str) -> str:
        text = ""
        for protocol in PROTOCOLS:
            for mount, path in MOUNTS.items():
                address = f"unix:{self.socket(framework, protocol, mount)}"
                name = "SCRIPT_NAME $fastcgi_script_name;"
                inside = f"{nginx.params(protocol)} {protocol}_pass {address};"
                if protocol == "fastcgi":
                    inside = f"fastcgi_param {name} {inside}"
                elif protocol == "http":
                    inside = (
                        f"proxy_pass http://{address}; proxy_http_version 1.1;"
                        "proxy_set_header Host $http_host;"
                        "proxy_set_header X-Forwarded-For $remote_addr;"
                        "proxy_set_header X-Forwarded-Proto $scheme;"
                    )
                host = self.host(framework, Place(f"nginx-{protocol}-{mount}", path))
                text += f"server {{ listen 127.0.0.1:{port}; server_name {host};\n"
                text += f"location {path or '/'} {{ {inside} }} }}\n"
        return text

    def _apache(self) -> servers.Server:
        ground = self._ground("apache")
        ground.cgi_bin.mkdir(exist_ok=True)
        env = f"--env=FRAMEWORKS_GATES={self.folder}"
        for one in self.frameworks.values():
            path = ground.cgi_bin / f"{one.name}.cgi"
            options = ("--state-dir", str(self.state), "--force", f"--serve-option={env}")
            write_shim(self.folder, path, *options, app=one.app, env=self.env)
        given = "".join(f'SetEnv {name} "{value}"\n' for name, value in self.env.items())
        text = (
            f"{apache.common(ground, apache.MODULES)}\n{given}"
            "<Directory />\nRequire all granted\nOptions +ExecCGI\n</Directory>\n"
            f"Listen 127.0.0.1:{ground.port}\nLimitRequestBody 0\n"
            f'ScriptAlias /cgi-bin/ "{ground.cgi_bin}/"\n'
        )
        return apache.run(ground.folder, text, [ground.port])

    # --- a client

    def host(self, framework: str, place: Place) -> str:
        return f"{framework.replace('_', '-')}.{place.name}.test"

    def connect(self, place: Place) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.front(place), timeout=DEADLINE_S)

    def ask(
        self,
        framework: str,
        place: Place,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        method: str = "",
    ) -> Answer:
        """One request below the place's mount."""
        if not place.is_cgi:
            self.daemon(framework)
        connection = self.connect(place)
        try:
            said = {"Host": self.netloc(framework, place), **(headers or {})}
            method = method or ("GET" if body is None else "POST")
            connection.request(method, place.mount + target, body, said)
            response = connection.getresponse()
            return Answer(response, response.read())
        finally:
            connection.close()

    def netloc(self, framework: str, place: Place) -> str:
        return f"{self.host(framework, place)}:{self.front(place)}"

    def servers(self) -> list[servers.Server]:
        return [one for one in self.fronts.values() if isinstance(one, servers.Server)]

    def trouble(self, framework: str, place: Place) -> str:
        """What a failure shows."""
        logs = [self.log(framework)]
        logs += [one.log()[-3000:] for one in self.servers()]
        if place.is_cgi:
            logs += [read_from(path, 0)[-3000:] for path in self.state.glob("gatebridge-*/*.log")]
        return "\n---\n".join(logs)

    def close(self) -> None:
        for server in self.servers():
            server.stop()
        try:
            stop_daemons(self.state)
            for process in self.daemons.values():
                process.terminate()
            for process in self.daemons.values():
                process.wait(DEADLINE_S)
        finally:
            for process in self.daemons.values():
                process.kill()
                process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)


__all__ = ["ROOT", "Answer", "Framework", "Place", "Stand", "places"]
