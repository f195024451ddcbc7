"""What another server's configuration says, as gatebridge.toml: `gatebridge config from`."""

from __future__ import annotations

import json
import os
from typing import Final

from gatebridge.config.document import TABLES
from gatebridge.errors import PeerError, UseError
from gatebridge.wire.scan import decimal

MOST_BYTES: Final = 1 << 20
_MOST: Final = 1 << 53  # what TOML's readers agree on


class Taken:
    """What was understood of a file.

    app     the target; "" where the file names none
    values  option -> what TOML may hold
    env     name -> value of the application's environment
    left    (key, why it was not taken), in the file's order
    """

    def __init__(self) -> None:
        self.app = ""
        self.values: dict[str, str | int | bool | list[str]] = {}
        self.env: dict[str, str] = {}
        self.left: list[tuple[str, str]] = []

    def bind(self, text: str) -> None:
        binds = self.values.setdefault("bind", [])
        if isinstance(binds, list):
            binds.append(text)

    def leave(self, key: str, why: str) -> None:
        self.left.append((key, why))


def read(path: str) -> str:
    """raises UseError("config.unreadable")"""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UseError("config.unreadable", f"{path}: {error}") from error
    if len(text) > MOST_BYTES:
        raise UseError("config.unreadable", f"{path} is larger than {MOST_BYTES} bytes")
    return text


def number(taken: Taken, key: str, option: str, value: str) -> None:
    try:
        taken.values[option] = decimal(value, _MOST)
    except PeerError:
        taken.leave(key, f"{value[:40]!r} is no number that an option takes")


def tcp(scheme: str, text: str, taken: Taken, key: str) -> str:
    """HOST:PORT or :PORT as a bind; what is not of this machine alone is told."""
    host, _, port = text.rpartition(":")
    if host in ("", "*"):
        host = "0.0.0.0"  # noqa: S104 - that is what it means to them
    if host not in ("127.0.0.1", "[::1]", "localhost"):
        taken.leave(key, f"{host} is open to others: write ?allow=ADDRESS of the front server")
    return f"{scheme}://{host}:{port}"


def render(path: str, taken: Taken) -> str:
    """The text of a gatebridge.toml."""
    lines = [f"# From {os.path.basename(path)}, by gatebridge config from.", ""]
    if taken.app:
        lines += [f"app = {_toml(taken.app)}", ""]
    for table, names in TABLES.items():
        found = [name for name in taken.values if name in names]
        if found:
            lines.append(f"[{table}]")
            lines += [f"{name} = {_toml(taken.values[name])}" for name in found]
            lines.append("")
    if taken.env:
        lines.append("[server.env]")
        lines += [f"{_toml(name)} = {_toml(value)}" for name, value in taken.env.items()]
        lines.append("")
    if taken.left:
        lines.append("# Not taken over:")
        lines += [f"#   {key}: {why}".replace("\n", " ") for key, why in taken.left]
    return "\n".join(lines).rstrip() + "\n"


def _toml(value: str | int | bool | list[str]) -> str:
    return json.dumps(value)  # strings, numbers, booleans and lists look alike in both
