"""run(): how it ends, what it leaves behind, and the methods that scripts override."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.compat.stand import DEADLINE_S, Script
from tests.suite.modes import wait_until

BIND = "bindAddress='s'"
KINDS = ("fcgi", "fcgi_fork", "fcgi_single", "scgi", "scgi_fork")
FORKS = ("fcgi_fork", "scgi_fork")
ENDS = [(signal.SIGHUP, "True"), (signal.SIGTERM, "False"), (signal.SIGINT, "False")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("number", "returned"), ENDS, ids=["HUP", "TERM", "INT"])
def test_how_it_ends(tmp_path: Path, kind: str, number: int, returned: str) -> None:
    """True tells a wrapper to start the script again."""
    with Script(tmp_path, BIND, kind).up() as script:
        assert script.told()
        assert script.end(number) == f"returned {returned}\n"
        said = [line.partition("info ")[2] for line in script.said().splitlines()]
    assert said[-2:] == ["stopping: requests under way are finished first", "stopped"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_under_way_is_answered(tmp_path: Path, kind: str) -> None:
    with Script(tmp_path, BIND, kind).up() as script:
        sock = script.start("/hold-a")
        assert script.marked("a")
        script.process.send_signal(signal.SIGHUP)
        script.go()
        assert script.read(sock).status == 200
        assert script.ended() == "returned True\n"


@pytest.mark.parametrize("kind", ["fcgi", "fcgi_fork"])
def test_what_it_changed_is_set_back(tmp_path: Path, kind: str) -> None:
    """Signal handlers, their mask, the wake-up descriptor, and no descriptor or thread is left."""
    more = f"""
def mine(number, frame):
    pass

signal.signal(signal.SIGTERM, mine)
signal.signal(signal.SIGUSR1, mine)
def state():
    return (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1),
            signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT),
            signal.getsignal(signal.SIGPIPE), signal.pthread_sigmask(signal.SIG_BLOCK, ()))

def go():
    server = WSGIServer(application, {BIND})
    before, said = state(), []
    for _ in range(2):
        said.append(server.run())
        fds = len(os.listdir("/proc/self/fd"))
        said.append((state() == before, signal.set_wakeup_fd(-1), fds))
    threads = [thread for thread in threading.enumerate() if thread.name == "gatebridge-1"]
    return said + [len(threads)]
"""
    with Script(tmp_path, kind=kind, more=more, run="json.dumps(go())").up() as script:
        assert script.told()
        script.process.send_signal(signal.SIGHUP)
        assert wait_until(lambda: script.said().count("listening on") == 2)
        assert script.told()
        said = json.loads(script.end().removeprefix("returned "))
    first, second = said[1], said[3]
    assert (said[0], said[2]) == (True, False)
    assert first[:2] == second[:2] == [True, -1]
    assert second[2] <= first[2], "descriptors"
    assert said[4] == 0


def test_exit_and_periodic(tmp_path: Path) -> None:
    """_mainloopPeriodic() is called now and then; _exit(True) is as HUP."""
    more = f"""
from gatebridge.compat import script_worker
script_worker.LOOK_S = 0.05
class Server(WSGIServer):
    count = 0
    def _mainloopPeriodic(self):
        self.count += 1
        if self.count == 2:
            self._exit(reload=True)

server = Server(application, {BIND})
"""
    with Script(tmp_path, more=more, run="server.run(), server.count >= 2") as script:
        assert script.ended() == "returned True True\n"


ERROR = f"""
class Server(WSGIServer):
    def error(self, req):
        kind = sys.exc_info()[0].__name__
        req.stdout.write("Status: 503 Later\\r\\nContent-Type: text/x-own\\r\\n\\r\\n")
        path, count = req.params["PATH_INFO"], req.server.count
        req.stdout.write(f"{{kind}} at {{path}} of {{count}}".encode())
        req.stderr.write("told")
    count = 7

