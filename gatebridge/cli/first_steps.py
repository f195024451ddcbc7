"""``gatebridge`` without a word: the first command of each way to a page. Each prints the next."""

from __future__ import annotations

import ast
import grp
import os
import shlex
import shutil
import sys
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

from gatebridge import __version__

DEMO = "gatebridge.apps.demo:app"
_USUAL = ("wsgi", "app", "application", "main")  # modules that are looked into first
_NAMES = {"application": "application", "app": "app", "create_app": "create_app()"}
_LARGEST = 1 << 20  # bytes of a module that is looked into
_GROUPS = ("www-data", "nginx", "http")  # of nginx's workers: Debian, Red Hat, Arch
_CGI_BINS = ("cgi-bin", "~/public_html/cgi-bin", "~/www/cgi-bin", "/usr/lib/cgi-bin",
             "/var/www/cgi-bin")  # fmt: skip
_PAGE_PORTS, _SOCKET_PORTS = range(8080, 8280), range(9000, 9200)

_TEXT = """\
gatebridge {version}: from here to a page. Each of these commands prints the next one.

behind the nginx of this machine, as root:
  {command} conf nginx --app {app} --bind {machine} --install
behind an nginx of your own, without root:
  {command} conf nginx alone --app {app} --bind {own} --listen {listen} --install
in a cgi-bin:
  {command} shim new {app} {shim}

{about}
`{command} --help` lists every command; `{command} conf` lists the other servers.
"""


def text(folder: str) -> str:
    """What is printed in this folder."""
    app = find_app(folder)
    about = f"{app} is in this folder; write another MODULE:NAME for another one."
    if not app:
        app, about = DEMO, "No application is in this folder, so these show gatebridge's own one."
    words = app.partition(":")[0].split(".")
    name = words[-2] if words[-1] == "wsgi" and len(words) > 1 else words[-1]
    return _TEXT.format(
        version=__version__,
        command=shlex.join(command()),
        app=shlex.quote(app),
        machine=shlex.quote(f"unix:/run/{name}.sock?group={_group()}"),
        own=f"fcgi://127.0.0.1:{free_port(_SOCKET_PORTS)}",
        listen=f"127.0.0.1:{free_port(_PAGE_PORTS)}",
        shim=shlex.quote(f"{_cgi_bin(folder)}/{name}.cgi"),
        about=about,
    )


def command() -> list[str]:
    """How this program is called again, from any folder."""
    program = os.path.abspath(sys.argv[0])
    if os.path.basename(program) != "gatebridge":
        return [sys.executable, "-m", "gatebridge"]
    found = shutil.which("gatebridge")
    return ["gatebridge" if found and os.path.samefile(found, program) else program]


def find_app(folder: str) -> str:
    """MODULE:NAME of an application in the folder, or in a package there; "" for none.

    Nothing is imported: a module of the top level that binds one of the usual names counts.
    """
    for module, path in _modules(folder):
        try:
            if os.path.getsize(path) > _LARGEST:
                continue
            with open(path, "rb") as file:
                tree = ast.parse(file.read(), path)
        except (OSError, SyntaxError, ValueError):
            continue
        bound = {name for node in tree.body for name in _bound(node)}
        for name, written in _NAMES.items():
            if name in bound:
                return f"{module}:{written}"
    return ""


def _modules(folder: str) -> list[tuple[str, str]]:
    """(module, file): those of the folder, the usual names first, then NAME/wsgi.py."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = [name.removesuffix(".py") for name in names if name.endswith(".py")]
    found.sort(key=lambda name: (_USUAL.index(name) if name in _USUAL else len(_USUAL), name))
    inside = [(f"{name}.wsgi", os.path.join(folder, name, "wsgi.py")) for name in names]
    modules = [(name, os.path.join(folder, f"{name}.py")) for name in found]
    modules += [pair for pair in inside if os.path.isfile(pair[1])]
    return [(name, path) for name, path in modules if all(map(str.isidentifier, name.split(".")))]


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.ImportFrom):
        names += [alias.asname or alias.name for alias in node.names]
    return names


def _group() -> str:
    """Whom nginx's workers run as."""
    known = {entry.gr_name for entry in grp.getgrall()}
    return next((name for name in _GROUPS if name in known), _GROUPS[0])


def _cgi_bin(folder: str) -> str:
    """One that there is, as it would be typed; else Debian's."""
    for name in _CGI_BINS:
        path = os.path.join(folder, os.path.expanduser(name))
        if os.path.isdir(path) and os.access(path, os.W_OK):
            return name if not name.startswith("~") else path
    return "/usr/lib/cgi-bin"


def free_port(ports: range) -> int:
    """One on 127.0.0.1 that nobody listens on; the first where all are taken."""
    for port in ports:
        with socket(AF_INET, SOCK_STREAM) as probe:
            probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return ports[0]
