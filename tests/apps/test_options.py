"""What can be said about a hosted program: read, or refused with a sentence."""

import pytest

from gatebridge.apps.options import ScriptOptions, parse_options
from gatebridge.errors import ConfigError

GOOD = [
    ("", ScriptOptions()),
    ("timeout=30s", ScriptOptions(timeout=30.0)),
    ("timeout=0", ScriptOptions(timeout=0.0)),
    ("timeout=5m&grace=500ms&linger=0", ScriptOptions(timeout=300.0, grace=0.5, linger=0.0)),
    ("memory=256MiB", ScriptOptions(limits={"as": 256 << 20})),
    ("cpu=1500ms", ScriptOptions(limits={"cpu": 2})),
    ("files=64&processes=8", ScriptOptions(limits={"nofile": 64, "nproc": 8})),
    ("head=16KiB", ScriptOptions(head=16_384)),
    ("arguments=yes&shellshock=drop", ScriptOptions(arguments=True, drop_shellshock=True)),
    ("env=TZ,GIT_PROJECT_ROOT", ScriptOptions(env=("TZ", "GIT_PROJECT_ROOT"))),
    ("path=/opt/bin:/bin", ScriptOptions(path="/opt/bin:/bin")),
    ("owner=any", ScriptOptions(check_owner=False)),
    ("owner=check&exec=descriptor", ScriptOptions(by_descriptor=True)),
    ("extensions=py,.pl", ScriptOptions(extensions=(".py", ".pl"))),
    ("preload=auto", ScriptOptions(preload=None)),
    ("preload=none", ScriptOptions(preload=())),
    ("preload=json,xml.dom&children=2", ScriptOptions(preload=("json", "xml.dom"), children=2)),
]


@pytest.mark.parametrize(("query", "options"), GOOD, ids=[row[0] or "nothing" for row in GOOD])
def test_understood(query: str, options: ScriptOptions) -> None:
    assert parse_options(query, "warm", True) == options


BAD = [
    ("timeuot=3", "did you mean 'timeout'?"),
    ("colour=red", "there are arguments,"),
    ("", "'' is no option"),
    ("timeout", "write timeout=VALUE"),
    ("timeout=1&timeout=2", "said twice"),
    ("timeout=fast", "'fast' is no time"),
    ("timeout=-1", "not between 0 and 7d"),
    ("timeout=8d", "not between 0 and 7d"),
    ("cpu=0", "end the program at once"),
    ("memory=lots", "'lots' is no size"),
    ("memory=1KiB", "not between"),
    ("memory=-5MiB", "not between"),
    ("files=1_0", "'1_0' is no number"),
    ("files= 9", "is no number"),
    ("files=٩", "is no number"),
    ("files=3", "not between 4"),
    ("processes=0", "not between 1"),
    ("head=10", "not between"),
    ("arguments=on", "neither yes nor no"),
    ("shellshock=no", "neither drop nor pass"),
    ("owner=all", "neither check nor any"),
    ("exec=fd", "neither descriptor nor path"),
    ("env=A,,B", "'' is no name of a variable"),
    ("env=A=B", "is no name of a variable"),
    ("env=LD\n", "is no name of a variable"),
    ("env=HTTP_PROXY", "CVE-2016-5385"),
    ("path=/bin:", "the script's own folder"),
    ("path=.:/bin", "the script's own folder"),
    ("path=/bin:bin", "the script's own folder"),
    ("extensions=*.py", "is no extension"),
    ("extensions=", "is no extension"),
    ("preload=os;sys", "is no name of a module"),
    ("children=0", "not between 1"),
]


@pytest.mark.parametrize(("query", "why"), BAD, ids=[repr(row[0]) for row in BAD])
def test_refused(query: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_options(query or "timeout=1&", "warm", True)
    assert refused.value.code == "target.option"
    assert why in refused.value.detail


@pytest.mark.parametrize("query", ["preload=json", "children=2"])
def test_what_only_a_warmed_interpreter_has_is_refused_for_others(query: str) -> None:
    parse_options(query, "inproc", False)
    with pytest.raises(ConfigError, match="write warm: or inproc:"):
        parse_options(query, "cgi", True)


def test_extensions_are_for_folders() -> None:
    with pytest.raises(ConfigError, match="the target is one file"):
        parse_options("extensions=py", "cgi", False)
