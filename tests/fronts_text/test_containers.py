"""Docker, Compose and Kubernetes without any of them: schemas of their files, and their commands.

The commands run as a container would run them: with the variables of the image and no others, in
its folder, and where it has no files there are none. Paths of the image are below a folder.
"""

import importlib.resources
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from gatebridge.front_check import check
from gatebridge.fronts import docker
from gatebridge.fronts.registry import SERVERS
from tests.cli.run import ROOT, run
from tests.fronts import servers
from tests.fronts_text import samples
from tests.suite.modes import wait_until

VERSIONS = ("1.31", "1.35")  # of Kubernetes
APPLICATION = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"from the image\\n"]
"""


def text(server: str, form: str) -> str:
    return samples.path(server, form).read_text("utf-8")


def compose_schema() -> Any:
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text("utf-8"))


def test_compose_file_against_its_schema() -> None:
    said = yaml.safe_load(text("docker", "compose"))
    schema = compose_schema()
    jsonschema.validate(said, schema)
    for broken in ({"port": ["80:80"]}, {"stop_grace_period": 35}, {"cap_drop": "ALL"}):
        odd = json.loads(json.dumps(said))
        odd["services"]["myapp"] |= broken
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(odd, schema)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("form", ["deployment", "sidecar"])
def test_manifests_against_their_schemas(form: str, version: str) -> None:
    for one in yaml.safe_load_all(text("kubernetes", form)):
        assert kubernetes_validate.validate(one, version, strict=True) == version
        if one["kind"] == "Deployment":
            one["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(one, version, strict=True)


def test_nginx_of_the_pod_accepts_its_configuration() -> None:
    (said,) = [one for one in yaml.safe_load_all(text("kubernetes", "sidecar"))
               if one["kind"] == "ConfigMap"]  # fmt: skip
    servers.program("nginx", package="nginx")
    accepted, words = check(SERVERS["nginx"], "server", said["data"]["default.conf"], "myapp")
    assert accepted, words


# -- the commands


class Image:
    """What a Dockerfile makes, below a folder: its folders, its variables, its programs."""

    def __init__(self, root: Path, lines: list[str]) -> None:
        self.root = root
        self.environ = {"LANG": "C.UTF-8"}
        self.folder = ""
        self.commands: dict[str, list[str]] = {}
        for line in lines[lines.index("") :]:  # the second stage: the image itself
            word, _, rest = line.partition(" ")
            getattr(self, f"do_{word.lower()}", lambda rest: None)(rest)
        self.install()

    def below(self, word: str) -> str:
        """A word with the image's folders exchanged for those below ours."""
        for path in ("/opt/venv", docker.HOME, "/run/"):
            word = word.replace(path, f"{self.root}{path}")
        return word

    def do_run(self, rest: str) -> None:
        if rest.startswith("["):
            words = [self.below(word) for word in json.loads(rest)]
            if os.geteuid():  # only root gives folders away
                words = [word for word in words if word not in ("-o", str(docker.USER))]
            subprocess.run(words, check=True)

    def do_env(self, rest: str) -> None:
        for pair in rest.split():
            name, _, value = pair.partition("=")
            value = value.replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
            self.environ[name] = self.below(value)

    def do_workdir(self, rest: str) -> None:
        self.folder = self.below(rest)
        Path(self.folder).mkdir(parents=True)
        (Path(self.folder) / "myapp.py").write_text(APPLICATION)

    def do_healthcheck(self, rest: str) -> None:
        self.commands["healthcheck"] = json.loads(rest.partition("CMD ")[2])

    def do_stopsignal(self, rest: str) -> None:
        self.stop = signal.Signals[rest]

    def do_cmd(self, rest: str) -> None:
        self.commands["cmd"] = json.loads(rest)

    def install(self) -> None:
        """What the build's pip has put into /opt/venv, without asking an index for it."""
        programs = self.root / "opt/venv/bin"
        programs.mkdir(parents=True)
        (programs / "gatebridge").write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from gatebridge.cli.main import main\nmain()\n"
        )
        (programs / "gatebridge").chmod(0o755)

    def run(self, words: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.find(words[0]), *map(self.below, words[1:])], cwd=self.folder, env=self.environ,
            capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, words: list[str], log: Path) -> "subprocess.Popen[bytes]":
        with log.open("wb") as out:
            return subprocess.Popen(
                [self.find(words[0]), *map(self.below, words[1:])], cwd=self.folder,
                env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip

    def find(self, name: str) -> str:
        found = shutil.which(name, path=self.environ["PATH"])
        assert found, f"the image has no {name}"
        return found


@pytest.fixture
def image() -> Iterator[Image]:
    root = Path(tempfile.mkdtemp(prefix="gb-"))  # short enough for a socket
    yield Image(root, text("docker", "dockerfile").splitlines())
    shutil.rmtree(root)


def served(image: Image, command: list[str], well: list[list[str]], socket: str) -> None:
    """Start it, wait for its health, ask it, stop it as the runtime does."""
    log = image.root / "log"
    process = image.start(command, log)
    try:
        wait_until(lambda: process.poll() is not None or image.run(well[0]).returncode == 0)
        assert process.poll() is None, log.read_text()
        for words in well:
            done = image.run(words)
            assert done.returncode == 0, (words, done)
        done = run(image.root, "request", image.below(socket), "GET", "/")
        assert "from the image" in done.stdout, (done, log.read_text())
        process.send_signal(image.stop)
        assert process.wait(30) == 0, log.read_text()
        assert image.run(well[0]).returncode != 0, "nobody is well any more"
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "listening on" in log.read_text(), "its log is standard error"


SOCKET = "unix:/run/myapp/myapp.sock"


def test_the_image_serves(image: Image) -> None:
    served(image, image.commands["cmd"], [image.commands["healthcheck"]], SOCKET)


def test_the_service_of_compose_serves(image: Image) -> None:
    said = yaml.safe_load(text("docker", "compose"))["services"]["myapp"]
    kind, *words = said["healthcheck"]["test"]
    assert kind == "CMD"
    served(image, said["command"], [words], SOCKET)


def test_the_pod_serves(image: Image) -> None:
    (said,) = [one for one in yaml.safe_load_all(text("kubernetes", "sidecar"))
               if one["kind"] == "Deployment"]  # fmt: skip
    ours = said["spec"]["template"]["spec"]["containers"][0]
    probes = [ours[name]["exec"]["command"] for name in
              ("startupProbe", "readinessProbe", "livenessProbe")]  # fmt: skip
    served(image, ours["command"], probes, SOCKET)
    before = ours["lifecycle"]["preStop"]["exec"]["command"]
    assert shutil.which(before[0]), shlex.join(before)


@pytest.mark.parametrize("option", ["--error-logfile", "--slowlog", "--access-logfile"])
@pytest.mark.parametrize("joined", [False, True])
def test_a_container_has_no_log_files(option: str, joined: bool) -> None:
    said = [f"{option}=/var/log/x"] if joined else [option, "/var/log/x"]
    done = samples.made("docker", "dockerfile", *said)
    words = json.loads(done.splitlines()[-1].removeprefix("CMD "))
    assert not [word for word in words if "/var/log" in word]
    assert words[words.index("--error-logfile") + 1] == "-"
    assert ("--access-logfile" in words) == (option == "--access-logfile")


def test_logrotate_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    """--check is logrotate's own dry run: a user that does not exist is seen there."""
    servers.program("logrotate", package="logrotate")
    words = ("conf", "logrotate", "--error-logfile", "/var/log/x/e.log", "--check")
    done = run(tmp_path, *words)
    assert (done.returncode, "rotating pattern" in done.stderr) == (0, True)
    done = run(tmp_path, *words, "--user", "no-such-user")
    assert (done.returncode, done.stdout) == (6, "")
    assert "no-such-user" in done.stderr
