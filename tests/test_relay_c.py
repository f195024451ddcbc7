"""The relay in C: the rows of every relay, also under sanitizers and valgrind, and its building."""

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gatebridge import relay_build
from gatebridge.errors import ConfigError
from gatebridge.relay_baked import Baked
from gatebridge.relay_build import (
    FLAGS,
    SOURCE,
    _block,
    compile_to,
    compiler,
    native,
    patch,
    read_baked,
)
from tests import cgi, relay_edges, relays
from tests.relay_stand import NAME, STDERR, STDOUT, Conversation, Stand, document, end, record

REQUIRED = os.environ.get("GATEBRIDGE_REQUIRE_FRONTS") == "1"  # as for servers that are missing

# What they find goes to files: a row may close standard error, or expect a failure.
SANITIZER = """
const char *__asan_default_options(void) {{ return "log_path={0}/asan:exitcode=99"; }}
const char *__ubsan_default_options(void) {{ return "log_path={0}/ubsan:exitcode=99"; }}
"""
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
VALGRIND = ("-q", "--error-exitcode=99", "--track-fds=no", "--undef-value-errors=yes")

# strace follows the relay, not the shell and valgrind around it; the rest is load, not memory.
NOT_VALGRIND = {
    "C01_every_variable_arrives_as_its_bytes",  # valgrind adds some
    "a_hundred_at_once_start_exactly_one",
    "a_process_limit_is_told_once_and_answered_alone",
    "a_request_of_which_a_byte_went_is_not_sent_again",
    "a_request_of_which_no_byte_went_is_sent_again",
    "fifty_MB_both_ways",
    "records_may_be_cut_anywhere",
}
BLANK = Baked("/nowhere", NAME, ("/bin/false",), ("/bin/false",))


@dataclass(frozen=True, slots=True)
class Built:
    """A relay to be given its values. findings: where its checker writes what is wrong."""

    data: bytes
    findings: Path
    before: tuple[str, ...] = ()


class Checked(Stand):
    """A stand whose relay was built once for all rows."""

    def __init__(self, built: Built, folder: Path) -> None:
        self.built = built
        super().__init__("c", folder)

    def write(self, how: str = "serve", **changed: object) -> None:
        start = (*self.baked.start[:-1], how)
        self.baked = replace(self.baked, **{"start": start, **changed})  # type: ignore[arg-type]
        program = self.folder / "relay" if self.built.before else self.file
        program.unlink(missing_ok=True)
        program.write_bytes(patch(self.built.data, _block(self.baked)))
        program.chmod(0o755)
        if self.built.before:
            words = " ".join(self.built.before)
            self.file.write_text(f'#!/bin/sh\nexec {words} {program} "$@"\n')
            self.file.chmod(0o755)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        found = [path.read_text() for path in self.built.findings.iterdir()]
        assert "".join(found) == ""


def built(folder: Path, *flags: str, before: tuple[str, ...] = ()) -> Built:
    if not compiler():
        pytest.skip("no C compiler")
    findings = folder / "findings"
    findings.mkdir()
    compile_to(str(folder / "relay"), _block(BLANK), [*compiler(), *FLAGS, "-Werror", *flags])
    return Built((folder / "relay").read_bytes(), findings, before)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Built:
    return built(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory) -> Built:
    folder = tmp_path_factory.mktemp("sanitized")
    options = folder / "options.c"
    options.write_text(SANITIZER.format(folder / "findings"))
    try:
        return built(folder, *SANITIZED, str(options))
    except ConfigError as error:
        if REQUIRED:
            raise
        pytest.skip(f"no sanitizers: {error}")


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Built:
    path = shutil.which("valgrind")
    if not path:
        assert not REQUIRED, "valgrind is missing: apt install valgrind"
        pytest.skip("no valgrind")
    folder = tmp_path_factory.mktemp("watched")
    before = (path, *VALGRIND, f"--log-file={folder}/findings/%p")
    return built(folder, "-g", before=before)


ROWS = [*relays.ROWS, *relay_edges.ROWS]
# Real daemons take a second to start, and reach nothing of the relay that others do not.
CHECKED = [row for row in ROWS if not row.__name__.startswith("real_")]


@pytest.mark.parametrize("row", ROWS, ids=relays.name)
def test_relay(row: Callable[[Stand], None], plain: Built, tmp_path: Path) -> None:
    with Checked(plain, tmp_path) as stand:
        row(stand)


@pytest.mark.parametrize("row", CHECKED, ids=relays.name)
def test_T1_no_byte_is_read_or_written_beside_its_buffer(
    row: Callable[[Stand], None], sanitized: Built, tmp_path: Path
) -> None:
    with Checked(sanitized, tmp_path) as stand:
        row(stand)


@pytest.mark.parametrize(
    "row", [row for row in CHECKED if row.__name__ not in NOT_VALGRIND], ids=relays.name
)
def test_T1_no_byte_is_used_that_was_never_set(
    row: Callable[[Stand], None], watched: Built, tmp_path: Path
) -> None:
    with Checked(watched, tmp_path) as stand:
        row(stand)


