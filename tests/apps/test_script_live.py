"""CGI programs behind a whole daemon: what only connections, workers and signals can show."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apps.hosted import ECHO, masked, says, write
from tests.serve.whole import Kept, Whole, alive, answer, request_bytes, wait_until, whole_daemon

MB = 1 << 20
HTML = "Content-Type: text/html"
TELL = "open('pid', 'w').write(str(os.getpid())); os.rename('pid', '{name}')"
HANG = "import time\nwhile True: time.sleep(600)"
NOT_HEARING = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"

PROGRAMS = {
    "echo": ECHO,
    "mirror": """#!python
import os
left = int(os.environ["CONTENT_LENGTH"])
os.write(1, b"Content-Type: a/b\\n\\n")
while left:
    data = os.read(0, 65536)
    left -= len(data)
    while data:
        data = data[os.write(1, data):]
""",
    "ready": says(HTML, "", "x"),
    "unread": says(HTML, "", "not read"),
    "silent": f"#!python\nimport os\n{NOT_HEARING}\n{TELL.format(name='silent.pid')}\n{HANG}\n",
    "waits": f"#!python\nimport os, sys\n{TELL.format(name='waits.pid')}\nsys.stdin.read()\n{HANG}",
    "streams": says(HTML, "", then="while True: os.write(1, b'x' * 60_000)"),
    "held": says(HTML, "", "first", then="open('go').read(); print('second')"),
    "state": "#!/bin/sh\nprintf 'Status: 200 OK\\n\\n'\ngrep Sig /proc/self/status\n",
    "fails": "#!python\nimport sys\nsys.exit('the reason')\n",
    "crashes": says(HTML, "", "half", then="os.kill(os.getpid(), 9)"),
}
APPLICATION = """
import os
from gatebridge.apps.execute import Execute
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.script import Script

LAUNCHER = Execute()
SCRIPTS = {{
    name: Script(os.path.join({folder!r}, name), LAUNCHER, ScriptOptions(grace=0.3))
    for name in os.listdir({folder!r})
}}

def application(environ, start_response):
    name = environ["REQUEST_URI"].strip("/")
    if name == "fds":
        start_response("200 OK", [])
        return [str(len(os.listdir("/proc/self/fd"))).encode()]
    return SCRIPTS[name](environ, start_response)
