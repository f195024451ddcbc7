"""gatebridge demo, as a newcomer runs it: real processes, and nothing left behind."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatebridge.cli import demo as demo_command
from gatebridge.errors import ConfigError
from tests.fronts.servers import answers, free_port, program

FRONTS = ["none", "nginx"]


def argv(front, *more):
    if front == "nginx":
        program("nginx", package="nginx")
    port = str(free_port())
    return [sys.executable, "-m", "gatebridge", "demo", "--front", front, "--port", port, *more]


@pytest.fixture(name="place")
def make_place(tmp_path):
    """The folder for temporary folders, and the environment that says so."""
    return tmp_path, {**os.environ, "TMPDIR": str(tmp_path)}


@pytest.mark.parametrize("front", FRONTS)
def test_once(front, place):
    folder, environment = place
    done = subprocess.run(
        argv(front, "--once"),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert re.search(r"^page    http://127\.0\.0\.1:\d+/  \([\d,]+ bytes\)$", done.stdout, re.M)
    seen = re.findall(r"^(?:chain  |     ->) (\S+)", done.stdout, re.M)
    middle = ["nginx", "FastCGI"] if front == "nginx" else ["HTTP/1.1"]
    assert seen == ["gatebridge-demo", *middle, "gatebridge", "gatebridge.apps.demo:app"]
    assert list(folder.iterdir()) == []


def start(front, environment):
    """A demo that runs, and its URL as it says it."""
    demo = subprocess.Popen(
        argv(front), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if line == "Ctrl-C ends it.\n":
            return demo, re.search(r"http://\S+/", lines[0])[0]
    raise AssertionError("".join(lines))


def post_file(url, content):
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--B--\r\n'
    )
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    request = urllib.request.Request(url + "upload", body % content, kind)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read().decode()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_all_of_it(front, number, place):
    folder, environment = place
    demo, url = start(front, environment)
    with demo:
        try:
            content = bytes(3_000_000)
            assert hashlib.sha256(content).hexdigest() in post_file(url, content)
            assert len(list(folder.iterdir())) == 1
            demo.send_signal(number)
            assert demo.wait(timeout=30) == 0
        finally:
            demo.kill()
    assert list(folder.iterdir()) == []
    assert not answers(int(url.rsplit(":")[-1].strip("/")))


def test_child_that_ends_by_itself_ends_the_demo(place):
    folder, environment = place
    demo, url = start("none", environment)
    with demo:
        try:
            with urllib.request.urlopen(url + "chain", timeout=30) as response:
                worker = int(re.search(r"\(process (\d+)", response.read().decode())[1])
            status = Path(f"/proc/{worker}/status").read_text()
            daemon = int(status.partition("PPid:")[2].split()[0])  # it would replace a worker
            os.kill(daemon, signal.SIGKILL)
            assert demo.wait(timeout=30) == 1
        finally:
            demo.kill()
    assert list(folder.iterdir()) == []


def test_without_nginx_it_says_how_to_go_on(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place[0]))
    monkeypatch.setattr(demo_command, "_SYSTEM", str(place[0]))
    assert demo_command.find_nginx("auto") == ""
    assert demo_command.find_nginx("none") == ""
    outcome = CliRunner().invoke(demo_command.command, ["--front", "nginx"])
    assert isinstance(outcome.exception, ConfigError)
    assert outcome.exception.code == "demo.no_nginx"