server = Server(application, {BIND})
"""


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_page_of_its_own(tmp_path: Path, kind: str) -> None:
    with Script(tmp_path, kind=kind, more=ERROR, run="server.run()").up() as script:
        answer = script.ask("/boom")
        assert (answer.status, answer.reason) == (503, "Later")
        assert answer.all("Content-Type") == ["text/x-own"]
        assert answer.body == b"ValueError at /boom of 7"
        assert script.told()["PATH_INFO"] == "/", "and the others are as ever"


def test_an_error_page_for_a_failure_after_start_response(tmp_path: Path) -> None:
    """Nothing of the answer is out: a generator that fails before its first byte."""
    more = ERROR.replace("Server(application", "Server(late")
    with Script(tmp_path, more=more, run="server.run()").up() as script:
        assert script.ask("/x").body == b"ValueError at /x of 7"


def test_an_error_page_that_calls_the_first(tmp_path: Path) -> None:
    more = f"""
class Server(WSGIServer):
    def error(self, req):
        WSGIServer.error(self, req)

server = Server(application, {BIND})
"""
    with Script(tmp_path, more=more, run="server.run()").up() as script:
        answer = script.ask("/boom")
        assert (answer.status, b"told to fail" in answer.body) == (500, False)


def test_an_error_page_that_fails_itself(tmp_path: Path) -> None:
    more = f"""
class Server(WSGIServer):
    def error(self, req):
        req.stdout.write(b"no head at all")

server = Server(application, {BIND})
"""
    with Script(tmp_path, more=more, run="server.run()").up() as script:
        assert script.ask("/boom").status == 500
        assert "told to fail" in script.said()


def test_access_of_its_own(tmp_path: Path) -> None:
    more = f"""
class Server(WSGIServer):
    def _isClientAllowed(self, addr):
        return os.path.exists("open")

server = Server(application, {BIND})
"""
    with Script(tmp_path, more=more, run="server.run()").up() as script:
        with script.sock() as sock:
            assert sock.recv(1) == b""
        (tmp_path / "open").touch()
        assert script.told()


# -- children


def children(script: Script) -> list[str]:
    pid = script.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize("kind", FORKS)
def test_spare_children(tmp_path: Path, kind: str) -> None:
    """maxSpare from the start, more for more requests up to maxChildren, and fewer again."""
    said = f"{BIND}, minSpare=2, maxSpare=2, maxChildren=4"
    with Script(tmp_path, said, kind).up() as script:
        assert wait_until(lambda: len(children(script)) == 2)
        socks = [script.start(f"/hold-{name}") for name in "abcd"]
        assert all(script.marked(name) for name in "abcd"), "four at once"
        assert len(children(script)) == 4
        script.go()
        pids = {json.loads(script.read(sock).body)["pid"] for sock in socks}
        assert len(pids) == 4
        assert wait_until(lambda: len(children(script)) == 2)


@pytest.mark.parametrize("kind", FORKS)
def test_max_requests(tmp_path: Path, kind: str) -> None:
    said = f"{BIND}, maxSpare=1, maxChildren=1, maxRequests=2"
    with Script(tmp_path, said, kind).up() as script:
        pids = [script.told()["pid"] for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


@pytest.mark.parametrize("kind", FORKS)
def test_timeout(tmp_path: Path, kind: str) -> None:
    """flup: seconds for a request. Here its client gets a 504, and the next one is served."""
    said = f"{BIND}, timeout=1, maxSpare=1, maxChildren=1"
    with Script(tmp_path, said, kind).up() as script:
        sock = script.start("/hold-a")
        assert script.read(sock).status == 504
        assert "/hold-a" in script.said()
        assert script.told()


def test_usr1_replaces_children(tmp_path: Path) -> None:
    with Script(tmp_path, f"{BIND}, maxSpare=1", "fcgi_fork").up() as script:
        before = script.told()["pid"]
        script.process.send_signal(signal.SIGUSR1)
        assert wait_until(lambda: script.told()["pid"] != before)


def test_usr1_and_a_stop_let_a_child_finish(tmp_path: Path) -> None:
    with Script(tmp_path, f"{BIND}, maxSpare=1, maxChildren=1", "fcgi_fork").up() as script:
        sock = script.start("/hold-a")
        assert script.marked("a")
        script.process.send_signal(signal.SIGUSR1)
        script.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: "stopping" in script.said())
        script.go()
        assert script.read(sock).status == 200


def test_a_child_that_dies_is_replaced(tmp_path: Path) -> None:
    more = "from gatebridge.compat import prefork; prefork.AGAIN_S = 0.1"
    with Script(tmp_path, f"{BIND}, maxSpare=1", "fcgi_fork", more=more).up() as script:
        pid = script.told()["pid"]
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: children(script) not in ([], [str(pid)]))
        assert script.told()["pid"] != pid
        assert f"child {pid} ended with signal 9" in script.said()


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    with Script(tmp_path, BIND, "fcgi_fork").up() as script:
        assert wait_until(lambda: len(children(script)) == 5), "maxSpare is 5"
        pids = children(script)
        script.process.kill()
        script.process.wait(DEADLINE_S)
        assert wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))


def test_what_the_script_opened_is_there_in_children(tmp_path: Path) -> None:
    more = """