def mutated(chance: random.Random) -> bytes:
    """An answer of a daemon gone mad: some bytes changed, some missing, some twice."""
    answer = bytearray(record(STDOUT, document(b"x" * chance.randrange(300)), pad=3))
    answer += record(STDERR, b"e\n") + record(99, b"zz") + end(chance.randrange(300))
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(answer) - 8)
        what = chance.randrange(3)
        if what == 0:
            answer[at] = chance.choice((0, 1, 3, 6, 7, 127, 128, 255))
        elif what == 1:
            del answer[at : at + chance.randrange(9)]
        else:
            answer[at:at] = answer[at : at + chance.randrange(40)]
    return bytes(answer)


def test_T1_T16_no_answer_of_a_daemon_breaks_it(sanitized: Built, tmp_path: Path) -> None:
    chance = random.Random(4)

    def script(talk: Conversation) -> None:
        talk.request()
        talk.send(mutated(chance))

    with Checked(sanitized, tmp_path) as stand:
        stand.peer(script)
        for _ in range(60):
            done = stand.ask()
            assert done.code != 99, done
            assert done.out.count(b"Status: ") <= 1, done


@pytest.mark.parametrize("flags", [("-O0",), ("-O3",), ("-O2", "-pedantic", "-Wshadow")])
def test_it_compiles_without_a_warning(flags: tuple[str, ...], tmp_path: Path) -> None:
    built(tmp_path, *flags)


def test_it_is_installed_beside_the_modules() -> None:
    """The wheel and the source package take the folder as it is, but for what git ignores."""
    assert Path(SOURCE).is_file()
    assert Path(SOURCE).parent == Path(relay_build.__file__).parent


def test_the_source_is_short_and_asks_for_no_memory() -> None:
    text = Path(SOURCE).read_text("ascii")
    assert text.count("\n") < 400
    assert max(map(len, text.splitlines())) <= 100
    assert not any(f"{name}(" in text for name in ("malloc", "calloc", "realloc", "alloca"))
    assert not any(f"{name}(" in text for name in ("strcpy", "strcat", "sprintf", "gets", "system"))


ODD = Baked("/srv/b \"'\\é\udcff%s\n", NAME, ("/a b", "", "-c", 'x = "1"\n??/\\'), ("/é", ""), 7, 9)


@pytest.fixture
def no_prebuilt(monkeypatch) -> None:
    monkeypatch.setattr(relay_build, "prebuilt", lambda: b"")


def test_every_byte_of_its_values_comes_back(no_prebuilt: None) -> None:
    assert read_baked(native(ODD)) == ODD


def test_a_relay_of_the_package_is_given_its_values(plain: Built, monkeypatch) -> None:
    monkeypatch.setattr(relay_build, "prebuilt", lambda: plain.data)
    monkeypatch.setattr(relay_build, "compiler", lambda: [])
    found = native(ODD)
    assert read_baked(found) == ODD
    assert len(found) == len(plain.data)


@pytest.mark.parametrize(
    "data", [b"", b"#!/bin/sh\n", b"\x7fELF" + bytes(9000), b"gatebridge relay"]
)
def test_another_file_is_no_relay(data: bytes) -> None:
    assert read_baked(data) is None


def test_a_relay_without_values_is_none_and_says_usage(tmp_path: Path) -> None:
    path = tmp_path / "relay"
    subprocess.run([*compiler(), *FLAGS, "-o", str(path), SOURCE], check=True)
    assert read_baked(path.read_bytes()) is None
    done = cgi.ask([str(path)], REQUEST_METHOD=None)
    assert (done.code, done.out) == (2, b"")


def test_without_values_a_request_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "relay"
    subprocess.run([*compiler(), *FLAGS, "-o", str(path), SOURCE], check=True)
    done = cgi.ask([str(path)], folder=Path("/"))
    assert done.code == 1
    assert done.status == "500 Internal Server Error"
    assert "relay.oneshot incident " in done.errors


def test_what_does_not_fit_is_refused(no_prebuilt: None) -> None:
    for baked in (
        replace(BLANK, start=("/" + "x" * 9000,)),
        replace(BLANK, start=("/x",) * 65),
        replace(BLANK, oneshot=("/x\0y",)),
    ):
        with pytest.raises(ConfigError) as raised:
            native(baked)
        assert raised.value.code == "shim.too_long"


def test_no_compiler_is_told(no_prebuilt: None, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigError) as raised:
        native(BLANK)
    assert raised.value.code == "shim.no_compiler"


@pytest.mark.parametrize("command", ["/bin/false", "/absent/cc"])
def test_a_compiler_that_fails_is_told(command: str, no_prebuilt: None, monkeypatch) -> None:
    monkeypatch.setenv("CC", command)
    with pytest.raises(ConfigError) as raised:
        native(BLANK)
    assert raised.value.code == "shim.compile"
    assert command in raised.value.detail


def test_a_machine_without_a_static_library_gets_a_dynamic_one(
    no_prebuilt: None, monkeypatch, tmp_path: Path
) -> None:
    script = tmp_path / "cc"
    real = compiler()[0]
    script.write_text(
        f'#!/bin/sh\nfor word; do [ "$word" != -static ] || exit 1; done\nexec {real} "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    assert b"/ld-" in native(BLANK)
