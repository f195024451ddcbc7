"""Docker: an image of the application, and a Compose file with a front server before it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts.command import binds_of, words_of
from gatebridge.fronts.lines import because, indented, text, whole_seconds
from gatebridge.fronts.place import unsupported
from gatebridge.fronts.yaml_text import listed

if TYPE_CHECKING:
    from gatebridge.bind import Bind
    from gatebridge.fronts.place import Place

FORMS = ("dockerfile", "compose")
HOME = "/srv/app"  # of the application in the image
RUN = "/run/gatebridge"  # of the control socket there
USER = 10001
_PYTHON = "python:3.13-slim"
_SCHEMES = {"fastcgi": "fcgi", "scgi": "scgi", "uwsgi": "uwsgi", "http": "http"}
_PRIVATE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"  # of the networks that containers get
_TEST = 'test: ["CMD", "gatebridge", "ping"]'
_GRACE_S = 5.0  # what Docker waits longer than the daemon does


def config(place: Place, form: str = "") -> str:
    """raises ConfigError("conf.…")"""
    form = form or FORMS[0]
    if form not in FORMS:
        raise ConfigError("conf.form", f"Docker has no form {form!r}; it has {', '.join(FORMS)}")
    return text(_compose(place) if form == "compose" else _dockerfile(place))


def bind_of(place: Place) -> Bind:
    """The one socket of a container. raises ConfigError("conf.unsupported")"""
    binds = binds_of(place)
    if len(binds) != 1:
        raise unsupported("A container", "have several back ends in it", "name one bind")
    bind = binds[0]
    if bind.family == "abstract":
        why = "reach another's abstract socket"
        raise unsupported("A container", why, "bind unix:/run/NAME/sock, or TCP")
    return bind


def words(place: Place) -> list[str]:
    """The command in the image: its own Python, its own folder, everything reachable."""
    bind = bind_of(place)
    given = [_inside(place, word) for word in _logs_to_stderr(words_of(place))]
    given[0] = given[0].rpartition("/")[2]
    if place.start.logs:  # said in a gatebridge.toml, too
        given += ["--error-logfile", "-"]
    scheme = _SCHEMES[bind.protocol]
    if bind.family == "unix":
        prefix = "" if scheme == "fcgi" else f"{scheme}+"
        return [*given, "--bind", f"{prefix}unix:{bind.path}?mode=0666"]
    allowed = bind.options.get("allow", _PRIVATE)
    return [*given, "--bind", f"{scheme}://0.0.0.0:{bind.port}?allow={allowed}"]


def _logs_to_stderr(given: list[str]) -> list[str]:
    """A container has no place for log files; its runtime keeps what it writes to standard error.

    The error log is said anew, and the slow log is a part of it.
    """
    out: list[str] = []
    words = iter(given)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in ("--error-logfile", "--slowlog", "--access-logfile"):
            out.append(word)
            continue
        if not equals:
            next(words, "")
        if name == "--access-logfile":
            out += [name, "-"]
    return out


def _inside(place: Place, word: str) -> str:
    """A word with the host's folder of the application exchanged for the image's."""
    folder = place.start.folder.rstrip("/")
    if folder and (word == folder or word.startswith(folder + "/")):
        return HOME + word[len(folder) :]
    return word


def socket_folder(place: Place) -> str:
    """Of a Unix socket, which two containers share. raises ConfigError("conf.unsupported")"""
    folder = bind_of(place).path.rpartition("/")[0]
    if not folder or folder in ("/run", "/tmp", "/var/run"):
        instead = f"bind it in one of its own, as in unix:/run/{place.name}/sock"
        raise unsupported("A container", f"share {folder or '/'} with another", instead)
    return folder


def _dockerfile(place: Place) -> list[str]:
    bind = bind_of(place)
    folders = [RUN, socket_folder(place)] if bind.family == "unix" else [RUN]
    lines = [
        *because("what builds stays out of the image", f"FROM {_PYTHON} AS build"),
        "RUN python -m venv /opt/venv",
        "COPY requirements.txt .",
        "RUN /opt/venv/bin/pip install --no-cache-dir gatebridge -r requirements.txt",
        "",
        f"FROM {_PYTHON}",
        *because("no root in the container; a number, so that Kubernetes can tell",
                 f"RUN useradd --system --uid {USER} --home-dir {HOME} "
                 "--shell /usr/sbin/nologin app"),
        *because("for gatebridge status, top, ctl and ping",
                 f"RUN {_json(['install', '-d', '-o', str(USER), *folders])}"),
        "COPY --from=build /opt/venv /opt/venv",
        f"COPY . {HOME}",
        f"WORKDIR {HOME}",
        f"ENV PATH=/opt/venv/bin:$PATH GATEBRIDGE_CONTROL_SOCKET={RUN}/daemon/ctl",
        *because("logs go to standard error as they come, and no .pyc beside the sources",
                 "ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1"),
        f"USER {USER}",
    ]  # fmt: skip
    if bind.family == "tcp":
        lines.append(f"EXPOSE {bind.port}")
    return [
        *lines,
        *because("0 only while a worker is ready",
                 "HEALTHCHECK --interval=10s --timeout=3s --start-period=30s "
                 'CMD ["gatebridge", "ping"]'),
        *because("process 1 finishes what is under way, and leaves no zombies",
                 "STOPSIGNAL SIGTERM"),
        f"CMD {_json(words(place))}",
    ]  # fmt: skip


def _json(argv: list[str]) -> str:
    return json.dumps(argv, ensure_ascii=False)


def _compose(place: Place) -> list[str]:
    bind = bind_of(place)
    shared = socket_folder(place) if bind.family == "unix" else ""
    mounts = [f"{place.name}-socket:{shared}"] if shared else []
    return [
        "services:",
        f"  {place.name}:",
        *indented(_application(place, mounts), "  "),
        "  front:",
        *indented(_front(place, mounts), "  "),
        *(["volumes:", f"  {place.name}-socket: {{}}"] if mounts else []),
    ]


def _application(place: Place, mounts: list[str]) -> list[str]:
    stop = whole_seconds(place.start.stop + _GRACE_S)
    port = bind_of(place).port
    way = because("for the front server, not for the world", f'expose: ["{port}"]')
    if mounts:
        way = because("the front server finds the socket there, too", f"volumes: {_listed(mounts)}")
    lines = [
        "build: .",
        f"command: {_listed(words(place))}",
        *way,
        "restart: unless-stopped",
        *because("a little longer than --graceful-timeout", f"stop_grace_period: {stop}s"),
        *because("nothing but these can be written", "read_only: true"),
        f"tmpfs: {_listed(['/tmp', f'{RUN}:uid={USER}'])}",
        *because("it needs nothing of root's", "cap_drop: [ALL]"),
        'security_opt: ["no-new-privileges:true"]',
        "healthcheck:",
        *indented(because("0 only while a worker is ready", _TEST), "  "),
        "  interval: 10s",
        "  timeout: 3s",
        "  start_period: 30s",
    ]
    return indented(lines, "  ")


def _front(place: Place, mounts: list[str]) -> list[str]:
    door = place.door
    port = f"{door.address}:{door.port}" if door.host else f"{door.port}:{door.port}"
    files = ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro", *mounts]
    files += [f"{one}:{one}:ro" for one in (*place.tls, *(folder for _, folder in place.static))]
    lines = [
        "image: nginx:stable",
        *because(f"of gatebridge conf nginx; over TCP its --bind names {place.name} as the host",
                 f"volumes: {_listed(files)}"),
        f"ports: {_listed([port])}",
        "depends_on:",
        *indented([
            f"{place.name}:",
            *indented(because("nginx looks for that name once, at its start",
                              "condition: service_healthy"), "  "),
        ], "  "),
        "restart: unless-stopped",
    ]  # fmt: skip
    return indented(lines, "  ")


def _listed(values: list[str]) -> str:
    """Compose takes a $ for a variable."""
    return listed([value.replace("$", "$$") for value in values])
