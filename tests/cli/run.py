"""The command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

APPLICATION = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr((environ["SCRIPT_NAME"], environ["PATH_INFO"])).encode()]
"""


def run(folder: Path, *words: str, timeout: float = 30.0, **variables: str):
    """``gatebridge WORDS`` in a folder."""
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "gatebridge", *words],
        cwd=folder,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def said(done: "subprocess.CompletedProcess[str]") -> str:
    """Its one sentence of complaint: no traceback, nothing on standard output."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    return done.stderr
