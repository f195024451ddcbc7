"""What keeps a daemon running: systemd units, logrotate, Docker, Compose, Kubernetes."""

import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gatebridge.bind import parse_bind
from gatebridge.errors import ConfigError
from gatebridge.fronts import docker, kubernetes, logrotate, systemd
from gatebridge.fronts.place import Place, Start
from gatebridge.fronts.yaml_text import listed, quoted
from tests.fronts.servers import REQUIRE

ODD = '/srv/a 50%$x"é#\\y'
ARGV = ("/bin/echo", "serve", "shop.wsgi:application", "--workers", "4")
FILE = "unix:/run/shop/shop.sock?group=web&mode=0600"


def place(
    *binds: str, argv: tuple[str, ...] = ARGV, folder: str = "/srv/shop", **more: object
) -> Place:
    told = tuple(parse_bind(text) for text in binds or (FILE,))
    at = {"listen", "tls", "static", "name"}
    start = Start(argv, folder, binds=told, **{k: v for k, v in more.items() if k not in at})
    return Place(
        told, **{"name": "shop", **{k: v for k, v in more.items() if k in at}}, start=start
    )


def values(text: str) -> dict[str, list[str]]:
    """Name -> values, of a unit."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def refused(code: str, make, *args) -> None:
    with pytest.raises(ConfigError) as caught:
        make(*args)
    assert caught.value.code == code
    assert len(caught.value.detail.split()) > 3


# -- the command


@pytest.mark.parametrize(
    "extra",
    [
        ("--bind", "unix:x"), ("-b", "unix:x"), ("--bind=unix:x",), ("-bunix:x",),
        ("--user", "u"), ("-u", "u"), ("--group=g",), ("--pid", "p"), ("-p", "p"), ("--daemon",),
        ("--control-socket", "c"), ("--chdir", "d"),
    ],
    ids=lambda extra: extra[0],
)  # fmt: skip
def test_what_a_service_does_itself_is_taken_out(extra: tuple[str, ...]) -> None:
    argv = (*ARGV[:2], *extra, *ARGV[2:])
    (line,) = values(systemd.config(place(argv=argv)))["ExecStart"]
    assert line == f"{' '.join(ARGV)} --bind systemd:shop"


@pytest.mark.parametrize("make", [systemd.config, docker.config, kubernetes.config])
def test_without_a_command_there_is_no_service(make) -> None:
    refused("conf.command", make, place(argv=()))


@pytest.mark.parametrize("make", [systemd, docker, kubernetes, logrotate])
def test_forms_that_are_none(make) -> None:
    refused("conf.form", make.config, place(logs=("/var/log/x",)), "odd")


# -- systemd


def test_the_socket_is_opened_as_the_bind_says() -> None:
    unit = values(systemd.config(place(f"{FILE}&owner=me&backlog=99"), "socket"))
    assert unit["ListenStream"] == ["/run/shop/shop.sock"]
    assert (unit["SocketUser"], unit["SocketGroup"], unit["SocketMode"]) == (
        ["me"],
        ["web"],
        ["0600"],
    )
    assert unit["Backlog"] == ["99"]
    assert unit["FileDescriptorName"] == ["shop"]


def test_a_tcp_socket_has_no_mode_and_keeps_who_may_connect() -> None:
    asked = place("scgi://0.0.0.0:9000?allow=10.0.0.5", "scgi://[::1]:9001?allow=10.0.0.5")
    unit = values(systemd.config(asked, "socket"))
    assert unit["ListenStream"] == ["0.0.0.0:9000", "[::1]:9001"]
    assert "SocketMode" not in unit
    (line,) = values(systemd.config(asked))["ExecStart"]
    assert line.endswith(" --bind scgi+systemd:shop?allow=10.0.0.5")
    assert line.count("--bind") == 1  # one name for both


def test_the_service_waits_longer_than_the_daemon_and_needs_the_socket() -> None:
    unit = values(systemd.config(place(user="shop", group="shop", stop=90.0)))
    assert unit["TimeoutStopSec"] == ["95"]
    assert unit["Requires"] == ["shop.socket"]
    assert (unit["User"], unit["Group"], unit["WorkingDirectory"]) == (
        ["shop"],
        ["shop"],
        ["/srv/shop"],
    )
    assert "DynamicUser" not in unit
    assert values(systemd.config(place()))["DynamicUser"] == ["yes"]


def test_the_runtime_folder_is_not_that_of_the_socket() -> None:
    """systemd removes it when the service stops, and with it a socket inside."""
    unit = values(systemd.config(place("unix:/run/gatebridge-shop/s")))
    assert unit["RuntimeDirectory"] == ["gatebridge-shop-run"]
    assert unit["Environment"] == ["GATEBRIDGE_CONTROL_SOCKET=/run/gatebridge-shop-run/ctl"]


@pytest.mark.parametrize(("folder", "home"), [("/srv/shop", "yes"), ("/home/me/shop", "read-only")])
def test_what_is_written_stays_writable_and_a_home_readable(folder: str, home: str) -> None:
    unit = values(systemd.config(place(folder=folder, logs=("/var/log/shop/e", "/var/log/shop/a"))))
    assert unit["ReadWritePaths"] == [f"-{folder} -/var/log/shop"]
    assert unit["ProtectHome"] == [home]
    assert unit["NoNewPrivileges"] == ["yes"]


def test_words_are_quoted_as_systemd_reads_them() -> None:
    argv = ("/bin/echo", 'a "b" $HOME %i \\n', ";", "#x", "", "plain")
    unit = values(systemd.config(place(argv=argv, folder="/srv/a 50%$x")))
    (line,) = unit["ExecStart"]
    assert line.startswith('/bin/echo "a \\"b\\" $$HOME %%i \\\\n" ";" "#x" "" plain --bind')
    assert unit["WorkingDirectory"] == ["/srv/a 50%%$x"]  # no quotes, no variables there
    assert unit["ReadWritePaths"] == ['"-/srv/a 50%%$x"']


@pytest.mark.parametrize("folder", ["/srv/x\\", "/srv/x "])
def test_a_line_that_systemd_would_read_otherwise_is_refused(folder: str) -> None:
    refused("conf.quote", systemd.config, place(folder=folder))


def test_a_relative_folder_is_refused() -> None:
    refused("conf.folder", systemd.config, place(folder="shop"))


def test_a_template_has_the_instance_wherever_the_name_stands() -> None:
    argv = (
        "/srv/shop/.venv/bin/gatebridge",
        "serve",
        "-c",
        "/etc/gatebridge/shop.toml",
        "/shopping",
    )
    asked = place("unix:/run/shop/shop.sock", argv=argv, user="shop")
    unit = values(systemd.config(asked, "template"))
    assert unit["ExecStart"] == [
        "/srv/%i/.venv/bin/gatebridge serve -c /etc/gatebridge/%i.toml /shopping --bind systemd:%i"
    ]
    assert (unit["User"], unit["Requires"]) == (["%i"], ["shop@%i.socket"])
    unit = values(systemd.config(asked, "template-socket"))
    assert (unit["ListenStream"], unit["FileDescriptorName"]) == (["/run/%i/%i.sock"], ["%i"])


@pytest.mark.parametrize("bind", ["unix:/run/one.sock", "fcgi://127.0.0.1:9000", "unix:/run/50%i"])
@pytest.mark.parametrize("form", ["template", "template-socket"])
def test_instances_that_would_share_a_socket_are_refused(bind: str, form: str) -> None:
    refused("conf.unsupported", systemd.config, place(bind), form)


ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(not ANALYZE and not REQUIRE, reason="no systemd-analyze here")
@pytest.mark.parametrize("form", systemd.FORMS)
@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd"])
def test_systemd_accepts_it(tmp_path: Path, form: str, odd: bool) -> None:
    folder = tmp_path / ('a 50%$x"é#' if odd else "shop")
    folder.mkdir()
    words = ("%i", "$HOME", 'a "b"', ";", "\\n") if odd else ()
    asked = place(argv=(*ARGV, *words), folder=str(folder), user="root")
    at = "@" if form.startswith("template") else ""
    for suffix in ("socket", "service"):
        kind = f"template{'-socket' if suffix == 'socket' else ''}" if at else suffix
        (tmp_path / f"shop{at}.{suffix}").write_text(systemd.config(asked, kind))
    name = f"shop{at}.{'socket' if form.endswith('socket') else 'service'}"
    done = verify(tmp_path / name)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    (tmp_path / "alone").mkdir()
    alone = tmp_path / "alone" / name
    alone.write_text(systemd.whole((tmp_path / name).read_text(), form, ""))
    done = verify(alone)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(not ANALYZE and not REQUIRE, reason="no systemd-analyze here")
def test_systemd_refuses_what_is_none(tmp_path: Path) -> None:
    """So the row above can fail."""
    text = systemd.config(place(folder=str(tmp_path), user="root"))
    (tmp_path / "shop.service").write_text(text.replace("KillMode=mixed", "KillMode=odd"))
    assert "kill mode" in verify(tmp_path / "shop.service").stderr


def verify(unit: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )


# -- logrotate


def test_logs_are_moved_and_the_supervisor_is_told() -> None:
    text = logrotate.config(place(logs=("/var/log/a b/e", "/var/log/a b/a"), user="shop"))
    assert text.startswith('"/var/log/a b/e" "/var/log/a b/a" {\n')
    assert "    su shop shop\n" in text
    assert "    nocreate\n" in text
    assert "systemctl kill --kill-who=main --signal=USR1 shop.service" in text


def test_a_pid_file_names_whom_to_tell() -> None:
    text = logrotate.config(place(logs=("/var/log/e",), pid="/run/it's.pid"))
    assert "        test ! -s '/run/it'\"'\"'s.pid' || kill -USR1 " in text
    assert "systemctl" not in text


def test_logs_that_cannot_be_rotated() -> None:
    refused("conf.unsupported", logrotate.config, place())
    refused("conf.unsupported", logrotate.config, place(logs=("/var/log/e",)), "pid")
    refused("conf.quote", logrotate.config, place(logs=("/var/log/*",)))


LOGROTATE = shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
WAITING = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
print(signal.sigwait([signal.SIGUSR1]).name)
"""


