"""systemd is told how we are, and its sockets are taken over: with real sockets and processes."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.bind import parse_bind
from gatebridge.connect import connect
from gatebridge.errors import ConfigError
from gatebridge.serve.listen import open_listener, open_listeners
from gatebridge.serve.notify import Notify, Passed, find_notify, take_sockets

PACKAGE = Path(__file__).resolve().parents[2]
ME = os.getpid()


class Manager:
    """The service manager's end: a datagram socket that others write to."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(20)
        self.sock.bind("\0" + address[1:] if address.startswith("@") else address)

    def heard(self) -> list[str]:
        return self.sock.recv(65_536).decode().split("\n")

    def silent(self) -> bool:
        return not select.select([self.sock], [], [], 0)[0]


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "n") if request.param == "path" else f"@gatebridge-{tmp_path}"
    made = Manager(address)
    try:
        yield made
    finally:
        made.sock.close()


def test_ready(manager: Manager) -> None:
    Notify(manager.address).ready()
    assert manager.heard() == ["READY=1"]


def test_ready_with_a_word_for_the_operator(manager: Manager) -> None:
    Notify(manager.address).ready("2 workers")
    assert manager.heard() == ["READY=1", "STATUS=2 workers"]


def test_reloading_has_the_time_that_systemd_asks_for(manager: Manager) -> None:
    """Without MONOTONIC_USEC= Type=notify-reload takes an old READY=1 for the new one."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notify(manager.address).reloading("generation 2")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second, third = manager.heard()
    assert (first, third) == ("RELOADING=1", "STATUS=generation 2")
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= after


def test_stopping(manager: Manager) -> None:
    Notify(manager.address).stopping("8 requests")
    assert manager.heard() == ["STOPPING=1", "STATUS=8 requests"]


def test_stopping_asks_for_as_long_as_requests_may_take(manager: Manager) -> None:
    Notify(manager.address).stopping(limit_s=120.5)
    assert manager.heard() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=120500000"]


def test_status_alone_and_the_rest(manager: Manager) -> None:
    notify = Notify(manager.address)
    notify.status("busy")
    notify.watchdog()
    notify.main_pid(77)
    assert [manager.heard() for _ in range(3)] == [["STATUS=busy"], ["WATCHDOG=1"], ["MAINPID=77"]]


def test_T19_a_status_is_one_line(manager: Manager) -> None:
    Notify(manager.address).status("x\nREADY=1\0\udcff")
    assert manager.heard() == ["STATUS=x\\x0aREADY=1\\x00\\udcff"]


def test_nobody_is_told_where_nobody_asks(tmp_path: Path) -> None:
    silent = Notify("")
    silent.ready("x")
    silent.reloading()
    silent.stopping()
    silent.watchdog()
    silent.retry()
    assert not silent.waiting


ABSENT = ["{tmp}/absent", "@gatebridge-absent-{tmp}", "/" + "x" * 200, "{tmp}"]


@pytest.mark.parametrize("address", ABSENT)
def test_a_manager_that_is_gone_harms_nobody(tmp_path: Path, address: str) -> None:
    notify = Notify(address.replace("{tmp}", str(tmp_path)))
    notify.ready()
    notify.watchdog()
    assert not notify.waiting


def test_a_manager_that_is_slow_gets_it_all_later_and_in_order(manager: Manager) -> None:
    """READY=1 must not be lost: systemd would wait for it until it gives up."""
    notify = Notify(manager.address)
    flood = 0
    while not notify.waiting:
        notify.status(f"{flood}")
        flood += 1
    notify.ready("up")
    notify.retry()
    assert notify.waiting
    got = [manager.heard()]
    while notify.waiting:
        notify.retry()
        got.append(manager.heard())
    got += [manager.heard() for _ in range(flood + 1 - len(got))]
    assert got == [[f"STATUS={n}"] for n in range(flood)] + [["READY=1", "STATUS=up"]]
    assert manager.silent()


def test_a_slow_manager_does_not_fill_memory(manager: Manager) -> None:
    notify = Notify(manager.address)
    while not notify.waiting:
        notify.status("flood")
    for _ in range(1000):
        notify.watchdog()
        notify.status("more")
    notify.ready()
    heard = []
    while not manager.silent():
        heard.append(manager.heard())
        notify.retry()
    assert not notify.waiting
    assert heard[-1] == ["READY=1"]
    assert len(heard) < 1000


# -- the environment


def test_its_variables_are_taken(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(ME),
        "PATH": "/bin",
    }
    notify = find_notify(environ, ME)
    assert environ == {"PATH": "/bin"}
    assert notify.watchdog_s == 15.0
    notify.ready()
    assert manager.heard() == ["READY=1"]


WATCHDOGS = [
    ("half of it", {"WATCHDOG_USEC": "1000000"}, 0.5),
    ("ours", {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(ME)}, 0.5),
    ("another process's", {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(ME + 1)}, 0.0),
    ("none", {}, 0.0),
    ("nonsense", {"WATCHDOG_USEC": "-1"}, 0.0),
    ("nonsense, too", {"WATCHDOG_USEC": "1e6"}, 0.0),
    ("beyond all", {"WATCHDOG_USEC": "9" * 30}, 0.0),
    ("without a socket", {"WATCHDOG_USEC": "1000000", "NOTIFY_SOCKET": ""}, 0.0),
]


@pytest.mark.parametrize(("name", "given", "wanted"), WATCHDOGS, ids=[row[0] for row in WATCHDOGS])
def test_the_watchdog(name: str, given: dict[str, str], wanted: float) -> None:
    environ = {"NOTIFY_SOCKET": "/run/n", **given}
    assert find_notify(environ, ME).watchdog_s == wanted
    assert environ == {}


@pytest.mark.parametrize("address", ["", "@", "/", "vsock:2:1234", "relative/path"])
def test_an_address_that_we_cannot_reach_is_none(address: str) -> None:
    notify = find_notify({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}, ME)
    notify.ready()
    assert notify.watchdog_s == 0.0
    assert notify.environment() == {}


def test_who_takes_our_place_finds_the_manager_again(manager: Manager) -> None:
    """USR2: the variables were taken from the environment, and the new program needs them."""
    first = find_notify(
        {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(ME)}, ME
    )
    second = find_notify(first.environment(), ME + 1)
    assert second.watchdog_s == 1.5
    second.ready()
    assert manager.heard() == ["READY=1"]


# -- sockets that systemd opened


@pytest.mark.parametrize("given", [{}, {"LISTEN_PID": str(ME)}, {"LISTEN_FDS": ""}])
def test_no_sockets_are_no_fault_and_have_a_reason(given: dict[str, str]) -> None:
    passed = take_sockets(dict(given), ME)
    assert passed.fds == {}
    assert ".socket unit" in passed.why


def test_sockets_of_another_process_are_left_alone() -> None:
    environ = {"LISTEN_PID": str(ME + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
    passed = take_sockets(environ, ME)
    assert passed.fds == {}
    assert str(ME + 1) in passed.why
    assert environ == {}


WRONG = [
    ("no number", {"LISTEN_FDS": "x"}),
    ("below 0", {"LISTEN_FDS": "-1"}),
    ("endless", {"LISTEN_FDS": "999999999999"}),
    ("not open", {"LISTEN_FDS": "4000"}),
    ("too many names", {"LISTEN_FDS": "0", "LISTEN_FDNAMES": "a:b"}),
]


@pytest.mark.parametrize(("name", "given"), WRONG, ids=[row[0] for row in WRONG])
def test_what_cannot_be_taken_over_is_told(name: str, given: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as raised:
        take_sockets({"LISTEN_PID": str(ME), **given}, ME)
    assert raised.value.code == "bind.systemd"


STARTER = """
import fcntl, json, os, socket, sys
binds, names, sockets = json.loads(sys.argv[1])
opened = []
for family, place in sockets:
    sock = socket.socket(getattr(socket, family))
    sock.bind(tuple(place) if isinstance(place, list) else place)
    sock.listen()
    name = sock.getsockname()
    print(json.dumps(name if family != "AF_UNIX" else None), flush=True)
    opened.append(fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 100))
