"""The socket, broken in each way that the doctor knows, and sound."""

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from gatebridge.wire.records import GET_VALUES_RESULT, record
from tests.cli.daemon import STATUS, status
from tests.control_stand import Answering
from tests.doctor.set_up import Fake, doctor, first, ids

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
NOBODY = "65534"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the socket is: every user may enter it, unlike pytest's own."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="gb-doctor-", dir="/var/tmp"))
    made.chmod(0o755)
    monkeypatch.chdir(made)
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def machine(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "machine")


Behaviour = Callable[[socket.socket], None]


@contextmanager
def peer(sock: socket.socket, behave: Behaviour) -> Iterator[None]:
    """Serve connections one by one until the end."""
    ended = threading.Event()

    def run() -> None:
        while True:
            try:
                connection, _ = sock.accept()
            except OSError:
                return
            with connection:
                if ended.is_set():
                    return
                connection.settimeout(10)
                try:
                    behave(connection)
                except OSError:
                    pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        with closing(socket.socket(sock.family)) as last:
            last.connect(sock.getsockname())
        thread.join()
        sock.close()


def fastcgi(connection: socket.socket) -> None:
    while connection.recv(4096):
        connection.sendall(record(GET_VALUES_RESULT, 0, b""))


def fastcgi_once(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(record(GET_VALUES_RESULT, 0, b""))


def http(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        if not piece:
            return
        data += piece
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def listening(path: str = "s", mode: int = 0o666, queue: int = 16) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    os.chmod(path, mode)
    sock.listen(queue)
    return sock


def tcp() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def place(sock: socket.socket, scheme: str = "fcgi") -> str:
    return f"{scheme}://127.0.0.1:{sock.getsockname()[1]}"


def test_a_sound_unix_socket(folder: Path, machine: Fake) -> None:
    machine.write("/proc/sys/net/core/somaxconn", "4096\n")
    with peer(listening(), fastcgi):
        report = doctor(machine, binds=("unix:s?backlog=4096",))
    assert (ids(report), report.undecided) == ([], [])


@AS_ROOT
def test_a_unix_socket_that_is_open_to_the_front_server_s_user(folder: Path, machine: Fake) -> None:
    with closing(listening()):
        report = doctor(machine, binds=("unix:s",), front_user=NOBODY)
    assert (ids(report), report.undecided) == ([], [])


def test_a_sound_port(folder: Path, machine: Fake) -> None:
    sock = tcp()
    with peer(sock, fastcgi):
        assert ids(doctor(machine, binds=(place(sock),))) == []


def test_a_sound_port_of_http(folder: Path, machine: Fake) -> None:
    sock = tcp()
    with peer(sock, http):
        assert ids(doctor(machine, binds=(place(sock, "http"),))) == []


def test_missing(folder: Path, machine: Fake) -> None:
    report = doctor(machine, binds=("unix:s",), command="gatebridge serve -c shop.toml")
    assert ids(report) == ["socket.missing"]
    assert report.found[0].finding.mend == "gatebridge serve -c shop.toml"


def test_missing_while_a_daemon_runs(folder: Path, machine: Fake) -> None:
    with Answering(folder / "ctl", status=status(pools={})) as daemon:
        report = doctor(machine, binds=("unix:s",), control_socket=daemon.path)
    assert first(report) == "socket.missing"
    assert "reload" in report.found[0].finding.mend


def test_a_file_in_the_socket_s_place(folder: Path, machine: Fake) -> None:
    (folder / "s").write_text("")
    assert ids(doctor(machine, binds=("unix:s",))) == ["socket.not_a_socket"]


def test_stale(folder: Path, machine: Fake) -> None:
    listening().close()
    assert ids(doctor(machine, binds=("unix:s",))) == ["socket.stale"]


@AS_ROOT
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o444])
def test_a_mode_that_keeps_the_front_server_s_user_out(
    folder: Path, machine: Fake, mode: int
) -> None:
    with closing(listening(mode=mode)):
        report = doctor(machine, binds=("unix:s",), front_user=NOBODY)
    assert ids(report) == ["socket.permission"]
    assert "?mode=0660&group=" in report.found[0].finding.mend


