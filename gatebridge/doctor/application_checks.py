"""The application: can a worker load it?"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Final

from gatebridge.doctor.check import Checks, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatebridge.doctor.facts import Facts
    from gatebridge.settings import Pool

_FAILED: Final = (
    "application.import", "worker.crash_loop", "worker.not_ready", "worker.reload",
    "socket.missing", "socket.stale", "socket.refused", "socket.queue",
)  # fmt: skip
_NO_MODULE: Final = re.compile(r"(?:No module named|no module) '([^']+)'")
_VENVS: Final = (".venv", "venv", "env")
_HOME_VERSION: Final = re.compile(r"^version(?:_info)?\s*=\s*(\d+)\.(\d+)", re.M)

# (package, below this version, together with, from this version, what breaks): each was met
_QUARRELS: Final = (
    ("flask", (2, 2), "werkzeug", (3, 0), "Flask imports url_quote, which Werkzeug 3 dropped"),
    ("flask", (2, 0), "markupsafe", (2, 1), "Jinja2 2 imports soft_unicode, which is gone"),
    ("flask", (1, 1), "itsdangerous", (2, 1), "Flask imports itsdangerous.json, which is gone"),
    ("flask-login", (0, 6, 3), "werkzeug", (3, 0), "Flask-Login imports url_decode of Werkzeug"),
    ("flask-sqlalchemy", (3, 0), "sqlalchemy", (2, 0), "Flask-SQLAlchemy 2 needs SQLAlchemy 1"),
    ("django", (4, 0), "python", (3, 12), "this Django needs distutils, which Python 3.12 dropped"),
    ("django", (2, 2), "python", (3, 10), "this Django needs collections.Iterator and its like"),
    ("bottle", (0, 13), "python", (3, 13), "this bottle imports cgi, which Python 3.13 dropped"),
    ("web.py", (0, 70), "python", (3, 13), "this web.py imports cgi, which Python 3.13 dropped"),
)

check = Checks("application")


@check("application.venv", "Are the application's modules installed for this Python?", _FAILED)
def venv(facts: Facts) -> Finding | None:
    for pool, why in facts.failures.items():
        module = _NO_MODULE.search(why)
        if module is None:
            continue
        for home, version in _venvs(facts, pool):
            if os.path.realpath(home) == os.path.realpath(sys.prefix):
                continue
            if not _holds(home, version, module[1].partition(".")[0]):
                continue
            ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
            return Finding(
                f"{module[1]} is installed in {home}, for Python {version}; gatebridge runs in "
                f"{sys.prefix}, with Python {ours}",
                why.strip().splitlines()[-1],
                f"{home}/bin/pip install gatebridge, and start {home}/bin/gatebridge",
            )
    return None


def _venvs(facts: Facts, pool: Pool) -> Iterator[tuple[str, str]]:
    """(folder, "3.11") of environments beside the application."""
    folder = os.path.abspath(facts.folders(pool)[0])
    for place in (folder, os.path.dirname(folder)):
        for name in _VENVS:
            home = os.path.join(place, name)
            try:
                with open(os.path.join(home, "pyvenv.cfg"), encoding="utf-8") as file:
                    found = _HOME_VERSION.search(file.read(4096))
            except (OSError, UnicodeDecodeError):
                continue
            if found:
                yield home, f"{found[1]}.{found[2]}"


def _holds(home: str, version: str, module: str) -> bool:
    folder = f"{home}/lib/python{version}/site-packages"
    return any(os.path.exists(f"{folder}/{module}{ending}") for ending in ("", ".py"))


@check("application.versions", "Do the versions of its packages go together?", _FAILED)
def versions(facts: Facts) -> Finding | None:
    """Asked where the application cannot be imported."""
    if not any("ImportError" in why or "Error" in why for why in facts.failures.values()):
        return None
    for one, below, other, since, why in _QUARRELS:
        has, had = facts.machine.version(one), _version(facts, other)
        if not has or not had or _numbers(has) >= below or _numbers(had) < since:
            continue
        if _names_neither(facts, one, other):
            continue
        least = ".".join(map(str, below))
        return Finding(
            f"{one} {has} and {other} {had} do not go together: {why}",
            _ends(facts),
            f"pip install '{one}>={least}'",
        )
    return None


def _version(facts: Facts, name: str) -> str:
    if name == "python":
        return ".".join(map(str, sys.version_info[:3]))
    return facts.machine.version(name)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(word) for word in re.findall(r"\d+", version)[:3])


def _names_neither(facts: Facts, *packages: str) -> bool:
    """An import that fails for another reason: its traceback goes through none of them."""
    text = "".join(facts.failures.values()).lower()
    words = [package.replace("-", "_").replace("web.py", "web") for package in packages]
    return not any(f"/{word}/" in text or f"/{word}.py" in text for word in words)


def _ends(facts: Facts) -> str:
    """The last line of each failure."""
    return "\n".join(why.strip().splitlines()[-1] for why in facts.failures.values())


@check("application.import", "Can the application be imported?", _FAILED[1:])
def imported(facts: Facts) -> Finding | None:
    for pool, why in facts.failures.items():
        targets = ", ".join(app.target for app in pool.apps)
        said = why.strip().splitlines()
        missing = _NO_MODULE.search(why)
        mend = "mend what the last line names"
        if missing is not None and said[0].startswith("app.not_found"):
            folders = ", ".join(facts.folders(pool))
            mend = f"--chdir or --pythonpath says where {missing[1]} is; looked in {folders}"
        elif missing is not None:
            mend = f"{sys.executable} -m pip install {missing[1].partition('.')[0]}"
        return Finding(f"{targets} cannot be loaded", why.strip(), mend)
    return None


CHECKS: Final = tuple(check)