for number, fd in enumerate(opened):
    os.dup2(fd, 3 + number, inheritable=True)
environ = dict(os.environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)))
if names:
    environ["LISTEN_FDNAMES"] = names
os.execve(sys.executable, [sys.executable, "-c", sys.argv[2], *binds], environ)
"""

DAEMON = """
import os, sys
from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.serve.listen import networks, open_listeners
from gatebridge.serve.notify import take_sockets
before = len(os.listdir("/proc/self/fd"))
passed = take_sockets(os.environ, os.getpid())
left = [name for name in os.environ if name.startswith("LISTEN_")]
print(left, [fd for fds in passed.fds.values() for fd in fds if os.get_inheritable(fd)])
addresses = networks(os.environ.get("FCGI_WEB_SERVER_ADDRS", ""), "test")
opened = []
for text in sys.argv[1:]:
    try:
        opened += open_listeners(parse_bind(text), addresses, passed)
    except ConfigError as error:
        print(error.code, error.detail)
for listener in opened:
    print(listener.text, listener.tcp, listener.admits(("192.0.2.9", 1)))
sys.stdout.flush()
for listener in opened:
    while True:
        try:
            sock, peer = listener.accept()
        except BlockingIOError:
            break
        sock.send(b"taken")
        sock.close()
    listener.close()
    listener.close()
