"""Whatever a file and the outside say: a configuration, or problems that name their places."""

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatebridge.config import Asked, examine
from gatebridge.config.document import TABLES
from gatebridge.config.text import show
from gatebridge.settings import Settings
from tests.config.test_resolve import VALUES

NAMES = [field.name for field in dataclasses.fields(Settings)]
OTHERS = ["app", "pool", "mount", "target", "reload", "server", "oops", "a b", "", "main", "x.y",
          "route", "match", "legacy", "new", "mode", "host", "methods", "concurrency"]  # fmt: skip

TEXTS = st.one_of(
    st.sampled_from(["", "auto", "30s", "16MiB", "-1", "1e3", "unix:a", "http://[::1]:1", "A=1",
                     "a:b", "/x", "*", "unix", "0x1", "off", "nofile=1", "\0", "%h", "'", "☃"]),
    st.text(max_size=8),
)  # fmt: skip
SCALARS = st.one_of(
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f")),
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-2, 200).map(str),
    st.floats().map(lambda number: str(number) if "." in str(number) else "nan"),
    st.booleans().map(lambda value: str(value).lower()),
    st.sampled_from(["1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"]),
    st.sampled_from([row[1] for row in VALUES.values()]),
)
KEYS = st.sampled_from([*NAMES, *NAMES, *TABLES, *OTHERS]).map(json.dumps)
VALUES_OF_ANY_KIND = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda pairs: "{" + ", ".join(f"{key} = {one}" for key, one in pairs.items()) + "}"
        ),
    ),
    max_leaves=6,
)
PAIRS = st.dictionaries(KEYS, VALUES_OF_ANY_KIND, max_size=5).map(
    lambda pairs: [f"{key} = {value}" for key, value in pairs.items()]
)
HEADERS = st.one_of(
    st.sampled_from([f"[{table}]" for table in TABLES]),
    st.sampled_from(["[[app]]", "[pool]", "[pool.a]", "[pool.b]", "[[pool.a.app]]", "[pool.a.env]",
                     "[[route]]", "[[pool.a.route]]", "[pool.b.limits]", "[pool.'x y']", "[[pool]]",
                     "[[server]]", "[a.b.c]"]),
)  # fmt: skip
PARTS = st.lists(st.tuples(HEADERS, PAIRS), max_size=5)


@st.composite
def files(draw: st.DrawFn) -> str:
    lines = draw(PAIRS)
    for header, pairs in draw(PARTS):
        lines += [header, *pairs]
    return "\n".join(lines)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files(), st.dictionaries(st.sampled_from(NAMES), TEXTS, max_size=3))
def test_any_file(tmp_path: Path, text: str, said: dict[str, str]) -> None:
    path = tmp_path / "g.toml"
    path.write_text(text, "utf-8")
    flags = {name: said[name] for name in said}
    environ = {f"GATEBRIDGE_{name.upper()}": value for name, value in said.items()}
    for asked in (
        Asked(file=str(path)),
        Asked(app="a:b", file=str(path), environ=environ),
        Asked(app="a:b", flags=flags),
    ):
        configuration, problems = examine(asked)
        assert (configuration is None) == bool(problems)
        for problem in problems:
            assert problem.reason
            assert "Traceback" not in str(problem)
            if problem.place.text.startswith(f"{path}:"):
                assert 1 <= problem.place.line <= text.count("\n") + 1
        if configuration is not None:
            again = tmp_path / "again.toml"
            again.write_text(show(configuration, with_origins=True), "utf-8")
            found, _ = examine(Asked(file=str(again)))
            assert found is not None
            assert found.pools == configuration.pools


@pytest.mark.parametrize("header", ["[server]", "[pool.a]"])
@pytest.mark.parametrize("name", NAMES)
def test_any_kind_of_value_for_any_option(tmp_path: Path, header: str, name: str) -> None:
    """None of them is taken for something else, and none of them is an exception."""
    path = tmp_path / "g.toml"
    for value in ("1", "-1", "1.5", "true", '""', '"x"', '"1"', "[]", "[1]", "[[]]", '["x"]', "{}",
                  "{ x = 1 }", '{ x = "1" }', "07:32:00", "1979-05-27", "nan", "[{}]"):  # fmt: skip
        path.write_text(f"app = 'a:b'\n{header}\n{name} = {value}\n")
        configuration, problems = examine(Asked(file=str(path)))
        if configuration is None:
            assert all(problem.place.line == 3 for problem in problems)
            continue
        found = getattr(configuration.pools[0].settings, name)
        default = getattr(Settings(), name)
        assert default is None or isinstance(found, type(default))
        raw = tomllib.loads(f"a = {value}")["a"]
        assert not isinstance(raw, bool) or isinstance(found, bool)
