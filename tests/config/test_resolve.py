"""Defaults, file, environment and flags: what counts, and that all of them mean the same."""

import dataclasses
import os
import shlex
from pathlib import Path

import click
import pytest

from gatebridge.cli.options import read_asked
from gatebridge.cli.serve import command
from gatebridge.config import MAIN, Asked, resolve, variable
from gatebridge.config.values import RLIMITS
from gatebridge.serve import privileges
from gatebridge.settings import (
    WORKERS_MOST,
    App,
    Configuration,
    Pool,
    Settings,
    worker_count,
)

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}

# Each option in a value that is not its default: words of a command line, TOML, what it becomes.
VALUES = {
    "bind": ("--bind unix:a --bind scgi://[::1]:9000", '["unix:a", "scgi://[::1]:9000"]',
             ("unix:a", "scgi://[::1]:9000")),
    "workers": ("--workers 3", "3", "3"),
    "threads": ("--threads 16", "16", 16),
    "engine": ("--engine flup", '"flup"', "flup"),
    "worker_class": ("--worker-class gevent", '"gevent"', "gevent"),
    "interface": ("--interface asgi2", '"asgi2"', "asgi2"),
    "root_path_style": ("--root-path-style strip", '"strip"', "strip"),
    "lifespan": ("--lifespan off", '"off"', "off"),
    "worker_connections": ("--worker-connections 2000", "2000", 2000),
    "mount": ("--mount /app", '"/app"', "/app"),
    "front": ("--front apache", '"apache"', "apache"),
    "forwarded_allow_ips": ("--forwarded-allow-ips 10.0.0.0/8,unix", '["10.0.0.0/8", "unix"]',
                            "10.0.0.0/8,unix"),
    "checked_user": ("--checked-user", "true", True),
    "send_file": ("--send-file nginx=/srv/files", '"nginx=/srv/files"', "nginx=/srv/files"),
    "chdir": ("--chdir inner", '"inner"', "inner"),
    "pythonpath": ("--pythonpath lib,src", '["lib", "src"]', "lib,src"),
    "max_queue": ("--max-queue 0", "0", 0),
    "limit_params": ("--limit-params 64KiB", '"64KiB"', 1 << 16),
    "limit_pairs": ("--limit-pairs 10", "10", 10),
    "limit_body": ("--limit-body 16MiB", '"16MiB"', 16 << 20),
    "limit_connections": ("--limit-connections 10", "10", 10),
    "header_timeout": ("--header-timeout 1m", '"1m"', 60.0),
    "body_timeout": ("--body-timeout 0.5", "0.5", 0.5),
    "send_timeout": ("--send-timeout 500ms", '"500ms"', 0.5),
    "graceful_timeout": ("--graceful-timeout 45", "45", 45.0),
    "spool_memory": ("--spool-memory 1000", "1000", 1000),
    "spool_dir": ("--spool-dir .", '"."', "."),
    "spool_floor": ("--spool-floor 1GiB", '"1GiB"', 1 << 30),
    "multiplex": ("--no-multiplex", "false", False),
    "access_logfile": ("--access-logfile -", '"-"', "-"),
    "access_logformat": ("--access-logformat '%m %U'", "'%m %U'", "%m %U"),
    "access_log_json": ("--access-log-json", "true", True),
    "error_logfile": ("--error-logfile log/error", '"log/error"', "log/error"),
    "log_level": ("--log-level debug", '"debug"', "debug"),
    "pm": ("--pm ondemand", '"ondemand"', "ondemand"),
    "min_spare_servers": ("--min-spare-servers 3", "3", 3),
    "max_spare_servers": ("--max-spare-servers 4", "4", 4),
    "process_idle_timeout": ("--process-idle-timeout 1h", '"1h"', 3600.0),
    "preload": ("--preload", "true", True),
    "timeout": ("--timeout 30s", '"30s"', 30.0),
    "loop": ("--loop asyncio", '"asyncio"', "asyncio"),
    "disconnect_timeout": ("--disconnect-timeout 3", "3", 3.0),
    "limit_message": ("--limit-message 1MiB", '"1MiB"', 1 << 20),
    "websocket_ping": ("--websocket-ping 5", "5", 5.0),
    "queue_timeout": ("--queue-timeout 2s", "2", 2.0),
    "max_requests": ("--max-requests 1000", "1000", 1000),
    "max_requests_jitter": ("--max-requests-jitter 50", "50", 50),
    "max_lifetime": ("--max-lifetime 1d", '"1d"', 86_400.0),
    "max_rss": ("--max-rss 512MiB", '"512MiB"', 512 << 20),
    "warmup": ("--warmup /warm?deep=1", '"/warm?deep=1"', "/warm?deep=1"),
    "user": ("--user www-data", '"www-data"', "www-data"),
    "group": ("--group 33", '"33"', "33"),
    "umask": ("--umask 027", '"027"', "027"),
    "env": ("--env A=1 --env 'B=two words'", '{ A = "1", B = "two words" }',
            ("A=1", "B=two words")),
    "env_file": ("--env-file .env", '".env"', ".env"),
    "nice": ("--nice -5", "-5", -5),
    "rlimit": ("--rlimit nofile=1024 --rlimit as=1GiB:unlimited",
               '{ nofile = 1024, as = "1GiB:unlimited" }', ("nofile=1024", "as=1GiB:unlimited")),
    "status_path": ("--status-path /status", '"/status"', "/status"),
    "ping_path": ("--ping-path /ping", '"/ping"', "/ping"),
    "status_allow": ("--status-allow 10.0.0.1", '["10.0.0.1"]', "10.0.0.1"),
    "idle_exit": ("--idle-exit 5m", '"5m"', 300.0),
    "slowlog_timeout": ("--slowlog-timeout 2s", '"2s"', 2.0),
    "slowlog": ("--slowlog slow.log", '"slow.log"', "slow.log"),
    "capture_output": ("--capture-output", "true", True),
    "reload": ("--reload", "true", True),
    "reload_engine": ("--reload-engine stat", '"stat"', "stat"),
    "reload_interval": ("--reload-interval 250ms", '"250ms"', 0.25),
    "reload_exclude": ("--reload-exclude '*.log'", '["*.log"]', ("*.log",)),
    "reload_extra_file": ("--reload-extra-file a --reload-extra-file b", '["a", "b"]', ("a", "b")),
    "pid": ("--pid run/pid", '"run/pid"', "run/pid"),
    "daemon": ("--daemon", "true", True),
    "control_socket": ("--control-socket run/ctl", '"run/ctl"', "run/ctl"),
    "name": ("--name shop", '"shop"', "shop"),
    "route_state": ("--route-state routes", '"routes"', "routes"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", {})


def by_flags(words: str, app: str = "shop:app") -> Configuration:
    """What `gatebridge serve` makes of a command line."""
    with command.make_context("serve", [*([app] if app else []), *shlex.split(words)]) as context:
        given = context.params
        return resolve(read_asked(given.pop("app"), given.pop("config"), given))


def by_file(text: str, **more: object) -> Configuration:
    Path("gatebridge.toml").write_text(text)
    return resolve(Asked(file="gatebridge.toml", **more))


def main(settings: Settings) -> tuple[Pool, ...]:
    return (Pool(MAIN, settings, (App("", "shop:app"),)),)


def test_every_option_has_a_row() -> None:
    assert VALUES.keys() == FIELDS.keys()


@pytest.mark.parametrize("name", VALUES)
def test_every_option_is_said_by_flag_environment_and_file(name, monkeypatch) -> None:
    words, toml, value = VALUES[name]
    wanted = dataclasses.replace(Settings(), **{name: value})
    assert wanted != Settings()
    table = FIELDS[name].metadata["table"]
    file = f'app = "shop:app"\n[{table}]\n{name} = {toml}\n'
    flag = words.split()[0]
    text = words.replace(f"{flag} ", "")  # several are parted as a shell does
    if isinstance(value, bool):
        text = "on" if value else "off"
    elif isinstance(value, str):
        text = value
    found = [
        by_flags(words),
        by_file(file),
        resolve(Asked(app="shop:app", environ={variable(name): text})),
    ]
    monkeypatch.setattr("os.environ", {"GATEBRIDGE_CMD_ARGS": words})
    found.append(by_flags(""))
    for configuration in found:
        assert configuration.pools == main(wanted)
        assert configuration.settings == wanted
    key = name if FIELDS[name].metadata["daemon"] else f"pool.main.{name}"
    line = f"{Path.cwd()}/gatebridge.toml:3"
    said = [flag, line, variable(name), f"GATEBRIDGE_CMD_ARGS {flag}"]
    assert [configuration.origins[key] for configuration in found] == said


def test_the_flags_of_serve_and_a_file_describe_the_same_settings() -> None:
    """All options at once."""
    tables: dict[str, list[str]] = {}
    for name, (_, toml, _) in VALUES.items():
        tables.setdefault(FIELDS[name].metadata["table"], []).append(f"{name} = {toml}")
    text = 'app = "shop:app"\n' + "".join(
        f"[{table}]\n{chr(10).join(lines)}\n" for table, lines in tables.items()
    )
    words = " ".join(row[0] for row in VALUES.values())
    wanted = Settings(**{name: row[2] for name, row in VALUES.items()})
    assert by_file(text).pools == by_flags(words).pools == main(wanted)
    Path("all.toml").write_text(text)
    assert by_flags("-c all.toml", app="").pools == main(wanted)
    assert by_flags("-c all.toml", app="").file == str(Path("all.toml").absolute())


@pytest.mark.parametrize("name", [name for name in FIELDS if not FIELDS[name].metadata["daemon"]])
def test_every_option_of_a_pool_is_said_flat_or_in_its_table(name) -> None:
    _, toml, value = VALUES[name]
    wanted = dataclasses.replace(Settings(), **{name: value})
    app = 'app = "shop:app"\n'
    flat = by_file(f"{app}[pool.main]\n{name} = {toml}\n")
    table = by_file(f"{app}[pool.main.{FIELDS[name].metadata['table']}]\n{name} = {toml}\n")
    assert flat.pools == table.pools == main(wanted)
    assert flat.settings == Settings()


SAID = [
    ({}, "1", "default"),
    ({"file": "2"}, "2", "gatebridge.toml:3"),
    ({"file": "2", "habit": "3"}, "3", "WEB_CONCURRENCY"),
    ({"habit": "3", "arguments": "4"}, "4", "GATEBRIDGE_CMD_ARGS --workers"),
    ({"file": "2", "arguments": "4", "variable": "5"}, "5", "GATEBRIDGE_WORKERS"),
    ({"habit": "3", "variable": "5", "flag": "6"}, "6", "--workers"),
    ({"file": "2", "habit": "3", "arguments": "4", "variable": "5", "flag": "6"}, "6", "--workers"),
    ({"file": "2", "habit": "", "variable": ""}, "2", "gatebridge.toml:3"),
]


@pytest.mark.parametrize(("said", "value", "origin"), SAID, ids=[" ".join(row[0]) for row in SAID])
def test_defaults_file_arguments_variables_flags(said, value, origin) -> None:
    text = f"\n[server]\nworkers = {said['file']}\n" if "file" in said else "\n"
    names = {"habit": "WEB_CONCURRENCY", "variable": "GATEBRIDGE_WORKERS"}
    configuration = by_file(
        'app = "shop:app"' + text,
        flags={"workers": said["flag"]} if "flag" in said else {},
        cmd_args={"workers": said["arguments"]} if "arguments" in said else {},
        environ={names[name]: text for name, text in said.items() if name in names},
    )
    assert configuration.pools[0].settings.workers == value
    assert configuration.origins["pool.main.workers"].endswith(origin)


def test_the_file_may_be_named_in_the_arguments(monkeypatch) -> None:
    Path("a.toml").write_text('app = "shop:app"\n[server]\nnice = 1\n')
    Path("b.toml").write_text('app = "shop:app"\n[server]\nnice = 2\n')
    monkeypatch.setattr("os.environ", {"GATEBRIDGE_CMD_ARGS": "-c a.toml --threads 2"})
    assert by_flags("", app="").pools == main(Settings(nice=1, threads=2))
    assert by_flags("-c b.toml", app="").pools == main(Settings(nice=2, threads=2))


WRONG_ARGUMENTS = ["--thread 2", "--threads", "shop:app", "'", "--pm static dynamic", "--help"]


@pytest.mark.parametrize("text", WRONG_ARGUMENTS)
def test_arguments_that_are_none(text: str, monkeypatch) -> None:
    monkeypatch.setattr("os.environ", {"GATEBRIDGE_CMD_ARGS": text})
    with pytest.raises(click.UsageError, match="GATEBRIDGE_CMD_ARGS"):
        by_flags("")


def test_an_application_is_needed() -> None:
    with pytest.raises(click.UsageError, match="-c FILE"):
        by_flags("", app="")


def test_a_list_replaces_a_list() -> None:
    text = 'app = "shop:app"\n[server]\nenv = { A = "1", B = "2" }\n[pool.main.env]\nA = "3"\n'
    assert by_file(text).pools[0].settings.env == ("A=3",)
    assert by_file(text, flags={"env": ("C=4",)}).pools[0].settings.env == ("C=4",)


def test_the_habits_of_platforms() -> None:
    environ = {"PORT": "5000", "FORWARDED_ALLOW_IPS": "*", "WEB_CONCURRENCY": "auto"}
    (pool,) = resolve(Asked(app="shop:app", environ=environ)).pools
    assert pool.settings.bind == ("http://127.0.0.1:5000",)
    assert pool.settings.forwarded_allow_ips == "*"
    assert pool.settings.workers == "auto"


def test_auto_is_one_worker_for_each_processor_that_we_may_use(monkeypatch) -> None:
    assert worker_count("3") == 3
    assert worker_count("auto") >= 1
    if hasattr(os, "process_cpu_count"):
        monkeypatch.delattr("os.process_cpu_count")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 5, 7}, raising=False)
    assert worker_count("auto") == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(500)))
    assert worker_count("auto") == WORKERS_MOST
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert worker_count("auto") == 1


