"""How long a command waits, as an option of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import Any

LONGEST_S = 1_000_000.0  # poll() takes no more than twice as much


class Seconds(click.FloatRange):
    """A number that can be waited for: neither nan, which is in every range, nor inf."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


def seconds(least: float = 0.001) -> Seconds:
    return Seconds(min=least, max=LONGEST_S)
