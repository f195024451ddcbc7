"""What is installed: the version, the licence, the marker of types."""

import ast
import subprocess
import sys
from importlib.metadata import entry_points, metadata
from pathlib import Path

from gatebridge.cli.main import main

ROOT = Path(__file__).resolve().parents[1]


def version_literal():
    tree = ast.parse((ROOT / "gatebridge" / "__init__.py").read_text("utf-8"))
    (found,) = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    ]
    return found


def test_version_is_a_literal_and_equals_the_metadata():
    assert metadata("gatebridge")["Version"] == version_literal()
    assert f"\n## {version_literal()} " in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_module_says_the_version():
    command = [sys.executable, "-m", "gatebridge", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert version_literal() in done.stdout


def test_console_script_is_main():
    (script,) = entry_points(group="console_scripts", name="gatebridge")
    assert script.load() is main


def test_licence():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert text.startswith(
        "BSD 3-Clause License\n\nCopyright (c) 2026, the gatebridge developers\n"
    )
    assert metadata("gatebridge")["License-Expression"] == "BSD-3-Clause"


def test_types_are_marked():
    assert (ROOT / "gatebridge" / "py.typed").exists()
