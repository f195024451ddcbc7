"""Listeners: made without a gap, never stolen, removed by who made them (T8, T22, T23)."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.serve.listen import backlog, examine, networks, open_listener, somaxconn
from gatebridge.serve.listener import Listener


def listener(text: str, addresses: str = "") -> Listener:
    return open_listener(parse_bind(text), networks(addresses, "test"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        listener(text).close()
    return raised.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- T8: who can reach it


@pytest.mark.parametrize("uid", [os.geteuid(), 65_534])
@pytest.mark.parametrize("option", ["", "?peer=same"])
def test_only_our_own_user_and_root(tmp_path: Path, uid: int, option: str) -> None:
    if uid != os.geteuid() and os.geteuid() != 0:
        pytest.skip("takes root to be another user")
    made = listener(f"unix:@{tmp_path}/s{option}")
    before = os.geteuid()
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            os.seteuid(uid)
            peer.connect(f"\0{tmp_path}/s")
        finally:
            os.seteuid(before)
        sock, _ = made.accept()
        assert made.is_stranger(sock) is (bool(option) and uid != before)
        sock.close()
    made.close()


@pytest.mark.parametrize("name", ["/s", "@"])
def test_whoever_is_queued_is_accepted_and_nobody_else_connects(tmp_path: Path, name: str) -> None:
    made = listener(f"unix:{tmp_path}/s" if name == "/s" else f"unix:@{tmp_path}/s")
    address = f"{tmp_path}/s" if name == "/s" else f"\0{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as early, socket.socket(socket.AF_UNIX) as other:
        early.connect(address)
        if name == "/s":  # as for a client that looked the path up before it was removed
            os.link(tmp_path / "s", tmp_path / "looked-up")
            address = f"{tmp_path}/looked-up"
        made.refuse()
        assert not (tmp_path / "s").exists()
        with pytest.raises(ConnectionRefusedError):
            other.connect(address)
        sock, _ = made.accept()
        early.send(b"x")
        assert sock.recv(2) == b"x"
        sock.close()
        with pytest.raises(BlockingIOError):
            made.accept()
    made.close()


@pytest.mark.parametrize("how", ["fd", "left", "tcp"])
def test_what_others_may_listen_at_is_not_shut(tmp_path: Path, how: str) -> None:
    with contextlib.ExitStack() as stack:
        if how == "tcp":
            made = listener("fcgi://127.0.0.1:0")
            address: object = made.sock.getsockname()
        else:
            whole = listener(f"unix:{tmp_path}/s")
            stack.callback(whole.close)
            address = f"{tmp_path}/s"
            made = listener(f"fd://{whole.fd}") if how == "fd" else whole
            made.leave_file()
        stack.callback(made.close)
        made.refuse()
        peer = stack.enter_context(socket.socket(made.sock.family))
        peer.connect(address)


@pytest.mark.parametrize("text", ["unix:@x?peer=root", "fcgi://127.0.0.1:0?peer=same"])
def test_what_peer_may_say(text: str) -> None:
    assert refused(text).code == "bind.peer"
    with pytest.raises(ConfigError, match=r"bind\.peer"):
        examine(parse_bind(text))


@pytest.mark.parametrize(("option", "wanted"), [("", 0o660), ("?mode=0600", 0o600),
                                                ("?mode=666", 0o666), ("?mode=0", 0)])  # fmt: skip
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_T8_the_mode_is_as_asked_whatever_the_umask(path, option, wanted, umask) -> None:
    before = os.umask(umask)
    try:
        made = listener(f"unix:{path}{option}")
        assert os.umask(umask) == umask  # and the process's is back
    finally:
        os.umask(before)
    assert mode(path) == wanted
    made.close()


def test_T8_there_is_no_moment_with_a_wider_mode(path: Path) -> None:
    """Between bind() and chmod() anybody could connect: so there must be no chmod()."""
    code = (
        "import os, sys\n"
        "seen = []\n"
        "def hook(event, args):\n"
        "    if event == 'socket.bind':\n"
        "        seen.append(os.umask(0o777)); os.umask(seen[-1])\n"
        "    if event in ('os.chmod',):\n"
        "        seen.append('chmod')\n"
        "from gatebridge.serve.listen import open_listener\n"
        "from gatebridge.bind import parse_bind\n"
        "sys.addaudithook(hook)\n"
        "open_listener(parse_bind('unix:' + sys.argv[1]), ())\n"
        "print(seen)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True
    )
    assert done.stdout == f"[{0o117}]\n", done.stderr


@pytest.mark.parametrize("option", ["mode=999", "mode=", "mode=rw", "mode=07777", "mode=0o660",
                                    "mode=-1"])  # fmt: skip
def test_T8_a_mode_that_is_none(path: Path, option: str) -> None:
    assert refused(f"unix:{path}?{option}").code.startswith("bind.")
    assert not path.exists()


def test_T8_owner_and_group_are_given(path: Path) -> None:
    made = listener(f"unix:{path}?owner={os.getuid()}&group={os.getgid()}")
    assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
    made.close()


@pytest.mark.parametrize("option", ["owner=no-such-user-of-tests", "group=no-such-group-of-tests"])
def test_T8_an_unknown_owner_is_refused_before_anything_is_made(path: Path, option: str) -> None:
    assert refused(f"unix:{path}?{option}").code == f"bind.{option.partition('=')[0]}"
    assert not path.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.test"])
def test_T8_tcp_beyond_loopback_needs_a_list(host: str) -> None:
    error = refused(f"fcgi://{host}:0")
    assert error.code == "bind.open"
    assert "allow" in error.detail


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_T8_loopback_needs_none(host: str) -> None:
    try:
        made = listener(f"scgi://{host}:0")
    except ConfigError as error:
        if "[::1]" in host and error.code == "bind.failed":
            return  # a machine without IPv6 says so
        raise
    assert made.tcp
    made.close()


ADMITS = [
    ("one address", "192.0.2.1", "192.0.2.1", True),
    ("another address", "192.0.2.1", "192.0.2.2", False),
    ("a network", "192.0.2.0/24", "192.0.2.200", True),
    ("beyond the network", "192.0.2.0/24", "192.0.3.1", False),
    ("several", "192.0.2.1,198.51.100.0/24", "198.51.100.7", True),
    ("IPv6", "2001:db8::/32", "2001:db8::7", True),
    ("IPv6 with its zone", "fe80::/10", "fe80::1%eth0", True),
    ("IPv4 in IPv6", "192.0.2.1", "::ffff:192.0.2.1", True),
    ("other family", "192.0.2.1", "2001:db8::1", False),
    ("host bits set", "192.0.2.7/24", "192.0.2.9", True),
]


@pytest.mark.parametrize("row", ADMITS, ids=[row[0] for row in ADMITS])
def test_T8_F113_who_is_admitted(row) -> None:
    _, allow, peer, admitted = row
    made = listener(f"fcgi://0.0.0.0:0?allow={allow}")
    assert made.admits((peer, 4000)) is admitted
    made.close()


def test_F113_addresses_from_the_environment_concern_fastcgi_over_tcp(path: Path) -> None:
    made = listener("fcgi://127.0.0.1:0", "192.0.2.1")
    assert not made.admits(("127.0.0.1", 1))
    assert made.admits(("192.0.2.1", 1))
    assert not made.admits("")  # "or not TCP": section 3.2
    made.close()
    for text in (f"unix:{path}", "scgi://127.0.0.1:0"):
        other = listener(text, "192.0.2.1")
        assert other.admits(("127.0.0.1", 1))
        other.close()


def test_T8_a_list_that_is_none() -> None:
    assert refused("fcgi://0.0.0.0:0?allow=everybody").code == "bind.allow"
    with pytest.raises(ConfigError, match=r"bind\.allow"):
        networks("192.0.2.1,x", "FCGI_WEB_SERVER_ADDRS")


# -- T22: descriptors


def test_T22_no_listener_and_no_connection_is_inherited(path: Path) -> None:
    for text in (f"unix:{path}", "fcgi://127.0.0.1:0", f"unix:@{path}"):
        made = listener(text)
        assert not os.get_inheritable(made.fd)
        client = socket.socket(made.sock.family)
        client.connect(made.sock.getsockname())
        sock, _ = made.accept()
        assert not os.get_inheritable(sock.fileno())
        sock.close()
        client.close()
        made.close()


def test_T22_an_inherited_descriptor_is_not_passed_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as outer:
        os.set_inheritable(outer.fileno(), True)
        made = listener(f"fd://{outer.fileno()}")
        assert not os.get_inheritable(made.fd)
        made.close()


# -- T23: live, stale, foreign, ours


def test_T23_a_live_socket_is_not_stolen(path: Path) -> None:
    first = listener(f"unix:{path}")
    inode = path.stat().st_ino
    assert refused(f"unix:{path}").code == "bind.in_use"
    assert path.stat().st_ino == inode
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.close()
    first.close()


def test_T23_a_live_socket_of_a_full_queue_is_not_stolen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = []
        try:
            while True:
                client = socket.socket(socket.AF_UNIX)
                client.setblocking(False)
                waiting.append(client)
                client.connect(str(path))
        except BlockingIOError:  # full
            pass
        assert refused(f"unix:{path}").code == "bind.in_use"
        assert path.exists()
        for client in waiting:
            client.close()


def test_T23_a_stale_socket_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    made = listener(f"unix:{path}")
    assert mode(path) == 0o660
    made.close()


@pytest.mark.parametrize("kind", ["file", "folder", "fifo", "symlink", "datagram"])
def test_T23_what_is_no_socket_of_ours_is_left_alone(path: Path, kind: str) -> None:
    keeper = None
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        (path.parent / "target").write_text("precious")
        path.symlink_to(path.parent / "target")
    else:
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        keeper.bind(str(path))
    before = os.lstat(path)
    assert refused(f"unix:{path}").code == "bind.in_use"
    assert os.lstat(path) == before
    if keeper is not None:
        keeper.close()


def test_T23_ours_is_removed(path: Path) -> None:
    made = listener(f"unix:{path}")
    made.close()
    assert not path.exists()


def test_T23_somebody_elses_in_its_place_is_not(path: Path) -> None:
    made = listener(f"unix:{path}")
    path.unlink()
    other = listener(f"unix:{path}")
    made.close()
    assert path.exists()
    other.close()


def test_T23_a_second_close_touches_nothing(path: Path) -> None:
    """A drain closes early, the end closes again: a new daemon may have the path by then, and
    file systems like to give the same inode number again."""
    made = listener(f"unix:{path}")
    kept = path.with_name("kept")
    os.link(path, kept)
    made.close()
    os.rename(kept, path)  # the same inode, as the new daemon's socket may have
    made.close()
    assert path.exists()


def test_T23_two_starters_and_one_listener(path: Path) -> None:
    """Both find the stale socket; one gets the path, nobody a stack trace."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    got: list[object] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        try:
            got.append(listener(f"unix:{path}"))
        except ConfigError as error:
            got.append(error.code)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [item for item in got if isinstance(item, Listener)]
    assert winners
    assert {item for item in got if isinstance(item, str)} <= {"bind.in_use", "bind.failed"}
    for winner in winners:
        winner.close()


