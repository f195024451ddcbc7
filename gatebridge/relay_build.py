"""The relay in C: built by the machine's compiler, or one that is built already, and its values.

The values lie in the program as one block of fixed size (relay.c, ``relay_baked``), so that a
relay that came with the package gets them without a compiler, and so that they can be read back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.relay_baked import Baked

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
STATIC = ("-s", "-static")  # a third of the start of such a small program is its dynamic linking
COMPILERS = ("cc", "gcc", "clang")

_HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(_HERE, "relay.c")
_BLOCK = struct.Struct("@20s4i8156s")  # magic, wait_s, fresh_s, two counts, text
_MAGIC = b"gatebridge relay".ljust(20, b"\0")
_TEXT = 8156
_MOST_ARGUMENTS = 64
_COMPILE_S = 120.0
_SAID = 500  # characters of what a compiler says


def native(baked: Baked) -> bytes:
    """The executable of a relay.

    raises  ConfigError("shim.no_compiler"), ConfigError("shim.compile"),
            ConfigError("shim.too_long"), each with a sentence
    """
    block = _block(baked)
    built = prebuilt()
    if built:
        return patch(built, block)
    found = compiler()
    if not found:
        raise ConfigError(
            "shim.no_compiler",
            f"no C compiler: none of {', '.join(COMPILERS)} is on PATH, and CC is not set",
        )
    with tempfile.TemporaryDirectory(prefix="gatebridge-relay-") as folder:
        path = os.path.join(folder, "relay")
        try:
            compile_to(path, block, [*found, *FLAGS, *STATIC])
        except ConfigError:  # most systems other than Debian's have no static C library
            compile_to(path, block, [*found, *FLAGS, "-s"])
        with open(path, "rb") as file:
            return file.read()


def prebuilt() -> bytes:
    """The relay that came with the package for this kind of machine, b"" for none."""
    if sys.platform != "linux":
        return b""
    try:
        with open(os.path.join(_HERE, f"relay-{os.uname().machine}"), "rb") as file:
            return file.read()
    except OSError:
        return b""


def compiler() -> list[str]:
    """The command of a C compiler, [] for none. CC in the environment goes first."""
    said = shlex.split(os.environ.get("CC", ""))
    if said:
        return said
    return next(([path] for name in COMPILERS if (path := shutil.which(name))), [])


def compile_to(path: str, block: bytes, command: Sequence[str]) -> None:
    """Compile relay.c with its values into ``path``. raises ConfigError("shim.compile")"""
    header = path + ".h"
    with open(header, "w", encoding="ascii") as file:
        file.write(f"#define RELAY_BAKED {_initializer(block)}\n")
    whole = [*command, "-include", header, "-o", path, SOURCE]
    try:
        done = subprocess.run(
            whole, capture_output=True, text=True, errors="replace", timeout=_COMPILE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError("shim.compile", f"{command[0]} cannot compile it: {error}") from error
    if done.returncode:
        said = done.stderr.strip()[-_SAID:]
        raise ConfigError("shim.compile", f"{command[0]} fails with {done.returncode}: {said}")


def _initializer(block: bytes) -> str:
    """The block in C. No byte of it can be anything but a number there."""
    _, wait_s, fresh_s, start, oneshot, text = _BLOCK.unpack(block)
    numbers = f"{wait_s}, {fresh_s}, {start}, {oneshot}"
    characters = ",".join(f"'\\{byte:03o}'" for byte in text.rstrip(b"\0") + b"\0")
    return f'{{"gatebridge relay", {numbers}, {{{characters}}}}}'


def patch(built: bytes, block: bytes) -> bytes:
    """A built relay with other values. raises ConfigError("shim.compile")"""
    if built.count(_MAGIC) != 1:
        raise ConfigError("shim.compile", "the relay of the package is none: reinstall gatebridge")
    at = built.index(_MAGIC)
    return built[:at] + block + built[at + len(block) :]


def read_baked(data: bytes) -> Baked | None:
    """The values of a built relay; None if it is no relay, or has none."""
    at = data.find(_MAGIC)
    if at < 0 or len(data) - at < _BLOCK.size:
        return None
    _, wait_s, fresh_s, start, oneshot, text = _BLOCK.unpack_from(data, at)
    words = [os.fsdecode(word) for word in text.split(b"\0")]
    if not 0 < start <= _MOST_ARGUMENTS or not 0 < oneshot <= _MOST_ARGUMENTS:
        return None
    if len(words) < 2 + start + oneshot:
        return None
    split = 2 + start
    return Baked(
        words[0],
        words[1],
        tuple(words[2:split]),
        tuple(words[split : split + oneshot]),
        wait_s,
        fresh_s,
    )


def _block(baked: Baked) -> bytes:
    if max(len(baked.start), len(baked.oneshot)) > _MOST_ARGUMENTS:
        raise ConfigError("shim.too_long", f"a relay starts with {_MOST_ARGUMENTS} words at most")
    words = [os.fsencode(word) for word in (baked.base, baked.name, *baked.start, *baked.oneshot)]
    text = b"".join(word + b"\0" for word in words)
    if len(text) > _TEXT or text.count(b"\0") != len(words):
        raise ConfigError(
            "shim.too_long",
            f"paths and options of a relay take {len(text)} bytes, and {_TEXT} is the most: "
            "give the application a shorter path, or its options in a gatebridge.toml",
        )
    counts = (len(baked.start), len(baked.oneshot))
    return _BLOCK.pack(_MAGIC, baked.wait_s, baked.fresh_s, *counts, text)
