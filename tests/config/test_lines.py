"""Where a key stands in a TOML text: the paths must be tomllib's, the lines the text's."""

import re
import tomllib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gatebridge.config.lines import key_lines

ROWS = [
    ("a key", "a = 1", {("a",): 1}),
    ("nothing", "", {}),
    ("comments and empty lines before", "# a = 0\n\n \t# b\na = 1\n", {("a",): 4}),
    ("two keys, no newline at the end", "a = 1\nb = 2", {("a",): 1, ("b",): 2}),
    ("a table", "[t]\na = 1", {("t",): 1, ("t", "a"): 2}),
    ("spaces everywhere", "  [ t . u ] # c\n\ta\t=\t1 # d", {("t",): 1, ("t", "u"): 1,
     ("t", "u", "a"): 2}),
    ("a dotted key", "a.b.c = 1", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1}),
    ("the table above is the first header's", "[a.b]\n[a]\nc = 1",
     {("a",): 1, ("a", "b"): 1, ("a", "c"): 3}),
    ("a quoted key", "\"a.b\" = 1\n'c]d'.\"e\\u0022\\\\\" = 2",
     {("a.b",): 1, ("c]d",): 2, ("c]d", 'e"\\'): 2}),
    ("a quoted key in a header", '["a.]b"]\nc = 1', {("a.]b",): 1, ("a.]b", "c"): 2}),
    ("an empty key", '"" = 1\nx.\'\'. a = 2',
     {("",): 1, ("x",): 2, ("x", ""): 2, ("x", "", "a"): 2}),
    ("an array of tables", "[[a]]\nx = 1\n[[a]]\nx = 2",
     {("a",): 1, ("a", 0): 1, ("a", 0, "x"): 2, ("a", 1): 3, ("a", 1, "x"): 4}),
    ("a table in an array of tables", "[[a]]\n[a.t]\nx = 1\n[[a]]\n[a.t]\nx = 2",
     {("a",): 1, ("a", 0): 1, ("a", 0, "t"): 2, ("a", 0, "t", "x"): 3,
      ("a", 1): 4, ("a", 1, "t"): 5, ("a", 1, "t", "x"): 6}),
    ("an array of tables in one", "[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[[a.b]]\nx = 2",
     {("a",): 1, ("a", 0): 1, ("a", 0, "b"): 2, ("a", 0, "b", 0): 2, ("a", 0, "b", 1): 3,
      ("a", 0, "b", 1, "x"): 4, ("a", 1): 5, ("a", 1, "b"): 6, ("a", 1, "b", 0): 6,
      ("a", 1, "b", 0, "x"): 7}),
    ("an array over lines, with comments", "a = [ # ]\n 1,\n\n 2 # , 3\n , # x\n]\nb = 1",
     {("a",): 1, ("a", 0): 2, ("a", 1): 4, ("b",): 7}),
    ("arrays in arrays", "a = [[1,\n2], [\n]]\nb = 1",
     {("a",): 1, ("a", 0): 1, ("a", 0, 0): 1, ("a", 0, 1): 2, ("a", 1): 2, ("b",): 4}),
    ("an inline table", "a = { b = 1, c.d = [\n2] }\ne = 3",
     {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1, ("a", "c", "d", 0): 2,
      ("e",): 3}),
    ("inline tables in an array", "a = [\n{ x = 1 },\n{},\n{ x = 2 }]",
     {("a",): 1, ("a", 0): 2, ("a", 0, "x"): 2, ("a", 1): 3, ("a", 2): 4, ("a", 2, "x"): 4}),
    ("what a string holds is no key", "a = \"b = 1 # [t] ' \\\" \\\\\"\nc = 'd = \"\\'\ne = 1",
     {("a",): 1, ("c",): 2, ("e",): 3}),
    ("strings over lines",
     'a = """\nb = 1\n[t]\n\\""" # "" \\\\"""\nc = \'\'\'\nd = "\n\'\'\'\ne = 1',
     {("a",): 1, ("c",): 5, ("e",): 8}),
    ("up to two quotes before the closing three", 'a = """x"""""\nb = """"""\nc = """""x"""\n'
     "d = '''''x'''''\ne = ''''''\nf = 1",
     {("a",): 1, ("b",): 2, ("c",): 3, ("d",): 4, ("e",): 5, ("f",): 6}),
    ("dates, floats, booleans", "a = 1979-05-27 07:32:00Z # x\nb = -inf\nc = [07:32:00, true]\n"
     "d = 0x1F",
     {("a",): 1, ("b",): 2, ("c",): 3, ("c", 0): 3, ("c", 1): 3, ("d",): 4}),
    ("lines that end in CR LF", 'a = """\r\nx"""\r\n[t]\r\nb = [\r\n1]\r\n',
     {("a",): 1, ("t",): 3, ("t", "b"): 4, ("t", "b", 0): 5}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "lines"), ROWS, ids=[row[0] for row in ROWS])