LEADS_HERE = "http { server { location / { fastcgi_pass unix:%s/s; } } }"


@AS_ROOT
@pytest.mark.parametrize("words", [(), ("nginx: master process nginx -c /srv/own.conf -q",)])
def test_the_front_server_s_user_is_that_of_its_processes(
    folder: Path, machine: Fake, words: tuple[str, ...]
) -> None:
    machine.process_is(41, "nginx", 0, words)
    machine.process_is(42, "nginx", 65534)
    file = "/srv/own.conf" if words else "/etc/nginx/nginx.conf"
    machine.write(file, LEADS_HERE % folder)
    with closing(listening(mode=0o600)):
        assert first(doctor(machine, binds=("unix:s",))) == "socket.permission"


@AS_ROOT
@pytest.mark.parametrize(("server", "text"), [
    ("nginx", ""),  # not to be read
    ("nginx", "http { server { location / { fastcgi_pass unix:/run/other; } } }"),
    ("caddy", LEADS_HERE),  # of a server that does not run
])  # fmt: skip
def test_another_server_s_user_says_nothing(
    folder: Path, machine: Fake, server: str, text: str
) -> None:
    """A private socket is right: who does not ask for it need not open it, nor share its /tmp."""
    machine.process_is(42, server, 65534)
    mounted = "36 35 98:0 /systemd-private-4f-x/tmp /var/tmp rw,noatime - ext4 /dev/a rw\n"
    machine.write("/proc/42/mountinfo", mounted)
    machine.write("/etc/nginx/nginx.conf", text.replace("%s", str(folder)))
    with peer(listening(mode=0o600), fastcgi):
        assert ids(doctor(machine, binds=("unix:s",))) == []


@AS_ROOT
def test_a_folder_that_may_not_be_searched(folder: Path, machine: Fake) -> None:
    (folder / "closed").mkdir(mode=0o700)
    with closing(listening("closed/s")):
        report = doctor(machine, binds=("unix:closed/s",), front_user=NOBODY)
    assert ids(report) == ["socket.folder"]
    assert report.found[0].finding.mend.startswith(f"chmod o+x {folder}/closed")


