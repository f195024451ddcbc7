"""The documents: tables that come from the source, and commands and links that lead somewhere.

GATEBRIDGE_WRITE_DOCS=1 writes the tables anew.
"""

import dataclasses
import os
import re
from pathlib import Path

import click
import pytest

from gatebridge.cli.main import group
from gatebridge.cli.options import default_text
from gatebridge.config import flag
from gatebridge.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BEGIN = "<!-- options: written by tests/test_documents.py from gatebridge/settings.py -->\n"
END = "<!-- end of options -->\n"


def code_lines(path):
    """The lines of a document's shell blocks, without comments."""
    for block in re.findall(r"```sh\n(.*?)```", path.read_text("utf-8"), re.S):
        yield from (line.split("  #")[0].strip() for line in block.splitlines() if line.strip())


def options_table():
    lines = ["| option | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        about = field.metadata
        names = [about["short"], flag(field.name)]
        if isinstance(field.default, bool):
            names.append(flag(f"no_{field.name}"))
        shown = ", ".join(f"`{name}`" for name in names if name)
        value = " or ".join(about["choices"]) or about["placeholder"]
        default = default_text(field)
        lines.append(f"| {shown} {value} | {f'`{default}`' if default else ''} | {about['help']} |")
    return "\n".join(lines) + "\n"


def test_table_of_options_is_that_of_the_source():
    path = ROOT / "docs" / "cli.md"
    text = path.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    wanted = f"{head}{BEGIN}{options_table()}{END}{tail}"
    if os.environ.get("GATEBRIDGE_WRITE_DOCS") == "1":
        path.write_text(wanted, "utf-8")
    assert path.read_text("utf-8") == wanted, "GATEBRIDGE_WRITE_DOCS=1 writes it anew"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(path):
    """Every make target, every gatebridge command and every option of it."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    for line in code_lines(path):
        words = line.split()
        if words[0] == "make":
            assert words[1] in targets, line
        for at, word in enumerate(words[:-1]):
            if word.rpartition("/")[2] == "gatebridge":
                check_command(words[at + 1 :], line)


def check_command(words, line):
    command = group
    context = click.Context(group)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
        assert command is not None, line
    known = {"--help"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    used = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    assert used <= known, line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_every_document_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "index.md" or f"]({path.name})" in index, path.name


def test_every_command_is_in_the_documents():
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for name in group.list_commands(click.Context(group)):
        assert f"`gatebridge {name}" in text, name


def test_readme_starts_with_the_two_commands():
    assert list(code_lines(ROOT / "README.md"))[:2] == ["make demo", "make test"]
