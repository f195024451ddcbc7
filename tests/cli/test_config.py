"""gatebridge config: show, schema, init."""

import json
import tomllib
from pathlib import Path

from tests.cli.run import run, said


def test_show_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    words = ["--threads", "3", "--bind", "unix:s", "--limit-body", "16MiB"]
    shown = run(tmp_path, "config", "show", "shop:app", *words)
    assert (shown.returncode, shown.stderr) == (0, "")
    (tmp_path / "g.toml").write_text(shown.stdout)
    assert run(tmp_path, "config", "show", "-c", "g.toml").stdout == shown.stdout
    found = tomllib.loads(shown.stdout)
    assert found["server"]["threads"] == 3
    assert found["limits"]["limit_body"] == "16MiB"
    assert found["app"] == [{"target": "shop:app"}]


def test_show_tells_the_origin_of_every_value(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text('app = "shop:app"\n[server]\nthreads = 3\nnice = 2\n')
    shown = run(tmp_path, "config", "show", "-c", "g.toml", "--origin", "--nice", "4",
                GATEBRIDGE_PM="ondemand", GATEBRIDGE_CMD_ARGS="--umask 027")  # fmt: skip
    origins = dict(line.split("  # ") for line in shown.stdout.splitlines() if "  # " in line)
    said_by = {line.strip(): origin for line, origin in origins.items()}
    assert said_by["threads = 3"] == f"{tmp_path}/g.toml:3"
    assert said_by["nice = 4"] == "--nice"
    assert said_by['pm = "ondemand"'] == "GATEBRIDGE_PM"
    assert said_by['umask = "027"'] == "GATEBRIDGE_CMD_ARGS --umask"
    assert said_by['user = ""'] == "default"
    assert said_by["[[app]]"] == f"{tmp_path}/g.toml:1"


def test_show_as_json(tmp_path: Path) -> None:
    shown = run(tmp_path, "config", "show", "shop:app", "--json", "--timeout", "1m")
    found = json.loads(shown.stdout)
    (pool,) = found["pools"]
    assert pool["name"] == "main"
    (app,) = pool["apps"]
    assert (app["match"], app["target"], app["new"]) == ("", "shop:app", "")
    assert pool["settings"]["timeout"] == 60
    assert "origins" not in found
    shown = run(tmp_path, "config", "show", "shop:app", "--json", "--origin", "--timeout", "1m")
    assert json.loads(shown.stdout)["origins"]["pool.main.timeout"] == "--timeout"


def test_show_tells_every_problem(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text("app = 'a:b'\n[server]\nthreads = 0\nworker = 1\n")
    done = run(tmp_path, "config", "show", "-c", "g.toml")
    assert done.returncode == 2
    lines = said(done).splitlines()
    assert lines[0] == "gatebridge: config.invalid: 2 problems"
    assert lines[1].startswith(f"{tmp_path}/g.toml:3: server.threads: ")
    assert lines[2].startswith(f"{tmp_path}/g.toml:4: server.worker: ")


def test_schema_is_json(tmp_path: Path) -> None:
    done = run(tmp_path, "config", "schema")
    assert json.loads(done.stdout)["title"] == "gatebridge.toml"


def test_init_prints_or_writes_and_never_overwrites(tmp_path: Path) -> None:
    printed = run(tmp_path, "config", "init").stdout
    done = run(tmp_path, "config", "init", "g.toml")
    assert done.stdout == "wrote g.toml\n"
    assert (tmp_path / "g.toml").read_text() == printed
    again = run(tmp_path, "config", "init", "g.toml")
    assert "config.exists" in said(again)
    assert again.returncode == 2
    assert (tmp_path / "g.toml").read_text() == printed
    assert run(tmp_path, "config", "init", "absent/g.toml").returncode == 2
    assert run(tmp_path, "config", "show", "-c", "g.toml").returncode == 0