@pytest.mark.skipif(not LOGROTATE and not REQUIRE, reason="no logrotate here")
def test_logrotate_moves_a_log_and_tells_the_process(tmp_path: Path) -> None:
    log, pid, unit = tmp_path / "a b's.log", tmp_path / "the pid", tmp_path / "unit"
    log.write_text("a line\n")
    user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(os.getegid())
    told = {"user": user.pw_name, "group": group.gr_name, "logs": (str(log),), "pid": str(pid)}
    unit.write_text(logrotate.config(place(**told)))
    unit.chmod(0o600)
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout.readline() == "ready\n"
        pid.write_text(f"{waiting.pid}\n")
        done = subprocess.run(
            [LOGROTATE, "--force", "--state", tmp_path / "state", unit],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert waiting.stdout.readline() == "SIGUSR1\n"
    assert not log.exists()
    assert (tmp_path / "a b's.log.1").read_text() == "a line\n"


# -- containers


def test_an_image_runs_the_command_in_its_own_folder() -> None:
    argv = (
        "/srv/shop/.venv/bin/gatebridge",
        "serve",
        "-c",
        "/srv/shop/g.toml",
        "--x",
        "/srv/shopping",
    )
    lines = docker.config(place(argv=argv)).splitlines()
    words = json.loads(lines[-1].removeprefix("CMD "))
    assert words[:4] == ["gatebridge", "serve", "-c", "/srv/app/g.toml"]
    assert words[4:6] == ["--x", "/srv/shopping"]
    assert words[6:] == ["--bind", "unix:/run/shop/shop.sock?mode=0666"]
    assert f"USER {docker.USER}" in lines
    assert not any(line.startswith("EXPOSE") for line in lines)


@pytest.mark.parametrize(
    ("bind", "told"),
    [
        (
            "fcgi://127.0.0.1:9000",
            "fcgi://0.0.0.0:9000?allow=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        ),
        ("http://127.0.0.1:8000?allow=10.1.2.3", "http://0.0.0.0:8000?allow=10.1.2.3"),
        ("uwsgi+unix:/run/shop/s", "uwsgi+unix:/run/shop/s?mode=0666"),
    ],
)
def test_a_container_is_reached_from_beside_it(bind: str, told: str) -> None:
    words = docker.words(place(bind))
    assert words[-2:] == ["--bind", told]
    parse_bind(told)


@pytest.mark.parametrize(
    "binds", [("unix:/run/a/s", "unix:/run/b/s"), ("unix:@shop",), ("unix:/run/s",)]
)
def test_sockets_that_containers_cannot_share(binds: tuple[str, ...]) -> None:
    refused("conf.unsupported", docker.config, place(*binds), "compose")


def test_compose_joins_the_two_by_the_socket() -> None:
    asked = place(argv=(*ARGV, "$HOME"), stop=60.0, listen="127.0.0.1:8080", tls=("/c", "/k"))
    said = yaml.safe_load(docker.config(asked, "compose"))
    ours, front = said["services"]["shop"], said["services"]["front"]
    assert ours["command"][5] == "$$HOME"
    assert ours["stop_grace_period"] == "65s"
    assert ours["healthcheck"]["test"] == ["CMD", "gatebridge", "ping"]
    assert (ours["read_only"], ours["cap_drop"]) == (True, ["ALL"])
    assert "ports" not in ours
    assert ours["volumes"] == ["shop-socket:/run/shop"]
    assert set(front["volumes"]) > {"shop-socket:/run/shop", "/c:/c:ro", "/k:/k:ro"}
    assert said["volumes"] == {"shop-socket": {}}
    assert front["ports"] == ["127.0.0.1:8080:8080"]
    assert front["depends_on"] == {"shop": {"condition": "service_healthy"}}


def test_compose_over_tcp_needs_no_volume() -> None:
    said = yaml.safe_load(docker.config(place("fcgi://127.0.0.1:9000"), "compose"))
    assert said["services"]["shop"]["expose"] == ["9000"]
    assert "volumes" not in said


def manifests(asked: Place, form: str = "") -> dict[str, dict]:
    return {one["kind"]: one for one in yaml.safe_load_all(kubernetes.config(asked, form))}


def test_pods_are_replaced_when_the_new_ones_are_ready() -> None:
    said = manifests(place("fcgi://127.0.0.1:9000", name="Shop_1", stop=60.0))
    deployment, service = said["Deployment"], said["Service"]
    assert deployment["metadata"]["name"] == service["metadata"]["name"] == "shop-1"
    spec = deployment["spec"]
    labels = {"app": "shop-1"}
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == labels
    assert service["spec"]["selector"] == labels
    assert service["spec"]["ports"] == [{"port": 9000, "targetPort": 9000}]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 75
    (ours,) = pod["containers"]
    assert ours["readinessProbe"]["exec"]["command"] == ["gatebridge", "ping"]
    assert ours["livenessProbe"]["exec"]["command"][:2] == ["gatebridge", "status"]
    assert ours["ports"] == [{"containerPort": 9000}]
    assert {one["name"] for one in ours["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    check_safe(pod)


def test_nginx_in_the_same_pod() -> None:
    said = manifests(place(listen="80"))
    pod = said["Deployment"]["spec"]["template"]["spec"]
    ours, front = pod["containers"]
    at = {one["name"]: one["mountPath"] for one in ours["volumeMounts"]}
    assert at["socket"] == "/run/shop"
    assert {"name": "socket", "mountPath": "/run/shop"} in front["volumeMounts"]
    assert front["ports"] == [{"containerPort": 8080}]
    assert said["Service"]["spec"]["ports"] == [{"port": 80, "targetPort": 8080}]
    text = said["ConfigMap"]["data"]["default.conf"]
    assert 'server "unix:/run/shop/shop.sock"' in text
    assert "listen 8080;" in text
    names = {one["name"] for one in ours["volumeMounts"] + front["volumeMounts"]}
    assert names == {one["name"] for one in pod["volumes"]}
    check_safe(pod)


def check_safe(pod: dict) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    for one in pod["containers"]:
        context = one["securityContext"]
        assert context["runAsUser"] > 0
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_what_a_pod_cannot_have() -> None:
    refused("conf.unsupported", kubernetes.config, place(), "deployment")
    refused("conf.unsupported", kubernetes.config, place("fcgi://127.0.0.1:9"), "sidecar")
    refused("conf.unsupported", kubernetes.config, place(tls=("/c", "/k")), "sidecar")


@pytest.mark.parametrize(
    "text", [ODD, "a: b", "- x", "\u2028\x85\ufeff", "\U0001f600", "yes", "", "#"]
)
def test_any_text_is_a_text_in_yaml(text: str) -> None:
    assert yaml.safe_load(f"x: {quoted(text)}") == {"x": text}
    assert yaml.safe_load(f"x: {listed([text, text])}") == {"x": [text, text]}


@pytest.mark.parametrize("make", [systemd, logrotate, docker, kubernetes])
def test_every_line_that_matters_has_its_reason(make) -> None:
    for form in make.FORMS:
        bind = "fcgi://127.0.0.1:9" if form == "deployment" else FILE
        text = make.config(replace(place(bind, logs=("/l/e",), pid="/run/p")), form)
        assert "# " in text
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
