"""The rows in process, judged without assert: what test_W066 runs under ``python -O``.

python -O -m tests.suite.optimized FOLDER
"""

import sys
from pathlib import Path

from tests.suite import apps
from tests.suite.differences import runs, wanted
from tests.suite.inprocess import InProcess
from tests.suite.modes import new_token, noted, write_entry
from tests.suite.rows import DIRECT
from tests.suite.want import Row


def faults(mode: InProcess, row: Row) -> list[str]:
    """What is wrong with the answer; [] for nothing."""
    want = wanted(row, mode.name)
    token = new_token()
    resp = mode.send(row.req.plus(("Suite-App", row.app), ("Suite-Token", token)))
    if want.cut:
        return [] if resp.cut or resp.status >= 500 else [f"not cut: {resp!r}"]
    wrong = [f"{resp!r}"] if resp.cut or resp.status != want.status else []
    wrong += [f"{name}: {resp!r}" for name in want.absent if resp.all(name)]
    wrong += [f"{n}: {resp!r}" for n, values in want.headers.items() if resp.all(n) != values]
    if want.body is not None and want.body != resp.body:
        wrong.append(f"body: {resp!r}")
    if want.ledger is not None and noted(mode, token) != want.ledger:
        wrong.append(f"ledger: {noted(mode, token)}")
    return wrong


def main(folder: Path) -> int:
    if __debug__:
        print("meant for python -O")
        return 2
    write_entry(folder)
    apps.registry.ledger_path = str(folder / "ledger")
    mode = InProcess(folder)
    rows = [row for row in DIRECT if runs(row, mode.name, "", chunked=False)]
    failed = 0
    for row in rows:
        for fault in faults(mode, row):
            failed += 1
            print(f"{row.id}: {fault}")
    print(f"{len(rows)} rows, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
