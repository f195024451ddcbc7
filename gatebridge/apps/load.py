"""``module:name`` or a file into the application it means, or a sentence why not."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

_NAMES = ("application", "app", "create_app()")  # looked for where only a module is named
_ENDINGS = (".py", ".wsgi", ".cgi", ".fcgi")


def load(target: str, folder: str) -> Callable[..., Any]:
    """Import an application, of whatever interface; see interface.as_application().

    target  "package.module:name", "module:factory()", "module", or a path to a Python file,
            which may also carry ":name"
    folder  put before the import path, as running a script there would
    raises  ConfigError("app.…"); an exception of the import comes with its traceback
    """
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name, _, attribute = target.partition(":")
    if not name:
        raise ConfigError("app.malformed", f"{target!r} names no module: write MODULE:NAME")
    module = _import_file(name) if name.endswith(_ENDINGS) else _import_module(name)
    found = _pick(module, attribute) if attribute else _find(module)
    if not callable(found):
        what = type(found).__name__
        raise ConfigError("app.type", f"{target} is of type {what}, not a WSGI or ASGI callable")
    return found


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            places = f"looked in {os.getcwd()} and the installed packages"
            raise ConfigError("app.not_found", f"no module {name!r}: {places}") from None
        raise ConfigError("app.import", f"{name} imports a missing module: {error}") from error
    except BaseException as error:  # whatever a module does when it is run, SystemExit too
        raise _import_failed(name, error) from error


def _import_file(path: str) -> ModuleType:
    if not os.path.isfile(path):
        raise ConfigError("app.not_found", f"no file {path!r}")
    name = "_gatebridge_" + os.path.basename(path).replace(".", "_").replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, os.path.abspath(path))
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise ConfigError("app.not_found", f"{path!r} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        loader.exec_module(module)
    except BaseException as error:  # as above
        raise _import_failed(path, error) from error
    return module


def _import_failed(name: str, error: BaseException) -> ConfigError:
    text = "".join(traceback.format_exception(error)).rstrip()
    return ConfigError("app.import", f"importing {name} failed: {error!r}\n{text}")


def _pick(module: ModuleType, attribute: str) -> object:
    """The attribute, with dots, or what calling it gives when () follows."""
    name = attribute.removesuffix("()")
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError("app.no_attribute", f"{module.__name__} has no {part!r}{hint}")
        found = getattr(found, part)
    if attribute.endswith("()"):
        if not callable(found):
            raise ConfigError("app.type", f"{module.__name__}:{name} cannot be called")
        try:
            return found()
        except BaseException as error:  # as in _import_module
            raise _import_failed(f"{module.__name__}:{attribute}", error) from error
    return found


def _find(module: ModuleType) -> object:
    for name in _NAMES:
        if hasattr(module, name.removesuffix("()")):
            return _pick(module, name)
    names = ", ".join(_NAMES)
    raise ConfigError(
        "app.no_attribute", f"{module.__name__} has none of {names}: write MODULE:NAME"
    )