def test_modes_tell_where_nobody_may_try(
    folder: Path, machine: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatebridge.doctor.socket_checks.refuses", lambda whom, bind: None)
    with closing(listening(mode=0o600)):
        assert first(doctor(machine, binds=("unix:s",), front_user=NOBODY)) == "socket.permission"


@pytest.mark.parametrize(("enforces", "kind", "expected"), [
    ("1", "var_run_t", ["socket.selinux"]), ("1", "httpd_var_run_t", []), ("0", "var_run_t", []),
])  # fmt: skip
def test_selinux(
    folder: Path, machine: Fake, enforces: str, kind: str, expected: list[str]
) -> None:
    machine.write("/sys/fs/selinux/enforce", enforces)
    machine.labels["s"] = f"system_u:object_r:{kind}:s0"
    with peer(listening(), fastcgi):
        assert ids(doctor(machine, binds=("unix:s",))) == expected


@pytest.mark.parametrize(("root", "expected"), [
    ("/systemd-private-4f-nginx.service-x/tmp", "socket.private_tmp"), ("/", "socket.missing"),
])  # fmt: skip
def test_a_private_tmp(folder: Path, machine: Fake, root: str, expected: str) -> None:
    machine.process_is(42, "apache2", 33)
    machine.write("/proc/42/mountinfo", f"36 35 98:0 {root} /tmp rw,noatime - ext4 /dev/a rw\n")
    machine.write(
        "/etc/apache2/apache2.conf",
        'ProxyPass "/" "unix:/tmp/gatebridge-absent/s|fcgi://localhost/"\n'
        "<Location />\nCGIPassAuth On\n</Location>\n",
    )
    report = doctor(machine, binds=("unix:/tmp/gatebridge-absent/s",))
    assert first(report) == expected
    if expected == "socket.private_tmp":
        assert [(one.check.id, one.because) for one in report.found[1:]] == [
            ("socket.missing", "socket.private_tmp")
        ]


def test_a_port_that_is_refused(folder: Path, machine: Fake) -> None:
    sock = tcp()
    bind = place(sock)
    sock.close()
    assert ids(doctor(machine, binds=(bind,))) == ["socket.refused"]


def test_a_host_without_an_address(folder: Path, machine: Fake) -> None:
    assert ids(doctor(machine, binds=("fcgi://absent.invalid:9",))) == ["socket.unresolved"]


def test_another_protocol_at_the_port(folder: Path, machine: Fake) -> None:
    sock = tcp()
    with peer(sock, http):
        report = doctor(machine, binds=(place(sock),))
    assert ids(report) == ["socket.protocol"]
    assert "speaks http" in report.found[0].finding.cause


@pytest.mark.parametrize("scheme", ["scgi", "uwsgi", "http"])
def test_fastcgi_where_another_protocol_is_said(folder: Path, machine: Fake, scheme: str) -> None:
    sock = tcp()
    with peer(sock, fastcgi):
        assert ids(doctor(machine, binds=(place(sock, scheme),))) == ["socket.protocol"]


def running(bind: str, **fields: Any) -> dict[str, Any]:
    """A status of one pool that is well. fields: of its bind."""
    pool = {
        **STATUS["pools"]["main"],
        "binds": [{"text": bind, "backlog": 8, "queued": 0} | fields],
    }
    return status(pools={"main": pool})


def test_the_daemon_itself_says_which_protocol(folder: Path, machine: Fake) -> None:
    said = running("scgi+unix:s")
    with peer(listening(), http), Answering(folder / "ctl", status=said) as daemon:
        report = doctor(machine, binds=("unix:s",), control_socket=daemon.path)
    assert first(report) == "socket.protocol"
    assert "scgi+unix:s" in report.found[0].finding.evidence


def test_another_program_s_socket(folder: Path, machine: Fake) -> None:
    machine.process_is(os.getpid(), "php-fpm", 33, ("php-fpm: master process",))
    with peer(listening(), http):
        report = doctor(machine, binds=("unix:s",))
    assert [(one.check.id, one.because) for one in report.found] == [
        ("socket.stranger", ""),
        ("socket.protocol", "socket.stranger"),
    ]
    assert "php-fpm" in report.found[0].finding.evidence


def test_a_daemon_of_ours_is_no_stranger(folder: Path, machine: Fake) -> None:
    words = (sys.executable, "-m", "gatebridge", "serve")
    machine.process_is(os.getpid(), "python3", 33, words)
    with peer(listening(), fastcgi):
        assert ids(doctor(machine, binds=("unix:s",))) == []


def test_connections_that_are_not_kept(folder: Path, machine: Fake) -> None:
    with peer(listening(), fastcgi_once):
        report = doctor(machine, binds=("unix:s",))
    assert ids(report) == ["socket.keep_conn"]
    assert not report.is_broken


def test_a_backlog_above_the_system_s(folder: Path, machine: Fake) -> None:
    machine.write("/proc/sys/net/core/somaxconn", "128\n")
    with peer(listening(), fastcgi):
        assert ids(doctor(machine, binds=("unix:s?backlog=512",))) == ["socket.backlog"]


def test_a_queue_that_is_full(folder: Path, machine: Fake) -> None:
    said = running("unix:s", queued=8)
    with peer(listening(), fastcgi), Answering(folder / "ctl", status=said) as daemon:
        report = doctor(machine, binds=("unix:s",), control_socket=daemon.path)
    assert first(report) == "socket.queue"
