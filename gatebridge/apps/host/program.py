"""A script as the main program of this process: what it finds, how it runs, how it ends."""

from __future__ import annotations

import atexit
import gc
import importlib.machinery
import io
import os
import resource
import sys
import time
import types
import weakref
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatebridge.apps.host.packet import Said
    from gatebridge.apps.host.source import Source

BROKEN_OUTPUT = 120  # the status of an interpreter that cannot write what was printed
_GONE = ("cgi", "cgitb")
_STREAMS = (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w"))


class Streams:
    """How the interpreter sees its standard descriptors, as it decided when it started."""

    __slots__ = ("_codings", "_ready")

    def __init__(self) -> None:
        self._codings: dict[str, tuple[str, str | None]] = {}
        self._ready: dict[str, Any] = {}
        for name, fd, _ in _STREAMS:
            stream = getattr(sys, name)
            if stream is None:  # the descriptor was closed when we began
                self._codings[name] = ("utf-8", "backslashreplace" if fd == 2 else "strict")
            else:
                self._codings[name] = (stream.encoding, stream.errors)

    def prepare(self) -> None:
        """Make the streams of the next script now. Pipes lie under them as they are made."""
        held = [os.dup(place) for place in range(3)]
        read, write = os.pipe()
        for name, place, _ in _STREAMS:
            os.dup2(write if place else read, place)
            self._ready[name] = self._stream(name, place, False)
        for place, fd in enumerate((*held, read, write)):
            if place < 3:
                os.dup2(fd, place)
            os.close(fd)

    def connect(self, fds: Mapping[str, int], null: int, unbuffered: bool) -> None:
        """Put descriptors in the places 0, 1, 2, and new streams over them.

        fds  by the streams' names; null where one is missing
        """
        for name, place, _ in _STREAMS:
            os.dup2(fds.get(name, null), place)
            stream = self._ready.pop(name, None)
            if stream is None or (unbuffered and place):
                stream = self._stream(name, place, unbuffered and place > 0)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)

    def _stream(self, name: str, place: int, unbuffered: bool) -> Any:
        """As the interpreter makes it: no newline is translated."""
        mode = "w" if place else "r"
        raw: Any = open(place, mode + "b", 0 if unbuffered else -1, closefd=False)
        getattr(raw, "raw", raw).name = f"<{name}>"
        encoding, errors = self._codings[name]
        stream: Any = io.TextIOWrapper(
            raw,
            encoding,
            errors,
            newline="\n",
            line_buffering=place == 2,
            write_through=unbuffered,
        )
        stream.mode = mode
        return stream


def enter(request: Said) -> None:
    """Folder, environment, arguments and import path of a request.

    raises  OSError, ValueError
    """
    os.chdir(request["folder"])
    had_zone = "TZ" in os.environ
    if os.environ:
        os.environ.clear()
    for name, value in request["environment"].items():
        os.environb[name] = value
    if had_zone or "TZ" in os.environ:
        time.tzset()
    sys.argv = [request["path"], *request["arguments"]]
    sys.path.insert(0, os.path.dirname(request["path"]))


def limit(limits: dict[str, int], used_cpu_s: int, for_good: bool) -> None:
    """Resource limits of a request.

    used_cpu_s  of processor time that this process has spent before
    for_good    the hard limits too
    raises      OSError, ValueError
    """
    for name, value in limits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", -1)
        if number < 0:  # not on this system
            continue
        most = resource.getrlimit(number)[1]
        soft = value + used_cpu_s if name == "cpu" else value
        hard = soft + 1 if name == "cpu" else soft  # the signal of the soft one can be caught
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(number, (soft, hard if for_good else most))


def run(source: Source, path: str) -> tuple[int, weakref.ref[object]]:
    """Run a script to its end; its exit status, and a mark that lives as long as its names."""
    main = types.ModuleType("__main__")
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    main.__dict__.update(
        __file__=path, __builtins__=sys.modules["builtins"], __loader__=loader, __cached__=None
    )
    if sys.version_info < (3, 14):
        main.__dict__["__annotations__"] = {}
    sys.modules["__main__"] = main
    status = 0
    try:
        code = source.code or compile(source.text, path, "exec", dont_inherit=True)
        exec(code, main.__dict__)
    except SystemExit as error:
        status = _exit_status(error)
    except BaseException as error:  # whatever a script raises
        status = 1
        _print(error, path)
    return status, weakref.ref(loader)


def _exit_status(error: SystemExit) -> int:
    """As the interpreter does: None is 0, a number itself, anything else is printed."""
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    _warn(f"{error.code}\n")
    return 1


def _print(error: BaseException, path: str) -> None:
    trace = error.__traceback__.tb_next if error.__traceback__ else None  # without our own frame
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except BaseException as other:  # a hook of the script's
        if not isinstance(other, SystemExit):
            sys.__excepthook__(type(error), error, trace)
    advice = _advice(error, path)
    if advice:
        _warn(f"{advice}\n")


def _advice(error: BaseException, path: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in _GONE:
        return f'{error.name} is not part of Python 3.13 any more: pip install "gatebridge[legacy]"'
    if isinstance(error, SyntaxError) and error.filename == path:
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"This was read as Python {ours}. A script for Python 2 needs cgi: and its own."
    return ""


def _warn(text: str) -> None:
    try:
        cast("TextIO", sys.stderr).write(text)
    except (AttributeError, OSError, ValueError):  # None, a broken pipe, or closed
        return


def flush(status: int) -> int:
    """Write what has been printed; the exit status of a program that ends so."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (AttributeError, OSError, ValueError):  # a thing of the script's, a broken pipe
            if name == "stdout":
                status = status or BROKEN_OUTPUT
    return status


def forget(
    path: str, mark: weakref.ref[object], news: Callable[[], list[str]], kept: Sequence[str]
) -> None:
    """Drop a script's names and modules, so that its objects end and its files are written.

    path  the script's
    news  modules that have come since it began, by name
    kept  folders whose modules may stay, as they are the installation's
    """
    for name, fd, _ in _STREAMS:  # what the script has put there may be made of its names
        if fd:
            setattr(sys, name, getattr(sys, f"__{name}__"))
    sys.modules.pop("__main__", None)
    folder = os.path.dirname(path)
    for name in news():
        if not is_installed(sys.modules[name], folder, kept):
            del sys.modules[name]
    gc.collect()
    loader = mark()
    if loader is None:
        return
    for names in gc.get_referrers(loader):  # something that stays refers to a function of it
        if isinstance(names, dict) and names.get("__name__") == "__main__":
            names.clear()
    del loader
    gc.collect()


def is_installed(module: object, own: str, kept: Sequence[str]) -> bool:
    """Whether a module is of the library or an installed package, not of the script's folder."""
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return bool(places) and all(_nearest(place, [own, *kept]) not in ("", own) for place in places)


def _nearest(path: str, folders: Sequence[str]) -> str:
    """The innermost of some folders that a file lies in: a script may live beside its packages."""
    found = [folder for folder in folders if path.startswith(folder.rstrip("/") + "/")]
    return max(found, key=len, default="")


def end(
    path: str,
    status: int,
    mark: weakref.ref[object],
    news: Callable[[], list[str]],
    kept: Sequence[str],
) -> int:
    """What an interpreter does when its main program is over; the exit status."""
    threading: Any = sys.modules.get("threading")
    try:
        if threading is not None:
            threading._shutdown()  # waits for threads
        atexit._run_exitfuncs()
    except BaseException as error:  # whatever a thread's end or a handler raises
        _print(error, "")
    status = flush(status)
    forget(path, mark, news, kept)
    return flush(status)