# -- the rest


def test_an_abstract_name(path: Path) -> None:
    made = listener(f"unix:@{path}")
    client = socket.socket(socket.AF_UNIX)
    client.connect(f"\0{path}")
    client.close()
    assert not path.exists()
    assert refused(f"unix:@{path}").code == "bind.failed"
    made.close()


FAILS = [
    ("absent folder", "unix:{tmp}/absent/s", "bind.failed", "create the folder"),
    ("long path", "unix:{tmp}/" + "x" * 120, "bind.path", "107"),
    ("no such name", "fcgi://127.0.0.1.example.invalid:0?allow=127.0.0.1", "bind.failed", ""),
    (
        "a label too long",
        "fcgi://" + "x" * 64 + ".invalid:0?allow=127.0.0.1",
        "bind.failed",
        "name",
    ),
    ("no label", "fcgi://a..invalid:0?allow=127.0.0.1", "bind.failed", "no host name"),
    ("no such id", "unix:{tmp}/s?owner=4294967295", "bind.owner", "4294967295"),
    ("far too large", "unix:{tmp}/s?group=" + "9" * 30, "bind.group", "999"),
    ("not ours", "fcgi://192.0.2.77:0?allow=127.0.0.1", "bind.failed", ""),
    ("closed descriptor", "fd://9999", "bind.failed", ""),
]


