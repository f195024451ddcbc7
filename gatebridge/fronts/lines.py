"""Lines of a configuration: reasons as comments, blocks, and how a number is written."""

from __future__ import annotations


def because(reason: str, *lines: str) -> list[str]:
    """Lines with the reason for them above."""
    return [f"# {reason}", *lines]


def indented(lines: list[str], by: str = "    ") -> list[str]:
    return [by + line if line else "" for line in lines]


def braces(head: str, inside: list[str], by: str = "    ") -> list[str]:
    """A block as nginx and Caddy write it."""
    return [f"{head} {{", *indented(inside, by), "}"]


def text(lines: list[str]) -> str:
    """The lines as a file has them."""
    return "\n".join(lines) + "\n"


def whole_seconds(value: float) -> str:
    """Seconds without a fraction, rounded up: "65"."""
    return str(-int(-value // 1))


def shortest_size(size: int) -> str:
    """Bytes as nginx and its kin read them: "1g", "64m", "1000"."""
    for letter, factor in (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)):
        if size and size % factor == 0:
            return f"{size // factor}{letter}"
    return str(size)
