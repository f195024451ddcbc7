"""Why a program could not be started: the system's number into a sentence with the next step."""

from __future__ import annotations

import errno
import os

from gatebridge.errors import AppError

_RESOURCES = {
    errno.EMFILE: "this process has no free descriptor: raise its limit (LimitNOFILE=, ulimit -n)",
    errno.ENFILE: "the system has no free descriptor: raise fs.file-max",
    errno.EAGAIN: "the user may have no more processes: raise the limit (TasksMax=, ulimit -u)",
    errno.ENOMEM: "there is not enough memory",
}
_FIRST_LINE = 256  # bytes of it that the kernel looks at


def start_error(error: OSError, path: str, folder: str) -> AppError:
    """What to tell of a program that the system did not start.

    Codes: script.resources, script.too_big, script.missing, script.interpreter,
    script.not_executable, script.format, script.folder, script.start
    """
    number = error.errno or 0
    if number in _RESOURCES:
        return AppError("script.resources", f"{path} was not started: {_RESOURCES[number]}")
    if number == errno.E2BIG:
        why = "the request's variables are more than the system passes to a program"
        return AppError("script.too_big", f"{path} was not started: {why}")
    if error.filename == folder and not os.access(folder, os.X_OK):
        why = "it cannot be entered: it must exist, with execute permission for this user"
        return AppError("script.folder", f"{path} was not started in {folder}: {why}")
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return _not_found(path)
    if number in (errno.EACCES, errno.EPERM):
        return _not_permitted(path)
    if number == errno.ENOEXEC:
        return AppError("script.format", f"{path} cannot run: {_no_program(path)}")
    if number == errno.ETXTBSY:
        why = "it is open for writing; put new versions there by renaming"
        return AppError("script.busy", f"{path} cannot run now: {why}")
    return AppError("script.start", f"{path} was not started: {os.strerror(number)}")


def _first_line(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_FIRST_LINE).partition(b"\n")[0]
    except OSError:
        return b""


def interpreter_of(line: bytes) -> str:
    """The program that a "#!" line names, "" without one; a CR at its end belongs to it."""
    words = line[2:].strip(b" \t").split(None, 1) if line.startswith(b"#!") else []
    if not words:
        return ""
    end = "\r" if len(words) == 1 and line.endswith(b"\r") else ""
    return os.fsdecode(words[0]) + end


def _not_found(path: str) -> AppError:
    if not os.path.exists(path):
        why = "it was there when gatebridge started; a reload looks anew"
        return AppError("script.missing", f"there is no {path}: {why}")
    name = interpreter_of(_first_line(path))
    if name.endswith("\r"):
        why = "its first line ends with CR LF, and the CR counts as part of the name: use LF alone"
        return AppError("script.interpreter", f"{path} names the interpreter {name!r}: {why}")
    if name:
        why = "install it, or correct the first line"
        return AppError("script.interpreter", f"{path}: its interpreter {name} is missing; {why}")
    why = "the loader that it was built for is missing (another C library or architecture)"
    return AppError("script.interpreter", f"{path} cannot run: {why}")


def _not_permitted(path: str) -> AppError:
    name = interpreter_of(_first_line(path))
    if not os.access(path, os.X_OK):
        why = "no permission for this user: chmod +x, and x on every folder above it"
    elif name and not os.access(name, os.X_OK):
        why = f"its interpreter {name} is not a program this user may execute"
    elif _is_noexec(path):
        why = "its file system is mounted noexec"
    else:
        why = "the system forbids it (a security module, or a folder of its interpreter)"
    return AppError("script.not_executable", f"{path} cannot run: {why}")


def _is_noexec(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0))
    except OSError:
        return False


def _no_program(path: str) -> str:
    line = _first_line(path)
    if not line:
        return "it is empty, or begins with an empty line"
    if line.startswith(b"\xef\xbb\xbf#!"):
        return 'a byte order mark stands before its "#!": save it without'
    if line.startswith(b"\x7fELF"):
        return "it was built for another machine"
    return 'it has no "#!" line that names its interpreter, and it is no program itself'