@pytest.mark.parametrize("row", FAILS, ids=[row[0] for row in FAILS])
def test_what_cannot_be_bound_says_why(tmp_path: Path, row) -> None:
    _, text, code, word = row
    error = refused(text.replace("{tmp}", str(tmp_path)))
    assert error.code == code
    assert word in error.detail


@pytest.mark.parametrize(("text", "code"), [
    ("unix:s?mode=rw", "bind.mode"), ("unix:s?backlog=x", "bind.backlog"),
    ("unix:/" + "s" * 107, "bind.path"), ("unix:@" + "s" * 108, "bind.path"),
    ("unix:@s?mode=0600", "bind.option"), ("unix:@s?group=0", "bind.option"),
    ("fcgi://127.0.0.1:1?mode=0600", "bind.option"), ("systemd:s?owner=0", "bind.option"),
    ("unix:s?allow=127.0.0.1", "bind.option"), ("unix:@s?allow=127.0.0.1", "bind.option"),
    ("fcgi://0.0.0.0:1", "bind.open"), ("fcgi://127.0.0.1:1?allow=x", "bind.allow"),
])  # fmt: skip
def test_what_is_written_wrong_is_found_without_opening(text: str, code: str) -> None:
    with pytest.raises(ConfigError) as raised:
        examine(parse_bind(text))
    assert raised.value.code == code


