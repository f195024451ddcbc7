"""What config show, init and schema print: it reads back as what it says."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from gatebridge.config import Asked, resolve
from gatebridge.config.schema import schema
from gatebridge.config.text import sample, show, toml_value
from gatebridge.settings import App, Settings
from tests.config.test_problems import APP as APP_LINE
from tests.config.test_problems import APPS, ROWS
from tests.config.test_resolve import POOLS, VALUES

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)


def read(text: str):
    Path("read.toml").write_text(text)
    return resolve(Asked(file="read.toml"))


def all_values() -> Settings:
    return Settings(**{name: row[2] for name, row in VALUES.items()})


@pytest.mark.parametrize("settings", [Settings(), all_values()], ids=["defaults", "all"])
def test_what_is_shown_reads_back_as_the_same(settings: Settings) -> None:
    flags = {
        name: value if isinstance(value, (bool, tuple)) else str(value)
        for name, value in dataclasses.asdict(settings).items()
        if value is not None
    }
    configuration = resolve(Asked(app="shop:app", flags=flags))
    assert configuration.settings == settings
    for with_origins in (False, True):
        again = read(show(configuration, with_origins))
        assert (again.pools, again.settings) == (configuration.pools, settings)


def test_several_pools_read_back_as_the_same() -> None:
    configuration = read(POOLS + '[pool."a.b"]\nbind="unix:c"\nreload = true\nmount = "/x"')
    assert [pool.name for pool in configuration.pools] == ["shop", "admin", "a.b"]
    assert read(show(configuration, True)).pools == configuration.pools


def test_origins_stand_behind_their_lines() -> None:
    configuration = resolve(
        Asked(app="shop:app", flags={"threads": "2"}, environ={"GATEBRIDGE_LOG_LEVEL": "debug"})
    )
    lines = [line.split("  # ") for line in show(configuration, True).splitlines() if "#" in line]
    said = {line.split(" =")[0].strip(): origin for line, origin in lines}
    assert said["threads"] == "--threads"
    assert said["log_level"] == "GATEBRIDGE_LOG_LEVEL"
    assert said["nice"] == "default"
    assert said["[[app]]"] == "APP"
    assert said.keys() - {"[[app]]"} == FIELDS.keys() - {"mount"}  # None: TOML has no word for it


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\t", "\x7f", "é", "\0", "#", "a\\u0041", "'''"])
def test_a_text_is_quoted(text: str) -> None:
    (value,) = tomllib.loads(f"a = {toml_value('user', text)}").values()
    assert value == text


@pytest.mark.parametrize("value", [0.0, 1 / 3, 1e-12, 123456.789, 90.0, 3600.0])
def test_a_time_is_shown_exactly(value: float) -> None:
    (found,) = read(f'app = "a:b"\n[server]\ntimeout = {toml_value("timeout", value)}').pools
    assert found.settings.timeout == value


# -- the sample


def test_the_sample_parses_and_equals_the_defaults() -> None:
    (pool,) = read(sample()).pools
    assert pool.settings == Settings()
    assert pool.apps == (App("", "module:application"),)


def test_the_samples_options_are_the_defaults_too() -> None:
    """Every comment that is an option, taken as one."""
    text = sample().partition("\n[[app]]")[0]
    options = re.sub(r"(?m)^#(\w+ = )", r"\1", text)
    assert len(re.findall(r"(?m)^\w+ = ", options)) == len(FIELDS)
    (pool,) = read(f"{options}\n[[app]]\ntarget = 'module:application'").pools
    assert pool.settings == dataclasses.replace(Settings(), mount="/app")


def test_the_samples_last_comments_are_right() -> None:
    text = re.sub(r"(?m)^#(\w+ = |\[)", r"\1", sample().partition("\n[[app]]")[2])
    pool = read(f"[[app]]{text}").pools[0]
    assert pool.name == "shop"
    assert pool.settings.env == ("SHOP_SETTINGS=live",)


def test_the_sample_tells_what_the_options_are() -> None:
    words = " ".join(sample().replace("\n#", " ").split())
    for field in FIELDS.values():
        assert field.metadata["help"].split(";")[0] in words
    assert max(len(line) for line in sample().splitlines()) <= 100


DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "config.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_documents_examples_are_right(text: str) -> None:
    read(text)
    assert valid(text)


# -- the schema


class Validator:
    """JSON Schema, as far as ours uses it."""

    def __init__(self, root: dict) -> None:
        self.root = root

    def holds(self, value: object, rule: dict) -> bool:
        return all(getattr(self, f"_{key.strip('$')}")(value, wanted, rule)
                   for key, wanted in rule.items() if key not in self.REMARKS)  # fmt: skip

    REMARKS = ("$schema", "$defs", "title", "description", "default")
    TYPES = {"object": dict, "array": list, "string": str, "boolean": bool,
             "integer": int, "number": (int, float)}  # fmt: skip

    def _type(self, value, wanted, rule) -> bool:
        names = [wanted] if isinstance(wanted, str) else wanted
        return any(
            isinstance(value, self.TYPES[name]) and (isinstance(value, bool) == (name == "boolean"))
            for name in names
        )

    def _ref(self, value, wanted, rule) -> bool:
        found = self.root
        for part in wanted.removeprefix("#/").split("/"):
            found = found[part]
        return self.holds(value, found)

    def _anyOf(self, value, wanted, rule) -> bool:
        return any(self.holds(value, one) for one in wanted)

    def _enum(self, value, wanted, rule) -> bool:
        return value in wanted

    def _pattern(self, value, wanted, rule) -> bool:
        return re.search(wanted, value) is not None

    def _minimum(self, value, wanted, rule) -> bool:
        return value >= wanted

    def _maximum(self, value, wanted, rule) -> bool:
        return value <= wanted

    def _required(self, value, wanted, rule) -> bool:
        return value.keys() >= set(wanted)

    def _items(self, value, wanted, rule) -> bool:
        return all(self.holds(one, wanted) for one in value)

    def _properties(self, value, wanted, rule) -> bool:
        return all(self.holds(one, wanted[key]) for key, one in value.items() if key in wanted)

    def _patternProperties(self, value, wanted, rule) -> bool:
        return all(self.holds(one, inner) for pattern, inner in wanted.items()
                   for key, one in value.items() if re.search(pattern, key))  # fmt: skip

    def _additionalProperties(self, value, wanted, rule) -> bool:
        named = rule.get("properties", {})
        patterns = rule.get("patternProperties", {})
        rest = [one for key, one in value.items()
                if key not in named and not any(re.search(p, key) for p in patterns)]  # fmt: skip
        return not rest if wanted is False else all(self.holds(one, wanted) for one in rest)


def valid(text: str) -> bool:
    return Validator(schema()).holds(tomllib.loads(text), schema())


@pytest.mark.parametrize("name", VALUES)
def test_the_schema_takes_every_option(name: str) -> None:
    table, toml = FIELDS[name].metadata["table"], VALUES[name][1]
    assert valid(f'app = "a:b"\n[{table}]\n{name} = {toml}')
    of_daemon = FIELDS[name].metadata["daemon"]
    assert valid(f"[pool.a.{table}]\n{name} = {toml}") != of_daemon
    assert valid(f"[pool.a]\n{name} = {toml}") != of_daemon
    assert not valid(f"[{table}]\n{name} = 1979-05-27")
    default = schema()["properties"][table]["properties"][name].get("default", "")
    value = list(default) if isinstance(default, tuple) else default
    assert Validator(schema()).holds({table: {name: value}}, schema())


def test_the_schema_takes_the_sample_and_pools() -> None:
    assert valid(sample())
    assert valid(POOLS)


# What a schema can see: not what a text means, nor what two options say together.
SEEN = re.compile("unknown|key of another|key without|table that is none|number that is|boolean|"
                  "half a|too |below nothing|no time|no size|text that is none|without quotes|"
                  "a date|choices|workers by|no worker|limit$|daemon's|pools? that|without a "
                  "target|list of names|a number")  # fmt: skip


@pytest.mark.parametrize("row", [row for row in [*ROWS, *APPS] if SEEN.search(row[0])],
                         ids=lambda row: row[0])  # fmt: skip
def test_the_schema_refuses(row) -> None:
    assert not valid(APP_LINE + row[1] if row in ROWS else row[1])
