"""The control socket: answers its owner, and lets nobody hold up the supervisor."""

import errno
import json
import os
import select
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.control_client import LINE_MAX, peer_uid
from gatebridge.errors import ConfigError, GatebridgeError
from gatebridge.serve import control as module
from gatebridge.serve.control import (
    CLIENTS_MAX,
    LATER,
    REQUEST_S,
    SEND_S,
    Control,
    failure,
    open_control,
)

DEADLINE_S = 20.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Stand:
    """A control socket that is served only when a test says so."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.control = Control(str(path), clock=self.clock)
        self.control.handlers["ping"] = lambda request: {"ok": True}
        self.control.handlers["echo"] = lambda request: {"ok": True, "got": request}
        self.sockets: list[socket.socket] = []

    def connect(self, data: bytes = b"") -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sockets.append(sock)
        sock.settimeout(DEADLINE_S)
        sock.connect(self.control.path)
        if data:
            sock.sendall(data)
        return sock

    def pump(self) -> None:
        """Serve until there is nothing left to do."""
        while self.ready():
            self.control.serve(self.control.fd)

    def ready(self) -> bool:
        return bool(select.select([self.control.fd], [], [], 0)[0])

    def ask(self, data: bytes) -> dict[str, object]:
        sock = self.connect(data)
        self.pump()
        return answer(sock)


def answer(sock: socket.socket) -> dict[str, object]:
    """The one line that came before the close."""
    data = b""
    try:
        while piece := sock.recv(65_536):
            data += piece
    except ConnectionResetError:  # closed with something of ours unread
        pass
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    return json.loads(data)


def is_dropped(sock: socket.socket) -> bool:
    try:
        return sock.recv(10) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    built = Stand(tmp_path / "run" / "s.ctl")
    yield built
    built.control.abandon()
    for sock in built.sockets:
        sock.close()


# --- the path


def test_T8_only_its_owner_reaches_it(stand: Stand) -> None:
    path = Path(stand.control.path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_umask_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        Control(str(tmp_path / "a" / "b" / "s")).close()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_T23_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(ConfigError) as raised:
        Control(str(tmp_path / "open" / "s"))
    assert raised.value.code == "control.folder"
    assert os.listdir(tmp_path / "open") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's folder")
def test_T23_another_users_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 65_534, 65_534)
    (tmp_path / "ours").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("ours")
    os.lchown(tmp_path / "link", 65_534, 65_534)
    for folder in ("theirs", "link"):
        with pytest.raises(ConfigError) as raised:
            Control(str(tmp_path / folder / "s"))
        assert raised.value.code == "control.folder"


def test_a_live_one_is_refused(stand: Stand) -> None:
    with pytest.raises(ConfigError) as raised:
        Control(stand.control.path)
    assert raised.value.code == "bind.in_use"
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}


def test_a_stale_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
    old = path.stat().st_ino
    control = Control(str(path))
    assert path.stat().st_ino != old or stat.S_IMODE(path.stat().st_mode) == 0o600
    control.close()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ConfigError) as raised:
        Control(str(tmp_path / "s"))
    assert raised.value.code == "bind.in_use"
    assert (tmp_path / "s").read_text() == "precious"


def test_closing_removes_only_what_is_ours(stand: Stand) -> None:
    os.unlink(stand.control.path)
    Path(stand.control.path).write_text("another's")
    stand.control.close()
    assert Path(stand.control.path).read_text() == "another's"


def test_abandoning_leaves_the_file(tmp_path: Path) -> None:
    control = Control(str(tmp_path / "s"))
    control.abandon()
    control.close()
    assert (tmp_path / "s").exists()


def test_the_default_path_of_a_name_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two daemons may be called the same without anybody having said so."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    first = open_control("", "shop")
    second = open_control("", "shop")
    assert first.path == str(tmp_path / "gatebridge" / "shop.ctl")
    assert second.path == str(tmp_path / "gatebridge" / f"shop-{os.getpid()}.ctl")
    with pytest.raises(ConfigError) as raised:
        open_control(first.path, "shop")
    assert raised.value.code == "bind.in_use"
    for control in (first, second):
        control.close()
    assert os.listdir(tmp_path / "gatebridge") == []


def test_a_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        Control(str(tmp_path / ("x" * 108)))
    assert raised.value.code == "control.folder"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as raised:
        Control(str(tmp_path / "file" / "s"))
    assert raised.value.code == "bind.failed"


def test_a_socket_can_be_handed_over(stand: Stand) -> None:
    """As USR2 does: the new supervisor answers what the old one's queue holds."""
    waiting = stand.connect(b'{"command": "ping"}\n')
    heir = Control(stand.control.path, socket.socket(fileno=os.dup(stand.control.sock.fileno())))
    heir.handlers["ping"] = lambda request: {"ok": True, "heir": True}
    stand.control.abandon()
    while select.select([heir.fd], [], [], 0)[0]:
        heir.serve()
    assert answer(waiting) == {"ok": True, "heir": True}
    heir.close()
    assert not os.path.exists(heir.path)


