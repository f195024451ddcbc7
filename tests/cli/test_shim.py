"""gatebridge shim: writes a file, says what is next and why not, and what such a file would do."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatebridge.relay_text import read_baked
from tests.cgi import ask
from tests.cli.run import APPLICATION, run, said
from tests.relay_stand import has_native, stop_daemons


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APPLICATION)
    return tmp_path


def test_C01_the_written_shim_answers(folder: Path) -> None:
    done = run(folder, "shim", "new", "shop:app", "app.cgi", "--oneshot")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(folder / "app.cgi") in done.stdout
    answer = ask([str(folder / "app.cgi")], folder=Path("/"))
    assert (answer.code, answer.body) == (0, b"('/cgi-bin/app.cgi', '/x')"), answer


def test_folder_and_mount(folder: Path, tmp_path_factory) -> None:
    elsewhere = tmp_path_factory.mktemp("cgi-bin")
    done = run(elsewhere, "shim", "new", "shop:app", "app.cgi", "--oneshot",
               "--folder", str(folder), "--mount", "/cgi-bin")  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = ask([str(elsewhere / "app.cgi")])
    assert answer.body == b"('/cgi-bin', '/app.cgi/x')"


def test_an_existing_file_needs_force(folder: Path) -> None:
    (folder / "app.cgi").write_text("precious")
    words = ("shim", "new", "shop:app", "app.cgi", "--oneshot")
    done = run(folder, *words)
    assert (done.returncode, (folder / "app.cgi").read_text()) == (2, "precious")
    assert "--force" in said(done)
    assert run(folder, *words, "--force").returncode == 0
    assert ask([str(folder / "app.cgi")]).code == 0


KINDS = [(), ("--oneshot",)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", ["absent:app", "shop:app;evil", "absent.py"])
def test_4_what_cannot_be_imported_is_not_written(folder: Path, target: str, kind) -> None:
    done = run(folder, "shim", "new", target, "app.cgi", *kind)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("gatebridge: app.")
    assert not (folder / "app.cgi").exists()


@pytest.mark.parametrize("words", [[], ["new"], ["new", "shop:app"], ["old"]])
def test_2_usage(folder: Path, words: list[str]) -> None:
    assert run(folder, "shim", *words).returncode == 2


# --- relays


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder for --state-dir with a short name; the daemons in it end with the test."""
    with tempfile.TemporaryDirectory(prefix="gb-") as made:
        yield Path(made)
        stop_daemons(Path(made))


def new(folder: Path, state: Path, *words: str, target: str = "shop:app"):
    return run(folder, "shim", "new", target, "site.cgi", "--state-dir", str(state), *words)


@pytest.mark.parametrize("kind", ["python", "native"])
def test_a_relay_is_written_that_starts_its_daemon(folder: Path, state: Path, kind: str) -> None:
    native = kind == "native"
    if native and has_native():
        pytest.skip(has_native())
    done = new(folder, state, *["--native"] * native, "--mount", "/cgi-bin")
    assert (done.returncode, done.stderr) == (0, "")
    path = folder / "site.cgi"
    assert path.read_bytes().startswith(b"\x7fELF" if native else b"#!")
    for _ in range(2):
        answer = ask([str(path)], folder=Path("/"))
        assert (answer.code, answer.body) == (0, b"('/cgi-bin', '/app.cgi/x')"), answer
    assert len(list(state.glob("gatebridge-*/*.sock"))) == 1


def test_without_a_compiler_the_Python_relay_is_written_and_that_is_said(
    folder: Path, state: Path
) -> None:
    """Nor is one in the package where a test would find it."""
    done = run(folder, "shim", "new", "shop:app", "site.cgi", "--state-dir", str(state),
               "--native", PATH=str(folder))  # fmt: skip
    text = (folder / "site.cgi").read_bytes()
    if text.startswith(b"\x7fELF"):
        pytest.skip("this package carries a relay that is built")
    assert done.returncode == 0
    assert "shim.no_compiler" in done.stderr
    assert "Python relay" in done.stderr
    assert read_baked(text.decode()) is not None


def test_options_are_for_the_daemon(folder: Path, state: Path) -> None:
    done = new(folder, state, "--serve-option=--threads=3", "--serve-option=--no-reload")
    assert done.returncode == 0
    baked = read_baked((folder / "site.cgi").read_text())
    assert baked is not None
    assert baked.start[-3:] == ("shop:app", "--threads=3", "--no-reload")
    assert baked.base == str(state)