log = open("log", "w")
def logging(environ, start_response):
    log.write(environ["PATH_INFO"])
    log.flush()
    return application(environ, start_response)
"""
    run = f"WSGIServer(logging, {BIND}).run()"
    with Script(tmp_path, kind="fcgi_fork", more=more, run=run).up() as script:
        assert script.told("/seen")
    assert (tmp_path / "log").read_text() == "/seen"


def test_an_application_that_is_none(tmp_path: Path) -> None:
    with Script(tmp_path, run=f"WSGIServer('app', {BIND}).run()", python=()) as script:
        assert script.process.wait(DEADLINE_S) == 1
        assert "flup.application: the application is of type str" in script.said()


# -- scripts that end it themselves

OWN_HANDLERS = f"""
class Server(WSGIServer):
    def _installSignalHandlers(self):
        signal.signal(signal.SIGTERM, self.told)
    def _restoreSignalHandlers(self):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    def told(self, number, frame):
        self._hupReceived = True
        self._keepGoing = False

server = Server(application, {BIND})
"""


@pytest.mark.parametrize("kind", ["fcgi", "scgi"])
def test_signal_handlers_of_the_scripts_own(tmp_path: Path, kind: str) -> None:
    run = "server.run(), server._keepGoing, signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    with Script(tmp_path, kind=kind, more=OWN_HANDLERS, run=run).up() as script:
        assert script.told()
        assert script.end() == "returned True False True\n"


IN_A_THREAD = f"""
server = WSGIServer(application, {BIND})
# CherryPy's FlupFCGIServer does the same
server._installSignalHandlers = lambda: None
server._oldSIGs = []
said = []
thread = threading.Thread(target=lambda: said.append(server.run()))
thread.start()
def wait():
    signal.sigwait([signal.SIGUSR2])
    server._keepGoing = False
    server._threadPool.maxSpare = server._threadPool._idleCount
    thread.join()
    return said
"""


@pytest.mark.parametrize("kind", ["fcgi", "scgi"])
def test_run_in_a_thread(tmp_path: Path, kind: str) -> None:
    """It has no signals there; what it has begun it finishes."""
    mask = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])"
    with Script(tmp_path, kind=kind, more=mask + IN_A_THREAD, run="wait()").up() as script:
        sock = script.start("/hold-a")
        assert script.marked("a")
        script.process.send_signal(signal.SIGUSR2)
        script.go()
        assert script.read(sock).status == 200
        assert script.ended() == "returned [False]\n"
    assert not os.path.exists(script.path)


def test_children_of_a_thread_are_refused(tmp_path: Path) -> None:
    more = f"thread = threading.Thread(target=WSGIServer(application, {BIND}).run); thread.start()"
    with Script(tmp_path, kind="fcgi_fork", more=more, run="thread.join()") as script:
        assert script.ended() == "returned None\n"
    assert "flup.thread: a server of children has signal handlers" in script.said()
