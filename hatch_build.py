"""Compiles the hot modules by mypyc where that can be done, and leaves them as they are elsewhere.

The wheel holds the same sources either way; a compiled module lies beside its source and is found
first. ``GATEBRIDGE_PURE=1`` builds without, ``GATEBRIDGE_NATIVE=1`` fails where it cannot be done.
Nothing is compiled in the source tree, so a clone stays what it was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# mypyc comes with mypy, builds with setuptools, and reads the types of h11
NEEDED = ["h11>=0.16", "mypy>=1.15", "setuptools>=75"]


class Compile(BuildHookInterface):
    """modules, excluded: lists of glob patterns in pyproject.toml."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return list(NEEDED) if _missing() == "" else []

    def initialize(self, version: str, build_data: dict) -> None:
        self._folder = ""
        why = "an editable install runs the sources" if version == "editable" else _missing()
        if not why:
            why = self._compile(build_data)
        if why and os.environ.get("GATEBRIDGE_NATIVE"):
            raise RuntimeError(f"GATEBRIDGE_NATIVE is set, but nothing was compiled: {why}")
        if why:
            self.app.display_warning(f"gatebridge is installed as pure Python: {why}")

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _compile(self, build_data: dict) -> str:
        """Add compiled modules to the wheel; why not, if not."""
        root = Path(self.root)
        excluded = {path for glob in self.config["excluded"] for path in root.glob(glob)}
        found = {path for glob in self.config["modules"] for path in root.glob(glob)} - excluded
        names = sorted(str(path.relative_to(root)) for path in found)
        self._folder = tempfile.mkdtemp(prefix="gatebridge-build-")
        copy = Path(self._folder)
        shutil.copytree(root / "gatebridge", copy / "gatebridge")
        # lint sees every optional package's types; here they need not be installed
        lenient = ["--ignore-missing-imports", "--no-warn-unused-ignores"]
        command = [sys.executable, "-m", "mypyc", "--strict", *lenient, *names]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"mypyc failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        for path in copy.rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
            inside = path.relative_to(copy)
            if inside.parts[0] != "build":
                build_data["force_include"][str(path)] = str(inside)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        return ""


def _missing() -> str:
    """What keeps mypyc from running here; "" for nothing."""
    if os.environ.get("GATEBRIDGE_PURE"):
        return "GATEBRIDGE_PURE is set"
    if sys.implementation.name != "cpython" or os.name != "posix":
        return "only CPython on Linux, macOS and BSD is tried"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        return f"no {header} (Debian: apt install python3-dev)"
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(compiler.split()[0]) is None:
        return f"no C compiler {compiler.split()[0]}"
    return ""
