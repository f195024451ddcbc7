"""docs/conf.md and the help list every form; GATEBRIDGE_WRITE_DOCS=1 writes the table anew."""

import os
from pathlib import Path

import click
import pytest

from gatebridge.cli.main import group
from gatebridge.fronts.registry import SERVERS
from tests.fronts_text import samples

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "conf.md"
BEGIN = (
    "<!-- forms: written by tests/fronts_text/test_forms.py from gatebridge/fronts/registry.py -->"
)
END = "<!-- end of forms -->"


def table() -> str:
    lines = [
        "| server | form | what it is | where `--install` puts it |",
        "| --- | --- | --- | --- |",
    ]
    for server, one in SERVERS.items():
        for number, (form, about) in enumerate(one.forms.items()):
            place = about.file.replace("{name}", "NAME").replace("{home}/", "")
            sample = f"[{form}](../conf/{samples.path(server, form).name})"
            shown = f"`{place}`" if place else ""
            lines.append(f"| {'' if number else server} | {sample} | {about.about} | {shown} |")
    return "\n".join(lines)


def test_the_table_is_that_of_the_source() -> None:
    text = DOCUMENT.read_text("utf-8")
    head, _, rest = text.partition(BEGIN)
    wanted = f"{head}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"
    if os.environ.get("GATEBRIDGE_WRITE_DOCS") == "1":
        DOCUMENT.write_text(wanted, "utf-8")
    assert DOCUMENT.read_text("utf-8") == wanted, "GATEBRIDGE_WRITE_DOCS=1 writes it anew"


@pytest.mark.parametrize("server", SERVERS)
def test_the_help_has_every_form(server: str) -> None:
    command = group.get_command(click.Context(group), "conf")
    assert command is not None
    lines = command.get_help(click.Context(command)).splitlines()
    for form, about in SERVERS[server].forms.items():
        assert any(line.split()[:2] == [server, form] and about.about in line for line in lines)
