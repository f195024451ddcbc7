"""Texts in YAML, as Compose and Kubernetes read it."""

from __future__ import annotations

import json


def quoted(value: str) -> str:
    """A text, whatever it holds: YAML reads JSON's quotes, but not its surrogate pairs."""
    return json.dumps(value, ensure_ascii=False).replace("\x85", "\\u0085").replace(
        "\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\ufeff", "\\ufeff")  # fmt: skip


def listed(values: list[str]) -> str:
    """A list in one line."""
    return f"[{', '.join(map(quoted, values))}]"