def test_a_file_that_somebody_removed_is_made_anew(stand: Stand) -> None:
    assert not stand.control.renew()
    os.unlink(stand.control.path)
    assert stand.control.renew()
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}
    stand.control.close()
    assert not os.path.exists(stand.control.path)


# --- requests


def test_a_request_is_a_line_and_so_is_its_answer(stand: Stand) -> None:
    got = stand.ask(b'{"command": "echo", "level": "caf\\u00e9"}\n')["got"]
    assert got == {"command": "echo", "level": "caf\xe9", "client": 1}


def test_a_line_may_come_in_pieces(stand: Stand) -> None:
    sock = stand.connect()
    for byte in b'{"command": "ping"}\n':
        sock.sendall(bytes([byte]))
        stand.pump()
    assert answer(sock) == {"ok": True}


def test_what_follows_the_line_is_ignored(stand: Stand) -> None:
    assert stand.ask(b'{"command": "ping"}\n{"command": "echo"}\n') == {"ok": True}


def test_a_client_that_half_closes_is_answered(stand: Stand) -> None:
    sock = stand.connect(b'{"command": "ping"}\n')
    sock.shutdown(socket.SHUT_WR)
    stand.pump()
    assert answer(sock) == {"ok": True}


def test_a_name_that_is_no_command(stand: Stand) -> None:
    got = stand.ask(b'{"command": "pong"}\n')
    assert got["code"] == "control.unknown"
    assert "echo, ping" in str(got["error"])


GARBAGE = [b"", b"{", b"ping", b"[]", b"{}", b'{"command": 5}', b'{"command": null}', b"\xff\xfe",
           b"\0" * 1000, b"GET / HTTP/1.0\r", b"[" * 100_000, b'{"a":' * 5000, b"1" * 10_000,
           b'{"command": ["ping"]}']  # fmt: skip


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: repr(line[:20]))
def test_garbage_is_told_so(stand: Stand, line: bytes) -> None:
    sock = stand.connect()
    thread = threading.Thread(target=sock.sendall, args=(line + b"\n",))
    thread.start()
    data = b""
    sock.settimeout(0.01)
    while not data:
        stand.pump()
        try:
            data = sock.recv(10_000)
        except TimeoutError:
            continue
    thread.join(DEADLINE_S)
    got = json.loads(data)
    assert (got["ok"], got["code"]) == (False, "control.malformed")
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}


def test_a_handlers_refusal_is_the_answer(stand: Stand) -> None:
    def refuse(request: dict[str, object]) -> dict[str, object]:
        raise GatebridgeError("pool.unknown", "no pool 'x'")

    stand.control.handlers["scale"] = refuse
    assert stand.ask(b'{"command": "scale"}\n') == failure("pool.unknown", "no pool 'x'")


def test_a_handlers_fault_ends_nobody(stand: Stand) -> None:
    told = []
    stand.control.fault = lambda where, error: told.append((where, str(error)))
    stand.control.handlers["div"] = lambda request: {"ok": 1 // 0}
    stand.control.handlers["odd"] = lambda request: {"ok": {1, 2}}
    for name in ("div", "odd"):
        got = stand.ask(b'{"command": "%s"}\n' % name.encode())
        assert got["code"] == "control.fault"
    assert [where for where, _ in told] == ["control div", "control answer"]
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}


