"""--env and --env-file: what systemd's EnvironmentFile= reads is read alike."""

from pathlib import Path

import pytest

from gatebridge.errors import ConfigError
from gatebridge.serve.env_file import parse_env_file, parse_pair, read_env_file

GOOD = [
    ("a plain pair", "A=b", [("A", "b")]),
    ("several, in order", "A=1\nB=2\nA=3\n", [("A", "1"), ("B", "2"), ("A", "3")]),
    ("nothing", "", []),
    ("blank lines and comments", "\n  \n# A=1\n;B=2\n \t# C=3\nD=4", [("D", "4")]),
    ("a comment sign in a value", "A=b # c", [("A", "b # c")]),
    ("an empty value", "A=\nB=1", [("A", ""), ("B", "1")]),
    ("an empty value at the end", "A=", [("A", "")]),
    ("another = belongs to the value", "A=b=c", [("A", "b=c")]),
    ("blanks around name and value", "  A = b c \t\nB=1", [("A", "b c"), ("B", "1")]),
    ("lines that end as on Windows", "A=b\r\nC=d\r\n", [("A", "b"), ("C", "d")]),
    ("double quotes keep blanks", 'A="  b  "', [("A", "  b  ")]),
    ("single quotes keep everything", "A=' \\n $x \"q\" '", [("A", ' \\n $x "q" ')]),
    ("a line break between quotes", 'A="b\nc"\nD=1', [("A", "b\nc"), ("D", "1")]),
    ("what double quotes unescape", r'A="\" \\ \` \$"', [("A", '" \\ ` $')]),
    ("what they do not", r'A="\n \t \x"', [("A", r"\n \t \x")]),
    ("a joined line between them", 'A="b\\\nc"', [("A", "bc")]),
    ("two quoted parts are one value", "A=\"b\" 'c'", [("A", "bc")]),
    ("plain text behind a quoted part", "A=\"b\"c'd'", [("A", "bc'd'")]),
    ("quotes inside plain text stay", "A=it's", [("A", "it's")]),
    ("a joined line", "A=b\\\nc\nD=1", [("A", "bc"), ("D", "1")]),
    ("an escaped blank stays", "A=b\\ \nC=1", [("A", "b "), ("C", "1")]),
    ("an escaped letter", r"A=\b\\", [("A", "b\\")]),
    ("a backslash at the very end", "A=b\\", [("A", "b")]),
    ("an escaped line break before a value", "A=\\\nb", [("A", "b")]),
    ("bytes beyond ASCII", "A=caf\xe9", [("A", "caf\xe9")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "wanted"), GOOD, ids=[row[0] for row in GOOD])
def test_a_file_is_read_as_systemd_does(name: str, text: str, wanted: list) -> None:
    assert parse_env_file(text, "x") == wanted


BAD = [
    ("no =", "A=1\nB\n", 2, "NAME=VALUE"),
    ("no name", "=b", 1, "no name"),
    ("a digit first", "\n\n1A=b", 3, "no name"),
    ("a dash", "A-B=c", 1, "no name"),
    ("a shell's export", "# x\nexport A=b", 2, "export"),
    ("an open double quote", 'A=1\nB="c\nD=2\n', 2, "closes"),
    ("an open single quote", "A='b", 1, "closes"),
    ("a NUL", "A=b\0c", 1, "NUL"),
    ("behind a value of two lines", 'A="b\nc"\nD', 3, "NAME=VALUE"),
]


@pytest.mark.parametrize(("name", "text", "line", "word"), BAD, ids=[row[0] for row in BAD])
def test_a_fault_is_named_with_its_line(name: str, text: str, line: int, word: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_env_file(text, "/etc/x.env")
    assert raised.value.code == "env_file.malformed"
    assert raised.value.detail.startswith(f"/etc/x.env:{line}: ")
    assert word in raised.value.detail


def test_the_bytes_of_a_file_reach_the_environment_unchanged(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"\xef\xbb\xbfA=\xff\xc3\xa9\n")
    assert read_env_file(str(tmp_path / "env")) == [("A", "\udcff\xe9")]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read_env_file(str(tmp_path / "absent"))
    assert raised.value.code == "env_file.unreadable"
    assert str(tmp_path / "absent") in raised.value.detail


PAIRS = [("A=b", ("A", "b")), ("A=", ("A", "")), ("A=b=c", ("A", "b=c")), ("_1= x ", ("_1", " x "))]


@pytest.mark.parametrize(("text", "wanted"), PAIRS)
def test_a_pair_of_the_command_line_stands_as_it_is(text: str, wanted: tuple[str, str]) -> None:
    assert parse_pair(text) == wanted


@pytest.mark.parametrize("text", ["", "A", "=b", "1=b", "A B=c", "export A=b", "A=\0"])
def test_a_pair_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_pair(text)
    assert raised.value.code == "env.malformed"