REFUSED = [
    (("--serve-option=--threads=no",), "threads"),
    (("--serve-option=--no-such",), "--no-such"),
    (("--serve-option=--bind=unix:/x",), "--bind"),
    (("--serve-option=--daemon",), "--daemon"),
    (("--oneshot", "--native"), "--oneshot"),
    (("--oneshot", "--mount", "app"), "mount.malformed"),
    (("--mount", "//app"), "mount.malformed"),
    (("--state-dir", "relative"), "--state-dir"),
    (("--state-dir", "."), "--state-dir"),
]


@pytest.mark.parametrize(("words", "why"), REFUSED)
def test_2_what_would_fail_later_is_told_now(folder: Path, state: Path, words, why: str) -> None:
    done = new(folder, state, *words)
    assert why in said(done)
    assert done.returncode == 2
    assert not (folder / "site.cgi").exists()


def test_T8_the_state_is_not_kept_beside_the_shim(folder: Path, state: Path) -> None:
    file = str(state / "site.cgi")
    done = run(folder, "shim", "new", "shop:app", file, "--state-dir", str(state))
    assert "beside the shim" in said(done)


def test_C10_a_relay_is_no_nph_script(folder: Path, state: Path) -> None:
    done = run(folder, "shim", "new", "shop:app", "nph-site.cgi", "--state-dir", str(state))
    assert "shim.nph" in said(done)
    assert done.returncode == 2


# --- check


def check(folder: Path, file: str = "site.cgi") -> tuple[int, dict[str, str]]:
    """The exit status, and what was found about each thing."""
    done = run(folder, "shim", "check", file)
    assert done.stderr == "", done.stderr
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        about, _, text = line.partition("  ")
        found[about] = f"{found.get(about, '')}{text.strip()}\n"
    return done.returncode, found


def test_check_says_what_would_happen(folder: Path, state: Path) -> None:
    new(folder, state)
    status, found = check(folder)
    assert status == 0, found
    assert "shop:app" in found["kind"]
    assert "Python 3" in found["interpreter"]
    assert "gatebridge" in found["daemon's Python"]
    assert "made by the first request" in found["state"]
    assert "ready" in found["one-shot"]
    assert ask([str(folder / "site.cgi")]).code == 0
    status, found = check(folder)
    assert status == 0
    assert "runs as process" in found["daemon"]


def test_check_knows_a_native_relay(folder: Path, state: Path) -> None:
    if has_native():
        pytest.skip(has_native())
    new(folder, state, "--native")
    status, found = check(folder)
    assert status == 0, found
    assert "shop:app" in found["kind"]


def test_check_knows_a_one_shot(folder: Path) -> None:
    run(folder, "shim", "new", "shop:app", "site.cgi", "--oneshot")
    status, found = check(folder)
    assert status == 0, found
    assert "one-shot" in found["kind"]


def damage_mode(path: Path, state: Path) -> str:
    path.chmod(0o644)
    return "file"


def damage_writable(path: Path, state: Path) -> str:
    path.chmod(0o777)
    return "file"


def damage_line_ends(path: Path, state: Path) -> str:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return "interpreter"


def damage_interpreter(path: Path, state: Path) -> str:
    rest = path.read_text().partition("\n")[2]
    path.write_text("#!/absent/python3 -ISE\n" + rest)
    return "interpreter"


def damage_text(path: Path, state: Path) -> str:
    path.write_text("#!/bin/sh\necho\n")
    return "kind"


def damage_state(path: Path, state: Path) -> str:
    (state / f"gatebridge-{os.geteuid()}").mkdir(mode=0o755)
    return "state"


def damage_application(path: Path, state: Path) -> str:
    (path.parent / "shop.py").write_text("import no_such_module\n")
    assert ask([str(path)]).code != 0
    return "last start"


DAMAGES = [
    damage_mode, damage_writable, damage_line_ends, damage_interpreter, damage_text, damage_state,
    damage_application,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_6_check_finds_what_is_wrong(folder: Path, state: Path, damage) -> None:
    new(folder, state)
    about = damage(folder / "site.cgi", state)
    status, found = check(folder)
    assert status == 6
    assert "PROBLEM" in found[about], found


def test_2_check_of_no_file(folder: Path) -> None:
    done = run(folder, "shim", "check", "absent.cgi")
    assert done.returncode == 2
    assert "shim.unreadable" in said(done)