def test_a_handler_may_close_the_socket(stand: Stand) -> None:
    def stop(request: dict[str, object]) -> dict[str, object]:
        stand.control.close()
        return {"ok": True}

    stand.control.handlers["stop"] = stop
    first, second = stand.connect(), stand.connect()
    stand.pump()
    for sock in (first, second):
        sock.sendall(b'{"command": "stop"}\n')
    stand.connect()
    stand.control.serve()
    assert is_dropped(first)
    assert is_dropped(second)


# --- delayed answers


def test_an_answer_may_come_later(stand: Stand) -> None:
    waiting = []

    def reload(request: dict[str, object]) -> dict[str, object]:
        waiting.append(request["client"])
        return LATER

    stand.control.handlers["reload"] = reload
    sock = stand.connect(b'{"command": "reload", "client": 99}\n')
    stand.pump()
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}
    stand.clock.now += 10_000  # no deadline of ours: the handler has its own
    stand.control.expire(stand.clock.now)
    assert stand.control.deadline is None
    assert stand.control.later(waiting[0], {"ok": True, "generation": 2})
    assert answer(sock) == {"ok": True, "generation": 2}
    assert not stand.control.later(waiting[0], {"ok": True})


def test_a_later_answer_to_one_who_left_is_lost(stand: Stand) -> None:
    stand.control.handlers["reload"] = lambda request: LATER
    stand.connect(b'{"command": "reload"}\n').close()
    stand.pump()
    stand.control.later(1, {"ok": True})
    assert not stand.control.later(1, {"ok": True})
    assert not stand.control.later(12_345, {"ok": True})


def test_nobody_is_answered_twice(stand: Stand) -> None:
    """A client that has not sent its line is not one that waits for an answer."""
    sock = stand.connect(b'{"command"')
    stand.pump()
    assert not stand.control.later(1, {"ok": True})
    sock.sendall(b': "ping"}\n')
    stand.pump()
    assert answer(sock) == {"ok": True}


# --- whoever is slow, large or many


@pytest.mark.parametrize("data", [b"", b'{"command": "pi'], ids=["nothing", "half a line"])
def test_a_silent_client_is_dropped(stand: Stand, data: bytes) -> None:
    sock = stand.connect(data)
    stand.pump()
    assert not stand.ready()  # and costs no turn of the supervisor's loop meanwhile
    assert stand.control.deadline == stand.clock.now + REQUEST_S
    stand.clock.now += REQUEST_S
    stand.control.expire(stand.clock.now)
    assert is_dropped(sock)
    assert stand.control.deadline is None


def test_a_line_that_trickles_does_not_extend_its_time(stand: Stand) -> None:
    sock = stand.connect(b"{")
    for _ in range(10):
        stand.pump()
        stand.clock.now += REQUEST_S / 10
        sock.sendall(b" ")
    stand.pump()
    assert is_dropped(sock)


def test_a_client_that_leaves_in_the_middle_is_forgotten(stand: Stand) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    for data in (b"", b'{"command": "pi', b'{"command": "ping"}\n'):
        for _ in range(3):
            stand.connect(data).close()
            stand.pump()
    assert len(os.listdir("/proc/self/fd")) == fds


def test_two_megabytes_are_refused(stand: Stand) -> None:
    sock = stand.connect()
    sent: list[object] = []

    def send() -> None:
        try:
            sock.sendall(b"x" * (2 << 20))
        except OSError as error:
            sent.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    while thread.is_alive():
        stand.pump()
    assert isinstance(sent[0], BrokenPipeError)
    assert answer(sock)["code"] == "control.too_big"
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}


def test_a_client_that_does_not_read_is_dropped(stand: Stand) -> None:
    big = "x" * (LINE_MAX - 100)
    stand.control.handlers["big"] = lambda request: {"ok": True, "big": big}
    sock = stand.connect(b'{"command": "big"}\n')
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stand.pump()
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}
    assert not stand.ready()
    stand.clock.now += SEND_S
    stand.control.expire(stand.clock.now)
    got = b""
    while piece := sock.recv(1 << 20):
        got += piece
    assert len(got) < len(big)
    assert stand.control.deadline is None


