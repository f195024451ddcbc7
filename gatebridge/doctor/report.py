"""Checks run one after the other, and what they found in the order to read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatebridge.doctor.check import BROKEN, LINKS
from gatebridge.errors import GatebridgeError
from gatebridge.serve.escape import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatebridge.doctor.check import Check, Finding
    from gatebridge.doctor.facts import Facts


@dataclass(frozen=True, slots=True)
class Found:
    """A finding. because: the id of what is found, too, and has this for a consequence."""

    check: Check
    finding: Finding
    because: str = ""

    @property
    def is_broken(self) -> bool:
        return self.finding.severity == BROKEN


@dataclass(frozen=True, slots=True)
class Report:
    """found: the first broken link first, then warnings, then consequences.

    undecided  (id, why) of checks that could not tell
    """

    found: list[Found] = field(default_factory=list)
    undecided: list[tuple[str, str]] = field(default_factory=list)
    count: int = 0

    @property
    def is_broken(self) -> bool:
        return any(one.is_broken for one in self.found)

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "broken": self.is_broken,
            "checks": self.count,
            "findings": [
                {
                    "id": one.check.id,
                    "link": one.check.link,
                    "severity": one.finding.severity,
                    "cause": one.finding.cause,
                    "evidence": one.finding.evidence,
                    "mend": one.finding.mend,
                    "because": one.because,
                }
                for one in self.found
            ],
            "undecided": [{"id": id, "why": why} for id, why in self.undecided],
        }


def examine(facts: Facts, checks: Iterable[Check]) -> Report:
    """Ask every check. One that cannot tell keeps no other from being asked."""
    report = Report(count=len(tuple(checks)))
    found: list[tuple[Check, Finding]] = []
    for check in checks:
        try:
            finding = check.run(facts)
        except (OSError, GatebridgeError) as error:
            report.undecided.append((check.id, str(error)))
            continue
        if finding is not None:
            found.append((check, finding))
    report.found.extend(_in_order(found))
    return report


def _in_order(found: list[tuple[Check, Finding]]) -> list[Found]:
    """sorted() keeps the checks of one link in their order."""
    causes = {
        id: check.id
        for check, finding in reversed(found)
        if finding.severity == BROKEN
        for id in check.explains
    }
    named = [Found(check, finding, causes.get(check.id, "")) for check, finding in found]
    return sorted(
        named,
        key=lambda one: (bool(one.because), not one.is_broken, LINKS.index(one.check.link)),
    )


def lines(report: Report) -> Iterator[str]:
    """For a person. What comes from elsewhere is made safe for a terminal."""
    for number, one in enumerate(report.found):
        if number:
            yield ""
        said = f"{one.finding.severity}: {one.finding.cause}"
        yield escape(f"{said} [{one.check.link}, {one.check.id}]")
        if one.because:
            yield f"  follows from {one.because}"
        seen = [escape(line) for line in one.finding.evidence.splitlines()] or [""]
        yield f"  seen: {seen[0]}"
        yield from (f"        {line}" for line in seen[1:])
        yield escape(f"  mend: {one.finding.mend}")
    if not report.found:
        yield f"nothing is wrong as far as {report.count} checks can tell"
    for id, why in report.undecided:
        yield escape(f"could not tell: {id}: {why}")
