"""gunicorn.conf.py as options of ours: read, not run, so only what is written out is taken."""

from __future__ import annotations

import ast
import re
from typing import Any, Final

from gatebridge.config.foreign import Taken, tcp
from gatebridge.errors import UseError

_SAME: Final = {
    "workers": "workers", "threads": "threads", "worker_connections": "worker_connections",
    "max_requests": "max_requests", "max_requests_jitter": "max_requests_jitter",
    "timeout": "timeout", "graceful_timeout": "graceful_timeout", "preload_app": "preload",
    "chdir": "chdir", "pythonpath": "pythonpath", "user": "user", "group": "group",
    "daemon": "daemon", "pidfile": "pid", "accesslog": "access_logfile",
    "access_log_format": "access_logformat", "errorlog": "error_logfile",
    "loglevel": "log_level", "reload": "reload", "reload_extra_files": "reload_extra_file",
    "proc_name": "name", "capture_output": "capture_output",
    "forwarded_allow_ips": "forwarded_allow_ips", "root_path": "mount",
}  # fmt: skip
_LEVELS: Final = ("debug", "info", "warning", "error")
_ASYNC: Final = ("uvicorn.workers.", "asgi", "uvicorn_worker.")
_WHY: Final = {
    "keepalive": "the front server keeps connections; an idle one costs no worker",
    "limit_request_line": "limit_params bounds all variables together",
    "limit_request_fields": "limit_pairs",
    "limit_request_field_size": "limit_params bounds all variables together",
    "certfile": "TLS is the front server's",
    "keyfile": "TLS is the front server's",
    "sendfile": "files are sent by the kernel where they can be; see also send_file",
    "worker_tmp_dir": "workers have no heartbeat files here",
    "statsd_host": "gatebridge status",
    "secure_scheme_headers": "forwarded_allow_ips says whose X-Forwarded-Proto is believed",
}


def convert(path: str, text: str) -> Taken:
    """raises UseError("config.unreadable") where it is no Python"""
    try:
        tree = ast.parse(text, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UseError("config.unreadable", f"{path}: {error}") from error
    taken = Taken()
    said = _said(tree, taken)
    scheme = {"uwsgi": "uwsgi", "fastcgi": "fcgi"}.get(str(said.pop("protocol", "")), "http")
    backlog = said.pop("backlog", None)
    said.setdefault("bind", "127.0.0.1:8000")
    for key, value in said.items():
        if key == "bind":
            for one in _words(key, value, taken):
                taken.bind(_bind(scheme, one, backlog, taken))
        else:
            _option(key, value, taken)
    if taken.values.get("worker_class") != "gevent" and "interface" not in taken.values:
        taken.values.setdefault("threads", 1)  # as theirs; ours are eight
    if not taken.app:
        taken.leave("wsgi_app", 'the file names no application: write app = "MODULE:NAME"')
    return taken


def _said(tree: ast.Module, taken: Taken) -> dict[str, Any]:
    """Names and values of the plain assignments; everything else is told."""
    said: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            taken.leave(node.name, "a hook of gunicorn's; there are none here")
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                _assign(target, node.value, said, taken)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            _assign(node.target, node.value, said, taken)
        elif isinstance(node, ast.AugAssign):
            said.pop(ast.unparse(node.target), None)
            taken.leave(ast.unparse(node.target), f"{ast.unparse(node)}: write its value")
        elif not _is_harmless(node):
            first = ast.unparse(node).partition("\n")[0]
            taken.leave(f"line {node.lineno}", f"{first}: what happens there is not known")
    return said


def _is_harmless(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):  # a text that documents
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Pass | ast.AnnAssign)


def _assign(target: ast.expr, value: ast.expr, said: dict[str, Any], taken: Taken) -> None:
    name = ast.unparse(target)
    said.pop(name, None)
    try:
        if not isinstance(target, ast.Name):
            raise ValueError(name)
        said[name] = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        taken.leave(name, f"{ast.unparse(value)}: write its value")


def _words(key: str, value: object, taken: Taken) -> list[str]:
    """A list, or a text of several with commas between them."""
    if isinstance(value, str):
        return [one.strip() for one in value.split(",") if one.strip()]
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    if value is not None:
        taken.leave(key, f"{value!r} is no list of texts")
    return []


def _bind(scheme: str, value: str, backlog: object, taken: Taken) -> str:
    options = f"?backlog={backlog}" if isinstance(backlog, int) else ""
    if value.startswith("unix:"):
        path = re.sub("^unix:(//)?", "", value)
        return f"{scheme}+unix:{path}{options}"
    if value.startswith("fd://"):
        return f"{scheme}+{value}"
    value = value.removeprefix("tcp://")
    has_port = ":" in value.rpartition("]")[2]
    return tcp(scheme, value if has_port else f"{value}:8000", taken, "bind") + options


def _option(key: str, value: Any, taken: Taken) -> None:
    if key == "wsgi_app":
        taken.app = str(value) if ":" in str(value) else f"{value}:application"
    elif key == "worker_class":
        _worker_class(str(value), taken)
    elif key == "umask":
        taken.values["umask"] = f"0{value:o}" if isinstance(value, int) else str(value)
    elif key == "raw_env":
        for one in _words(key, value, taken):
            name, _, text = one.partition("=")
            taken.env[name] = text
    elif key == "loglevel":
        level = str(value).lower()
        taken.values["log_level"] = level if level in _LEVELS else "error"
    elif key in ("user", "group") and isinstance(value, int):
        taken.values[key] = str(value)
    elif key in _SAME and isinstance(value, str | int | list):
        taken.values[_SAME[key]] = value
    elif value is not None:
        taken.leave(key, _WHY.get(key, f"{value!r}: nothing here is like it"))


def _worker_class(value: str, taken: Taken) -> None:
    if value == "sync":
        return  # with threads= it is gthread
    if value in ("gevent", "ggevent", "gthread"):
        taken.values["worker_class"] = value.removeprefix("g") if value == "ggevent" else value
    elif value.startswith(_ASYNC):
        taken.values["interface"] = "asgi"
    else:
        taken.leave("worker_class", f"{value}: gthread, gevent and ASGI are there")