assert len(os.listdir("/proc/self/fd")) == before
"""


class Started:
    """A daemon that was started as systemd would. lines: what it says; places: its sockets."""

    def __init__(self, binds: list[str], names: str, sockets: list[object], **env: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", STARTER, json.dumps([binds, names, sockets]), DAEMON],
            env={**os.environ, "PYTHONPATH": str(PACKAGE), **env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        found = done.stdout.splitlines()
        self.places = [json.loads(line) for line in found[: len(sockets)]]
        self.kept, *self.lines = found[len(sockets) :]


def test_a_socket_is_found_by_its_name_and_its_variables_are_gone(tmp_path: Path) -> None:
    sockets = [["AF_UNIX", str(tmp_path / "a")], ["AF_UNIX", str(tmp_path / "b")]]
    found = Started(["systemd:web", "scgi+systemd:old"], "old:web", sockets)
    assert found.kept == "[] []"
    assert found.lines == [
        f"unix:{tmp_path}/b False True",
        f"scgi+unix:{tmp_path}/a False True",
    ]
    assert (tmp_path / "a").exists()  # systemd's file, not ours to remove


def test_several_sockets_of_one_name_are_one_bind(tmp_path: Path) -> None:
    sockets = [["AF_UNIX", str(tmp_path / "a")], ["AF_INET", ["127.0.0.1", 0]]]
    found = Started(["http+systemd:web"], "web:web", sockets)
    port = found.places[1][1]
    assert found.lines == [
        f"http+unix:{tmp_path}/a False True",
        f"http://127.0.0.1:{port} True True",
    ]


def test_sockets_without_names_are_called_unknown(tmp_path: Path) -> None:
    found = Started(["systemd:unknown"], "", [["AF_UNIX", str(tmp_path / "a")]])
    assert found.lines == [f"unix:{tmp_path}/a False True"]


def test_an_abstract_socket(tmp_path: Path) -> None:
    found = Started(["uwsgi+systemd:web"], "web", [["AF_UNIX", f"\0gatebridge{tmp_path}"]])
    assert found.lines == [f"uwsgi+unix:@gatebridge{tmp_path} False True"]


def test_a_name_that_was_not_passed_names_those_that_were(tmp_path: Path) -> None:
    found = Started(["systemd:wep"], "web", [["AF_UNIX", str(tmp_path / "a")]])
    (line,) = found.lines
    assert line.startswith("bind.systemd ")
    assert line.endswith("passed: web")


def test_fd_takes_one_by_its_number(tmp_path: Path) -> None:
    found = Started(["fd://3", "fd://4"], "a:b", [["AF_UNIX", str(tmp_path / c)] for c in "ab"])
    assert [line.split()[0] for line in found.lines] == ["fd://3", "fd://4"]


def test_T8_systemds_tcp_beyond_loopback_needs_a_list(tmp_path: Path) -> None:
    sockets = [["AF_INET", ["0.0.0.0", 0]]]
    (refused,) = Started(["systemd:web"], "web", sockets).lines
    assert refused.startswith("bind.open ")
    assert "allow" in refused
    found = Started(["systemd:web?allow=198.51.100.0/24"], "web", sockets)
    (allowed,) = found.lines
    assert allowed == f"fcgi://0.0.0.0:{found.places[0][1]} True False"


def test_T8_FCGI_WEB_SERVER_ADDRS_holds_there_too() -> None:
    sockets = [["AF_INET", ["127.0.0.1", 0]]]
    (line,) = Started(["systemd:w"], "w", sockets, FCGI_WEB_SERVER_ADDRS="127.0.0.1").lines
    assert line.endswith(" True False")
    (line,) = Started(["systemd:w"], "w", sockets, FCGI_WEB_SERVER_ADDRS="192.0.2.9").lines
    assert line.endswith(" True True")


def test_T8_the_list_of_an_inherited_socket_is_obeyed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        made = open_listener(parse_bind(f"fd://{given.fileno()}?allow=192.0.2.1"), ())
        assert not made.admits(("127.0.0.1", 1))
        assert made.admits(("192.0.2.1", 1))
        made.close()


def test_supervisor_requests_that_came_before_us_wait_in_the_queue(tmp_path: Path) -> None:
    """Socket activation: a connection made while no daemon runs is answered by the next one."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        client.connect(path)
        first = open_listeners(parse_bind("systemd:w"), (), Passed({"w": [listening.fileno()]}))
        first[0].close()  # a daemon that ends
        (second,) = open_listeners(parse_bind("systemd:w"), (), Passed({"w": [listening.fileno()]}))
        sock, _ = second.accept()
        sock.send(b"taken")
        assert client.recv(9) == b"taken"
        sock.close()
        client.close()
        second.close()