def test_examine_opens_nothing(path: Path) -> None:
    examine(parse_bind(f"unix:{path}?mode=0600&owner=no-such-user"))
    assert not path.exists()


def test_a_port_that_is_taken_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = refused(f"fcgi://127.0.0.1:{taken.getsockname()[1]}")
    assert error.code == "bind.failed"
    assert "another program" in error.detail


def test_a_descriptor_that_does_not_listen() -> None:
    with socket.socket() as idle:
        assert refused(f"fd://{idle.fileno()}").code == "bind.fd"
    read, write = os.pipe()
    assert refused(f"fd://{read}").code.startswith("bind.")
    os.close(read)
    os.close(write)


def test_no_descriptor_is_left_by_a_failure(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made = listener(f"unix:{path}")
    for text in (f"unix:{path}", "fcgi://192.0.2.77:0?allow=127.0.0.1", f"unix:{path}/x/y"):
        refused(text)
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_backlog_is_what_was_asked_or_the_systems_most() -> None:
    assert backlog(parse_bind("unix:/x?backlog=7")) == 7
    assert backlog(parse_bind("unix:/x")) == min(4096, somaxconn())
    for wrong in ("x", "-1", "99999", ""):
        with pytest.raises(ConfigError, match=r"bind\.(backlog|option)"):
            backlog(parse_bind(f"unix:/x?backlog={wrong}"))


def test_F111_a_burst_of_connections_waits_in_the_queue(path: Path) -> None:
    made = listener(f"unix:{path}")
    clients = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    for client in clients:
        client.setblocking(False)
        client.connect(str(path))  # a queue that is full would raise here: EAGAIN, nginx's 502
    for client in clients:
        client.close()
    made.close()


DESCRIBED = [("unix:{tmp}/s?mode=0600", "unix:{tmp}/s"), ("scgi+unix:{tmp}/s", "scgi+unix:{tmp}/s")]


@pytest.mark.parametrize(("text", "said"), DESCRIBED)
def test_it_says_where_it_listens(tmp_path: Path, text: str, said: str) -> None:
    made = listener(text.replace("{tmp}", str(tmp_path)))
    assert made.text == said.replace("{tmp}", str(tmp_path))
    made.close()


def test_port_0_becomes_the_port_it_got() -> None:
    made = listener("http://127.0.0.1:0")
    assert made.text == f"http://127.0.0.1:{made.sock.getsockname()[1]}"
    made.close()