"""


class Live:
    def __init__(self, daemon: Whole, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder

    def pid(self, name: str) -> int:
        """Of a program that has begun; its file is removed."""
        path = self.folder / f"{name}.pid"
        assert wait_until(path.exists), self.daemon.log()
        pid = int(path.read_text())
        path.unlink()
        return pid


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("daemon")
    programs = folder / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        write(programs, text, name)
    os.mkfifo(programs / "go")
    app = APPLICATION.format(folder=str(programs))
    with whole_daemon(folder, app=app, workers=1, faults=True) as daemon:
        yield Live(daemon, programs)


@pytest.mark.parametrize("protocol", ["", "scgi", "uwsgi", "http"])
def test_twenty_megabytes_are_sent_before_anything_is_read(live: Live, protocol: str) -> None:
    """The worst client there is: it takes nothing of the answer before all of its body is out."""
    body = bytes(range(256)) * (20 * MB // 256)
    resp = live.daemon.ask("/mirror", protocol, body)
    assert (resp.status, resp.cut) == (200, False), live.daemon.log()
    assert resp.body == body


def test_both_ways_at_once_by_a_client_that_reads(live: Live) -> None:
    body = bytes(range(256)) * (50 * MB // 256)
    data = request_bytes("/mirror", "", body)
    with contextlib.closing(live.daemon.connect()) as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        resp = answer(sock)
        sender.join()
    assert resp.body == body


def test_a_first_piece_goes_out_before_the_second_is_there(live: Live) -> None:
    with live.daemon.kept() as kept:
        kept.send("/held")
        while b"first" not in bytes(kept.out.get(1, b"")):
            found = kept._record()
            assert found is not None
            kept.out.setdefault(found[1], bytearray()).extend(found[2])
        (live.folder / "go").write_text("")
        assert kept.read().body == b"first\nsecond\n"


@pytest.mark.parametrize("protocol", ["", "scgi", "uwsgi", "http"])
def test_C16_the_client_leaves_a_silent_program(live: Live, protocol: str) -> None:
    sock = live.daemon.send("/silent", protocol)
    pid = live.pid("silent")
    sock.close()
    assert wait_until(lambda: not alive(pid))


def test_C16_an_abort(live: Live) -> None:
    with live.daemon.kept() as kept:
        kept.send("/silent")
        pid = live.pid("silent")
        kept.raw(b"\x01\x02\x00\x01\x00\x00\x00\x00")
        assert wait_until(lambda: not alive(pid))
        kept.out.clear()
        kept.got.clear()
    with live.daemon.kept() as kept:
        assert kept.get("/ready") == "x\n"


def test_C16_the_client_leaves_in_its_body(live: Live) -> None:
    """The program waits for the rest, and must not take what came for all."""
    data = request_bytes("/waits", "", b"x" * 200_000)
    with contextlib.closing(live.daemon.connect()) as sock:
        sock.sendall(data[:150_000])
        pid = live.pid("waits")
        assert alive(pid)
    assert wait_until(lambda: not alive(pid))


def test_C16_the_client_leaves_a_stream(live: Live) -> None:
    with contextlib.closing(live.daemon.send("/streams")) as sock:
        assert len(sock.recv(65_536)) > 0
    assert live.daemon.get("/ready") == "x\n"


def test_a_kept_connection_after_a_body_that_nobody_read(live: Live) -> None:
    """The thread that waited for it takes nothing of the next request."""
    with live.daemon.kept() as kept:
        for _ in range(20):
            body = b"x" * 300_000
            kept.raw(kept.bytes("/unread", body=body))
            assert kept.read().body == b"not read\n"
            kept.raw(kept.bytes("/echo", body=b"hello"))
            assert kept.read().body == b"hello"


def test_slow_uploads_do_not_hold_up_others(live: Live) -> None:
    sent = []
    for _ in range(3):
        sock = live.daemon.connect()
        sock.sendall(request_bytes("/mirror", "", b"x" * 100_000)[:-50_000])
        sent.append(sock)
    for _ in range(10):
        assert live.daemon.get("/ready") == "x\n"
    for sock in sent:
        sock.close()


def test_C17_signals_are_as_a_shell_has_them(live: Live) -> None:
    told = live.daemon.get("/state")
    assert (masked(told, "SigIgn"), masked(told, "SigBlk")) == (0, 0)


def test_C14_the_log_tells_why(live: Live) -> None:
    resp = live.daemon.ask("/fails")
    assert resp.status == 502
    assert b"the reason" not in resp.body
    live.daemon.until_log("the reason", 2)
    live.daemon.until_log("script.no_output")


@pytest.mark.parametrize("protocol", ["", "http"])
def test_half_an_answer_is_seen_to_be_half(live: Live, protocol: str) -> None:
    resp = live.daemon.ask("/crashes", protocol)
    assert resp.cut or not resp.body


def test_nothing_is_left_open(live: Live) -> None:
    def fds() -> int:
        return int(live.daemon.get("/fds"))

    before = fds()
    for _ in range(30):
        assert live.daemon.ask("/echo", "", b"x" * 1000).body == b"x" * 1000
        assert live.daemon.ask("/unread", "", b"x" * 200_000).body == b"not read\n"
    assert wait_until(lambda: fds() <= before)
    (worker,) = live.daemon.workers()
    assert wait_until(lambda: children_of(worker) == [])


def children_of(pid: int) -> list[str]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text().split()
    return found


def test_a_request_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    write(programs, PROGRAMS["held"], "held")
    os.mkfifo(programs / "go")
    app = APPLICATION.format(folder=str(programs))
    with whole_daemon(tmp_path, app=app, workers=1) as daemon, Kept(daemon.path) as kept:
        kept.send("/held")
        with (programs / "go").open("wb"):  # the program has opened it, too
            daemon.signal(signal.SIGTERM)
            assert daemon.process.poll() is None
        assert kept.read().body == b"first\nsecond\n"
        assert daemon.wait() == 0


def test_nothing_stays_when_the_daemon_ends_at_once(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    write(programs, PROGRAMS["silent"], "silent")
    app = APPLICATION.format(folder=str(programs))
    with whole_daemon(tmp_path, app=app, workers=1) as daemon:
        with contextlib.closing(daemon.send("/silent")):
            pid = Live(daemon, programs).pid("silent")
            daemon.signal(signal.SIGINT)
            daemon.wait()
            assert wait_until(lambda: not alive(pid))
