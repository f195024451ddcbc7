"""Which files a worker says its application consists of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2]

ASK = """
import json, sys, traceback
sys.path.insert(0, sys.argv[1])
from gatebridge.serve.loaded_files import loaded_files
error = None
try:
    exec(sys.argv[2])
except BaseException as caught:
    error = caught
print(json.dumps(loaded_files(error)))
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "orders.py").write_text("import money\n")
    (tmp_path / "money.py").write_text("")
    (tmp_path / "space" / "inner").mkdir(parents=True)
    (tmp_path / "space" / "inner" / "__init__.py").write_text("")
    (tmp_path / "unused.py").write_text("")
    (tmp_path / "broken.py").write_text("import money\n1 / 0\n")
    (tmp_path / "unreadable.py").write_text("def x(:\n")
    (tmp_path / "site.wsgi").write_text("import money\n")
    (tmp_path / "hidden.py").write_text("try:\n    import broken\nexcept Exception as e:\n"
                                        "    raise RuntimeError('x') from e\n")  # fmt: skip
    return tmp_path


def loaded(app: Path, program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(app), program],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [os.path.relpath(path, app) for path in json.loads(done.stdout)]


ROWS = [
    ("nothing of ours", "import email, flask, click", []),
    ("a module", "import money", ["money.py"]),
    ("a package is its folder", "import shop.orders", ["money.py", "shop"]),
    ("a namespace package too", "import space.inner", ["space"]),
    ("a file", "from gatebridge.apps.load import _import_file; _import_file(sys.argv[1] + "
     "'/site.wsgi')", ["money.py", "site.wsgi"]),
    ("an import that failed", "import broken", ["broken.py", "money.py"]),
    ("one that hid why", "import hidden", ["broken.py", "hidden.py", "money.py"]),
    ("one that does not parse", "import unreadable", ["unreadable.py"]),
    ("an error of ours around it", "from gatebridge.apps.load import load; load('broken', "
     "sys.argv[1])", ["broken.py", "money.py"]),
    ("a module that was removed", "import money, os; os.unlink(money.__file__)", []),
    ("strange modules", "sys.modules['x'] = None; sys.modules['y'] = 5; "
     "sys.modules['z'] = type('Z', (), {'__path__': 5})()", []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "program", "wanted"), ROWS, ids=[row[0] for row in ROWS])
def test_loaded(app: Path, name: str, program: str, wanted: list[str]) -> None:
    assert loaded(app, program) == wanted


def test_they_fit_into_one_packet_to_the_supervisor(app: Path) -> None:
    for number in range(2000):
        (app / f"module_{number}_{'x' * 60}.py").write_text("")
    found = loaded(app, "for n in range(2000): __import__(f'module_{n}_' + 'x' * 60)")
    assert 0 < len(json.dumps([str(app / path) for path in found])) < 60_000
