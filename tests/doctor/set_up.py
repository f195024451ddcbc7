"""Set-ups for the doctor, sound until a test breaks them, and what the doctor says of them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatebridge.config import Asked, resolve
from gatebridge.doctor.checks import CHECKS
from gatebridge.doctor.facts import Facts, Meant
from gatebridge.doctor.machine import Machine
from gatebridge.doctor.report import Report, examine

BROKEN_APPLICATION = "import absent_module\n"


class Fake(Machine):
    """A system whose /proc, /sys, /etc and /run lie in a folder; what is not there is the real one.

    labels  SELinux label of a path
    clock   None for the real one
    """

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.labels: dict[str, str] = {}
        self.clock: float | None = None

    def write(self, path: str, text: str) -> None:
        file = Path(f"{self.root}{path}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def process_is(self, pid: int, name: str, uid: int, words: Sequence[str] = ()) -> None:
        self.write(f"/proc/{pid}/comm", f"{name}\n")
        self.write(f"/proc/{pid}/status", f"Name:\t{name}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        self.write(f"/proc/{pid}/cmdline", "\0".join(words))

    def label(self, path: str) -> str:
        return self.labels.get(path, "")

    def now(self) -> float:
        return super().now() if self.clock is None else self.clock


def configured(app: str = "shop:app", file: str = "", **flags: Any) -> dict[str, Any]:
    """For Meant: what serve is told."""
    return {"configuration": resolve(Asked(app=app, file=file, flags=flags, environ={}))}


def doctor(machine: Machine | None = None, **meant: Any) -> Report:
    return examine(Facts(Meant(**meant), machine), CHECKS)


def ids(report: Report) -> list[str]:
    return [one.check.id for one in report.found]


def first(report: Report) -> str:
    assert report.found, report.undecided
    return report.found[0].check.id


def own_name() -> str:
    return str(os.geteuid())
