"""Applications that cannot be loaded, and those that can."""

import os
import sys
from pathlib import Path

import pytest

from tests.cli.daemon import STATUS, status
from tests.cli.run import APPLICATION
from tests.control_stand import Answering
from tests.doctor.set_up import Fake, configured, doctor, ids

FORKS = pytest.mark.filterwarnings("ignore:This process .*multi-threaded:DeprecationWarning")
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture
def machine(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "machine")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "site"
    made.mkdir()
    (made / "doctored_shop.py").write_text(APPLICATION)
    monkeypatch.chdir(made)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return made


def of(app: str, **flags: object) -> dict[str, object]:
    return configured(app, bind=("systemd:x",), **flags)


def test_a_sound_application(machine: Fake) -> None:
    report = doctor(machine, **of("doctored_shop:app"))
    assert (ids(report), report.undecided) == ([], [])


@pytest.mark.parametrize(("text", "seen", "mend"), [
    ("import absent_module\n", "absent_module", "-m pip install absent_module"),
    ("1 / 0\n", "ZeroDivisionError", "mend what"),
    ("def app(:\n", "SyntaxError", "mend what"),
    ("raise SystemExit(3)\n", "SystemExit", "mend what"),
    ("app = 3\n", "not a WSGI or ASGI callable", "mend what"),
    ("import os\nos._exit(4)\n", "ended with status 4", "mend what"),
])  # fmt: skip
def test_an_application_that_cannot_be_imported(
    machine: Fake, folder: Path, text: str, seen: str, mend: str
) -> None:
    (folder / "doctored_fails.py").write_text(text)
    report = doctor(machine, **of("doctored_fails:app"))
    assert ids(report) == ["application.import"]
    assert seen in report.found[0].finding.evidence
    assert mend in report.found[0].finding.mend


def test_an_application_in_another_folder(machine: Fake, folder: Path) -> None:
    report = doctor(machine, **of("doctored_absent:app"))
    assert ids(report) == ["application.import"]
    assert "--chdir" in report.found[0].finding.mend
    (folder / "src").mkdir()
    (folder / "src" / "doctored_absent.py").write_text(APPLICATION)
    assert ids(doctor(machine, **of("doctored_absent:app", pythonpath="src"))) == []


def test_the_traceback_is_the_application_s(machine: Fake, folder: Path) -> None:
    (folder / "doctored_deep.py").write_text("def f():\n    raise KeyError('SECRET_KEY')\nf()\n")
    finding = doctor(machine, **of("doctored_deep:app")).found[0].finding
    assert "doctored_deep.py" in finding.evidence
    assert "line 2, in f" in finding.evidence


def test_it_is_named_before_the_socket_that_is_missing_for_it(machine: Fake, folder: Path) -> None:
    (folder / "doctored_fails.py").write_text("import absent_module\n")
    report = doctor(machine, **configured("doctored_fails:app", bind=("unix:s",)))
    assert [(one.check.id, one.because) for one in report.found] == [
        ("application.import", ""),
        ("socket.missing", "application.import"),
    ]


@FORKS
def test_it_is_named_before_the_workers_that_end_for_it(machine: Fake, folder: Path) -> None:
    (folder / "doctored_fails.py").write_text("import absent_module\n")
    pool = {**STATUS["pools"]["main"], "crash_loop": True, "reason": "no absent_module",
            "workers": {}, "workers_list": [], "binds": []}  # fmt: skip
    with Answering(folder / "ctl", status=status(pools={"main": pool}, version=None)) as daemon:
        report = doctor(machine, **of("doctored_fails:app", control_socket=daemon.path))
    assert [(one.check.id, one.because) for one in report.found] == [
        ("application.import", ""),
        ("worker.crash_loop", "application.import"),
    ]


def test_an_application_that_serves_is_not_imported_again(machine: Fake, folder: Path) -> None:
    (folder / "doctored_traces.py").write_text("open('imported', 'w')\n" + APPLICATION)
    pool = {**STATUS["pools"]["main"], "binds": []}
    with Answering(folder / "ctl", status=status(pools={"main": pool}, version=None)) as daemon:
        said = of("doctored_traces:app", control_socket=daemon.path)
        assert ids(doctor(machine, **said)) == []
    assert not os.path.exists("imported")


def test_one_that_takes_long_is_not_called_broken(
    machine: Fake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatebridge.doctor.facts.IMPORT_S", 0.05)
    (folder / "doctored_slow.py").write_text("import time\ntime.sleep(60)\n")
    assert ids(doctor(machine, **of("doctored_slow:app"))) == []


# -- where its modules are


def environment(home: Path, version: str, module: str) -> None:
    (home / f"lib/python{version}/site-packages/{module}").mkdir(parents=True)
    (home / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}.7\n")


@pytest.mark.parametrize("version", ["3.6", HERE])
@pytest.mark.parametrize("name", [".venv", "venv", "../venv"])
def test_modules_that_are_installed_elsewhere(
    machine: Fake, folder: Path, version: str, name: str
) -> None:
    environment(folder / name, version, "absent_module")
    (folder / "doctored_fails.py").write_text("import absent_module.part\n")
    report = doctor(machine, **of("doctored_fails:app"))
    assert [(one.check.id, one.because) for one in report.found] == [
        ("application.venv", ""),
        ("application.import", "application.venv"),
    ]
    assert "/bin/gatebridge" in report.found[0].finding.mend
    assert ids(doctor(machine, **of("doctored_shop:app"))) == []


def test_an_environment_without_the_module_is_not_blamed(machine: Fake, folder: Path) -> None:
    environment(folder / ".venv", HERE, "other_module")
    (folder / "doctored_fails.py").write_text("import absent_module\n")
    assert ids(doctor(machine, **of("doctored_fails:app"))) == ["application.import"]


class Packages(Fake):
    installed = {"flask": "2.1.3", "werkzeug": "3.0.1"}  # noqa: RUF012 - read only

    def version(self, package: str) -> str:
        return self.installed.get(package, super().version(package))


@pytest.mark.parametrize(("package", "expected"), [
    ("flask", ["application.versions", "application.import"]), ("other", ["application.import"]),
])  # fmt: skip
def test_versions_that_do_not_go_together(
    tmp_path: Path, folder: Path, package: str, expected: list[str]
) -> None:
    """As Flask 2.1 with Werkzeug 3, of which the traceback is."""
    (folder / "lib" / package).mkdir(parents=True)
    (folder / "lib" / package / "__init__.py").write_text("from os import url_quote\n")
    (folder / "doctored_old.py").write_text(
        f"import sys\nsys.modules.pop({package!r}, None)\nsys.path.insert(0, 'lib')\n"
        f"import {package}\n"
    )
    report = doctor(Packages(tmp_path / "machine"), **of("doctored_old:app"))
    assert ids(report) == expected
    if len(expected) == 2:
        assert report.found[0].finding.mend == "pip install 'flask>=2.2'"
