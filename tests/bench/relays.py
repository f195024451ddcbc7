"""python -m tests.bench.relays [SECONDS] [PART-OF-A-NAME ...]

CPU time of one CGI request under Apache's mod_cgid, as cgroups count it: server and script, and
what the relays' daemons take beside them for the application. A C program and a bare interpreter
that print the same stand beside the relays, and the same applications as one-shot CGI. Needs
Apache, wrk, a C compiler, Flask and Django, and a cgroup that this user may make; the relays start
their daemons themselves.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gatebridge.relay_build import native
from gatebridge.relay_text import bake, relay_text
from gatebridge.shim import one_shot, write
from tests.bench.stand import fetch, program, wait_for
from tests.fronts.apache import modules
from tests.fronts.servers import free_port, unprivileged

ROUNDS = 3
CLIENTS = 4
HELLO = "Content-Type: text/plain\\r\\nContent-Length: 13\\r\\n\\r\\nHello, world!"
BODY = b"Hello, world!"
C = f'#include <stdio.h>\nint main(void) {{ fputs("{HELLO}", stdout); return 0; }}\n'
APPS = {
    "flask": """
from flask import Flask
app = Flask(__name__)
@app.route("/")
def hello():
    return "Hello, world!", 200, {"Content-Type": "text/plain"}
""",
    "django": """
from django.conf import settings
settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", DEBUG=False)
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("Hello, world!", "text/plain"))]
app = get_wsgi_application()
""",
}
CONF = """
ServerRoot "{folder}"
{modules}
PidFile "{folder}/apache.pid"
ErrorLog "{folder}/error.log"
ScriptSock "{folder}/cgid"
Mutex "file:{folder}" default
ServerName localhost
Listen 127.0.0.1:{port}
TypesConfig /dev/null
ScriptAlias "/cgi-bin/" "{folder}/bin/"
<Directory "{folder}/bin">
 Require all granted