def test_lines(name: str, text: str, lines: "dict[tuple[str | int, ...], int]") -> None:
    found = key_lines(text)
    assert found == lines
    assert found.keys() == paths(tomllib.loads(text))


def paths(value: object, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Every key, table and element of what tomllib read."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths(inner, (*path, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            found |= paths(inner, (*path, at))
    return found


# Texts made of what is hard: every key ends in a mark that stands once in the text, so the line
# of a mark is the line of its key.

STRINGS = ['"x"', "'x'", '"z = 1 # \\" [t] \\\\"', "'z = \"1\\'", '"""z = 1\n[t]\n\\""" "" \\\\"""',
           "'''\nz = \"\n# ''x'''''", '""""x"""""', '""', "''", '"""\\\n\n  x"""', '""""""',
           "''''''", '"é\\u00e9,]}"']  # fmt: skip
PLAIN = ["1", "-1.5e3", "true", "inf", "1979-05-27 07:32:00", "1979-05-27T07:32:00.5-07:00",
         "07:32:00", "0xff", "1_000"]  # fmt: skip
BREAKS = ["", " ", "\n", " # ] , } \" '\n", "\n\n\t", " # z = 1\n # x\n"]


@st.composite
def keys(draw: st.DrawFn, number: "list[int]") -> str:
    """A marked key in one of its forms, perhaps below keys that others use, too."""
    above = draw(st.lists(st.sampled_from(["a", '"a"', "b", "'b'", '"c.d"', "'e]f'"]), max_size=2))
    number[0] += 1
    mark = f"k{number[0]}k"
    form = draw(st.sampled_from([mark, f'"{mark}"', f"'{mark}'", f'"\\u0041 = [{mark}"']))
    dot = draw(st.sampled_from([".", " . ", "\t. "]))
    return dot.join([*above, form])


@st.composite
def values(draw: st.DrawFn, number: "list[int]", depth: int = 0) -> str:
    kind = draw(st.sampled_from(["string", "plain", "array", "table"] if depth < 3 else ["plain"]))
    if kind == "string":
        return draw(st.sampled_from(STRINGS))
    if kind == "plain":
        return draw(st.sampled_from(PLAIN))
    gap = st.sampled_from(BREAKS)
    inner = st.lists(values(number, depth + 1), max_size=3)
    if kind == "array":
        items = [draw(gap) + item + draw(gap) for item in draw(inner)]
        return "[" + ",".join(items) + draw(st.sampled_from([",", ""]) if items else gap) + "]"
    pairs = [f" {draw(keys(number))} = {item} " for item in draw(inner)]
    return "{" + ",".join(pairs) + "}"


@st.composite
def texts(draw: st.DrawFn) -> str:
    number = [0]
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from(["pair", "pair", "table", "array", "again", "comment"]))
        if kind == "pair":
            lines.append(f"{draw(keys(number))} = {draw(values(number))}")
        elif kind == "table":
            lines.append(f"[ {draw(keys(number))} ]")
        elif kind == "array":
            lines.append(f"[[{draw(keys(number))}]]")
        elif kind == "again":
            lines.append(draw(st.sampled_from(["[[a]]", "[[a.b]]", "[b]", "[[b]]", "[['e]f']]"])))
        else:
            lines.append(draw(st.sampled_from(["", '# [k0] = "\'"', "\t"])))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return "\n".join(lines).replace("\n", newline)


@settings(deadline=None)
@given(texts())
def test_any_text_has_tomllibs_paths_and_the_lines_of_their_marks(text: str) -> None:
    try:
        wanted = paths(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        assume(False)  # a key said twice, and the like
        return
    found = key_lines(text)
    assert found.keys() == wanted
    for path, line in found.items():
        mark = re.search(r"k\d+k", str(path[-1]))
        if mark:
            assert line == text[: text.index(mark.group())].count("\n") + 1, path