def passed(fd: int) -> Passed:
    return Passed({"w": [fd]})


def test_T22_an_inherited_descriptor_goes_no_further() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        given.set_inheritable(True)
        open_listener(parse_bind(f"fd://{given.fileno()}"), ()).close()
        assert not given.get_inheritable()


def test_the_backlog_of_an_inherited_socket_can_be_changed() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as given:
        made = open_listener(parse_bind(f"fd://{given.fileno()}?backlog=64"), ())
        clients = [socket.create_connection(given.getsockname(), 20) for _ in range(20)]
        for client in clients:
            client.close()
        made.close()


def test_a_socket_with_Accept_yes_is_refused() -> None:
    one, other = socket.socketpair()
    with one, other, pytest.raises(ConfigError) as raised:
        open_listeners(parse_bind("systemd:w"), (), passed(one.fileno()))
    assert raised.value.code == "bind.fd"
    assert "Accept=no" in raised.value.detail


def test_what_is_no_socket_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    read, write = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as good:
        for bind, fds in (("systemd:w", [good.fileno(), read]), ("systemd:w", [9999])):
            with pytest.raises(ConfigError) as raised:
                open_listeners(parse_bind(bind), (), Passed({"w": fds}))
            assert raised.value.code == "bind.failed"
        with pytest.raises(ConfigError) as raised:
            open_listeners(parse_bind("systemd:w?backlog=x"), (), passed(good.fileno()))
        assert raised.value.code == "bind.backlog"
        with pytest.raises(ConfigError) as raised:
            open_listener(parse_bind(f"fd://{read}"), ())
        assert raised.value.code == "bind.failed"
    os.close(read)
    os.close(write)
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_systemd_the_bind_says_so() -> None:
    for opened in (
        lambda: open_listeners(parse_bind("systemd:w"), (), Passed({}, "LISTEN_FDS is not set")),
        lambda: open_listener(parse_bind("systemd:w"), ()),
    ):
        with pytest.raises(ConfigError) as raised:
            opened()
        assert raised.value.code == "bind.systemd"


def test_other_binds_are_one_listener(tmp_path: Path) -> None:
    (made,) = open_listeners(parse_bind(f"unix:{tmp_path}/s"), (), Passed({}))
    made.close()


def test_nobody_connects_to_a_name_of_systemds() -> None:
    with pytest.raises(ConfigError) as raised:
        connect(parse_bind("systemd:web"), 1.0)
    assert raised.value.code == "bind.fd"
