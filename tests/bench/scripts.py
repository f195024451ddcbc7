"""A script that imports cgi, json, sqlite3 and datetime: exec, warm and inproc beside each other.

Through the launchers alone, from one client at a time, so that the ratios are those of the modes
and not of a server in front. CPU time is that of this process and of everything it has started.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gatebridge.apps.execute import Execute
from gatebridge.apps.inprocess import InProcess
from gatebridge.apps.options import ScriptOptions
from gatebridge.apps.running import Call, Launcher
from gatebridge.apps.warm import Warm
from tests.apps.hosting import run, until

SCRIPT = f"""#!{sys.executable}
import warnings
warnings.simplefilter("ignore")
import cgi, datetime, json, sqlite3
form = cgi.FieldStorage()
print("Content-Type: application/json\\n")
print(json.dumps({{"name": form.getfirst("name"), "at": datetime.datetime.now().isoformat()}}))
"""
ROUNDS = 5
COUNTS = {"exec": 20, "warm": 200, "inproc": 1000}  # requests of a round
ENVIRONMENT = {b"REQUEST_METHOD": b"GET", b"QUERY_STRING": b"name=x", b"PATH": b"/usr/bin:/bin"}
TICKS = 100


def cpu_s() -> float:
    """Of this process and all below it, those that have ended and been waited for too."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            spent[int(entry.name)] = sum(map(int, fields[11:15]))
    own = {int(Path("/proc/self").readlink().name)}
    while more := {pid for pid, parent in parents.items() if parent in own} - own:
        own |= more
    return sum(spent[pid] for pid in own) / TICKS


def measure(launcher: Launcher, asked: Call, count: int) -> tuple[float, float]:
    """Seconds and seconds of CPU, each for one request."""
    cpu, begun = cpu_s(), time.perf_counter()
    for _ in range(count):
        done = run(launcher, asked)
        if done.status:
            sys.exit(done.err)
    return (time.perf_counter() - begun) / count, (cpu_s() - cpu) / count


def scripts() -> None:
    options = ScriptOptions()
    warm = Warm(options)
    launchers: dict[str, Launcher] = {"exec": Execute(), "warm": warm, "inproc": InProcess(options)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.py")
        path.write_text(SCRIPT)
        path.chmod(0o755)
        asked = Call(str(path), (), ENVIRONMENT, folder, False, {})
        for launcher in launchers.values():
            for _ in range(3):
                run(launcher, asked)
        until(warm.is_warm)
        took: dict[str, list[tuple[float, float]]] = {name: [] for name in launchers}
        for _ in range(ROUNDS):
            for name, launcher in launchers.items():
                took[name].append(measure(launcher, asked, COUNTS[name]))
    for launcher in launchers.values():
        launcher.close()
    report(took, statistics.median)


def report(
    took: dict[str, list[tuple[float, float]]], middle: Callable[[list[float]], float]
) -> None:
    base = middle([seconds for seconds, _ in took["exec"]])
    for name, rounds in took.items():
        seconds = middle([seconds for seconds, _ in rounds])
        cpu = middle([cpu for _, cpu in rounds])
        print(f"scripts: {name}: {1 / seconds:.0f} requests/s, {cpu * 1e3:.2f} ms CPU", end="")
        print(f", {base / seconds:.1f} x exec" if name != "exec" else "")