@pytest.mark.parametrize("word", ["on", "true", "YES", "1"])
def test_words_for_on(word: str) -> None:
    environ = {"GATEBRIDGE_PRELOAD": word}
    assert resolve(Asked(app="a:b", environ=environ)).settings.preload is True


@pytest.mark.parametrize("word", ["off", "false", "No", "0"])
def test_words_for_off(word: str) -> None:
    environ = {"GATEBRIDGE_MULTIPLEX": word}
    assert resolve(Asked(app="a:b", environ=environ)).settings.multiplex is False


def test_variables_that_are_no_options_are_left_alone() -> None:
    """A Service named gatebridge makes Kubernetes set such names."""
    environ = {"GATEBRIDGE_PORT": "tcp://10.0.0.1:80", "GATEBRIDGE_POLLER": "epoll"}
    assert resolve(Asked(app="shop:app", environ=environ)).pools == main(Settings())


POOLS = """
[server]
threads = 4
user = "www-data"
[log]
log_level = "warning"
[[app]]
target = "shop:app"

[pool.shop]
bind = "unix:shop"
[pool.admin]
bind = ["unix:admin", "http://127.0.0.1:0"]
threads = 1
[pool.admin.limits]
limit_body = "1GiB"
max_queue = 5
[pool.admin.env]
ROLE = "admin"
[[pool.admin.app]]
mount = "/admin/"
target = "admin:app"
[[pool.admin.app]]
target = "admin:root"
"""


