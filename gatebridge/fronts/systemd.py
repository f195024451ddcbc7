"""systemd: a socket, the service behind it, and both as templates for many applications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.errors import ConfigError
from gatebridge.fronts.command import activated, binds_of, folder_of, words_of
from gatebridge.fronts.lines import because, text, whole_seconds
from gatebridge.fronts.place import address, unsupported

if TYPE_CHECKING:
    from gatebridge.fronts.place import Place

FORMS = ("service", "socket", "template", "template-socket")
_HOMES = ("/home/", "/root/", "/run/user/")
_MARK = "\0"  # stands for %i until % is escaped; no value of a Place has one
_GRACE_S = 5.0  # what systemd waits longer than the daemon does

_HARDENING = (
    ("no set-id program runs from here, sendmail's neither: who needs one leaves all below out",
        "NoNewPrivileges=yes"),
    ("the daemon starts as its user and needs nothing of root's", "CapabilityBoundingSet="),
    ("a /tmp of its own; sockets and files that others need are not put there", "PrivateTmp=yes"),
    ("no disks, no kernel memory", "PrivateDevices=yes"),
    ("kernel, clock, name and control groups are the administrator's",
     "ProtectKernelTunables=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes",
     "ProtectControlGroups=yes", "ProtectClock=yes", "ProtectHostname=yes"),
    ("of /proc it sees its own processes", "ProtectProc=invisible"),
    ("netlink tells how many connections wait", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 "
     "AF_NETLINK"),
    ("what web applications do not do", "RestrictNamespaces=yes", "RestrictRealtime=yes",
     "RestrictSUIDSGID=yes", "LockPersonality=yes", "SystemCallArchitectures=native",
     "SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM"),
)  # fmt: skip


def config(place: Place, form: str = "") -> str:
    """A unit. The service needs its socket: install both.

    The templates have %i wherever the name of the application stands in a path or as a user.
    raises  ConfigError("conf.…")
    """
    form = form or FORMS[0]
    if form not in FORMS:
        raise ConfigError("conf.form", f"systemd has no form {form!r}; it has {', '.join(FORMS)}")
    if not binds_of(place):
        raise unsupported("systemd", "open a socket that nobody names", "add --bind unix:/run/…")
    unit = _Unit(place, form.startswith("template"))
    return text(unit.socket() if form.endswith("socket") else unit.service())


def whole(text: str, form: str, folder: str) -> str:
    """The unit as systemd-analyze can look at it without the other one."""
    if form.endswith("socket"):
        return text.replace("[Socket]\n", "[Socket]\nService=emergency.service\n", 1)
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.endswith(".socket\n"))


class _Unit:
    """The texts of one application, or of a template."""

    def __init__(self, place: Place, is_template: bool) -> None:
        self.place = place
        self.binds = binds_of(place)
        self.is_template = is_template
        self.mark = _MARK if is_template else place.name  # of words that are still to be escaped
        self.name = "%i" if is_template else place.name
        self.file = f"{place.name}@%i" if is_template else place.name

    def socket(self) -> list[str]:
        options = self.binds[0].options
        lines = [
            "[Unit]",
            f"Description=Socket of {self.name}",
            "",
            "[Socket]",
            "# It stays while the service restarts: clients wait, and none is refused.",
            *[f"ListenStream={self._address(at)}" for at in range(len(self.binds))],
            *because("the service takes them by this name", f"FileDescriptorName={self.name}"),
        ]
        if any(bind.family == "unix" for bind in self.binds):
            owner = options.get("owner", "root")
            group = options.get("group", "www-data")
            lines += because(
                "who may connect: the front server's group (nginx, apache, http elsewhere)",
                f"SocketUser={_plain(owner)}",
                f"SocketGroup={_plain(group)}",
                f"SocketMode={options.get('mode', '0660')}",
                "RemoveOnStop=yes",
            )
        if "backlog" in options:
            lines.append(f"Backlog={options['backlog']}")
        return [*lines, "", "[Install]", "WantedBy=sockets.target"]

    def service(self) -> list[str]:
        words = [self._instance(word) for word in words_of(self.place)]
        for bind in dict.fromkeys(activated(bind, self.mark) for bind in self.binds):
            words += ["--bind", bind]
        for at in range(len(self.binds)):
            self._address(at)
        return [
            "[Unit]",
            f"Description={self.name} by gatebridge",
            "After=network.target",
            *because("systemd opens the sockets", f"Requires={self.file}.socket"),
            f"After={self.file}.socket",
            "",
            "[Service]",
            *because("READY=1 when workers serve, and not before", "Type=notify"),
            f"ExecStart={' '.join(_word(word).replace('$', '$$') for word in words)}",
            *because("the new generation is ready before the old one leaves",
                     "ExecReload=kill -HUP $MAINPID"),
            f"WorkingDirectory={self._path(folder_of(self.place))}",
            *self._user(),
            *self._run(),
            *self._ending(),
            "",
            *self._protection(),
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        ]  # fmt: skip

    def _user(self) -> list[str]:
        start = self.place.start
        if not start.user:
            why = "nobody named a user (--user): systemd makes one up while the service runs"
            return because(why, "DynamicUser=yes")
        group = [f"Group={self._path(start.group)}"] if start.group else []
        return [f"User={self._path(start.user)}", *group]

    def _run(self) -> list[str]:
        folder = f"gatebridge-{self.name}"
        below = f"/run/gatebridge-{self.place.name}/"
        if any(bind.path.startswith(below) for bind in self.binds):
            folder += "-run"  # that folder goes when the service stops, and the sockets stay
        return [
            *because("for gatebridge status, top and ctl", f"RuntimeDirectory={folder}"),
            "RuntimeDirectoryMode=0700",
            f"Environment=GATEBRIDGE_CONTROL_SOCKET=/run/{folder}/ctl",
            "UMask=0027",
        ]

    def _ending(self) -> list[str]:
        stop = whole_seconds(self.place.start.stop + _GRACE_S)
        return [
            *because("the supervisor ends its workers", "KillMode=mixed"),
            *because("a little longer than --graceful-timeout", f"TimeoutStopSec={stop}"),
            *because("the supervisor reports twice in that time", "WatchdogSec=30"),
            "Restart=on-failure",
            "RestartSec=1",
            *because("a mistake in options or in the application stays one",
                     "RestartPreventExitStatus=2 4"),
            *because("a descriptor for each connection", "LimitNOFILE=65536"),
        ]  # fmt: skip

    def _protection(self) -> list[str]:
        start = self.place.start
        folders = [folder_of(self.place), *[log.rpartition("/")[0] or "/" for log in start.logs]]
        used = [*folders, start.file, *start.argv]
        home = "read-only" if any(word.startswith(_HOMES) for word in used) else "yes"
        writable = " ".join(_word(f"-{self._instance(one)}") for one in dict.fromkeys(folders))
        lines = [
            *because("everything is read-only but what the application writes",
                     "ProtectSystem=strict", f"ReadWritePaths={writable}"),
            *because("homes of people are not its business", f"ProtectHome={home}"),
        ]  # fmt: skip
        for reason, *options in _HARDENING:
            lines += because(reason, *options)
        return lines

    def _address(self, at: int) -> str:
        """What to listen on. raises ConfigError("conf.unsupported"), ConfigError("conf.quote")"""
        bind = self.binds[at]
        if bind.family == "tcp":
            found = _escaped(address(bind))
        else:
            found = self._path(f"@{bind.path}" if bind.family == "abstract" else bind.path)
        if self.is_template and "%i" not in found.replace("%%", ""):
            why = f"open {bind.text!r} for each instance of a template"
            instead = f"put the name into its path, as in unix:/run/{self.place.name}.sock"
            raise unsupported("systemd", why, instead)
        return found

    def _instance(self, word: str) -> str:
        """A word not escaped yet, with the mark where the name was."""
        if not self.is_template:
            return word
        name = self.place.name
        parts = word.split("/")
        for at, part in enumerate(parts):
            if part == name or part.startswith(name + "."):
                parts[at] = _MARK + part[len(name) :]
        return "/".join(parts)

    def _path(self, path: str) -> str:
        """A path that has the line for itself: no quotes, and %i for the name in a template."""
        return _escaped(_plain(self._instance(path)))


def _word(word: str) -> str:
    """A word of a command or a list."""
    quoted = word.replace("\\", "\\\\").replace('"', '\\"')
    plain = word and not set(word) & set(" \"'\\;#")
    return _escaped(word if plain else f'"{quoted}"')


def _escaped(word: str) -> str:
    return word.replace("%", "%%").replace(_MARK, "%i")


def _plain(value: str) -> str:
    """raises ConfigError("conf.quote") for what a line cannot hold without quotes"""
    if value != value.strip() or value.endswith("\\"):
        why = "systemd drops blanks at the ends and a backslash at the end; rename it"
        raise ConfigError("conf.quote", f"{value!r}: {why}")
    return value