</Directory>
"""


class Cgroup:
    """CPU seconds of every process that joined, and of all that it started."""

    def __init__(self, what: str) -> None:
        self.path: Path | None = None
        for base, name in (("cpuacct", "cpuacct.usage"), ("", "cpu.stat")):
            folder = Path("/sys/fs/cgroup", base, f"gatebridge-{what}-{os.getpid()}")
            with contextlib.suppress(OSError):
                folder.mkdir()
                self.path, self._usage = folder, folder / name
                self.cpu_s()
                return

    def cpu_s(self) -> float:
        if self.path is None:
            return 0.0
        text = self._usage.read_text()
        if "usage_usec" in text:
            return int(text.partition("usage_usec")[2].split()[0]) / 1e6
        return int(text) / 1e9

    def join(self, pid: int = 0) -> None:
        if self.path is not None:
            (self.path / "cgroup.procs").write_text(str(pid or os.getpid()))

    def remove(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)
        wait_for(lambda: not self.pids(), "the end of what was started")
        if self.path is not None:
            self.path.rmdir()

    def pids(self) -> list[int]:
        if self.path is None:
            return []
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]


def scripts(folder: Path) -> list[str]:
    """Write everything that is measured into folder/bin. Returns the names."""
    bin = folder / "bin"
    bin.mkdir()
    (folder / "state").mkdir()
    (folder / "state").chmod(0o1777)
    compiler = program("cc", "gcc")
    subprocess.run(
        [compiler, "-O2", "-x", "c", "-o", str(bin / "c"), "-"], input=C, text=True, check=True
    )
    flags = "#!" + sys.executable + " -ISE\n"
    write(str(bin / "bare-python"), f'{flags}import sys\nsys.stdout.write("{HELLO}")\n', False)
    for name, text in APPS.items():
        (folder / f"{name}_site.py").write_text(text)
        target = f"{name}_site:app"
        write(str(bin / f"{name}-oneshot"), one_shot(target, str(folder), None), False)
        baked = bake(target, str(folder), None, str(folder / "state"))
        write(str(bin / f"{name}-relay-py"), relay_text(baked, target), False)
        write(str(bin / f"{name}-relay-c"), native(baked), False)
    return sorted(path.name for path in bin.iterdir())


@contextlib.contextmanager
def apache(folder: Path, cgroup: Cgroup) -> Iterator[str]:
    """Apache before folder/bin; gives the URL of its scripts."""
    port = free_port()
    conf = folder / "apache.conf"
    conf.write_text(CONF.format(folder=folder, port=port, modules=modules()))
    argv = [program("apache2", "httpd"), "-f", str(conf), "-DFOREGROUND"]
    process = subprocess.Popen(unprivileged(argv), preexec_fn=cgroup.join)
    try:
        url = f"http://127.0.0.1:{port}/cgi-bin"
        wait_for(lambda: fetch(f"{url}/c/")[0] == 200, "apache")
        yield url
    finally:
        process.terminate()
        process.wait()


def move_daemons(source: Cgroup, target: Cgroup) -> None:
    for pid in source.pids():
        with contextlib.suppress(OSError):
            if b"gatebridge.autostart" in Path(f"/proc/{pid}/cmdline").read_bytes():
                target.join(pid)


Row = tuple[float, float, float]  # requests a second; CPU ms of one: server and script, daemon


def measured(url: str, server: Cgroup, daemons: Cgroup, seconds: int) -> Row:
    before = server.cpu_s(), daemons.cpu_s()
    argv = [program("wrk"), "-t1", f"-c{CLIENTS}", f"-d{seconds}s", url]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    count = int(out.partition(" requests in ")[0].split()[-1])
    assert "Non-2xx" not in out, out
    of_one = 1e3 / max(count, 1)
    return (
        count / seconds,
        (server.cpu_s() - before[0]) * of_one,
        (daemons.cpu_s() - before[1]) * of_one,
    )


def run(seconds: int = 2, *parts: str) -> None:
    server, daemons = Cgroup("server"), Cgroup("daemons")
    with tempfile.TemporaryDirectory(prefix="gb-bench-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        names = [each for each in scripts(folder) if any(part in each for part in parts or [""])]
        found: dict[str, list[Row]] = {each: [] for each in names}
        try:
            with apache(folder, server) as url:
                for each in found:  # daemons start, .pyc files are written
                    wait_for(lambda each=each: fetch(f"{url}/{each}/") == (200, BODY), each)
                move_daemons(server, daemons)
                for _ in range(ROUNDS):
                    for each in found:
                        found[each].append(measured(f"{url}/{each}/", server, daemons, seconds))
        finally:
            server.remove()
            daemons.remove()
    report(found)


def report(found: dict[str, list[Row]]) -> None:
    medians = {name: [statistics.median(row) for row in zip(*rows, strict=True)]
               for name, rows in found.items()}  # fmt: skip
    cpu = {name: row[1] for name, row in medians.items()}
    for name in sorted(cpu, key=cpu.__getitem__):
        rate, own, daemon = medians[name]
        print(f"relays: {name}: {own:.2f} ms CPU, daemon {daemon:.2f} ms, {rate:.0f} requests/s")
    for app in APPS:
        if len(cpu) < len(APPS) * 3 + 2:
            return
        c, python = cpu[f"{app}-relay-c"], cpu[f"{app}-relay-py"]
        print(f"relays: {app}: C relay {c / cpu['c']:.2f} x a C program,", end=" ")
        print(f"Python relay {python / cpu['bare-python']:.2f} x a bare interpreter;", end=" ")
        once, all_c = medians[f"{app}-oneshot"][1], sum(medians[f"{app}-relay-c"][1:])
        all_python = sum(medians[f"{app}-relay-py"][1:])
        print(f"with the daemon, one-shot takes {once / all_c:.0f} x the C relay", end=" ")
        print(f"and {once / all_python:.0f} x the Python one")


if __name__ == "__main__":
    run(*map(int, sys.argv[1:2]), *sys.argv[2:])