def test_several_pools() -> None:
    configuration = by_file(POOLS, flags={"max_requests": "7"})
    shop, admin = configuration.pools
    common = Settings(threads=4, user="www-data", log_level="warning", max_requests=7)
    assert configuration.settings == common
    assert shop == Pool(
        "shop", dataclasses.replace(common, bind=("unix:shop",)), (App("", "shop:app"),)
    )
    assert admin.apps == (App("/admin", "admin:app"), App("", "admin:root"))
    assert admin.settings == dataclasses.replace(
        common,
        bind=("unix:admin", "http://127.0.0.1:0"),
        threads=1,
        limit_body=1 << 30,
        max_queue=5,
        env=("ROLE=admin",),
    )
    file = configuration.file
    wanted = {
        "log_level": f"{file}:6",
        "pool.shop.threads": f"{file}:3",
        "pool.admin.threads": f"{file}:14",
        "pool.admin.env": f"{file}:18",
        "pool.shop.app": f"{file}:7",
        "pool.admin.app": f"{file}:20",
        "pool.admin.max_requests": "--max-requests",
        "pool.admin.nice": "default",
    }
    assert {key: configuration.origins[key] for key in wanted} == wanted


def test_one_pool_may_have_any_name_and_an_application_from_outside() -> None:
    text = "[server]\nbind = 'unix:s'\n[pool.shop]\nthreads = 2\n"
    (pool,) = by_file(text, app="shop:app", flags={"bind": ("unix:t",)}).pools
    assert pool == Pool("shop", Settings(bind=("unix:t",), threads=2), (App("", "shop:app"),))


def test_an_application_outside_replaces_those_of_the_file() -> None:
    text = '[[app]]\nmount = "/a"\ntarget = "a:b"\n[[app]]\ntarget = "c:d"\n'
    (pool,) = by_file(text, app="shop:app").pools
    assert pool.apps == (App("", "shop:app"),)


@pytest.mark.parametrize("text", ['app = "shop:app"', '[[app]]\ntarget = "shop:app"',
                                  'app = [{ mount = "/", target = "shop:app" }]',
                                  '[pool.main]\napp = "shop:app"'])  # fmt: skip
def test_ways_to_name_an_application(text: str) -> None:
    assert by_file(text).pools == main(Settings())


def test_it_can_be_read_again() -> None:
    asked = Asked(file="gatebridge.toml", flags={"threads": "2"})
    Path("gatebridge.toml").write_text('app = "shop:app"')
    assert resolve(asked).pools == main(Settings(threads=2))
    Path("gatebridge.toml").write_text('app = "shop:app"\n[server]\nnice = 1\nthreads = 3')
    assert resolve(asked).pools == main(Settings(threads=2, nice=1))


def test_the_names_of_limits_are_those_that_workers_know() -> None:
    assert sorted(RLIMITS) == sorted(privileges._LIMITS)