def test_a_slow_reader_gets_all(stand: Stand) -> None:
    big = "x" * (LINE_MAX - 100)
    stand.control.handlers["big"] = lambda request: {"ok": True, "big": big}
    sock = stand.connect(b'{"command": "big"}\n')
    stand.pump()
    got = b""
    while not got.endswith(b"\n"):
        got += sock.recv(10_000)
        stand.pump()
    assert json.loads(got)["big"] == big


def test_an_answer_that_is_too_big_is_refused_here(stand: Stand) -> None:
    stand.control.handlers["big"] = lambda request: {"ok": True, "big": "x" * LINE_MAX}
    assert stand.ask(b'{"command": "big"}\n')["code"] == "control.too_big"


def test_many_idle_clients_make_room_for_new_ones(stand: Stand) -> None:
    idle = []
    for _ in range(CLIENTS_MAX + 5):
        idle.append(stand.connect())
        stand.pump()
    assert stand.ask(b'{"command": "ping"}\n') == {"ok": True}
    assert [is_dropped(sock) for sock in idle[:6]] == [True] * 6
    idle[6].sendall(b'{"command": "ping"}\n')
    stand.pump()
    assert answer(idle[6]) == {"ok": True}


def test_those_who_wait_for_an_answer_are_the_last_to_go(stand: Stand) -> None:
    stand.control.handlers["reload"] = lambda request: LATER
    waiting = stand.connect(b'{"command": "reload"}\n')
    stand.pump()
    for _ in range(CLIENTS_MAX + 5):
        stand.connect()
        stand.pump()
    assert stand.control.later(1, {"ok": True})
    assert answer(waiting) == {"ok": True}


def test_no_free_descriptor_is_no_busy_loop(stand: Stand) -> None:
    class Full:
        """A listener whose accept() finds no free descriptor."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock
            self.full = True

        def accept(self) -> tuple[socket.socket, object]:
            if self.full:
                raise OSError(errno.EMFILE, "Too many open files")
            return self._sock.accept()

        def __getattr__(self, name: str) -> object:
            return getattr(self._sock, name)

    stand.control._sock = full = Full(stand.control.sock)
    sock = stand.connect(b'{"command": "ping"}\n')
    stand.pump()
    assert not stand.ready()
    assert stand.control.deadline is not None
    full.full = False
    stand.clock.now = stand.control.deadline
    stand.control.expire(stand.clock.now)
    stand.pump()
    assert answer(sock) == {"ok": True}


# --- who asks


def test_the_kernel_says_who_asks() -> None:
    left, right = socket.socketpair()
    with left, right:
        assert peer_uid(left) == os.geteuid()


def test_another_user_is_not_answered(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "peer_uid", lambda sock: 12_345)
    stand.control.handlers["stop"] = lambda request: pytest.fail("run for another user")
    assert stand.ask(b'{"command": "stop"}\n')["code"] == "control.denied"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_T8_another_user_is_not_answered_even_if_the_file_lets_him(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    control = Control(str(tmp_path / "s"))
    control.handlers["ping"] = lambda request: {"ok": True}
    os.chmod(tmp_path / "s", 0o666)
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.chdir(tmp_path)
            os.setuid(65_534)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect("s")
            sock.sendall(b'{"command": "ping"}\n')
            os.write(write, b"!" + sock.recv(1000))
        except OSError as error:
            os.write(write, f"{error!r}\n".encode())
        finally:
            os._exit(0)
    os.close(write)
    got = b""
    while b"\n" not in got:
        if read in select.select([control.fd, read], [], [], DEADLINE_S)[0]:
            data = os.read(read, 1000)
            assert data, got
            got += data
        control.serve()
    os.close(read)
    os.waitpid(pid, 0)
    control.close()
    assert json.loads(got[1:])["code"] == "control.denied"
