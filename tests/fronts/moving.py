"""A cgi-bin of old programs that moves to WSGI, the visitors it has meanwhile, and who answers.

The programs are those of cgi_bin_old, and what takes their places are the applications of
cgi_bin_new. Every visitor asks for one after the other and knows what must come back.
"""

import contextlib
import hashlib
import http.client
import itertools
import os
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.apps.hosted import python_of
from tests.fronts.servers import Server, free_port, start
from tests.fronts.sites import Ground, Site, Sockets
from tests.serve.service import Service

HERE = Path(__file__).resolve().parent
OLD, NEW = frozenset(["old"]), frozenset(["new"])
TIMEOUT_S = 60.0
PYTHON = f"{sys.executable} -I"  # what #!python stands for

# program: how the old one is run, and which application is the new one
PROGRAMS = {
    "guestbook.cgi": ("warm", "guestbook"),
    "upload.cgi": ("warm", "upload"),
    "calc.py": ("inproc", "calc"),
    "report.cgi": ("cgi", "report"),
    "search.pl": ("cgi", "search"),
    "counter.pl": ("cgi", "counter"),
    "status.sh": ("cgi", "status"),
    "digest.cgi": ("cgi", "digest"),
    "go.pl": ("cgi", "go"),
    "find.sh": ("cgi", "find"),
    "nph-progress.py": ("warm", "progress"),
    "feed.sh": ("cgi", "feed"),
}


def build(folder: Path) -> list[str]:
    """Make cgi-bin, data and site in a folder; the programs that this machine can run."""
    for name in ("cgi-bin", "data", "site"):
        (folder / name).mkdir(mode=0o755)
    shutil.copy(HERE / "cgi_bin_new.py", folder / "site" / "newsite.py")
    cgi_bin = folder / "cgi-bin"
    source = HERE / "cgi_bin_old" / "digest.c"
    subprocess.run(["cc", "-o", cgi_bin / "digest.cgi", source], check=True, timeout=60)
    python2 = python_of("2.7")
    for path in sorted((HERE / "cgi_bin_old").iterdir()):
        if path.suffix == ".c" or (path.name == "report.cgi" and not python2):
            continue
        text = path.read_text()
        text = text.replace("#!python2\n", f"#!{python2}\n").replace("#!python\n", f"#!{PYTHON}\n")
        (cgi_bin / path.name).write_text(text)
        (cgi_bin / path.name).chmod(0o755)
    return [name for name in PROGRAMS if (cgi_bin / name).exists()]


def front(folder: Path, module, text: Callable[[Ground], str]) -> Server:
    """A web server before the socket "s" of a folder."""
    own = folder / "front"
    own.mkdir()

    def begin() -> Server:
        sockets = Sockets(str(folder / "s"), "", "", "", "", "")
        ground = Ground(free_port(), sockets, own, own, own)
        return module.start([(Site("front-cgi-bin", text), ground)])

    return start(begin)


@dataclass(frozen=True)
class Asked:
    """One request, and what must come back from either side."""

    program: str
    path: str
    want: str
    body: bytes | None = None
    type: str = "application/x-www-form-urlencoded"
    status: int = 200
    location: str = ""


def ask_guestbook(number: int) -> Asked:
    name, body = f"v{number}", f"name=v{number}&text=b%C3%A4r".encode()
    return Asked("guestbook.cgi", "", f"thank you, {name}\n", body, status=201)


def ask_upload(number: int) -> Asked:
    data = bytes([number % 256]) * (30_000 + number)
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--xyz--\r\n"
    )
    want = f"a.bin {len(data)} {hashlib.sha256(data).hexdigest()}\n"
    return Asked("upload.cgi", "", want, body, "multipart/form-data; boundary=xyz")


def ask_digest(number: int) -> Asked:
    data = f"{number} ".encode() * 500
    want = f"{len(data)} {zlib.adler32(data):08x}\n"
    return Asked("digest.cgi", "", want, data, "application/octet-stream")


def ask_calc(number: int) -> Asked:
    return Asked("calc.py", "", f"{number} + 4 = {number + 4}\n", f"n={number}&n=4".encode())


def ask_report(number: int) -> Asked:
    want = "".join(f"row {row} t{number}\n" for row in range(3))
    return Asked("report.cgi", f"?rows=3&title=t{number}", want)


def ask_search(number: int) -> Asked:
    path = f"/books/{number}"
    return Asked("search.pl", f"{path}?q=a+b", f"a b in {path} of /cgi-bin/search.pl\n")


def ask_find(number: int) -> Asked:
    return Asked("find.sh", f"?q=f{number}", f"f{number} in /archive of /cgi-bin/search.pl\n")


def ask_status(number: int) -> Asked:
    want = f"GET /cgi-bin/status.sh?n={number} for me\n"
    return Asked("status.sh", f"?n={number}", want)


def ask_go(number: int) -> Asked:
    location = f"http://www.example.test/docs/p{number}.html"
    return Asked("go.pl", f"?to=p{number}", "", status=302, location=location)


