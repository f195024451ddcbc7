"""Which files an application consists of, as the process that imported it can tell (--reload)."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType, TracebackType

_MOST = 48_000  # bytes of JSON: a packet to the supervisor has 65,536
_NOT_THEIRS = ("__main__", "__mp_main__", "gatebridge")  # a new worker has the supervisor's


def loaded_files(error: BaseException | None = None) -> list[str]:
    """Folders of packages and files of single modules, without what is installed.

    A package's folder stands for all of it: what it imports later, too.

    error  that ended the import: the module at fault is in no list of modules any more
    """
    found = {place for module in _top_level() for place in _places(module)}
    while error is not None:
        found.update(_in_error(error))
        error = error.__cause__ or error.__context__
    kept: list[str] = []
    size = 0
    for place in sorted(found):
        size += 6 * len(place) + 4  # at most, as JSON
        if size > _MOST:
            break
        kept.append(place)
    return kept


def _top_level() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):  # another thread may be importing
        if "." not in name and name not in _NOT_THEIRS and module is not None:
            yield module


def _places(module: ModuleType) -> Iterator[str]:
    folders = getattr(module, "__path__", None)
    file = getattr(module, "__file__", None)
    try:
        places = list(folders) if folders is not None else [file]
    except Exception:  # an object that only looks like a module
        return
    for place in places:
        if isinstance(place, str) and os.path.exists(place) and not _is_installed(place):
            yield os.path.abspath(place)


def _in_error(error: BaseException) -> Iterator[str]:
    if isinstance(error, SyntaxError) and error.filename and os.path.exists(error.filename):
        yield os.path.abspath(error.filename)
    for file in _frames(error.__traceback__):
        if os.path.exists(file) and not _is_installed(file):
            yield os.path.abspath(file)


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename
        traceback = traceback.tb_next


def _installed() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {sysconfig.get_path(name) for name in names}
    folders.update(site.getsitepackages())
    folders.add(site.getusersitepackages())
    folders.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # gatebridge
    return tuple([folder.rstrip(os.sep) + os.sep for folder in folders])


_INSTALLED = _installed()


def _is_installed(path: str) -> bool:
    return (os.path.abspath(path) + os.sep).startswith(_INSTALLED)
