"""Generated files where the distribution keeps them, never over what somebody else wrote."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
import tempfile

from gatebridge.errors import ConfigError

_MARK = re.compile(r"written by gatebridge conf, sha256 ([0-9a-f]{64})")
_MODE = 0o644


def install(path: str, text: str, comment: str, *, parents: bool = False) -> bool:
    """Write a file, all of it or nothing; False when it is there already, word for word.

    The first line says whose it is, with a digest of the rest: a file without it, or one that was
    edited since, stays as it is.

    comment  what begins a comment there
    parents  make every folder above that is missing, not only the last one
    raises   ConfigError("conf.foreign"), ConfigError("conf.edited"), ConfigError("conf.write")
    """
    try:
        found = _read(path)
        if found is not None:
            _must_be_ours(path, found, text)
        made = marked(text, comment)
        if found == made:
            return False
        folder = os.path.dirname(path)
        if parents:
            os.makedirs(folder, exist_ok=True)
        elif not os.path.isdir(folder):
            os.mkdir(folder)
        write(path, made)
    except OSError as error:
        raise ConfigError("conf.write", f"cannot write {path}: {error.strerror}") from error
    return True


def marked(text: str, comment: str) -> str:
    """The text below a line that says whose it is."""
    return f"{comment} written by gatebridge conf, sha256 {_digest(text)}\n{text}"


def write(path: str, text: str) -> None:
    """Replace a file at once. raises OSError"""
    folder, name = os.path.split(os.path.abspath(path))
    fd, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _MODE)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: str) -> str | None:
    """What is there, or None. raises OSError, ConfigError("conf.foreign")"""
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(about.st_mode):
        raise ConfigError("conf.foreign", f"{path} is no ordinary file; move it away")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _must_be_ours(path: str, found: str, text: str) -> None:
    first, _, rest = found.partition("\n")
    mark = _MARK.search(first)
    if not mark:
        why = "was not written by gatebridge conf; move it away, or write elsewhere with -o FILE"
        raise ConfigError("conf.foreign", f"{path} {why}")
    if mark[1] != _digest(rest):
        lines = difflib.unified_diff(
            rest.splitlines(), text.splitlines(), path, "gatebridge conf", lineterm="", n=1
        )
        shown = "\n".join(line.encode("utf-8", "replace").decode("utf-8") for line in lines)
        why = "was edited since gatebridge conf wrote it; move it away, and put your lines back"
        raise ConfigError("conf.edited", f"{path} {why}\n{shown}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