ASKING: dict[str, Callable[[int], Asked]] = {
    "guestbook.cgi": ask_guestbook,
    "upload.cgi": ask_upload,
    "calc.py": ask_calc,
    "report.cgi": ask_report,
    "search.pl": ask_search,
    "counter.pl": lambda number: Asked("counter.pl", "", "count"),
    "status.sh": ask_status,
    "digest.cgi": ask_digest,
    "go.pl": ask_go,
    "find.sh": ask_find,
    "nph-progress.py": lambda number: Asked("nph-progress.py", "", "step 0\nstep 1\nstep 2\n"),
    "feed.sh": lambda number: Asked("feed.sh", "", "begin\nend\n"),
}


@dataclass
class Town:
    """What the visitors of one cgi-bin see and leave.

    sides   of each program, the sides that might answer, one entry after the other: while a
            route is switched both, once the command has returned only the one it was set to
    counts  what the counter told, in any order
    names   written into the guestbook
    """

    programs: list[str]
    sides: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.sides = {name: [OLD] for name in self.programs}

    @contextlib.contextmanager
    def switching(self, program: str, side: frozenset[str]) -> Iterator[None]:
        self.sides[program].append(OLD | NEW)
        yield
        self.sides[program].append(side)

    def now(self) -> dict[str, int]:
        return {name: len(entries) - 1 for name, entries in self.sides.items()}

    def since(self, program: str, then: dict[str, int]) -> frozenset[str]:
        """The sides that might have answered a request that was sent then."""
        return frozenset().union(*self.sides[program][then[program] :])

    def visitor(self, port: int) -> Callable[[], "Visitor"]:
        return lambda: Visitor(self, port)

    def left(self, data: Path) -> None:
        """Every visit was counted once, and everything written is there."""
        assert sorted(self.counts) == list(range(1, len(self.counts) + 1))
        lines = (data / "guestbook").read_text().splitlines()
        assert sorted(lines) == sorted(f"{name}: bär" for name in self.names)


class Visitor:
    """Asks for one program after the other on a connection that is kept."""

    def __init__(self, town: Town, port: int) -> None:
        self.town = town
        self.next = itertools.cycle(town.programs)
        for _ in range(next(town.numbers) % len(town.programs)):
            next(self.next)
        self.kept = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def __call__(self) -> str:
        """The program, and the side that answered."""
        with self.town.lock:
            number = next(self.town.numbers)
        asked = ASKING[next(self.next)](number)
        then = self.town.now()
        try:
            found, text = self._exchange(asked)
        except http.client.HTTPException as error:
            raise AssertionError(f"{asked.program}: {error!r}") from error
        what = f"{asked.program}: {found.status} {found.getheaders()} {text!r}"
        assert found.status == asked.status, what
        side = found.getheader("X-Side")
        if asked.program == "find.sh" and not found.getheader("X-Found"):
            assert side in self.town.since("search.pl", then), what
            side = "old"
        assert side in self.town.since(asked.program, then), what
        assert (found.getheader("Location") or "") == asked.location, what
        self._remember(asked, text, what)
        return f"{asked.program} {side}"

    def _exchange(self, asked: Asked) -> tuple[http.client.HTTPResponse, str]:
        headers = {"X-Visitor": "me", "Host": "www.example.test"}
        if asked.body is not None:
            headers["Content-Type"] = asked.type
        method = "GET" if asked.body is None else "POST"
        self.kept.request(method, f"/cgi-bin/{asked.program}{asked.path}", asked.body, headers)
        found = self.kept.getresponse()
        return found, found.read().decode()

    def _remember(self, asked: Asked, text: str, what: str) -> None:
        if asked.program == "counter.pl":
            self.town.counts.append(int(text))
            return
        assert text == asked.want, what
        if asked.program == "guestbook.cgi":
            self.town.names.append(text.split()[-1])

    def close(self) -> None:
        self.kept.close()


class Moving(Service):
    """`gatebridge serve -c gatebridge.toml` before the programs of a folder."""

    def __init__(self, folder: Path, programs: list[str], mount: str = "/") -> None:
        self.programs = programs
        self.mount = mount
        self.file = folder / "gatebridge.toml"
        self.say({})
        super().__init__(folder, "-c", str(self.file))

    def match(self, program: str) -> str:
        return f"/cgi-bin/{program}".removeprefix(self.mount.rstrip("/"))

    def say(self, modes: dict[str, str], threads: int = 8, legacy: bool = True) -> None:
        """Write the file. modes: of the routes that are not legacy's; legacy: still there."""
        folder = self.file.parent
        lines = ["[server]", f'bind = "unix:{folder}/s?mode=0666"', f'mount = "{self.mount}"']
        lines += ["workers = 2", f"threads = {threads}", f'pythonpath = "{folder}/site"']
        for program in self.programs:
            how, new = PROGRAMS[program]
            lines += ["[[route]]", f'match = "{self.match(program)}"']
            if legacy:
                lines.append(f'legacy = "{how}:{folder}/cgi-bin/{program}"')
                lines.append(f'new = "newsite:{new}"')
                lines.append(f'mode = "{modes.get(program, "legacy")}"')
            else:
                lines.append(f'target = "newsite:{new}"')
        temporary = folder / "gatebridge.toml.new"
        temporary.write_text("\n".join(lines) + "\n")
        os.replace(temporary, self.file)

    def cli(self, *words: str) -> str:
        """What a command of gatebridge says that asks this daemon."""
        done = subprocess.run(
            [sys.executable, "-m", "gatebridge", *words, "-c", str(self.file)],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (words, done, self.log())
        return done.stdout
