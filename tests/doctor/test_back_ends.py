"""Back ends that do not believe what they are told of the client, and those that do."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.doctor.set_up import Fake, configured, doctor, ids
from tests.suite import wires
from tests.suite.modes import wait_until

APP = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
"""


@contextmanager
def served(folder: Path, *words: str, **env: str) -> Iterator[tuple[str, int]]:
    """(socket, process) of a server started with the words, in which {sock} is the socket."""
    (folder / "shop.py").write_text(APP)
    sock = f"{folder}/sock"
    argv = [sys.executable, "-m", *[word.replace("{sock}", sock) for word in words]]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: listens(sock)), (folder / "log").read_text()
        yield sock, process.pid
    finally:
        process.terminate()
        process.wait(30)


def listens(path: str) -> bool:
    try:
        wires.connect(path).close()
    except OSError:
        return False
    return True


UVICORN = ("uvicorn", "shop:app", "--uds", "{sock}", "--lifespan", "off")
DAPHNE = ("daphne", "-u", "{sock}", "shop:app")


@pytest.mark.parametrize(
    ("words", "env", "flag"),
    [
        (UVICORN, {}, "--forwarded-allow-ips"),
        ((*UVICORN, "--no-proxy-headers", "--forwarded-allow-ips", "*"), {}, "--no-proxy-headers"),
        ((*UVICORN, "--forwarded-allow-ips", "*"), {}, ""),
        (UVICORN, {"FORWARDED_ALLOW_IPS": "*"}, ""),
        (DAPHNE, {}, "--proxy-headers"),
        ((*DAPHNE, "--proxy-headers"), {}, ""),
        (("gatebridge", "serve", "shop:app", "--bind", "http+unix:{sock}"), {}, ""),
    ],
)
def test_the_flag_of_a_back_end(tmp_path: Path, words: tuple, env: dict, flag: str) -> None:
    machine = Fake(tmp_path / "machine")
    folder = tmp_path / "behind"
    folder.mkdir()
    with served(folder, *words, PATH="/usr/bin:/bin", **env) as (sock, pid):
        for name in ("cmdline", "environ"):
            machine.write(f"/proc/{pid}/{name}", Path(f"/proc/{pid}/{name}").read_text())
        meant = configured(f"http+unix:{sock}", bind=("systemd:x",), chdir=str(folder))
        report = doctor(machine, **meant)
    assert ids(report) == (["application.back_end"] if flag else [])
    if flag:
        assert flag in report.found[0].finding.mend


def test_one_that_is_not_there_is_another_check_s(tmp_path: Path) -> None:
    meant = configured(f"http+unix:{tmp_path}/none", bind=("systemd:x",), chdir=str(tmp_path))
    assert "application.back_end" not in ids(doctor(Fake(tmp_path / "machine"), **meant))
